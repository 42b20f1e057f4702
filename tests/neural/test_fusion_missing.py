"""Rows in which nothing was measured, and the level of the predicted space group."""

import numpy as np
import pytest

from xtalsk.neural import FusionClassifier
from xtalsk.symmetry import LEVELS, to_level
from xtalsk.utils import NotMeasuredWarning, missing_label


@pytest.fixture
def with_empty_rows(data):
    X = data[0].iloc[:6].copy()
    X.iloc[[1, 4]] = np.nan
    return X


def test_empty_rows_raise_by_default(data, small, with_empty_rows):
    model = small(hierarchy="space_group", max_epochs=1).fit(*data[:2])
    for answer in (model.predict, model.predict_proba, lambda X: model.predict_level(X, "point_group")):
        with pytest.raises(ValueError, match=r"rows 1, 4: every block is missing.*all_missing='missing'"):
            answer(with_empty_rows)


def test_empty_rows_get_no_answer(data, small, with_empty_rows):
    X, y, _ = data
    model = small(hierarchy="space_group", all_missing="missing").fit(X, y)
    expected = model.predict_proba(X[:6])
    with pytest.warns(NotMeasuredWarning, match="rows 1, 4"):
        proba = model.predict_proba(with_empty_rows)
    assert np.isnan(proba).all(axis=1).tolist() == [False, True, False, False, True, False]
    np.testing.assert_allclose(proba[[0, 2, 3, 5]], expected[[0, 2, 3, 5]], atol=1e-6)
    with pytest.warns(NotMeasuredWarning):
        labels = model.predict(with_empty_rows)
    assert labels.dtype == np.int64
    assert labels[[1, 4]].tolist() == [0, 0]
    assert labels[[0, 2]].tolist() == model.predict(X[:6])[[0, 2]].tolist()
    with pytest.warns(NotMeasuredWarning):
        systems = model.predict_level(with_empty_rows, "crystal_system")
    assert [s is None for s in systems] == [False, True, False, False, True, False]
    with pytest.warns(NotMeasuredWarning):
        assert model.predict_level(with_empty_rows, "extinction_group")[1] == 0
    with pytest.warns(NotMeasuredWarning):
        assert np.isnan(model.predict_level_proba(with_empty_rows, "crystal_system")[[1, 4]]).all()
    with pytest.warns(NotMeasuredWarning):
        assert model.predict(with_empty_rows[1:2]).tolist() == [0]


def test_labels_of_other_types(data, small, with_empty_rows):
    X, y, _ = data
    strings = small(max_epochs=1, all_missing="missing").fit(X, to_level(y, "crystal_system"))
    codes = small(max_epochs=1, all_missing="missing").fit(X, np.searchsorted(np.unique(y), y))
    with pytest.warns(NotMeasuredWarning):
        assert strings.predict(with_empty_rows)[1] is None
    with pytest.warns(NotMeasuredWarning):
        assert codes.predict(with_empty_rows)[1] == -1
    assert missing_label(np.array([-3, 0, 2])) == -4
    assert missing_label(np.array([-3, 2])) == 0
    assert missing_label(np.array([False, True])) is None


def test_training_rows_must_be_measured(data, small):
    X = data[0].copy()
    X.iloc[3] = np.nan
    with pytest.raises(ValueError, match="row 3"):
        small(all_missing="missing").fit(X, data[1])


class Known(FusionClassifier):
    """A classifier with known probabilities: 225 is the most probable space group, hexagonal the system."""

    def fit(self, X, y):
        super().fit(X, y)
        return self

    def predict_proba(self, X):
        return np.tile([0.3, 0.3, 0.4], (len(X), 1))


def test_the_level_is_that_of_the_predicted_space_group():
    X, y = np.eye(9, 3), np.array([191, 194, 225] * 3)
    model = Known("space_group", max_epochs=1, hidden_size=8, device="cpu").fit(X, y)
    assert model.predict(X[:1]).tolist() == [225]
    assert model.predict_level(X[:1], "crystal_system").tolist() == ["cubic"]
    proba = model.predict_level_proba(X[:1], "crystal_system")
    np.testing.assert_allclose(proba, [[0.4, 0.6]])
    assert model.level_classes_["crystal_system"].tolist() == ["cubic", "hexagonal"]
    for level in LEVELS:
        assert model.predict_level(X, level).tolist() == np.repeat(to_level(225, level), 9).tolist()
