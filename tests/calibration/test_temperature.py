"""Calibrated probabilities: temperatures of the levels of symmetry."""

import numpy as np
import pandas as pd
import pytest
from _given import CLASSES, Given, draw, named
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import KFold
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from xtalsk.calibration import SymmetryCalibration, calibrate_pipeline
from xtalsk.calibration._chain import Chain
from xtalsk.metrics import level_probabilities
from xtalsk.symmetry import to_level

LEVELS = ("crystal_system", "point_group", "space_group")


def distorted(proba, temperatures):
    """Return probabilities from which a calibration with constant temperatures gives ``proba`` back."""
    inverse = np.repeat(1 / np.array(temperatures)[:, None], 2, axis=1)
    return Chain(CLASSES, CLASSES, LEVELS).apply(proba, np.broadcast_to(inverse, (len(proba), 3, 2)))


def calibrate(X, y, **params):
    return SymmetryCalibration(FrozenEstimator(Given()), **params).fit(X, y)


def test_temperatures_of_all_levels_are_found():
    proba, y = draw(8000)
    model = calibrate(distorted(proba, (2.0, 1.0, 0.5)), y, by_confidence=False)
    pairs = model.temperatures_["all"]
    assert list(pairs) == list(LEVELS)
    np.testing.assert_allclose([pairs[level][0] for level in LEVELS], (2.0, 1.0, 0.5), rtol=0.1)
    assert all(low == high for low, high in pairs.values())


def test_calibrated_probabilities_are_close_to_the_true_ones_at_every_level():
    proba, y = draw()
    before = distorted(proba, (0.3, 0.5, 2.0))
    after = calibrate(before, y).predict_proba(before)
    for level in LEVELS:
        true, got, was = (level_probabilities(p, CLASSES, level)[0] for p in (proba, after, before))
        assert np.abs(got - true).mean() < 0.3 * np.abs(was - true).mean()
    np.testing.assert_allclose(after.sum(axis=1), 1)


def test_temperature_follows_the_confidence():
    rng = np.random.default_rng(0)
    sure, n = 0.97, 2000
    proba = np.full((2 * n, len(CLASSES)), 0.0)
    proba[:n, 3:5] = 0.6, 0.4  # right in half of the rows: too sure
    proba[n:, 3:5] = sure, 1 - sure  # always right: not sure enough
    y = np.where(np.arange(2 * n) < n, np.where(rng.random(2 * n) < 0.5, 62, 63), 62)
    low, high = calibrate(proba, y).temperatures_["all"]["space_group"]
    assert low > 1.5
    assert high < 0.7


def test_levels_never_contradict_each_other():
    proba, y = draw(500)
    model = calibrate(proba, y)
    X = distorted(proba, (3.0, 0.4, 1.5))
    leaves = model.predict_proba(X)
    for level in LEVELS:
        summed = model.predict_level_proba(X, level)
        np.testing.assert_allclose(summed, level_probabilities(leaves, CLASSES, level)[0])
    assert (to_level(model.predict(X), "crystal_system") == model.predict_level(X, "crystal_system")).all()


def test_each_group_of_modalities_has_its_own_temperatures():
    proba, y = draw(2000)
    X = named(np.where(np.arange(2000)[:, None] < 1000, distorted(proba, (1, 1, 3)), proba))
    X["presence__o"] = np.where(np.arange(2000) < 1000, 1.0, np.nan)
    model = calibrate(X, y, modalities={"presence": "formula"}, by_confidence=False)
    assert model.n_specimens_ == {"all": 2000, "powder": 1000, "powder + formula": 1000}
    assert model.temperatures_["powder + formula"]["space_group"][0] > 2
    assert model.temperatures_["powder"]["space_group"][0] == pytest.approx(1, rel=0.2)
    a, b = X.iloc[:5], X.iloc[:5].assign(presence__o=np.nan)
    assert np.abs(model.predict_proba(a) - model.predict_proba(b)).max() > 0.05


def test_small_groups_take_the_temperatures_of_all():
    proba, y = draw(200)
    X = named(distorted(proba, (2, 2, 2))).assign(eds__o=np.nan)
    X.loc[:9, "eds__o"] = 1.0
    model = calibrate(X, y)
    assert set(model.temperatures_) == {"all", "powder"}
    assert model.n_specimens_["powder + eds"] == 10
    model.predict_proba(X[:10])  # without a warning


def test_modalities_that_the_calibration_did_not_have_are_named():
    proba, y = draw(200)
    X = named(proba).assign(eds__o=np.nan)
    model = calibrate(X, y)
    X.loc[[3, 7], "eds__o"] = 1.0
    with pytest.warns(UserWarning, match=r"rows 3, 7.*'powder \+ eds'.*only \['powder'\]"):
        model.predict_proba(X)


def test_calibration_set_may_lack_classes():
    proba, y = draw(600)
    rows = np.isin(y, [14, 62, 225])
    after = calibrate(proba[rows], y[rows]).predict_proba(proba)
    assert after.shape == proba.shape
    np.testing.assert_allclose(after.sum(axis=1), 1)


def test_labels_that_the_classifier_cannot_give_are_named():
    proba, y = draw(100)
    with pytest.raises(ValueError, match=r"cannot give the labels \[230, 1\].*these 3 specimens"):
        calibrate(proba, np.r_[[230, 1, 230], y[3:]])
    with pytest.raises(ValueError, match="cannot give the labels"):
        calibrate(proba, y.astype(str))


def test_rows_without_answer():
    proba, y = draw(300)
    proba[[2, 5]] = np.nan
    with pytest.warns(UserWarning, match="rows 2, 5: no answer, left out"):
        model = calibrate(proba, y)
    assert model.n_specimens_["all"] == 298
    after = model.predict_proba(proba[:4])
    assert np.isnan(after).any(axis=1).tolist() == [False, False, True, False]
    assert model.predict(proba[:4])[2] == 0
    with pytest.raises(ValueError, match="no specimen has an answer"):
        calibrate(np.full((3, len(CLASSES)), np.nan), y[:3])


def test_temperatures_stay_finite_if_the_classifier_is_always_right():
    y = np.repeat(CLASSES, 20)
    proba = np.where(y[:, None] == CLASSES, 0.8, 0.2 / (len(CLASSES) - 1))
    values = [t for pair in calibrate(proba, y).temperatures_["all"].values() for t in pair]
    assert np.abs(np.log(values)).max() < 2.9


def test_prior_replaces_the_shares_of_the_calibration_set():
    proba, y = draw(4000)
    systems = np.unique(to_level(CLASSES, "crystal_system")).tolist()
    shares = pd.Series(to_level(y, "crystal_system")).value_counts(normalize=True)
    same = calibrate(proba, y, prior=shares.to_dict()).predict_proba(proba)
    np.testing.assert_allclose(same, calibrate(proba, y).predict_proba(proba), atol=1e-9)
    prior = dict.fromkeys(systems, 0.0) | {"cubic": 0.5, "triclinic": 0.5}
    model = calibrate(proba, y, prior=prior, method=None)
    other = level_probabilities(model.predict_proba(proba), CLASSES, "crystal_system")[0]
    allowed = np.isin(systems, ["cubic", "triclinic"])
    assert other[:, ~allowed].max() == 0
    before = level_probabilities(proba, CLASSES, "crystal_system")[0][:, allowed]
    ratio = (other[:, allowed] / before)[before.min(axis=1) > 0.01]
    np.testing.assert_allclose(ratio[:, 0] / ratio[:, 1], shares["triclinic"] / shares["cubic"], rtol=1e-3)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"method": "isotonic"}, "method must be one of"),
        ({"levels": ("extinction_group", "point_group", "space_group")}, "point_group is not, in"),
        ({"levels": ("crystal_system",)}, "the last one 'space_group'"),
        ({"levels": ("chemistry", "space_group")}, "levels must be some of"),
        ({"prior": {"cubic": 1.0}}, "a share for each of"),
        ({"by_confidence": "yes"}, "by_confidence must be one of"),
    ],
)
def test_invalid_parameters(params, message):
    proba, y = draw(100)
    with pytest.raises(ValueError, match=message):
        calibrate(proba, y, **params)


def test_prior_of_a_system_that_no_specimen_has():
    proba, y = draw(300)
    shares = dict.fromkeys(np.unique(to_level(CLASSES, "crystal_system")).tolist(), 0.2)
    rows = to_level(y, "crystal_system") != "hexagonal"
    with pytest.raises(ValueError, match=r"no specimens of \['hexagonal'\]"):
        calibrate(proba[rows], y[rows], prior=shares)


def test_labels_that_are_no_space_groups_have_one_temperature():
    rng = np.random.default_rng(0)
    y = rng.choice(["gold", "salt", "quartz"], 300)
    X = (y == "gold")[:, None] + rng.normal(size=(300, 4))
    model = SymmetryCalibration(FrozenEstimator(GaussianNB().fit(X[:150], y[:150]))).fit(X[150:], y[150:])
    assert list(model.temperatures_["all"]) == ["label"]
    with pytest.raises(ValueError, match="need space-group numbers"):
        model.predict_level(X, "crystal_system")


def test_unfitted_classifiers_are_fitted_by_cross_validation():
    rng = np.random.default_rng(0)
    y = rng.choice([14, 62, 225], 300)
    X = np.repeat((y > 14)[:, None] + rng.normal(size=(300, 1)), 10, axis=1)
    model = SymmetryCalibration(GaussianNB()).fit(X, y, groups=None)
    plain = GaussianNB().fit(X, y)
    np.testing.assert_allclose(model.estimator_.predict_proba(X), plain.predict_proba(X))
    right = plain.predict(X) == y
    error = abs(model.predict_proba(X).max(axis=1).mean() - right.mean())
    assert error < 0.05 < abs(plain.predict_proba(X).max(axis=1).mean() - right.mean())


def test_calibrated_pipeline_keeps_its_steps():
    rng = np.random.default_rng(0)
    y = rng.choice([14, 62, 225], 400)
    X = (y > 14)[:, None] + rng.normal(size=(400, 3))
    pipeline = make_pipeline(StandardScaler(), GaussianNB()).fit(X[:200], y[:200])
    calibrated = calibrate_pipeline(pipeline, X[200:], y[200:])
    assert calibrated[0] is pipeline[0]
    whole = SymmetryCalibration(FrozenEstimator(pipeline)).fit(X[200:], y[200:])
    np.testing.assert_allclose(calibrated.predict_proba(X), whole.predict_proba(X))
    again = calibrate_pipeline(calibrated, X[200:], y[200:])
    assert again[-1].temperatures_ == calibrated[-1].temperatures_
    with pytest.raises(ValueError, match="a fitted Pipeline of two steps"):
        calibrate_pipeline(GaussianNB(), X, y)


def test_blocks_that_the_classifier_never_saw_are_an_error():
    proba, y = draw(200)
    X = named(proba)
    model = SymmetryCalibration(FrozenEstimator(GaussianNB().fit(X[:100], y[:100]))).fit(X[100:], y[100:])
    with pytest.raises(ValueError, match="unseen at fit time:\n- eels__x0"):
        model.predict_proba(X.assign(eels__x0=0.0))


def test_folds_keep_groups_apart():
    """A classifier that knows its training rows by heart is not sure of new groups."""
    rng = np.random.default_rng(0)
    groups = rng.permutation(np.arange(300) // 3)
    X, y = rng.normal(size=(100, 4))[groups], rng.choice([14, 62, 225], 100)[groups]
    apart, mixed = (
        SymmetryCalibration(KNeighborsClassifier(1)).fit(X, y, groups=g).temperatures_["all"]
        for g in (groups, None)
    )
    assert apart["crystal_system"][1] > 3 * mixed["crystal_system"][1]


def test_specimens_whose_label_only_their_fold_has_are_named():
    X = np.random.default_rng(0).normal(size=(41, 2))
    y = [*np.repeat([14, 62], 20).tolist(), 225]
    with pytest.warns(UserWarning, match="row 40: left out of the calibration, as no other fold"):
        calibrated = SymmetryCalibration(GaussianNB(), cv=KFold(4)).fit(X, y)
    assert calibrated.n_specimens_["all"] == 40
