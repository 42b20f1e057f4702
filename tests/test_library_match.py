import itertools
from dataclasses import replace
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
import torch

from xtalsk import (
    ElementFractions,
    ElementPresence,
    LibraryMatch,
    PowderConditions,
    PowderProfile,
    Profile,
    load_amcsd,
    make_features,
    make_library,
    make_specimens,
)
from xtalsk.crystals import BrokenEntryWarning
from xtalsk.crystals._faults import find_faults
from xtalsk.library._chemistry import CompositionLibrary
from xtalsk.library._profiles import ProfileLibrary, pack

MINERALS = Path(__file__).parents[2] / "shared" / "data" / "xrd" / "minerals.npz"
N_BINS = 256


def make_patterns(n, *, stretch=1.0, seed=0, n_lines=12):
    rng = np.random.default_rng(seed)
    lines = rng.uniform(40, 230, size=(n, n_lines, 1)) * stretch
    heights = rng.uniform(0.2, 1, size=(n, n_lines, 1))
    return (heights * np.exp(-((np.arange(N_BINS) - lines) ** 2) / 2)).sum(axis=1)


def frame(patterns, block="powder", **compositions):
    X = pd.DataFrame(patterns, columns=[f"{block}__q_{i:04}" for i in range(N_BINS)], dtype=np.float32)
    for name, (transformer, formulas) in compositions.items():
        table = transformer.set_output(transform="pandas").fit_transform(formulas)
        X = pd.concat([X, table.add_prefix(f"{name}__")], axis=1)
    return X


def misfit(measured, library):
    return CompositionLibrary(library, np.arange(1, library.shape[1] + 1), "fractions").misfit(measured)


@pytest.fixture(scope="module")
def minerals():
    """A sample of AMCSD minerals, blocks for powder patterns and formulas, and the library of both."""
    crystals = load_amcsd()[::60]
    features = make_features(
        diffraction=("powder", PowderProfile(512, (0.1, 0.9))), chemistry=("formula", ElementFractions())
    )
    return crystals, features, make_library(crystals, features, random_state=0)


def test_each_pattern_matches_itself_at_any_scale_and_background():
    X = frame(make_patterns(30))
    match = LibraryMatch().fit(X, np.arange(30))
    measured = 7 * X + 3
    np.testing.assert_array_equal(match.predict(measured), np.arange(30))
    assert match.similarity(measured).min() > 0.99
    np.testing.assert_allclose(match.predict_proba(measured).sum(axis=1), 1)


def test_patterns_outside_the_library_have_low_similarity():
    match = LibraryMatch().fit(frame(make_patterns(30)), np.arange(30))
    assert match.similarity(frame(make_patterns(5, seed=1))).max() < 0.9


def test_bins_that_were_not_measured_are_left_out():
    X = frame(make_patterns(30))
    match = LibraryMatch(baseline=None).fit(X, np.arange(30))
    cut = X.copy()
    cut.iloc[::2, :70] = np.nan
    cut.iloc[1::2, 180:] = np.nan
    assert match.similarity(cut).min() > 0.97
    zeros = match.similarity(cut.fillna(0))
    assert zeros.mean() < 0.95


def test_cosine_is_the_cosine_over_common_bins():
    rng = np.random.default_rng(0)
    measured, library = rng.uniform(size=(4, 64)), rng.uniform(size=(6, 64))
    measured[1, :20] = measured[2, 50:] = library[3, 10:30] = np.nan
    plain = {"power": 1, "baseline": None, "smoothing": 0, "local_mean": 0, "max_shift": 0, "max_stretch": 0}
    match = LibraryMatch(**plain, n_best=6)
    table = match.fit(library, np.arange(6)).candidates(measured, n=6)
    for row, label, similarity in table[["row", "label", "similarity"]].itertuples(index=False):
        a, b = measured[row], library[label]
        both = ~(np.isnan(a) | np.isnan(b))
        expected = a[both] @ b[both] / np.linalg.norm(a[both]) / np.linalg.norm(b[both])
        assert similarity == pytest.approx(expected, abs=0.003)


def test_packed_profiles_keep_gaps_and_shape():
    profiles = torch.from_numpy(make_patterns(5)).float()
    profiles[2, 10:20] = torch.nan
    packed = pack(profiles)
    assert packed.dtype == np.int8
    measured, values = packed != -128, torch.from_numpy(packed).float()
    assert (measured == ~profiles.isnan().numpy()).all()
    values = torch.where(torch.from_numpy(measured), values, 0)
    restored = values / values.amax(1, keepdim=True) * profiles.nan_to_num(0).amax(1, keepdim=True)
    assert (restored - profiles.nan_to_num(0)).abs().max() < 0.01


def test_a_stretched_pattern_needs_the_second_comparison():
    X, stretched = frame(make_patterns(30)), frame(make_patterns(30, stretch=1.012))
    rigid = LibraryMatch(max_stretch=0, max_shift=0, smoothing=1).fit(X, np.arange(30))
    soft = LibraryMatch(max_stretch=0.012, max_shift=0, smoothing=1).fit(X, np.arange(30))
    assert soft.similarity(stretched).mean() > rigid.similarity(stretched).mean() + 0.1
    assert soft.score(stretched, np.arange(30)) == 1.0


def test_elastic_shift_is_bounded_and_costs():
    values = torch.zeros(1, 128)
    values[0, 60] = 1
    library = torch.zeros(3, 128)
    library[[0, 1, 2], [60, 61, 65]] = 1
    compare = ProfileLibrary(pack(library), 0)
    _, scale = compare.cosine(values.double(), torch.ones(1, 128, dtype=bool))
    similarity = compare.elastic(
        values.double(), torch.ones_like(values, dtype=torch.bool), scale, torch.arange(3)[None], 0.0, 2.0
    )[0]
    assert similarity.tolist() == pytest.approx([1.0, 0.995, 0.0], abs=1e-6)


@pytest.mark.parametrize("transformer", [ElementFractions(), ElementPresence()])
def test_chemistry_tells_equal_patterns_apart(transformer):
    patterns = np.repeat(make_patterns(1), 3, axis=0)
    X = frame(patterns, eds=(transformer, ["NaCl", "KCl", "Ca(OH)2"]))
    match = LibraryMatch().fit(X, [1, 2, 3])
    assert set(match.blocks_.values()) == {"profile", type(transformer).__name__[7:].lower()}
    measured = frame(patterns, eds=(transformer, ["Na45Cl55", "K52Cl47.5Na0.5", "CaO2"]))
    proba = match.predict_proba(measured)
    assert (np.diag(proba) > 0.9).all()
    without = measured.copy()
    without.loc[:, without.columns.str.startswith("eds__")] = np.nan
    np.testing.assert_allclose(match.predict_proba(without), 1 / 3)
    indifferent = LibraryMatch(chemistry_weight=0).fit(X, [1, 2, 3])
    np.testing.assert_allclose(indifferent.predict_proba(measured), 1 / 3)


def test_misfit_grows_from_errors_of_measurement_to_other_elements():
    fractions = ElementFractions().fit_transform
    library = fractions(["Mg2SiO4", "Mg1.8Fe0.2SiO4", "Fe2SiO4", "NaCl"])
    measured = fractions(["Mg1.9Si1.05O3.9"])
    misfits = misfit(measured, library)[0]
    assert misfits[0] < 0.7
    assert (np.diff(misfits) > 0.5).all()
    without_oxygen = measured.copy()
    without_oxygen[0, 7] = np.nan
    assert misfit(without_oxygen, library)[0, 0] < 0.7


def test_entries_without_composition_get_the_median_misfit():
    fractions = ElementFractions().fit_transform(["NaCl", None, "Fe2O3", "KCl"])
    misfits = misfit(fractions[:1], fractions)[0]
    assert misfits[0] < misfits[1] < misfits[2]
    assert (misfit(fractions[1:2], fractions) == 0).all()


def test_rows_with_chemistry_alone_are_matched_and_empty_rows_raise():
    X = frame(make_patterns(3), eds=(ElementFractions(), ["NaCl", "SiO2", "Fe2O3"]))
    match = LibraryMatch().fit(X, [225, 152, 167])
    measured = X.copy()
    measured.iloc[1, :N_BINS] = np.nan
    np.testing.assert_array_equal(match.predict(measured), [225, 152, 167])
    assert np.isnan(match.similarity(measured)).tolist() == [False, True, False]
    measured.iloc[1] = np.nan
    with pytest.raises(ValueError, match=r"row 1: every block is missing \(powder, eds\)"):
        match.predict(measured)


def test_both_results_of_one_search_with_an_empty_row():
    X = frame(make_patterns(4), eds=(ElementFractions(), ["NaCl", "SiO2", "Fe2O3", "KCl"]))
    match = LibraryMatch().fit(X, [225, 152, 167, 225])
    measured = X.copy()
    measured.iloc[1] = np.nan
    measured.iloc[2, :N_BINS] = np.nan
    proba, similarity = match.predict_proba_and_similarity(measured)
    rows = [0, 2, 3]
    np.testing.assert_array_equal(proba[rows], match.predict_proba(measured.iloc[rows]))
    np.testing.assert_array_equal(similarity[rows], match.similarity(measured.iloc[rows]))
    assert np.isnan(proba[1]).all()
    assert np.isnan(similarity).tolist() == [False, True, True, False]
    proba, similarity = match.predict_proba_and_similarity(measured[1:2])
    assert np.isnan(proba).all()
    assert np.isnan(similarity).all()


def test_two_profiles_are_averaged_and_either_may_be_missing():
    X = pd.concat([frame(make_patterns(10)), frame(make_patterns(10, seed=1), block="rings")], axis=1)
    match = LibraryMatch().fit(X, np.arange(10))
    measured = X.copy()
    measured.iloc[::2, :N_BINS] = np.nan
    assert match.score(measured, np.arange(10)) == 1.0
    mixed = X.copy()
    mixed.iloc[:, N_BINS:] = X.iloc[::-1, N_BINS:].to_numpy()
    assert match.similarity(mixed).max() < 0.9


def test_candidates_have_the_columns_of_the_entries():
    entries = pd.DataFrame({"id": list("abcde"), "mineral": ["one"] * 5}, index=range(5, 10))
    X = frame(make_patterns(5))
    table = LibraryMatch().fit(X, [1, 2, 2, 3, 4], entries).candidates(X[2:4], n=3)
    assert table.columns.tolist() == [
        "row", "rank", "id", "mineral", "label", "score", "similarity", "probability", "scale", "width"
    ]  # fmt: skip
    assert table["row"].tolist() == [0, 0, 0, 1, 1, 1]
    assert table["rank"].tolist() == [1, 2, 3, 1, 2, 3]
    assert table.loc[table["rank"] == 1, "id"].tolist() == ["c", "d"]
    assert table.loc[table["rank"] == 1, "label"].tolist() == [2, 3]
    assert (np.diff(table["score"].to_numpy().reshape(2, 3)) <= 0).all()


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (pd.DataFrame({"id": [1]}), "one row for each of X, 5, got 1 rows"),
        ([1, 2, 3, 4, 5], "got list"),
        (pd.DataFrame({"score": range(5)}), r"named \['score'\]"),
    ],
)
def test_wrong_entries(entries, message):
    with pytest.raises(ValueError, match=message):
        LibraryMatch().fit(frame(make_patterns(5)), np.arange(5), entries)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"power": 0}, "power == 0"),
        ({"baseline": "mean"}, "baseline must be one of"),
        ({"sharpness": -1}, "sharpness == -1"),
        ({"n_best": 0}, "n_best == 0"),
        ({"max_stretch": 0.5}, "max_stretch == 0.5"),
    ],
)
def test_wrong_parameters(params, message):
    with pytest.raises(ValueError, match=message):
        LibraryMatch(**params).fit(frame(make_patterns(5)), np.arange(5))


def test_blocks_that_cannot_be_used():
    X = frame(make_patterns(5)).assign(ranked__rank1_z=1.0)
    assert LibraryMatch().fit(X, np.arange(5)).blocks_ == {"powder": "profile", "ranked": "unused"}
    with pytest.raises(ValueError, match=r"blocks are \['ranked'\]"):
        LibraryMatch().fit(X[["ranked__rank1_z"]], np.arange(5))


def test_a_library_of_minerals_matches_them_and_is_small(minerals, tmp_path):
    crystals, features, (X, y, entries) = minerals
    match = LibraryMatch().fit(X, y, entries)
    specimens, truth, _ = make_specimens(crystals, ("powder", "formula"), random_state=1)
    measured = features.transform(specimens)
    assert match.score(measured, truth) > 0.95
    best = match.candidates(measured, n=1)
    assert np.mean(best["id"].to_numpy() == entries["id"].to_numpy()) > 0.9
    joblib.dump(match, tmp_path / "match.joblib", compress=3)
    assert (tmp_path / "match.joblib").stat().st_size < 900 * len(X)  # bytes; below 9 MB for all of AMCSD
    reloaded = joblib.load(tmp_path / "match.joblib")
    np.testing.assert_array_equal(reloaded.predict_proba(measured), match.predict_proba(measured))


def test_the_library_leaves_broken_crystals_out_and_keeps_entries_in_step(minerals):
    _, features, _ = minerals
    crystals = load_amcsd()
    broken = min(find_faults(crystals))
    subset = crystals[np.array([broken - 1, broken, broken + 1])]
    with pytest.warns(BrokenEntryWarning):
        X, y, entries = make_library(subset, features, random_state=0)
    assert entries["id"].tolist() == [subset.ids[0], subset.ids[2]]
    assert y.tolist() == subset.space_groups[[0, 2]].tolist()
    exact = ElementFractions().fit_transform(entries["formula"])
    np.testing.assert_array_equal(X.filter(like="chemistry__"), exact)


def test_make_library_needs_a_column_transformer():
    with pytest.raises(ValueError, match="make_features, got PowderProfile"):
        make_library(load_amcsd()[:2], PowderProfile())


@pytest.mark.skipif(not MINERALS.exists(), reason="needs measured minerals beside the checkout")
def test_measured_minerals_of_the_library_are_named():
    with np.load(MINERALS) as archive:
        start, step, count = archive["two_theta"]
        intensity, truth = archive["intensity"][::6].astype(float), archive["space_group"][::6].astype(int)
    axis = start + step * np.arange(int(count))
    cells = [Profile(i, two_theta=axis, wavelength=1.5406) for i in intensity]
    features = make_features(diffraction=("powder", PowderProfile(256, (0.1, 0.9))))
    coarse = replace(PowderConditions.ideal(), two_theta=(5, 90, 0.06))
    X, y, entries = make_library(load_amcsd()[::4], features, conditions={"powder": coarse}, random_state=0)
    match = LibraryMatch().fit(X, y, entries)
    measured = features.transform(pd.DataFrame({"powder": pd.Series(cells, dtype=object)}))
    right, similarity = match.predict(measured) == truth, match.similarity(measured)
    order = np.argsort(similarity)
    unlike, alike = np.array_split(right[order], 2)
    assert right.mean() > 0.3
    assert alike.mean() > 0.6
    assert alike.mean() > unlike.mean() + 0.3


def test_similarity_is_at_most_one_however_little_was_measured():
    rng = np.random.default_rng(0)
    lines = rng.uniform(5, 1019, size=(60, 12, 1))
    patterns = np.exp(-((np.arange(1024) - lines) ** 2) / 8).sum(axis=1).astype(np.float32)
    X = pd.DataFrame(patterns, columns=[f"powder__q_{i:04}" for i in range(1024)])
    match = LibraryMatch().fit(X, np.arange(60) % 6)
    cut = X.copy()
    cut.iloc[:, 250:] = np.nan
    cut = cut[(cut.iloc[:, :250] > 0.5).any(axis=1)]
    best = match.candidates(cut, n=1)
    assert (best["similarity"] <= 1 + 1e-6).all()
    assert (best["id"].to_numpy() == cut.index).mean() > 0.9


def test_rows_with_few_candidates_get_the_same_cosine():
    rng = np.random.default_rng(0)
    library = ProfileLibrary(pack(torch.from_numpy(rng.uniform(size=(50, 100)))), 0)
    measured = torch.from_numpy(rng.uniform(size=(6, 100)) > [[0.0]] * 3 + [[0.5]] * 3)
    values = torch.from_numpy(rng.uniform(size=(6, 100))) * measured
    is_candidate = rng.uniform(size=(6, 50)) < 0.1
    is_candidate[0] = True
    every = library.cosine(values, measured)
    few = library.cosine(values, measured, is_candidate)
    for a, b in zip(every, few, strict=True):
        torch.testing.assert_close(a[is_candidate], b[is_candidate])
        assert (b[1:][~is_candidate[1:]] == 0).all()


def test_shifts_are_the_best_of_all_paths():
    """Three segments with shifts up to one, two and two bins: every path is tried."""
    rng = np.random.default_rng(0)
    profiles = torch.from_numpy(rng.uniform(size=(2, 150)))
    profiles[1, :40] = torch.nan
    measured, values = ~profiles.isnan(), profiles.nan_to_num(0)
    library = ProfileLibrary(pack(torch.from_numpy(rng.uniform(size=(3, 150)))), 0)
    _, scale = library.cosine(values, measured)
    scale *= 0.5
    entries = np.pad(
        library.packed.astype(float)[None] * measured.numpy()[:, None], ((0, 0), (0, 0), (0, 42))
    )
    padded = np.pad(values.numpy(), ((0, 0), (2, 44)))
    expected = np.full((2, 3), -np.inf)
    for path in itertools.product(range(-1, 2), range(-2, 3), range(-2, 3)):
        bends = np.abs(np.diff(path))
        if bends.max() > 2:
            continue
        cost = 0.005 / 3 * np.square(path).sum() + 0.01 * np.square(bends).sum()
        parts = [
            np.einsum("nmj,nj->nm", entries[..., 64 * k :][..., :64], padded[:, 64 * k + 2 + s :][:, :64])
            for k, s in enumerate(path)
        ]
        expected = np.maximum(expected, sum(parts) * scale.numpy() - cost)
    candidates = torch.arange(3).expand(2, -1).contiguous()
    shifted = library.elastic(values, measured, scale, candidates, 0.01, 1.0)
    np.testing.assert_allclose(shifted, expected.clip(max=1), rtol=1e-12)


def test_a_library_of_different_labels_is_no_regression(recwarn):
    LibraryMatch().fit(frame(make_patterns(40)), np.arange(1, 41))
    assert not [warning for warning in recwarn if "regression" in str(warning.message)]
