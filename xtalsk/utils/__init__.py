"""Checks that several rooms use, and the base class of the transformers."""

from xtalsk.utils import _fork  # noqa: F401 - makes torch safe in forked processes
from xtalsk.utils._cell_transformer import BrokenCellWarning, CellTransformer
from xtalsk.utils._device import check_device
from xtalsk.utils._not_measured import (
    ALL_MISSING,
    NotMeasuredWarning,
    check_empty_rows,
    is_empty_row,
    missing_label,
    most_probable,
    of_all_classes,
)
from xtalsk.utils._parallel import LostWorkerError
from xtalsk.utils._validation import (
    check_classes,
    check_column,
    check_number,
    check_option,
    groups_params,
    is_missing,
    name_rows,
    select_rows,
    to_float32,
)

__all__ = [
    "ALL_MISSING",
    "BrokenCellWarning",
    "CellTransformer",
    "LostWorkerError",
    "NotMeasuredWarning",
    "check_classes",
    "check_column",
    "check_device",
    "check_empty_rows",
    "check_number",
    "check_option",
    "groups_params",
    "is_empty_row",
    "is_missing",
    "missing_label",
    "most_probable",
    "name_rows",
    "of_all_classes",
    "select_rows",
    "to_float32",
]
