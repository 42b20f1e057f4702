"""Colours of pictures: back to one number per pixel, or an error."""

import warnings

import numpy as np
from scipy.ndimage import binary_dilation
from scipy.spatial import cKDTree

from xtalsk.io._constants import (
    COLORMAPS,
    FEWEST_LEVELS,
    GREY_TOLERANCE,
    LARGEST_COLOUR_ERROR,
    LARGEST_QUANTISED_ERROR,
    OTHER_COLOURS,
    OVERLAY_SHARE,
)


def to_grey(pixels, name):
    """Return one number per pixel of a picture.

    Grey pictures, which have equal red, green and blue, give the sum of the three. Coloured pictures are
    compared with the colour maps of matplotlib in `COLORMAPS`: the position in the map, 0 to 255, is the
    number. A grey picture with coloured notes, such as a red scale bar, is masked there, with a warning.

    Parameters
    ----------
    pixels : ndarray of shape (n_rows, n_columns) or (n_rows, n_columns, 1 to 4)
        The second or fourth value is the opacity. Where only a part of a picture has the opacity 0, nothing
        was measured there.
    name : str
        Name of the file, for error messages.

    Returns
    -------
    ndarray of shape (n_rows, n_columns)
        NaN where a pixel has no colour of the map, is a coloured note or is transparent.

    Raises
    ------
    ValueError
        If the picture is coloured and fits no colour map.
    """
    if pixels.ndim == 3 and pixels.shape[2] in (2, 4):
        return _masked(to_grey(pixels[..., :-1], name), pixels[..., -1] == 0)
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        return pixels[..., 0]
    if pixels.ndim == 2:
        return pixels
    if pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ValueError(f"{name}: expected one image, got an array of shape {pixels.shape}")
    largest = np.iinfo(pixels.dtype).max if pixels.dtype.kind in "iu" else float(np.max(pixels))
    is_coloured = np.ptp(pixels.astype(np.float32), axis=2) > GREY_TOLERANCE * largest / 255
    share = is_coloured.mean()
    if share > OTHER_COLOURS:
        try:
            return _invert_colormap(pixels * (255.0 / largest), name)
        except ValueError:
            if share > OVERLAY_SHARE or _n_levels(pixels[~is_coloured]) < FEWEST_LEVELS:
                raise
    grey = pixels.sum(axis=2, dtype=np.float32)
    if not share:
        return grey
    warnings.warn(
        f"{name}: coloured notes in a grey picture, {share:.1%} of the pixels, were masked", stacklevel=6
    )
    return _masked(grey, binary_dilation(is_coloured, np.ones((3, 3))))


def _masked(grey, mask):
    """Return a picture with NaN where ``mask`` is True, unless that is nowhere or everywhere."""
    return np.where(mask, np.nan, grey.astype(np.float32)) if mask.any() and not mask.all() else grey


def _n_levels(pixels):
    """Return the number of different red levels of pixels (n, 3)."""
    return len(np.unique(pixels[:, 0]))


def _invert_colormap(pixels, name):
    """Return the position of each pixel in the colour map that fits best, in levels from 0 to 255."""
    import matplotlib as mpl  # only when a coloured picture is read

    colours, inverse, n_pixels = np.unique(
        np.rint(pixels).astype(np.uint8).reshape(-1, 3), axis=0, return_inverse=True, return_counts=True
    )
    colormap, values, best_share, best_error = None, None, 0.0, np.inf
    for candidate in COLORMAPS:
        levels = 255 * mpl.colormaps[candidate](np.arange(256))[:, :3]
        distance, level = cKDTree(levels).query(colours)
        near = distance <= LARGEST_COLOUR_ERROR
        share = n_pixels[near].sum() / n_pixels.sum()
        error = np.average(np.minimum(distance, LARGEST_COLOUR_ERROR), weights=n_pixels)
        if error < best_error:
            colormap, best_share, best_error = candidate, share, error
            values = np.where(distance <= LARGEST_QUANTISED_ERROR, level, np.nan)
    if best_share < 1 - OTHER_COLOURS or np.unique(values[~np.isnan(values)]).size < FEWEST_LEVELS:
        raise ValueError(
            f"{name}: the picture is coloured, and its colours fit no known colour map (nearest {colormap}, "
            f"{best_share:.0%} of the pixels); export the image as numbers or in grey"
        )
    warnings.warn(
        f"{name}: the colours of {colormap} were turned back into 256 levels; steps, limits and gamma of the "
        "picture stay. Export the image as numbers if you can",
        stacklevel=6,
    )
    return values[inverse.ravel()].reshape(pixels.shape[:2]).astype(np.float32)
