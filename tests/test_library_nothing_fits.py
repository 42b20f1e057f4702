"""Search-match: elements that exclude entries, the probability of a match, rows without answer."""

import numpy as np
import pandas as pd
import pytest

from xtalsk import (
    ElementFractions,
    ElementPresence,
    LibraryMatch,
    PowderProfile,
    RadialProfile,
    load_amcsd,
    make_features,
    make_library,
)
from xtalsk.symmetry import to_level
from xtalsk.utils import NotMeasuredWarning

N_BINS = 256
CHEMISTRY = {"fractions": ElementFractions(), "presence": ElementPresence()}


def make_patterns(n, seed=0):
    lines = np.random.default_rng(seed).uniform(20, 236, size=(n, 12, 1))
    return np.exp(-((np.arange(N_BINS) - lines) ** 2) / 4).sum(axis=1)


def make_table(patterns, formulas, kinds=("fractions",), block="powder"):
    X = pd.DataFrame(patterns, columns=[f"{block}__q_{i:04}" for i in range(N_BINS)], dtype=np.float32)
    tables = [
        CHEMISTRY[kind].set_output(transform="pandas").fit_transform(formulas).add_prefix(f"{kind}__")
        for kind in kinds
    ]
    return pd.concat([X, *tables], axis=1)


@pytest.mark.parametrize("kinds", [("fractions",), ("presence",), ("fractions", "presence")])
def test_iron_chromium_nickel_is_no_magnet(kinds):
    """The pattern is that of Er2Fe14B, yet no erbium was found."""
    patterns, formulas = make_patterns(3), ["Er2Fe14B", "Fe0.5Ni0.5", "NaCl"]
    match = LibraryMatch(isostructural=False).fit(make_table(patterns, formulas, kinds), [136, 225, 221])
    measured = make_table(patterns[:1], ["FeCrNi"], kinds)
    assert match.predict(measured).tolist() == [225]
    assert match.predict_proba(measured).round(9).tolist() == [[0, 0, 1]]  # 136, 221 and 225
    assert match.candidates(measured)["label"].tolist() == [225]


@pytest.mark.parametrize(
    ("entry", "measured", "excluded"),
    [
        ("Er2Fe14B", "FeCrNi", True),
        ("Fe14B", "FeCrNi", False),  # boron is light
        ("SiO2", "Si", False),  # oxygen too
        ("CaF2", "Ca", False),  # and fluorine
        ("NaCl", "Cl", True),  # sodium is not
        ("Mg1.9Fe0.1SiO4", "Mg2SiO4", False),  # 1.4 at% of iron are a trace
        ("Mg1.5Fe0.5SiO4", "Mg2SiO4", True),  # 7 at% are not
        ("Fe", "FeCrNi", False),  # what the entry lacks lowers its score only
        ("NaCl", "Na0.004Cl0.996", True),  # at most 0.5 at% count as absent
        ("NaCl", "Na0.02Cl0.98", False),
        ("H2O", "Fe", False),
    ],
)
def test_which_elements_exclude_an_entry(entry, measured, excluded):
    pattern = make_patterns(1)
    library = make_table(np.repeat(pattern, 2, axis=0), [entry, "C"])
    match = LibraryMatch(isostructural=False).fit(library, [1, 2])
    weight = match.predict_proba(make_table(pattern, [measured]))[0, 0]
    assert (weight == 0) == excluded


def test_excused_elements_and_chemistry_that_is_not_compared():
    X = make_table(make_patterns(2), ["NaCl", "KCl"])
    measured = make_table(make_patterns(1), ["Cl"])
    for params in ({"excused": ("Na",)}, {"chemistry_weight": 0}):
        match = LibraryMatch(**params, isostructural=False).fit(X, [225, 221])
        assert match.predict(measured).tolist() == [225]
    with pytest.warns(UserWarning, match="row 0: no entry of the library fits"):
        assert LibraryMatch(isostructural=False).fit(X, [225, 221]).predict(measured).tolist() == [0]


def test_unmeasured_elements_and_missing_compositions_exclude_nothing():
    X = make_table(make_patterns(2), ["NaCl", None])
    measured = make_table(make_patterns(1), ["Cl"])
    measured["fractions__na"] = np.nan
    match = LibraryMatch(isostructural=False).fit(X, [225, 221])
    assert match.predict(measured).tolist() == [225]
    unknown = match.predict_proba(make_table(make_patterns(1), ["Fe"]))
    assert unknown[0].tolist() == [1, 0]  # 221 has no composition and stays, 225 has sodium
    nothing_found = make_table(make_patterns(1), ["Cl"])
    nothing_found.loc[:, nothing_found.columns.str.startswith("fractions__")] = 0.0
    assert match.predict(nothing_found).tolist() == [225]


def test_a_conflict_of_two_analyses_excludes_nothing():
    X = make_table(make_patterns(2), ["NaCl", "C"], ("fractions", "presence"))
    measured = make_table(make_patterns(1), ["Cl"], ("fractions", "presence"))
    measured["presence__na"] = 1.0
    assert LibraryMatch().fit(X, [225, 221]).predict(measured).tolist() == [225]


def test_nothing_fits_if_every_entry_is_excluded():
    X = make_table(make_patterns(3), ["NaCl", "KCl", "PbS"])
    match = LibraryMatch(isostructural=False).fit(X, [225, 221, 225])
    measured = make_table(make_patterns(3), ["NaCl", "Fe", None])
    with pytest.warns(UserWarning, match=r"row 1: no entry .* measured and found absent"):
        proba = match.predict_proba(measured)
    assert np.isnan(proba).all(axis=1).tolist() == [False, True, False]
    with pytest.warns(UserWarning, match="row 1"):
        assert match.predict(measured).tolist() == [225, 0, 225]
    assert set(match.candidates(measured)["row"]) == {0, 2}
    assert np.isnan(match.similarity(measured)).tolist() == [False, True, False]
    assert match.match_probability(measured)[1] == 0
    assert match.nothing_fits(measured).tolist() == [False, True, False]
    chemistry = measured.copy()
    chemistry.iloc[:, :N_BINS] = np.nan
    chemistry = chemistry[:2]
    assert match.nothing_fits(chemistry).tolist() == [False, True]
    assert np.isnan(match.match_probability(chemistry)[0])


def test_empty_rows():
    X = make_table(make_patterns(4), ["NaCl", "KCl", "PbS", "MgO"])
    y = np.array([225, 221, 62, 225])
    measured = X.copy()
    measured.iloc[2] = np.nan
    match = LibraryMatch(all_missing="missing").fit(X, y)
    with pytest.warns(NotMeasuredWarning, match="row 2"):
        assert match.predict(measured).tolist() == [225, 221, 0, 225]
    with pytest.warns(NotMeasuredWarning):
        assert match.predict_level(measured, "crystal_system").tolist() == ["cubic", "cubic", None, "cubic"]
    with pytest.warns(NotMeasuredWarning):
        coarse = match.predict_level_proba(measured, "crystal_system")
    assert np.isnan(coarse).all(axis=1).tolist() == [False, False, True, False]
    for all_missing in ("raise", "missing"):  # these have a place for rows without answer
        match.set_params(all_missing=all_missing)
        with pytest.warns(NotMeasuredWarning):
            assert match.candidates(measured, n=1)["row"].tolist() == [0, 1, 3]
        for answer in (match.similarity, match.match_probability):
            with pytest.warns(NotMeasuredWarning):
                assert np.isnan(answer(measured)).tolist() == [False, False, True, False]
        with pytest.warns(NotMeasuredWarning):
            assert not match.nothing_fits(measured)[2]
        with pytest.warns(NotMeasuredWarning):
            assert match.candidates(measured[2:3]).columns.tolist()[-1] == "width"
    with pytest.raises(ValueError, match="row 2: every block is missing"):
        match.set_params(all_missing="raise").predict(measured)


def test_the_level_is_that_of_the_answer():
    match = LibraryMatch().fit(make_table(make_patterns(3), [None] * 3), [191, 194, 225])
    mixed = make_table(make_patterns(3).mean(axis=0, keepdims=True), [None])
    expected = to_level(match.predict(mixed), "crystal_system")
    assert match.predict_level(mixed, "crystal_system").tolist() == expected.tolist()


def test_probability_of_a_match():
    patterns = make_patterns(40)
    match = LibraryMatch().fit(make_table(patterns, [None] * 40), np.arange(40) + 1)
    assert match.modality_ == "powder"
    known = match.match_probability(make_table(patterns, [None] * 40))
    unknown = match.match_probability(make_table(make_patterns(40, seed=1), [None] * 40))
    assert known.min() > 0.8
    assert unknown.max() < 0.3
    assert match.nothing_fits(make_table(make_patterns(40, seed=1), [None] * 40)).all()
    table = match.candidates(make_table(patterns, [None] * 40), n=3)
    first, second = (table.loc[table["rank"] == rank, "probability"].to_numpy() for rank in (1, 2))
    np.testing.assert_array_equal(first, known)
    assert (second < 0.2).all()


def test_one_pattern_of_two_structures_is_not_certain():
    patterns = np.repeat(make_patterns(1), 2, axis=0)
    alone = LibraryMatch().fit(make_table(patterns, [None] * 2), [225, 225])
    doubtful = LibraryMatch().fit(make_table(patterns, [None] * 2), [225, 221])
    measured = make_table(patterns[:1], [None])
    assert doubtful.match_probability(measured)[0] < alone.match_probability(measured)[0] - 0.05


def test_the_modality_decides():
    patterns = make_patterns(40)
    wrong = make_patterns(40, seed=1)
    powder, rings = (
        LibraryMatch().fit(make_table(patterns, [None] * 40, block=block), np.arange(40) + 1)
        for block in ("powder", "rings")
    )
    assert (powder.modality_, rings.modality_) == ("powder", "rings")
    assert not np.allclose(
        powder.match_probability(make_table(wrong, [None] * 40)),
        rings.match_probability(make_table(wrong, [None] * 40, block="rings")),
    )
    named = LibraryMatch(modality="rings").fit(make_table(patterns, [None] * 40), np.arange(40) + 1)
    assert named.modality_ == "rings"
    unknown = make_table(patterns, [None] * 40, block="diffraction")
    match = LibraryMatch().fit(unknown, np.arange(40) + 1)
    assert match.candidates(unknown, n=1)["probability"].isna().all()
    for answer in (match.match_probability, match.nothing_fits):
        with pytest.raises(ValueError, match="set modality to one of"):
            answer(unknown)


@pytest.mark.parametrize(
    ("column", "profile"), [("powder", PowderProfile(256, (0.1, 0.9))), ("rings", RadialProfile(128))]
)
def test_make_library_says_what_the_profiles_are(column, profile):
    X, y, entries = make_library(
        load_amcsd()[:4], make_features(diffraction=(column, profile)), random_state=0
    )
    assert X.attrs["modalities"] == {"diffraction": column}
    match = LibraryMatch().fit(X, y, entries)
    assert match.modality_ == column
    assert np.isfinite(match.match_probability(X)).all()


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"excused": "Na"}, "excused must be a list of symbols"),
        ({"excused": ("Xx",)}, r"symbols of no element: \['Xx'\]"),
        ({"modality": "eds"}, "modality must be one of"),
        ({"all_missing": "prior"}, "all_missing must be one of"),
    ],
)
def test_wrong_parameters(params, message):
    with pytest.raises(ValueError, match=message):
        LibraryMatch(**params).fit(make_table(make_patterns(2), ["C", "Si"]), [1, 2])


def test_wrong_threshold():
    X = make_table(make_patterns(2), ["C", "Si"])
    with pytest.raises(ValueError, match="threshold"):
        LibraryMatch().fit(X, [1, 2]).nothing_fits(X, threshold=2)
