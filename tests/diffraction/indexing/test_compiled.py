"""The compiled loops compute what the batched tensors compute."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from joblib import parallel_config

from xtalsk import IndexingScores, PowderProfile, RadialProfile, load_amcsd, make_specimens
from xtalsk.diffraction._peak_search import find_lines
from xtalsk.diffraction.indexing import _twin
from xtalsk.diffraction.indexing._functional import figure_names, lattice_figures
from xtalsk.diffraction.indexing._logarithm_kernels import logarithm
from xtalsk.diffraction.indexing._rank_kernels import nth_key
from xtalsk.io import Profile
from xtalsk.symmetry import bravais_lattice
from xtalsk.utils import _compiled

Q_RANGE = (0.05, 1.15)
DATA = Path(__file__).parents[2] / "data"
STEP = (Q_RANGE[1] - Q_RANGE[0]) / 1024
AXIS = (Q_RANGE[0] + STEP / 2, STEP)


def simulated(modality, conditions, n):
    crystals = load_amcsd()[np.random.RandomState(1).permutation(9000)[:n]]
    X, _, _ = make_specimens(crystals, modality, conditions=conditions, random_state=0)
    transformer = {"powder": PowderProfile, "rings": RadialProfile}[modality]()
    return transformer.fit_transform(X[modality]), transformer.fit([None]).q_range


@pytest.fixture(scope="module")
def harsh():
    return simulated("powder", "harsh", 60)[0]


def both(profiles, axis=AXIS, **params):
    profiles = torch.from_numpy(np.ascontiguousarray(profiles, dtype=np.float32))
    return [lattice_figures(profiles, *axis, compiled=c, **params).numpy() for c in (True, False)]


def assert_agree(profiles, *args, **params):
    compiled, batched = both(profiles, *args, **params)
    np.testing.assert_allclose(compiled, batched, rtol=1e-5, atol=1e-5)


def test_harsh_patterns(harsh):
    assert_agree(harsh)
    assert_agree(harsh[:10], tolerance=0.7 * STEP)


@pytest.mark.parametrize(("modality", "conditions"), [("powder", "ideal"), ("rings", "typical")])
def test_other_patterns(modality, conditions):
    profiles, (low, high) = simulated(modality, conditions, 40)
    step = (high - low) / profiles.shape[1]
    profiles = profiles[~np.isnan(profiles).all(axis=1)]
    assert_agree(profiles, (low + step / 2, step))


def test_measured_patterns():
    data = np.load(DATA / "xrd" / "minerals.npz")
    start, step, n = data["two_theta"]
    two_theta = start + step * np.arange(int(n))
    scans = [Profile(x.astype(float), two_theta=two_theta, wavelength=1.5406) for x in data["intensity"]]
    assert_agree(PowderProfile().fit_transform(scans[:40]))


def test_gaps_and_ends(harsh):
    profiles = harsh[:12].copy()
    profiles[:4, :100] = np.nan
    profiles[2:6, 700:] = np.nan
    profiles[6:9, 200:230] = np.nan
    profiles[9, ::3] = np.nan
    profiles[10], profiles[11] = np.nan, 0
    compiled, batched = both(profiles)
    assert np.isnan(compiled[10]).all()
    np.testing.assert_allclose(compiled, batched, rtol=1e-5, atol=1e-5)


def test_few_lines():
    q = AXIS[0] + np.arange(1024) * STEP
    lines = [[], [0.31], [0.31, 0.42], [0.31, 0.42, 0.53, 0.6]]
    profiles = [sum((np.exp(-(((q - x) / 0.002) ** 2)) for x in some), np.zeros(1024)) for some in lines]
    assert_agree(profiles)


def test_lines_of_profiles(harsh):
    profiles = harsh[:20].copy()
    profiles[3, 300:320] = np.nan
    expected = find_lines(torch.from_numpy(profiles).double(), *AXIS, 20)
    found = _twin.find_lines(torch.from_numpy(profiles), *AXIS, 20)
    for compiled, batched in zip(found, expected, strict=True):
        np.testing.assert_allclose(compiled, batched, rtol=1e-9, atol=1e-9)
    assert torch.isinf(_twin.find_lines(torch.ones(1, 5), *AXIS, 4)[0]).all()


def test_chunks_threads_and_jobs_do_not_change_the_result(harsh):
    profiles = torch.from_numpy(np.tile(harsh, (3, 1)))
    whole = lattice_figures(profiles, *AXIS, n_threads=1).numpy()
    np.testing.assert_array_equal(lattice_figures(profiles, *AXIS, n_threads=3).numpy(), whole)
    alone = np.concatenate([lattice_figures(row[None], *AXIS).numpy() for row in profiles[:60]])
    np.testing.assert_array_equal(alone, whole[:60])
    for backend in ("threading", "loky"):
        with parallel_config(backend):
            scores = IndexingScores(Q_RANGE, n_jobs=2).fit_transform(profiles.numpy())
        np.testing.assert_array_equal(scores, whole)


def test_columns_in_fortran_order(harsh):
    scores = IndexingScores(Q_RANGE).fit(harsh)
    np.testing.assert_array_equal(scores.transform(np.asfortranarray(harsh)), scores.transform(harsh))


def test_logarithm():
    x = np.exp(np.random.default_rng(0).uniform(-12, 5, 500)).astype(np.float32)
    assert max(abs(logarithm(value) - np.log(float(value))) for value in x) < 1e-6


def test_highest_scores_with_equal_ones():
    scores = np.random.default_rng(0).integers(-20, 20, 700).astype(np.float32) / 7
    ordered = np.sort(scores)[::-1]
    for rank in (0, 5, 319, 699):
        assert nth_key(scores, 700, rank)[1] == (scores > ordered[rank]).sum()


def test_a_folder_that_cannot_be_written_to(monkeypatch):
    def njit(cache=False, **params):
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return lambda function: function

    monkeypatch.setattr(_compiled, "njit", njit)
    assert _compiled.compiled(len) is len


def test_cells_of_minerals():
    crystals = load_amcsd()
    lattice, size = bravais_lattice(crystals.space_groups), abs(np.linalg.det(crystals.lattices))
    types = {"cF": "cubic_f", "tI": "tetragonal_i", "hP": "hexagonal_p", "oP": "orthorhombic_p"}
    rows = [np.flatnonzero((lattice == name) & (size < 600))[:80:10] for name in types]
    rows = np.concatenate(rows)
    X, y, _ = make_specimens(crystals[rows], "powder", conditions="ideal", random_state=0, on_error="raise")
    profiles = PowderProfile().fit_transform(X["powder"])
    cells = IndexingScores(Q_RANGE).fit(profiles).cells(profiles, n=3)
    assert cells.groupby("row").size().max() == 3
    assert (cells.groupby("row")["rank"].first() == 1).all()
    names = np.array([types[name] for name in bravais_lattice(y)])[cells["row"]]
    is_right = (cells["lattice"] == names) & (abs(cells["volume"] / size[rows][cells["row"]] - 1) < 0.01)
    assert is_right.groupby(cells["row"]).any().mean() > 0.8


@pytest.mark.parametrize(
    ("cell", "lattice"),
    [
        ((5.64, 5.64, 5.64, 90, 90, 90), "cubic_f"),
        ((4.91, 4.91, 5.41, 90, 90, 120), "hexagonal_p"),
        ((3.87, 10.2, 6.1, 90, 90, 90), "orthorhombic_c"),
        ((5.3, 6.1, 7.9, 90, 103, 90), "monoclinic_p"),
        ((9.75, 8.9, 5.25, 90, 106, 90), "monoclinic_c"),
    ],
)
def test_conventional_cells(cell, lattice):
    a, b, c, _, beta, gamma = cell
    beta, gamma = np.radians([beta, gamma])
    basis = np.array(
        [[a, 0, 0], [b * np.cos(gamma), b * np.sin(gamma), 0], [c * np.cos(beta), 0, c * np.sin(beta)]]
    )
    h = np.stack(np.meshgrid(*[np.arange(-12, 13)] * 3), -1).reshape(-1, 3)
    h = h[h.any(axis=1)]
    if lattice[-1] == "c":
        h = h[(h[:, 0] + h[:, 1]) % 2 == 0]
    elif lattice[-1] == "f":
        h = h[(h % 2 == h[:, :1] % 2).all(axis=1)]
    lines = np.unique(np.linalg.norm(h @ np.linalg.inv(basis).T, axis=1).round(5))
    q = np.arange(0.05, 1.15, 0.0004)
    intensity = np.exp(-(((q[:, None] - lines[lines < 0.6]) / 0.0012) ** 2)).sum(axis=1)
    profile = PowderProfile().fit_transform([Profile(intensity, q=q)])
    cells = IndexingScores(Q_RANGE).fit(profile).cells(profile, n=5).set_index("lattice")
    found = cells.loc[[lattice]].iloc[0]
    np.testing.assert_allclose(found[["a", "b", "c"]].astype(float), cell[:3], rtol=0.003)
    np.testing.assert_allclose(found[["alpha", "beta", "gamma"]].astype(float), cell[3:], atol=0.4)
    assert found["volume"] == pytest.approx(np.linalg.det(basis), rel=0.01)  # lines one bin apart are merged
    assert found["n_explained"] >= 15 or found["n_explained"] >= 0.9 * (lines < 0.6).sum()


def test_cells_of_rows_without_lines(harsh):
    profiles = np.concatenate([harsh[:2], np.full((1, 1024), np.nan), np.zeros((1, 1024))]).astype(np.float32)
    scores = IndexingScores(Q_RANGE).fit(profiles)
    cells = pickle.loads(pickle.dumps(scores)).cells(profiles, n=2)
    assert set(cells["row"]) <= {0, 1}
    assert scores.cells(profiles[2:]).empty
    with pytest.raises(ValueError, match="n == 0"):
        scores.cells(profiles, n=0)


def test_figures_and_cells_agree(harsh):
    scores = IndexingScores(Q_RANGE).fit(harsh)
    figures = scores.transform(harsh)
    cells = scores.cells(harsh, n=1)
    names = figure_names()
    for cell in cells.itertuples():
        m20, volume = (
            figures[cell.row, names.index(f"{cell.lattice}_{x}")] for x in ("log_m20", "log_volume")
        )
        assert m20 == pytest.approx(np.log(cell.m20), abs=1e-4)
        assert volume == pytest.approx(np.log(cell.volume), abs=1e-4)
