"""Least squares in which some amplitudes must not be negative."""

import numpy as np
from scipy.linalg import cho_factor, cho_solve, solve_triangular
from scipy.optimize import nnls

_RIDGE = 1e-9  # of a column's own weight: near-parallel columns need every digit


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
    """

    def __init__(self, positive, free, precision, expected, counts, weights):
        columns = np.vstack([positive, free])
        weighted = columns * weights
        gram, target = weighted @ columns.T, weighted @ counts
        p = len(positive)
        self._columns, self._n_positive = columns, p
        self._reduced, self._rest = gram[:p, :p], target[:p]
        if len(free):
            gram[range(p, len(columns)), range(p, len(columns))] += precision
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

    def solve(self, keep=None):
        """Find the amplitudes, with some of the positive columns only.

        Parameters
        ----------
        keep : ndarray of bool, shape (n_positive,) or None

        Returns
        -------
        ndarray of shape (n_positive + n_free,)
            0 for columns that are left out.
        """
        kept = np.arange(self._n_positive) if keep is None else np.flatnonzero(keep)
        upper = np.linalg.cholesky(self._scaled[np.ix_(kept, kept)]).T
        target = solve_triangular(upper, (self._rest * self._scale)[kept], trans=1)
        positive = np.zeros(self._n_positive)
        positive[kept] = nnls(upper, target, maxiter=30 * len(kept))[0] * self._scale[kept]
        return np.concatenate([positive, self._alone - self._carried @ positive])

    def spreads(self, amplitudes):
        """Standard deviation of each positive amplitude when those above zero, and the free ones, vary along."""
        active = np.flatnonzero(amplitudes[: self._n_positive] > 0)
        spread = np.full(self._n_positive, np.inf)
        inverse = np.linalg.inv(self._scaled[np.ix_(active, active)])
        spread[active] = np.sqrt(np.diag(inverse).clip(0)) * self._scale[active]
        return spread

    def curve(self, amplitudes):
        """Sum of the columns, ndarray of shape (n_bins,)."""
        return amplitudes @ self._columns
