"""Compositions beside a scan: one cell of chemistry for each position."""

import numpy as np
from joblib import hash as joblib_hash
from scipy.ndimage import gaussian_filter

from xtalsk.io import ScanAxis, is_signal
from xtalsk.mapping import _constants as const
from xtalsk.mapping._columns import analysis_of
from xtalsk.spectra import CompositionMap, EDSComposition, EELSComposition, map_compositions
from xtalsk.utils._formula import N_ELEMENTS


class Chemistry:
    """Cells of chemistry at the positions of a scan.

    Parameters
    ----------
    cells : ndarray of shape (*shape, 98), or object ndarray of shape (*shape,)
        Atomic fractions, hydrogen first, NaN for elements that cannot be measured; or cells of the column of
        the pipeline, such as formulas.
    is_table : bool
        Whether ``cells`` are atomic fractions.
    axes : tuple of ScanAxis or None

    Attributes
    ----------
    shape : tuple of int
    """

    def __init__(self, cells, is_table, axes=None):
        self.is_table, self.axes = is_table, axes
        self.shape = cells.shape[:-1] if is_table else cells.shape
        self._flat = cells.reshape(-1, cells.shape[-1]) if is_table else cells.ravel()

    def fingerprint(self):
        """Return a hash of all cells."""
        return joblib_hash(self._flat)

    def at(self, numbers):
        """Return the list of cells at positions by their numbers; None where nothing was measured."""
        if not self.is_table:
            return list(self._flat[numbers])
        rows = self._flat[numbers]
        return [None if np.isnan(row).all() else row for row in rows]

    def averaged(self, sigma):
        """Return the compositions averaged with their neighbours, see `read_images`."""
        if not self.is_table:
            raise ValueError("average needs compositions as atomic fractions, not as other cells")
        table = self._flat.reshape(*self.shape, -1)
        is_known = ~np.isnan(table)
        width = [sigma] * len(self.shape) + [0]
        weight = gaussian_filter(is_known.astype(np.float32), width, mode="constant", truncate=const.REACH)
        total = gaussian_filter(np.where(is_known, table, 0), width, mode="constant", truncate=const.REACH)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = np.where(is_known.any(axis=-1, keepdims=True) & (weight > 1e-6), total / weight, np.nan)
        return Chemistry(mean.astype(np.float32), True, self.axes)

    def of_groups(self, group, n_groups):
        """Return the mean composition of each group of positions, a list of n_groups cells.

        ``group`` (n_positions,) holds numbers of groups, -1 for positions without one.
        """
        if not self.is_table:
            raise ValueError("group needs compositions as atomic fractions, not as other cells")
        means = []
        for number in range(n_groups):
            rows = self._flat[group == number]
            rows = rows[~np.isnan(rows).all(axis=1)]
            means.append(rows.mean(axis=0) if len(rows) else None)
        return means


def to_chemistry(spectra, pipeline, column, **options):
    """Return what was measured beside a scan as `Chemistry`.

    Parameters
    ----------
    spectra : CompositionMap, ndarray of cells or of atomic fractions, or HyperSpy signal
    pipeline : Pipeline
    column : str
    **options
        Of `map_compositions`, for a signal.

    Raises
    ------
    ValueError
        If they are none of these.
    """
    if isinstance(spectra, np.ndarray) and spectra.dtype.kind in "OU":
        return Chemistry(spectra.astype(object), is_table=False)
    if isinstance(spectra, np.ndarray) and spectra.shape[-1:] == (N_ELEMENTS,) and spectra.dtype.kind == "f":
        return Chemistry(np.asarray(spectra, dtype=np.float32), is_table=True)
    if is_signal(spectra):
        usual = EELSComposition if column == "eels" else EDSComposition
        analysis = analysis_of(pipeline, column)
        spectra = map_compositions(usual() if analysis is None else analysis, spectra, **options)
    if not isinstance(spectra, CompositionMap):
        raise ValueError(
            "spectra must be the result of map_compositions, a HyperSpy signal, atomic fractions of shape "
            f"(..., {N_ELEMENTS}) or an array of cells such as formulas, got {type(spectra).__name__}"
        )
    axes = tuple(
        ScanAxis(str(axis.get("name") or "yx"[i - len(spectra.axes)]), size, *_scale(axis))
        for i, (axis, size) in enumerate(zip(spectra.axes, spectra.shape, strict=False))
    )
    table = spectra.all_fractions().reshape(*spectra.shape, N_ELEMENTS)
    return Chemistry(table, is_table=True, axes=axes or None)


def _scale(axis):
    """Return scale, offset and units of an axis of a map of compositions."""
    return float(axis.get("scale") or 1.0), float(axis.get("offset") or 0.0), str(axis.get("units") or "")
