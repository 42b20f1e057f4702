"""Compiled linear algebra of small normal equations; see `NonnegativeSystem`."""

import numpy as np

from xtalsk.utils._compiled import compiled_any_order as compiled

_PATIENCE = 3  # exchanges of all wrong columns that may fail before columns are exchanged one by one


@compiled
def factorise(matrix, chosen, lower):
    """Write the Cholesky factor of the chosen rows and columns of a matrix into ``lower`` (n, n)."""
    for i in range(len(chosen)):
        for j in range(i + 1):
            total = 0.0
            for k in range(j):
                total += lower[i, k] * lower[j, k]
            value = matrix[chosen[i], chosen[j]] - total
            lower[i, j] = value / lower[j, j] if j < i else np.sqrt(value)


@compiled
def forward(lower, x, n):
    """Solve L y = x in place, for the first ``n`` rows."""
    for i in range(n):
        total = 0.0
        for k in range(i):
            total += lower[i, k] * x[k]
        x[i] = (x[i] - total) / lower[i, i]


@compiled
def backward(lower, x, n):
    """Solve L' y = x in place, for the first ``n`` rows."""
    for i in range(n - 1, -1, -1):
        x[i] /= lower[i, i]
        for k in range(i):
            x[k] -= lower[i, k] * x[i]


@compiled
def eliminate(gram, target, p, coupling, offset):
    """Eliminate all amplitudes from number ``p`` on from normal equations, in place.

    They are ``offset`` (n_free,) minus ``coupling`` (n_free, p) times the first ``p`` amplitudes. The first
    ``p`` rows and columns of ``gram`` and ``target`` become those of what remains.
    """
    n = len(gram) - p
    lower = np.empty((n, n))
    factorise(gram, np.arange(p, p + n), lower)
    for i in range(n):
        offset[i] = target[p + i]
        coupling[i] = gram[p + i, :p]
        for k in range(i):
            offset[i] -= lower[i, k] * offset[k]
            for j in range(p):
                coupling[i, j] -= lower[i, k] * coupling[k, j]
        offset[i] /= lower[i, i]
        for j in range(p):
            coupling[i, j] /= lower[i, i]
    for k in range(n):
        for i in range(p):
            target[i] -= coupling[k, i] * offset[k]
            for j in range(p):
                gram[i, j] -= coupling[k, i] * coupling[k, j]
    backward(lower, offset, n)
    for i in range(n - 1, -1, -1):
        for j in range(p):
            coupling[i, j] /= lower[i, i]
        for k in range(i):
            for j in range(p):
                coupling[k, j] -= lower[i, k] * coupling[i, j]


@compiled
def scale_gram(gram, ridge, scale, scaled):
    """Scale the diagonal of ``gram`` to 1 and add ``ridge``; the factor of each column is ``scale`` (p,)."""
    for i in range(len(gram)):
        scale[i] = 1 / np.sqrt(max(gram[i, i], 1e-30))
        for j in range(i):
            scaled[i, j] = gram[i, j] * scale[i] * scale[j]
            scaled[j, i] = scaled[i, j]
        scaled[i, i] = 1 + ridge


@compiled
def reduce_system(gram, target, penalty, penalised, precision, mean, ridge, coupling, offset, scale, scaled):
    """Add priors to normal equations, and write what remains of them without the free amplitudes.

    Parameters
    ----------
    gram, target : ndarray of shapes (p + n_free, p + n_free) and (p + n_free,)
        Normal equations; changed in place. They get the priors.
    penalty, penalised, precision, mean : ndarray and int
        See `NonnegativeSystem`.
    ridge, scale, scaled
        See `scale_gram`.
    coupling, offset
        See `eliminate`.

    Returns
    -------
    ndarray of shape (p,)
        Target of the scaled non-negative amplitudes.
    """
    p = len(scale)
    for i in range(len(penalty)):
        for j in range(len(penalty)):
            gram[penalised + i, penalised + j] += penalty[i, j]
    for i in range(len(precision)):
        gram[p + i, p + i] += precision[i]
        target[p + i] += precision[i] * mean[i]
    rest = gram.copy()
    eliminate(rest, target, p, coupling, offset)
    scale_gram(rest[:p, :p], ridge, scale, scaled)
    return target[:p] * scale


@compiled
def _solve_passive(gram, target, passive, lower, x):
    """Solve for the passive columns, and write the gradient of the others into ``x``."""
    chosen = np.flatnonzero(passive)
    n = len(chosen)
    factorise(gram, chosen, lower)
    part = target[chosen]
    forward(lower, part, n)
    backward(lower, part, n)
    for i in range(len(target)):
        if not passive[i]:
            total = -target[i]
            for k in range(n):
                total += gram[i, chosen[k]] * part[k]
            x[i] = total
    for k in range(n):
        x[chosen[k]] = part[k]


@compiled
def minimise(gram, target, usable, passive, tolerance, x):
    """Minimise x'Gx / 2 - x't for x >= 0 by block principal pivoting.

    L. F. Portugal, J. J. Júdice and L. N. Vicente, Math. Comp. 63 (1994) 625.

    Parameters
    ----------
    gram, target : ndarray of shapes (p, p) and (p,)
    usable : ndarray of bool, shape (p,)
        Columns whose amplitude may differ from 0.
    passive : ndarray of bool, shape (p,)
        Columns to start with, for example those of a similar problem; the amplitudes above 0 at the end.
    tolerance : float
        Smallest negative gradient, relative to the largest target.
    x : ndarray of shape (p,)
        Gets the solution.

    Returns
    -------
    bool
        Whether the solution was found.
    """
    p = len(target)
    lower = np.empty((p, p))
    least = -tolerance * np.abs(target).max() if p else 0.0
    for i in range(p):
        passive[i] &= usable[i]
    fewest, patience = p + 1, _PATIENCE
    for _ in range(5 * p + 20):
        _solve_passive(gram, target, passive, lower, x)
        n_wrong, last = 0, 0
        for i in range(p):
            if usable[i] and x[i] < (0.0 if passive[i] else least):
                n_wrong, last = n_wrong + 1, i
        if n_wrong == 0:
            is_solved = True
            for i in range(p):
                is_solved &= np.isfinite(x[i])
                x[i] = x[i] if passive[i] else 0.0
            return is_solved
        patience = _PATIENCE if n_wrong < fewest else patience - 1
        fewest = min(fewest, n_wrong)
        for i in range(last if patience < 0 else 0, last + 1):
            if usable[i] and x[i] < (0.0 if passive[i] else least):
                passive[i] = not passive[i]
    return False


@compiled
def write_spreads(scaled, scale, amplitudes, spreads):
    """Write the standard deviations of amplitudes above 0; others are infinite. See `scale_gram`."""
    p = len(scale)
    active = np.flatnonzero(amplitudes[:p] > 0)
    n = len(active)
    lower, inverse, variance = np.empty((n, n)), np.zeros((n, n)), np.zeros(n)
    factorise(scaled, active, lower)
    for i in range(n):  # rows of the inverse of the factor
        for k in range(i):
            for j in range(k + 1):
                inverse[i, j] -= lower[i, k] * inverse[k, j]
        inverse[i, i] = 1.0
        for j in range(i + 1):
            inverse[i, j] /= lower[i, i]
            variance[j] += inverse[i, j] ** 2
    spreads[:] = np.inf
    for i in range(n):
        spreads[active[i]] = np.sqrt(variance[i]) * scale[active[i]]


@compiled
def prune(
    scaled, target, scale, tolerance, n, threshold, limit, keep, passive, positive, spreads, significance
):
    """Leave out columns that are not significant until none is left; see `NonnegativeSystem.prune`.

    Parameters
    ----------
    scaled, target, scale : ndarray of shapes (p, p), (p,) and (p,)
        See `scale_gram`.
    tolerance : float
        See `minimise`.
    n : int
        Only the first columns can be left out.
    threshold, limit : float
        See `NonnegativeSystem.prune`.
    keep, passive : ndarray of bool, shape (p,)
        Columns that are used, and those whose amplitude is above 0. They are changed in place.
    positive : ndarray of shape (p,)
        Solution for the scaled columns; changed in place.
    spreads, significance : ndarray of shape (p,) and (n,)
        Get the standard deviation of each amplitude, and the significance of the columns that are used.

    Returns
    -------
    bool
        Whether the last solution was found.
    """
    while True:
        write_spreads(scaled, scale, positive, spreads)
        least = -1
        for i in range(n):
            if keep[i]:
                significance[i] = positive[i] * scale[i] / spreads[i]
                if least < 0 or significance[i] < significance[least]:
                    least = i
        if least < 0 or significance[least] >= threshold:
            return True
        for i in range(n):
            keep[i] &= significance[i] >= limit
        keep[least] = False
        if not minimise(scaled, target, keep, passive, tolerance, positive):
            return False


@compiled
def subtract_explained(gram, active, ridge, overlap, information):
    """Subtract from the information on further columns what the active columns explain of each.

    Parameters
    ----------
    gram : ndarray of shape (n, n)
        Normal equations.
    active : ndarray of int, shape (n_active,)
    ridge : float
        Added to the diagonal of the scaled normal equations.
    overlap : ndarray of shape (n_active, n_extra)
        Products of the active and the further columns; changed in place.
    information : ndarray of shape (n_extra,)
        Squares of the further columns; changed in place.
    """
    n = len(active)
    part, scale, scaled, lower = gram[active][:, active], np.empty(n), np.empty((n, n)), np.empty((n, n))
    scale_gram(part, ridge, scale, scaled)
    factorise(scaled, np.arange(n), lower)
    for i in range(n):
        for j in range(overlap.shape[1]):
            overlap[i, j] *= scale[i]
        for k in range(i):
            for j in range(overlap.shape[1]):
                overlap[i, j] -= lower[i, k] * overlap[k, j]
        for j in range(overlap.shape[1]):
            overlap[i, j] /= lower[i, i]
            information[j] -= overlap[i, j] ** 2
