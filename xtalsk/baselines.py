"""Established classifiers with defaults for the features of this package."""

import importlib.util

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
# groups. Searched on simulated specimens of the Materials Project, 2,000 crystals for the fits and 500 others
# for the scores, all of the training part of the first fold:
#   python benchmarks/bench_baselines.py search NAME --cache FILE.npz --n-search 2500
# for chemistry, and with `--blocks all --n-replicas 3` for profiles, lattices and chemistry. Crystal system /
# space group / top 5; the standard error is 0.02, and 0.015 for the difference of two settings:
#
#   Extra trees  all        leaf 1  sqrt 0.714 / 0.382 / 0.658  0.1 0.754 / 0.422 / 0.642 (50 trees)
#                                                               0.2 0.754 / 0.424 / 0.654 (50 trees)
#   100 trees               leaf 2  sqrt 0.700 / 0.372 / 0.656  0.1 0.744 / 0.412 / 0.642 (50 trees)
#                1 replica  leaf 1  sqrt 0.650 / 0.300 / 0.600  0.1 0.714 / 0.364 / 0.636
#   XGBoost      1 replica, rate 0.2, 30 rounds                 0.1 0.700 / 0.302 / 0.616
#   Extra trees  chemistry  leaf 1  0.1  0.462 / 0.298 / 0.560  0.3 0.450 / 0.286 / 0.558
#                           leaf 2  0.1  0.452 / 0.282 / 0.538  0.3 0.444 / 0.290 / 0.552
#   XGBoost      rate 0.1, 60 rounds 0.1 0.442 / 0.272 / 0.544  0.3 0.436 / 0.268 / 0.534
#   chemistry    rate 0.2, 30 rounds 0.1 0.440 / 0.258 / 0.530  0.3 0.430 / 0.268 / 0.534
#                rate 0.2, 60 rounds 0.1 0.416 / 0.264 / 0.546  0.3 0.416 / 0.262 / 0.542
#   LightGBM     rate 0.1, 60 rounds 0.1 0.386 / 0.244 / 0.526  0.3 0.412 / 0.274 / 0.546
#   chemistry    rate 0.05           0.1 0.416 / 0.260 / 0.512  0.3 0.402 / 0.272 / 0.512
#
# 0.1, 0.2, 0.3 and sqrt are shares or numbers of the features, "leaf" the fewest samples of a leaf. All other
# settings, histogram gradient boosting and random forest were not searched.
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
    "extra_trees": {"n_estimators": 300, "max_features": 0.1},
    "random_forest": {"n_estimators": 300},
    "lightgbm": {
        "learning_rate": 0.1,
        "n_estimators": 60,
        "num_leaves": 15,
        "colsample_bytree": 0.3,  # share of the features that each tree considers
        "min_child_samples": 5,
        "reg_lambda": 1.0,
        "verbosity": -1,
    },
    "xgboost": {
        "learning_rate": 0.1,
        "n_estimators": 60,
        "max_depth": 4,
        "max_bin": 64,
        "colsample_bytree": 0.1,  # share of the features that each tree considers
        "tree_method": "hist",
    },
    "prior": {"strategy": "prior"},
}
_WITHOUT_N_JOBS = ("hist_gradient_boosting", "prior")


def check_baselines(baselines):
    """Return the names of the baselines that are asked for.

    Parameters
    ----------
    baselines : bool, str or sequence of str
        See `xtalsk.compare`.

    Returns
    -------
    tuple of str
    """
    if isinstance(baselines, (bool, np.bool_)):
        boosted = "xgboost" if importlib.util.find_spec("xgboost") else "hist_gradient_boosting"
        return ("extra_trees", boosted) if baselines else ()
    return (baselines,) if isinstance(baselines, str) else tuple(baselines)


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
    small, because each round grows one tree for each of up to 230 space groups.

    The settings of extra trees, XGBoost and LightGBM were searched on simulated specimens of the Materials
    Project; the module lists the scores. There, extra trees named as many space groups as the boosted trees
    from chemistry, and more from profiles, lattices and chemistry together. A fit of extra trees on 12,000
    rows, 1,523 features and 158 space groups takes about 120 s of one core. All can use several cores.

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
        Parameters of the classifier; they replace the defaults of this function:

        - ``"extra_trees"``: 300 trees, a tenth of the features for each split;
        - ``"random_forest"``: 300 trees;
        - ``"hist_gradient_boosting"``: 30 rounds, a learning rate of 0.2, trees of 15 leaves with at least 5
          samples, an L2 penalty of 1, a tenth of the features for each split, no early stopping;
        - ``"xgboost"``: 60 rounds, a learning rate of 0.1, trees of depth 4, 64 bins, a tenth of the features
          for each tree;
        - ``"lightgbm"``: 60 rounds, a learning rate of 0.1, trees of 15 leaves with at least 5 samples, an L2
          penalty of 1, 0.3 of the features for each tree.

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
