"""The compiled loops that render images agree with the operations on tensors."""

from dataclasses import replace
from types import SimpleNamespace

import numba
import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from scipy.stats import poisson as poisson_distribution

from xtalsk.simulation import (
    Detector,
    RingConditions,
    SpotConditions,
    compute_reflections,
    simulate_rings,
    simulate_spots,
)
from xtalsk.simulation._chunks import columns_on
from xtalsk.simulation._counting import poisson
from xtalsk.simulation.images import _compiled_images, _rings, _spot_positions, _spots, _tensor_images
from xtalsk.utils import _compiled as compilation

PRESETS = ("ideal", "typical", "harsh", "measured")


@pytest.fixture(scope="module")
def lines(sixty):
    return compute_reflections(sixty[::3], "electron", 0.7)


@pytest.fixture
def n_threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def expected_electrons(module, monkeypatch, simulate, *arguments):
    """Run a simulation, and return the expected electrons from both engines, from the same grains."""
    pairs = []

    def render_images(*positional, seeds, images, **named):
        pairs.append(
            [engine.render_images(*positional, **named) for engine in (_compiled_images, _tensor_images)]
        )
        return images.zero_()

    both = SimpleNamespace(render_images=render_images, draw_grains=_compiled_images.draw_grains)
    monkeypatch.setattr(module, "engine", lambda tensor: both)
    simulate(*arguments, random_state=0)
    return (torch.cat(images).double().numpy() for images in zip(*pairs, strict=True))


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize(
    ("module", "simulate", "kind"),
    [(_rings, simulate_rings, RingConditions), (_spots, simulate_spots, SpotConditions)],
)
def test_expected_electrons_agree(lines, monkeypatch, module, simulate, kind, preset):
    """To 1e-4 of each pixel, and 1e-8 of the electrons of the image where hardly any arrive."""
    conditions = replace(getattr(kind, preset)(), image_size=96)
    own, other = expected_electrons(module, monkeypatch, simulate, lines, None, conditions)
    tolerance = 1e-4 * other + 1e-8 * other.sum((1, 2), keepdims=True)
    assert other.sum() > 1e5
    assert (abs(own - other) > tolerance).mean() < 1e-5  # a pixel at the rim of the beam stop may differ
    np.testing.assert_allclose(own.sum((1, 2)), other.sum((1, 2)), rtol=1e-3)


def test_grains_agree(gold_electron):
    """Number, strength and places of grains have the same distribution as those drawn with torch."""
    conditions = replace(RingConditions.ideal(), n_grains=300.0, march_parameter=0.6, texture_tilt=60.0)
    rows = np.zeros(200, int)
    values = _rings.draw_rings(conditions, gold_electron, rows, np.random.RandomState(0))
    part = {name: values[name].to_numpy(dtype=float) for name in values}
    column = columns_on(part, gold_electron.q)
    rings = _rings.ring_lines(gold_electron, rows, part, column, conditions)
    poles = _rings.pole_orders(gold_electron, rows, part, column, rings)
    expected, strength, _ = _rings.split_rings(column, rings)
    seeds = np.arange(200, dtype=np.uint64)
    moments = []
    for engine in (_compiled_images, _tensor_images):
        image, row, col, weight = engine.draw_grains(rings, strength, expected, poles, column, seeds)
        assert (torch.diff(image) >= 0).all()
        radius = torch.hypot(row - 127.5, col - 127.5)
        axis = torch.cos(torch.atan2(row - 127.5, col - 127.5) - column["texture_azimuth"][image])
        shares = weight / weight.sum()
        moments.append(
            [len(image), weight.sum(), (weight**2).sum(), (shares * radius).sum(), (shares * axis**2).sum()]
        )
    np.testing.assert_allclose(moments[0], moments[1], rtol=0.03)
    assert abs(moments[0][0] / expected.sum() - 1) < 0.02


@pytest.mark.parametrize("rate", [0.05, 0.7, 3.3, 12.1, 15.99, 18.0, 200.0])
def test_counts_follow_the_poisson_distribution(rate):
    """Chi-squared over counts that are expected at least 30 times; tables are right to 1/4096."""
    n = 100_000
    counts = poisson(torch.full((n,), rate), torch.Generator().manual_seed(3)).numpy().astype(int)
    edges = np.arange(counts.max() + 2)
    expected = n * poisson_distribution(rate).pmf(edges)
    seen = np.bincount(counts, minlength=len(edges))
    often = expected >= 30
    expected, seen = (np.append(x[often], x[~often].sum()) for x in (expected, seen))
    assert chisquare(seen, expected * n / expected.sum()).pvalue > 1e-4
    assert abs(counts.mean() - rate) < 4 * np.sqrt(rate / n) + 1e-4
    assert abs(counts.var() / rate - 1) < 0.03


def test_neighbouring_pixels_and_images_are_independent(gold_electron):
    conditions = replace(RingConditions.ideal(), image_size=64, background=1.0, background_decay=10.0)
    images = simulate_rings(gold_electron, np.zeros(300, int), conditions, random_state=0)
    pixels = (images - images.mean(0)) / images.std(0)
    for other in (np.roll(pixels, 1, 0), np.roll(pixels, 1, 1), np.roll(pixels, 1, 2)):
        assert abs((pixels * other).mean()) < 5 / np.sqrt(pixels.size)


def test_camera_agrees(gold_electron):
    """Mean and variance of recorded images agree with those of the operations on tensors."""
    detector = Detector(
        blur=1.0, gain=3.0, read_noise=2.0, offset=20.0, saturation=90.0, dead_pixels=0.05, hot_pixels=0.02
    )
    conditions = replace(
        RingConditions.ideal(), image_size=64, background=0.5, detector=detector, electrons=4e4
    )
    double = replace(
        gold_electron, **{name: getattr(gold_electron, name).double() for name in ("q", "intensity")}
    )
    images = [
        simulate_rings(r, np.zeros(400, int), conditions, random_state=0).astype(float)
        for r in (gold_electron, double)
    ]
    own, other = images
    error = np.sqrt((own.var(0) + other.var(0)) / 400)
    assert abs((own.mean(0) - other.mean(0)) / error).mean() < 0.9  # 0.8 for normal deviations
    assert abs(own.mean() / other.mean() - 1) < 0.005
    assert abs(own.var(0).mean() / other.var(0).mean() - 1) < 0.02
    assert abs((own == 0).mean() / (other == 0).mean() - 1) < 0.02
    assert own.max() == other.max() == 90


@pytest.mark.parametrize("simulate", [simulate_rings, simulate_spots])
@pytest.mark.parametrize("preset", PRESETS)
def test_chunks_and_threads_do_not_matter(lines, monkeypatch, n_threads, simulate, preset):
    kind = RingConditions if simulate is simulate_rings else SpotConditions
    conditions = replace(getattr(kind, preset)(), image_size=64)
    images = []
    for images_in_chunk, threads in ((64, 1), (64, 2), (3, 2)):
        n_threads(threads)
        for module in (_rings, _spots):
            monkeypatch.setattr(module, "PIXELS_PER_CHUNK", images_in_chunk * 64**2)
        images.append(simulate(lines, None, conditions, random_state=1).astype(int))
    for other in images[1:]:
        assert (other != images[0]).mean() < 1e-4  # rounding of rates may change a count by one
        assert abs(other - images[0]).max() <= max(1, 1e-5 * images[0].max())


@pytest.mark.parametrize("preset", PRESETS)
def test_excited_spots_agree(lines, preset):
    conditions = getattr(SpotConditions, preset)()
    rows = np.arange(len(lines))
    values = _spots.draw_spots(conditions, lines, rows, np.random.RandomState(0))
    part = {name: values[name].to_numpy(dtype=float) for name in values}
    both = []
    for precise in (False, True):
        with pytest.MonkeyPatch.context() as patch:
            if precise:
                patch.setattr(_spot_positions, "is_plain", lambda tensor: False)
            spots = _spot_positions.spot_positions(lines, rows, part, columns_on(part, lines.q), conditions)
        pattern, x, y, weight, hkl = (values.numpy() for values in spots)
        keys = map(tuple, np.column_stack([pattern, hkl]))
        both.append(dict(zip(keys, np.column_stack([x, y, weight / weight.max()]), strict=True)))
        assert len(both[-1]) == len(pattern)  # each reflection once
    own, other = both
    common = set(own) & set(other)
    assert len(common) > 0.999 * max(len(own), len(other))
    # axes of equivalent operations may differ in rounding, and rocking curves are steep for thick crystals
    np.testing.assert_allclose([own[k] for k in common], [other[k] for k in common], rtol=2e-3, atol=1e-5)
    for spots in (own, other):
        assert all(spots[key][2] < 1e-4 for key in set(spots) - common)


def test_compilation_without_a_folder_for_the_cache(monkeypatch):
    def njit(cache=False, **options):
        if cache:
            raise RuntimeError("no locator available")
        return numba.njit(**options)

    monkeypatch.setattr(compilation, "njit", njit)
    assert compilation.compiled(lambda x: x + 1)(2) == 3
