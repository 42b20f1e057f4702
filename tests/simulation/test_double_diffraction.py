"""Rings of double diffraction."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from pymatgen.core import Lattice, Structure

from xtalsk.crystals import CrystalSet
from xtalsk.simulation import RingConditions, compute_reflections, simulate_rings
from xtalsk.simulation.images._double_diffraction import with_double_diffraction
from xtalsk.simulation.reflections._families import laue_group

DIAMOND = Structure.from_spacegroup("Fd-3m", Lattice.cubic(3.567), ["C"], [[0, 0, 0]])
QUARTZ = Structure.from_spacegroup(
    "P3_221",
    Lattice.hexagonal(4.913, 5.405),
    ["Si", "O"],
    [[0.4697, 0, 2 / 3], [0.4135, 0.2669, 0.7858]],
)


def reflections_of(*structures, d_min=0.8, dtype=torch.float32):
    return compute_reflections(CrystalSet.from_pymatgen(structures), "electron", d_min=d_min, dtype=dtype)


def with_double(reflections, row=0):
    return with_double_diffraction(reflections, np.array([row]), np.array([0.5]))


def family(reflections, hkl):
    """Return the row of the family of a reflection."""
    images = np.array(hkl) @ laue_group(reflections.rotation_sets[0])
    is_own = (reflections.hkl.numpy()[:, None] == images).all(-1).any(1)
    (row,) = np.flatnonzero(is_own)
    return row


def test_200_of_diamond_appears_and_100_does_not():
    single = reflections_of(DIAMOND)
    double, rows, intensity = with_double(single)
    assert [2, 0, 0] not in single.hkl.abs().sort(descending=True).values.tolist()
    row = family(double, (2, 0, 0))
    assert rows.tolist() == [0]
    assert double.intensity[row] == 0
    assert intensity[row] > 0.01 * intensity.max()
    assert double.multiplicity[row] == 6
    assert double.q[row] == pytest.approx(2 / 3.567, rel=1e-5)
    # a lattice F forbids mixed indices for all beams
    assert (double.hkl % 2 == double.hkl[:, :1] % 2).all()
    assert (double.q.diff() >= 0).all()
    assert double.offsets.tolist() == [0, len(double.q)]


def test_001_of_a_screw_axis_appears():
    double, _, intensity = with_double(reflections_of(QUARTZ))
    for hkl in ((0, 0, 1), (0, 0, 2)):
        row = family(double, hkl)
        assert double.intensity[row] == 0
        assert intensity[row] > 1e-3 * intensity.max()
        assert double.multiplicity[row] == 2


def test_intensities_are_sums_over_all_pairs():
    single = reflections_of(DIAMOND, d_min=0.9, dtype=torch.float64)
    double, _, intensity = with_double(single)
    laue = laue_group(single.rotation_sets[0])
    beams = {
        tuple(member): float(strength)
        for hkl, strength in zip(single.hkl.numpy().astype(int), single.intensity, strict=True)
        for member in hkl @ laue
    }
    assert len(beams) == single.multiplicity.sum()
    for hkl, strength in zip(double.hkl.tolist(), intensity, strict=True):
        pairs = ((first, tuple(np.subtract(hkl, first).tolist())) for first in beams)
        expected = sum(beams[first] * beams.get(second, 0) for first, second in pairs)
        assert float(strength) == pytest.approx(expected, rel=1e-6)


def test_rings_of_double_diffraction_have_their_share():
    reflections = reflections_of(DIAMOND, QUARTZ)
    conditions = replace(RingConditions.ideal(), image_size=256, q_max=1.2, electrons=1e7)
    shares = {}
    for share in (0.0, 0.4):
        images, values = simulate_rings(
            reflections,
            [0, 1, 0],
            replace(conditions, double_diffraction=share),
            random_state=0,
            return_conditions=True,
        )
        assert values["double_diffraction"].tolist() == [share] * 3
        assert images.sum(axis=(1, 2)) == pytest.approx(1e7, rel=0.15)
        y, x = np.indices(images.shape[1:]) - 127.5
        ring = abs(np.hypot(x, y) * 2.4 / 256 - 2 / 3.567) < 0.015  # 200 of diamond
        shares[share] = images[0][ring].sum() / images[0].sum()
    assert shares[0.0] < 0.01
    assert shares[0.4] > shares[0.0] + 0.01


@pytest.mark.parametrize("preset", ["typical", "harsh", "measured"])
def test_images_without_double_diffraction_are_as_before(preset):
    """The option draws no random number, and images with it leave those beside them alone."""
    reflections = reflections_of(DIAMOND, QUARTZ, d_min=0.7)
    conditions = replace(getattr(RingConditions, preset)(), image_size=96)
    fields = [name for name in conditions.draw(3, 0) if name != "double_diffraction"]
    with_option = replace(conditions, double_diffraction=0.3)
    assert conditions.double_diffraction == 0.0
    assert conditions.draw(3, 0)[fields].equals(with_option.draw(3, 0)[fields])
    from xtalsk.simulation.images._rings import draw_rings, render_rings

    rows, rng = np.array([0, 1, 1, 0]), np.random.RandomState(1)
    values = {
        name: column.to_numpy() for name, column in draw_rings(conditions, reflections, rows, rng).items()
    }
    seeds = np.arange(4, dtype=np.uint64)
    plain = render_rings(reflections, rows, values, conditions, seeds).numpy()
    mixed = values | {"double_diffraction": np.array([0.0, 0.5, 0.0, 0.0])}
    other = render_rings(reflections, rows, mixed, conditions, seeds).numpy()
    np.testing.assert_array_equal(plain[[0, 2, 3]], other[[0, 2, 3]])
    assert (plain[1] != other[1]).any()


def test_a_share_above_one_is_refused():
    with pytest.raises(ValueError, match="double_diffraction must be from 0 to 1"):
        RingConditions(double_diffraction=1.5)
