"""Scores of models on the same crystals, measured in several ways."""

import warnings
from copy import deepcopy
from numbers import Integral

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from sklearn import config_context
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GroupKFold
from sklearn.utils.validation import check_is_fitted
from tqdm import tqdm

from xtalsk._levels import levels_of
from xtalsk.baselines import make_baseline
from xtalsk.columns import kind_of, modality_of
from xtalsk.metrics import level_scores
from xtalsk.model_selection._compare import _make_splits
from xtalsk.model_selection._references import _columns_of, _features_of, add_references, fit_params
from xtalsk.utils import BrokenCellWarning, NotMeasuredWarning

_ONLY = {"diffraction": "chemistry", "chemistry": "diffraction"}


class OneKind:
    """A fitted pipeline that gets only diffraction, or only chemistry; the other cells are None.

    Parameters
    ----------
    estimator : fitted pipeline
    kind : {"diffraction", "chemistry"}
    """

    def __init__(self, estimator, kind):
        self.estimator = estimator
        self.kind = kind
        self.classes_ = estimator.classes_

    def predict_proba(self, X):
        hidden = [column for column in X.columns if kind_of(column) == _ONLY[self.kind]]
        return self.estimator.predict_proba(X.assign(**dict.fromkeys(hidden)))


def check_models(estimators):
    """Return the models by name, and whether they are fitted.

    Models that raise for specimens in which nothing can be read, as at a very low dose, give no answer
    instead.

    Raises
    ------
    ValueError
        If there is no model, one has no probabilities or no blocks of features, only some are fitted, or a
        fitted one has the name ``"prior"``.
    """
    models = dict(estimators) if isinstance(estimators, dict) else {"model": estimators}
    if not models:
        raise ValueError("expected a pipeline, or {name: pipeline}, got an empty dict")
    is_fitted = {}
    for name, model in models.items():
        if not hasattr(model, "predict_proba") or isinstance(model, type):
            raise ValueError(f"the model {name!r} needs predict_proba, got {model!r}")
        if _features_of(model) is None:
            raise ValueError(
                f"the model {name!r} needs features by column, as from make_features, got {model!r}"
            )
        is_fitted[name] = _is_fitted(model)
        if is_fitted[name] and not levels_of(np.asarray(model.classes_)):
            raise ValueError(f"the labels of {name!r} must be space-group numbers, got {model.classes_[:3]}")
    if len(set(is_fitted.values())) > 1:
        raise ValueError(f"either all models must be fitted or none, got {is_fitted}")
    if is_fitted.get("prior"):
        raise ValueError("'prior' is the name of a reference; give the fitted model another name")
    is_fitted = is_fitted.popitem()[1]
    return {name: _answer_always(model, is_fitted) for name, model in models.items()}, is_fitted


def _answer_always(model, is_fitted):
    """Return a copy of a model that gives NaN, not an error, for specimens in which nothing can be read."""
    raising = [
        name
        for name, value in model.get_params(deep=True).items()
        if name.rsplit("__", 1)[-1] == "all_missing" and value == "raise"
    ]
    if not raising:
        return model
    model = deepcopy(model) if is_fitted else clone(model)
    return model.set_params(**dict.fromkeys(raising, "missing"))


def _is_fitted(model):
    try:
        check_is_fitted(model)
    except NotFittedError:
        return False
    return True


def specimen_columns(model):
    """Return the names of the columns of specimens that a model uses, sorted."""
    columns = _columns_of(_features_of(model)[1].transformers)
    return sorted(column for column in columns if modality_of(column))


def check_modalities(models, wanted, what):
    """Raise ValueError if a model uses none of the modalities ``wanted`` that ``what`` varies."""
    for name, model in models.items():
        used = {modality_of(column) for column in specimen_columns(model)}
        if not used & set(wanted):
            raise ValueError(
                f"{what} changes the columns {sorted(wanted)}, but the model {name!r} uses {sorted(used)}"
            )


def add_kinds(models, is_fitted, X, chemistry_only):
    """Return the models with their references, as `compare` names them; the prior is the last.

    An unfitted model is repeated without the blocks of one kind, and later fitted without them. A fitted
    model is used again without the cells of this kind.
    """
    if not is_fitted:
        return add_references(models, X, chemistry_only)
    known = dict(models)
    for name, model in models.items():
        kinds = {kind_of(column) for column in specimen_columns(model)}
        for kind in ("diffraction", "chemistry")[: 1 + chemistry_only] if len(kinds) == 2 else ():
            known.setdefault(f"{name} ({kind} only)", OneKind(model, kind))
    return known | {"prior": make_baseline("prior")}


class Sweep:
    """Models on folds of the same specimens: fits them, and scores them at each level.

    Parameters
    ----------
    models : dict of {str: model}
        With references, see `add_kinds`.
    is_fitted : bool
        Whether the models, all but the prior, are fitted already.
    y, groups : ndarray of shape (n_specimens,)
    cv : int, splitter or iterable of splits
    n_jobs : int or None
        Number of joblib workers for models and folds.
    """

    def __init__(self, models, is_fitted, y, groups, cv, n_jobs=None):
        self.models = models
        self.is_fitted = is_fitted
        self.y, self.groups = np.asarray(y), np.asarray(groups)
        if is_fitted and isinstance(cv, Integral):
            cv = GroupKFold(cv)  # parts for the spread only: rare labels need no stratification
        self.splits = _make_splits(cv, np.zeros((len(y), 1)), self.y, self.groups)
        self.n_jobs = n_jobs
        self.fitted_ = {}

    def fit(self, X):
        """Fit all models that are not fitted on the training part of each fold of specimens X."""
        tasks = [
            (name, fold, model, train)
            for name, model in self.models.items()
            for fold, (train, _) in enumerate(self.splits)
        ]
        fitted = Parallel(self.n_jobs)(
            delayed(_fit)(name, model, X, self.y, self.groups, train)
            if not self.is_fitted or name == "prior"
            else delayed(_keep)(model)
            for name, _, model, train in tasks
        )
        self.fitted_ = {(name, fold): one for (name, fold, _, _), one in zip(tasks, fitted, strict=True)}
        return self

    def predict(self, X, names):
        """Return the probabilities and classes of models for the test part of each fold, by (name, fold)."""
        keys = [(name, fold) for name in names for fold in range(len(self.splits))]
        results = Parallel(self.n_jobs)(
            delayed(_predict)(name, self.fitted_[name, fold], X.iloc[self.splits[fold][1]])
            for name, fold in keys
        )
        return dict(zip(keys, results, strict=True))

    def score(self, predicted, change=None):
        """Return one row of scores for each model and fold of `predict`.

        ``change(fold, proba, y)`` returns the probabilities and labels that are scored instead of those of
        the test part. None scores the test part itself.
        """
        rows = []
        for (name, fold), (proba, classes) in predicted.items():
            train, test = self.splits[fold]
            y = self.y[test]
            if change is not None:
                proba, y = change(fold, proba, y)
            scores = level_scores(y, proba, classes, hierarchy="space_group")
            answered = float(np.isfinite(proba).all(axis=1).mean())
            n_train = np.inf if self.is_fitted else len(train)
            of_fold = {"answered": answered, "n_train": n_train, "n_test": len(test)}
            rows.append({"model": name, "fold": fold, **scores, **of_fold})
        return pd.DataFrame(rows)


def _keep(model):
    return model


def _fit(name, model, X, y, groups, train):
    """Return a clone of a model, fitted on some rows; an error names the model."""
    params = fit_params(model, groups[train])
    try:
        with config_context(enable_metadata_routing=False):
            return clone(model).fit(X.iloc[train], y[train], **params)
    except Exception as error:
        raise RuntimeError(f"the model {name!r} failed: {error}") from error


def _predict(name, model, X):
    """Return probabilities and classes; the table of results counts the rows without answer."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BrokenCellWarning)
        warnings.simplefilter("ignore", NotMeasuredWarning)
        try:
            return np.asarray(model.predict_proba(X), dtype=float), np.asarray(model.classes_)
        except Exception as error:
            raise RuntimeError(f"the model {name!r} failed: {error}") from error


def run_levels(sweep, levels, specimens_at, uses, *, retrain=False, verbose=0):
    """Return the scores of all models at all levels.

    Parameters
    ----------
    sweep : Sweep
        Fitted, unless ``retrain``.
    levels : list of dict
        Values of a level by the name of their column in the table.
    specimens_at : callable
        Returns the table of specimens of a level.
    uses : callable
        ``uses(name, level)`` returns the values of a level that the model depends on. Models are not scored
        twice with the same values.
    retrain : bool
        Whether to fit the models again at each level.
    verbose : int

    Returns
    -------
    DataFrame
        One row for each level, model and fold.
    """
    known, tables = {}, []
    for level in tqdm(levels, disable=not verbose, unit="level"):
        keys = {name: (name, *uses(name, level)) for name in sweep.models}
        new = [name for name, key in keys.items() if key not in known]
        X = specimens_at(level) if new else None
        if new and retrain:
            sweep.fit(X)
        scores = sweep.score(sweep.predict(X, new)) if new else None
        for name in new:
            known[keys[name]] = scores[scores["model"] == name]
        scored = pd.concat([known[key] for key in keys.values()])
        tables.append((level, scored))
    return stack_levels(tables)


def stack_levels(tables):
    """Return pairs (level, scores) as one table, with the values of the level between model and fold."""
    parts = []
    for level, scores in tables:
        part = scores.reset_index(drop=True)
        for place, (column, value) in enumerate(level.items(), 1):
            part.insert(place, column, value)
        parts.append(part)
    return pd.concat(parts, ignore_index=True)
