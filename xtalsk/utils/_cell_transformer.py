"""Base class of the transformers that turn a column of specimens into a block of features."""

import warnings
from weakref import WeakKeyDictionary

import numpy as np
from joblib import hash as joblib_hash
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from xtalsk.utils._parallel import LostWorkerError, map_cells
from xtalsk.utils._shared_features import shared_features
from xtalsk.utils._validation import check_column, check_option, is_missing, name_rows

_CACHED_PER_CELL = 4  # rows of features kept for one cell; set by eye
_CHUNK_SIZE = 64  # largest number of cells that one parallel job computes at once; not recorded
_PORTION = 128  # cells that are read from files at once, 0.5 GB of images of 1024 x 1024 pixels
_cache = WeakKeyDictionary()  # cell -> {hash of transformer and parameters: row of features}, oldest first
_sources = WeakKeyDictionary()  # what was read from a file -> the cell that names the file


class BrokenCellWarning(UserWarning):
    """Warns that specimens cannot be used and count as not measured; the message names them."""


class KnownCell:
    """Stands for a cell that is not read from its file, because its features are in the cache."""

    def __init__(self, cell):
        self.cell = cell


def _is_file(cell):
    """Return whether a cell is read from its file when it is used, as a `FileCell` of `xtalsk.io`."""
    return getattr(type(cell), "is_read_on_use", False)


def _source(cell):
    """Return the cell of a column that a checked cell comes from, if it was read from a file, else itself."""
    return cell.cell if isinstance(cell, KnownCell) else _sources.get(cell, cell)


def _portions(cells):
    """Yield columns of the same length that each hold a part of the cells, and None elsewhere.

    There is one part, unless cells are read from files: of these, only a part is in memory at a time.
    """
    if len(cells) <= _PORTION or not any(map(_is_file, cells)):
        yield cells
        return
    for start in range(0, len(cells), _PORTION):
        after = max(0, len(cells) - start - _PORTION)
        yield [None] * start + cells[start : start + _PORTION] + [None] * after


def _remember(cell, key, row):
    """Store one row of features of a cell, and drop the oldest rows beyond the limit."""
    rows = _cache.setdefault(cell, {})
    rows[key] = np.array(row, dtype=np.float32)  # a copy, because a view would keep the whole batch in memory
    for oldest in list(rows)[:-_CACHED_PER_CELL]:
        rows.pop(oldest, None)


class CellTransformer(TransformerMixin, BaseEstimator):
    """Base class of the transformers that turn one column of specimens into a block of float32 features.

    A subclass defines

    - ``_check_params()``: raises ValueError or TypeError if a parameter is invalid;
    - ``_check_cell(cell)``: returns the cell in the form that ``_features`` takes, or raises ValueError or
      OSError. This class adds the row and the column to the message;
    - ``_features(cells)``: returns an array of shape (n_cells, n_features);
    - ``_feature_names()``: returns a list of names of the characters ``[a-z0-9_]``.

    It has the parameter ``on_error``. If ``_features`` is slow, it also has ``n_jobs`` and ``cache``.

    With ``cache=True``, the class keeps the features of each checked cell in memory as long as the cell
    exists. It keeps at most four rows per cell: those of the four parameter sets that were computed last.
    A parameter set is the class name with all parameters except ``cache``, ``n_jobs`` and ``on_error``. The
    cache recognises a cell by its identity, as the dataclasses of `xtalsk.io` have it, and does not notice
    when the data of a cell change. A `FileCell` whose features are in the cache is not read again.

    The files of a column of `FileCell` are read in portions, of which only one is in memory.
    """

    def _check_params(self):
        """Raise ValueError or TypeError if a parameter is invalid."""

    def fit(self, X, y=None):
        """Check the parameters and the column. No cell is read, and nothing is learnt from the data.

        Parameters
        ----------
        X : Series, DataFrame of one column, or list of n_specimens cells
        y : ignored

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If a parameter is invalid, or ``X`` is not one column of specimens.
        """
        check_option("on_error", self.on_error, ("raise", "warn"))
        self._check_params()
        _, name = check_column(X)
        self.n_features_in_ = 1
        if name is not None:
            self.feature_names_in_ = np.array([name], dtype=object)
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_
        return self

    def transform(self, X):
        """Compute the features of each specimen.

        Parameters
        ----------
        X : Series, DataFrame of one column, or list of n_specimens cells
            None or NaN marks a specimen for which this modality was not measured.

        Returns
        -------
        ndarray of float32, shape (n_specimens, n_features)
            The row of a specimen that was not measured is NaN.

        Raises
        ------
        ValueError
            If a cell cannot be used and ``on_error="raise"``; the message names its row and column. Also if
            the column has another name than in `fit`.
        LostWorkerError
            If a worker process was killed and ``on_error="raise"``; it names the rows and holds the others.
        """
        check_is_fitted(self)
        check_option("on_error", self.on_error, ("raise", "warn"))  # set_params may have changed it
        cells, name = check_column(X)
        expected = getattr(self, "feature_names_in_", [None])[0]
        if name is not None and expected is not None and name != expected:
            raise ValueError(f"{type(self).__name__} was fitted on column {expected!r}, got column {name!r}")
        known, key = shared_features(self, cells, name)
        if key in known:
            return known[key][1].copy()
        features = np.full((len(cells), len(self._feature_names())), np.nan, dtype=np.float32)
        for portion in _portions(cells):
            checked, rows = self._checked_cells(self._mark_known(portion), name)
            if rows:
                features[rows], lost = self._cached_features(checked)
                self._report_lost([rows[i] for i in lost], features)
                kept = [i for i in range(len(rows)) if i not in set(lost)]
                self._report_features([checked[i] for i in kept], [rows[i] for i in kept], features, name)
        if key is not None:
            known[key] = cells, features.copy()
        return features

    def _cache_key(self):
        """Return the hash of the class and the parameters, under which features are in the cache."""
        params = {k: v for k, v in self.get_params().items() if k not in ("cache", "n_jobs", "on_error")}
        return joblib_hash((type(self).__name__, params))

    def _mark_known(self, cells):
        """Replace cells of files by `KnownCell` where the cache has their features, unless they are NaN."""
        if not getattr(self, "cache", False) or not any(map(_is_file, cells)):
            return cells
        key = self._cache_key()
        rows = [_cache.get(cell, {}).get(key) if _is_file(cell) else None for cell in cells]
        return [
            cell if row is None or np.isnan(row).all() else KnownCell(cell)
            for cell, row in zip(cells, rows, strict=True)
        ]

    def _cached_features(self, cells):
        """Return the features of checked cells, from the cache where possible if ``cache`` is True.

        Returns
        -------
        features : ndarray of shape (n_cells, n_features)
        lost : list of int
            Positions of the cells whose worker process was killed. Their rows are NaN.
        """
        if not getattr(self, "cache", False):
            return self._parallel_features(cells)
        key, sources = self._cache_key(), [_source(cell) for cell in cells]
        rows = [_cache.get(source, {}).get(key) for source in sources]
        new = [i for i, row in enumerate(rows) if row is None]
        lost = []
        if new:
            computed, lost = self._parallel_features([cells[i] for i in new])
            lost = [new[i] for i in lost]
            for i, row in zip(new, computed, strict=True):
                rows[i] = row
                if i not in lost:
                    _remember(sources[i], key, row)
        return np.stack(rows), lost

    def _parallel_features(self, cells):
        """Return features and lost cells, computed in ``n_jobs`` parallel jobs; see `_cached_features`."""
        n_jobs = getattr(self, "n_jobs", None)
        size = max(1, min(_CHUNK_SIZE, len(cells) // 8))
        return map_cells(self._features, cells, size, n_jobs)

    def _report_lost(self, lost, features):
        """Raise `LostWorkerError` about rows whose worker process was killed, or warn."""
        if not lost:
            return
        message = (
            f"{type(self).__name__}: worker processes were killed, probably for lack of memory; "
            f"{name_rows(lost)} {'was' if len(lost) == 1 else 'were'} not computed"
        )
        if self.on_error == "warn":
            warnings.warn(f"{message} and count as not measured", BrokenCellWarning, stacklevel=3)
            return
        raise LostWorkerError(
            f"{message}; run only these again, with fewer jobs. The attribute features of this error holds "
            "the other rows, and cache=True keeps them",
            lost,
            features,
        )

    def _report_features(self, cells, rows, features, name):
        """Warn about cells whose features cannot be used. A subclass may define it.

        Parameters
        ----------
        cells : list of n_checked cells
        rows : list of int
            Their row numbers.
        features : ndarray of shape (n_specimens, n_features)
        name : str or None
            Name of the column.
        """

    def _checked_cells(self, cells, name):
        """Return the checked cells of the specimens that were measured, and their row numbers."""
        checked, rows, broken = [], [], []
        for row, cell in enumerate(cells):
            if is_missing(cell):
                continue
            try:
                checked.append(cell if isinstance(cell, KnownCell) else self._check_cell(cell))
            except (ValueError, OSError) as error:
                message = f"row {row} of column {name or '(unnamed)'}: {error}"
                if self.on_error == "raise":
                    raise ValueError(f"{type(self).__name__}: {message}") from error
                broken.append(message)
            else:
                rows.append(row)
                if _is_file(cell) and getattr(self, "cache", False):
                    _sources[checked[-1]] = cell
        if broken:
            warnings.warn(
                f"{type(self).__name__}: {len(broken)} of {len(cells)} specimens count as not measured:\n"
                + "\n".join(broken),
                BrokenCellWarning,
                stacklevel=3,
            )
        return checked, rows

    def get_feature_names_out(self, input_features=None):
        """Return the names of the features.

        Parameters
        ----------
        input_features : ignored

        Returns
        -------
        ndarray of str
        """
        check_is_fitted(self)
        return np.array(self._feature_names(), dtype=object)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.allow_nan = True
        tags.requires_fit = True
        return tags
