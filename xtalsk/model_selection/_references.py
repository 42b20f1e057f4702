"""The models that every comparison contains: the prior, and fused models on one modality."""

import warnings

import joblib
import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, clone
from sklearn.compose import ColumnTransformer
from sklearn.dummy import DummyClassifier
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted, has_fit_parameter

from xtalsk.baselines import make_baseline
from xtalsk.utils import is_missing

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


def _columns(blocks):
    """Names of the columns that blocks of a ColumnTransformer use."""
    used = set()
    for _, transformer, columns in blocks:
        if transformer != "drop":
            used |= {columns} if isinstance(columns, str) else {c for c in columns if isinstance(c, str)}
    return used


def _without_branches(params, dropped):
    """Return the parameters ``branches`` of networks, without the dropped blocks."""
    return {
        name: {block: kind for block, kind in value.items() if block not in dropped} or None
        for name, value in params.items()
        if name.rsplit("__", 1)[-1] == "branches" and isinstance(value, dict)
    }


def fit_params(model, groups):
    """Where in a model the groups go: to the splitter of a search and to a classifier that asks for them."""
    if _is_search(model):
        return {"groups": groups, **fit_params(model.estimator, groups)}
    if isinstance(model, Pipeline):
        name, last = model.steps[-1]
        return {f"{name}__{key}": value for key, value in fit_params(last, groups).items()}
    return {"groups": groups} if has_fit_parameter(model, "groups") else {}


def _has_any(X, columns):
    """Tell for each specimen whether one of the columns was measured."""
    return ~np.all([[is_missing(cell) for cell in X[column].array] for column in columns], axis=0)


class _PriorWhereMissing(ClassifierMixin, MetaEstimatorMixin, BaseEstimator):
    """A model of some columns of the specimens; those that have none of them get the prior."""

    def __init__(self, estimator, columns):
        self.estimator = estimator
        self.columns = columns

    def fit(self, X, y, groups=None):
        there = _has_any(X, self.columns)
        params = {} if groups is None else fit_params(self.estimator, groups[there])
        self.estimator_ = clone(self.estimator).fit(X[there], y[there], **params)
        self.classes_, counts = np.unique(y, return_counts=True)
        self.prior_ = counts / counts.sum()
        return self

    def predict_proba(self, X):
        check_is_fitted(self)
        there = _has_any(X, self.columns)
        proba = np.tile(self.prior_, (len(X), 1))
        if there.any():
            known = np.searchsorted(self.classes_, self.estimator_.classes_)
            proba[there] = 0
            proba[np.ix_(there, known)] = self.estimator_.predict_proba(X[there])
        return proba

    def predict(self, X):
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


def _derive(model, columns):
    """Clone a fused model without the blocks that come from ``columns``, or return None."""
    found = _features_of(model)
    used = _columns(found[1].transformers) if found else set()
    if not (used & DIFFRACTION and used & CHEMISTRY):
        return None
    name, features = found
    kept = [block for block in features.transformers if not _columns([block]) & columns]
    dropped = [block[0] for block in features.transformers if _columns([block]) & columns]
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


def add_references(pipelines, X, chemistry_only):
    """Add the prior and, of each fused model, the model on one modality, unless they are there already."""
    models = dict(pipelines)
    same = {joblib.hash(clone(model)) for model in models.values()}
    kinds = [("diffraction only", CHEMISTRY)] + [("chemistry only", DIFFRACTION)] * chemistry_only
    for name, model in pipelines.items():
        for kind, without in kinds:
            derived = _derive(model, without)
            if derived is None or joblib.hash(derived) in same:
                continue
            columns = sorted(_columns(_features_of(derived)[1].transformers))
            if not _has_any(X, columns).all():
                derived = _PriorWhereMissing(derived, columns)
            models.setdefault(f"{name} ({kind})", derived)
    if not any(isinstance(model, DummyClassifier) and model.strategy == "prior" for model in models.values()):
        if "prior" in models:
            raise ValueError(
                f"'prior' is the name of the model that knows no features, got {models['prior']!r}"
            )
        models["prior"] = make_baseline("prior")
    return models
