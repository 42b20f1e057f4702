"""Blocks of features; each block is computed from one column of the specimens."""

import re

from sklearn.compose import ColumnTransformer

__all__ = ["make_features"]

_BLOCK_NAME = re.compile(r"[a-z0-9]+(_[a-z0-9]+)*")


def _check_block(name, block):
    """Return name, transformer and column of a block; raise ValueError if one of them cannot be used."""
    if not _BLOCK_NAME.fullmatch(name):
        raise ValueError(
            f"the block name {name!r} must consist of a-z and 0-9, with single underscores between them"
        )
    if not isinstance(block, tuple) or len(block) != 2 or not isinstance(block[0], str):
        raise ValueError(
            f"block {name!r} must be a tuple (column of the specimens, transformer), got {block!r}"
        )
    column, transformer = block
    if isinstance(transformer, type) or not (
        transformer == "drop" or (hasattr(transformer, "fit") and hasattr(transformer, "transform"))
    ):
        raise ValueError(f"block {name!r} needs an instance of a transformer, or 'drop', got {transformer!r}")
    return name, transformer, column


def make_features(*, n_jobs=None, verbose=False, **blocks):
    """Make the transformer that computes blocks of features from columns of the specimens.

    Parameters
    ----------
    n_jobs : int or None, default=None
        Number of blocks to compute in parallel.
    verbose : bool, default=False
        Whether `fit` prints the time of each block.
    **blocks : tuple of (str, transformer)
        ``name=(column, transformer)`` for each block: the column of the specimens (``"rings"``,
        ``"formula"`` ...) and the transformer or pipeline that computes features from it, or ``"drop"``.
        Several blocks may use the same column. A name consists of a-z and 0-9 with single underscores between
        them; ``n_jobs`` and ``verbose`` cannot be names.

    Returns
    -------
    ColumnTransformer
        Its output is a pandas DataFrame of float32 features named ``block__feature``. Columns of the
        specimens that no block uses are dropped. The blocks are parameters:
        ``set_params(diffraction="drop")`` removes one, and a grid search can compare several transformers
        for one block.

    Raises
    ------
    ValueError
        If there is no block, a name has other characters, or a block is not a column and a transformer.

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
    return ColumnTransformer(
        [_check_block(name, block) for name, block in blocks.items()],
        remainder="drop",
        n_jobs=n_jobs,
        verbose=verbose,
        verbose_feature_names_out=True,
    ).set_output(transform="pandas")
