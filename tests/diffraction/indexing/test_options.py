"""Options of indexing: depth, shifts of the zero, weaker lines, and transformers of older versions."""

import pickle

import numpy as np
import pytest
import torch

from xtalsk import IndexingScores
from xtalsk.diffraction.indexing import _trial_cells
from xtalsk.diffraction.indexing._constants import LOWEST
from xtalsk.diffraction.indexing._functional import lattice_figures, trial_shifts
from xtalsk.diffraction.indexing._tables import Options, families

Q_RANGE = (0.05, 1.15)
STEP = (Q_RANGE[1] - Q_RANGE[0]) / 1024
AXIS = (Q_RANGE[0] + STEP / 2, STEP)
Q = AXIS[0] + STEP * np.arange(1024)


def orthorhombic(shift=0.0, heights=None, end=0.8):
    """Profile of a cell of 4.96, 5.74 and 7.97 Å up to ``end``; q is observed too high by ``shift``."""
    h = np.stack(np.meshgrid(*[np.arange(9)] * 3), -1).reshape(-1, 3)
    lines = np.unique(np.linalg.norm(h[h.any(axis=1)] / [4.96, 5.74, 7.97], axis=1).round(5))
    lines = lines[lines < end]
    heights = np.ones(len(lines)) if heights is None else heights(len(lines))
    near = np.exp(-0.5 * ((Q[:, np.newaxis] - lines - shift) / 0.0012) ** 2)
    return (near @ heights).astype(np.float32)[np.newaxis]


@pytest.mark.parametrize("shift", [0.0035, -0.0035])
def test_a_large_error_of_the_zero_is_found(shift):
    profile = orthorhombic(shift)
    without, free = (
        IndexingScores(Q_RANGE, zero_shift=z).fit(profile).cells(profile, n=1).iloc[0] for z in (None, 0.004)
    )
    assert free["volume"] == pytest.approx(4.96 * 5.74 * 7.97, rel=0.005)
    assert free["zero_shift"] == pytest.approx(shift, abs=4e-4)
    assert free["m20"] > 2 * without["m20"]


def test_trial_shifts_cover_the_range():
    assert trial_shifts(None, STEP) == trial_shifts(0.9 * STEP, STEP) == [0.0]
    shifts = np.sort(trial_shifts(5 * STEP, STEP))
    assert shifts[-1] == -shifts[0] == pytest.approx(4 * STEP)
    assert np.diff(shifts).max() <= 1.5 * STEP


def test_a_small_range_of_shifts_changes_nothing():
    profile = orthorhombic()
    expected, found = (
        IndexingScores(Q_RANGE, zero_shift=z).fit_transform(profile) for z in (None, 0.5 * STEP)
    )
    np.testing.assert_array_equal(found, expected)


def test_weaker_lines_are_seen_by_the_lenient_set():
    profile = orthorhombic(heights=lambda n: np.where(np.arange(n) % 3 == 2, 0.008, 1), end=0.45)
    scores = IndexingScores(Q_RANGE, lenient=True).fit(profile)
    figures = dict(zip(scores.get_feature_names_out(), scores.transform(profile)[0], strict=True))
    assert figures["lenient_lines_in_all"] > figures["lines_in_all"] + 2
    strict = IndexingScores(Q_RANGE).fit(profile)
    for name, value in zip(strict.get_feature_names_out(), strict.transform(profile)[0], strict=True):
        assert figures[name] == value
    assert not scores.cells(profile).empty


@pytest.mark.parametrize(
    "options",
    [Options(deep=True), Options(triclinic=False), Options(zero_shift=0.003), Options(lenient=True)],
)
def test_compiled_loops_and_tensors_agree(options):
    rng = np.random.default_rng(1)
    profiles = np.concatenate([orthorhombic(s, lambda n: rng.uniform(0.01, 1, n)) for s in (0, 0.002)])
    profiles = torch.from_numpy(profiles + rng.normal(0, 0.002, profiles.shape).astype(np.float32))
    compiled, batched = (lattice_figures(profiles, *AXIS, compiled=c, options=options) for c in (True, False))
    np.testing.assert_allclose(compiled, batched, rtol=1e-5, atol=1e-5)


def test_deep_search_tries_more_assignments_of_monoclinic_cells():
    plain, deep = families(), families(options=Options(deep=True))
    sizes = {a.name: (len(a.inverses), len(b.inverses)) for a, b in zip(plain, deep, strict=True)}
    assert sizes["monoclinic"] == (8000, 16000)
    assert sizes["orthorhombic"] == (4000, 4000)


@pytest.mark.parametrize("family", ["cubic", "tetragonal"])
def test_data_of_the_package_are_what_the_choice_gives(family):
    matrices, lines = _trial_cells.make_assignments(family)
    inverses, loaded = _trial_cells.load_assignments(family)
    assert len(loaded) <= LOWEST[family][2]
    np.testing.assert_array_equal(loaded, lines)
    np.testing.assert_array_equal(inverses, np.linalg.inv(matrices))


def test_transformers_of_older_versions():
    scores = IndexingScores(Q_RANGE).fit(orthorhombic())
    state = {k: v for k, v in vars(scores).items() if k not in ("triclinic", "deep", "zero_shift", "lenient")}
    old = IndexingScores.__new__(IndexingScores)
    old.__setstate__({**state, "_sklearn_version": "1.9"})
    old = pickle.loads(pickle.dumps(old))
    assert old.transform(orthorhombic()).shape == (1, 118)
    assert len(old.get_feature_names_out()) == 118
    assert not any("triclinic" in name for name in old.get_feature_names_out())
    assert old.get_params()["triclinic"] is False


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"triclinic": "yes"}, "triclinic must be one of"),
        ({"deep": 3}, "deep must be one of"),
        ({"lenient": None}, "lenient must be one of"),
        ({"zero_shift": -0.1}, "zero_shift == -0.1"),
        ({"zero_shift": 0.5}, "zero_shift == 0.5"),
    ],
)
def test_bad_options(params, message):
    with pytest.raises(ValueError, match=message):
        IndexingScores(Q_RANGE, **params).fit(np.zeros((2, 64)))
