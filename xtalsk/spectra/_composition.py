"""What the transformers of spectra into compositions share."""

import numpy as np
from joblib import Parallel, delayed
from sklearn.utils.validation import check_is_fitted

from xtalsk.utils import CellTransformer
from xtalsk.utils._formula import FEATURE_NAMES, N_ELEMENTS, check_symbol
from xtalsk.utils._validation import check_column

_RARE = (1, 2, 10, 18, 36, 54, 86, 43, 61, 84, 85, 87, 88, 89, 91, *range(93, 99))


def check_elements(name, elements):
    """Atomic numbers of a list of symbols, ndarray of int.

    Raises
    ------
    ValueError
        If it is a string, or holds what is no symbol of an element.
    """
    if isinstance(elements, str):
        raise ValueError(f"{name} must be a list of symbols, got the string {elements!r}")
    return np.array([check_symbol(symbol) for symbol in elements], dtype=int)


class SpectrumComposition(CellTransformer):
    """Base of the transformers of spectra into atomic fractions.

    A subclass gives ``_check_cell(cell)`` and ``_analysis(spectrum)``, which returns an object with the
    arrays ``fractions``, ``presence`` and ``deviations`` of shape (98,), hydrogen first, or None where the
    spectrum holds nothing to analyse. It has the parameters ``elements``, ``on_error`` and ``n_jobs``.
    """

    def _allowed(self):
        """Elements that may be there, by atomic number, ndarray of bool of shape (99,)."""
        allowed = np.zeros(N_ELEMENTS + 1, dtype=bool)
        if self.elements is None:
            allowed[1:] = True
            allowed[list(_RARE)] = False
            return allowed
        numbers = check_elements("elements", self.elements)
        if not len(numbers):
            raise ValueError("elements must be None or a list of symbols, got an empty list")
        allowed[numbers] = True
        return allowed

    def _rows(self, cells, name):
        rows = np.full((len(cells), N_ELEMENTS), np.nan)
        for row, cell in zip(rows, cells, strict=True):
            analysis = self._analysis(cell)
            if analysis is not None:
                row[:] = getattr(analysis, name)
        return rows

    def _features(self, cells):
        return self._rows(cells, "fractions")

    def _feature_names(self):
        return list(FEATURE_NAMES)

    def _table(self, X, name):
        """Another row of each analysis than the fractions, shape (n_specimens, 98)."""
        check_is_fitted(self)
        cells, column = check_column(X)
        checked, rows = self._checked_cells(cells, column)
        out = np.full((len(cells), N_ELEMENTS), np.nan, dtype=np.float32)
        if rows:
            parts = np.array_split(np.arange(len(rows)), min(len(rows), 32))
            done = Parallel(n_jobs=self.n_jobs)(
                delayed(self._rows)([checked[i] for i in part], name) for part in parts
            )
            out[rows] = np.concatenate(done)
        return out

    def presence_score(self, X):
        """Probability that each element is there.

        It grows with the significance, a half at the threshold, and is no frequency.

        Parameters
        ----------
        X : Series, DataFrame of one column, or list of n_specimens cells

        Returns
        -------
        ndarray of float32, shape (n_specimens, 98)
            Hydrogen to californium; NaN for elements that the spectrum cannot tell.
        """
        return self._table(X, "presence")

    def uncertainty(self, X):
        """Estimate the standard deviation of each fraction, cross-sections included.

        Parameters
        ----------
        X : Series, DataFrame of one column, or list of n_specimens cells

        Returns
        -------
        ndarray of float32, shape (n_specimens, 98)
            NaN where the fraction is. Of elements that were not found it is the error of finding them, or 0
            where that is not known.
        """
        return self._table(X, "deviations")
