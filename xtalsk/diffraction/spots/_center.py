"""The direct beam of spot patterns: from the diffuse intensity, from itself, and from Friedel pairs."""

import numpy as np

from xtalsk.diffraction.spots._constants import (
    BEAM_GAIN,
    BEAM_REACH,
    CENTER_SPOTS,
    CENTER_STEPS,
    DIFFUSE_BLOCKS,
    DIFFUSE_FLOOR,
    FLOOR_BLOCKS,
    OFFSET_SPREAD,
    PAIR_GAIN,
    TRIAL_CENTERS,
)


def find_center(spots, width, smooth, weight, max_offset):
    """Find the direct beam of one image.

    The diffuse intensity, without spots, is round about the beam. Near its centre, the beam is a strong spot
    or, behind a beam stop, the midpoint of Friedel pairs of spots.

    Parameters
    ----------
    spots : ndarray of shape (n, 5)
        See `_search.search_spots`.
    width : float
        Standard deviation of a spot in pixels.
    smooth, weight : float32 ndarray of shape (n_rows, n_columns)
        The smoothed image, and the share of measured pixels.
    max_offset : float
        Largest distance of the centre from the middle of the image, as a share of its sides.

    Returns
    -------
    ndarray of shape (2,)
        Row and column in pixels.
    """
    from xtalsk.diffraction.spots import _center_kernels as kernels

    misfit, rows, columns = _diffuse_misfits(smooth, weight, max_offset)
    place = np.unravel_index(misfit.argmin(), misfit.shape)
    diffuse = np.array([rows[place[0]], columns[place[1]]])
    if not len(spots):
        return diffuse
    side = max(smooth.shape)
    positions = spots[:, :2].astype(float)
    strength = np.sqrt(spots[:, 2].astype(float))
    near = np.hypot(*(positions - diffuse).T) < BEAM_REACH * side
    chosen = np.argsort(-strength)[:CENTER_SPOTS]
    midpoints = kernels.trial_centers(
        positions[chosen], strength[chosen], diffuse, BEAM_REACH * side, TRIAL_CENTERS
    )
    trials = np.concatenate([positions[near], midpoints, diffuse[None]])
    tolerance = 0.5 + 0.3 * width
    pairs = kernels.score_centers(trials, positions[chosen], strength[chosen], tolerance, 3 + 2 * width)
    height = np.zeros(len(trials))
    height[: near.sum()] = strength[near] / strength.max()
    likelihood = -0.5 * DIFFUSE_BLOCKS * np.log(_interpolate(misfit, rows, columns, trials) / misfit.min())
    middle = (np.array(smooth.shape) - 1) / 2
    prior = -0.5 * (((trials - middle) / (side * OFFSET_SPREAD)) ** 2).sum(1)
    score = prior + likelihood + PAIR_GAIN * pairs[:, 0] * np.sqrt(pairs[:, 3]) + BEAM_GAIN * height
    best = score.argmax()
    return positions[near][best] if best < near.sum() else pairs[best, 1:3]


def _diffuse_misfits(smooth, weight, max_offset):
    """Deviations of the diffuse intensity from rings about a grid of centres, and its rows and columns."""
    from xtalsk.diffraction.spots import _center_kernels, _search_kernels

    size = max(4, -(-max(smooth.shape) // FLOOR_BLOCKS))
    floor = _search_kernels.block_floor(smooth, weight, size)
    floor = np.sqrt(np.maximum(floor - np.nanmin(floor), 0))
    offset = np.linspace(-max_offset, max_offset, CENTER_STEPS)
    rows, columns = ((n - 1) / 2 + offset * n for n in smooth.shape)
    blocks = ((pixels + 0.5) / size - 0.5 for pixels in (rows, columns))
    misfit = _center_kernels.diffuse_misfits(floor, *blocks)
    return misfit + DIFFUSE_FLOOR * smooth.max() + 1e-30, rows, columns


def _interpolate(values, rows, columns, places):
    """Values on a grid at places (n, 2) between its points; beyond its ends, those at the ends."""
    parts = []
    for axis, grid in enumerate((rows, columns)):
        position = np.clip((places[:, axis] - grid[0]) / max(grid[1] - grid[0], 1e-9), 0, len(grid) - 1.001)
        first = position.astype(int)
        parts.append((first, position - first))
    (i, p), (j, q) = parts
    upper = values[i, j] * (1 - q) + values[i, j + 1] * q
    lower = values[i + 1, j] * (1 - q) + values[i + 1, j + 1] * q
    return upper * (1 - p) + lower * p
