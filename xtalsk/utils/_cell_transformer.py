"""The one base class: a column of specimens in, a block of features out."""

import warnings
from weakref import WeakKeyDictionary

import numpy as np
from joblib import Parallel, delayed
from joblib import hash as hash_of
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from xtalsk.utils._validation import check_column, check_option, is_missing

_cache = WeakKeyDictionary()  # features of a cell by the transformer that made them, while the cell lives


class BrokenCellWarning(UserWarning):
    """Some specimens could not be read and count as not measured; the message names them."""


class CellTransformer(TransformerMixin, BaseEstimator):
    """Base of the transformers that turn one column of specimens into a block of float32 features.

    A subclass gives ``_check_params()``, ``_check_cell(cell)`` -> checked cell (or raises ValueError or
    OSError, to which row and column are added here), ``_features(cells)`` -> array of shape
    (n_cells, n_features), and ``_feature_names()`` -> list of ``[a-z0-9_]`` names. It has the parameters
    ``on_error`` and, where ``_features`` is slow, ``n_jobs`` and ``cache``; cells that are cached must be
    hashable by identity, as the dataclasses of `xtalsk.io` are.
    """

    def _check_params(self):
        pass

    def fit(self, X, y=None):
        """Check the parameters; nothing is learnt, and the cells themselves are checked in `transform`.

        Parameters
        ----------
        X : Series, DataFrame of one column, or list of n_specimens cells
        y : ignored

        Returns
        -------
        self
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
            None or NaN marks a specimen without this modality.

        Returns
        -------
        ndarray of float32, shape (n_specimens, n_features)
            A row of NaN for each specimen without this modality.

        Raises
        ------
        ValueError
            If a cell cannot be used and ``on_error="raise"``; the message names its row and column.
        """
        check_is_fitted(self)
        cells, name = check_column(X)
        expected = getattr(self, "feature_names_in_", [None])[0]
        if name is not None and expected is not None and name != expected:
            raise ValueError(f"fitted on column {expected!r}, asked to transform column {name!r}")
        checked, rows = self._checked_cells(cells, name)
        out = np.full((len(cells), len(self._feature_names())), np.nan, dtype=np.float32)
        if rows:
            out[rows] = self._cached_features(checked)
        return out

    def _cached_features(self, cells):
        if not getattr(self, "cache", False):
            return self._parallel_features(cells)
        params = {k: v for k, v in self.get_params().items() if k not in ("cache", "n_jobs", "on_error")}
        key = hash_of((type(self).__name__, params))
        new = [cell for cell in cells if key not in _cache.get(cell, ())]
        if new:
            for cell, row in zip(new, self._parallel_features(new), strict=True):
                _cache.setdefault(cell, {})[key] = row
        return np.stack([_cache[cell][key] for cell in cells])

    def _parallel_features(self, cells):
        n_jobs = getattr(self, "n_jobs", None)
        if n_jobs in (None, 1) or len(cells) < 2:
            return self._features(cells)
        chunk = max(1, min(64, len(cells) // 8))
        parts = Parallel(n_jobs=n_jobs)(
            delayed(self._features)(cells[i : i + chunk]) for i in range(0, len(cells), chunk)
        )
        return np.concatenate(parts)

    def _checked_cells(self, cells, name):
        """Return the checked cells that were measured, and their rows."""
        checked, rows, broken = [], [], []
        for row, cell in enumerate(cells):
            if is_missing(cell):
                continue
            try:
                checked.append(self._check_cell(cell))
            except (ValueError, OSError) as error:
                message = f"row {row} of column {name or '(unnamed)'}: {error}"
                if self.on_error == "raise":
                    raise ValueError(f"{type(self).__name__}: {message}") from error
                broken.append(message)
            else:
                rows.append(row)
        if broken:
            warnings.warn(
                f"{type(self).__name__}: {len(broken)} of {len(cells)} specimens count as not measured:\n"
                + "\n".join(broken),
                BrokenCellWarning,
                stacklevel=3,
            )
        return checked, rows

    def get_feature_names_out(self, input_features=None):
        """Names of the features.

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
