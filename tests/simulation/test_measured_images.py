"""What measured images have besides rings: halo, soft beam stop, camera and file, strong texture."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from pymatgen.core import Lattice, Structure
from scipy.integrate import quad
from scipy.special import j0

from xtalsk.crystals import CrystalSet
from xtalsk.datasets import make_specimens
from xtalsk.simulation import (
    Detector,
    Export,
    RingConditions,
    SpotConditions,
    compute_reflections,
    simulate_rings,
    simulate_spots,
)
from xtalsk.simulation._chunks import columns_on
from xtalsk.simulation.images import _rings
from xtalsk.simulation.images._beam_stop import SHAPE_COLUMNS, shade
from xtalsk.simulation.images._dynamical import blackman_ratio
from xtalsk.simulation.images._fibre import fibre_poles
from xtalsk.simulation.images._finish import finish
from xtalsk.simulation.images._radial import diffuse_profile
from xtalsk.simulation.reflections._texture import legendre, legendre_coefficients, march

IDEAL = replace(RingConditions.ideal(), image_size=128)


def columns(**values):
    return {name: torch.tensor(np.atleast_1d(value), dtype=torch.float32) for name, value in values.items()}


def finished(images, **values):
    """Finish images with compiled loops and with tensors, check that both agree, and return them."""
    n = len(images)
    fields = dict.fromkeys(("sharing", "blooming", "smear", "readout_turned", "clipped_dark", "marks"), 0.0)
    fields |= dict.fromkeys(("clipped_bright", "inverted", "stripes", "mark_seed"), 0.0)
    fields |= {"saturation": np.inf, "levels": np.inf, "gamma": 1.0} | values
    column = columns(**{name: np.broadcast_to(value, n) for name, value in fields.items()})
    images = torch.as_tensor(images, dtype=torch.float32)
    own = finish(images.clone(), column).numpy()
    other = finish(images.double(), {name: value.double() for name, value in column.items()}).numpy()
    assert abs(own - other).max() <= 1
    assert (own != other).mean() < 1e-3
    return own


@pytest.mark.parametrize("simulate", [simulate_rings, simulate_spots])
def test_measured_conditions_by_name(gold_electron, simulate):
    rows = np.zeros(12, int)
    images, used = simulate(gold_electron, rows, "measured", random_state=0, return_conditions=True)
    picture = np.isfinite(used["levels"])
    assert 0 < picture.sum() < 12
    assert (images[picture].max((1, 2)) <= 255).all()
    again = simulate(gold_electron, rows[:1], "measured", random_state=0)
    assert again.shape == (1, 256, 256)


def test_specimens_are_measured_by_name(amcsd):
    X, _, _ = make_specimens(amcsd[:2], ("rings", "eds"), conditions="measured", random_state=0)
    assert X.notna().all().all()


def test_steep_halo():
    q = torch.linspace(0.001, 1, 1000)
    column = columns(background_decay=0.3, halo=0.4, halo_width=0.05, halo_power=1.5, support=0.0, glass=0.0)
    profile = diffuse_profile(q, column)[0].numpy()
    q = q.numpy()
    parts = [np.exp(-q / 0.3), (1 + (q / 0.05) ** 2) ** -1.5]
    expected = sum(s * p / (p * q).sum() for s, p in zip((0.6, 0.4), parts, strict=True))
    np.testing.assert_allclose(profile, expected, rtol=1e-4)


def test_film_of_glass():
    """The first sharp diffraction peak of silica is at q = 0.24 1/Å; that of carbon at 0.48."""
    q = torch.linspace(0.001, 1, 1000)
    for glass, position in ((1.0, 0.24), (0.0, 0.48)):
        column = columns(background_decay=0.3, halo=0.0, halo_width=1, halo_power=1, support=1.0, glass=glass)
        assert q[diffuse_profile(q, column)[0].argmax()] == pytest.approx(position, abs=0.01)


def needle(**changed):
    column = {"beam_stop": 1, "needle_stop": 1, "stop_azimuth": 0, "stop_row": 50, "stop_column": 50}
    column |= {"penumbra": 0, "stop_transmission": 0}
    column |= dict(zip(SHAPE_COLUMNS, (-1e6, 10, 2, 20, 8, 30, 5), strict=True))
    return columns(**(column | changed))


def test_needle_widens_to_a_blade_and_continues_as_an_arm():
    shadow = shade(torch.ones(1, 100, 100), needle())[0] == 0
    widths = shadow.sum(0)  # of columns; the tip is at column 40
    assert (widths[:40] == 0).all()
    np.testing.assert_allclose(widths[[41, 50, 60, 70, 99]], [5, 11, 17, 11, 11], atol=2)
    assert shadow.sum() == shadow.flip(0).roll(1, 0).sum()


def test_penumbra_and_transmission():
    soft = shade(torch.ones(1, 100, 100), needle(penumbra=0.1, stop_transmission=0.2))[0]
    edge = soft[50:80, 80].numpy()  # across the arm of half width 5: the edge is 10 pixels wide
    assert edge[0] == pytest.approx(0.2, abs=1e-6)
    assert edge[5] == pytest.approx(0.6, abs=0.01)
    assert edge[12] == pytest.approx(1)
    assert (np.diff(edge) >= 0).all()


def test_soft_stop_in_images(gold_electron):
    conditions = replace(
        IDEAL, beam_stop=1.0, needle_stop=1.0, stop_transmission=0.5, background=1.0, background_decay=100.0
    )
    images = simulate_rings(gold_electron, np.zeros(20, int), conditions, electrons=1e7, random_state=0)
    level = np.median(images, (1, 2))[:, None, None]
    assert ((images < 0.7 * level).mean((1, 2)) > 0.01).all()
    assert np.percentile(images / level, 0.1) == pytest.approx(0.5, abs=0.15)


def test_blooming_keeps_counts():
    images = np.zeros((2, 32, 32))
    images[:, 16, 10], images[:, 3, 10] = 1000, 20
    bloomed = finished(images, saturation=100, blooming=[1.0, 0.5], readout_turned=[0, 1])
    np.testing.assert_allclose(bloomed.sum((1, 2)), [1020, 100 + 450 + 20], atol=3)
    assert bloomed.max() == 100
    assert (bloomed[0, 12:21, 10] == 100).all()
    assert not bloomed[0, :, 11].any()
    assert (bloomed[1, 16, 8:13] == 100).all()


def test_smear_adds_the_mean_of_a_column():
    images = np.full((1, 32, 32), 10.0)
    images[0, 5, 7] = 3210
    smeared = finished(images, smear=0.1)
    assert smeared[0, 20, 7] == 10 + 11
    assert smeared[0, 20, 8] == 11


def test_sharing_correlates_neighbours():
    counts = np.random.RandomState(0).poisson(100, (1, 200, 200))
    shared = finished(counts, sharing=0.21)[0]
    shared = shared - shared.mean()
    # of neighbours with weights (0.105, 0.79, 0.105)
    correlation = (shared[1:] * shared[:-1]).mean() / (shared**2).mean()
    assert correlation == pytest.approx(2 * 0.105 * 0.79 / (0.79**2 + 2 * 0.105**2), abs=0.02)
    assert shared.var() == pytest.approx(100 * (0.79**2 + 2 * 0.105**2) ** 2, rel=0.05)


def test_grey_levels():
    counts = np.arange(64 * 64).reshape(1, 64, 64)
    values = {"levels": 256, "clipped_dark": 0.1, "clipped_bright": 0.2}
    grey = finished(counts, **values)[0]
    assert set(np.unique(grey)) == set(range(256))
    assert (grey == 0).mean() == pytest.approx(0.1, abs=0.03)
    assert (grey == 255).mean() == pytest.approx(0.2, abs=0.05)
    assert (np.diff(grey.ravel()) >= 0).all()
    dark = finished(counts, **values, gamma=2.0)[0]
    np.testing.assert_allclose(dark / 255, (grey / 255) ** 2, atol=0.007)
    np.testing.assert_allclose(finished(counts, **values, gamma=0.4, inverted=1)[0] / 255,
                               1 - (grey / 255) ** 0.4, atol=0.12)  # fmt: skip
    assert (finished(counts, **values, inverted=1)[0] == 255 - grey).mean() > 0.99


def test_few_grey_levels():
    counts = np.random.RandomState(0).uniform(size=(3, 64, 64)) < 0.05
    assert set(np.unique(finished(counts, levels=256, gamma=0.5))) <= {0, 255}
    assert (finished(np.zeros((1, 64, 64)), levels=256) == 0).all()


def test_scale_bar_and_stripes():
    images = np.full((40, 64, 64), 100.0)
    seeds = np.arange(1, 41)
    marked = finished(images, levels=256, marks=1, stripes=1.0, mark_seed=seeds)
    assert ((marked == 255).sum((1, 2)) > 5).mean() > 0.5
    assert (marked == finished(images, levels=256, marks=1, stripes=1.0, mark_seed=seeds)).all()
    part = finished(images[10:], levels=256, marks=1, stripes=1.0, mark_seed=seeds[10:])
    assert (part == marked[10:]).all()


def test_blackman_ratio():
    extinction = np.array([0.0, 0.05, 0.7, 3.0, 12.0, 20.0])
    expected = [1.0] + [quad(lambda x: j0(2 * x), 0, a, limit=200)[0] / a for a in extinction[1:]]
    np.testing.assert_allclose(blackman_ratio(torch.from_numpy(extinction)), expected, atol=1e-5)


def test_dynamical_scattering_levels_intensities(gold_electron):
    """The ratio of weak to strong rings goes from that of |F|² to that of |F|."""
    ratios = []
    for dynamical in (0.0, 20.0):
        conditions = replace(IDEAL, dynamical=dynamical)
        values = _rings.draw_rings(conditions, gold_electron, np.zeros(1, int), np.random.RandomState(0))
        part = {name: values[name].to_numpy(dtype=float) for name in values}
        column = columns_on(part, gold_electron.q)
        weight = _rings.ring_lines(gold_electron, np.zeros(1, int), part, column, conditions).weight
        ratios.append(float(weight[4] / weight[0]))
    f2 = gold_electron.intensity
    assert ratios[1] / ratios[0] == pytest.approx(float(torch.sqrt(f2[0] / f2[4])), rel=0.05)


@pytest.mark.parametrize(("r", "tilt"), [(0.15, 0.0), (0.3, 0.0), (0.3, 8.0), (0.38, 30.0)])
def test_fibre_poles_are_means_about_the_pole(r, tilt):
    angles = np.radians([90, 85, 70, 30])
    cosine = torch.from_numpy(np.cos(angles))[:, None]
    r_of, tilt_of = torch.tensor([r], dtype=torch.float64), torch.tensor([tilt], dtype=torch.float64)
    pattern = torch.zeros(len(angles), dtype=torch.int64)
    poles = fibre_poles(cosine, torch.ones_like(cosine), r_of, tilt_of, pattern)
    azimuths = np.radians([0, 40, 90])
    density = (poles @ legendre(torch.from_numpy(np.cos(azimuths)))).numpy()
    for i, angle in enumerate(angles):
        for j, azimuth in enumerate(azimuths):
            chi = np.arccos(np.sin(np.radians(tilt)) * np.cos(azimuth))

            def around(phi, angle=angle, chi=chi):
                theta = np.cos(angle) * np.cos(chi) + np.sin(angle) * np.sin(chi) * np.cos(phi)
                return float(march(torch.tensor(theta), r_of[0].item()))

            exact = quad(around, 0, np.pi, limit=200, points=[0.1, 0.5])[0] / np.pi
            assert density[i, j] == pytest.approx(exact, rel=0.1, abs=0.08)


def test_fibre_poles_join_the_expansion_on_the_sphere():
    cosine = torch.cos(torch.linspace(0, np.pi / 2, 7, dtype=torch.float64))[:, None]
    r, tilt = torch.tensor([0.6], dtype=torch.float64), torch.tensor([25.0], dtype=torch.float64)
    pattern = torch.zeros(7, dtype=torch.int64)
    on_ring = torch.linspace(-1, 1, 9, dtype=torch.float64)
    own = fibre_poles(cosine, torch.ones_like(cosine), r, tilt, pattern) @ legendre(on_ring)
    coefficients = legendre(cosine)[..., 0] * legendre_coefficients(r)
    other = coefficients @ legendre(on_ring * torch.sin(torch.deg2rad(tilt)))
    np.testing.assert_allclose(own, other, rtol=0.05, atol=0.03)


@pytest.mark.parametrize("n_grains", [np.inf, 3000.0])
def test_strong_fibre_texture_shows_only_the_zone(monkeypatch, n_grains):
    """Bismuth with c along the beam has rings hk0 only."""
    bismuth = Structure.from_spacegroup("R-3m", Lattice.hexagonal(4.546, 11.86), ["Bi"], [[0, 0, 0.234]])
    lines = compute_reflections(CrystalSet.from_pymatgen([bismuth]), "electron", 0.7)
    monkeypatch.setattr(_rings, "draw_planes", lambda n, rng: np.tile([0, 0, 1], (n, 1)))
    conditions = replace(IDEAL, march_parameter=0.12, ring_width=0.01, n_grains=n_grains)
    shares = []
    for one in (conditions, replace(conditions, march_parameter=1.0)):
        images = simulate_rings(lines, np.zeros(20, int), one, electrons=1e7, random_state=0)
        image = images.mean(0)
        y, x = np.indices(image.shape) - 63.5
        q = np.hypot(y, x) * 2 / 128
        own = abs(q - 1 / 2.273) < 0.012  # 110
        other = abs(q - 1 / 3.278) < 0.012  # 012
        shares.append(image[other].mean() / image[own].mean())
    assert shares[0] < 0.04
    assert shares[1] > 1
    half = replace(conditions, texture_share=0.5)
    image = simulate_rings(lines, np.zeros(20, int), half, electrons=1e7, random_state=0).mean(0)
    assert 0.05 < image[other].mean() / image[own].mean() < shares[1]


def test_volumes_of_grains(gold_electron):
    """The relative variance of the strengths grows by exp(s²), and their mean stays."""

    def strengths(lines, **fields):
        conditions = replace(IDEAL, n_grains=200.0, **fields)
        rows = np.zeros(100, int)
        values = _rings.draw_rings(conditions, lines, rows, np.random.RandomState(0))
        part = {name: values[name].to_numpy(dtype=float) for name in values}
        column = columns_on(part, lines.q)
        rings = _rings.ring_lines(lines, rows, part, column, conditions)
        expected, mean, smooth = _rings.split_rings(column, rings)
        seeds = np.arange(100, dtype=np.uint64)
        grains = _rings.engine(lines.q).draw_grains(rings, mean, expected, None, column, seeds)
        return grains[3].double(), smooth.weight.sum() / rings.weight.sum()

    double = replace(gold_electron, q=gold_electron.q.double())
    double = replace(double, intensity=double.intensity.double(), multiplicity=double.multiplicity.double())
    plain, rest = strengths(gold_electron)
    assert rest < 1e-3
    for lines in (gold_electron, double):
        spread, _ = strengths(lines, grain_spread=0.8)
        assert float(spread.mean() / plain.mean()) == pytest.approx(1, abs=0.05)
        ratio = float((spread**2).mean() / (plain**2).mean())
        assert ratio == pytest.approx(np.exp(0.64), rel=0.15)
    part, rest = strengths(gold_electron, grain_share=0.3)
    assert float(part.sum() / plain.sum()) == pytest.approx(0.3, rel=1e-4)
    assert float(rest) == pytest.approx(0.7, abs=0.01)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RingConditions(halo=2), "halo must be from 0 to 1"),
        (lambda: RingConditions(dynamical=50), "dynamical must be from 0 to 20"),
        (lambda: SpotConditions(penumbra=-1), "penumbra must be from 0 to 0.5"),
        (lambda: RingConditions(export=Detector()), "export must be an Export or one of"),
        (lambda: Export(gamma=0), "gamma must be"),
        (lambda: Export(levels=1), "levels must be at least 2"),
        (lambda: Detector(sharing=0.5), "sharing must be from 0 to 0.3"),
    ],
)
def test_bad_values(make, message):
    with pytest.raises(ValueError, match=message):
        make()
