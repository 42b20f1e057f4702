"""Checks that several rooms use, and the base class of the transformers."""

from xtalsk.utils._cell_transformer import BrokenCellWarning, CellTransformer
from xtalsk.utils._device import check_device
from xtalsk.utils._validation import (
    check_column,
    check_number,
    check_option,
    is_missing,
    name_rows,
    to_float32,
)

__all__ = [
    "BrokenCellWarning",
    "CellTransformer",
    "check_column",
    "check_device",
    "check_number",
    "check_option",
    "is_missing",
    "name_rows",
    "to_float32",
]
