"""Reference models of every comparison: the prior, and fused models with one kind of measurement."""

import warnings

import joblib
import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, clone
from sklearn.compose import ColumnTransformer
from sklearn.dummy import DummyClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.utils.validation import check_is_fitted, has_fit_parameter

from xtalsk.baselines import check_baselines, make_baseline
from xtalsk.columns import kind_of
from xtalsk.utils import is_missing


def _is_search(model):
    """Return whether a model is a search such as GridSearchCV; the base class is private in scikit-learn."""
    return model.get_params(deep=False).keys() >= {"estimator", "cv", "refit"}


def _features_of(model):
    """Return name and value of the parameter of a model that is a ColumnTransformer, or None."""
    for name, value in model.get_params(deep=True).items():
        if isinstance(value, ColumnTransformer):
            return name, value
    return None


def _columns_of(blocks):
    """Return the names of the specimen columns that blocks of a ColumnTransformer use."""
    used = set()
    for _, transformer, columns in blocks:
        if transformer != "drop":
            used |= {columns} if isinstance(columns, str) else {c for c in columns if isinstance(c, str)}
    return used


def _kinds_of(blocks):
    """Return the kinds of measurement that blocks use: "diffraction", "chemistry", and None for others."""
    return {kind_of(column) for column in _columns_of(blocks)}


def _without_branches(params, dropped):
    """Return the parameters ``branches`` of networks, without the dropped blocks."""
    return {
        name: {block: kind for block, kind in value.items() if block not in dropped} or None
        for name, value in params.items()
        if name.rsplit("__", 1)[-1] == "branches" and isinstance(value, dict)
    }


def fit_params(model, groups):
    """Return the parameters that pass ``groups`` to a search and to a classifier whose ``fit`` takes them."""
    if _is_search(model):
        return {"groups": groups, **fit_params(model.estimator, groups)}
    if isinstance(model, Pipeline):
        name, last = model.steps[-1]
        return {f"{name}__{key}": value for key, value in fit_params(last, groups).items()}
    return {"groups": groups} if has_fit_parameter(model, "groups") else {}


def _is_numeric(X):
    """Return whether an input is a table of numbers."""
    types = X.dtypes if hasattr(X, "iloc") else [np.asarray(X).dtype]
    return all(dtype.kind in "fiub" for dtype in types)


def _is_measured(X, columns):
    """Return for each specimen whether at least one of the columns has a value."""
    return ~np.all([[is_missing(cell) for cell in X[column].array] for column in columns], axis=0)


class _PriorWhereMissing(ClassifierMixin, MetaEstimatorMixin, BaseEstimator):
    """A model that uses some columns of the specimens; specimens without any of them get the prior."""

    def __init__(self, estimator, columns):
        self.estimator = estimator
        self.columns = columns

    def fit(self, X, y, groups=None):
        is_measured = _is_measured(X, self.columns)
        params = {} if groups is None else fit_params(self.estimator, groups[is_measured])
        self.estimator_ = clone(self.estimator).fit(X[is_measured], y[is_measured], **params)
        self.classes_, counts = np.unique(y, return_counts=True)
        self.prior_ = counts / counts.sum()
        return self

    def predict_proba(self, X):
        check_is_fitted(self)
        is_measured = _is_measured(X, self.columns)
        proba = np.tile(self.prior_, (len(X), 1))
        if is_measured.any():
            classes = np.searchsorted(self.classes_, self.estimator_.classes_)
            proba[is_measured] = 0
            proba[np.ix_(is_measured, classes)] = self.estimator_.predict_proba(X[is_measured])
        return proba

    def predict(self, X):
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


def _is_searched(search, name, dropped):
    """Return whether a search varies a dropped block; ``name`` is the parameter of its ColumnTransformer."""
    grid = str(getattr(search, "param_grid", getattr(search, "param_distributions", "")))
    return any(f"{name.removeprefix('estimator__')}__{block}" in grid for block in dropped)


def _derive(model, without):
    """Return a clone of a fused model without its blocks of diffraction or of chemistry.

    Parameters
    ----------
    model : classifier
    without : {"diffraction", "chemistry"}
        Kind of the blocks to remove.

    Returns
    -------
    classifier or None
        None if the model does not have blocks of both kinds, or if it is a search over the removed blocks.
    """
    name, features = _features_of(model) or (None, None)
    if features is None or not _kinds_of(features.transformers) >= {"diffraction", "chemistry"}:
        return None
    kept = [block for block in features.transformers if without not in _kinds_of([block])]
    dropped = [block[0] for block in features.transformers if without in _kinds_of([block])]
    if _is_search(model) and _is_searched(model, name, dropped):
        warnings.warn(
            f"a search over the parameters of {dropped} cannot be repeated without these blocks; the table "
            "has no derived row for it",
            stacklevel=5,
        )
        return None
    derived = clone(model)
    params = derived.get_params(deep=True)
    derived.set_params(**_without_branches(params, dropped))
    params[name].set_params(transformers=kept)
    return derived


def _derived_models(pipelines, X, chemistry_only):
    """Yield names and models: fused models with one kind of measurement that are not among the pipelines."""
    hashes = {joblib.hash(clone(model)) for model in pipelines.values()}
    kinds = [("diffraction only", "chemistry")] + [("chemistry only", "diffraction")] * chemistry_only
    for name, model in pipelines.items():
        for suffix, without in kinds:
            derived = _derive(model, without)
            if derived is None or joblib.hash(derived) in hashes:
                continue
            columns = sorted(_columns_of(_features_of(derived)[1].transformers))
            if not _is_measured(X, columns).all():
                derived = _PriorWhereMissing(derived, columns)
            yield f"{name} ({suffix})", derived


def _baseline_models(pipelines, X, baselines):
    """Yield names and models: each baseline on all features of a model, once for models with equal features.

    The features are the blocks of `make_features`; without such blocks, the input itself if it is numbers.
    """
    known = set()
    for name, model in pipelines.items():
        _, features = _features_of(model) or (None, None)
        key = joblib.hash(clone(features)) if features is not None else None
        if key in known or (features is None and not _is_numeric(X)):
            continue
        known.add(key)
        for baseline in baselines:
            classifier = make_baseline(baseline, random_state=0)
            if features is None:
                yield f"{baseline} on all features", classifier
            else:
                yield f"{baseline} on the blocks of {name}", make_pipeline(clone(features), classifier)
    if baselines and not known:
        raise ValueError(
            "baselines need a model with blocks of make_features, or an input of numbers; no model of "
            f"{list(pipelines)} has such blocks"
        )


def add_references(pipelines, X, chemistry_only, baselines=()):
    """Return the models with their references: baselines on all blocks, the derived models and the prior.

    Parameters
    ----------
    pipelines : dict of str to classifier
    X : DataFrame of specimens
    chemistry_only : bool
    baselines : bool, str or sequence of str
        Classifiers of `make_baseline`; see `compare`.

    Returns
    -------
    dict of str to classifier
        A model of ``pipelines`` replaces a reference of the same name.

    Raises
    ------
    ValueError
        If another model has the name ``"prior"``, or no model has features for the baselines.
    """
    pipelines = {**dict(_baseline_models(pipelines, X, check_baselines(baselines))), **pipelines}
    models = dict(pipelines)
    for name, derived in _derived_models(pipelines, X, chemistry_only):
        models.setdefault(name, derived)
    if not any(isinstance(model, DummyClassifier) and model.strategy == "prior" for model in models.values()):
        if "prior" in models:
            raise ValueError(
                f"'prior' is the name of the model that predicts the frequencies of the labels, got "
                f"{models['prior']!r}"
            )
        models["prior"] = make_baseline("prior")
    return models
