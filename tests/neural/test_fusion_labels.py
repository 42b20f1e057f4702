"""Space groups given as codes: tools of scikit-learn that encode labels."""

import numpy as np
import pandas as pd
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import StackingClassifier, VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from xtalsk.baselines import make_baseline
from xtalsk.model_selection import compare
from xtalsk.symmetry import to_level


@pytest.fixture
def network(data, small):
    return small(hierarchy="space_group", space_groups=np.unique(data[1]), max_epochs=6)


def test_cross_val_predict_of_probabilities(data, network):
    X, y, _ = data
    proba = cross_val_predict(network, X, y, cv=StratifiedKFold(2), method="predict_proba")
    assert proba.shape == (len(X), 4)
    assert np.mean(np.unique(y)[proba.argmax(1)] == y) > 0.9


@pytest.mark.parametrize("ensemble", [True, False])
def test_calibrated_classifier(data, network, ensemble):
    X, y, _ = data
    calibrated = CalibratedClassifierCV(network, cv=2, ensemble=ensemble).fit(X, y)
    assert calibrated.classes_.tolist() == [2, 14, 62, 225]
    assert calibrated.score(X, y) > 0.9


def test_voting_and_stacking(data, network):
    X, y, _ = data
    members = [("one", network), ("two", network)]
    for model in (
        VotingClassifier(members, voting="soft"),
        VotingClassifier(members, voting="hard"),
        StackingClassifier(members, LogisticRegression(max_iter=1000), cv=2),
    ):
        model.fit(X, y)
        assert model.score(X, y) > 0.9
        assert set(model.predict(X)) <= {2, 14, 62, 225}


def test_network_and_trees_are_pooled_and_stacked(data, network):
    X, y, _ = data
    members = [("network", network), ("trees", make_baseline("extra_trees", n_estimators=20, random_state=0))]
    table = compare(
        {
            "pooled": VotingClassifier(members, voting="soft", weights=[0.7, 0.3]),
            "stacked": StackingClassifier(members, LogisticRegression(max_iter=1000), cv=2),
        },
        X,
        y,
        cv=StratifiedKFold(2),
    )
    accuracy = table.groupby("model")["space_group_accuracy"].mean()
    assert accuracy["pooled"] > 0.9
    assert accuracy["stacked"] > 0.9
    assert accuracy["prior"] < 0.5


def test_levels_of_codes(data, network):
    X, y, _ = data
    model = network.fit(X, np.searchsorted(np.unique(y), y))
    assert model.classes_.tolist() == [0, 1, 2, 3]
    assert model.space_groups_.tolist() == [2, 14, 62, 225]
    assert model.level_classes_["space_group"].tolist() == [2, 14, 62, 225]
    assert (model.predict_level(X, "crystal_system") == to_level(y, "crystal_system")).mean() > 0.9
    assert (model.predict_level(X, "space_group") == y).mean() > 0.9
    numbers = network.fit(X, y)
    assert numbers.classes_.tolist() == [2, 14, 62, 225]


def test_codes_without_space_groups_are_explained(data, small):
    X, y, _ = data
    codes = np.searchsorted(np.unique(y), y)
    with pytest.raises(ValueError, match=r"label 0 is no space group.*cross_val_predict.*space_groups=np"):
        small(hierarchy="space_group").fit(X, codes)
    with pytest.warns(UserWarning, match=r"integers 1 to 3; if these are codes.*space_groups=np.unique"):
        small(hierarchy="space_group", max_epochs=1).fit(X[codes > 0], codes[codes > 0])


def test_labels_that_are_positions_as_well_as_numbers(data, small):
    X, y, _ = data
    labels = np.where(y > 14, 1, 2)
    model = small(hierarchy="space_group", space_groups=[1, 2, 14], max_epochs=1)
    with pytest.warns(UserWarning, match=r"\[1, 2\] can be positions"):
        model.fit(X, labels)
    assert model.space_groups_.tolist() == [2, 14]


def test_codes_of_a_part_of_the_labels(data, small):
    X, y, _ = data
    part = y != 14
    codes = np.unique(y[part], return_inverse=True)[1]  # as VotingClassifier makes them
    model = small(hierarchy="space_group", space_groups=np.unique(y), max_epochs=1)
    with pytest.warns(UserWarning, match=r"labels are 0 to 2, but space_groups has 4 numbers.*compare"):
        model.fit(X[part], codes)
    model.set_params(space_groups=np.unique(y[part])).fit(X[part], codes)
    assert model.space_groups_.tolist() == [2, 62, 225]


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"space_groups": [2, 14]}, "space_groups needs hierarchy"),
        ({"hierarchy": "space_group", "space_groups": [2, 2]}, "different"),
        ({"hierarchy": "space_group", "space_groups": [0, 2]}, "integers from 1 to 230, got 0"),
        ({"hierarchy": "space_group", "space_groups": [2, 14]}, r"0 to 1, or its numbers, got \[62, 225"),
        ({"all_missing": "prior"}, "all_missing must be one of"),
    ],
)
def test_wrong_space_groups(data, small, params, message):
    X, y, _ = data
    with pytest.raises(ValueError, match=message):
        small(**params).fit(X, y)


def test_string_labels_with_space_groups(data, small):
    X, y, _ = data
    with pytest.raises(ValueError, match="positions in space_groups"):
        small(hierarchy="space_group", space_groups=[2]).fit(X, pd.Series(y).astype(str))
