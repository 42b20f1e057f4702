"""Pieces of the accuracy benchmark on tiny data."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pymatgen.core import Lattice, Structure
from sklearn.pipeline import make_pipeline

from xtalsk import (
    PowderConditions,
    Profile,
    compute_reflections,
    load_amcsd,
    make_baseline,
    make_features,
    simulate_powder,
)
from xtalsk.crystals import BrokenEntryWarning

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import _measured
import _misses
import _protocols
import bench_accuracy
from _materials_project import load_materials_project
from _peers import ParkNet, TenPeaks


def write_table(path, structures, **columns):
    cifs = [s if isinstance(s, str) else s.to(fmt="cif") for s in structures]
    pd.DataFrame({"cif": cifs, **columns}).to_csv(path)


@pytest.fixture
def salts(tmp_path):
    """Two tables that share an entry; one entry is no structure."""
    rock, caesium = (
        Structure.from_spacegroup(*args).get_primitive_structure()
        for args in (
            ("Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5] * 3]),
            ("Pm-3m", Lattice.cubic(4.12), ["Cs", "Cl"], [[0, 0, 0], [0.5] * 3]),
        )
    )
    write_table(tmp_path / "mp_a.csv.gz", [rock, "nonsense"], material_id=["mp-1", "mp-2"])
    numbers = {"spacegroup.number": [221, 225]}
    write_table(tmp_path / "mp_b.csv.gz", [caesium, rock], material_id=["mp-3", "mp-1"], **numbers)
    return tmp_path


def test_materials_project_tables_are_joined_and_cached(salts, tmp_path, capsys):
    cache = tmp_path / "set.npz"
    with pytest.warns(BrokenEntryWarning, match="mp-2"):
        crystals = load_materials_project(salts, ("mp_a", "mp_b"), cache=cache, verbose=1)
    assert crystals.ids.tolist() == ["mp-1", "mp-3"]  # the repeat and the broken one are not there
    assert crystals.space_groups.tolist() == [225, 221]
    assert crystals.names.tolist() == ["NaCl", "CsCl"]
    assert "100.00% with the space group of the table" in capsys.readouterr().out
    assert load_materials_project(salts / "nowhere", cache=cache).ids.tolist() == ["mp-1", "mp-3"]


def test_a_missing_table_is_named(salts):
    with pytest.raises(FileNotFoundError, match="mp_c"):
        load_materials_project(salts, ("mp_a", "mp_c"))


def lines_at(positions, n_bins=64):
    bins = np.arange(n_bins)
    return np.exp(-(((bins - np.asarray(positions)[:, None]) / 1.5) ** 2))


def test_park_net_learns_and_repeats_itself():
    rng = np.random.default_rng(0)
    y = np.repeat([62, 225], 24)
    X = lines_at(np.where(y == 62, 20, 40)) + 0.1 * rng.random((48, 64))
    X[:, :3] = np.nan
    options = {"dense": (64, 32), "batch_size": 16, "random_state": 0}
    nets = [ParkNet(250, max_epochs=6, **options).fit(X, y) for _ in range(2)]
    assert nets[0].score(X, y) > 0.9
    assert nets[0].loss_curve_ == nets[1].loss_curve_
    np.testing.assert_allclose(nets[0].predict_proba(X).sum(axis=1), 1, atol=1e-5)


def test_ten_peaks_counts_and_squares():
    q = 0.1 + (np.arange(800) + 0.5) * 0.001
    profile = sum(np.exp(-(((q - at) / 0.003) ** 2)) for at in (0.2, 0.3, 0.6))
    found = TenPeaks((0.1, 0.9)).fit_transform([profile, np.zeros(800)])
    np.testing.assert_allclose(found[0, :3], [0.04, 0.09, 0.36], atol=1e-3)
    assert found[:, -1].tolist() == [3, 0]
    assert (found[1, :10] == -1).all()


def test_folds_keep_compounds_apart_and_test_each_crystal_once():
    rows = np.repeat(np.arange(30), 2)
    groups, y = rows // 3, 62 + rows % 2
    splits = _protocols.make_splits(y, groups, rows, n_folds=5, folds_run=2)
    assert list(splits) == [0, 1]
    for train, test in splits.values():
        assert not set(groups[train]) & set(groups[test])
        assert len(set(rows[test])) == len(test)
        assert len(train) + 2 * len(test) == len(rows)


def test_random_folds_part_compounds_but_not_crystals():
    rows = np.repeat(np.arange(30), 2)
    groups, y = rows // 3, 62 + rows % 2
    splits = _protocols.make_splits(y, groups, rows, random_split=True)
    assert any(set(groups[train]) & set(groups[test]) for train, test in splits.values())
    assert not any(set(rows[train]) & set(rows[test]) for train, test in splits.values())


def test_only_some_are_tested_and_all_others_trained_on():
    rows = np.arange(20)
    only = rows >= 10
    train, test = _protocols.make_splits(62 + rows % 2, rows, rows, only=only, n_folds=2)[0]
    assert only[test].all()
    assert (~only[train]).any()


@pytest.fixture
def job(tmp_path):
    crystals = load_amcsd()
    cubic = crystals[np.flatnonzero((crystals.space_groups == 225) & (crystals.volumes < 200))[:8]]
    other = crystals[np.flatnonzero((crystals.space_groups == 62) & (crystals.volumes < 200))[:8]]
    crystals = type(crystals).concatenate([cubic, other])
    job = _protocols.Job(tmp_path / "job", "rings")
    conditions = _protocols.harsh_conditions("rings", size=64)
    return job, crystals, job.specimens(crystals, conditions, n_replicas=2, random_state=0)


def test_a_job_goes_on_where_it_ended(job, capsys):
    job, crystals, (X, y, groups, rows) = job
    names = tuple(_protocols.reducer("rings").fit([None]).get_feature_names_out())
    features = make_features(diffraction=("rings", _protocols.Reduced(names)))
    model = make_pipeline(features, make_baseline("extra_trees", n_estimators=5, random_state=0))
    splits = _protocols.make_splits(y, groups, rows, n_folds=2)
    first = job.run({"trees": model}, X, y, groups, splits)
    assert capsys.readouterr().out.count("trees") == 2
    again = job.run({"trees": None}, X, y, groups, splits)  # nothing is left to run
    pd.testing.assert_frame_equal(first, again)
    assert set(first["model"]) == {"trees", "prior"}
    assert "space_group_accuracy" in first
    assert "space group" in _protocols.summarise(first)
    with pytest.raises(ValueError, match="other crystals"):
        job.specimens(crystals[:4], None, n_replicas=2, random_state=0)


def test_search_match_learns_ideal_specimens_once_a_crystal(job):
    _, _, (X, y, _, rows) = job
    seen = []

    class Spy(_protocols.BaseEstimator):
        def fit(self, X, y):
            seen.append((X, y))
            self.classes_ = np.unique(y)
            return self

    _protocols.OnIdeal(Spy()).fit(X, y)
    ideal, labels = seen[0]
    assert list(ideal) == ["rings", "formula"]
    assert len(ideal) == len(set(rows)) == len(labels) == len(X) // 2
    assert np.array_equal(ideal["rings"].iloc[0], X["ideal_rings"].iloc[0], equal_nan=True)
    assert not np.array_equal(ideal["rings"].iloc[0], X["rings"].iloc[0], equal_nan=True)


def test_broken_lines_of_films_are_read(tmp_path):
    path = tmp_path / "film.xy"
    path.write_text("14.1185 1697\n14.168110228 \n14.2177 100 \n14.2673 \n14.3169 53\n")
    scan = _measured.read_film(path)
    assert scan.two_theta.tolist() == [14.1185, 14.1681, 14.2177, 14.3169]
    assert scan.intensity.tolist() == [1697, 10228, 100, 53]


def test_families_join_trigonal_and_hexagonal():
    scores = _measured.measured_scores(np.array([194, 62]), np.array([[0.9, 0.1], [0.9, 0.1]]), [166, 62])
    assert scores["crystal_family"] == 0.5
    assert scores["crystal_system"] == 0.0
    assert scores["space_group"] == 0.0
    assert scores["top 5"] == 0.5


def test_measured_sets_are_complete(shared_data):
    sets = _measured.read_sets(shared_data / "xrd")
    assert {name: len(y) for name, (_, y, _) in sets.items()} == {
        "minerals": 301,
        "minerals, odd rows": 150,
        "powders": 16,
        "films": 85,
        "powders with formula": 16,
    }
    labels = dict(zip(sets["powders"][2], sets["powders"][1], strict=True))
    assert (labels["Mn2O3"], labels["C"], labels["Tb2BaCoO5"], labels["Al2O3"]) == (206, 194, 71, 167)
    assert sets["powders"][0]["formula"].isna().all()


GOOD = {
    "fit_true": 0.95, "true_unmoved": 0.95, "fit_blurred": 0.95, "fit_predicted": 0.6, "fit_any": 0.95,
    "any_space_group": 225, "extra": 0.0, "absent": 0.0, "span": 80.0, "n_lines": 12, "stretch": 0.0,
    "shift": 0.0, "true_row": 0, "predicted_row": 1,
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("model", {}),
        ("range", {"span": 20.0}),
        ("shift", {"true_unmoved": 0.4}),
        ("impurity", {"extra": 0.3}),
        ("texture", {"fit_true": 0.6, "fit_blurred": 0.6}),
        ("width", {"fit_true": 0.6, "fit_blurred": 0.95}),
        ("label", {"fit_true": 0.4, "absent": 0.7, "extra": 0.7}),
        ("unseen", {"fit_true": 0.4, "fit_any": 0.5, "absent": 0.7, "extra": 0.7}),
    ],
)
def test_kinds_of_misses(kind, changes):
    assert _misses.Evidence(**(GOOD | changes)).kind() == kind


@pytest.fixture(scope="module")
def library():
    crystals = load_amcsd()
    small = np.flatnonzero(crystals.volumes < 150)
    return _misses.Library(crystals[small[::12]])


def scan_of(library, row, stretch=0.0):
    conditions = PowderConditions.ideal()
    lines = compute_reflections(
        library.crystals[row], "xray", conditions.d_min(), wavelength=conditions.wavelength
    )
    theta = np.radians(conditions.axis() / 2)
    moved = 2 * np.degrees(np.arcsin(np.sin(theta) * (1 - stretch)))
    counts = simulate_powder(lines, [0], conditions, random_state=0)[0]
    return Profile(counts, two_theta=moved, wavelength=conditions.wavelength)


def test_moved_patterns_are_found_and_drawn(library, tmp_path):
    rows = [np.flatnonzero(library.space_groups == n)[0] for n in (225, 62)]
    cells = [scan_of(library, rows[0]), scan_of(library, rows[1], stretch=0.0125)]
    sets = {"some": (pd.DataFrame({"powder": pd.Series(cells, dtype=object)}), [225, 62], ["a", "b"])}
    said = pd.DataFrame(
        {
            "set": "some", "name": ["a", "b"], "row": [0, 1], "label": [225, 62], "predicted": [1, 225],
            "probability": 0.5,
        }
    )  # fmt: skip
    misses = _misses.explain_misses(said, sets, library)
    assert misses["kind"].tolist() == ["model", "shift"]
    assert misses["fit_true"].min() > 0.85
    assert misses["stretch"].tolist() == pytest.approx([0.0, 0.0125], abs=0.0026)
    assert misses["true_row"][1] == rows[1]
    _misses.draw_misses(misses, sets, library, tmp_path / "misses.png")
    assert (tmp_path / "misses.png").stat().st_size > 10_000


def test_quick_options_are_small():
    options = bench_accuracy.parse(["a", "--quick"])
    assert (options.n, options.n_folds, options.epochs, options.size) == (400, 2, 3, 128)
    assert bench_accuracy.parse(["a"]).n is None
    with pytest.raises(SystemExit):
        bench_accuracy.parse(["d"])


def test_unknown_models_are_named():
    with pytest.raises(ValueError, match="names no model"):
        _protocols.chosen_of({"fusion": 1}, ["trees"])
    assert _protocols.chosen_of({"fusion": 1, "trees": 2}, ["tr"]) == {"trees": 2}
