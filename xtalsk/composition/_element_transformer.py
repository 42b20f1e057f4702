"""Base class of the transformers of compositions, and tables of atomic fractions as their input."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from xtalsk.utils import CellTransformer
from xtalsk.utils._formula import FEATURE_NAMES, N_ELEMENTS, SYMBOLS, check_composition, check_symbol
from xtalsk.utils._validation import from_polars, is_missing

_Z_OF_NAME = {name: z for z, name in enumerate(FEATURE_NAMES, start=1)}


@dataclass(frozen=True, eq=False)
class _TableRow:
    """Amounts of the elements, hydrogen first; NaN if an element cannot be measured."""

    amounts: np.ndarray


def _is_table(X):
    """Return whether X is a table of atomic fractions, one column per element, not a column of cells."""
    if isinstance(X, pd.DataFrame):
        return X.shape[1] > 1 and all(pd.api.types.is_numeric_dtype(dtype) for dtype in X.dtypes)
    return isinstance(X, np.ndarray) and X.ndim == 2 and X.dtype.kind in "fiu"


def _atomic_numbers(names):
    """Return the atomic number at the end of each column name: ``fe``, ``eds__fe`` or ``x_Fe``."""
    numbers = []
    for name in names:
        z = _Z_OF_NAME.get(str(name).rsplit("_", 1)[-1].lower())
        if z is None:
            raise ValueError(f"column {name!r} of a table of atomic fractions must end in an element symbol")
        if z in numbers:
            raise ValueError(f"column {name!r}: another column already holds {SYMBOLS[z - 1]}")
        numbers.append(z)
    return np.array(numbers)


def _table_to_cells(X):
    """Return one cell per row of a table of atomic fractions, None for a row of NaN."""
    values = np.asarray(X, dtype=float)
    if isinstance(X, pd.DataFrame):
        numbers = _atomic_numbers(X.columns)
    elif values.shape[1] > N_ELEMENTS:
        raise ValueError(
            f"an array of atomic fractions must have at most {N_ELEMENTS} columns, hydrogen first, "
            f"got {values.shape[1]}"
        )
    else:
        numbers = np.arange(1, values.shape[1] + 1)
    amounts = np.zeros((len(values), N_ELEMENTS))
    amounts[:, numbers - 1] = values
    is_measured = ~np.isnan(values).all(axis=1)
    cells = [
        _TableRow(row) if has_value else None for row, has_value in zip(amounts, is_measured, strict=True)
    ]
    column = pd.Series([None] * len(cells), dtype=object, index=getattr(X, "index", None))
    column[:] = cells
    return column


def _measured_row(cell):
    """Return a composition from a spectrum as a `_TableRow`, None for another cell.

    Such a composition has NaN for elements that cannot be measured, or it is a Series, the row of a table.
    """
    if isinstance(cell, np.ndarray):
        is_row = cell.ndim == 1 and 1 <= cell.size <= N_ELEMENTS and cell.dtype.kind == "f"
        if not (is_row and np.isnan(cell).any()):
            return None
        numbers, values = np.arange(1, cell.size + 1), cell
    elif isinstance(cell, pd.Series) or (isinstance(cell, Mapping) and _has_unmeasured(cell)):
        numbers, values = _atomic_numbers(cell.keys()), [_to_float(*item) for item in cell.items()]
    else:
        return None
    amounts = np.full(N_ELEMENTS, np.nan if np.isnan(values).all() else 0.0)
    amounts[numbers - 1] = values
    return _TableRow(amounts)


def _has_unmeasured(amounts):
    """Return whether a mapping has elements that cannot be measured, besides others."""
    missing = [is_missing(amount) for amount in amounts.values()]
    return any(missing) and not all(missing)


def _to_float(name, amount):
    """Return the amount of an element as a float, NaN if it cannot be measured."""
    try:
        return np.nan if is_missing(amount) else float(amount)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"the amount of {name} is {amount!r}, not a number") from None


def check_elements(name, elements):
    """Return the atomic numbers of a list of symbols; raise ValueError if it is none."""
    if isinstance(elements, str):
        raise ValueError(f"{name} must be a list of symbols such as ('Cu', 'C'), got {elements!r}")
    return np.array([check_symbol(symbol) for symbol in elements], dtype=int)


def _without(fractions, numbers):
    """Return atomic fractions in which some elements are not known: NaN, and the others sum to 1 again."""
    fractions = fractions.copy()
    fractions[:, numbers - 1] = np.nan
    total = np.nansum(fractions, axis=1, keepdims=True)
    return fractions / np.where(total > 0, total, 1)


class ElementTransformer(CellTransformer):
    """Base class of the transformers of compositions, which also accept a table of atomic fractions.

    A subclass defines ``_from_fractions(fractions)``, which turns an array of shape (n_cells, 98) into an
    array of shape (n_cells, n_features). If the subclass sets ``_keeps_unmeasured``, elements that could not
    be measured are NaN in this array. Otherwise they are 0.
    """

    _keeps_unmeasured = False
    exclude = ()  # models that were saved before this parameter existed exclude nothing

    def fit(self, X, y=None):
        """Check the parameters and the form of X. Nothing is learnt from the compositions.

        Parameters
        ----------
        X : Series, DataFrame of one column or list of n_specimens compositions, or table of atomic fractions
            Compositions are formula strings, pymatgen Compositions, mappings or Series of symbols to amounts,
            or 1-D arrays of atomic fractions, hydrogen first. In mappings, Series and arrays, NaN marks an
            element that cannot be measured, as in the rows of `EDSComposition`. A table has one column per
            element. In a DataFrame, the name of each column ends in an element symbol. In a 2-D array, the
            columns are in the order of atomic number and start with hydrogen.
        y : ignored

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If a parameter is invalid, or a column of a table does not belong to exactly one element.
        """
        X = from_polars(X)
        check_elements("exclude", self.exclude)
        if not _is_table(X):
            return super().fit(X)
        super().fit(_table_to_cells(X))
        self.n_features_in_ = X.shape[1]
        if isinstance(X, pd.DataFrame):
            self.feature_names_in_ = np.array(X.columns, dtype=object)
        return self

    def transform(self, X):
        """Compute the features of each composition.

        Parameters
        ----------
        X : Series, DataFrame of one column or list of n_specimens compositions, or table of atomic fractions
            In the same form as in `fit`. None or NaN, or a row of NaN in a table, marks a specimen whose
            composition was not measured. If only some entries of a row are NaN, these elements cannot be
            measured, and the fractions of the others are scaled to a sum of 1. If all other entries are 0,
            no element was detected in the specimen.

        Returns
        -------
        ndarray of float32, shape (n_specimens, n_features)
            The row of a specimen whose composition was not measured is NaN.

        Raises
        ------
        ValueError
            If a composition cannot be used and ``on_error="raise"``; the message names its row and column.
            Also if the columns of a table differ from those in `fit`.
        """
        X = from_polars(X)
        if not _is_table(X):
            return super().transform(X)
        expected = getattr(self, "feature_names_in_", None)
        if X.shape[1] != getattr(self, "n_features_in_", X.shape[1]):
            raise ValueError(
                f"{type(self).__name__} was fitted on {self.n_features_in_} columns, got {X.shape[1]}"
            )
        if isinstance(X, pd.DataFrame) and expected is not None and list(X.columns) != list(expected):
            raise ValueError(
                f"{type(self).__name__} was fitted on columns {list(expected)[:5]}, got {list(X.columns)[:5]}"
            )
        return super().transform(_table_to_cells(X))

    def _check_cell(self, cell):
        if not isinstance(cell, _TableRow):
            row = _measured_row(cell)
            if row is None:
                return check_composition(cell)
            cell = row
        if not np.nan_to_num(cell.amounts).any():  # no element was detected
            return cell.amounts
        return np.where(np.isnan(cell.amounts), np.nan, check_composition(cell.amounts))

    def _features(self, cells):
        return self._from_measured(np.stack(cells))

    def _batched(self, _):
        """Return the function that turns atomic fractions, an array of shape (n_cells, 98), into features."""
        return self._from_measured

    def _from_measured(self, fractions):
        """Return the features of measured fractions, in which NaN marks elements that cannot be measured."""
        if len(self.exclude):
            fractions = _without(fractions, check_elements("exclude", self.exclude))
        if self._keeps_unmeasured:
            return self._from_fractions(fractions)
        features = self._from_fractions(np.nan_to_num(fractions, nan=0.0))
        not_measured = np.isnan(fractions).all(axis=1)
        return np.where(not_measured[:, None], np.nan, features) if not_measured.any() else features
