"""The cache of reflections on disk."""

import pickle
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from joblib import Memory

import xtalsk
from xtalsk.physics import _form_factors
from xtalsk.simulation import compute_reflections
from xtalsk.simulation.reflections import _compute, _family_kernels, _structure_factors


@pytest.fixture
def few(sixty):
    return sixty[[3, 20, 41]]


@pytest.fixture
def computations(monkeypatch):
    """List with one entry for each computation."""
    calls, original = [], _compute.squared_structure_factors

    def counted(*args, **kwargs):
        calls.append(1)
        return original(*args, **kwargs)

    monkeypatch.setattr(_compute, "squared_structure_factors", counted)
    return calls


def assert_equal(one, other):
    for name in ("offsets", "q", "hkl", "multiplicity", "intensity"):
        a, b = getattr(one, name), getattr(other, name)
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def entries(folder):
    return [path for path in Path(folder).rglob("*") if path.is_file()]


def test_a_changed_threshold_does_not_serve_old_numbers(few, tmp_path, monkeypatch):
    before = compute_reflections(few, "electron", 1.2, memory=tmp_path)
    monkeypatch.setattr(_compute, "WEAKEST_FAMILY", 1e-2)
    expected = compute_reflections(few, "electron", 1.2)
    assert len(expected.q) < len(before.q)
    assert_equal(compute_reflections(few, "electron", 1.2, memory=tmp_path), expected)
    monkeypatch.undo()
    assert_equal(compute_reflections(few, "electron", 1.2, memory=tmp_path), before)
    assert len(entries(tmp_path)) == 2


@pytest.mark.parametrize(
    ("owner", "name", "value"),
    [
        (_compute, "ROUNDING_LIMIT", 1e-5),
        (_family_kernels, "SHIFT", 2**19),
        (_structure_factors, "PAIRS_PER_CHUNK", 1000),
        (_form_factors, "RADIATIONS", ("electron", "xray", "neutron")),
        (xtalsk, "__version__", "99.0"),
    ],
)
def test_other_code_and_versions_compute_again(few, tmp_path, computations, monkeypatch, owner, name, value):
    for _ in range(2):
        compute_reflections(few, "xray", 1.5, memory=tmp_path)
    assert len(computations) == 1
    assert type(getattr(owner, name)) is type(value)
    monkeypatch.setattr(owner, name, value)
    compute_reflections(few, "xray", 1.5, memory=tmp_path)
    assert len(computations) == 2


def test_equal_crystals_with_other_names_or_order_of_groups_are_loaded(few, tmp_path, computations):
    first = compute_reflections(few, "xray", 1.5, memory=tmp_path)
    order = np.arange(len(few.rotation_sets))[::-1]
    same = replace(
        few,
        names=["another"] * len(few),
        rotation_sets=[few.rotation_sets[i] for i in order],
        rotation_index=np.argsort(order)[few.rotation_index],
    )
    assert_equal(compute_reflections(same, "xray", 1.5, memory=tmp_path), first)
    assert len(computations) == 1
    for changed in (
        {"occupancies": few.occupancies * 0.999},
        {"lattices": few.lattices * 1.001},
        {"u_iso": np.full_like(few.u_iso, 0.004)},
        {"atomic_numbers": few.atomic_numbers + 1},
    ):
        other = replace(few, **changed)
        expected = compute_reflections(other, "xray", 1.5)
        assert_equal(compute_reflections(other, "xray", 1.5, memory=tmp_path), expected)


def test_damaged_entries_are_computed_again_with_a_warning(few, tmp_path, computations):
    first = compute_reflections(few, "electron", 1.2, memory=tmp_path)
    (file,) = entries(tmp_path)
    content = file.read_bytes()
    rng = np.random.default_rng(0)
    damaged = [content[:n] for n in (0, 5, 20, 60, len(content) // 2, len(content) - 1)]
    for bit in rng.choice(8 * len(content), 60, replace=False):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        damaged.append(bytes(flipped))
    for n, entry in enumerate(damaged, start=2):
        file.write_bytes(entry)
        with pytest.warns(UserWarning, match=f"{file.name}: the cache entry is not used"):
            assert_equal(compute_reflections(few, "electron", 1.2, memory=tmp_path), first)
        assert len(computations) == n
        assert file.read_bytes() == content  # mended
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compute_reflections(few, "electron", 1.2, memory=tmp_path)


def test_an_entry_under_another_name_is_not_used(few, tmp_path):
    compute_reflections(few, "electron", 1.2, memory=tmp_path / "a")
    expected = compute_reflections(few, "xray", 1.2, memory=tmp_path / "b")
    (one,), (other,) = entries(tmp_path / "a"), entries(tmp_path / "b")
    other.write_bytes(one.read_bytes())
    with pytest.warns(UserWarning, match="belongs to other crystals"):
        assert_equal(compute_reflections(few, "xray", 1.2, memory=tmp_path / "b"), expected)


class Payload:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return Path.touch, (self.target,)


def test_a_pickle_in_the_cache_is_not_run(few, tmp_path):
    first = compute_reflections(few, "electron", 1.2, memory=tmp_path / "cache")
    (file,) = entries(tmp_path / "cache")
    file.write_bytes(pickle.dumps(Payload(tmp_path / "executed")))
    with pytest.warns(UserWarning, match="another format"):
        assert_equal(compute_reflections(few, "electron", 1.2, memory=tmp_path / "cache"), first)
    assert not (tmp_path / "executed").exists()


def test_joblib_memory_is_a_place_for_the_cache(few, tmp_path, computations):
    memory = Memory(tmp_path, verbose=0)
    for _ in range(2):
        compute_reflections(few, "electron", 1.5, memory=memory)
    assert len(computations) == 1
    memory.clear(warn=False)
    compute_reflections(few, "electron", 1.5, memory=memory)
    assert len(computations) == 2
    for _ in range(2):
        compute_reflections(few, "electron", 1.5, memory=Memory(None))
    assert len(computations) == 4


def test_a_cache_that_cannot_be_written_is_a_warning(few, tmp_path):
    (tmp_path / "file").touch()
    with pytest.warns(UserWarning, match="cannot be written"):
        r = compute_reflections(few, "electron", 1.5, memory=tmp_path / "file")
    assert_equal(r, compute_reflections(few, "electron", 1.5))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_crystals_without_reflections_are_stored(few, tmp_path, dtype):
    for _ in range(2):
        r = compute_reflections(few, "electron", 60.0, memory=tmp_path, dtype=dtype)
        assert len(r.q) == 0
        assert r.q.dtype == r.intensity.dtype == dtype
