"""Established classifiers to compare with, set up for the tables of features of this package."""

import importlib

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, clone
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from xtalsk.utils import check_option

__all__ = ["BASELINES", "make_baseline"]

BASELINES = ("hist_gradient_boosting", "extra_trees", "random_forest", "lightgbm", "xgboost", "prior")
"""Names that `make_baseline` knows."""


def _import_boosting(name):
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(
            f"the baseline {name!r} needs the package {name}: pip install xtalsk[boosting]"
        ) from error


class _HistGradientBoosting(HistGradientBoostingClassifier):
    """Scikit-learn's, which fails on columns without any value, as elements that nothing can measure have."""

    def fit(self, X, y, sample_weight=None):
        empty = np.flatnonzero(pd.isna(np.asarray(X)).all(axis=0)) if np.ndim(X) == 2 else ()
        if len(empty):
            X = X.copy() if hasattr(X, "iloc") else np.array(X)
            part = X.iloc if hasattr(X, "iloc") else X
            part[:, empty] = 0.0
        return super().fit(X, y, sample_weight=sample_weight)


def _make_hist_gradient_boosting(random_state, n_jobs, params):
    # Early stopping would split at random, across groups, and fails on labels that occur once. Without
    # regularisation the leaves of rare labels, whose second derivatives all but vanish, grow without bound.
    defaults = {
        "learning_rate": 0.2,
        "max_iter": 30,
        "max_leaf_nodes": 15,
        "max_features": 0.1,
        "min_samples_leaf": 5,
        "l2_regularization": 1.0,
        "early_stopping": False,
    }
    return _HistGradientBoosting(**{**defaults, "random_state": random_state, **params})


def _make_extra_trees(random_state, n_jobs, params):
    return ExtraTreesClassifier(
        **{"n_estimators": 300, "random_state": random_state, "n_jobs": n_jobs, **params}
    )


def _make_random_forest(random_state, n_jobs, params):
    return RandomForestClassifier(
        **{"n_estimators": 300, "random_state": random_state, "n_jobs": n_jobs, **params}
    )


def _make_lightgbm(random_state, n_jobs, params):
    defaults = {
        "learning_rate": 0.1,
        "n_estimators": 60,
        "num_leaves": 15,
        "colsample_bytree": 0.1,
        "min_child_samples": 5,
        "reg_lambda": 1.0,
        "verbosity": -1,
    }
    boosting = _import_boosting("lightgbm")
    return boosting.LGBMClassifier(**{**defaults, "random_state": random_state, "n_jobs": n_jobs, **params})


def _make_xgboost(random_state, n_jobs, params):
    defaults = {
        "learning_rate": 0.2,
        "n_estimators": 30,
        "max_depth": 4,
        "max_bin": 64,
        "colsample_bytree": 0.1,
        "tree_method": "hist",
    }
    boosting = _import_boosting("xgboost")
    return _LabelEncoded(
        boosting.XGBClassifier(**{**defaults, "random_state": random_state, "n_jobs": n_jobs, **params})
    )


def _make_prior(random_state, n_jobs, params):
    return DummyClassifier(**{"strategy": "prior", "random_state": random_state, **params})


def make_baseline(name, *, random_state=None, n_jobs=None, **params):
    """Make a classifier to compare with.

    All take NaN for what was not measured, and labels that are strings or any integers. The defaults of the
    boosted trees are kept small, because each round grows one tree for each of up to 230 space groups. On
    7,400 rows, 700 features and 190 space groups a fit takes some 210 s of one core with
    ``"hist_gradient_boosting"``, 200 s with ``"random_forest"``, 70 s with ``"xgboost"``, 45 s with
    ``"extra_trees"`` and 40 s with ``"lightgbm"``; all divide the work between the cores they are given.

    Parameters
    ----------
    name : {"hist_gradient_boosting", "extra_trees", "random_forest", "lightgbm", "xgboost", "prior"}
        ``"prior"`` knows nothing but how frequent the labels are. LightGBM and XGBoost are optional:
        ``pip install xtalsk[boosting]``.
    random_state : int, RandomState instance or None, default=None
        Seed of the classifier.
    n_jobs : int or None, default=None
        Number of threads; ``"hist_gradient_boosting"`` always uses all that OpenMP gives it, and ``"prior"``
        needs none.
    **params
        Parameters of the classifier, in place of the defaults of this function. Those of
        ``"hist_gradient_boosting"`` are 30 rounds at a learning rate of 0.2 of trees of 15 leaves with at
        least 5 samples and an L2 penalty of 1, which look at a tenth of the features at each split, without
        early stopping.

    Returns
    -------
    classifier
        With ``fit``, ``predict``, ``predict_proba`` and ``classes_``.

    Raises
    ------
    ValueError
        If the name is not known.
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
    return globals()[f"_make_{name}"](random_state, n_jobs, params)


class _LabelEncoded(ClassifierMixin, MetaEstimatorMixin, BaseEstimator):
    """A classifier that takes any labels around one that takes only 0 to n_classes - 1, as XGBoost does."""

    def __init__(self, estimator):
        self.estimator = estimator

    def fit(self, X, y, sample_weight=None):
        X, y = validate_data(self, X, y, dtype=np.float32, ensure_all_finite="allow-nan")
        check_classification_targets(y)
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
