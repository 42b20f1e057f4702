"""Linear least squares in which some amplitudes cannot be negative."""

import numpy as np
from scipy.linalg import solve_triangular
from scipy.optimize import nnls

from xtalsk.spectra.eds import _nonnegative_kernels as kernels
from xtalsk.spectra.eds._constants import GRADIENT_TOLERANCE, RIDGE

_NO_PENALTY = np.empty((0, 0))
_MAX_ITERATIONS = 30  # of `nnls`, per column


def minimise(gram, target):
    """Return the x >= 0 that minimises x'Gx / 2 - x't, for a positive definite matrix G.

    It defines what the compiled solver finds, and replaces it where that does not converge.
    """
    upper = np.linalg.cholesky(gram).T
    reduced = solve_triangular(upper, target, trans=1)
    return nnls(upper, reduced, maxiter=_MAX_ITERATIONS * len(target))[0]


class NonnegativeSystem:
    """Counts as a sum of columns, the first of which have non-negative amplitudes.

    The amplitudes of the other columns are free and have a normal prior. The class eliminates them once from
    the normal equations. What remains is a small problem in the non-negative amplitudes, which `solve` can
    repeat for subsets of the columns at little cost: each solution starts from the columns of the one before.

    Parameters
    ----------
    columns : ndarray of shape (n_positive + n_free, n_bins)
        Columns with non-negative amplitudes, and then columns with free amplitudes.
    n_positive : int
    precision : ndarray of shape (n_free,)
        Inverse variance of the prior of each free amplitude, above 0.
    mean : ndarray of shape (n_free,)
        Mean of the prior of each free amplitude.
    counts : ndarray of shape (n_bins,)
        Counts in each bin.
    weights : ndarray of shape (n_bins,)
        Inverse variance of the counts.
    penalty : ndarray of shape (n, n) or None
        Quadratic form of some non-negative amplitudes, which is added to the sum of squares.
    penalised : int
        The first of these amplitudes.
    """

    def __init__(self, columns, n_positive, precision, mean, counts, weights, penalty=None, penalised=0):
        self._columns, self._n_positive = columns, n_positive
        self._root, self._counts, self._weights = np.sqrt(weights), counts, weights
        self._weighted = columns * self._root
        self._gram, target = self._weighted @ self._weighted.T, self._weighted @ (self._root * counts)
        n_free = len(columns) - n_positive
        self._coupling, self._offset = np.empty((n_free, n_positive)), np.empty(n_free)
        self._scale, self._scaled = np.empty(n_positive), np.empty((n_positive, n_positive))
        self._target = kernels.reduce_system(
            *(self._gram, target, _NO_PENALTY if penalty is None else penalty, penalised, precision, mean),
            *(RIDGE, self._coupling, self._offset, self._scale, self._scaled),
        )
        self._passive = np.ones(n_positive, bool)

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
        keep = np.ones(self._n_positive, bool) if keep is None else keep
        positive = np.empty(self._n_positive)
        if not kernels.minimise(
            self._scaled, self._target, keep, self._passive, GRADIENT_TOLERANCE, positive
        ):
            self._solve_plainly(keep, positive)
        return self._with_free(positive)

    def _solve_plainly(self, keep, positive):
        """Write the solution for the scaled columns without the compiled solver."""
        kept = np.flatnonzero(keep)
        positive[:] = 0
        positive[kept] = minimise(self._scaled[np.ix_(kept, kept)], self._target[kept])
        self._passive = positive > 0

    def _with_free(self, positive):
        """Return the amplitudes of all columns from those of the scaled non-negative ones."""
        positive = positive * self._scale
        return np.concatenate([positive, self._offset - self._coupling @ positive])

    def prune(self, amplitudes, keep, significance, threshold, limit=np.inf):
        """Leave out columns below a significance, and solve again, until none is below it.

        Parameters
        ----------
        amplitudes : ndarray of shape (n_positive + n_free,)
            Solution for the columns of ``keep``.
        keep : ndarray of bool, shape (n_positive,)
            Non-negative columns that are used; changed in place.
        significance : ndarray of shape (n,)
            Gets the significance of the first n columns in standard deviations, that of columns left out when
            they were. Only these columns can be left out.
        threshold : float
            Standard deviations that a column needs.
        limit : float
            If any column is below the threshold, the least significant one and all below the limit are left
            out, and the others get another chance.

        Returns
        -------
        amplitudes : ndarray of shape (n_positive + n_free,)
            Solution, 0 for columns that are not used.
        spreads : ndarray of shape (n_positive,)
            See `spreads`.
        """
        positive, spreads = amplitudes[: self._n_positive] / self._scale, np.empty(self._n_positive)
        while not kernels.prune(
            *(self._scaled, self._target, self._scale, GRADIENT_TOLERANCE, len(significance), threshold),
            *(min(limit, threshold), keep, self._passive, positive, spreads, significance),
        ):
            self._solve_plainly(keep, positive)
        return self._with_free(positive), spreads

    def spreads(self, amplitudes):
        """Return the standard deviation of each non-negative amplitude, infinite where the amplitude is 0.

        All other amplitudes above 0 vary too, so that overlaps of columns count.
        """
        spreads = np.empty(self._n_positive)
        kernels.write_spreads(self._scaled, self._scale, amplitudes, spreads)
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
        weighted = extra * self._root
        overlap = self._weighted[active] @ weighted.T
        alone = np.einsum("ij,ij->i", weighted, weighted)
        information = alone.copy()
        kernels.subtract_explained(self._gram, active, RIDGE, overlap, information)
        information = information.clip(RIDGE * alone)
        residual = self._root * (self._counts - self.curve(amplitudes))
        with np.errstate(divide="ignore", invalid="ignore"):
            return weighted @ residual / information, information**-0.5, alone**-0.5

    def curve(self, amplitudes):
        """Return the sum of the columns, ndarray of shape (n_bins,)."""
        return amplitudes @ self._columns
