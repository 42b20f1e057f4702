"""Linear least squares in which some amplitudes cannot be negative."""

import numpy as np
from scipy.linalg import cho_factor, cho_solve, solve_triangular
from scipy.optimize import nnls

from xtalsk.spectra.eds._constants import RIDGE

_MAX_ITERATIONS = 30  # of `nnls`, per column


def _minimise(gram, target):
    """Return the x >= 0 that minimises x'Gx / 2 - x't, for a positive definite matrix G."""
    upper = np.linalg.cholesky(gram).T
    reduced = solve_triangular(upper, target, trans=1)
    return nnls(upper, reduced, maxiter=_MAX_ITERATIONS * len(target))[0]


class NonnegativeSystem:
    """Counts as a sum of columns, the first of which have non-negative amplitudes.

    The amplitudes of the other columns are free and have a normal prior. The class eliminates them once from
    the normal equations. What remains is a small problem in the non-negative amplitudes, which `solve` can
    repeat for subsets of the columns at little cost.

    `scipy.optimize.nnls` solves this problem. An own solver by block principal pivoting (L. F. Portugal, J.
    J. Júdice and L. N. Vicente, Math. Comp. 63 (1994) 625) gave no gain and was removed. With `nnls` of SciPy
    1.17, the analysis of a spectrum takes 1.00 (27 measured spectra) and 1.01 times as long (207 simulated
    ones), and fractions differ by less than 1e-13. The solution itself takes 1.2 times as long, but is 5% of
    the analysis.

    Parameters
    ----------
    positive : ndarray of shape (n_positive, n_bins)
        Columns with non-negative amplitudes.
    free : ndarray of shape (n_free, n_bins)
        Columns with free amplitudes.
    precision : ndarray of shape (n_free,)
        Inverse variance of the prior of each free amplitude, above 0.
    mean : ndarray of shape (n_free,)
        Mean of the prior of each free amplitude.
    counts : ndarray of shape (n_bins,)
        Counts in each bin.
    weights : ndarray of shape (n_bins,)
        Inverse variance of the counts.
    penalty : ndarray of shape (n_positive, n_positive), default=0.0
        Quadratic form of the non-negative amplitudes, which is added to the sum of squares.
    """

    def __init__(self, positive, free, precision, mean, counts, weights, penalty=0.0):
        columns = np.vstack([positive, free])
        weighted = columns * weights
        gram, target = weighted @ columns.T, weighted @ counts
        p = len(positive)
        gram[:p, :p] += penalty
        self._columns, self._n_positive = columns, p
        self._weighted, self._counts, self._weights, self._all = weighted, counts, weights, gram
        self._gram, self._target = gram[:p, :p], target[:p]
        self._coupling, self._offset = np.zeros((0, p)), np.zeros(0)
        if len(free):
            gram[range(p, len(columns)), range(p, len(columns))] += precision
            self._eliminate(gram, target[p:] + precision * mean)
        self._scale = 1 / np.sqrt(np.diag(self._gram).clip(1e-30))
        self._scaled = self._gram * np.outer(self._scale, self._scale)
        self._scaled[np.diag_indices(p)] = 1 + RIDGE

    def _eliminate(self, gram, free_target):
        """Eliminate the free amplitudes, which are ``offset - coupling @ positive``."""
        p = self._n_positive
        factor = cho_factor(gram[p:, p:])
        self._coupling = cho_solve(factor, gram[p:, :p])
        self._offset = cho_solve(factor, free_target)
        self._gram = self._gram - gram[:p, p:] @ self._coupling
        self._target = self._target - self._coupling.T @ free_target

    def solve(self, keep=None):
        """Return the amplitudes of all columns, or of a subset of the non-negative ones.

        Parameters
        ----------
        keep : ndarray of bool, shape (n_positive,) or None
            Non-negative columns to use; all by default.

        Returns
        -------
        ndarray of shape (n_positive + n_free,)
            Amplitudes, 0 for columns that are not used.
        """
        kept = np.arange(self._n_positive) if keep is None else np.flatnonzero(keep)
        scale = self._scale[kept]
        positive = np.zeros(self._n_positive)
        positive[kept] = _minimise(self._scaled[np.ix_(kept, kept)], self._target[kept] * scale) * scale
        return np.concatenate([positive, self._offset - self._coupling @ positive])

    def spreads(self, amplitudes):
        """Return the standard deviation of each non-negative amplitude, infinite where the amplitude is 0.

        All other amplitudes above 0 vary too, so that overlaps of columns count.
        """
        active = np.flatnonzero(amplitudes[: self._n_positive] > 0)
        spreads = np.full(self._n_positive, np.inf)
        inverse = np.linalg.inv(self._scaled[np.ix_(active, active)])
        spreads[active] = np.sqrt(np.diag(inverse).clip(0)) * self._scale[active]
        return spreads

    def add(self, amplitudes, extra):
        """Return what the amplitude of each of some further columns would be, if it alone were added.

        Parameters
        ----------
        amplitudes : ndarray of shape (n_positive + n_free,)
            Solution without them.
        extra : ndarray of shape (n_extra, n_bins)

        Returns
        -------
        added, spreads : ndarray of shape (n_extra,)
            Amplitudes, which may be negative, and their standard deviations.
        alone : ndarray of shape (n_extra,)
            Standard deviations if no other column overlapped.
        """
        p = self._n_positive
        active = np.concatenate([np.flatnonzero(amplitudes[:p] > 0), np.arange(p, len(self._columns))])
        scale = 1 / np.sqrt(np.diag(self._all)[active].clip(1e-30))
        gram = self._all[np.ix_(active, active)] * np.outer(scale, scale)
        gram[np.diag_indices(len(active))] = 1 + RIDGE
        overlap = scale[:, None] * (self._weighted[active] @ extra.T)
        alone = (extra**2) @ self._weights
        information = alone - (overlap * cho_solve(cho_factor(gram), overlap)).sum(0)
        information = information.clip(RIDGE * alone)
        residual = self._weights * (self._counts - self.curve(amplitudes))
        with np.errstate(divide="ignore", invalid="ignore"):
            return extra @ residual / information, information**-0.5, alone**-0.5

    def curve(self, amplitudes):
        """Return the sum of the columns, ndarray of shape (n_bins,)."""
        return amplitudes @ self._columns
