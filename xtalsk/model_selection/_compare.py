"""Cross-validation of several models on the same folds."""

from numbers import Integral

import numpy as np
import pandas as pd
from sklearn import config_context
from sklearn.base import clone
from sklearn.model_selection import StratifiedGroupKFold, check_cv, cross_validate
from sklearn.utils.validation import check_consistent_length
from tqdm import tqdm

from xtalsk.metrics import make_level_scorers
from xtalsk.model_selection._references import add_references, fit_params


def _make_splits(cv, X, y, groups):
    if groups is not None and (cv is None or isinstance(cv, Integral)):
        cv = StratifiedGroupKFold(5 if cv is None else cv)
    splits = list(check_cv(cv, y, classifier=True).split(X, y, groups))
    for fold, (train, test) in enumerate(splits):
        shared = () if groups is None else np.intersect1d(groups[train], groups[test])
        if len(shared):
            raise ValueError(
                f"in fold {fold} the group {shared[0]} and {len(shared) - 1} more are in both the training "
                f"and the test part; cv must respect the groups, as StratifiedGroupKFold does, got {cv!r}"
            )
    return splits


def _default_scoring(y):
    numbers = np.issubdtype(y.dtype, np.integer) and y.min() >= 1 and y.max() <= 230
    return make_level_scorers("space_group" if numbers else None)


def _cross_validate(name, model, X, y, groups, **options):
    params = {} if groups is None else fit_params(model, groups)
    try:
        with config_context(enable_metadata_routing=False):
            result = cross_validate(clone(model), X, y, params=params, error_score="raise", **options)
    except Exception as error:
        raise RuntimeError(f"the model {name!r} failed: {error}") from error
    scores = {key.removeprefix("test_"): value for key, value in result.items() if key.startswith("test_")}
    splits = options["cv"]
    return pd.DataFrame(
        {
            "model": name,
            "fold": range(len(splits)),
            **scores,
            "fit_time": result["fit_time"],
            "predict_time": result["score_time"],
            "n_train": [len(train) for train, _ in splits],
            "n_test": [len(test) for _, test in splits],
        }
    )


def compare(
    pipelines,
    X,
    y,
    *,
    groups=None,
    cv=None,
    scoring=None,
    chemistry_only=False,
    n_jobs=None,
    verbose=0,
):
    """Cross-validate several models on the same folds.

    Two kinds of reference are always in the table. ``"prior"`` knows only how frequent the labels are. Each
    model whose features come from diffraction *and* chemistry (blocks of `make_features` on the columns
    rings, spots or powder, and formula, eds or eels) is repeated without the chemistry blocks as
    ``"<name> (diffraction only)"``, unless this very model is among the pipelines. Specimens without
    diffraction then get the prior.

    Parameters
    ----------
    pipelines : dict of str to classifier
        The models by name, unfitted; they are cloned.
    X : DataFrame of n_specimens
        As from `make_specimens`; anything that the models take.
    y : array-like of shape (n_specimens,)
        Space-group numbers or any other labels.
    groups : array-like of shape (n_specimens,) or None, default=None
        What must not straddle a split. They also go to searches, and to classifiers whose ``fit`` takes
        groups.
    cv : int, splitter, iterable of splits or None, default=None
        An int or None (5) is the number of folds of ``StratifiedGroupKFold`` with groups, of
        ``StratifiedKFold`` without. Splits are made once, so all models see the same ones.
    scoring : callable, str, list, dict or None, default=None
        As in ``cross_validate``. None gives the scores of `make_level_scorers`: for each level of symmetry if
        all labels are integers from 1 to 230, otherwise for the one level ``"label"``. Integer labels that
        are no space groups need ``scoring=make_level_scorers(hierarchy=None)``.
    chemistry_only : bool, default=False
        Whether to repeat each fused model without its diffraction blocks, too.
    n_jobs : int or None, default=None
        Number of folds to run in parallel.
    verbose : int, default=0
        1 shows a bar over the models, 2 and more also what ``cross_validate`` tells.

    Returns
    -------
    DataFrame
        One row for each model and fold: columns ``model``, ``fold``, the scores (such as
        ``space_group_accuracy``), ``fit_time`` and ``predict_time`` in s (features included; the latter with
        the time to score), ``n_train`` and ``n_test``.

    Raises
    ------
    ValueError
        If there is no model, another model is named ``"prior"``, lengths do not fit or a group is on both
        sides of a split.
    RuntimeError
        If a model fails; the message names it.

    Notes
    -----
    The features are computed anew for each model and fold, as in use. Where that takes long, give the
    pipelines a ``memory``: pipelines that begin with the same features then share them.

    See Also
    --------
    paired_test : Whether one model of the table is better than another.
    xtalsk.inspection.ComparisonDisplay : Drawing of the table.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn.pipeline import make_pipeline
    >>> from xtalsk.baselines import make_baseline
    >>> from xtalsk.compose import make_features
    >>> from xtalsk.composition import ElementPresence
    >>> from xtalsk.model_selection import compare
    >>> X = pd.DataFrame({"formula": ["NaCl", "KCl", "LiF", "SiO2", "GeO2", "SnO2"] * 5})
    >>> y, groups = [225, 225, 225, 154, 154, 154] * 5, [0, 1, 2, 3, 4, 5] * 5
    >>> model = make_pipeline(
    ...     make_features(presence=("formula", ElementPresence())),
    ...     make_baseline("extra_trees", n_estimators=10, random_state=0),
    ... )
    >>> table = compare({"chemistry": model}, X, y, groups=groups, cv=3)
    >>> table.groupby("model")["crystal_system_accuracy"].mean()
    model
    chemistry    1.0
    prior        0.5
    Name: crystal_system_accuracy, dtype: float64
    """
    if not pipelines:
        raise ValueError("compare needs at least one model: {name: classifier}")
    check_consistent_length(X, y, groups)
    y, groups = np.asarray(y), None if groups is None else np.asarray(groups)
    models = add_references(pipelines, X, chemistry_only)
    options = {
        "cv": _make_splits(cv, X, y, groups),
        "scoring": _default_scoring(y) if scoring is None else scoring,
        "n_jobs": n_jobs,
        "verbose": max(0, verbose - 1),
    }
    progress = tqdm(models.items(), disable=not verbose, unit="model")
    tables = [_cross_validate(name, model, X, y, groups, **options) for name, model in progress]
    return pd.concat(tables, ignore_index=True)
