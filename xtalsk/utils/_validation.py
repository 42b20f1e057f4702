"""Checks of parameters, of columns of specimens and of feature matrices."""

import warnings
from numbers import Real

import numpy as np
import pandas as pd
from sklearn.utils import check_scalar
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import has_fit_parameter


def is_missing(cell):
    """Return whether a cell is empty (None, NaN or ``pandas.NA``), because the modality was not measured.

    Examples
    --------
    >>> from xtalsk.utils import is_missing
    >>> is_missing(None), is_missing(float("nan")), is_missing("SiO2")
    (True, True, False)
    """
    if cell is None or type(cell).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(cell, float | np.floating) and bool(np.isnan(cell))


def check_classes(y):
    """Raise ValueError unless labels are classes.

    scikit-learn warns of a regression problem if most labels are different. Space groups of a small set of
    crystals often are.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The number of unique classes is greater than 50%")
        check_classification_targets(y)


def check_option(name, value, options):
    """Return ``value`` if it is one of ``options``, else raise ValueError that names the parameter."""
    if not any(value is o or (type(value) is type(o) and value == o) for o in options):
        raise ValueError(f"{name} must be one of {list(options)}, got {value!r}")
    return value


def check_number(value, name, **limits):
    """Return ``value`` if it is a finite real number within limits.

    Parameters
    ----------
    value : object
    name : str
        Name of the parameter, for error messages.
    **limits
        ``min_val``, ``max_val`` and ``include_boundaries`` of `sklearn.utils.check_scalar`.

    Raises
    ------
    TypeError
        If the value is not a real number.
    ValueError
        If the value is not finite, or not within the limits.
    """
    check_scalar(value, name, Real, **limits)
    if not np.isfinite(value):
        raise ValueError(f"{name} must be finite, got {value!r}")
    return value


def from_polars(X):
    """Return a Series or DataFrame of polars as one of pandas, anything else as it is.

    Numbers stay numbers; columns of other values hold objects. Neither polars nor pyarrow is imported.
    """
    if type(X).__module__.partition(".")[0] != "polars":
        return X
    if hasattr(X, "collect"):
        raise ValueError(f"expected a column of specimens, got a polars {type(X).__name__}; collect it first")
    if hasattr(X, "get_columns"):
        return pd.DataFrame({column.name: from_polars(column) for column in X.get_columns()})
    if hasattr(X, "to_list"):
        is_number = X.dtype.is_numeric()
        return pd.Series(
            X.to_numpy() if is_number else X.to_list(),
            dtype=None if is_number else object,
            name=X.name or None,
        )
    return X


def check_column(X):
    """Return the cells of one column of specimens as a list, and the name of the column.

    Parameters
    ----------
    X : Series, DataFrame of one column, list, or array with one specimen per entry of its first axis
        Series and DataFrames are those of pandas or polars. A 2-D object array with one column is a column.
        In any other array of two or more dimensions, each entry of the first axis is the array of one
        specimen.

    Returns
    -------
    cells : list
        One entry per specimen, not copied.
    name : str or None
        Name of the column, or None if it has none.

    Raises
    ------
    ValueError
        If ``X`` has more or less than one column, or no specimen.
    """
    name, X = None, from_polars(X)
    if isinstance(X, pd.DataFrame):
        if X.shape[1] != 1:
            raise ValueError(f"expected one column of specimens, got {X.shape[1]}: {list(X.columns)[:5]}")
        X = X.iloc[:, 0]
    if isinstance(X, pd.Series):
        name = X.name if isinstance(X.name, str) else None
        cells = list(X.array)
    elif isinstance(X, np.ndarray):
        if X.ndim == 0:
            raise ValueError("expected a column of specimens, got a single value")
        cells = list(X[:, 0]) if X.dtype == object and X.ndim == 2 and X.shape[1] == 1 else list(X)
    elif isinstance(X, list | tuple):
        cells = list(X)
    else:
        raise ValueError(f"expected a column of specimens (Series, list or array), got {type(X).__name__}")
    if not cells:
        raise ValueError("expected at least one specimen, got an empty column")
    return cells, name


def name_rows(rows):
    """Return the first ten row numbers as text for a message.

    Examples
    --------
    >>> from xtalsk.utils import name_rows
    >>> name_rows([3]), name_rows([3, 7])
    ('row 3', 'rows 3, 7')
    """
    listed = ", ".join(str(row) for row in rows[:10])
    return f"row{'s' * (len(rows) > 1)} {listed}{', ...' * (len(rows) > 10)}"


def groups_params(estimator, groups):
    """Return ``{"groups": groups}`` if there are groups and ``fit`` of the estimator takes them, else {}."""
    return {"groups": groups} if groups is not None and has_fit_parameter(estimator, "groups") else {}


def select_rows(X, rows):
    """Return the rows with these numbers of a table, an array or a list."""
    if hasattr(X, "iloc"):
        return X.iloc[rows]
    return (X if hasattr(X, "shape") else np.asarray(X))[rows]


def to_float32(X, names):
    """Return a feature matrix as float32.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_columns)
    names : sequence of str or None
        Names of the columns, for error messages.

    Returns
    -------
    ndarray of float32

    Raises
    ------
    ValueError
        If a value is infinite or too large for float32; the message names its row and column.
    """
    with np.errstate(over="ignore"):
        X = X.astype(np.float32, copy=False)
    infinite = np.isinf(X)
    if infinite.any():
        row, column = np.argwhere(infinite)[0]
        label = f" ({names[column]!r})" if names is not None else ""
        raise ValueError(
            f"X contains infinity or a value too large for float32 in row {row}, column {column}{label}; "
            f"mark missing values as NaN"
        )
    return X
