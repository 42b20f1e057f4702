"""Compiled loops over the templates of edges."""

import numpy as np

from xtalsk.utils._compiled import compiled_any_order as compiled


@compiled
def weighted_squares(rows, weight):
    """Weighted sum of squares of each row of ``rows`` (n, k), ndarray of shape (n,)."""
    n, k = rows.shape
    sums = np.zeros(n)
    for i in range(n):
        for j in range(k):
            sums[i] += rows[i, j] * rows[i, j] * weight[j]
    return sums


@compiled
def best_poses(starts, shift, shifts, lines_only, amplitude, precision, chi2, n_bins, centre, spread, limits):
    """Pose of each family with the largest gain, or the expected pose if no gain is large.

    The gain of a pose is the fall of n ln χ² if the pose enters the model, minus the cost of its shift and of
    white lines alone; n is the number of bins.

    Parameters
    ----------
    starts : ndarray of int, shape (n_families + 1,)
        First pose of each family.
    shift : ndarray of int, shape (n_poses,)
        Shift of each pose, as an index into ``shifts``.
    shifts : ndarray of shape (n_shifts,)
        In eV.
    lines_only : ndarray of bool, shape (n_poses,)
        Whether a pose holds white lines alone.
    amplitude, precision : ndarray of shape (n_poses,)
        Amplitude and its inverse variance.
    chi2 : float
        χ² without the pose.
    n_bins : float
        Number of bins with data.
    centre, spread : ndarray of shape (n_families,)
        Expected shift and its standard deviation in eV.
    limits : tuple of three floats
        Largest distance from the expected shift in standard deviations, cost of white lines alone, and the
        gain above which the best pose replaces the expected one.

    Returns
    -------
    best : ndarray of int, shape (n_families,)
    gain : ndarray of shape (n_families,)
    """
    farthest, lines_cost, least_gain = limits
    n = len(starts) - 1
    best, gain = np.empty(n, np.int64), np.empty(n)
    for family in range(n):
        nearest, top, expected, strongest = np.inf, -np.inf, starts[family], starts[family]
        expected_gain = -np.inf
        for pose in range(starts[family], starts[family + 1]):
            distance = abs(shifts[shift[pose]] - centre[family]) / spread[family]
            square = amplitude[pose] ** 2 * precision[pose]
            fall = n_bins * np.log1p(square / max(chi2 - square, n_bins))
            value = (fall if amplitude[pose] > 0 else -fall) - distance**2
            value = value - lines_cost if lines_only[pose] else value
            value = -np.inf if distance > farthest else value
            if value > top:
                top, strongest = value, pose
            if distance < nearest and not lines_only[pose]:
                nearest, expected, expected_gain = distance, pose, value
        if top > least_gain:
            best[family], gain[family] = strongest, top
        else:
            best[family], gain[family] = expected, expected_gain
    return best, gain
