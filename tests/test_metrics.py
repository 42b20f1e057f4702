import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sklearn_metrics
from sklearn.dummy import DummyClassifier
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.tree import DecisionTreeClassifier

from xtalsk import metrics
from xtalsk.symmetry import LEVELS, to_level


@pytest.fixture
def scored():
    rng = np.random.default_rng(0)
    classes = np.array([2, 14, 15, 62, 166, 167, 221, 225, 227])
    y = rng.choice(classes, 200)
    proba = rng.dirichlet(np.ones(9), 200) + 0.6 * (y[:, np.newaxis] == classes) * rng.random((200, 1))
    return y, proba / proba.sum(axis=1, keepdims=True), classes


@pytest.mark.parametrize("level", LEVELS)
def test_level_probabilities_are_sums(scored, level):
    _, proba, classes = scored
    summed, names = metrics.level_probabilities(proba, classes, level)
    np.testing.assert_allclose(summed.sum(axis=1), 1)
    assert names.tolist() == sorted(set(to_level(classes, level).tolist()))
    for column, name in zip(summed.T, names, strict=True):
        np.testing.assert_allclose(column, proba[:, to_level(classes, level) == name].sum(axis=1))


@pytest.mark.parametrize("k", [1, 3, 9])
def test_top_k_agrees_with_sklearn(scored, k):
    expected = sklearn_metrics.top_k_accuracy_score(*scored[:2], k=k, labels=scored[2]) if k < 9 else 1
    assert metrics.top_k_accuracy(*scored, k=k) == pytest.approx(expected)


def test_balanced_accuracy_agrees_with_sklearn(scored):
    y, proba, classes = scored
    expected = sklearn_metrics.balanced_accuracy_score(y, classes[proba.argmax(axis=1)])
    assert metrics.balanced_accuracy(y, proba, classes) == pytest.approx(expected)


def test_calibration_error_by_hand():
    proba = np.array([[0.95, 0.05], [0.95, 0.05], [0.65, 0.35], [0.35, 0.65]])
    # bin (0.9, 1]: 2 samples, accuracy 0.5, confidence 0.95; bin (0.6, 0.7]: accuracy 1, confidence 0.65
    expected = 0.5 * 0.45 + 0.5 * 0.35
    error = metrics.expected_calibration_error(["a", "b", "a", "b"], proba, ["a", "b"], n_bins=10)
    assert error == pytest.approx(expected)


def test_calibration_error_of_a_calibrated_and_an_overconfident_model():
    rng = np.random.default_rng(0)
    p = rng.random(50_000)
    y = rng.random(50_000) < p
    calibrated = np.stack([1 - p, p], axis=1)
    assert metrics.expected_calibration_error(y, calibrated, [False, True]) < 0.01
    certain = np.round(calibrated)
    assert metrics.expected_calibration_error(y, certain, [False, True]) == pytest.approx(0.25, abs=0.01)


def test_labels_unseen_in_training_count_as_wrong():
    scores = metrics.level_scores(
        [225, 225, 227], [[0.1, 0.9]] * 3, [62, 227], hierarchy="space_group", top_k=2
    )
    assert scores["space_group_accuracy"] == pytest.approx(1 / 3)
    assert scores["space_group_top2"] == pytest.approx(1 / 3)
    assert scores["space_group_balanced_accuracy"] == pytest.approx(1 / 2)
    assert scores["crystal_system_accuracy"] == 1


def test_rows_without_answer_count_as_wrong(scored):
    y, proba, classes = scored
    is_right = classes[proba.argmax(1)] == y
    gone = np.arange(200) % 4 == 0
    with_gaps = np.where(gone[:, np.newaxis], np.nan, proba)
    assert metrics.top_k_accuracy(y, with_gaps, classes) == pytest.approx((is_right & ~gone).mean())
    assert metrics.top_k_accuracy(y, with_gaps, classes, k=9) == pytest.approx(0.75)
    expected = pd.Series(is_right & ~gone).groupby(y).mean().mean()
    assert metrics.balanced_accuracy(y, with_gaps, classes) == pytest.approx(expected)
    scores = metrics.level_scores(y, with_gaps, classes, hierarchy="space_group")
    assert np.isfinite(list(scores.values())).all()
    assert scores["crystal_system_top5"] <= 0.75
    # the rows with an answer have the same error as alone, and the others have none
    alone = metrics.expected_calibration_error(y[~gone], proba[~gone], classes)
    assert metrics.expected_calibration_error(y, with_gaps, classes) == pytest.approx(0.75 * alone)
    summed, _ = metrics.level_probabilities(with_gaps, classes, "point_group")
    assert np.isnan(summed).all(axis=1).tolist() == gone.tolist()
    # a first class that happens to be right is no answer
    assert metrics.top_k_accuracy(["a"], [[np.nan, np.nan]], ["a", "b"]) == 0


def test_other_labels_have_one_level():
    scores = metrics.level_scores(["x", "z"], [[0.9, 0.1]] * 2, ["x", "y"])
    assert {name.split("_")[0] for name in scores} == {"label"}
    assert scores["label_accuracy"] == 0.5


def test_confused_pairs_agree_with_the_confusion_matrix(scored):
    y, proba, classes = scored
    matrix = sklearn_metrics.confusion_matrix(y, classes[proba.argmax(axis=1)], labels=classes)
    pairs = metrics.confused_pairs(y, proba, classes, n=100)
    both = matrix + matrix.T
    assert len(pairs) == np.count_nonzero(np.triu(both, 1))
    totals = pairs["first_as_second"] + pairs["second_as_first"]
    assert totals.is_monotonic_decreasing
    for (first, second), row in pairs.iterrows():
        i, j = np.searchsorted(classes, [first, second])
        assert (row["n_first"], row["n_second"]) == ((y == first).sum(), (y == second).sum())
        assert (row["first_as_second"], row["second_as_first"]) == (matrix[i, j], matrix[j, i])
        part = np.isin(y, [first, second])
        assert row["labelled_first"] == pytest.approx(matrix[[i, j], i].sum() / part.sum())
        assert row["labelled_second"] == pytest.approx(matrix[[i, j], j].sum() / part.sum())
        assert row["accuracy"] == pytest.approx((matrix[i, i] + matrix[j, j]) / part.sum())
        of_two = classes[[i, j]][proba[part][:, [i, j]].argmax(axis=1)]
        assert row["accuracy_of_two"] == pytest.approx(np.mean(of_two == y[part]))
    assert metrics.confused_pairs(y, proba, classes, n=2).equals(pairs.head(2))


def test_given_pairs_and_coarser_levels():
    y, classes = [14, 14, 15, 2, 2], [14, 15, 62]
    proba = [[0.5, 0.4, 0.1], [0.2, 0.3, 0.5], [0.6, 0.4, 0], [0.1, 0.1, 0.8], [np.nan] * 3]
    pairs = metrics.confused_pairs(y, proba, classes, pairs=[(15, 14), (2, 62), (225, 227)])
    assert pairs.index.tolist() == [(15, 14), (2, 62), (225, 227)]
    assert pairs.loc[(15, 14)].tolist() == pytest.approx([1, 2, 1, 0, 0, 2 / 3, 1 / 3, 1 / 3])
    # the group 2 is no class; one of its specimens has no answer
    assert pairs.loc[(2, 62)].tolist() == [2, 0, 1, 0, 0, 0.5, 0, 0]
    assert pairs.loc[(225, 227)].tolist()[:4] == [0] * 4
    assert pairs.loc[(225, 227)][4:].isna().all()
    coarse = metrics.confused_pairs(y, proba, classes, level="point_group")
    assert coarse.index.tolist() == [("-1", "mmm")]
    assert coarse.iloc[0]["first_as_second"] == 1
    assert len(metrics.confused_pairs([14], [[1.0, 0.0]], [14, 15])) == 0


@pytest.mark.parametrize("pair", [(14,), (14, 14), (14, 231), ("mmm", "2/m")])
def test_pairs_must_be_labels_of_the_level(pair):
    with pytest.raises(ValueError, match="two labels of the level 'space_group', got"):
        metrics.confused_pairs([14], [[1.0, 0.0]], [14, 15], pairs=[(14, 15), pair])


def test_bad_input(scored):
    y, proba, classes = scored
    with pytest.raises(ValueError, match="shape"):
        metrics.level_scores(y, proba[:, 1:], classes)
    with pytest.raises(ValueError, match="inconsistent"):
        metrics.level_scores(y[1:], proba, classes)
    with pytest.raises(ValueError, match="row 0 are not finite"):
        metrics.level_scores(y, np.where(np.arange(9) == 3, np.nan, proba), classes)
    with pytest.raises(ValueError, match="space groups must be integers"):
        metrics.level_scores(["x"], [[1.0]], ["x"], hierarchy="space_group")
    with pytest.raises(ValueError, match="hierarchy"):
        metrics.make_level_scorers("point_group")


def test_scorers_in_cross_validation_and_search():
    X = pd.DataFrame({"q": np.tile([0.0, 1.0, 2.0], 10)})
    y = np.tile([62, 225, 227], 10)
    scorers = pickle.loads(pickle.dumps(metrics.make_level_scorers("space_group")))
    result = cross_validate(DecisionTreeClassifier(), X, y, scoring=scorers, cv=3)
    assert all((result[f"test_{level}_accuracy"] == 1).all() for level in metrics.SCORED_LEVELS)
    search = GridSearchCV(
        DecisionTreeClassifier(), {"max_depth": [1, 2]}, scoring=scorers, refit="space_group_accuracy", cv=3
    )
    assert search.fit(X, y).best_params_ == {"max_depth": 2}


def test_scorers_take_any_labels_by_default():
    X, y = np.zeros((6, 1)), np.array([62, 225] * 3)
    assert "label_accuracy" in metrics.make_level_scorers()(DummyClassifier().fit(X, y), X, y)


def test_probabilities_are_computed_once():
    calls = []

    class Counting(DummyClassifier):
        def predict_proba(self, X):
            calls.append(len(X))
            return super().predict_proba(X)

    X, y = np.zeros((6, 1)), np.array([62, 225] * 3)
    metrics.make_level_scorers("space_group")(Counting().fit(X, y), X, y)
    assert calls == [6]
