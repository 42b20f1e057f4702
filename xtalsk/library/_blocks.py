"""Use of the blocks of a feature matrix in search-match, and the table of entries."""

import numpy as np
import pandas as pd

from xtalsk.columns import UNNAMED, split_name
from xtalsk.library._chemistry import element_columns, is_compared

CANDIDATE_COLUMNS = ("row", "rank", "label", "score", "similarity", "probability", "scale", "width")
"""Columns that `LibraryMatch.candidates` adds to those of the entries."""


def use_of(block, X, names):
    """Return the use of a block: an item of ``LibraryMatch.blocks_``."""
    if block.name == UNNAMED or (block.layout == "profile" and block.axis in ("q", "d")):
        return "profile"
    numbers = element_numbers(block, names)
    if numbers is None or not is_compared(numbers).any():
        return "unused"
    values = X[:, block.columns]
    return "presence" if np.isin(values[~np.isnan(values)], (0, 1)).all() else "fractions"


def chemistry_columns(block, names):
    """Return the columns of X that the comparison of a chemistry block uses, and their atomic numbers."""
    numbers = element_numbers(block, names)
    compared = is_compared(numbers)
    return block.columns[compared], numbers[compared]


def element_numbers(block, names):
    """Return the atomic numbers of the columns of a block, or None if they are not elements."""
    return element_columns([split_name(name)[1] for name in names[block.columns]])


def check_entries(entries, n_entries):
    """Return the table of entries with rows counted from 0; None gives a table of one column ``id``.

    Raises
    ------
    ValueError
        If it is not a DataFrame of ``n_entries`` rows, or has a column that `candidates` adds.
    """
    if entries is None:
        return pd.DataFrame({"id": np.arange(n_entries)})
    if not isinstance(entries, pd.DataFrame) or len(entries) != n_entries:
        actual = f"{len(entries)} rows" if isinstance(entries, pd.DataFrame) else type(entries).__name__
        raise ValueError(f"entries must be a DataFrame of one row for each of X, {n_entries}, got {actual}")
    reserved = [name for name in entries.columns if name in CANDIDATE_COLUMNS]
    if reserved:
        raise ValueError(f"entries must not have columns named {reserved}: candidates adds such columns")
    return entries.reset_index(drop=True)
