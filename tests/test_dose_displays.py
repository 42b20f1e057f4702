"""Figures of confusion, importance, occlusion and coverage."""

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.frozen import FrozenEstimator
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline

from xtalsk import (
    BlockImportanceDisplay,
    ConformalSets,
    ElementFractions,
    OcclusionDisplay,
    PowderConditions,
    PowderProfile,
    SetCoverageDisplay,
    SymmetryConfusionDisplay,
    block_importance,
    load_amcsd,
    make_features,
    make_specimens,
    q_occlusion,
)

mpl.use("Agg")


def test_agreement_goes_down_the_tree():
    #         same  extinction  point group  system  other  none
    truth = [225, 216, 225, 225, 225, 225]
    answers = [225, 225, 221, 215, 62, 0]
    display = SymmetryConfusionDisplay.from_predictions(truth, answers)
    shares = display.to_frame().loc["cubic"]
    names = ["space group", "extinction group", "point group", "crystal system", "other system", "no answer"]
    assert shares[names].tolist() == pytest.approx([1 / 6] * 6)
    assert shares["n"] == 6
    assert display.matrix_.loc[225].sum() == pytest.approx(0.8)  # one of five has no answer
    assert display.matrix_.loc[216, 225] == 1
    assert np.isnan(display.matrix_.loc[62]).all()  # never the truth


def test_only_few_groups_are_labelled_one_by_one():
    few = SymmetryConfusionDisplay.from_predictions([225, 62], [225, 225])
    assert [t.get_text() for t in few.ax_.get_yticklabels()] == ["$Pnma$", "$Fm\\bar{3}m$"]
    many = SymmetryConfusionDisplay.from_predictions(np.arange(1, 231), np.arange(1, 231))
    assert "orthorhombic" in [t.get_text() for t in many.ax_.get_yticklabels()]
    assert many.figure_.get_size_inches()[0] == pytest.approx(3.4)


@pytest.mark.parametrize(
    ("truth", "answers", "message"),
    [
        ([225, 300], [225, 225], "integers from 1 to 230, got 300"),
        ([225], [231], "integers from 1 to 230, got 231"),
        ([225, 62], [225], "inconsistent numbers of samples"),
        ([], [], "at least one specimen"),
    ],
)
def test_confusion_of_anything_else_is_an_error(truth, answers, message):
    with pytest.raises(ValueError, match=message):
        SymmetryConfusionDisplay.from_predictions(truth, answers)


class Salt(ClassifierMixin, BaseEstimator):
    """Knows rock salt by the fraction of chlorine, and looks at nothing else."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X):
        is_salt = X["fractions__cl"].to_numpy() > 0
        return np.stack([~is_salt, is_salt], axis=1).astype(float)


@pytest.fixture(scope="module")
def salt():
    X = pd.DataFrame({"formula": ["NaCl", "KCl", "SiO2", "GeO2"] * 10})
    X["note"] = X["formula"]
    features = make_features(fractions=("formula", ElementFractions()), other=("note", ElementFractions()))
    y = np.array([225, 225, 154, 154] * 10)
    return make_pipeline(features, Salt()).fit(X, y), X, y


def test_only_the_block_that_is_used_is_important(salt):
    table = block_importance(*salt, n_repeats=4, random_state=0)
    means = table.pivot_table("importance", "block", "way")
    assert (means.loc["other"] == 0).all()
    assert means.loc["fractions", "ablation"] == 0.5  # all are called SiO2
    assert 0.3 < means.loc["fractions", "permutation"] < 0.7
    assert (table["score"] == 1).all()
    display = BlockImportanceDisplay.from_results(table)
    assert [label.get_text() for label in display.ax_.get_yticklabels()] == ["other", "fractions"]


def test_importance_of_bad_input_is_an_error(salt):
    model, X, y = salt
    with pytest.raises(ValueError, match="metric must be one of"):
        block_importance(model, X, y, metric="beauty")
    with pytest.raises(ValueError, match="expected a fitted Pipeline"):
        block_importance(model[-1], X, y)
    with pytest.raises(ValueError, match="got no \\['block'"):
        BlockImportanceDisplay.from_results(pd.DataFrame())


class OneLine(ClassifierMixin, BaseEstimator):
    """Probability of the second class increases with the intensity in some bins of the profile."""

    def __init__(self, bins=slice(20, 24)):
        self.bins = bins

    def fit(self, X, y):
        self.classes_ = np.array([62, 225])
        return self

    def predict_proba(self, X):
        intensity = np.nan_to_num(X.to_numpy())[:, self.bins].sum(axis=1)
        share = intensity / (1 + intensity)
        return np.stack([1 - share, share], axis=1)

    def predict(self, X):
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


@pytest.fixture(scope="module")
def one_line():
    crystals = load_amcsd()[:2]
    conditions = {"powder": PowderConditions.ideal()}
    X, y, _ = make_specimens(crystals, "powder", conditions=conditions, random_state=0)
    model = make_pipeline(make_features(diffraction=("powder", PowderProfile(n_bins=64))), OneLine())
    return model.fit(X, y), X, crystals


def test_the_window_with_the_line_decides(one_line):
    model, X, _ = one_line
    profile = model[:-1].transform(X).to_numpy()
    strongest = int(np.nanargmax(profile[0]))
    model[-1].bins = slice(strongest, strongest + 1)
    loss, edges = q_occlusion(model, X, [225, 225], n_windows=16)
    q = model[0].transformers_[0][1].q_
    decisive = int(np.searchsorted(edges, q[strongest], side="right")) - 1
    assert loss[0].argmax() == decisive
    assert loss[0, decisive] > 0.01
    assert (np.delete(loss[0], decisive) == 0).all()
    with pytest.raises(ValueError, match=r"does not know the labels \[14\]"):
        q_occlusion(model, X, [14, 225])


def test_occlusion_shows_profile_and_reflections(one_line):
    model, X, crystals = one_line
    display = OcclusionDisplay.from_estimator(model, X[:1], 225, crystal=crystals[:1], n_windows=16)
    assert len(display.ax_.patches) == 16
    assert display.lines[1].max() == 1
    with pytest.raises(ValueError, match="one row, got 2"):
        OcclusionDisplay.from_estimator(model, X)


def test_coverage_is_that_of_the_sets():
    pytest.importorskip("mapie")
    rng = np.random.default_rng(0)
    y = rng.choice([14, 62, 225], 600)
    X = np.searchsorted([14, 62, 225], y)[:, None] + rng.normal(size=(600, 3))
    sets = ConformalSets(FrozenEstimator(GaussianNB().fit(X[:200], y[:200]))).fit(X[200:400], y[200:400])
    display = SetCoverageDisplay.from_estimator(sets, X[400:], y[400:])
    assert display.table["is_covered"].mean() == pytest.approx(sets.coverage(X[400:], y[400:]))
    names = [label.get_text().split(" (")[0] for label in display.ax_.get_yticklabels()]
    assert names == ["monoclinic", "orthorhombic", "cubic", "all"]
