"""Fair comparison of models on the same folds."""

import warnings
from numbers import Integral
from typing import NamedTuple

import joblib
import numpy as np
import pandas as pd
from scipy.stats import t as student_t
from sklearn import config_context
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.dummy import DummyClassifier
from sklearn.model_selection import StratifiedGroupKFold, check_cv, cross_validate
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_consistent_length, has_fit_parameter
from tqdm import tqdm

from xtalsk.baselines import make_baseline
from xtalsk.metrics import make_level_scorers

__all__ = ["CHEMISTRY", "DIFFRACTION", "PairedTest", "compare", "paired_test"]

DIFFRACTION = frozenset({"rings", "spots", "powder"})
"""Columns of the specimens that hold diffraction."""

CHEMISTRY = frozenset({"formula", "eds", "eels"})
"""Columns of the specimens that hold chemistry."""


def _is_search(model):
    """Tell whether a model is a GridSearchCV or one of its kind; sklearn keeps their base private."""
    return model.get_params(deep=False).keys() >= {"estimator", "cv", "refit"}


def _features_of(model):
    """Name and value of the parameter that is the ColumnTransformer of a model, or None."""
    for name, value in model.get_params(deep=True).items():
        if isinstance(value, ColumnTransformer):
            return name, value
    return None


def _is_fused(features):
    used = {
        column for _, block, column in features.transformers if isinstance(column, str) and block != "drop"
    }
    return bool(used & DIFFRACTION) and bool(used & CHEMISTRY)


def _without_branches(params, dropped):
    """Return the parameters ``branches`` of networks, without the dropped blocks."""
    return {
        name: {block: kind for block, kind in value.items() if block not in dropped} or None
        for name, value in params.items()
        if name.rsplit("__", 1)[-1] == "branches" and isinstance(value, dict)
    }


def _derive(model, columns):
    """Clone a fused model without the blocks that come from ``columns``, or return None."""
    found = _features_of(model)
    if found is None or not _is_fused(found[1]):
        return None
    name, features = found
    kept = [block for block in features.transformers if block[2] not in columns]
    dropped = [block[0] for block in features.transformers if block[2] in columns]
    if _is_search(model):
        grid = str(getattr(model, "param_grid", getattr(model, "param_distributions", "")))
        inside = name.removeprefix("estimator__")
        if any(f"{inside}__{block}" in grid for block in dropped):
            warnings.warn(
                f"a search over the parameters of {dropped} cannot be repeated without these blocks; no "
                "derived row is added for it",
                stacklevel=3,
            )
            return None
    derived = clone(model)
    params = derived.get_params(deep=True)
    derived.set_params(**_without_branches(params, dropped))
    params[name].set_params(transformers=kept)
    return derived


def _with_references(pipelines, chemistry_only):
    """Add the prior and, of each fused model, the model on one modality, unless they are there already."""
    models = dict(pipelines)
    same = {joblib.hash(clone(model)) for model in models.values()}
    kinds = [("diffraction only", CHEMISTRY)] + [("chemistry only", DIFFRACTION)] * chemistry_only
    for name, model in pipelines.items():
        for kind, columns in kinds:
            derived = _derive(model, columns)
            if derived is not None and joblib.hash(derived) not in same:
                models.setdefault(f"{name} ({kind})", derived)
    if not any(isinstance(model, DummyClassifier) and model.strategy == "prior" for model in models.values()):
        if "prior" in models:
            raise ValueError(
                f"'prior' is the name of the model that knows no features, got {models['prior']!r}"
            )
        models["prior"] = make_baseline("prior")
    return models


def _fit_params(model, groups):
    """Where in a model the groups go: to the splitter of a search and to a classifier that asks for them."""
    if _is_search(model):
        return {"groups": groups, **_fit_params(model.estimator, groups)}
    if isinstance(model, Pipeline):
        name, last = model.steps[-1]
        return {f"{name}__{key}": value for key, value in _fit_params(last, groups).items()}
    return {"groups": groups} if has_fit_parameter(model, "groups") else {}


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
    params = {} if groups is None else _fit_params(model, groups)
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
    ``"<name> (diffraction only)"``, unless this very model is among the pipelines.

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
    models = _with_references(pipelines, chemistry_only)
    options = {
        "cv": _make_splits(cv, X, y, groups),
        "scoring": _default_scoring(y) if scoring is None else scoring,
        "n_jobs": n_jobs,
        "verbose": max(0, verbose - 1),
    }
    progress = tqdm(models.items(), disable=not verbose, unit="model")
    tables = [_cross_validate(name, model, X, y, groups, **options) for name, model in progress]
    return pd.concat(tables, ignore_index=True)


class PairedTest(NamedTuple):
    """Result of `paired_test`.

    Attributes
    ----------
    difference : float
        Mean over the folds of the score of ``a`` less that of ``b``.
    standard_error : float
        Of the difference, corrected for the overlap of the training parts.
    statistic : float
        Student's t.
    degrees_of_freedom : int
        Number of folds less one.
    pvalue : float
        Two-sided: how probable so large a difference is if there is none.
    confidence_interval : (float, float)
        95% interval of the difference.
    """

    difference: float
    standard_error: float
    statistic: float
    degrees_of_freedom: int
    pvalue: float
    confidence_interval: tuple[float, float]


def paired_test(table, a, b, metric):
    r"""Test whether one model of a comparison is better than another.

    The corrected resampled t-test of Nadeau and Bengio [1]_. The training parts of the folds overlap, so the
    differences :math:`d_j` of J folds are not independent and the ordinary paired t-test finds differences
    that are not there. Their variance :math:`s^2` is therefore scaled by the ratio of the sizes of the test
    and the training part:

    .. math:: t = \bar d \Big/ \sqrt{\left(\frac{1}{J} + \frac{n_\mathrm{test}}{n_\mathrm{train}}\right) s^2}

    Parameters
    ----------
    table : DataFrame
        From `compare`.
    a, b : str
        Names of two models of the table.
    metric : str
        A score of the table, such as ``"space_group_accuracy"``.

    Returns
    -------
    PairedTest
        ``difference``, ``standard_error``, ``statistic``, ``degrees_of_freedom``, ``pvalue`` and
        ``confidence_interval``. If the difference is the same in all folds, the p-value is 1 where it is
        zero and 0 where not.

    Raises
    ------
    ValueError
        If the table lacks a model or the metric, or if there are less than two folds.

    References
    ----------
    .. [1] C. Nadeau and Y. Bengio, Inference for the Generalization Error, Machine Learning 52, 239 (2003).

    Examples
    --------
    >>> import pandas as pd
    >>> from xtalsk.model_selection import paired_test
    >>> table = pd.DataFrame(
    ...     {"model": ["a"] * 3 + ["b"] * 3, "fold": [0, 1, 2] * 2, "n_train": 200, "n_test": 100,
    ...      "accuracy": [0.7, 0.72, 0.71, 0.6, 0.64, 0.62]})
    >>> result = paired_test(table, "a", "b", "accuracy")
    >>> round(result.difference, 3), round(result.pvalue, 3)
    (0.09, 0.01)
    """
    if metric not in table.columns:
        raise ValueError(f"the table has no metric {metric!r}, only {list(table.columns)}")
    unknown = [name for name in (a, b) if name not in set(table["model"])]
    if unknown:
        raise ValueError(f"the table has no model {unknown[0]!r}, only {list(table['model'].unique())}")
    sizes, scores_a, scores_b = (
        table[table["model"] == name].set_index("fold")[columns]
        for name, columns in ((a, ["n_train", "n_test"]), (a, metric), (b, metric))
    )
    difference = (scores_a - scores_b).to_numpy()
    n_folds = len(difference)
    if n_folds < 2:
        raise ValueError("a paired test needs two folds or more, got one")
    ratio = (sizes["n_test"] / sizes["n_train"]).mean()
    mean = difference.mean()
    error = np.sqrt((1 / n_folds + ratio) * difference.var(ddof=1))
    statistic = 0.0 if abs(mean) < 1e-12 else mean / max(error, 1e-300)  # all folds may differ by the same
    margin = student_t.ppf(0.975, n_folds - 1) * error
    return PairedTest(
        float(mean),
        float(error),
        float(statistic),
        n_folds - 1,
        float(2 * student_t.sf(abs(statistic), n_folds - 1)),
        (float(mean - margin), float(mean + margin)),
    )
