"""Negatives: pictures of diffraction patterns in which electrons are dark."""

import warnings

import numpy as np

from xtalsk.io._constants import NEGATIVE_RINGS, NEGATIVE_RISE


def undo_negative(image, name, negative):
    """Return a picture in which electrons are bright.

    Parameters
    ----------
    image : ndarray of shape (n_rows, n_columns)
        NaN where a pixel holds no number.
    name : str
        Name of the file, for the warning.
    negative : bool or None
        Whether the picture is a negative. With None it counts as one if its levels rise from the middle
        outwards, because the levels of all diffraction patterns fall; then a warning says so.

    Returns
    -------
    ndarray of shape (n_rows, n_columns)
        The image, or its highest value minus the image.
    """
    if negative is None:
        negative = _rise(image) > NEGATIVE_RISE
        if negative:
            warnings.warn(
                f"{name}: the picture is dark in the middle and becomes brighter outwards: it was taken as a "
                "negative and inverted. Give negative=False if it is none, or negative=True to say so",
                stacklevel=5,
            )
    if not negative:
        return image
    if image.dtype.kind not in "iu":
        return np.nanmax(image) - image
    return image.max() - image


def _rise(image):
    """Rank correlation, -1 to 1, of the mean levels of rings around the middle with their radius."""
    from scipy.stats import rankdata  # slow to import

    y, x = (np.arange(n) - (n - 1) / 2 for n in image.shape)
    radius = np.hypot(y[:, None], x)
    ring = (radius * (2 * NEGATIVE_RINGS / min(image.shape))).astype(int)
    inside = (ring < NEGATIVE_RINGS) & np.isfinite(image)
    number = np.bincount(ring[inside], minlength=NEGATIVE_RINGS)
    total = np.bincount(ring[inside], weights=image[inside].astype(float), minlength=NEGATIVE_RINGS)
    measured = number > 0
    rank = rankdata(total[measured] / number[measured])
    if np.ptp(rank) == 0:
        return 0.0
    places = np.flatnonzero(measured) + 0.5
    (a, b), (_, d) = np.cov(places, rank, aweights=places)  # as many pixels as places
    return b / np.sqrt(a * d)
