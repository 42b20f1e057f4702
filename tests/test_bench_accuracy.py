"""Pieces of the accuracy benchmark on tiny data."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pymatgen.core import Lattice, Structure
from sklearn.base import BaseEstimator

from xtalsk import (
    PowderConditions,
    Profile,
    compute_reflections,
    load_amcsd,
    make_baseline,
    simulate_powder,
)
from xtalsk.crystals import BrokenEntryWarning

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import _computed
import _measured
import _misses
import _protocol_models
import _protocols
import bench_accuracy
import bench_pairs
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
    features = _protocol_models.protocol_blocks("rings", "microscope")
    conditions = {"rings": _protocols.harsh_conditions("rings", size=64), "formula": "microscope"}
    job = _protocols.Job(tmp_path / "job")
    return job, crystals, features, conditions


def test_a_job_goes_on_where_it_ended(job, capsys):
    job, crystals, features, conditions = job
    X, y, groups = job.specimens(crystals, features, conditions, n_replicas=2)
    assert X.index.tolist() == [*range(16), *range(16)]
    assert y.tolist() == crystals.space_groups[X.index].tolist()
    assert not np.allclose(X[:16], X[16:], equal_nan=True)  # replicas have their own noise
    trees = make_baseline("extra_trees", n_estimators=5, random_state=0)
    model = _protocol_models.OfBlocks(trees, ["diffraction"])
    splits = _protocols.make_splits(y, groups, X.index, n_folds=2)
    first = job.run({"trees": model}, X, y, groups, splits)
    assert capsys.readouterr().out.count("trees") == 2
    again = job.run({"trees": None}, X, y, groups, splits)  # nothing is left to run
    pd.testing.assert_frame_equal(first, again)
    assert set(first["model"]) == {"trees", "prior"}
    assert "space_group_accuracy" in first
    assert "space group" in _protocols.summarise(first)
    with pytest.raises(ValueError, match="other crystals"):
        job.specimens(crystals[:4], features, conditions, n_replicas=2)


@pytest.fixture(scope="module")
def fold_of(tmp_path_factory):
    """One fold of protocol C, with some small crystals of AMCSD as computed ones, and what it answers."""
    crystals = load_amcsd()
    small = np.flatnonzero((crystals.volumes < 120) & np.isin(crystals.space_groups, (62, 225, 227)))[:90]
    minerals, computed = crystals[small[::2]], crystals[small[1::2]]
    arguments = "--modality powder --folds-run 1 --epochs 1 --n-replicas 2 --n-trees 5 --n-folds 3"
    options = bench_accuracy.parse(["c", "no folder", *arguments.split()])
    return options, computed, minerals, tmp_path_factory.mktemp("computed")


def test_protocol_c_tests_computed_crystals_of_other_compounds(fold_of, monkeypatch):
    options, computed, minerals, folder = fold_of
    folds = []
    monkeypatch.setattr(_computed.Fold, "answers", lambda fold: folds.append(fold) or {})
    _computed.cross_validate(
        options, folder, type(computed).concatenate([minerals, computed]), computed.ids.astype(str)
    )
    (fold,) = folds
    tested = fold.crystals[fold.seen.index]
    assert set(tested.ids) <= set(computed.ids)
    assert len(set(tested.ids)) == len(tested) > 0
    assert not set(tested.formulas) & set(fold.sources.formulas)
    assert set(fold.sources.ids) & set(minerals.ids)
    X, y = fold.with_substituted
    assert len(X) == len(y) == 2 * len(fold.own[1])  # as many specimens of other crystals
    assert fold.truth.tolist() == tested.space_groups.tolist()


def test_protocol_c_answers_and_goes_on_where_it_ended(fold_of, capsys):
    options, computed, minerals, folder = fold_of
    table = _computed.run(options, computed, minerals, folder)
    assert {"fusion", "network (chemistry only)", "extra trees on all blocks"} < set(table["model"])
    printed = capsys.readouterr().out
    assert printed.count("fold 0") == len(table)
    assert "fusion and network: only the first is right for" in printed
    again = _computed.run(options, computed, minerals, folder)
    pd.testing.assert_frame_equal(table, again)
    assert "fold 0" not in capsys.readouterr().out


def test_support_is_taken_off_the_composition():
    features = _protocol_models.protocol_blocks("rings", "microscope")
    X = pd.DataFrame({"rings": [None], "formula": ["Mg20O20Cu40C20"]}, dtype=object)
    table = features.fit_transform(X)
    assert table["fractions__cu"][0] == pytest.approx(0.4)
    assert table["cleaned__mg"][0] == pytest.approx(0.5)
    assert np.isnan(table["cleaned__cu"][0])
    assert "cleaned__mg" not in _protocol_models.protocol_blocks("rings", "typical").fit_transform(X)


def test_library_holds_the_training_crystals_once():
    seen = []

    class Spy(BaseEstimator):
        def fit(self, X, y):
            seen.append((X, y))
            self.classes_ = np.unique(y)
            return self

    entries = pd.DataFrame({"diffraction__q_0000": np.arange(4.0), "fractions__o": 0.5})
    X = pd.DataFrame({"diffraction__q_0000": np.zeros(4)}, index=[3, 1, 3, 1])
    _protocol_models.InLibrary(Spy(), entries).fit(X, [62, 225, 62, 225])
    library, labels = seen[0]
    assert library["diffraction__q_0000"].tolist() == [1.0, 3.0]
    assert labels.tolist() == [225, 62]


class Fixed(BaseEstimator):
    """Classifier of labels 1 and 2, whose probability of label 2 is the first column."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X):
        second = np.asarray(X)[:, 0]
        return np.stack([1 - second, second], axis=1)


def test_pool_is_a_geometric_mean_and_missing_blocks_count_as_the_prior():
    X = pd.DataFrame({"a__x": [0.9, 0.9, 0.5, 0.5], "b__x": [0.2, np.nan, 0.5, 0.5]})
    parts = {name: _protocol_models.OfBlocks(Fixed(), [name]) for name in "ab"}
    pool = _protocol_models.Pool(parts, {"a": 0.5, "b": 0.5}, floor=1e-9).fit(X, [1, 1, 2, 2])
    proba = pool.predict_proba(X)
    assert proba[0, 1] == pytest.approx((0.9 * 0.2) ** 0.5 / ((0.9 * 0.2) ** 0.5 + (0.1 * 0.8) ** 0.5))
    assert proba[1, 1] == pytest.approx(0.9**0.5 / (0.9**0.5 + 0.1**0.5))  # equal prior
    assert pool.predict(X[:2]).tolist() == [2, 2]


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
        "checked minerals": 69,
        "checked minerals with formula": 69,
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
            "set": "some", "name": ["a", "b"], "row": [0, 1], "label": [225, 62], "predicted": [221, 225],
            "probability": 0.5,
        }
    )  # fmt: skip
    misses = _misses.explain_misses(said, sets, library)
    assert misses["kind"].tolist() == ["model", "shift"]
    assert misses["fit_true"].min() > 0.85
    assert misses["stretch"].tolist() == pytest.approx([0.0, 0.0125], abs=0.0026)
    assert misses["true_row"][1] == rows[1]
    assert misses["agreement"].tolist() == ["point_group", "none"]
    _misses.draw_misses(misses, sets, library, tmp_path / "misses.png")
    assert (tmp_path / "misses.png").stat().st_size > 10_000


class Certain(BaseEstimator):
    """A model of four space groups that answers as given, without answer where this is 0."""

    def __init__(self, answers):
        self.answers = answers
        self.classes_ = np.array([14, 15, 62, 225])

    def predict_proba(self, X):
        answers = np.array(self.answers)[:, None]
        return np.where(answers == 0, np.nan, 0.9 * (answers == self.classes_) + 0.025)


def test_models_are_tested_against_the_first_one():
    y = np.repeat([14, 15], 10)
    sets = {"some": (pd.DataFrame(index=range(20)), y, ["a"] * 20)}
    answers = {"good": y, "monoclinic": np.where(y == 14, 15, y), "silent": 0 * y}
    predictions = pd.concat([_measured.judge(name, Certain(a), sets)[1] for name, a in answers.items()])
    tests = _measured.compare_hits(predictions).set_index(["model", "score"])
    assert tests.loc[("monoclinic", "crystal system"), "verdict"] == "chance"
    row = tests.loc[("monoclinic", "space group")]
    assert (row["only_it"], row["only_first"], row["points"], row["verdict"]) == (0, 10, -50, "worse")
    assert row["pvalue"] == pytest.approx(2 * 0.5**10)
    assert tests.loc["silent", "only_first"].tolist() == [20, 20, 20]
    reversed_order = _measured.compare_hits(predictions[::-1].reset_index(drop=True))
    assert reversed_order["verdict"].tolist() == ["better"] * 6


def test_crystals_of_pairs_are_balanced(library):
    chosen = bench_pairs.balanced(library.crystals, 3)
    counts = pd.Series(chosen.space_groups).value_counts()
    assert counts.max() == 3
    assert set(counts.index) <= set(np.unique(bench_pairs.PAIRS))
    named = pd.Series(list(zip(chosen.space_groups, chosen.formulas, strict=True)))
    assert not named.duplicated().any()


def test_separation_does_not_depend_on_the_prior():
    rng = np.random.default_rng(0)
    y, classes = np.repeat([14, 15, 225], 100), np.array([14, 15, 225])
    odds = np.exp(rng.normal((y == 15) * 1.0))
    for prior in (1, 0.01):
        proba = np.stack([np.ones(300), prior * odds, np.zeros(300)], axis=1)
        areas = bench_pairs.separations(y, proba / proba.sum(axis=1, keepdims=True), classes)
        # two normal distributions of unit width, one apart: 0.76
        assert areas[0] == pytest.approx(0.76, abs=0.05)
        assert np.isnan(areas[1])


def test_quick_options_are_small():
    options = bench_accuracy.parse(["a", "--quick"])
    assert (options.n, options.n_folds, options.epochs, options.size) == (400, 2, 3, 128)
    assert bench_accuracy.parse(["a"]).n is None
    for arguments, chemistry in (
        (["a"], "microscope"),
        (["a", "--modality", "powder"], "typical"),
        (["c", "folder"], "typical"),
    ):
        assert bench_accuracy.parse(arguments).chemistry == chemistry
    with pytest.raises(SystemExit):
        bench_accuracy.parse(["d"])


def test_unknown_models_are_named():
    with pytest.raises(ValueError, match="names no model"):
        _protocol_models.chosen_of({"fusion": 1}, ["trees"])
    assert _protocol_models.chosen_of({"fusion": 1, "trees": 2}, ["tr"]) == {"trees": 2}
