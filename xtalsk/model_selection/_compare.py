"""Cross-validation of several models on the same folds."""

from numbers import Integral

import numpy as np
import pandas as pd
from sklearn import config_context
from sklearn.base import clone
from sklearn.model_selection import StratifiedGroupKFold, check_cv, cross_validate
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import check_consistent_length
from tqdm import tqdm

from xtalsk.metrics import make_level_scorers
from xtalsk.model_selection._references import add_references, fit_params
from xtalsk.symmetry import check_space_group
from xtalsk.utils import check_option


def _make_splits(cv, X, y, groups):
    """Return the training and test rows of each fold; raise if a group is in both of them."""
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


def _uses_space_groups(model):
    """Return whether a model, or an estimator inside it, has the parameter ``hierarchy="space_group"``."""
    return any(
        name.rsplit("__", 1)[-1] == "hierarchy" and isinstance(value, str) and value == "space_group"
        for name, value in model.get_params(deep=True).items()
    )


def _default_scoring(pipelines, y, hierarchy):
    """Return the scorer for ``scoring=None``."""
    if hierarchy is None and any(map(_uses_space_groups, pipelines.values())):
        hierarchy = "space_group"
    if hierarchy == "space_group":
        check_space_group(y)
    return make_level_scorers(hierarchy)


def _for_labels(model, y, y_train):
    """Return a clone whose parameters ``space_groups`` are the labels of a training part.

    Tools of scikit-learn such as VotingClassifier number the labels that they are fitted on. A rare space
    group may be absent from a fold, so the numbers differ between folds.
    """
    labels = np.unique(y)
    params = {
        name: np.unique(y_train)
        for name, value in model.get_params(deep=True).items()
        if name.rsplit("__", 1)[-1] == "space_groups" and np.array_equal(value, labels)
    }
    return clone(model).set_params(**params)


def _cross_validate(name, model, X, y, groups, cv, n_jobs, **options):
    """Return the rows of one model in the table of `compare`."""
    options["params"] = {} if groups is None else fit_params(model, groups)
    try:
        with config_context(enable_metadata_routing=False):
            folds = Parallel(n_jobs)(
                delayed(cross_validate)(
                    _for_labels(model, y, y[split[0]]), X, y, cv=[split], error_score="raise", **options
                )
                for split in cv
            )
    except Exception as error:
        raise RuntimeError(f"the model {name!r} failed: {error}") from error
    result = {key: np.concatenate([fold[key] for fold in folds]) for key in folds[0]}
    scores = {key.removeprefix("test_"): value for key, value in result.items() if key.startswith("test_")}
    return pd.DataFrame(
        {
            "model": name,
            "fold": range(len(cv)),
            **scores,
            "fit_time": result["fit_time"],
            "predict_time": result["score_time"],
            "n_train": [len(train) for train, _ in cv],
            "n_test": [len(test) for _, test in cv],
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
    hierarchy=None,
    chemistry_only=False,
    baselines=(),
    n_jobs=None,
    verbose=0,
):
    """Cross-validate several models on the same folds.

    The table always has two kinds of reference. ``"prior"`` predicts the frequencies of the labels in the
    training part. A model whose features come from diffraction *and* chemistry (blocks of `make_features` on
    columns such as rings, spots_1 or powder, and formula, eds or eels) is repeated without the chemistry
    blocks as ``"<name> (diffraction only)"``, unless the same model is already among the pipelines. In the
    repeated model, specimens without diffraction get the prior.

    Parameters
    ----------
    pipelines : dict of str to classifier
        The models by name; their clones are fitted.
    X : DataFrame of n_specimens rows
        Specimens as from `make_specimens`, or any other input of the models.
    y : array-like of shape (n_specimens,)
        Space-group numbers or any other labels.
    groups : array-like of shape (n_specimens,) or None, default=None
        Groups that must not be split between training and test. Searches, and classifiers whose ``fit`` has
        a parameter ``groups``, get them too.
    cv : int, splitter, iterable of splits or None, default=None
        An int is the number of folds, and None means 5: of ``StratifiedGroupKFold`` with groups, of
        ``StratifiedKFold`` without. All models get the same splits.
    scoring : callable, str, list, dict or None, default=None
        As in ``cross_validate``. None uses `make_level_scorers` with ``hierarchy``.
    hierarchy : {"space_group"} or None, default=None
        Which scores ``scoring=None`` gives; it has no effect on other scorings. ``"space_group"``: scores of
        each level of symmetry for all models; the labels must be space-group numbers. None: the same if at
        least one of the pipelines has a parameter ``hierarchy="space_group"``, also inside a ``Pipeline`` or
        a search; otherwise scores of the one level ``"label"``.
    chemistry_only : bool, default=False
        Whether to repeat these models also without their diffraction blocks, as
        ``"<name> (chemistry only)"``.
    baselines : bool, str or sequence of str, default=()
        Classifiers of `make_baseline`, such as ``"extra_trees"``. Each is also fitted on all blocks that a
        model has from `make_features`, as ``"<baseline> on the blocks of <name>"``, once for models with the
        same blocks. For models without such blocks it is fitted on X, as ``"<baseline> on all features"``, if
        X is a table of numbers. True stands for extra trees and boosted trees, of XGBoost if it is
        installed, with the settings that `make_baseline` documents.
    n_jobs : int or None, default=None
        Number of folds to run in parallel.
    verbose : int, default=0
        1 shows a progress bar of the models; 2 and more also show the messages of ``cross_validate``.

    Returns
    -------
    DataFrame
        One row for each model and fold: columns ``model``, ``fold``, the scores (such as
        ``space_group_accuracy``), ``fit_time`` and ``predict_time`` in s, ``n_train`` and ``n_test``. Both
        times include the features; ``predict_time`` also includes the scoring.

    Raises
    ------
    ValueError
        If there is no model, another model is named ``"prior"``, the lengths of X, y and groups differ, a
        group is in both parts of a split, labels are not space-group numbers although ``hierarchy`` asks
        for levels of symmetry, or no model has features for the baselines.
    RuntimeError
        If a model fails; the message names it.

    Notes
    -----
    At each level of symmetry, the class with the highest summed probability is scored, which can belong to
    another class than the most probable space group. Specimens without answer (rows of NaN) count as wrong.

    ``VotingClassifier`` and ``StackingClassifier`` number the labels of each training part. A network among
    their members needs ``space_groups=np.unique(y)``; each fold replaces it by the labels of its training
    part, where rare space groups can be absent.

    Each model computes its features in each fold. If that takes long, set ``memory`` of the pipelines:
    pipelines that start with the same features then share them.

    See Also
    --------
    paired_test : Tests whether one model of the table is better than another.
    xtalsk.inspection.ComparisonDisplay : Figure of the table.

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
    >>> table = compare({"chemistry": model}, X, y, groups=groups, cv=3, hierarchy="space_group")
    >>> table.groupby("model")["crystal_system_accuracy"].mean()
    model
    chemistry    1.0
    prior        0.5
    Name: crystal_system_accuracy, dtype: float64
    """
    if not pipelines:
        raise ValueError("compare needs at least one model: {name: classifier}")
    check_option("hierarchy", hierarchy, (None, "space_group"))
    check_consistent_length(X, y, groups)
    y, groups = np.asarray(y), None if groups is None else np.asarray(groups)
    models = add_references(pipelines, X, chemistry_only, baselines)
    options = {
        "cv": _make_splits(cv, X, y, groups),
        "scoring": _default_scoring(pipelines, y, hierarchy) if scoring is None else scoring,
        "n_jobs": n_jobs,
        "verbose": max(0, verbose - 1),
    }
    progress = tqdm(models.items(), disable=not verbose, unit="model")
    tables = [_cross_validate(name, model, X, y, groups, **options) for name, model in progress]
    return pd.concat(tables, ignore_index=True)
