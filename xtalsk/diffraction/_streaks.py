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


def find_streak(image, valid, center):
    """Find the pixels of the longest straight bright streak.

    Parameters
    ----------
    image : ndarray of shape (n_rows, n_columns)
        Intensities, finite.
    valid : bool ndarray of shape (n_rows, n_columns)
        Pixels that were measured.
    center : (float, float)
        Row and column of the direct beam in pixels. It need not be exact.

    Returns
    -------
    bool ndarray of shape (n_rows, n_columns)
        A whole chord of the image: the streak and its continuation. All False without a streak.
    """
    factor = -(-max(image.shape) // STREAK_SIZE)
    small, small_valid = reduce_image(image, valid, factor)
    center = (np.asarray(center) + 0.5) / factor - 0.5
    one = fill_image(np.where(valid, image, np.nan))[1] if valid.any() else 1.0
    excess, edge = _excess(small, small_valid, center, one / factor**2)
    line = _best_line(excess)
    if line is None:
        return np.zeros(image.shape, dtype=bool)
    low, high = _band(edge, line)
    distance = _distances(image.shape, line[0], factor) - line[1]
    return (distance >= low - 1) & (distance <= high + 1)


def reduce_image(image, valid, factor):
    """Means over the valid pixels of blocks, and whether half of a block is valid."""
    h, w = (n // factor * factor for n in image.shape)
    blocks = np.where(valid, image, 0)[:h, :w].reshape(h // factor, factor, w // factor, factor).sum((1, 3))
    share = valid[:h, :w].reshape(h // factor, factor, w // factor, factor).mean((1, 3))
    small = blocks / np.maximum(share * factor**2, 1e-6)
    return small.astype(np.float32), share > 0.5


def _excess(small, valid, center, one):
    """Pixels brighter than both sides at the same radius: by far, and a little, both bool."""
    y, x = np.indices(small.shape, dtype=np.float32)
    y, x = y - center[0], x - center[1]
    radius = np.hypot(y, x)
    dark = np.percentile(small[valid], 0.5)
    level = np.where(valid, np.maximum(small - dark, 0), 0)
    noise = np.sqrt(one * level)
    far, near = np.zeros(small.shape, dtype=bool), np.zeros(small.shape, dtype=bool)
    for side in STREAK_SIDES:
        angle = side / np.maximum(radius, side)
        values = []
        for sign in (-1, 1):
            c, s = np.cos(angle), sign * np.sin(angle)
            at = [center[0] + c * y + s * x, center[1] + c * x - s * y]
            values.append(ndimage.map_coordinates(level, at, order=1, cval=0.0))
        higher = np.maximum(*values)
        outside = np.minimum(*values) <= 0
        inside = valid & (radius > 1.5 * side) & ~outside
        far |= inside & (level > STREAK_EXCESS * higher + STREAK_SIGMA * noise)
        near |= inside & (level > STREAK_EDGE * higher)
    return far, near


def _distances(shape, angle, factor):
    """Distance of each pixel from the line through the origin at ``angle``, in reduced pixels."""
    y, x = np.indices(shape, dtype=np.float32, sparse=True)
    y, x = (y + 0.5) / factor - 0.5, (x + 0.5) / factor - 0.5
    return np.cos(angle) * y + np.sin(angle) * x


def _best_line(excess):
    """Angle and distance of the line with the most pixels of excess, or None if none is long and unbroken."""
    least = STREAK_LENGTH * min(excess.shape)
    y, x = np.nonzero(excess)
    if len(y) < least:
        return None
    angles = np.arange(STREAK_ANGLES) * np.pi / STREAK_ANGLES
    offset = int(np.hypot(*excess.shape)) + 2
    distance = np.round(np.cos(angles)[:, None] * y + np.sin(angles)[:, None] * x).astype(int) + offset
    index = distance + 2 * offset * np.arange(STREAK_ANGLES)[:, None]
    votes = np.bincount(index.ravel(), minlength=2 * offset * STREAK_ANGLES).reshape(STREAK_ANGLES, -1)
    for best in np.argsort(votes, axis=None)[::-1][:8]:
        k, place = np.unravel_index(best, votes.shape)
        if votes[k, place] < 0.6 * least:
            return None
        on_line = np.abs(distance[k] - place) <= 1
        along = np.round(-np.sin(angles[k]) * y[on_line] + np.cos(angles[k]) * x[on_line]).astype(int)
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
