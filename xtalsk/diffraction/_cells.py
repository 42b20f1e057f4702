"""Base class of the transformers of diffraction cells: blank cells and remarks on cells."""

import warnings

import numpy as np

from xtalsk.diffraction._plausibility import NOT_MEASURED, REMARKS
from xtalsk.utils import BrokenCellWarning, CellTransformer, name_rows
from xtalsk.utils._cell_transformer import KnownCell


class _Column(list):
    """Checked cells with their row numbers and the name of their column."""

    def __init__(self, cells, rows, name):
        super().__init__(cells)
        self.rows = rows
        self.name = name


class DiffractionTransformer(CellTransformer):
    """Base class of the transformers of images and scans.

    A subclass defines ``_blank_reason(cell)``, which returns why a checked cell holds nothing, or None. Such
    a cell counts as not measured, and a `BrokenCellWarning` names its row. ``_features(cells)`` returns one
    further column: a sum of keys of `REMARKS` for each cell. Remarks become warnings that name the rows.
    """

    def _checked_cells(self, cells, name):
        """Return the checked cells of the specimens that were measured, and their row numbers."""
        checked, rows = super()._checked_cells(cells, name)
        kept, blank = [], []
        for place, (cell, row) in enumerate(zip(checked, rows, strict=True)):
            reason = None if isinstance(cell, KnownCell) else self._blank_reason(cell)
            if reason is None:
                kept.append(place)
            else:
                blank.append(f"row {row} of column {name or '(unnamed)'}: {reason}")
        if blank:
            warnings.warn(
                f"{type(self).__name__}: {len(blank)} of {len(cells)} specimens count as not measured:\n"
                + "\n".join(blank),
                BrokenCellWarning,
                stacklevel=4,
            )
        rows = [rows[place] for place in kept]
        return _Column([checked[place] for place in kept], rows, name), rows

    def _cached_features(self, cells):
        """Return features and lost cells (see the base class), and warn of what is unusual about cells."""
        features, lost = super()._cached_features(cells)
        remarks = np.nan_to_num(features[:, -1]).astype(int)
        for remark, text in REMARKS.items():
            rows = [row for row, code in zip(cells.rows, remarks, strict=True) if code & remark]
            if rows:
                column = cells.name or "(unnamed)"
                message = f"{type(self).__name__}: {name_rows(rows)} of column {column}: {text}"
                warning = BrokenCellWarning if remark & NOT_MEASURED else UserWarning
                warnings.warn(message, warning, stacklevel=4)
        features[(remarks & NOT_MEASURED) > 0] = np.nan
        return features[:, :-1], lost


def add_remarks(features, remarks=0):
    """Append the column of remarks to features (n, n_features)."""
    column = np.broadcast_to(np.asarray(remarks, dtype=features.dtype), len(features))
    return np.column_stack([features, column])
