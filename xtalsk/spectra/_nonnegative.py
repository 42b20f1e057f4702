"""Least squares in which some amplitudes must not be negative."""

import numpy as np
from scipy.linalg import cho_factor, cho_solve, solve_triangular
from scipy.optimize import nnls

_RIDGE = 1e-6  # of a column's own weight, which keeps near-parallel columns apart
_PATIENCE = 6  # exchanges that may pass without progress
_TOLERANCE = 1e-9


def _pivot(gram, target, active):
    """Minimise x'Gx / 2 - x't over x >= 0 by block principal pivoting, from a guess of what is above zero.

    It exchanges all amplitudes of the wrong sign at once and is some forty times faster for a hundred columns
    than Lawson and Hanson's method in SciPy, which changes one at a time (L. F. Portugal, J. J. Júdice and
    L. N. Vicente, Math. Comp. 63 (1994) 625). Where near-parallel columns make it go round in circles,
    SciPy's takes over.
    """
    active, n = active.copy(), len(target)
    limit = _TOLERANCE * max(np.abs(target).max(initial=0), 1e-300)
    fewest, patience = n + 1, _PATIENCE
    while patience:
        x = np.zeros(n)
        x[active] = np.linalg.solve(gram[np.ix_(active, active)], target[active])
        wrong = np.where(active, x < 0, gram @ x - target < -limit)
        n_wrong = np.count_nonzero(wrong)
        if not n_wrong:
            return x
        fewest, patience = (n_wrong, _PATIENCE) if n_wrong < fewest else (fewest, patience - 1)
        active ^= wrong
    upper = np.linalg.cholesky(gram).T
    return nnls(upper, solve_triangular(upper, target, trans=1), maxiter=30 * n)[0]


class NonnegativeSystem:
    """Counts as a sum of columns, of which the first have amplitudes that are not negative.

    The others are free but for a Gaussian prior. They are eliminated once, so that subsets of the
    first columns cost little.

    Parameters
    ----------
    positive : ndarray of shape (n_positive, n_bins)
    free : ndarray of shape (n_free, n_bins)
    precision : ndarray of shape (n_free,)
        Inverse variance of the prior of each free amplitude, above 0.
    expected : ndarray of shape (n_free,)
        Mean of that prior.
    counts, weights : ndarray of shape (n_bins,)
        Weights are inverse variances.
    stiffness : ndarray of shape (n_positive, n_positive)
        Quadratic form of the positive amplitudes to minimise along.
    """

    def __init__(self, positive, free, precision, expected, counts, weights, stiffness=0.0):
        columns = np.vstack([positive, free])
        weighted = columns * weights
        gram, target = weighted @ columns.T, weighted @ counts
        p = len(positive)
        gram[:p, :p] += stiffness
        self._columns, self._n_positive = columns, p
        self._reduced, self._rest = gram[:p, :p], target[:p]
        if len(free):
            gram[range(p, len(columns)), range(p, len(columns))] += precision
            target[p:] += precision * expected
            factor = cho_factor(gram[p:, p:])
            self._carried = cho_solve(factor, gram[p:, :p])
            self._alone = cho_solve(factor, target[p:])
            self._reduced = self._reduced - gram[:p, p:] @ self._carried
            self._rest = self._rest - self._carried.T @ target[p:]
        else:
            self._carried, self._alone = np.zeros((0, p)), np.zeros(0)
        self._scale = 1 / np.sqrt(np.diag(self._reduced).clip(1e-30))
        self._scaled = self._reduced * np.outer(self._scale, self._scale)
        self._scaled[np.diag_indices(p)] = 1 + _RIDGE

    def solve(self, keep=None, start=None):
        """Find the amplitudes, with some of the positive columns only.

        Parameters
        ----------
        keep : ndarray of bool, shape (n_positive,) or None
        start : ndarray of shape (n_positive + n_free,) or None
            Amplitudes near which the solution is expected.

        Returns
        -------
        ndarray of shape (n_positive + n_free,)
            0 for columns that are left out.
        """
        kept = np.arange(self._n_positive) if keep is None else np.flatnonzero(keep)
        first = np.ones(len(kept), bool) if start is None else start[kept] > 0
        found = _pivot(self._scaled[np.ix_(kept, kept)], (self._rest * self._scale)[kept], first)
        positive = np.zeros(self._n_positive)
        positive[kept] = found * self._scale[kept]
        return np.concatenate([positive, self._alone - self._carried @ positive])

    def spreads(self, amplitudes):
        """Return the standard deviation of each positive amplitude while the others above zero vary along."""
        active = np.flatnonzero(amplitudes[: self._n_positive] > 0)
        spread = np.full(self._n_positive, np.inf)
        inverse = np.linalg.inv(self._scaled[np.ix_(active, active)])
        spread[active] = np.sqrt(np.diag(inverse).clip(0)) * self._scale[active]
        return spread

    def curve(self, amplitudes):
        """Sum of the columns, ndarray of shape (n_bins,)."""
        return amplitudes @ self._columns
