"""Accuracy against the dose, and plans of measurements."""

import warnings
from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from joblib import parallel_config
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin, clone
from sklearn.pipeline import make_pipeline

from xtalsk import (
    Detector,
    DoseCurveDisplay,
    ElementPresence,
    FormulaConditions,
    LibraryMatch,
    PowderProfile,
    RadialProfile,
    RingConditions,
    compare,
    dose_curve,
    load_amcsd,
    make_baseline,
    make_features,
    make_specimens,
    paired_test,
    plan_acquisition,
)
from xtalsk.inspection import AcquisitionPlanDisplay
from xtalsk.model_selection import _rendering, dose_to_reach, paired_differences
from xtalsk.model_selection._rendering import Rendering
from xtalsk.model_selection._sweep import OneKind

mpl.use("Agg")
pytestmark = [
    pytest.mark.filterwarnings("ignore:The least populated class"),
    pytest.mark.filterwarnings("ignore:RadialProfile"),
    pytest.mark.filterwarnings("ignore:1 of 24 entries were left out"),
]
CAMERA = {"rings": RingConditions(image_size=48, off_center=0.0, detector="ideal")}
FEATURES = make_features(
    diffraction=("rings", RadialProfile(n_bins=48)), presence=("formula", ElementPresence())
)
ONLY_RINGS = make_features(diffraction=("rings", RadialProfile(n_bins=48)))


@pytest.fixture(scope="module")
def crystals():
    minerals = load_amcsd()
    chosen = [np.flatnonzero(minerals.space_groups == number)[:8] for number in (225, 167, 62)]
    return minerals[np.concatenate(chosen)]


@pytest.fixture(scope="module")
def trees():
    return make_pipeline(FEATURES, make_baseline("extra_trees", n_estimators=30, random_state=0))


@pytest.fixture(scope="module")
def fitted(trees, crystals):
    X, y, _ = make_specimens(crystals, ("rings", "formula"), conditions=CAMERA, random_state=1)
    return clone(trees).fit(X, y)


@pytest.fixture(scope="module")
def table(trees, crystals):
    return dose_curve(trees, crystals, electrons=[3, 1e6], conditions=CAMERA, cv=2, random_state=0)


def test_only_the_counting_noise_differs_between_doses(crystals):
    rendering = Rendering(crystals[:4], ["formula", "rings"], CAMERA, random_state=0)
    few, many = rendering.specimens(1e7), rendering.specimens(1e9)
    for low, high in zip(few["rings"], many["rings"], strict=True):
        bright = high.data > 1e4
        error = (low.data * 100.0 - high.data)[bright] / np.sqrt(high.data[bright] * 101.0)
        assert error.std() == pytest.approx(90 / 10100**0.5, abs=0.05)  # the same noise, times √dose
    assert few["formula"].tolist() == many["formula"].tolist()


def test_spectra_have_the_counts_and_zones_their_columns(crystals):
    X = Rendering(crystals[:2], ["eds", "spots_1", "spots_2"], "ideal", random_state=0).specimens(1e4, 3000)
    assert [float(spectrum.counts.sum()) for spectrum in X["eds"]] == pytest.approx([3000, 3000], rel=0.1)
    assert X.columns.tolist() == ["eds", "spots_1", "spots_2"]
    one = Rendering(crystals[:2], ["spots", "spots_1", "spots_2"], "ideal", random_state=0).specimens(1e4)
    assert one.notna().all().tolist() == [True, False, False]
    first = Rendering(crystals[:2], ["spots_1", "spots_2"], "ideal", n_zones=1, random_state=0).specimens(1e4)
    assert first.notna().all().tolist() == [True, False]


def test_the_table_has_levels_models_and_folds(table):
    assert list(table.columns[:4]) == ["model", "electrons", "counts", "fold"]
    names = ["model", "model (diffraction only)", "model (chemistry only)", "prior"]
    assert table["model"].unique().tolist() == names
    assert table.groupby(["model", "electrons"])["n_test"].sum().eq(23).all()


def test_workers_do_not_change_the_table(table, trees, crystals):
    with parallel_config("threading"):
        again = dose_curve(
            trees, crystals, electrons=[3, 1e6], conditions=CAMERA, cv=2, random_state=0, n_jobs=2
        )
    pd.testing.assert_frame_equal(again, table)


def test_more_electrons_help_diffraction_and_nothing_else(table):
    means = table.pivot_table("space_group_accuracy", "electrons", "model")
    assert means.loc[1e6, "model (diffraction only)"] > means.loc[3, "model (diffraction only)"] + 0.2
    for name in ("model (chemistry only)", "prior"):
        assert means.loc[3, name] == means.loc[1e6, name]


def test_counts_change_chemistry_only(trees, crystals):
    formula = replace(FormulaConditions.microscope(), unseen_as_nan=0.0)
    table = dose_curve(
        trees,
        crystals,
        electrons=1e5,
        counts=[1, 1e6],
        conditions={**CAMERA, "formula": formula},
        cv=2,
        random_state=0,
    )
    scores = table.pivot_table("space_group_calibration_error", "counts", "model")
    assert scores.loc[1, "model (diffraction only)"] == scores.loc[1e6, "model (diffraction only)"]
    assert scores.loc[1, "model (chemistry only)"] != scores.loc[1e6, "model (chemistry only)"]


def test_fitted_models_are_scored_as_they_are(fitted, crystals):
    table = dose_curve({"known": fitted}, crystals, electrons=[1e6], conditions=CAMERA, cv=2, random_state=1)
    rendering = Rendering(crystals, ["formula", "rings"], CAMERA, random_state=1)
    X = rendering.specimens(1e6)
    y, _ = rendering.labels()
    weighted = table.assign(right=table["space_group_accuracy"] * table["n_test"]).groupby("model")["right"]
    right = weighted.sum() / len(y)
    assert right["known"] == pytest.approx(np.mean(fitted.predict(X) == y))
    hidden = X.assign(formula=None)
    assert right["known (diffraction only)"] == pytest.approx(np.mean(fitted.predict(hidden) == y))
    assert np.isinf(table["n_train"]).all()
    np.testing.assert_array_equal(
        OneKind(fitted, "chemistry").predict_proba(X), fitted.predict_proba(X.assign(rings=None))
    )


def test_specimens_in_which_nothing_can_be_read_count_as_wrong(crystals):
    X, y, _ = make_specimens(crystals, ("rings", "formula"), conditions=CAMERA, random_state=1)
    match = make_pipeline(FEATURES, LibraryMatch()).fit(X, y)  # raises for such specimens
    nothing = {**CAMERA, "formula": FormulaConditions(lightest=98, unseen_as_nan=1.0)}
    table = dose_curve(match, crystals, electrons=[1e5], conditions=nothing, cv=2, random_state=0)
    answered = table.groupby("model")["answered"].mean()
    assert answered["model (diffraction only)"] == 1
    assert answered["model (chemistry only)"] < 1
    assert match[-1].all_missing == "raise"


def test_retrained_models_learn_from_the_dose_that_they_are_scored_at(crystals):
    trees = make_pipeline(ONLY_RINGS, make_baseline("extra_trees", n_estimators=30, random_state=0))
    options = {"electrons": [30], "conditions": CAMERA, "cv": 2, "random_state": 0}
    again = dose_curve(trees, crystals, retrain=True, **options)
    rendering = Rendering(crystals, ["rings"], CAMERA, random_state=0)
    X = rendering.specimens(30)
    y, groups = rendering.labels()
    same = compare({"model": trees}, X, y, groups=groups, cv=2, hierarchy="space_group")
    a, b = (t.loc[t["model"] == "model", "space_group_top5"].tolist() for t in (again, same))
    assert a == b


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "needs electrons, counts or both"),
        ({"electrons": [0, 10]}, "electrons must be finite numbers above 0"),
        ({"electrons": [100, 10]}, "electrons must increase"),
        ({"electrons": [10, np.inf]}, "electrons must be finite"),
        ({"counts": [-1.0]}, "counts must be finite numbers above 0"),
        ({"counts": [0.5]}, "counts must be at least 1"),
        ({"electrons": [1e13]}, "electrons must be from|electrons must be at most"),
        ({"electrons": [10, 1e9], "conditions": "saturated"}, "beyond the range of its detector"),
        ({"electrons": [10], "n_zones": 3}, "n_zones=3, but the models use only"),
    ],
)
def test_bad_doses_are_errors_before_any_work(trees, crystals, arguments, message, monkeypatch):
    monkeypatch.setattr(_rendering, "make_specimens", None)
    if "conditions" in arguments:
        camera = RingConditions(image_size=48, detector=Detector(saturation=1e4))
        arguments = arguments | {"conditions": {"rings": camera}}
    with pytest.raises(ValueError, match=message):
        dose_curve(trees, crystals, **arguments)


def test_models_that_do_not_fit_are_errors_before_any_work(trees, fitted, crystals, monkeypatch):
    monkeypatch.setattr(_rendering, "make_specimens", None)
    powder = make_features(diffraction=("powder", PowderProfile()))
    classifier = make_baseline("extra_trees")
    for models, arguments, message in [
        (make_pipeline(powder, classifier), {"electrons": [10]}, r"changes the columns \['rings', 'spots'\]"),
        (make_pipeline(ONLY_RINGS, classifier), {"counts": [10]}, r"the model 'model' uses \['rings'\]"),
        ({"a": trees, "b": fitted}, {"electrons": [10]}, "either all models must be fitted or none"),
        (fitted, {"electrons": [10], "retrain": True}, "retrain needs models that are not fitted"),
        (fitted, {"electrons": [10], "train_conditions": "harsh"}, "train_conditions needs models"),
        ({"prior": fitted}, {"electrons": [10]}, "'prior' is the name of a reference"),
        (classifier, {"electrons": [10]}, "needs features by column"),
        ({}, {"electrons": [10]}, "got an empty dict"),
    ]:
        with pytest.raises(ValueError, match=message):
            dose_curve(models, crystals, **arguments)


def test_paired_differences_are_those_of_each_level(table):
    differences = paired_differences(table, "model", "prior", x="electrons")
    part = table[table["electrons"] == 1e6]
    expected = paired_test(part, "model", "prior", "space_group_accuracy")
    assert differences.loc[1, "difference"] == expected.difference
    assert (differences.loc[1, "low"], differences.loc[1, "high"]) == expected.confidence_interval


def test_dose_to_reach_is_monotone_and_honest():
    table = pd.DataFrame(
        {"model": "a", "electrons": [1e1, 1e2, 1e3, 1e4], "fold": 0, "accuracy": [0.2, 0.5, 0.3, 0.8]}
    )
    assert dose_to_reach(table, "a", 0.1, "accuracy") == pytest.approx(10)
    assert dose_to_reach(table, "a", 0.4, "accuracy") == pytest.approx(100)  # 0.5 and 0.3 become 0.4
    assert np.isinf(dose_to_reach(table, "a", 0.9, "accuracy"))
    with pytest.raises(ValueError, match="no 'accuracy' of a model 'b'"):
        dose_to_reach(table, "b", 0.9, "accuracy")


def test_display_draws_each_model_and_the_prior(table):
    display = DoseCurveDisplay.from_results(table, x="electrons")
    assert list(display.lines_) == table["model"].unique().tolist()
    drawn = display.lines_["model"].get_ydata()
    expected = table[table["model"] == "model"].groupby("electrons")["space_group_accuracy"].mean()
    np.testing.assert_allclose(drawn, expected)
    assert display.ax_.get_xscale() == "log"
    assert display.figure_.get_size_inches()[0] == pytest.approx(3.4)
    only = DoseCurveDisplay.from_results(table, models=["prior", "model"], metric="crystal_system_top5")
    assert set(only.lines_) == {"model", "prior"}
    with pytest.raises(ValueError, match="the table has no model 'none'"):
        DoseCurveDisplay.from_results(table, models=["none"])
    with pytest.raises(ValueError, match="no \\['missing'\\]"):
        DoseCurveDisplay.from_results(table, metric="missing")


class Counter(ClassifierMixin, BaseEstimator):
    """Names the right phase of all specimens above a number of electrons, and the first of them below."""

    def __init__(self, phases, enough):
        self.phases = phases
        self.enough = enough

    def fit(self, X, y=None):
        self.classes_ = np.sort(self.phases)
        return self

    def predict_proba(self, X):
        sums = np.asarray(X)[:, 0]
        truth = np.repeat(np.arange(len(self.phases)), len(X) // len(self.phases))
        label = np.where(sums >= self.enough, np.asarray(self.phases)[truth], self.phases[0])
        return (label[:, None] == self.classes_).astype(float)


class Total(TransformerMixin, BaseEstimator):
    """Sum of the pixels of each image."""

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return np.array([[cell.data.sum()] for cell in np.ravel(X)], dtype=float)

    def get_feature_names_out(self, names=None):
        return np.array(["total"])


@pytest.fixture(scope="module")
def counter(crystals):
    phases = crystals[[0, 8, 16]].space_groups.tolist()
    X, y, _ = make_specimens(crystals[[0, 8, 16]], "rings", conditions=CAMERA, random_state=0)
    return make_pipeline(make_features(total=("rings", Total())), Counter(phases, 500)).fit(X, y)


def test_plan_is_the_cheapest_dose_that_is_enough(counter, crystals):
    doses = [10, 100, 300, 1000, 3000, 1e4]
    plan = plan_acquisition(
        counter, crystals[[0, 8, 16]], 0.9, electrons=doses, conditions=CAMERA, n_specimens=20, random_state=0
    )
    assert (plan.electrons, plan.counts, plan.n_zones, plan.cost) == (1000, None, 1, 1000)
    assert plan.accuracy == 1
    assert plan.interval[0] == pytest.approx(60 / (60 + 1.959964**2))  # Wilson, all of 60 right
    frame = plan.to_frame()
    assert set(frame["electrons"]) < set(doses)  # bisection
    assert frame.loc[frame["electrons"] < 1000, "accuracy"].eq(1 / 3).all()
    assert frame["is_confirmation"].tolist().count(True) == 1
    assert "1e+03 electrons a pattern" in plan.summary()
    assert isinstance(plan.plot(), AcquisitionPlanDisplay)


def test_plan_that_is_out_of_reach_says_so(counter, crystals):
    plan = plan_acquisition(
        counter, crystals[[0, 8, 16]], 0.9, electrons=[10, 100], conditions=CAMERA, n_specimens=5
    )
    assert not plan.is_reached
    assert np.isinf(plan.cost)
    assert "no setting reaches 90%" in plan.summary()


def test_plan_with_chemistry_needs_fewer_electrons(fitted, crystals):
    plan = plan_acquisition(
        fitted,
        crystals[[0, 8, 16]],
        0.6,
        electrons=[1, 10, 1e6],
        counts=[None, 1e4],
        conditions=CAMERA,
        n_specimens=10,
        cost=lambda electrons, counts, n_zones: electrons,
        random_state=0,
    )
    assert plan.counts == 1e4
    assert plan.electrons < 1e6


@pytest.mark.parametrize(
    ("rows", "arguments", "message"),
    [
        ([0], {}, "two candidates or more"),
        ([0, 1], {}, "have the same space group, 225"),
        ([0, 8], {"target": 1.5}, "target"),
        ([0, 8], {"electrons": [10, 1]}, "electrons must increase"),
        ([0, 8], {"n_zones": [2, 1]}, "n_zones must be positive integers that increase"),
        ([0, 8], {"n_zones": 2}, "n_zones=2, but the models use only"),
        ([0, 8], {"counts": [None, 0]}, "counts must be finite numbers above 0"),
    ],
)
def test_bad_plans_are_errors_before_any_work(fitted, crystals, rows, arguments, message, monkeypatch):
    monkeypatch.setattr(_rendering, "make_specimens", None)
    with pytest.raises(ValueError, match=message):
        plan_acquisition(fitted, crystals[rows], **arguments)


def test_plan_needs_a_fitted_pipeline_that_knows_the_candidates(trees, fitted, counter, crystals):
    with pytest.raises(ValueError, match="needs a fitted pipeline"):
        plan_acquisition(trees, crystals[[0, 8]])
    unknown = np.flatnonzero(~np.isin(load_amcsd().space_groups, fitted.classes_))[0]
    with warnings.catch_warnings(), pytest.raises(ValueError, match="does not know the space groups"):
        plan_acquisition(fitted, load_amcsd()[[unknown, np.flatnonzero(load_amcsd().space_groups == 225)[0]]])
    with pytest.raises(ValueError, match=r"uses \['rings'\]"):
        plan_acquisition(counter, crystals[[0, 8]], counts=[100])
