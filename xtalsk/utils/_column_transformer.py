"""The ColumnTransformer of `make_features`: ``set_params`` reaches the fitted transformers, too."""

import sklearn.compose

from xtalsk.utils._shared_features import sharing

_RUN_TIME = ("on_error", "n_jobs", "cache")  # parameters that change no feature


class ColumnTransformer(sklearn.compose.ColumnTransformer):
    """ColumnTransformer whose fitted blocks follow ``set_params`` of on_error, n_jobs and cache.

    scikit-learn fits clones of the transformers, and ``set_params`` changes only the originals. A change of
    a parameter that changes no feature takes effect here without another `fit`. Other parameters need `fit`.

    Blocks that begin with equal transformers of one column compute its features once.
    """

    def fit_transform(self, X, y=None, **params):
        """Fit all blocks and transform X, as in scikit-learn."""
        with sharing():
            return super().fit_transform(X, y, **params)

    def transform(self, X, **params):
        """Transform X by each block, as in scikit-learn."""
        with sharing():
            return super().transform(X, **params)

    def set_params(self, **params):
        """Set parameters; those that change no feature also in the fitted transformers.

        Parameters
        ----------
        **params
            Names and values, as in scikit-learn.

        Returns
        -------
        self
        """
        super().set_params(**params)
        fitted = {name: block for name, block, _ in getattr(self, "transformers_", [])}
        for name, value in params.items():
            block, _, parameter = name.partition("__")
            if parameter.rpartition("__")[2] in _RUN_TIME and hasattr(fitted.get(block), "set_params"):
                fitted[block].set_params(**{parameter: value})
        return self
