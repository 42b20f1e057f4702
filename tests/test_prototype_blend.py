"""`PrototypeBlend`, and the probability that a prototype of `PrototypeMatch` is right."""

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure
from sklearn.dummy import DummyClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV

from xtalsk import (
    CrystalSet,
    ElementFractions,
    LibraryBlend,
    LibraryMatch,
    PowderProfile,
    PrototypeBlend,
    PrototypeMatch,
    load,
    make_features,
    make_specimens,
    save,
)
from xtalsk.library._prototype_candidates import make_species
from xtalsk.library._prototype_search import Match
from xtalsk.library._prototype_votes import (
    answer_probability,
    blend_votes,
    candidate_shares,
    vote_weights,
)
from xtalsk.utils import NotMeasuredWarning

ROCK_SALT, CESIUM_CHLORIDE, ZINCBLENDE = ("Fm-3m", [0.5] * 3), ("Pm-3m", [0.5] * 3), ("F-43m", [0.25] * 3)


def binary(kind, a, *elements):
    return Structure.from_spacegroup(kind[0], Lattice.cubic(a), elements, [[0, 0, 0], kind[1]])


KNOWN = [binary(ROCK_SALT, 5.64, "Na", "Cl"), binary(ROCK_SALT, 6.29, "K", "Cl")]
KNOWN += [binary(CESIUM_CHLORIDE, 4.12, "Cs", "Cl"), binary(CESIUM_CHLORIDE, 4.57, "Cs", "I")]
KNOWN += [binary(ROCK_SALT, 6.00, "Na", "Br"), binary(ZINCBLENDE, 5.65, "Ga", "As")]
KNOWN += [binary(ZINCBLENDE, 6.48, "In", "Sb"), binary(ZINCBLENDE, 5.66, "Al", "As")]
NEW = [binary(ROCK_SALT, 6.60, "K", "Br"), binary(CESIUM_CHLORIDE, 4.29, "Cs", "Br")]
NEW += [binary(ZINCBLENDE, 6.06, "Al", "Sb")]


@pytest.fixture(scope="module")
def measured():
    """Features and labels of compounds that are not among the prototypes."""
    crystals = CrystalSet.from_pymatgen(NEW)
    specimens, y, _ = make_specimens(crystals, ("powder",), conditions="typical", random_state=0)
    features = make_features(
        diffraction=("powder", PowderProfile()), chemistry=("formula", ElementFractions())
    )
    return features.fit_transform(specimens.assign(formula=crystals.formulas)), y


@pytest.fixture(scope="module")
def match(measured):
    known = CrystalSet.from_pymatgen(KNOWN)
    return PrototypeMatch(known, max_scale_error=0.1, all_missing="missing").fit(measured[0])


@pytest.fixture(scope="module")
def dummy(measured):
    return DummyClassifier(strategy="prior").fit(np.zeros((4, 1)), [2, 14, 14, 221])


@pytest.fixture(scope="module")
def blend(match, dummy, measured):
    parts = FrozenEstimator(dummy), FrozenEstimator(match)
    return PrototypeBlend(*parts, all_missing="missing").fit(*measured)


def make_match(rows, score, similarity, chemistry):
    n = len(rows)
    return Match(
        *(np.array(rows), np.zeros((n, 7), int), np.eye(2), np.ones(n), [None] * n),
        *(np.full(n, similarity), np.array(score), np.full(n, chemistry)),
    )


def test_prototypes_decide_where_they_fit(blend, measured):
    X, y = measured
    np.testing.assert_array_equal(blend.predict(X), y)
    assert blend.classes_.tolist() == [2, 14, 216, 221, 225]
    np.testing.assert_allclose(blend.predict_proba(X).sum(axis=1), 1)
    assert blend.structures(X).space_groups.tolist() == y.tolist()
    assert blend.candidates(X, n=1)["space_group"].tolist() == y.tolist()


def test_classifier_decides_without_profile_or_composition(blend, dummy, measured):
    X = measured[0].copy()
    X.iloc[0, X.columns.str.startswith("diffraction__")] = np.nan
    X.iloc[1, X.columns.str.startswith("chemistry__")] = np.nan
    proba = blend.predict_proba(X)
    for row in (0, 1):
        np.testing.assert_allclose(proba[row, np.isin(blend.classes_, dummy.classes_)], [0.25, 0.5, 0.25])
    X.iloc[2] = np.nan
    with pytest.warns(NotMeasuredWarning, match="row 2"):
        assert np.isnan(blend.predict_proba(X)[2]).all()


def test_probability_of_the_match(match, measured):
    X = measured[0].copy()
    assert (match.match_probability(X) > [0.4, 0.8, 0.8]).all()
    assert not match.nothing_fits(X, 0.4).any()
    X.loc[X.index[0], X.columns.str.startswith("chemistry__")] = 0.0
    X.loc[X.index[0], ["chemistry__pb", "chemistry__ti", "chemistry__o"]] = (
        0.2,
        0.2,
        0.6,
    )  # no ternary is known
    X.iloc[1, X.columns.str.startswith("chemistry__")] = np.nan
    np.testing.assert_array_equal(match.match_probability(X)[:2], [0, np.nan])
    np.testing.assert_array_equal(match.nothing_fits(X, 0.4), [True, False, False])
    with pytest.raises(ValueError, match="threshold"):
        match.nothing_fits(X, 2)


@pytest.mark.parametrize("modality", ["powder", "rings"])
def test_votes_and_rest_add_up(modality):
    """Equal candidates of two space groups share the probability that one is right."""
    found = make_match([0, 1], [3.0, 3.0], 0.8, 0.5)
    prior, right = np.full((1, 3), 1 / 3), answer_probability(found, modality)
    proba = blend_votes(prior, np.array([2, 14, 225]), [found], np.array([2, 14]), modality)[0]
    np.testing.assert_allclose(proba, (1 - right) / 3 + right * np.array([0.5, 0.5, 0]))
    np.testing.assert_allclose(candidate_shares(found, modality), 0.5)


def test_classifier_decides_between_equal_candidates():
    found, uniform = make_match([0, 1], [3.0, 3.0], 0.8, 0.5), np.full(3, 1 / 3)
    arguments = np.array([2, 14, 225]), [found], np.array([2, 14]), "powder"
    sure = np.array([[0.05, 0.9, 0.05]])
    proba = blend_votes(sure, *arguments, vote_weights(sure, uniform))[0]
    assert proba[1] > 1.5 * proba[0] > 3 * proba[2]
    against = np.array([[0.05, 0.05, 0.9]])  # makes both candidates unlikely
    plain = blend_votes(against, *arguments)[0]
    assert blend_votes(against, *arguments, vote_weights(against, uniform))[0, 2] > plain[2] + 0.05


def test_candidates_that_are_no_class_do_not_vote():
    found = make_match([0, 1], [3.0, 3.0], 0.8, 0.5)
    proba = np.array([[0.2, 0.8]])
    out = blend_votes(proba, np.array([1, 225]), [found], np.array([2, 14]), "powder")
    np.testing.assert_allclose(out, proba)


def test_better_similarity_and_chemistry_make_a_match_likely():
    likely = answer_probability(make_match([0], [1.0], 0.95, 0.0), "powder")
    assert likely > 0.9
    assert answer_probability(make_match([0], [1.0], 0.5, 0.0), "powder") < 0.5
    assert answer_probability(make_match([0], [1.0], 0.95, -3.0), "powder") < likely - 0.2


def test_library_and_prototypes_together(match, dummy, measured):
    X, y = measured
    library = LibraryMatch(all_missing="missing").fit(X[:1], y[:1])
    inner = PrototypeBlend(FrozenEstimator(dummy), FrozenEstimator(match)).fit(X, y)
    both = LibraryBlend(FrozenEstimator(inner), FrozenEstimator(library)).fit(X, y)
    np.testing.assert_array_equal(both.predict(X), y)
    np.testing.assert_allclose(both.weight(X)[0], 0.9, atol=0.01)


def test_parameters_are_searched(measured):
    X, y = measured
    known = CrystalSet.from_pymatgen(KNOWN)
    blend = PrototypeBlend(DummyClassifier(), PrototypeMatch(known))
    grid = {"prototypes__n_refined": [0, 2], "classifier__strategy": ["prior"]}
    search = GridSearchCV(blend, grid, cv=[([0, 1, 2], [0, 1, 2])]).fit(X, y)
    assert search.best_score_ == 1


def test_saved_blend_gives_the_same_answer(blend, measured, tmp_path):
    save(blend, tmp_path / "blend.xtalsk")
    loaded = load(tmp_path / "blend.xtalsk")
    np.testing.assert_array_equal(loaded.predict_proba(measured[0]), blend.predict_proba(measured[0]))


def test_carbon_and_copper_are_left_out_together():
    shares = np.zeros(98)
    shares[[5, 28, 10, 16]] = 0.4, 0.2, 0.2, 0.2  # NaCl on a film and a grid
    _, variants = make_species(shares, [6, 29])
    rest = {tuple(sorted(chosen)): cost for chosen, _, cost in variants if max(chosen) < 4}
    assert rest[1, 2] == 2 * rest[0, 1, 2]  # elements in order of their numbers: C, Na, Cl, Cu


def test_rows_of_which_the_classifier_is_sure_are_not_searched(measured, match, monkeypatch):
    class Sure(DummyClassifier):
        def predict_proba(self, X):
            return np.repeat([[0.97, 0.02, 0.01], [0.5, 0.3, 0.2], [np.nan] * 3], [1, 1, len(X) - 2], axis=0)

    X, y = measured
    classifier = Sure().fit(X, y)
    searched = []
    monkeypatch.setattr(PrototypeMatch, "_search", lambda self, X: searched.append(len(X)) or [None] * len(X))
    for sure, n in ((0.95, 2), (1.0, 3), (0.4, 1)):
        blend = PrototypeBlend(FrozenEstimator(classifier), FrozenEstimator(match), sure=sure).fit(X, y)
        proba = blend.predict_proba(X)
        assert searched.pop() == n
        assert proba[0].max() == pytest.approx(0.97)
        assert np.isfinite(proba).all()
    with pytest.raises(ValueError, match="sure"):
        PrototypeBlend(classifier, match, sure=2).fit(X, y)


def test_rows_after_a_sure_one_get_their_own_votes(measured, match):
    X, y = measured

    class FirstSure(DummyClassifier):
        def predict_proba(self, X):
            return np.array([[0.98, 0.01, 0.01], [0.2, 0.5, 0.3], [0.6, 0.1, 0.3]])

    classifier = FrozenEstimator(FirstSure().fit(X, y))
    some, every = (
        PrototypeBlend(classifier, FrozenEstimator(match), sure=sure).fit(X, y).predict_proba(X)
        for sure in (0.95, 1.0)
    )
    np.testing.assert_allclose(some[0], classifier.predict_proba(X)[0])
    np.testing.assert_allclose(some[1:], every[1:])
    assert not np.allclose(some[0], every[0])


def test_nothing_is_read_if_nothing_is_searched(measured, monkeypatch):
    monkeypatch.setattr("xtalsk.library._prototype_match.packaged", lambda: pytest.fail("not needed"))
    X, y = measured
    match = PrototypeMatch(all_missing="missing").fit(X, y)
    blend = PrototypeBlend(DummyClassifier(), FrozenEstimator(match)).fit(X, y)
    alone = X.copy()
    alone.loc[:, X.columns.str.startswith("chemistry__")] = np.nan
    assert blend.predict_proba(alone).shape == (len(X), 3)
