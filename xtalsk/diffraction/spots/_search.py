"""The search for the spots of single-crystal patterns, image by image on NumPy."""

from functools import lru_cache

import numpy as np

from xtalsk.diffraction import _geometry_kernels
from xtalsk.diffraction._compiled_geometry import _kernel
from xtalsk.diffraction.spots._constants import (
    CIRCLE_MARGIN,
    CIRCLE_RADIUS,
    FIRST_WIDTH,
    GAIN_FLOOR,
    HOT_MAJORITY,
    HOT_SHARE,
    MAX_SPOTS,
    MIN_SIGNIFICANCE,
    N_CIRCLE,
    SAME_WIDTH,
    WIDTH_RANGE,
    WIDTH_SPOTS,
)


@lru_cache(maxsize=64)
def _circle(sigma):
    """Offsets (n_circle, 2) in pixels of the samples of the background around a spot."""
    angle = 2 * np.pi * np.arange(N_CIRCLE) / N_CIRCLE
    radius = CIRCLE_RADIUS * sigma + CIRCLE_MARGIN
    return np.round(radius * np.stack([np.sin(angle), np.cos(angle)], axis=1)).astype(np.int64)


def smooth_measured(image, measured, sigma):
    """Gaussian-weighted means over measured pixels, and the share of the weights on measured pixels."""
    kernel = _kernel(sigma)
    weight, smooth = np.empty_like(image), np.empty_like(image)
    if measured is None:
        weight = _edge_weights(image.shape, sigma)
    else:
        _geometry_kernels.smooth(measured.astype(np.float32), kernel, weight)
    _geometry_kernels.smooth(image, kernel, smooth)
    return smooth / np.maximum(weight, np.float32(1e-6)), weight


@lru_cache(maxsize=64)
def _edge_weights(shape, sigma):
    weight = np.empty(shape, np.float32)
    _geometry_kernels.smooth(np.ones(shape, np.float32), _kernel(sigma), weight)
    return weight


def search_spots(image, threshold=MIN_SIGNIFICANCE):
    """Find the spots of one image; the direct beam is among them.

    Parameters
    ----------
    image : float32 ndarray of shape (n_rows, n_columns)
        NaN where it was not measured.
    threshold : float

    Returns
    -------
    spots : float32 ndarray of shape (n, 5)
        Row, column, intensity, significance, background; the most significant first.
    width : float
        Standard deviation of a spot in pixels.
    smooth, weight : float32 ndarray of shape (n_rows, n_columns)
        The smoothed image, and the share of the Gaussian on measured pixels.
    """
    from xtalsk.diffraction.spots import _search_kernels as kernels

    means, variances, gain = kernels.noise_table(image)
    measured = None
    filled = image
    if np.isnan(image.sum()):
        measured = ~np.isnan(image)
        filled = np.where(measured, image, np.float32(0))
    dark = float(filled.min() if measured is None else image[measured].min()) if image.size else 0.0
    gain = _check_gain(filled, means, variances, gain, dark)
    sigma = FIRST_WIDTH
    level = None
    for attempt in range(2):
        smooth, weight = smooth_measured(filled, measured, sigma)
        level = kernels.block_levels(smooth, weight) if level is None else level
        noise = means, variances, gain
        found = kernels.find_candidates(
            image, smooth, weight, _circle(sigma), sigma, noise, dark, level, threshold
        )
        found = found[np.argsort(-found[:, 4], kind="stable")]
        width = _spot_width(found, sigma)
        if attempt == 0:
            better = float(np.clip(round(width / 0.1) * 0.1, *WIDTH_RANGE)) if len(found) else 2 * FIRST_WIDTH
            if abs(better - sigma) <= SAME_WIDTH * sigma:
                break
            sigma = better
    found = _without_hot_pixels(found)[:MAX_SPOTS]
    intensity = found[:, 2] * np.float32(2 * np.pi * (sigma**2 + width**2))
    return np.column_stack([found[:, :2], intensity, found[:, 4], found[:, 3]]), width, smooth, weight


def _check_gain(image, means, variances, gain, dark):
    """Return the signal of one electron; where its estimate fails, from the whole noise and intensity.

    If most pixels hold no electron, it is the signal of the weakest of the others.
    """
    some = image[::2, ::2]
    least = GAIN_FLOOR * (float(image.max()) - dark) + 1e-30
    above = some[some > dark + least]
    if 0 < 2 * len(above) < some.size:
        return float(np.partition(above, len(above) // 10)[len(above) // 10]) - dark
    level = float(means.mean()) - dark
    rough = float(variances.mean()) / level if level > 0 else 1.0
    gain = float(gain)
    if not gain > 0:
        gain = rough
    return max(min(gain, rough) if rough > 0 else gain, least)


def _spot_width(found, sigma):
    """Return the standard deviation of the spots in pixels, without the filter."""
    if not len(found):
        return sigma
    total = np.median(found[:WIDTH_SPOTS, 5])
    return float(np.sqrt(max(total**2 - sigma**2, 0.3**2)))


def _without_hot_pixels(found):
    """Leave out spots of one pixel, unless most spots are so sharp."""
    hot = found[:, 6] > HOT_SHARE
    return found if not hot.any() or hot.mean() > HOT_MAJORITY else found[~hot]
