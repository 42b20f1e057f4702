"""Probabilities of phases and labels, and similar structures of other elements."""

import pickle

import numpy as np
import pandas as pd
import pytest

from xtalsk import ElementFractions, LibraryMatch
from xtalsk.library import LibraryBlend
from xtalsk.library._chemistry import CompositionLibrary, element_columns
from xtalsk.library._probability import is_first, phases_of
from xtalsk.library._structures import stoichiometry_penalty

N_BINS = 256
FORMULAS = ["NaCl", "CaTiO3", "Fe3O4", "SiO2", "Al2O3", "PbS"]
LABELS = np.array([225, 221, 227, 152, 167, 225])


def make_patterns(n, seed=0):
    lines = np.random.default_rng(seed).uniform(20, 236, size=(n, 12, 1))
    return np.exp(-((np.arange(N_BINS) - lines) ** 2) / 4).sum(axis=1)


def make_table(patterns, formulas):
    X = pd.DataFrame(patterns, columns=[f"powder__q_{i:04}" for i in range(N_BINS)], dtype=np.float32)
    fractions = ElementFractions().set_output(transform="pandas").fit_transform(formulas)
    return pd.concat([X, fractions.add_prefix("fractions__")], axis=1)


@pytest.fixture(scope="module")
def library():
    entries = pd.DataFrame(
        {"formula": FORMULAS, "mineral": ["Halite", "", "Magnetite", "Quartz", "", "Galena"]}
    )
    return make_table(make_patterns(6), FORMULAS), LABELS, entries


def test_a_phase_of_other_elements_has_the_label_of_its_structure(library):
    """Measured: Mg-Ti ... in the structure of another entry, whose elements are excluded."""
    measured = make_table(make_patterns(6)[[1, 2]] + 0.02, ["SrZrO3", "Mn3O4"])
    alone = measured.copy()
    alone.iloc[:, N_BINS:] = np.nan
    match = LibraryMatch().fit(*library)
    assert match.predict(alone).tolist() == [221, 227]
    assert match.predict(measured).tolist() == [221, 227]
    assert (match.match_probability(measured) < 0.05).all()  # the phase is none of these
    assert (match.label_probability(measured) > 0.4).all()
    assert not np.isin(match.candidates(measured)["formula"], ["CaTiO3", "Fe3O4"]).any()
    strict = LibraryMatch(isostructural=False).fit(*library)
    assert np.nanmax(strict.label_probabilities(measured)) < 0.05


def test_phases_of_the_measured_elements_come_first(library):
    """The pattern of halite, with its elements, is halite, although galena looks nearly the same."""
    patterns = make_patterns(6)
    patterns[5] = 0.995 * patterns[0] + 0.005 * patterns[5]
    X = make_table(patterns, FORMULAS)
    labels = LABELS.copy()
    labels[5] = 216
    match = LibraryMatch().fit(X, labels, library[2])
    measured = make_table(patterns[:1], ["NaCl"])
    assert match.predict(measured).tolist() == [225]
    assert match.label_probability(measured)[0] > 0.9


@pytest.mark.parametrize("isostructural", [True, False])
def test_probabilities_of_exclusive_labels_and_phases_add_up_to_at_most_one(library, isostructural):
    X, y, entries = library
    twice = pd.concat([X, X], ignore_index=True)
    match = LibraryMatch(isostructural=isostructural).fit(
        twice, np.r_[y, y], pd.concat([entries, entries], ignore_index=True)
    )
    rng = np.random.default_rng(3)
    mixed = rng.dirichlet(np.ones(6) * 0.3, 40) @ make_patterns(6) + 0.2 * make_patterns(40, seed=1)
    cells = [FORMULAS[i % 6] if i % 3 else None for i in range(40)]
    measured = make_table(mixed, cells)
    by_label = match.label_probabilities(measured)
    assert (by_label >= 0).all()
    assert (by_label.sum(axis=1) <= 1 + 1e-9).all()
    assert (by_label.sum(axis=1) < 0.999).any()
    np.testing.assert_array_equal(match.label_probability(measured), by_label.max(axis=1))
    np.testing.assert_allclose(
        match.predict_proba(measured), by_label / by_label.sum(axis=1, keepdims=True), atol=1e-12
    )
    table = match.candidates(measured, n=12)
    phases = table.groupby(["row", "formula", "label"])["probability"]
    assert (phases.min() == phases.max()).all()  # entries of one phase share its probability
    total = phases.first().groupby("row").sum()
    assert (total <= 1 + 1e-9).all()
    of_phases = phases.first().groupby(["row", "label"]).sum()
    row, label = (of_phases.index.get_level_values(name) for name in ("row", "label"))
    labels = by_label[row, np.searchsorted(match.classes_, label)]
    assert (labels >= of_phases - 1e-9).all()
    if not isostructural:
        np.testing.assert_allclose(labels, of_phases, atol=1e-12)


def test_equal_phases_share_their_probability():
    patterns = np.repeat(make_patterns(1), 2, axis=0)
    X = make_table(patterns, [None, None])
    entries = pd.DataFrame({"mineral": ["a", "b"]})
    match = LibraryMatch().fit(X, [225, 221], entries)
    table = match.candidates(X[:1])
    assert table["probability"].iloc[0] == table["probability"].iloc[1]
    assert table["probability"].sum() <= 1
    same = LibraryMatch().fit(X, [225, 225], entries.assign(mineral="a")).candidates(X[:1])
    assert same["probability"].iloc[0] > 1.5 * table["probability"].iloc[0]


def test_rows_do_not_depend_on_the_others(library):
    match = LibraryMatch(all_missing="missing").fit(*library)
    measured = make_table(make_patterns(6), ["SrZrO3", "NaCl", None, "SiO2", "Mn3O4", "PbS"])
    together = match.label_probabilities(measured)
    for i in range(6):
        np.testing.assert_allclose(match.label_probabilities(measured[i : i + 1])[0], together[i], atol=1e-6)


def test_every_entry_excluded_leaves_the_structure_or_no_answer(library):
    measured = make_table(make_patterns(6)[[1, 1]], ["KMgF3", "KMgF3"])
    measured.iloc[1, :N_BINS] = np.nan
    match = LibraryMatch(all_missing="missing").fit(*library)
    assert len(match.candidates(measured)) == 0
    with pytest.warns(UserWarning, match="row 1: no entry of the library fits"):
        assert match.predict(measured).tolist() == [221, 0]
    assert match.match_probability(measured)[0] == 0


@pytest.mark.parametrize(
    ("entry", "measured", "excluded"),
    [
        ("BN", "FeCrNi", False),  # no light element was found: they may be unseen
        ("BN", "Fe2O3", False),  # boron and nitrogen are lighter than oxygen
        ("LiF", "Fe2O3", True),  # fluorine is not
        ("BN", "Fe3C", True),  # nitrogen is heavier than carbon
        ("CO2", "Fe3C", False),  # carbon was found
        ("H2O", "Fe3C", True),
        ("H2", "Fe3C", False),
        ("C0.97Si0.03", "FeCrNi", False),  # a trace of silicon, main element carbon
    ],
)
def test_entries_of_which_no_element_was_found(entry, measured, excluded):
    pattern = make_patterns(1)
    table = make_table(np.repeat(pattern, 2, axis=0), [entry, None])
    match = LibraryMatch(isostructural=False).fit(table, [1, 2])
    candidates = match.candidates(make_table(pattern, [measured]))
    assert (1 not in set(candidates["label"])) == excluded


def test_stoichiometry_ignores_the_elements_and_what_lies_on_film_and_grid():
    names = ElementFractions().fit([None]).get_feature_names_out()
    numbers = element_columns(list(names))
    amounts = ElementFractions().fit_transform(["CaTiO3", "NaCl", "Fe3O4", None]).astype(np.float32)
    library = CompositionLibrary(amounts, numbers, "fractions")
    cells = ["SrZrO3", "Sr10Zr10O30C30Cu20", None]
    measured = ElementFractions().fit_transform(cells).astype(np.float32)
    penalty = stoichiometry_penalty([(measured, library)], LibraryMatch().stray).numpy()
    assert penalty[0, 0] == pytest.approx(0, abs=1e-3)
    assert penalty[1].argmin() == 3  # an entry without composition has no penalty
    assert penalty[1, :3].argmin() == 0
    assert 0 < penalty[1, 0] < 1
    assert (penalty[2] == 0).all()
    as_is = stoichiometry_penalty([(measured, library)], ()).numpy()
    assert as_is[1, 0] > penalty[1, 0] + 0.5
    presence = CompositionLibrary((amounts > 0).astype(np.float32), numbers, "presence")
    assert stoichiometry_penalty([(measured, presence)], ()) is None


def test_phases_have_one_label_and_one_name():
    entries = pd.DataFrame({"formula": ["C", "C", "C", None, None], "mineral": ["Diamond", "", None, "", ""]})
    phases = phases_of(entries, np.array([0, 0, 0, 1, 1]))
    assert phases[1] == phases[2]
    assert len(set(phases)) == 4
    assert len(set(phases_of(entries[["formula"]][:3], np.array([0, 1, 1])))) == 2
    assert is_first(np.array([[3, 1, 3, 1, 2]])).tolist() == [[True, True, False, False, True]]


def test_the_blend_fills_the_rest_from_the_classifier(library):
    from sklearn.dummy import DummyClassifier
    from sklearn.frozen import FrozenEstimator

    X, y, entries = library
    dummy, match = DummyClassifier(strategy="prior").fit(X, y), LibraryMatch().fit(X, y, entries)
    blend = LibraryBlend(FrozenEstimator(dummy), FrozenEstimator(match), weighting="probability").fit(X, y)
    measured = make_table(make_patterns(6)[[1, 2]] + 0.02, ["SrZrO3", "NaCl"])
    weight = blend.weight(measured)[:, None]
    np.testing.assert_allclose(weight[:, 0], 0.9 * match.label_probabilities(measured).sum(axis=1))
    expected = weight * match.predict_proba(measured) + (1 - weight) * dummy.predict_proba(measured)
    np.testing.assert_allclose(blend.predict_proba(measured), expected)
    assert weight.min() > 0.3


def test_saved_classifiers_without_the_parameter_use_similar_structures(library):
    match = LibraryMatch().fit(*library)
    del match.__dict__["isostructural"]
    loaded = pickle.loads(pickle.dumps(match))
    assert loaded.predict(make_table(make_patterns(6)[[1]], ["SrZrO3"])).tolist() == [221]
