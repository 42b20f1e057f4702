"""Straight bright streaks in ring patterns, at any angle: found by a Hough transform, on NumPy.

A streak is brighter than the pixels at the same radius on both of its sides. Rings are not: they are equally
bright there. Spots are brighter, but not long. The lines on which such pixels lie are found by the transform
of P. V. C. Hough, US patent 3069654 (1962), in the normal form of Duda and Hart, Commun. ACM 15, 11 (1972).
"""

import numpy as np
from scipy import ndimage

from xtalsk.diffraction._artefacts import fill_image
from xtalsk.diffraction._constants import (
    STREAK_ANGLES,
    STREAK_COVERAGE,
    STREAK_EDGE,
    STREAK_EXCESS,
    STREAK_LENGTH,
    STREAK_SIDES,
    STREAK_SIGMA,
    STREAK_SIZE,
)

_GAP = 5  # a streak continues over so many reduced pixels, e.g. where it is tangential to a ring


def find_streak(image, valid, center, one=None):
    """Find the pixels of the longest straight bright streak.

    Parameters
    ----------
    image : ndarray of shape (n_rows, n_columns)
        Intensities, finite.
    valid : bool ndarray of shape (n_rows, n_columns)
        Pixels that were measured.
    center : (float, float)
        Row and column of the direct beam in pixels. It need not be exact.
    one : float or None
        Signal of one electron; None estimates it.

    Returns
    -------
    bool ndarray of shape (n_rows, n_columns)
        A whole chord of the image: the streak and its continuation. All False without a streak.
    """
    from xtalsk.diffraction._streak_kernels import streak_pixels

    factor = -(-max(image.shape) // STREAK_SIZE)
    small, small_valid = reduce_image(image, valid, factor)
    if not small_valid.any():
        return np.zeros(image.shape, dtype=bool)
    center = (np.asarray(center, dtype=float) + 0.5) / factor - 0.5
    if one is None:
        one = fill_image(image if valid.all() else np.where(valid, image, np.nan))[1]
    dark = lowest_quantile(small, small_valid, 0.005)
    level = np.where(small_valid, np.maximum(small - np.float32(dark), 0), np.float32(0))
    sides = np.array(STREAK_SIDES, dtype=float)
    places = streak_pixels(level, center, sides, one / factor**2, STREAK_EXCESS, STREAK_SIGMA)
    line = _best_line(places, level.shape)
    if line is None:
        return np.zeros(image.shape, dtype=bool)
    low, high = _band(_edge(level, small_valid, center), line)
    distance = _distances(image.shape, line[0], factor) - line[1]
    return (distance >= low - 1) & (distance <= high + 1)


def reduce_image(image, valid, factor):
    """Means over the valid pixels of blocks, and whether half of a block is valid."""
    from xtalsk.diffraction._geometry_kernels import block_means

    shape = tuple(n // factor for n in image.shape)
    means, shares = np.empty(shape, np.float32), np.empty(shape, np.float32)
    block_means(image, valid, factor, means, shares)
    return means, shares > 0.5


def lowest_quantile(values, valid, share):
    """Return the quantile at a small ``share`` of the valid values of an image, without sorting them all."""
    from xtalsk.diffraction._streak_kernels import lowest_values

    place = (np.count_nonzero(valid) - 1) * share
    heap = np.empty(int(place) + 2, values.dtype)
    lowest = np.sort(heap[: lowest_values(values, valid, len(heap), heap)])
    first, last = float(lowest[int(place)]), float(lowest[min(int(place) + 1, len(lowest) - 1)])
    return first + (place - int(place)) * (last - first)


def _edge(level, valid, center):
    """Pixels a little brighter than both sides at the same radius, bool (n_rows, n_columns)."""
    y, x = np.indices(level.shape, dtype=np.float32)
    y, x = y - center[0], x - center[1]
    radius = np.hypot(y, x)
    near = np.zeros(level.shape, dtype=bool)
    for side in STREAK_SIDES:
        angle = side / np.maximum(radius, side)
        values = []
        for sign in (-1, 1):
            c, s = np.cos(angle), sign * np.sin(angle)
            at = [center[0] + c * y + s * x, center[1] + c * x - s * y]
            values.append(ndimage.map_coordinates(level, at, order=1, cval=0.0))
        inside = valid & (radius > 1.5 * side) & (np.minimum(*values) > 0)
        near |= inside & (level > STREAK_EDGE * np.maximum(*values))
    return near


def _distances(shape, angle, factor):
    """Distance of each pixel from the line through the origin at ``angle``, in reduced pixels."""
    y, x = np.indices(shape, dtype=np.float32, sparse=True)
    y, x = (y + 0.5) / factor - 0.5, (x + 0.5) / factor - 0.5
    return np.cos(angle) * y + np.sin(angle) * x


def _best_line(places, shape):
    """Angle and distance of the line with the most of the pixels ``places`` (n, 2).

    None if no line is long and unbroken. ``shape`` is that of the reduced image.
    """
    from xtalsk.diffraction._streak_kernels import line_votes

    least = STREAK_LENGTH * min(shape)
    if len(places) < least:
        return None
    angles = np.arange(STREAK_ANGLES) * np.pi / STREAK_ANGLES
    cosines, sines = np.cos(angles), np.sin(angles)
    offset = int(np.hypot(*shape)) + 2
    votes = line_votes(places, cosines, sines, offset).ravel()
    candidates = np.flatnonzero(votes >= 0.6 * least)
    for best in candidates[np.argsort(votes[candidates], kind="stable")[::-1][:8]]:
        k, place = np.divmod(best, 2 * offset)
        y, x = places.T
        distance = np.round(cosines[k] * y + sines[k] * x).astype(int) + offset
        on_line = np.abs(distance - place) <= 1
        along = np.round(-sines[k] * y[on_line] + cosines[k] * x[on_line]).astype(int)
        if _longest_run(along) >= least:
            return angles[k], float(place - offset)
    return None


def _longest_run(places):
    """Length of the longest part of a line that is covered nearly everywhere."""
    places = np.unique(places)
    parts = np.split(places, np.flatnonzero(np.diff(places) > _GAP) + 1)
    return max((p[-1] - p[0] + 1 for p in parts if len(p) >= STREAK_COVERAGE * (p[-1] - p[0] + 1)), default=0)


def _band(edge, line):
    """Lowest and highest distance from a line at which most pixels are a little brighter than their sides."""
    distance = np.round(_distances(edge.shape, line[0], 1) - line[1]).astype(int)
    reach = max(STREAK_SIDES)
    share = [edge[distance == d].mean() if (distance == d).any() else 0 for d in range(-reach, reach + 1)]
    bright = np.array(share) > 0.4 * max(share[reach - 1 : reach + 2])
    low = high = reach
    while low > 0 and bright[low - 1]:
        low -= 1
    while high < 2 * reach and bright[high + 1]:
        high += 1
    return low - reach, high - reach
