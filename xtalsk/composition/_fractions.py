"""Atomic fractions, and the base of the transformers that start from them."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from xtalsk.utils import CellTransformer
from xtalsk.utils._formula import FEATURE_NAMES, N_ELEMENTS, SYMBOLS, check_composition

_Z_OF_NAME = {name: z for z, name in enumerate(FEATURE_NAMES, start=1)}


@dataclass(frozen=True, eq=False)
class _TableRow:
    """Amounts of the elements in a row of a table, NaN for elements that cannot be measured."""

    amounts: np.ndarray


def _is_matrix(X):
    """Tell a table of atomic fractions, one column an element, from a column of compositions."""
    if isinstance(X, pd.DataFrame):
        return X.shape[1] > 1 and all(pd.api.types.is_numeric_dtype(dtype) for dtype in X.dtypes)
    return isinstance(X, np.ndarray) and X.ndim == 2 and X.dtype.kind in "fiu"


def _columns_to_elements(names):
    """Atomic number of each column from the end of its name: ``fe``, ``eds__fe`` or ``x_Fe``."""
    numbers = []
    for name in names:
        z = _Z_OF_NAME.get(str(name).rsplit("_", 1)[-1].lower())
        if z is None:
            raise ValueError(f"column {name!r} of a table of atomic fractions must end in an element symbol")
        if z in numbers:
            raise ValueError(f"column {name!r}: {SYMBOLS[z - 1]} has a column already")
        numbers.append(z)
    return np.array(numbers)


def _rows_to_cells(X):
    """One cell a row of a table of atomic fractions, None for a row of NaN."""
    values = np.asarray(X, dtype=float)
    if isinstance(X, pd.DataFrame):
        numbers = _columns_to_elements(X.columns)
    elif values.shape[1] > N_ELEMENTS:
        raise ValueError(
            f"a matrix of atomic fractions has at most {N_ELEMENTS} columns, hydrogen first, "
            f"got {values.shape[1]}"
        )
    else:
        numbers = np.arange(1, values.shape[1] + 1)
    spread = np.zeros((len(values), N_ELEMENTS))
    spread[:, numbers - 1] = values
    measured = ~np.isnan(values).all(axis=1)
    cells = [_TableRow(row) if some else None for row, some in zip(spread, measured, strict=True)]
    column = pd.Series([None] * len(cells), dtype=object, index=getattr(X, "index", None))
    column[:] = cells
    return column


class _ElementTransformer(CellTransformer):
    """Base of the transformers of compositions: adds the table of atomic fractions as a form of input.

    A subclass gives ``_from_fractions(fractions)``: array of shape (n_cells, 98) to array of shape
    (n_cells, n_features). Elements that could not be measured are NaN there if it sets ``_keeps_unmeasured``,
    and 0 otherwise.
    """

    _keeps_unmeasured = False

    def fit(self, X, y=None):
        """Check the parameters; nothing is learnt, and the compositions are checked in `transform`.

        Parameters
        ----------
        X : Series, DataFrame of one column or list of n_specimens compositions, or table of atomic fractions
            Compositions are formula strings, pymatgen Compositions or mappings of symbols to amounts. A
            table has one column an element: all columns of a DataFrame end in an element symbol, those of
            a plain 2-D array start with hydrogen in order of atomic number.
        y : ignored

        Returns
        -------
        self
        """
        if not _is_matrix(X):
            return super().fit(X)
        super().fit(_rows_to_cells(X))
        self.n_features_in_ = X.shape[1]
        if isinstance(X, pd.DataFrame):
            self.feature_names_in_ = np.array(X.columns, dtype=object)
        return self

    def transform(self, X):
        """Compute the features of each composition.

        Parameters
        ----------
        X : Series, DataFrame of one column or list of n_specimens compositions, or table of atomic fractions
            In the form seen in `fit`. None or NaN, or a row of NaN in a table, marks a specimen whose
            composition was not measured. Single NaN in a row of a table mark elements that cannot be
            measured; the fractions of the others add up to 1. A row of zeros, or of zeros and NaN, is a
            specimen in which no element was found.

        Returns
        -------
        ndarray of float32, shape (n_specimens, n_features)
            A row of NaN for each specimen without composition.

        Raises
        ------
        ValueError
            If a composition cannot be used and ``on_error="raise"``; the message names row and column.
        """
        if not _is_matrix(X):
            return super().transform(X)
        expected = getattr(self, "feature_names_in_", None)
        if X.shape[1] != getattr(self, "n_features_in_", X.shape[1]):
            raise ValueError(f"fitted on {self.n_features_in_} columns, asked to transform {X.shape[1]}")
        if isinstance(X, pd.DataFrame) and expected is not None and list(X.columns) != list(expected):
            raise ValueError(
                f"fitted on columns {list(expected)[:5]}, asked to transform {list(X.columns)[:5]}"
            )
        return super().transform(_rows_to_cells(X))

    def _check_cell(self, cell):
        if not isinstance(cell, _TableRow):
            return check_composition(cell)
        if not np.nan_to_num(cell.amounts).any():  # nothing was found
            return cell.amounts
        return np.where(np.isnan(cell.amounts), np.nan, check_composition(cell.amounts))

    def _features(self, cells):
        return self._from_measured(np.stack(cells))

    def _batched(self, _):
        """Make the function that turns atomic fractions, an array (n, 98), into features."""
        return self._from_measured

    def _from_measured(self, fractions):
        if not self._keeps_unmeasured:
            fractions = np.nan_to_num(fractions, nan=0.0)
        return self._from_fractions(fractions)


class ElementFractions(_ElementTransformer):
    """Atomic fraction of each element from hydrogen to californium.

    Elements that could not be measured, single NaN in a table of atomic fractions, stay NaN.

    Parameters
    ----------
    on_error : {"raise", "warn"}, default="raise"
        Whether a composition that cannot be used is an error, or a warning after which it counts as not
        measured.

    Attributes
    ----------
    n_features_in_ : int
        Number of input columns.
    feature_names_in_ : ndarray of str
        Their names, where they have names.

    See Also
    --------
    ElementPresence : Which elements are there, without their amounts.
    RankedElements : Elements in the order of their abundance.

    Notes
    -----
    Formulas are strings such as ``"Fe0.94O"``, ``"Ca(OH)2"`` or ``"CuSO4·5H2O"``; spaces are ignored,
    charges are not understood. Deuterium (D) and tritium (T) count as hydrogen. Amounts are atomic, not by
    weight, and need not sum to one.

    Examples
    --------
    >>> from xtalsk.composition import ElementFractions
    >>> fractions = ElementFractions().set_output(transform="pandas")
    >>> fractions.fit_transform(["SiO2", "Ca(OD)2", None])[["h", "o", "si", "ca"]].round(2)
          h     o    si   ca
    0   0.0  0.67  0.33  0.0
    1   0.4  0.40  0.00  0.2
    2   NaN   NaN   NaN  NaN
    """

    _keeps_unmeasured = True

    def __init__(self, *, on_error="raise"):
        self.on_error = on_error

    def _from_fractions(self, fractions):
        return fractions

    def _feature_names(self):
        return list(FEATURE_NAMES)
