"""Sparse matrices with one row for each line, group or bin, and one column for each bin."""

from typing import NamedTuple

import numpy as np

from xtalsk.spectra.eds import _row_kernels as kernels


class Rows(NamedTuple):
    """A sparse matrix as compiled loops read it: each row is made of runs of neighbouring bins.

    Parameters
    ----------
    starts : ndarray of int, shape (n_rows + 1,)
        Where the runs of each row begin, and the end of the last row.
    bins : ndarray of int, shape (n_runs,)
        First bin of each run.
    ends : ndarray of int, shape (n_runs + 1,)
        Where the values of each run begin, and the end of the last run.
    values : ndarray of shape (n_values,)
    """

    starts: np.ndarray
    bins: np.ndarray
    ends: np.ndarray
    values: np.ndarray


def rows_of(matrix):
    """Return a csr_matrix as `Rows`."""
    matrix.sum_duplicates()  # sorts the values of each row, too
    is_first = np.ones(matrix.nnz, bool)
    is_first[1:] = np.diff(matrix.indices) != 1
    of_rows = matrix.indptr[:-1]
    is_first[of_rows[of_rows < matrix.nnz]] = True
    runs = np.flatnonzero(is_first)
    return Rows(
        np.searchsorted(runs, matrix.indptr), matrix.indices[runs], np.append(runs, matrix.nnz), matrix.data
    )


def multiply(rows, vector):
    """Return the product of a sparse matrix and a vector, ndarray of shape (n_rows,)."""
    out = np.empty(len(rows.starts) - 1)
    kernels.multiply(rows, vector, out)
    return out


def dense_rows(rows, chosen, n_bins):
    """Return some rows of a sparse matrix, ndarray of shape (n_chosen, n_bins)."""
    out = np.zeros((len(chosen), n_bins))
    kernels.add_rows(rows, chosen, out)
    return out
