"""Established classifiers with defaults for the features of this package."""

import importlib

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, clone
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.utils.validation import check_is_fitted, validate_data

from xtalsk.utils import check_classes, check_option

__all__ = ["BASELINES", "make_baseline"]

BASELINES = ("hist_gradient_boosting", "extra_trees", "random_forest", "lightgbm", "xgboost", "prior")
"""Names of the classifiers that `make_baseline` makes."""

# Tuned defaults. The boosted trees are small because each round grows one tree for each of up to 230 space
# groups; `make_baseline` gives the measured times. Data and commands of these choices are not recorded.
_DEFAULTS = {
    "hist_gradient_boosting": {
        "learning_rate": 0.2,
        "max_iter": 30,
        "max_leaf_nodes": 15,
        "max_features": 0.1,  # share of the features that each split considers
        "min_samples_leaf": 5,
        # Without a penalty, leaves of rare labels grow without bound: their second derivatives are nearly 0.
        "l2_regularization": 1.0,
        # Early stopping ignores the groups in its random split, and fails on labels that occur once.
        "early_stopping": False,
    },
    "extra_trees": {"n_estimators": 300, "min_samples_leaf": 2},
    "random_forest": {"n_estimators": 300},
    "lightgbm": {
        "learning_rate": 0.1,
        "n_estimators": 60,
        "num_leaves": 15,
        "colsample_bytree": 0.1,  # share of the features that each tree considers
        "min_child_samples": 5,
        "reg_lambda": 1.0,
        "verbosity": -1,
    },
    "xgboost": {
        "learning_rate": 0.2,
        "n_estimators": 30,
        "max_depth": 4,
        "max_bin": 64,
        "colsample_bytree": 0.1,  # share of the features that each tree considers
        "tree_method": "hist",
    },
    "prior": {"strategy": "prior"},
}
_WITHOUT_N_JOBS = ("hist_gradient_boosting", "prior")


def _import_boosting(name):
    """Return the optional package ``name``; raise ImportError that names the extra if it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(
            f"the baseline {name!r} needs the package {name}: pip install xtalsk[boosting]"
        ) from error


class _HistGradientBoosting(HistGradientBoostingClassifier):
    """HistGradientBoostingClassifier that accepts columns of nothing but NaN, as of unmeasurable elements."""

    def fit(self, X, y, sample_weight=None):
        empty = np.flatnonzero(pd.isna(np.asarray(X)).all(axis=0)) if np.ndim(X) == 2 else ()
        if len(empty):
            X = X.copy() if hasattr(X, "iloc") else np.array(X)
            columns = X.iloc if hasattr(X, "iloc") else X
            columns[:, empty] = 0.0
        return super().fit(X, y, sample_weight=sample_weight)


_SKLEARN_CLASSES = {
    "hist_gradient_boosting": _HistGradientBoosting,
    "extra_trees": ExtraTreesClassifier,
    "random_forest": RandomForestClassifier,
    "prior": DummyClassifier,
}


def _make_classifier(name, params):
    """Return the classifier ``name`` with these parameters."""
    if name == "lightgbm":
        return _import_boosting(name).LGBMClassifier(**params)
    if name == "xgboost":
        return _LabelEncoded(_import_boosting(name).XGBClassifier(**params))
    return _SKLEARN_CLASSES[name](**params)


def make_baseline(name, *, random_state=None, n_jobs=None, **params):
    """Make an established classifier for a comparison.

    All accept NaN for missing values, and labels that are strings or any integers. The boosted trees are
    small, because each round grows one tree for each of up to 230 space groups. On 7,400 rows, 700 features
    and 190 space groups, a fit on one core takes about 210 s with ``"hist_gradient_boosting"``, 200 s with
    ``"random_forest"``, 70 s with ``"xgboost"``, 45 s with ``"extra_trees"`` and 40 s with ``"lightgbm"``.
    All can use several cores.

    Parameters
    ----------
    name : {"hist_gradient_boosting", "extra_trees", "random_forest", "lightgbm", "xgboost", "prior"}
        ``"prior"`` predicts the frequencies of the labels in the training data. LightGBM and XGBoost are
        optional: ``pip install xtalsk[boosting]``.
    random_state : int, RandomState instance or None, default=None
        Seed of the classifier.
    n_jobs : int or None, default=None
        Number of threads. ``"hist_gradient_boosting"`` ignores it and uses the threads of OpenMP;
        ``"prior"`` ignores it too.
    **params
        Parameters of the classifier; they replace the defaults of this function. The defaults of
        ``"hist_gradient_boosting"`` are 30 rounds, a learning rate of 0.2, trees of 15 leaves with at least 5
        samples, an L2 penalty of 1, a tenth of the features for each split, and no early stopping. Those of
        ``"extra_trees"`` are 300 trees with leaves of at least 2 samples; on chemistry alone,
        ``max_features=0.3`` is more accurate, and slower.

    Returns
    -------
    classifier
        With ``fit``, ``predict``, ``predict_proba`` and ``classes_``.

    Raises
    ------
    ValueError
        If the name is unknown.
    ImportError
        If the package of an optional baseline is missing.

    Examples
    --------
    >>> from xtalsk.baselines import make_baseline
    >>> model = make_baseline("extra_trees", n_estimators=20, random_state=0)
    >>> model.fit([[0.0], [1.0], [float("nan")]], ["cubic", "cubic", "triclinic"]).predict([[0.5]])
    array(['cubic'], dtype='<U9')
    """
    check_option("name", name, BASELINES)
    defaults = {**_DEFAULTS[name], "random_state": random_state}
    if name not in _WITHOUT_N_JOBS:
        defaults["n_jobs"] = n_jobs
    return _make_classifier(name, {**defaults, **params})


class _LabelEncoded(ClassifierMixin, MetaEstimatorMixin, BaseEstimator):
    """Classifier for any labels that holds one for the labels 0 to n_classes - 1, such as XGBoost."""

    def __init__(self, estimator):
        self.estimator = estimator

    def fit(self, X, y, sample_weight=None):
        X, y = validate_data(self, X, y, dtype=np.float32, ensure_all_finite="allow-nan")
        check_classes(y)
        self.classes_, encoded = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"a classifier needs two labels or more, got one class: {self.classes_[0]}")
        if sample_weight is not None and not np.asarray(sample_weight).any():
            raise ValueError("all sample weights are zero")
        self.estimator_ = clone(self.estimator).fit(X, encoded, sample_weight=sample_weight)
        return self

    def predict_proba(self, X):
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float32, ensure_all_finite="allow-nan", reset=False)
        return self.estimator_.predict_proba(X)

    def predict(self, X):
        proba = self.predict_proba(X)
        return self.classes_[proba.argmax(axis=1)]

    @property
    def feature_importances_(self):
        check_is_fitted(self)
        return self.estimator_.feature_importances_

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags
