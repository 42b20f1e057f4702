"""Base class of the transformers that turn spectra into compositions."""

import warnings
from functools import partial

import numpy as np
from sklearn.utils.validation import check_is_fitted

from xtalsk.utils import BrokenCellWarning, CellTransformer
from xtalsk.utils._formula import FEATURE_NAMES, N_ELEMENTS, check_symbol
from xtalsk.utils._parallel import map_cells
from xtalsk.utils._validation import check_column, name_rows

# Not looked for by default: hydrogen, noble gases, and elements without a stable isotope
_NOT_LOOKED_FOR = (1, 2, 10, 18, 36, 54, 86, 43, 61, 84, 85, 87, 88, 89, 91, *range(93, 99))
_MAX_PARTS = 32  # jobs that a table is split into
_MAX_REASONS = 5  # spectra without a composition whose reason a warning states


def check_elements(name, elements):
    """Return the atomic numbers of a list of symbols.

    Parameters
    ----------
    name : str
        Name of the parameter, for error messages.
    elements : sequence of str
        Symbols of elements.

    Returns
    -------
    ndarray of int

    Raises
    ------
    ValueError
        If ``elements`` is a string, or if one of them is not the symbol of an element.
    """
    if isinstance(elements, str):
        raise ValueError(f"{name} must be a list of symbols, got the string {elements!r}")
    return np.array([check_symbol(symbol) for symbol in elements], dtype=int)


class SpectrumComposition(CellTransformer):
    """Base class of the transformers that turn spectra into atomic fractions.

    A subclass defines ``_check_cell(cell)`` and ``_analysis(spectrum)``. ``_analysis`` returns an object with
    the arrays ``fractions``, ``presence`` and ``uncertainty`` of shape (98,), hydrogen first, or None if the
    spectrum cannot be analysed. A subclass has the parameters ``elements``, ``on_error`` and ``n_jobs``.
    """

    def _allowed(self):
        """Return which elements to look for, by atomic number, ndarray of bool of shape (99,)."""
        allowed = np.zeros(N_ELEMENTS + 1, dtype=bool)
        if self.elements is None:
            allowed[1:] = True
            allowed[list(_NOT_LOOKED_FOR)] = False
            return allowed
        numbers = check_elements("elements", self.elements)
        if not len(numbers):
            raise ValueError("elements must be None or a list of symbols, got an empty list")
        allowed[numbers] = True
        return allowed

    def _rows(self, cells, name):
        """Return an array of the analysis of each cell, shape (n_cells, 98)."""
        rows = np.full((len(cells), N_ELEMENTS), np.nan)
        for row, cell in zip(rows, cells, strict=True):
            analysis = self._analysis(cell)
            if self._failure(analysis) is None:
                row[:] = getattr(analysis, name)
        return rows

    def _failure(self, analysis):
        """Return why the result of ``_analysis`` is no composition, str; None if it is one."""
        return "it holds no counts that can be analysed" if analysis is None else None

    def _report_features(self, cells, rows, features, name):
        """Warn about spectra that were analysed but have no composition."""
        failed = [i for i, row in enumerate(rows) if np.isnan(features[row]).all()]
        if not failed:
            return
        reasons = [
            f"row {rows[i]} of column {name or '(unnamed)'}: {self._failure(self._analysis(cells[i]))}"
            for i in failed[:_MAX_REASONS]
        ]
        if len(failed) > _MAX_REASONS:
            reasons.append(f"and {name_rows([rows[i] for i in failed[_MAX_REASONS:]])}")
        warnings.warn(
            f"{type(self).__name__}: {len(failed)} of {len(features)} spectra were not explained and count "
            "as not measured:\n" + "\n".join(reasons),
            BrokenCellWarning,
            stacklevel=3,
        )

    def _features(self, cells):
        return self._rows(cells, "fractions")

    def _feature_names(self):
        return list(FEATURE_NAMES)

    def _table(self, X, name):
        """Return an array of the analysis of each specimen, shape (n_specimens, 98)."""
        check_is_fitted(self)
        cells, column = check_column(X)
        checked, rows = self._checked_cells(cells, column)
        table = np.full((len(cells), N_ELEMENTS), np.nan, dtype=np.float32)
        if rows:
            size = -(-len(rows) // min(len(rows), _MAX_PARTS))
            table[rows], lost = map_cells(partial(self._rows, name=name), checked, size, self.n_jobs)
            self._report_lost([rows[i] for i in lost], table)
            kept = [i for i in range(len(rows)) if i not in set(lost)]
            self._report_features([checked[i] for i in kept], [rows[i] for i in kept], table, column)
        return table

    def presence_score(self, X):
        """Return a score between 0 and 1 for the presence of each element.

        The score increases with the significance of the element and is 0.5 at the threshold ``n_sigma``.
        It is not a calibrated probability.

        Parameters
        ----------
        X : Series, DataFrame of one column, or list of n_specimens cells
            Spectra.

        Returns
        -------
        ndarray of float32, shape (n_specimens, 98)
            Hydrogen to californium. Elements that the spectrum cannot show are NaN.
        """
        return self._table(X, "presence")

    def uncertainty(self, X):
        """Return the standard deviation of each atomic fraction.

        It includes counting statistics and errors of the cross-sections.

        Parameters
        ----------
        X : Series, DataFrame of one column, or list of n_specimens cells
            Spectra.

        Returns
        -------
        ndarray of float32, shape (n_specimens, 98)
            NaN where the fraction is NaN. For elements that were not found it is the standard deviation of
            their fraction (`EELSComposition`) or 0 (`EDSComposition`). `EDSComposition` also gives it for
            elements that are NaN because their lines lie under those of others.
        """
        return self._table(X, "uncertainty")
