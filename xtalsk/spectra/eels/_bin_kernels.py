"""Compiled medians and differences of a spectrum, and non-negative least squares."""

import numpy as np

from xtalsk.spectra.eels._constants import THIRD_DIFFERENCE
from xtalsk.utils._compiled import compiled

_ROUNDING = 1e-14  # share below which a product of double precision is rounding


@compiled
def segment_medians(values, n_segments):
    """Medians of the parts into which `numpy.array_split` divides values, ndarray of shape (n_segments,)."""
    size, n_longer = divmod(len(values), n_segments)
    medians, start = np.empty(n_segments), 0
    for i in range(n_segments):
        stop = start + size + (i < n_longer)
        medians[i] = np.median(values[start:stop])
        start = stop
    return medians


@compiled
def smallest_step(ordered):
    """Smallest difference of two values of a sorted array that are not equal, float; 0 if all are equal."""
    step = np.inf
    for i in range(len(ordered) - 1):
        difference = ordered[i + 1] - ordered[i]
        if 0 < difference < step:
            step = difference
    return step if step < np.inf else 0.0


@compiled
def third_differences(counts, group):
    """Height of groups of channels, and the variance of a channel from squared third differences.

    Parameters
    ----------
    counts : ndarray of shape (n_channels,)
    group : int
        Channels in a group.

    Returns
    -------
    height, squares : ndarray of shape (n_channels // group - 3,)
        Mean of four groups, and the variance of a channel from the same four.
    """
    n = len(counts) // group
    means = np.empty(n)
    for i in range(n):
        total = 0.0
        for j in range(group):
            total += counts[i * group + j]
        means[i] = total / group
    height, squares = np.empty(n - 3), np.empty(n - 3)
    for i in range(n - 3):
        a, b, c, d = means[i], means[i + 1], means[i + 2], means[i + 3]
        height[i] = (a + b + c + d) / 4
        third = ((d - c) - (c - b)) - ((c - b) - (b - a))  # 0 to the last digit where equal steps follow
        squares[i] = third**2 / THIRD_DIFFERENCE * group
    return height, squares


@compiled
def nonnegative_solution(normal, products, solution):
    """Non-negative least squares from normal equations, by the active sets of Lawson and Hanson.

    Parameters
    ----------
    normal : ndarray of shape (n, n)
        Products of the columns with each other.
    products : ndarray of shape (n,)
        Products of the columns with the data.
    solution : ndarray of shape (n,)
        Solution of similar equations, from which the search begins, or zeros. It is replaced.

    Returns
    -------
    ndarray of shape (n,)
        ``solution``: the coefficients with the least squares of residuals among those that are not negative.
    """
    n = len(products)
    used, refused = solution > 0, np.zeros(n, np.bool_)
    if used.any():
        _move_to_best(normal, products, solution, used)
    for _ in range(3 * n):
        gradient = products - normal @ solution
        best, steepest = -1, 0.0
        for j in range(n):
            scale = np.abs(products[j]) * _ROUNDING * n
            if not used[j] and not refused[j] and gradient[j] > scale:
                fall = gradient[j] / np.sqrt(normal[j, j])
                if fall > steepest:
                    best, steepest = j, fall
        if best < 0:
            break
        used[best] = True
        _move_to_best(normal, products, solution, used)
        if used[best]:
            refused[:] = False
        else:
            refused[best] = True
    return solution


@compiled
def _move_to_best(normal, products, solution, used):
    """Move to the best coefficients of the columns in use; columns that become negative leave.

    ``solution`` and ``used``, an ndarray of bool, are changed.
    """
    while used.any():
        places = np.flatnonzero(used)
        best = _solve(normal, products, places)
        share = 1.0
        for i, place in enumerate(places):
            if best[i] <= 0:
                share = min(share, solution[place] / max(solution[place] - best[i], 1e-300))
        for i, place in enumerate(places):
            solution[place] += share * (best[i] - solution[place])
            if best[i] <= 0 and solution[place] <= 1e-300 + _ROUNDING * np.abs(best[i]):
                solution[place], used[place] = 0.0, False
        if share == 1.0:
            return


@compiled
def _solve(normal, products, places):
    """Solve the normal equations of some columns; the last of dependent columns get zero."""
    k = len(places)
    lower, values = np.zeros((k, k)), np.zeros(k)
    for i in range(k):
        for j in range(i + 1):
            total = normal[places[i], places[j]]
            for m in range(j):
                total -= lower[i, m] * lower[j, m]
            if i > j:
                lower[i, j] = total / lower[j, j]
            else:
                is_dependent = total <= 10 * _ROUNDING * normal[places[i], places[i]]
                lower[i, i] = np.inf if is_dependent else np.sqrt(total)
        total = products[places[i]]
        for m in range(i):
            total -= lower[i, m] * values[m]
        values[i] = total / lower[i, i]
    for i in range(k - 1, -1, -1):
        for m in range(i + 1, k):
            values[i] -= lower[m, i] * values[m]
        values[i] /= lower[i, i]
    return values
