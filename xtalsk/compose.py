"""Columns of specimens, and blocks of features that are each computed from one of them."""

import difflib
import re

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin, clone

from xtalsk.columns import MODALITIES
from xtalsk.utils._column_transformer import ColumnTransformer

__all__ = ["SpecimenColumns", "make_features"]

_BLOCK_NAME = re.compile(r"[a-z0-9]+(_[a-z0-9]+)*")


def _check_block(name, block):
    """Return name, transformer and column of each block that a keyword of `make_features` stands for.

    Raises
    ------
    ValueError
        If the name, the column or the transformer cannot be used.
    """
    if not _BLOCK_NAME.fullmatch(name):
        raise ValueError(
            f"the block name {name!r} must consist of a-z and 0-9, with single underscores between them"
        )
    if not isinstance(block, tuple) or len(block) != 2 or not _is_column(block[0]):
        raise ValueError(
            f"block {name!r} must be a tuple (column of the specimens or list of columns, transformer), got "
            f"{block!r}"
        )
    column, transformer = block
    if isinstance(transformer, type) or not (
        transformer == "drop" or (hasattr(transformer, "fit") and hasattr(transformer, "transform"))
    ):
        raise ValueError(f"block {name!r} needs an instance of a transformer, or 'drop', got {transformer!r}")
    if isinstance(column, str):
        return [(name, transformer, column)]
    return [(f"{name}_{i}", clone(transformer, safe=False), one) for i, one in enumerate(column, 1)]


def _is_column(column):
    """Return whether ``column`` is the name of a column, or a list of different names."""
    if isinstance(column, str):
        return True
    is_list = isinstance(column, list | tuple) and len(column) > 0
    return is_list and all(isinstance(one, str) for one in column) and len(set(column)) == len(column)


def make_features(*, n_jobs=None, verbose=False, **blocks):
    """Make the transformer that computes blocks of features from columns of the specimens.

    Parameters
    ----------
    n_jobs : int or None, default=None
        Number of blocks to compute in parallel.
    verbose : bool, default=False
        Whether `fit` prints the time of each block.
    **blocks : tuple of (str or list of str, transformer)
        ``name=(column, transformer)`` for each block: the column of the specimens (``"rings"``,
        ``"formula"`` ...) and the transformer or pipeline that computes features from it, or ``"drop"``.
        Several blocks may use the same column. A list of columns, such as the zones ``["spots_1",
        "spots_2"]`` of one crystal, makes the blocks ``name_1``, ``name_2`` and so on, each with a clone of
        the transformer. A name consists of a-z and 0-9 with single underscores between them; ``n_jobs`` and
        ``verbose`` cannot be names.

    Returns
    -------
    ColumnTransformer
        Its output is a pandas DataFrame of float32 features named ``block__feature``. Columns of the
        specimens that no block uses are dropped. The blocks are parameters:
        ``set_params(diffraction="drop")`` removes one, and a grid search can compare several transformers
        for one block. After `fit`, ``set_params`` of ``on_error``, ``n_jobs`` and ``cache`` takes effect
        without another `fit`.

    Raises
    ------
    ValueError
        If there is no block, a name has other characters or stands for two blocks, or a block is not a
        column, or a list of columns, and a transformer.

    Examples
    --------
    >>> import pandas as pd
    >>> from xtalsk.compose import make_features
    >>> from xtalsk.composition import ElementPresence, RankedElements
    >>> features = make_features(
    ...     presence=("formula", ElementPresence()), ranked=("formula", RankedElements(n_ranks=2))
    ... )
    >>> X = features.fit_transform(pd.DataFrame({"formula": ["SiO2", None]}))
    >>> X[["presence__o", "presence__fe", "ranked__rank1_z", "ranked__rank2_z"]]
       presence__o  presence__fe  ranked__rank1_z  ranked__rank2_z
    0          1.0           0.0              8.0             14.0
    1          NaN           NaN              NaN              NaN
    """
    if not blocks:
        raise ValueError("make_features needs at least one block: name=(column, transformer)")
    listed = [one for name, block in blocks.items() for one in _check_block(name, block)]
    names = [name for name, _, _ in listed]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"the block names {repeated} appear twice: a list of columns numbers its blocks")
    return ColumnTransformer(
        listed,
        remainder="drop",
        n_jobs=n_jobs,
        verbose=verbose,
        verbose_feature_names_out=True,
    ).set_output(transform="pandas")


class SpecimenColumns(TransformerMixin, BaseEstimator):
    """Check the columns of the specimens, and add those that were not measured.

    It is the first step of a pipeline that users apply to specimens of their own. A column that it does not
    know is an error, because a misspelt column would count as not measured. It learns nothing: `fit` only
    checks.

    A pipeline for several patterns of a specimen has numbered columns (``spots_1``, ``spots_2``, ...). A
    table may have fewer of them, or the single column ``spots``, which stands for ``spots_1``.

    Parameters
    ----------
    columns : sequence of str, default=("rings", "spots", "powder", "formula", "eds", "eels")
        Columns of the specimens that the next steps of the pipeline use.

    Attributes
    ----------
    n_features_in_ : int
    feature_names_in_ : ndarray of str, shape (n_features_in_,)
        Columns of the specimens that were given to `fit`.

    Examples
    --------
    >>> import pandas as pd
    >>> from xtalsk.compose import SpecimenColumns
    >>> columns = SpecimenColumns(["powder", "formula"])
    >>> columns.fit_transform(pd.DataFrame({"formula": ["SiO2", "NaCl"]}))
      powder formula
    0   None    SiO2
    1   None    NaCl
    """

    def __init__(self, columns=tuple(MODALITIES)):
        self.columns = columns

    def fit(self, X, y=None):
        """Check the specimens.

        Parameters
        ----------
        X : DataFrame of pandas or polars
            One row for each specimen.
        y : ignored

        Returns
        -------
        self

        Raises
        ------
        ValueError
            As in `transform`.
        """
        self._check_columns(X)
        self.n_features_in_ = len(list(X.columns))
        self.feature_names_in_ = np.array(list(X.columns), dtype=object)
        return self

    def transform(self, X):
        """Return the known columns in the order of ``columns``.

        Parameters
        ----------
        X : DataFrame of pandas or polars
            One row for each specimen.

        Returns
        -------
        pandas.DataFrame
            Columns that X lacks are None: not measured. The cells are not copied.

        Raises
        ------
        ValueError
            If X is no DataFrame, has a column twice, has a column that is not known, or has no known column.
        """
        present = self._check_columns(X)
        names = {self._known_name(name): name for name in present}
        index = X.index if isinstance(X, pd.DataFrame) else pd.RangeIndex(len(X))
        absent = pd.Series([None] * len(index), index, dtype=object)
        cells = {
            name: _to_series(X[names[name]], index) if name in names else absent for name in self.columns
        }
        return pd.DataFrame(cells, index=index)

    def _check_columns(self, X):
        """Return the columns of X; raise if one is unknown or if there is none."""
        if isinstance(self.columns, str) or not all(isinstance(name, str) for name in self.columns):
            raise ValueError(f"columns must be a list of names of columns, got {self.columns!r}")
        if not (hasattr(X, "columns") and hasattr(X, "shape")):
            raise ValueError(
                f"expected a DataFrame of specimens with columns among {list(self.columns)}, got "
                f"{type(X).__name__}"
            )
        present = list(X.columns)
        unknown = [name for name in present if self._known_name(name) not in self.columns]
        if unknown:
            raise ValueError(
                f"unknown columns {unknown}; known columns are {list(self.columns)}"
                + _suggestion(unknown, self.columns)
            )
        if not present:
            raise ValueError(f"the specimens have no column; known columns are {list(self.columns)}")
        repeated = sorted({name for name in present if present.count(name) > 1})
        if repeated:
            raise ValueError(f"the columns {repeated} appear more than once")
        for name in present:
            known = self._known_name(name)
            if known != name and known in present:
                raise ValueError(f"the column {name!r} stands for {known!r}, which X has, too")
        return present

    def _known_name(self, name):
        """Return the column that a column of X stands for: ``spots`` for ``spots_1`` if there are zones."""
        first = f"{name}_1"
        return first if name not in self.columns and first in self.columns else name

    def get_feature_names_out(self, input_features=None):
        """Return the names of the columns.

        Parameters
        ----------
        input_features : ignored

        Returns
        -------
        ndarray of str
        """
        return np.array(list(self.columns), dtype=object)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.allow_nan = True
        tags.requires_fit = False
        return tags


def _to_series(column, index):
    """Return a column of pandas as it is, and one of polars as a Series of objects."""
    if isinstance(column, pd.Series):
        return column
    return pd.Series(column.to_list(), index, dtype=object)


def _suggestion(unknown, known):
    """Return the end of a message: the known columns that unknown ones resemble, or nothing."""
    pairs = {name: difflib.get_close_matches(str(name).strip().lower(), known, n=1) for name in unknown}
    meant = [f"{match[0]!r} for {name!r}" for name, match in pairs.items() if match]
    return f"; perhaps {', '.join(meant)}" if meant else ""
