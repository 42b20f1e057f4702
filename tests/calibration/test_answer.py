"""`predict_at`: the deepest level of symmetry that is sure enough."""

import numpy as np
import pandas as pd
import pytest
from _given import CLASSES, Given, draw
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline

from xtalsk import ElementFractions, LibraryBlend, LibraryMatch, PowderProfile, Profile, make_features
from xtalsk.calibration import SymmetryCalibration, calibrate_pipeline, predict_at
from xtalsk.utils import BrokenCellWarning


def answer_of(**probabilities):
    """Return the row of `predict_at` for probabilities of space groups, such as ``sg62=0.5``."""
    row = np.array([[probabilities.get(f"sg{number}", 0.0) for number in CLASSES]])
    return predict_at(Given(), row).iloc[0]


def test_space_group_that_is_sure():
    row = answer_of(sg225=0.95, sg227=0.05)
    assert (row["level"], row["label"], row["probability"]) == ("space_group", 225, 0.95)
    assert row["open"] == ""
    assert row["answer"] == "space group 225 Fm-3m (0.95)"


def test_deepest_level_that_is_sure():
    row = answer_of(sg62=0.55, sg63=0.42, sg2=0.03)
    assert (row["level"], row["label"]) == ("point_group", "mmm")
    assert row["probability"] == pytest.approx(0.97)
    assert row["open"] == "62 Pnma 0.55, 63 Cmcm 0.42"
    assert "point group mmm (0.97); space group not decided: 62 Pnma 0.55 or 63 Cmcm 0.42" in row["answer"]


def test_confidence_decides_the_level():
    row = [[0.0, 0.5, 0.3, 0.2, 0, 0, 0, 0, 0]]  # 14, 15, 62
    levels = [predict_at(Given(), row, confidence=c)["level"][0] for c in (0.4, 0.7, 0.9)]
    assert levels == ["space_group", "point_group", None]


def test_nothing_is_sure():
    row = answer_of(sg2=0.4, sg14=0.35, sg225=0.25)
    assert row["level"] is None
    assert row["label"] is None
    assert row["probability"] == pytest.approx(0.4)
    assert row["open"] == "triclinic 0.40, monoclinic 0.35, cubic 0.25"
    assert "not even the crystal family is decided: triclinic 0.40 or" in row["answer"]


def test_space_groups_that_a_powder_cannot_tell_apart_are_named():
    classes = np.array([33, 36, 62])
    row = predict_at(Given(classes), [[0.4, 0.05, 0.55]], confidence=0.9).iloc[0]
    assert (row["level"], row["label"]) == ("extinction_group", 33)
    opened = "space group not decided: 62 Pnma 0.55 or 33 Pna21 0.40"
    assert row["answer"] == f"the absent lines of 33 Pna21 and 62 Pnma (0.95); {opened}"
    row = predict_at(Given(classes), [[0.4, 0.2, 0.4]], confidence=0.9).iloc[0]
    assert row["level"] != "extinction_group"
    assert "33 and 62 have the same absent lines in a powder pattern" in row["answer"]
    assert "absent lines" not in answer_of(sg62=0.55, sg63=0.45)["answer"]


def test_an_extinction_group_is_named_by_its_open_space_groups():
    row = predict_at(Given(np.array([159, 186, 194])), [[0.01, 0.2, 0.79]]).iloc[0]
    assert (row["level"], row["label"]) == ("extinction_group", 159)
    assert row["answer"].startswith("the absent lines of 186 P63mc and 194 P63/mmc (1.00); ")
    row = predict_at(Given(np.array([159, 194])), [[0.04, 0.96]], confidence=0.97).iloc[0]
    assert row["answer"].startswith("the absent lines of 194 P63/mmc (1.00); ")


@pytest.mark.parametrize(
    ("absent", "start"), [(0.7, "caution: not in the library"), (0.3, "space group 225")]
)
def test_answers_outside_the_library_begin_with_a_caution(absent, start):
    model = Given()
    model.no_match_probability = lambda X: np.full(len(X), absent)
    row = np.array([[float(number == 225) for number in CLASSES]])
    answer = predict_at(model, row)["answer"][0]
    assert answer.startswith(start)
    assert answer.count(f"not in the library with a probability of {absent:.2f}") == 1
    unsure = predict_at(model, np.full((1, len(CLASSES)), 1 / len(CLASSES)))["answer"][0]
    assert unsure.startswith("not even the crystal family")


def test_rows_without_answer_and_index():
    proba, _ = draw(4)
    proba[1] = np.nan
    X = pd.DataFrame(proba, index=list("abcd"))
    table = predict_at(Given(), X)
    assert table.index.tolist() == list("abcd")
    assert table.loc["b", "level"] is None
    assert np.isnan(table.loc["b", "probability"])
    assert table.loc["b", "answer"] == "no answer: nothing was measured"
    assert table["not_in_library"].isna().all()


@pytest.mark.parametrize("confidence", [0, 1, 90, -1, float("nan")])
def test_confidence_must_be_between_0_and_1(confidence):
    with pytest.raises(ValueError, match="confidence"):
        predict_at(Given(), draw(2)[0], confidence=confidence)


def test_labels_must_be_space_groups():
    with pytest.raises(ValueError, match="need space-group numbers"):
        predict_at(Given(np.array(["gold", "salt"])), [[0.5, 0.5]])


def scan(lines, seed):
    two_theta = np.linspace(10, 80, 1400)
    rng = np.random.default_rng(seed)
    signal = 200 * np.exp(-(((two_theta - np.array(lines)[:, None]) / 0.2) ** 2)).sum(axis=0)
    return Profile(rng.poisson(signal + 5.0), two_theta=two_theta, wavelength=1.5406)


@pytest.fixture(scope="module")
def specimens():
    lines = {14: (18, 25, 33, 41), 62: (21, 28, 47, 55), 225: (38, 44, 64, 77)}
    formulas = {14: "SiO2", 62: "CaCO3", 225: "NaCl"}
    y = np.repeat(list(lines), 20)
    cells = [scan(lines[number], seed) for seed, number in enumerate(y)]
    X = pd.DataFrame({"powder": cells, "formula": [formulas[number] for number in y]}, dtype=object)
    return X, y


@pytest.fixture(scope="module")
def pipeline(specimens):
    X, y = specimens
    features = make_features(
        diffraction=("powder", PowderProfile(n_bins=128, q_range=(0.15, 0.8), on_error="warn")),
        fractions=("formula", ElementFractions(on_error="warn")),
    )
    table = features.fit_transform(X)
    rows = [0, 20, 40]
    library = LibraryMatch(modality="powder").fit(table.iloc[rows], y[rows])
    blend = LibraryBlend(FrozenEstimator(library), FrozenEstimator(library), all_missing="missing")
    return make_pipeline(features, blend.fit(table, y))


def test_pipeline_says_what_the_library_lacks_and_what_was_not_read(pipeline, specimens):
    X = specimens[0].iloc[[0, 20, 40, 41]].reset_index(drop=True)
    X.loc[2, "formula"] = "Xx9!"
    X.loc[3, ["powder", "formula"]] = ["/no/such/scan.xy", "?"]
    with pytest.warns(BrokenCellWarning):
        table = predict_at(pipeline, X)
    assert table["label"][:3].tolist() == [14, 62, 225]
    assert table["unread"].tolist() == ["", "", "formula", "powder, formula"]
    features = pipeline[:-1].transform(X.iloc[:2])
    expected = 1 - pipeline[-1].match_probability(features)
    assert (table["not_in_library"][:2] <= expected + 1e-9).all()
    assert "not in the library with a probability of" in table["answer"][0]
    assert table["answer"][2].endswith("could not be read: formula")
    assert table["answer"][3] == "no answer: nothing was measured; could not be read: powder, formula"


def test_calibrated_pipelines_answer_alike_in_both_forms(pipeline, specimens):
    X, y = specimens
    last = calibrate_pipeline(pipeline, X, y)
    whole = SymmetryCalibration(FrozenEstimator(pipeline)).fit(X, y)
    assert last[-1].n_specimens_ == {"all": 60, "powder + formula": 60}
    pd.testing.assert_frame_equal(predict_at(last, X), predict_at(whole, X))
    assert len(last[-1].candidates(last[:-1].transform(X[:2]), n=1)) == 2


def test_probability_that_nothing_of_the_library_was_measured(pipeline, specimens):
    features = pipeline[:-1].transform(
        specimens[0].drop(columns="formula").assign(formula=None).iloc[[0, 20]]
    )
    match = pipeline[-1].library_.estimator
    phases = match.candidates(features, n=3).groupby("row")["probability"].sum()
    np.testing.assert_allclose(match.no_match_probability(features), 1 - phases, atol=1e-6)
    np.testing.assert_allclose(pipeline[-1].no_match_probability(features), 1 - phases, atol=1e-6)
