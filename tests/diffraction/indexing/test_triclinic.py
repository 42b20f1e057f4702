"""Triclinic cells: found from lines, reduced, the same by compiled loops and by batched tensors."""

import numpy as np
import pandas as pd
import pytest
import spglib
import torch
from pymatgen.core import Lattice

from xtalsk import IndexingScores, PowderProfile
from xtalsk.diffraction.indexing import _twin
from xtalsk.diffraction.indexing._cell_table import unit_cell
from xtalsk.diffraction.indexing._cells import cell_volume, reduce_cells
from xtalsk.diffraction.indexing._functional import lattice_figures
from xtalsk.diffraction.indexing._search import make_lines
from xtalsk.diffraction.indexing._tables import families
from xtalsk.diffraction.indexing._zones import zone_candidates
from xtalsk.io import Profile

Q_RANGE = (0.05, 1.15)
STEP = (Q_RANGE[1] - Q_RANGE[0]) / 1024
AXIS = (Q_RANGE[0] + STEP / 2, STEP)
INDICES = np.stack(np.meshgrid(*[np.arange(-9, 10)] * 3), -1).reshape(-1, 3)
INDICES = INDICES[INDICES.any(axis=1)]
# Cells such as those of axinite, wollastonite and kyanite, and one of obtuse angles: a, b, c in Å, α, β, γ.
CELLS = [
    (7.15, 9.16, 8.96, 88.0, 81.6, 77.7),
    (7.94, 7.32, 7.07, 91.2, 95.4, 103.4),
    (7.13, 7.85, 5.57, 90.9, 101.1, 106.0),
    (5.1, 6.3, 7.9, 96.0, 101.0, 110.0),
]


def lines_of(cell):
    """Positions in 1/Å of the distinct lines of a cell."""
    q = np.sort(np.linalg.norm(INDICES @ Lattice.from_parameters(*cell).inv_matrix.T, axis=1))
    return q[np.diff(q, prepend=0) > 1e-4]


def parameters_of(matrix):
    """Parameters of the triclinic family from a cell (3, 3)."""
    g = np.linalg.inv(matrix @ matrix.T)
    return np.array([g[0, 0], g[1, 1], g[2, 2], 2 * g[1, 2], 2 * g[0, 2], 2 * g[0, 1]])


def random_matrices(n, seed=0):
    """Random bases of triclinic lattices, (n, 3, 3)."""
    rng = np.random.default_rng(seed)
    cells = [
        Lattice.from_parameters(*rng.uniform(4, 11, 3), *rng.uniform(75, 105, 3)).matrix for _ in range(n)
    ]
    return np.array(cells)


def ideal_lines(cells):
    q = torch.tensor(np.array([lines_of(cell)[:20] for cell in cells]), dtype=torch.float32)
    return make_lines(q, torch.ones_like(q), torch.zeros(len(q), 1), STEP)


def profile_of(cell):
    """Scan of the lowest lines of a cell."""
    q = np.arange(0.04, 1.15, 0.0004)
    return Profile(np.exp(-(((q[:, np.newaxis] - lines_of(cell)[:30]) / 0.0012) ** 2)).sum(axis=1), q=q)


def test_volumes_from_exact_lines():
    matrices = random_matrices(60)
    cells = [Lattice(matrix).parameters for matrix in matrices]
    fits = _twin.index_patterns(ideal_lines(cells), STEP, STEP, 1)[-1]
    ratio = np.exp(fits.figures[:, 0, -1]) / abs(np.linalg.det(matrices))
    assert (abs(ratio - 1) < 0.01).mean() >= 0.9


@pytest.mark.parametrize("cell", CELLS)
def test_cells_of_minerals_are_found(cell):
    profile = PowderProfile().fit_transform([profile_of(cell)])
    found = IndexingScores(Q_RANGE).fit(profile).cells(profile, n=3).iloc[0]
    reduced = Lattice.from_parameters(*cell).get_niggli_reduced_lattice()
    assert found["lattice"] == "triclinic_p"
    np.testing.assert_allclose(found[["a", "b", "c"]].astype(float), reduced.abc, rtol=0.004)
    np.testing.assert_allclose(found[["alpha", "beta", "gamma"]].astype(float), reduced.angles, atol=0.4)
    assert found["volume"] == pytest.approx(reduced.volume, rel=0.005)
    assert found["n_explained"] >= 15


def test_m20_by_its_formula():
    profile = PowderProfile().fit_transform([profile_of(CELLS[3])])
    found = IndexingScores(Q_RANGE).fit(profile).cells(profile, n=1).iloc[0]
    cell = found[["a", "b", "c", "alpha", "beta", "gamma"]].astype(float)
    q, _, _ = (x.numpy() for x in _twin.find_lines(torch.from_numpy(profile), *AXIS, 20))
    moved, calculated = q[0] - found["zero_shift"], lines_of(tuple(cell))
    deviation = abs(moved[:, np.newaxis] - calculated).min(axis=1)
    in_range = calculated[(calculated > AXIS[0]) & (calculated <= q[0, -1] + 0.6 * STEP)]
    n_calculated = 1 + (np.diff(in_range) > 0.3 * STEP).sum()  # lines that are closer count once
    error = (2 * q[0] * np.clip(deviation, 0.05 * STEP, STEP)).mean()
    assert found["m20"] == pytest.approx(q[0, -1] ** 2 / (2 * error * n_calculated), rel=0.05)


def test_niggli_cells_are_those_of_spglib_whatever_the_axes():
    rng = np.random.default_rng(1)
    for matrix in random_matrices(20, seed=2):
        expected = Lattice(spglib.niggli_reduce(matrix)).parameters
        for _ in range(3):
            change = np.linalg.multi_dot(
                [np.eye(3) + np.eye(3, k=k) * rng.integers(-2, 3) for k in (1, -1, 2)]
            )
            cell = unit_cell("triclinic", 0, parameters_of(change @ matrix))
            np.testing.assert_allclose(cell, expected, rtol=1e-4)


def test_reduction_keeps_the_lattice():
    family = families()[-1]
    matrices = random_matrices(30)
    skewed = np.array([[1, 1, 0], [0, 1, 0], [1, 0, 1]]) @ matrices
    cells = torch.tensor(np.array([parameters_of(m) for m in skewed]))
    reduced = reduce_cells(cells, family)
    np.testing.assert_allclose(cell_volume(reduced, family), abs(np.linalg.det(matrices)), rtol=1e-6)
    assert (reduced[:, 3:].abs() <= 1.0001 * reduced[:, [1, 0, 0]]).double().mean() > 0.95
    assert (reduced[:, :3].diff(dim=1) >= 0).all()
    for before, after in zip(cells.double(), reduced.double(), strict=True):
        q = [np.sort((family.rows.double() @ x).numpy())[:8] for x in (before, after)]
        np.testing.assert_allclose(*q, rtol=1e-6)


def test_trial_cells_hold_the_lattice():
    lines = ideal_lines(CELLS)
    low = torch.where(lines.valid, lines.q, torch.nan)[:, :9].square()
    volumes = cell_volume(zone_candidates(low, lines, STEP), families()[-1])
    true = torch.tensor([Lattice.from_parameters(*cell).volume for cell in CELLS])
    assert ((volumes / true[:, None] - 1).abs() < 0.005).any(1).all()


@pytest.mark.parametrize("keep", [20, 9, 3, 1, 0])
def test_compiled_loops_and_tensors_agree(keep):
    q = AXIS[0] + STEP * np.arange(1024)
    near = [q[:, np.newaxis] - lines_of(Lattice(m).parameters)[:keep] for m in random_matrices(12, seed=3)]
    rng = np.random.default_rng(0)
    profiles = [np.exp(-((x / 0.0015) ** 2)) @ rng.uniform(0.2, 1, x.shape[1]) for x in near]
    profiles = torch.tensor(np.array(profiles), dtype=torch.float32)
    compiled, batched = (lattice_figures(profiles, *AXIS, compiled=c) for c in (True, False))
    np.testing.assert_allclose(compiled, batched, rtol=1e-5, atol=1e-5)


def test_a_cubic_pattern_stays_cubic():
    profile = PowderProfile().fit_transform([profile_of((4.12, 4.12, 4.12, 90, 90, 90))])
    figures = IndexingScores(Q_RANGE).fit(profile).set_output(transform="pandas").transform(profile).iloc[0]
    assert figures["cubic_margin"] > 0 > figures["triclinic_margin"]


def test_columns_without_triclinic_are_the_same():
    profiles = PowderProfile().fit_transform([profile_of(cell) for cell in CELLS])
    with_it, without = (
        IndexingScores(Q_RANGE, triclinic=t).fit(profiles).set_output(transform="pandas").transform(profiles)
        for t in (True, False)
    )
    assert without.shape[1] == 118
    more = ["triclinic_margin"] + [n for n in with_it if n.startswith("triclinic_p_")]
    assert set(with_it) - set(without) == set(more)
    same = [name for name in without if not name.endswith("_margin")]
    pd.testing.assert_frame_equal(with_it[same], without[same])
