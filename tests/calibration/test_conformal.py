"""Conformal sets: coverage by modality and by crystal system."""

import sys

import numpy as np
import pandas as pd
import pytest
from _given import CLASSES, Given, draw, named
from sklearn.frozen import FrozenEstimator
from sklearn.naive_bayes import GaussianNB

import xtalsk
from xtalsk.calibration import ConformalSets
from xtalsk.symmetry import to_level

pytest.importorskip("mapie", reason="needs the extra trust")


def fit(X, y, **params):
    return ConformalSets(FrozenEstimator(Given()), **params).fit(X, y)


def inside(model, X, y):
    """Return for each row whether its set holds its label."""
    truth = y if model.level is None else to_level(y, model.level)
    return model.predict_set(X)[np.arange(len(y)), np.searchsorted(model.labels_, truth)]


def two_modalities(n=4000):
    """Return answers that are good for powders and useless for formulas, and labels."""
    proba, y = draw(n)
    powder = np.arange(n) % 2 == 0
    bad = np.random.default_rng(1).dirichlet(np.ones(len(CLASSES)), size=n)
    X = named(np.where(powder[:, None], proba, bad))
    return X.assign(eds__o=np.where(powder, np.nan, 1.0)), y, powder


@pytest.mark.parametrize("level", [None, "crystal_system", "extinction_group", "space_group"])
@pytest.mark.parametrize("method", ["lac", "aps"])
def test_coverage_holds_for_each_modality(level, method):
    X, y, powder = two_modalities()
    model = fit(X[:2000], y[:2000], level=level, method=method, balanced=False, random_state=0)
    held = inside(model, X[2000:], y[2000:])
    for rows in (powder[2000:], ~powder[2000:]):
        assert 0.87 < held[rows].mean() < (0.93 if method == "lac" else 1)
    sizes = model.predict_set(X[2000:]).sum(axis=1)
    assert sizes[powder[2000:]].mean() < sizes[~powder[2000:]].mean() - 1


def test_coverage_holds_for_each_crystal_system_if_balanced():
    proba, y = draw(6000)
    cubic = to_level(CLASSES, "crystal_system") == "cubic"
    proba = np.where(cubic, 0.2 * proba, proba)  # the classifier doubts whatever is cubic
    proba /= proba.sum(axis=1, keepdims=True)
    held = {
        balanced: pd.Series(inside(fit(proba[:3000], y[:3000], balanced=balanced), proba[3000:], y[3000:]))
        for balanced in (True, False)
    }
    systems = to_level(y[3000:], "crystal_system")
    assert held[True].groupby(systems).mean().between(0.85, 0.95).all()
    assert held[False].groupby(systems).mean()["cubic"] < 0.85


def test_coverage_counts_labels_that_the_classifier_cannot_give():
    proba, y = draw(1000)
    model = fit(proba[:500], y[:500])
    before = model.coverage(proba[500:], y[500:])
    assert before == pytest.approx(inside(model, proba[500:], y[500:]).mean())
    assert model.coverage(proba[500:], np.r_[np.full(250, 1), y[750:]]) < 0.6 * before


def test_sets_are_never_empty_and_rows_without_answer_may_be_anything():
    proba, y = draw(1000)
    model = fit(proba[:900], y[:900], confidence=0.3)
    proba[900:903] = np.nan
    sets = model.predict_set(proba[900:])
    assert sets[:3].all()
    assert sets.sum(axis=1).min() >= 1


def test_small_groups_and_unknown_modalities_have_all_labels():
    proba, y = draw(300)
    X = named(proba).assign(eds__o=np.nan)
    triclinic = to_level(y, "crystal_system") == "triclinic"
    kept = ~triclinic | (np.cumsum(triclinic) <= 5)
    model = fit(X[kept], y[kept])
    assert model.n_specimens_["powder"]["triclinic"] == 5
    assert model.predict_set(X)[:, 0].all()  # five triclinic specimens say nothing about space group 2
    X.loc[4, "eds__o"] = 1.0
    with pytest.warns(UserWarning, match=r"row 4: .*\['powder \+ eds'\], only \['powder'\].*all labels"):
        assert model.predict_set(X)[4].all()


def test_calibration_rows_without_answer_are_named():
    proba, y = draw(300)
    proba[7] = np.nan
    with pytest.warns(UserWarning, match="row 7: no answer"):
        model = fit(proba, y, balanced=False)
    assert model.n_specimens_ == {"features": {"all": 299}}


@pytest.mark.parametrize("confidence", [0, 1, -0.1, 1.5, float("nan")])
def test_confidence_must_be_between_0_and_1(confidence):
    proba, y = draw(50)
    with pytest.raises(ValueError, match="confidence"):
        fit(proba, y, confidence=confidence)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"level": "colour"}, "level must be one of"),
        ({"method": "raps"}, "method must be one of"),
        ({"balanced": 1}, "balanced must be one of"),
    ],
)
def test_invalid_parameters(params, message):
    proba, y = draw(50)
    with pytest.raises(ValueError, match=message):
        fit(proba, y, **params)


def test_labels_that_the_classifier_cannot_give():
    proba, y = draw(50)
    with pytest.raises(ValueError, match=r"cannot give the labels \[230\].*these 1 specimens"):
        fit(proba, np.r_[230, y[1:]])
    codes = FrozenEstimator(Given(np.arange(len(CLASSES))))
    with pytest.raises(ValueError, match="level='point_group' needs space-group numbers"):
        ConformalSets(codes, level="point_group").fit(proba, np.searchsorted(CLASSES, y))


def test_missing_mapie_is_an_error_that_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "mapie.classification", None)
    proba, y = draw(50)
    with pytest.raises(ImportError, match=r"xtalsk\[trust\]"):
        fit(proba, y)


def test_saved_sets_are_the_same(tmp_path):
    rng = np.random.default_rng(0)
    y = rng.choice([14, 62, 225], 300)
    X = (y > 14)[:, None] + rng.normal(size=(300, 3))
    model = ConformalSets(FrozenEstimator(GaussianNB().fit(X, y)), level="crystal_system").fit(X, y)
    xtalsk.save(model, tmp_path / "sets.xtalsk")
    loaded = xtalsk.load(tmp_path / "sets.xtalsk")
    np.testing.assert_array_equal(loaded.predict_set(X), model.predict_set(X))


@pytest.mark.parametrize("method", ["aps", "top_k"])
def test_systems_of_one_or_two_labels(method):
    proba, y = draw(2000)  # one trigonal or hexagonal label, two monoclinic ones
    model = fit(proba[:1000], y[:1000], method=method, random_state=0)
    assert 0.87 < model.coverage(proba[1000:], y[1000:]) < 1
