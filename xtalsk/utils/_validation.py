"""Checks at the boundary: options, and columns of specimens."""

from numbers import Real

import numpy as np
import pandas as pd
from sklearn.utils import check_scalar


def is_missing(cell):
    """Tell whether a cell stands for a modality that was not measured: None, NaN or ``pandas.NA``.

    Examples
    --------
    >>> from xtalsk.utils import is_missing
    >>> is_missing(None), is_missing(float("nan")), is_missing("SiO2")
    (True, True, False)
    """
    if cell is None or type(cell).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(cell, float | np.floating) and bool(np.isnan(cell))


def check_option(name, value, options):
    """Raise ValueError unless ``value`` is one of ``options``."""
    if not any(value is o or (type(value) is type(o) and value == o) for o in options):
        raise ValueError(f"{name} must be one of {list(options)}, got {value!r}")
    return value


def check_number(value, name, **limits):
    """Raise unless ``value`` is a finite real number within the limits of sklearn's ``check_scalar``."""
    check_scalar(value, name, Real, **limits)
    if not np.isfinite(value):
        raise ValueError(f"{name} must be finite, got {value!r}")
    return value


def check_column(X):
    """Split one column of specimens into a list of cells and the name of the column.

    Parameters
    ----------
    X : Series, DataFrame of one column, list, or array whose first axis counts the specimens
        A 2-D object array of one column counts as a column; any other array of two or more dimensions is one
        array per specimen.

    Returns
    -------
    cells : list
        One entry a specimen, not copied.
    name : str or None
        Name of the column, where it has one.

    Raises
    ------
    ValueError
        If there is not exactly one column, or no specimen.
    """
    name = None
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
