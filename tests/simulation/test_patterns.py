"""Powder profiles, ring images and measured formulas."""

import numpy as np
import pytest
import torch
from pymatgen.core import Composition, Lattice, Structure

from xtalsk.crystals import CrystalSet
from xtalsk.simulation import measured_formulas, powder, reflections, rings
from xtalsk.simulation._profiles import broaden

WAVELENGTH = 1.5406
IDEAL_RINGS = {"off_center": 0, "ellipticity": 0, "beam_stop": 0, "direct_beam": 0, "background": 0}


@pytest.fixture(scope="module")
def gold():
    structure = Structure.from_spacegroup("Fm-3m", Lattice.cubic(4.078), ["Au"], [[0, 0, 0]])
    return CrystalSet.from_pymatgen([structure])


@pytest.fixture(scope="module")
def gold_electron(gold):
    return reflections(gold, "electron", 0.7)


@pytest.fixture(scope="module")
def gold_xray(gold):
    return reflections(gold, "xray", 1.05, wavelength=WAVELENGTH)


@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
def test_broadening_is_the_pseudo_voigt_function(eta):
    lines = torch.zeros(1, 400, dtype=torch.float64)
    lines[0, 200] = 1.0
    fwhm = 9.0
    x = np.arange(400) - 200
    gaussian = np.sqrt(4 * np.log(2) / np.pi) / fwhm * np.exp(-4 * np.log(2) * (x / fwhm) ** 2)
    lorentzian = fwhm / (2 * np.pi) / (x**2 + (fwhm / 2) ** 2)
    shape = broaden(lines, torch.tensor([fwhm]).double(), torch.tensor([eta]).double())[0].numpy()
    expected = (1 - eta) * gaussian + eta * lorentzian
    np.testing.assert_allclose(shape, expected, atol=0.004 * expected.max())


def test_powder_lines_stand_at_their_angles(gold_xray):
    counts = powder(gold_xray, two_theta=(30, 90, 0.01), fwhm=0.1, zero_shift=0.2, background=0,
                    peak_counts=1e6, random_state=0)[0]  # fmt: skip
    assert abs(counts.max() / 1e6 - 1) < 0.01
    q = np.sqrt(np.array([3, 4, 8, 11, 12])) / 4.078
    for angle in 2 * np.degrees(np.arcsin(q * WAVELENGTH / 2)) + 0.2:
        near = slice(int((angle - 0.5 - 30) / 0.01), int((angle + 0.5 - 30) / 0.01))
        assert abs(30 + 0.01 * (near.start + counts[near].argmax()) - angle) < 0.02


def test_powder_background_and_counts_are_what_was_asked_for(gold_xray):
    rows = np.zeros(40, dtype=int)
    counts, conditions = powder(
        gold_xray, rows, two_theta=(20, 60, 0.02), background=(0.5, 0.6), peak_counts=1000, eta=0,
        random_state=1, return_conditions=True,
    )  # fmt: skip
    assert conditions.background.between(0.5, 0.6).all()
    assert conditions.fwhm.nunique() == 40
    flat = counts[:, :300].astype(float)  # 20 to 26 degrees hold no line
    steps = np.diff(flat, axis=1)
    np.testing.assert_allclose(steps.var() / 2, flat.mean(), rtol=0.05)  # Poisson: variance equals mean


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"two_theta": (5, 150, 0.02)}, "150 degrees needs"),
        ({"two_theta": (90, 5, 0.02)}, "start, stop, step"),
        ({"two_theta": 5}, "start, stop, step"),
        ({"two_theta": (5, 20, 0.02)}, "crystal 0 has no line between"),
        ({"fwhm": 0}, "fwhm must be positive"),
        ({"background": (0.2, 0.1)}, "ordered pair"),
        ({"peak_counts": -1}, "must not be negative"),
        ({"rows": [1]}, "rows must be from 0 to 0"),
        ({"rows": []}, "non-empty"),
    ],
)
def test_powder_arguments(gold_xray, arguments, message):
    with pytest.raises(ValueError, match=message):
        powder(gold_xray, **arguments)


def test_wrong_radiation(gold_xray, gold_electron):
    with pytest.raises(ValueError, match="need X-ray reflections"):
        powder(gold_electron)
    with pytest.raises(ValueError, match="need electron reflections"):
        rings(gold_xray)


def radius_of(conditions, row, size):
    y, x = np.indices((size, size))
    return np.hypot(y - conditions.center_row[row], x - conditions.center_column[row])


def test_ring_radii_and_strengths(gold_electron):
    """The intensity summed around a ring is proportional to p |F|² d."""
    size, q_max = 256, 1.0
    images, conditions = rings(
        gold_electron, size=size, q_max=q_max, electrons=1e8, ring_width=0.006, eta=0, blur=0,
        random_state=0, return_conditions=True, **IDEAL_RINGS,
    )  # fmt: skip
    radius = radius_of(conditions, 0, size) * 2 * q_max / size
    measured, expected = [], []
    for q, f2, p in zip(gold_electron.q, gold_electron.intensity, gold_electron.multiplicity, strict=True):
        if q > 0.95:  # later rings leave the image
            continue
        near = np.abs(radius - float(q)) < 0.012
        np.testing.assert_allclose(np.average(radius[near], weights=images[0][near]), q, atol=5e-4)
        measured.append(images[0][near].sum())
        expected.append(float(p * f2 / q))
    assert len(measured) == 5
    np.testing.assert_allclose(np.array(measured) / measured[0], np.array(expected) / expected[0], rtol=0.01)


@pytest.mark.parametrize("electrons", [1e3, 1e5])
def test_dose_is_poisson(gold_electron, electrons):
    images = rings(gold_electron, np.zeros(200, int), size=64, electrons=electrons, random_state=0, blur=1,
                   ring_width=0.02, eta=0, **IDEAL_RINGS)  # fmt: skip
    totals = images.sum((1, 2), dtype=float)
    assert abs(totals.mean() - electrons) < 5 * np.sqrt(electrons / 200)
    pixel = images.reshape(200, -1).astype(float)
    bright = pixel.mean(0) > pixel.mean()
    np.testing.assert_allclose(pixel[:, bright].var(0).mean(), pixel[:, bright].mean(), rtol=0.05)


def test_beam_stop_hides_the_beam_and_the_centre_moves(gold_electron):
    images, conditions = rings(
        gold_electron, np.zeros(20, int), size=128, electrons=1e6, beam_stop=1.0, direct_beam=1.0,
        off_center=0.08, random_state=3, return_conditions=True,
    )  # fmt: skip
    middle = 63.5
    assert (np.abs(conditions.center_row - middle) <= 0.08 * 128).all()
    assert conditions.center_row.std() > 3
    for row, image in enumerate(images):
        assert image[radius_of(conditions, row, 128) < 2.5].max() == 0
    bare = rings(gold_electron, size=128, electrons=1e6, beam_stop=0.0, direct_beam=1.0, random_state=3)[0]
    assert bare.max() > 1000


def test_ellipse(gold_electron):
    images, conditions = rings(
        gold_electron, size=256, q_max=0.6, electrons=1e8, eta=0, ellipticity=0.1, ring_width=0.006, blur=0.5,
        off_center=0, beam_stop=0, direct_beam=0, background=0, random_state=0, return_conditions=True,
    )  # fmt: skip
    y, x = np.indices((256, 256)) - 127.5
    azimuth = conditions.ellipse_azimuth[0]
    first = float(gold_electron.q[0]) / (1.2 / 256)
    lengths = []
    for angle in (azimuth, azimuth + np.pi / 2):
        along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
        wedge = (np.abs(across) < 4) & (along > 0.9 * first) & (along < 1.08 * first)
        weights = images[0][wedge].astype(float) ** 2
        lengths.append(np.average(along[wedge], weights=weights))
    np.testing.assert_allclose(lengths[0] / lengths[1], 1.1, rtol=0.01)


def test_random_state(gold_electron, gold_xray):
    for render, lines in ((rings, gold_electron), (powder, gold_xray)):
        first, again, other = (render(lines, np.zeros(3, int), random_state=s) for s in (7, 7, 8))
        np.testing.assert_array_equal(first, again)
        assert (first != other).any()
        assert (first[0] != first[1]).any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 16}, "at least 32"),
        ({"q_max": 2.0}, "reflections reach"),
        ({"q_max": 0}, "positive number of 1/Å"),
        ({"q_max": 0.2, "size": 64}, "crystal 0 has no ring"),
        ({"electrons": -5}, "electrons must not be negative"),
        ({"beam_stop": 2}, "from 0 to 1"),
        ({"off_center": 0.5}, "from 0 to 0.25"),
        ({"background": 1.5}, "at most 1"),
        ({"blur": "wide"}, "could not convert|number or an ordered"),
    ],
)
def test_ring_arguments(gold_electron, arguments, message):
    with pytest.raises(ValueError, match=message):
        rings(gold_electron, **arguments)


def test_measured_formulas(amcsd):
    quartz = amcsd[(amcsd.groups == "Quartz") & (amcsd.formulas == "SiO2")][:1]
    formulas = measured_formulas(quartz, np.zeros(400, int), relative_error=0.1, random_state=0)
    silicon = np.array([Composition(f).get_atomic_fraction("Si") for f in formulas])
    assert abs(silicon.mean() - 1 / 3) < 0.01
    assert 0.02 < silicon.std() < 0.05
    exact = measured_formulas(quartz, relative_error=0, absolute_error=0)[0]
    assert Composition(exact).almost_equals(Composition("Si33.33O66.67"))


def test_hydrogen_and_traces_are_missed(gold):
    from dataclasses import replace

    wet = replace(gold, formulas=["Mg0.99Fe0.005(OH)2"])
    seen = measured_formulas(wet, np.zeros(50, int), absolute_error=0.002, random_state=0)
    assert {str(e) for f in seen for e in Composition(f)} == {"Mg", "O"}
    assert measured_formulas(replace(gold, formulas=["H2"])) == [None]
    with pytest.raises(ValueError, match="formula 'Qq2' does not parse: unknown element"):
        measured_formulas(replace(gold, formulas=["Qq2"]))
    with pytest.raises(ValueError, match="relative_error must be"):
        measured_formulas(gold, relative_error=2)
