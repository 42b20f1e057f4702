"""Libraries in files, more entries, and the exactness of the search in large libraries."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch

from xtalsk import (
    CrystalSet,
    ElementFractions,
    ElementPresence,
    LibraryMatch,
    RadialProfile,
    load_amcsd,
    make_features,
    make_library,
)
from xtalsk.library import _scaled, _search, _storage
from xtalsk.library._profiles import emphasise, pack
from xtalsk.utils._array_file import read_arrays, write_arrays

N_BINS = 256
FORMULAS = ["NaCl", "KCl", "SiO2", "Fe3O4", "CaCO3", "MgO", "TiO2", "H2O", "Mg2SiO4", "CO2"]


def make_patterns(n, seed=0):
    rng = np.random.default_rng(seed)
    lines = rng.uniform(20, 236, size=(n, 12, 1))
    return (rng.uniform(0.2, 1, size=lines.shape) * np.exp(-((np.arange(N_BINS) - lines) ** 2) / 2)).sum(1)


def make_table(patterns, formulas):
    X = pd.DataFrame(patterns, columns=[f"powder__q_{i:04}" for i in range(N_BINS)], dtype=np.float32)
    for name, block in (("fractions", ElementFractions()), ("presence", ElementPresence())):
        table = block.set_output(transform="pandas").fit_transform(formulas)
        X = pd.concat([X, table.add_prefix(f"{name}__")], axis=1)
    return X


@pytest.fixture(scope="module")
def minerals():
    """Rows of a library of near duplicates, labels, entries with missing names, and measured rows."""
    rng = np.random.default_rng(1)
    patterns = np.repeat(make_patterns(50), 6, axis=0)
    patterns = patterns * rng.uniform(0.97, 1.03, patterns.shape)
    formulas = [FORMULAS[i % 10] for i in range(50) for _ in range(6)]
    entries = pd.DataFrame({"formula": formulas, "mineral": None, "density": rng.uniform(size=300)})
    entries.loc[::3, "mineral"] = "é\nName"
    measured = make_table(patterns[::7] * rng.uniform(0.9, 1.1, patterns[::7].shape), formulas[::7])
    return make_table(patterns, formulas), np.repeat(np.arange(1, 51), 6), entries, measured


@pytest.fixture(scope="module")
def rings():
    """A library of rings, and the crystals and features that it was made of."""
    crystals = load_amcsd()[100:180]
    features = make_features(
        diffraction=("rings", RadialProfile(128)), fractions=("formula", ElementFractions())
    )
    return make_library(crystals, features, random_state=0)


@pytest.mark.parametrize("chemistry", [True, False])
def test_the_best_entries_are_those_of_a_comparison_of_everything_in_single_precision(minerals, chemistry):
    X, y, _, measured = minerals
    match = LibraryMatch(max_shift=0, max_stretch=0, stray=(), isostructural=False, n_best=20).fit(X, y)
    profiles = [
        emphasise(torch.from_numpy(t.to_numpy()[:, :N_BINS]), "median", 0.7, 1.5) for t in (X, measured)
    ]
    local = [slice(max(0, i - 86), i + 87) for i in range(N_BINS)]
    profiles = [p - 0.5 * torch.stack([p[:, near].mean(1) for near in local], 1) for p in profiles]
    library, rows = (p / p.norm(dim=1, keepdim=True) for p in profiles)
    scores = 25 * (rows @ library.T).numpy()
    if chemistry:
        blocks = [
            t.to_numpy()[:, N_BINS + 98 * k + 1 : N_BINS + 98 * (k + 1)]
            for k in (0, 1)
            for t in (X, measured)
        ]
        for of, row, stable in (
            (*blocks[:2], lambda x: np.arcsinh(10 * x) / 0.1),
            (*blocks[2:], lambda x: 3 * x),
        ):
            if stable(1.0) > 5:
                of, row = (t / t.sum(1, keepdims=True).clip(1e-9) for t in (of, row))
            chi2 = np.square(stable(of)[None] - stable(row)[:, None]).sum(-1)
            scores -= 0.75 * np.log1p(chi2 / 4)
        heavy = X.to_numpy()[:, N_BINS + 9 : N_BINS + 98] > 0
        found = measured.to_numpy()[:, N_BINS + 9 : N_BINS + 98] > 0
        scores[(heavy[None] & ~found[:, None]).any(-1)] = -np.inf
        scores[(found.any(1)[:, None] & ~(heavy[None] & found[:, None]).any(-1)) & heavy.any(1)] = -np.inf
    else:
        measured = measured.copy()
        measured.iloc[:, N_BINS:] = np.nan
    candidates = match.candidates(measured, n=3)
    index = candidates["id"].to_numpy().reshape(-1, 3)
    best = np.sort(scores, axis=1)[:, ::-1][:, :3]
    np.testing.assert_allclose(np.take_along_axis(scores, index, axis=1), best, atol=2e-3)
    assert (index[:, 0] == scores.argmax(axis=1)).all()


def test_results_do_not_depend_on_the_size_of_chunks(minerals, rings, monkeypatch):
    X, y, _, measured = minerals
    for library, rows in (((X, y), measured), (rings[:2], rings[0][:20])):
        match = LibraryMatch().fit(*library)
        expected = match.predict_proba(rows)
        for name in ("PAIRS_PER_CHUNK", "SCALED_PAIRS_PER_CHUNK"):
            monkeypatch.setattr(_search, name, 7 * len(library[1]))
        again = pickle.loads(pickle.dumps(match)).predict_proba(rows)
        np.testing.assert_allclose(again, expected, atol=1e-6)
        monkeypatch.undo()


def test_the_second_stage_of_a_large_library_has_a_share_of_its_entries(rings, monkeypatch):
    X, y, entries = rings
    measured = X.iloc[:30] * np.random.default_rng(0).uniform(0.4, 1.6, (30, X.shape[1]))
    tables = [LibraryMatch(n_best=n).fit(X, y, entries).candidates(measured, n=3) for n in (3, len(X))]
    assert (tables[0]["id"] != tables[1]["id"]).any()
    monkeypatch.setattr(_scaled.ScaledComparison, "shortlist_share", 1)
    again = LibraryMatch(n_best=3).fit(X, y, entries).candidates(measured, n=3)
    assert again["id"].tolist() == tables[1]["id"].tolist()


def test_profiles_of_one_byte_as_in_saved_classifiers_are_still_compared(minerals):
    X, y, entries, measured = minerals
    match = LibraryMatch().fit(X, y, entries)
    old = pickle.loads(pickle.dumps(match))
    old._library["powder"] = pack(old._emphasise(X.to_numpy()[:, :N_BINS]))
    assert old._library["powder"].dtype == np.int8
    np.testing.assert_allclose(old.similarity(measured), match.similarity(measured), atol=0.003)
    assert (old.predict(measured) == match.predict(measured)).mean() > 0.95


@pytest.mark.parametrize("mmap", [True, False])
def test_a_saved_library_gives_the_same_answers(minerals, tmp_path, mmap):
    X, y, entries, measured = minerals
    match = LibraryMatch(n_best=30, excused=["H", "C"], sharpness=np.float64(20)).fit(X, y, entries)
    match.save(tmp_path / "minerals")
    loaded = LibraryMatch.load(tmp_path / "minerals", mmap=mmap)
    np.testing.assert_allclose(loaded.predict_proba(measured), match.predict_proba(measured), atol=1e-9)
    pd.testing.assert_frame_equal(loaded.candidates(measured), match.candidates(measured))
    assert loaded.get_params() == match.get_params() | {"excused": ("H", "C")}
    assert loaded.blocks_ == match.blocks_
    assert loaded.level_classes_.keys() == match.level_classes_.keys()
    copy = pickle.loads(pickle.dumps(loaded))
    np.testing.assert_allclose(copy.predict_proba(measured), match.predict_proba(measured), atol=1e-9)


@pytest.mark.parametrize("labels", [["a", "bc", "a"], np.array(["x", "y", "x"], dtype=object), [7, 300, 7]])
def test_libraries_without_names_and_with_any_labels_are_saved(tmp_path, labels):
    match = LibraryMatch().fit(make_patterns(3), labels)
    match.save(tmp_path / "library")
    loaded = LibraryMatch.load(tmp_path / "library")
    assert loaded.classes_.dtype == match.classes_.dtype
    assert loaded.predict(make_patterns(3)).tolist() == list(labels)
    more = loaded.extend(make_patterns(4)[3:], labels[:1])
    assert more.predict(make_patterns(4)).tolist() == [*labels, labels[0]]


def test_rings_are_not_arranged_again(rings, tmp_path, monkeypatch):
    X, y, entries = rings
    match = LibraryMatch().fit(X[:60], y[:60], entries[:60])
    whole = LibraryMatch().fit(X, y, entries)
    expected = match.candidates(X), whole.candidates(X)
    match.save(tmp_path / "rings")
    sizes, arrange = [], _scaled.arrange_profiles
    for module in (_search, _storage):
        monkeypatch.setattr(
            module,
            "arrange_profiles",
            lambda packed, *rest: sizes.append(len(packed)) or arrange(packed, *rest),
        )
    loaded = LibraryMatch.load(tmp_path / "rings")
    pd.testing.assert_frame_equal(loaded.candidates(X), expected[0], rtol=1e-3, atol=1e-6)
    loaded.extend(X[60:], y[60:], entries[60:])
    extended = loaded.candidates(X)
    assert (extended["id"] == expected[1]["id"]).mean() > 0.98  # ties may change places
    np.testing.assert_allclose(extended["similarity"], expected[1]["similarity"], atol=1e-6)
    assert sorted(sizes) == [1, len(X) - 60]


def test_an_extended_library_is_that_of_all_entries(minerals):
    X, y, entries, measured = minerals
    whole = LibraryMatch().fit(X, y, entries)
    match = LibraryMatch().fit(X[:100], y[:100], entries[:100])
    match.predict(measured)
    for first in (100, 170):
        last = {100: 170, 170: 300}[first]
        assert match.extend(X[first:last], y[first:last], entries[first:last]) is match
        match.predict(measured)
    assert match.classes_.tolist() == whole.classes_.tolist()
    np.testing.assert_allclose(match.predict_proba(measured), whole.predict_proba(measured), atol=1e-9)
    pd.testing.assert_frame_equal(match.candidates(measured), whole.candidates(measured))


def test_entries_that_do_not_fit_leave_the_library_unchanged(minerals, rings):
    X, y, entries, measured = minerals
    match = LibraryMatch().fit(X[:100], y[:100], entries[:100])
    before = match.predict_proba(measured)
    more = X[100:102]
    presence = more.copy()
    presence.loc[:, "presence__na"] = 0.4
    for wrong, message in (
        ((more.iloc[:, :-1], [1, 2], entries[:2]), "feature names"),
        ((more, [1], entries[:2]), "inconsistent"),
        ((more, ["a", "b"], entries[:2]), "labels of type"),
        ((more, [1, 2]), "columns of the library"),
        ((more, [1, 2], entries[["formula"]][:2]), "columns of the library"),
        ((presence, [1, 2], entries[:2]), "0 or 1"),
        ((more * np.nan, [1, 2], entries[:2]), "rows 0, 1: every block is missing"),
    ):
        with pytest.raises(ValueError, match=message):
            match.extend(*wrong)
    np.testing.assert_array_equal(match.predict_proba(measured), before)
    X, y, entries = rings
    other = X[:2].copy()
    other.attrs = {"grids": {"diffraction": {"step": 1.0, "scale": "sqrt"}}}
    with pytest.raises(ValueError, match="grid"):
        LibraryMatch().fit(X, y, entries).extend(other, y[:2], entries[:2])


def test_a_damaged_library_is_named(minerals, tmp_path):
    X, y, entries, _ = minerals
    path = tmp_path / "library"
    match = LibraryMatch().fit(X[:20], y[:20], entries[:20])
    match.save(path)
    data = path.read_bytes()
    for altered in (
        data[:-1],
        data[: len(data) // 2],
        b"",
        data[:500] + b"?" + data[501:],
        pickle.dumps(match),
    ):
        path.write_bytes(altered)
        with pytest.raises(ValueError, match="library does not hold a LibraryMatch, or is damaged"):
            LibraryMatch.load(path)
    path.write_bytes(data[:-300] + bytes(b ^ 255 for b in data[-300:]))
    with pytest.raises(ValueError, match="checksum of"):
        LibraryMatch.load(path, mmap=False)
    CrystalSet.concatenate([load_amcsd()[:2]]).save(path, compressed=False)
    with pytest.raises(ValueError, match="it holds CrystalSet, not LibraryMatch"):
        LibraryMatch.load(path)
    with pytest.raises(FileNotFoundError):
        LibraryMatch.load(tmp_path / "absent")
    match.entries_["formula"] = [{}] * 20
    with pytest.raises(TypeError, match="column 'formula'"):
        match.save(path)


def test_files_with_right_checksums_and_wrong_content_are_refused(rings, tmp_path):
    LibraryMatch().fit(*rings).save(tmp_path / "rings")
    values, arrays = read_arrays(tmp_path / "rings", "LibraryMatch", 1)
    for name, array in arrays.items():
        changes = [array[:-1], array[:0]]
        if array.dtype.kind in "if" and name != "classes":
            changes.append(array.astype(np.float64) + 0.5)
        changes += [array + 1000] if name == "labels" else []
        for changed in changes:
            if name == "names" or (name.startswith("entries") and changed.dtype == np.float64):
                continue
            write_arrays(tmp_path / "bad", "LibraryMatch", 1, values, arrays | {name: changed})
            with pytest.raises(ValueError, match="bad does not hold"):
                LibraryMatch.load(tmp_path / "bad")
    for change in (
        {"params": {"steps": 3}},
        {"params": {"n_best": -1}},
        {"blocks": {"diffraction": "profile"}},
        {"grids": {"diffraction": []}},
        {"columns": ["rank", "id", "formula"]},
        {"n_features": None},
    ):
        write_arrays(tmp_path / "bad", "LibraryMatch", 1, values | change, arrays)
        with pytest.raises(ValueError, match="bad does not hold"):
            LibraryMatch.load(tmp_path / "bad")
