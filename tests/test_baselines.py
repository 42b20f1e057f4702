import pickle
import sys
from types import ModuleType

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.utils.estimator_checks import parametrize_with_checks

from xtalsk.baselines import BASELINES, check_baselines, make_baseline

SMALL = {
    "hist_gradient_boosting": {"max_iter": 10, "max_features": 1.0},
    "extra_trees": {"n_estimators": 20},
    "random_forest": {"n_estimators": 20},
    "lightgbm": {"n_estimators": 20, "colsample_bytree": 1.0},
    "xgboost": {"n_estimators": 20, "colsample_bytree": 1.0},
    "prior": {},
}


def make_small(name, **params):
    return make_baseline(name, random_state=0, **SMALL[name], **params)


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    y = np.repeat(np.array([2, 62, 227]), 20)
    X = (rng.normal(size=(60, 12)) + (y[:, np.newaxis] == [2, 62, 227] * 4) * 4).astype(np.float32)
    X[::7, :6] = np.nan
    X[3] = np.nan
    return X, y


@pytest.mark.parametrize("name", BASELINES)
@pytest.mark.parametrize("kind", ["space groups", "strings", "two labels"])
def test_baselines_take_nan_and_any_labels(name, kind, data):
    X, y = data
    y = {"space groups": y, "strings": np.array([f"sg{n}" for n in y]), "two labels": np.where(y > 2, 9, 5)}[
        kind
    ]
    model = make_small(name, n_jobs=1).fit(X, y)
    proba = model.predict_proba(X)
    assert model.classes_.tolist() == sorted(set(y.tolist()))
    np.testing.assert_allclose(proba.sum(axis=1), 1, rtol=1e-5)
    assert set(model.predict(X)) <= set(y)
    if name != "prior":
        assert model.score(X, y) > 0.9
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict_proba(X), proba)
    np.testing.assert_array_equal(clone(model).fit(X, y).predict_proba(X), proba)


@pytest.mark.parametrize("name", BASELINES)
def test_baselines_take_labels_that_occur_once(name, data):
    X, y = data
    y = np.where(np.arange(60) == 5, 1, y)
    assert make_small(name).fit(X, y).predict_proba(X).shape == (60, 4)


def test_parameters_replace_defaults():
    model = make_baseline("hist_gradient_boosting", max_iter=7, random_state=3)
    assert (model.max_iter, model.random_state, model.early_stopping) == (7, 3, False)
    assert make_baseline("extra_trees", n_jobs=2).n_jobs == 2
    assert make_small("xgboost").fit(np.eye(4), list("abab")).feature_importances_.shape == (4,)
    assert make_baseline("xgboost", max_depth=3).get_params()["estimator__max_depth"] == 3


def test_unknown_name_and_parameter():
    with pytest.raises(ValueError, match=r"name must be one of.*got 'svm'"):
        make_baseline("svm")
    with pytest.raises(TypeError, match="n_trees"):
        make_baseline("random_forest", n_trees=3)


@pytest.mark.parametrize("name", ["lightgbm", "xgboost"])
def test_missing_package_names_the_extra(name, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r"pip install xtalsk\[boosting\]"):
        make_baseline(name)


def test_names_of_baselines(monkeypatch):
    assert check_baselines(False) == check_baselines([]) == ()
    assert check_baselines("prior") == check_baselines(["prior"]) == ("prior",)
    monkeypatch.setitem(sys.modules, "xgboost", ModuleType("xgboost"))
    sys.modules["xgboost"].__spec__ = "installed"
    assert check_baselines(True) == ("extra_trees", "xgboost")
    monkeypatch.setitem(sys.modules, "xgboost", None)
    assert check_baselines(True) == ("extra_trees", "hist_gradient_boosting")


@parametrize_with_checks([make_small("xgboost", n_jobs=1)])
def test_sklearn_checks_of_the_wrapper(estimator, check):
    if check.func.__name__ == "check_sample_weight_equivalence_on_dense_data":
        pytest.skip("XGBoost sums in single precision: weights and repeats agree to 3e-9, 1e-9 is asked for")
    check(estimator)
