"""`LibraryBlend`: search-match and a classifier."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.frozen import FrozenEstimator

from xtalsk import ElementFractions, FusionClassifier
from xtalsk.library import LibraryBlend, LibraryMatch
from xtalsk.metrics import level_probabilities
from xtalsk.symmetry import LEVELS, to_level
from xtalsk.utils import NotMeasuredWarning

N_BINS = 128


class Constant(ClassifierMixin, BaseEstimator):
    """Predicts 225 for each row."""

    def fit(self, X, y, groups=None):
        self.classes_ = np.array([2, 225])
        self.groups_ = groups
        return self

    def predict_proba(self, X):
        return np.tile([0.0, 1.0], (len(X), 1))


def make_patterns(n, seed):
    lines = np.random.default_rng(seed).uniform(8, N_BINS - 8, size=(n, 10, 1))
    patterns = np.exp(-((np.arange(N_BINS) - lines) ** 2) / 3).sum(axis=1)
    return pd.DataFrame(patterns, columns=[f"powder__q_{i:04}" for i in range(N_BINS)])


@pytest.fixture(scope="module")
def library_rows():
    return make_patterns(8, 0), np.array([2, 2, 14, 14, 62, 62, 167, 167])


def test_the_library_predicts_its_own_patterns_and_the_classifier_the_others(library_rows):
    X, y = library_rows
    blend = LibraryBlend(Constant(), midpoint=0.9).fit(X, y)
    assert blend.classes_.tolist() == [2, 14, 62, 167, 225]
    assert (blend.predict(X) == y).all()
    other_patterns = make_patterns(8, 1)
    assert (blend.predict(other_patterns) == 225).all()
    assert (blend.weight(X) > 0.75).all()
    assert (blend.weight(other_patterns) < 0.45).all()
    assert_allclose(blend.predict_proba(pd.concat([X, other_patterns])).sum(1), 1)


def test_probabilities_are_the_weighted_mean(library_rows):
    X, y = library_rows
    forest, library = ExtraTreesClassifier(random_state=0), LibraryMatch(sharpness=5)
    blend = LibraryBlend(
        forest, library, weighting="similarity", midpoint=0.9, width=0.1, max_weight=0.6
    ).fit(X, y)
    mixed = 0.5 * X + 0.5 * X.iloc[::-1].to_numpy()
    share = 0.6 / (1 + np.exp((0.9 - blend.library_.similarity(mixed)) / 0.1))
    expected = share[:, None] * blend.library_.predict_proba(mixed)
    expected += (1 - share[:, None]) * blend.classifier_.predict_proba(mixed)
    assert_allclose(blend.predict_proba(mixed), expected, atol=1e-6)


def test_a_label_that_the_classifier_doubts_has_less_weight(library_rows):
    X, y = library_rows
    forest = ExtraTreesClassifier(random_state=0)
    plain = LibraryBlend(forest, midpoint=0.9, width=0.1).fit(X, y)
    blend = LibraryBlend(forest, midpoint=0.9, width=0.1, agreement=0.5).fit(X, y)
    mixed = 0.7 * X + 0.3 * X.iloc[::-1].to_numpy()
    own, share = plain.classifier_.predict_proba(mixed), plain.weight(mixed)[:, None]
    joint = share * plain.library_.predict_proba(mixed) * (own + 1e-3) ** 0.5
    expected = joint + (1 - share) * own
    total = expected.sum(axis=1)
    assert_allclose(blend.predict_proba(mixed), expected / total[:, None], atol=1e-6)
    assert_allclose(blend.weight(mixed), joint.sum(axis=1) / total, atol=1e-6)
    doubted = LibraryBlend(Constant(), midpoint=0.5, agreement=0.25).fit(X, y)
    trusted = LibraryBlend(Constant(), midpoint=0.5).fit(X, y)
    assert (doubted.weight(X[:2]) < trusted.weight(X[:2]) - 0.2).all()
    assert (doubted.predict(X) == y).all()  # identical patterns
    assert_allclose(doubted.weight(X[2:]), trusted.weight(X[2:]), atol=0.01)  # labels that it does not know


def test_blends_from_before_the_agreement(library_rows):
    X, y = library_rows
    blend, plain = (LibraryBlend(Constant(), agreement=a).fit(X, y) for a in (0.25, 0))
    del vars(blend)["agreement"]
    assert_allclose(blend.predict_proba(X), plain.predict_proba(X))


def test_frozen_parts_are_kept_and_candidates_have_ids(library_rows):
    X, y = library_rows
    entries = pd.DataFrame({"id": [f"crystal {i}" for i in range(8)]})
    library = LibraryMatch().fit(X, y, entries)
    classifier = Constant().fit(X, y)
    blend = LibraryBlend(FrozenEstimator(classifier), FrozenEstimator(library)).fit(X[:2], y[:2])
    assert blend.library_.entries_ is library.entries_
    assert blend.candidates(X[5:6], n=1)["id"].tolist() == ["crystal 5"]
    assert blend.predict(X[5:6]).tolist() == [62]


def test_both_predict_rows_without_a_profile():
    rng = np.random.default_rng(0)
    X = make_patterns(6, 0)
    elements = pd.DataFrame(
        rng.dirichlet(np.ones(3), 6), columns=[f"chemistry__{e}" for e in ("o", "si", "fe")]
    )
    X = pd.concat([X, elements], axis=1)
    blend = LibraryBlend(Constant()).fit(X, np.repeat([14, 62], 3))
    X.loc[2, X.columns.str.startswith("powder")] = np.nan
    assert blend.weight(X)[2] == 0.5
    proba = blend.predict_proba(X)[2]
    assert_allclose(proba[1:3], 0.5 * blend.library_.predict_proba(X)[2])  # of 14 and 62
    assert proba[-1] == 0.5
    blend.weight_without_profile = 0.0
    assert blend.predict_proba(X)[2, -1] == 1


def test_empty_rows_raise_or_get_no_answer(library_rows):
    X, y = library_rows
    broken = X.copy()
    broken.iloc[3] = np.nan
    blend = LibraryBlend(Constant()).fit(X, y)
    with pytest.raises(ValueError, match=r"row 3: every block is missing \(powder\).*all_missing='missing'"):
        blend.predict_proba(broken)
    with pytest.warns(NotMeasuredWarning, match="row 3"):
        assert blend.weight(broken)[3] == 0
    blend.set_params(all_missing="missing")
    with pytest.warns(NotMeasuredWarning, match="row 3"):
        proba = blend.predict_proba(broken)
    assert np.isnan(proba[3]).all()
    assert_allclose(np.delete(proba, 3, 0), blend.predict_proba(X.drop(index=3)))
    with pytest.warns(NotMeasuredWarning):
        assert blend.predict(broken).tolist() == [2, 2, 14, 0, 62, 62, 167, 167]
    with pytest.warns(NotMeasuredWarning):
        assert np.isnan(blend.predict_proba(broken[3:4])).all()
    with pytest.warns(NotMeasuredWarning):
        systems = blend.predict_level(broken, "crystal_system")
    assert systems[2:5].tolist() == ["monoclinic", None, "orthorhombic"]
    with pytest.warns(NotMeasuredWarning):
        assert blend.candidates(broken, n=1)["row"].tolist() == [0, 1, 2, 4, 5, 6, 7]
    with pytest.warns(NotMeasuredWarning):
        assert np.isnan(blend.match_probability(broken)).tolist() == (np.arange(8) == 3).tolist()
    with pytest.raises(ValueError, match="feature names"):
        blend.predict_proba(broken.iloc[:, ::-1])
    with pytest.raises(ValueError, match="all_missing must be one of"):
        LibraryBlend(Constant(), all_missing="prior").fit(X, y)


def test_levels_are_those_of_the_answer(library_rows):
    X, y = library_rows
    blend = LibraryBlend(Constant()).fit(X, y)
    mixed = 0.5 * X + 0.5 * X.iloc[::-1].to_numpy()
    for level in LEVELS:
        expected = to_level(blend.predict(mixed), level)
        assert blend.predict_level(mixed, level).tolist() == expected.tolist()
        summed, labels = level_probabilities(blend.predict_proba(mixed), blend.classes_, level)
        assert_allclose(blend.predict_level_proba(mixed, level), summed)
        assert blend.level_classes_[level].tolist() == labels.tolist()
    with pytest.raises(ValueError, match="level must be one of"):
        blend.predict_level(X, "colour")
    names = LibraryBlend(ExtraTreesClassifier(2)).fit(X, [f"sg{n}" for n in y])
    with pytest.raises(ValueError, match="need space-group numbers as labels"):
        names.predict_level(X, "crystal_system")


def test_levels_of_a_classifier_that_uses_codes(library_rows):
    X, y = library_rows
    codes = np.searchsorted(np.unique(y), y)
    network = FusionClassifier(
        "space_group", space_groups=np.unique(y), max_epochs=1, hidden_size=8, device="cpu", random_state=0
    )
    blend = LibraryBlend(network).fit(X, codes)
    assert blend.predict(X).tolist() == codes.tolist()
    assert blend.predict_level(X, "space_group").tolist() == y.tolist()


def test_rows_with_features_of_the_classifier_only(library_rows):
    X, y = library_rows
    X = pd.concat([X, pd.DataFrame(np.ones((8, 3)), columns=[f"eds__x{i}" for i in range(3)])], axis=1)
    blend = LibraryBlend(Constant()).fit(X, y)
    X.iloc[1, :N_BINS] = np.nan
    assert blend.weight(X)[1] == 0
    assert blend.predict(X).tolist() == [2, 225, *y[2:]]


def test_the_classifier_predicts_rows_that_no_entry_fits(library_rows):
    X, y = library_rows
    fractions = ElementFractions().set_output(transform="pandas")
    X = pd.concat([X, fractions.fit_transform(["NaCl", "KCl"] * 4).add_prefix("eds__")], axis=1)
    blend = LibraryBlend(Constant(), LibraryMatch(isostructural=False)).fit(X, y)
    iron = X.copy()
    iron.loc[2, X.columns.str.startswith("eds__")] = fractions.transform(["Fe"]).to_numpy()
    assert blend.weight(iron)[2] == 0
    assert blend.predict(iron)[[1, 2, 3]].tolist() == [2, 225, 14]
    assert blend.nothing_fits(iron)[2]
    similar = LibraryBlend(Constant()).fit(X, y)
    assert 0.5 < similar.weight(iron)[2] < 0.9  # the structure of other elements has the same pattern
    assert similar.predict(iron)[2] == 14
    by_similarity = LibraryBlend(Constant(), weighting="similarity").fit(X, y)
    assert similar.weight(X).min() > 0.85
    assert not np.allclose(similar.weight(X), by_similarity.weight(X), atol=1e-3)


def test_groups_reach_a_classifier_whose_fit_takes_them(library_rows):
    X, y = library_rows
    groups = np.arange(8)
    assert LibraryBlend(Constant()).fit(X, y, groups=groups).classifier_.groups_ is groups
    LibraryBlend(ExtraTreesClassifier(2)).fit(X, y, groups=groups)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"width": 0}, "width == 0"),
        ({"max_weight": 1.5}, "max_weight == 1.5"),
        ({"agreement": 1.5}, "agreement == 1.5"),
        ({"midpoint": "x"}, "midpoint"),
    ],
)
def test_bad_parameters(library_rows, params, message):
    with pytest.raises((TypeError, ValueError), match=message):
        LibraryBlend(Constant(), **params).fit(*library_rows)
