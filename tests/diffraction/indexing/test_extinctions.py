"""Extinction groups: their lines against structure factors, and their log-probabilities."""

import gemmi
import numpy as np
import pytest
import torch

from xtalsk import IndexingScores
from xtalsk.diffraction.indexing._constants import REACH
from xtalsk.diffraction.indexing._extinctions import extinctions
from xtalsk.diffraction.indexing._functional import lattice_figures
from xtalsk.diffraction.indexing._lattices import lattice_lines, lattice_variants
from xtalsk.diffraction.indexing._tables import Options
from xtalsk.symmetry import bravais_lattice, crystal_family, extinction_group

Q_RANGE = (0.05, 1.15)
STEP = (Q_RANGE[1] - Q_RANGE[0]) / 1024
AXIS = (Q_RANGE[0] + STEP / 2, STEP)
Q = AXIS[0] + STEP * np.arange(1024)
B, C, D, E, F = np.sqrt([0.3, 2.1, 0.07, 0.013, 0.02])
METRICS = {  # a*², b*², c*², 2 b* c* cos α*, 2 a* c* cos β*, 2 a* b* cos γ*; places of the parameters of rows
    "cubic": ([1, 1, 1, 0, 0, 0], [0]),
    "tetragonal": ([1, 1, C, 0, 0, 0], [0, 2]),
    "hexagonal": ([1, 1, C, 0, 0, 1], [0, 2]),
    "orthorhombic": ([1, B, C, 0, 0, 0], [0, 1, 2]),
    "monoclinic": ([1, B, C, 0, E, 0], [0, 1, 2, 4]),
    "triclinic": ([1, B, C, D, E, F], [0, 1, 2, 3, 4, 5]),
}
HKL = np.stack(np.meshgrid(*[np.arange(-6, 7)] * 3, indexing="ij"), -1).reshape(-1, 3)
HKL = HKL[HKL.any(axis=1)]


def intensities(number, rng):
    """Squares of the structure factors of three atoms on general positions."""
    operations = gemmi.find_spacegroup_by_number(number).operations()
    sites = [[op.apply_to_xyz(xyz) for op in operations] for xyz in rng.random((3, 3)).tolist()]
    return np.square(np.abs(np.exp(2j * np.pi * (HKL @ np.array(sites).reshape(-1, 3).T)).sum(axis=1)))


@pytest.mark.parametrize("family", METRICS)
def test_lines_are_those_of_structure_factors(family):
    rng = np.random.default_rng(0)
    rows, _ = lattice_lines(family, REACH[family])
    groups, present, owner, variant = extinctions(family)
    metric, places = METRICS[family]
    lines = np.array(rows) @ np.array(metric)[places]
    h, k, m = HKL.T
    q2 = np.transpose([h * h, k * k, m * m, k * m, h * m, h * k]) @ metric
    nearest = np.abs(q2[:, np.newaxis] - lines).argmin(axis=1)
    is_line = np.abs(q2 - lines[nearest]) < 1e-9
    is_tested = np.zeros(len(rows), dtype=bool)
    is_tested[nearest[is_line & (np.abs(HKL).max(axis=1) < 4)]] = True  # all reflections are in HKL
    for number in np.flatnonzero(crystal_family(np.arange(1, 231)) == family) + 1:
        intensity = np.bincount(nearest[is_line], intensities(int(number), rng)[is_line], len(rows))
        settings = present[owner == groups.index(extinction_group(number))]
        assert ((settings == (intensity > 1e-6))[:, is_tested]).all(axis=1).any(), number
    centring = {lattice_variants(family)[v].upper() for v in variant}
    assert centring == {b[1].replace("S", "C") for b in bravais_lattice(groups)}


def profile(axes, is_absent, end=0.75):
    """Profile of all lines of a cell of right angles, but for those that are absent."""
    h, k, m = HKL[(HKL >= 0).all(axis=1)].T
    keep = ~is_absent(h, k, m)
    lines = np.unique(np.sqrt((h / axes[0]) ** 2 + (k / axes[1]) ** 2 + (m / axes[2]) ** 2)[keep].round(5))
    return np.exp(-0.5 * ((Q[:, np.newaxis] - lines[lines < end]) / 0.0012) ** 2).sum(axis=1)


def pnma(h, k, m):
    return (h == 0) & ((k + m) % 2 == 1) | (m == 0) & (h % 2 == 1)


def absent_in_garnet(h, k, m):
    operations = gemmi.SpaceGroup("Ia-3d").operations()
    return operations.systematic_absences(np.stack([h, k, m], axis=1).astype(np.int32))


PROFILES = [
    profile((7.97, 4.96, 5.74), pnma),  # Pnma
    profile((4.96, 7.97, 5.74), lambda h, k, m: pnma(k, m, h)),
    profile((5.64, 5.64, 5.64), lambda h, k, m: ~((h % 2 == k % 2) & (k % 2 == m % 2))),
    profile((9.0, 9.0, 9.0), absent_in_garnet),
]


@pytest.fixture(scope="module")
def profiles():
    return np.array(PROFILES, dtype=np.float32)


def extinctions_of(X, **params):
    scores = IndexingScores(Q_RANGE, absences=True, **params).set_output(transform="pandas").fit(X)
    return scores.transform(X).filter(regex="^extinction")


def test_the_group_of_the_lines_is_the_likeliest(profiles):
    found = extinctions_of(profiles)
    assert found.idxmax(axis=1).tolist() == [f"extinction_{number}" for number in (33, 33, 196, 230)]
    assert found.shape[1] == len(np.unique(extinction_group(np.arange(1, 231))))
    np.testing.assert_allclose(np.exp(found).sum(axis=1), 1, atol=1e-4)


def test_other_columns_do_not_change(profiles):
    scores = IndexingScores(Q_RANGE, absences=True).set_output(transform="pandas").fit(profiles)
    expected = IndexingScores(Q_RANGE).set_output(transform="pandas").fit_transform(profiles)
    found = scores.transform(profiles)
    assert (found[expected.columns] == expected).all(axis=None)
    assert [name for name in found if not name.startswith("extinction")] == list(expected)
    streamed = scores._batched(None)(torch.from_numpy(profiles))
    np.testing.assert_array_equal(streamed.numpy(), found)


def test_without_cell_no_group_is_preferred():
    X = np.array([np.zeros(1024), np.full(1024, np.nan)], dtype=np.float32)
    found = extinctions_of(X).to_numpy()
    np.testing.assert_allclose(found[0], -np.log(97), rtol=1e-6)
    assert np.isnan(found[1]).all()


@pytest.mark.parametrize("options", [{}, {"lenient": True, "zero_shift": 0.003}, {"triclinic": False}])
def test_compiled_loops_agree_with_tensors(profiles, options):
    rng = np.random.default_rng(0)
    noisy = torch.from_numpy(profiles + 0.02 * rng.standard_normal(profiles.shape).astype(np.float32))
    options = Options(absences=True, **{"triclinic": True, **options})
    compiled, batched = (lattice_figures(noisy, *AXIS, compiled=c, options=options) for c in (True, False))
    np.testing.assert_allclose(compiled, batched, rtol=1e-5, atol=1e-5)


def test_transformers_of_older_versions(profiles):
    scores = IndexingScores(Q_RANGE).fit(profiles)
    del scores.absences
    assert not any("extinction" in name for name in scores.get_feature_names_out())
    assert np.isfinite(scores.transform(profiles)).all()
