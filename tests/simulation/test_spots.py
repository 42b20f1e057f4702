"""Spot patterns."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from pymatgen.core import Lattice, Structure
from scipy.spatial.transform import Rotation

from xtalsk.crystals import CrystalSet
from xtalsk.simulation import (
    Detector,
    RingConditions,
    SpotConditions,
    compute_reflections,
    electron_wavelength,
    simulate_spots,
)
from xtalsk.simulation._chunks import columns_on
from xtalsk.simulation.images._spot_positions import spot_positions
from xtalsk.simulation.images._spots import draw_spots

IDEAL = replace(SpotConditions.ideal(), zone_axis="random")


def positions(r, conditions, turn=None, seed=0):
    """Spots of the first crystal as NumPy arrays, and the values of its conditions."""
    rows = np.array([0])
    values = draw_spots(conditions, r, rows, np.random.RandomState(seed))
    if turn is not None:
        values[["turn_x", "turn_y", "turn_z"]] = turn.as_rotvec()[None]
    part = {name: values[name].to_numpy(dtype=float) for name in values}
    spots = spot_positions(r, rows, part, columns_on(part, r.q), conditions)
    return [v.numpy() for v in spots[1:]], values


@pytest.mark.filterwarnings("ignore")  # of the peer's dependencies
@pytest.mark.parametrize("seed", range(5))
def test_positions_are_those_of_diffsims(rutile, seed):
    simulation_generator = pytest.importorskip("diffsims.generators.simulation_generator")
    from diffpy.structure import Atom
    from diffpy.structure import Lattice as PeerLattice
    from diffpy.structure import Structure as PeerStructure
    from orix.crystal_map import Phase
    from orix.quaternion import Rotation as PeerRotation

    turn = Rotation.random(random_state=seed)
    r = compute_reflections(rutile, "electron", 0.66)
    (x, y, weight, hkl), _ = positions(
        r, replace(IDEAL, thickness_angstrom=75.0), turn
    )  # to 0.04 1/Å off the sphere
    atoms = [
        Atom("Ti" if z == 22 else "O", coords)
        for z, coords in zip(rutile.atomic_numbers, rutile.frac_coords, strict=True)
    ]
    cell = PeerLattice(4.594, 4.594, 2.959, 90, 90, 90)
    phase = Phase(space_group=136, structure=PeerStructure(lattice=cell, atoms=atoms))
    generator = simulation_generator.SimulationGenerator(200, minimum_intensity=1e-10)
    peer = generator.calculate_diffraction2d(
        phase,
        PeerRotation.from_matrix(turn.inv().as_matrix()),
        with_direct_beam=False,
        reciprocal_radius=1.2,
        max_excitation_error=0.04,
    ).coordinates
    # its Ewald sphere bends the other way: its spots are our Friedel mates
    expected = {tuple(-np.round(h).astype(int)): -xyz[:2] for h, xyz in zip(peer.hkl, peer.data, strict=True)}
    strong = weight > 1e-7 * weight.max()
    own = {tuple(h): (a, b) for h, a, b in zip(hkl[strong], x[strong], y[strong], strict=True)}
    near = np.hypot(x, y).max() * 0.8
    common = set(own) & set(expected)
    missing = {h for h in set(expected) - set(own) if np.hypot(*expected[h]) < near}
    assert len(common) > 10
    assert len(missing) <= 0.1 * len(common)  # it forgets which lines are absent, and rounds at the edge
    for h in common:
        np.testing.assert_allclose(own[h], expected[h], rtol=1e-3, atol=1e-6)  # its screen is not flat


def test_zone_axis_excites_the_zero_layer(rutile):
    r = compute_reflections(rutile, "electron", 0.7)
    for axis in [(0, 0, 1), (1, 1, 0), (2, -1, 1)]:
        conditions = replace(IDEAL, zone_axis=axis, mistilt=0.0, thickness_angstrom=400.0)
        (x, y, weight, hkl), _ = positions(r, conditions)
        zero = (hkl @ axis) == 0
        assert weight[zero].sum() > 0.99 * weight.sum()
        g = Lattice(rutile.lattices[0]).reciprocal_lattice_crystallographic.get_cartesian_coords(hkl[zero])
        lengths = np.linalg.norm(g, axis=1)
        np.testing.assert_allclose(np.hypot(x, y)[zero], lengths, rtol=1e-3)
        np.testing.assert_allclose(
            np.outer(x, x)[zero][:, zero] + np.outer(y, y)[zero][:, zero], g @ g.T, atol=2e-3
        )


def test_intensities_follow_the_rocking_curve(gold):
    """The intensity of one spot, rotated through its Bragg position, is sinc² of the excitation error."""
    r = compute_reflections(gold, "electron", 0.7, dtype=torch.float64)
    thickness, wavelength = 120.0, float(electron_wavelength(200))
    g = 2 / 4.078
    bragg = np.arcsin(g * wavelength / 2)
    weights, errors = [], []
    for off in np.linspace(-0.006, 0.006, 7):
        turn = Rotation.from_rotvec([0, bragg + off, 0])  # 200 leaves the x axis
        (_, _, weight, hkl), _ = positions(r, replace(IDEAL, thickness_angstrom=thickness), turn)
        row = hkl.tolist().index([2, 0, 0])
        weights.append(weight[row])
        vector = turn.apply([g, 0, 0])
        tip = vector + np.array([0, 0, 1 / wavelength])
        lift = np.sqrt(1 / wavelength**2 - tip[0] ** 2) - tip[2]
        errors.append(lift)
    f2 = float(r.intensity[r.hkl.tolist().index([2, 0, 0])])
    assert abs(errors[3]) < 1e-6
    np.testing.assert_allclose(weights, f2 * np.sinc(np.array(errors) * thickness) ** 2, rtol=1e-6)


def test_precession_excites_more_spots_with_more_equal_intensities(rutile):
    r = compute_reflections(rutile, "electron", 0.7)
    conditions = replace(IDEAL, zone_axis=(0, 0, 1), mistilt=0.3, thickness_angstrom=500.0)
    (_, _, still, hkl), _ = positions(r, conditions)
    (_, _, moved, more), _ = positions(r, replace(conditions, precession=1.5))
    assert len(moved) > len(still)
    pairs = [(1, 1, 0), (-1, -1, 0)]
    ratio = [[w[h.tolist().index(list(p))] for p in pairs] for w, h in ((still, hkl), (moved, more))]
    uneven = [abs(np.log(a / b)) for a, b in ratio]
    assert uneven[1] < 0.5 * uneven[0]


def test_spots_on_the_image(gold):
    r = compute_reflections(gold, "electron", 0.7)
    conditions = replace(
        IDEAL, zone_axis=(0, 0, 1), electrons=1e7, detector=Detector(blur=1.0), off_center=0.1
    )
    images, values = simulate_spots(r, [0] * 3, conditions, random_state=0, return_conditions=True)
    assert images.shape == (3, 256, 256)
    for row in range(3):
        turn = Rotation.from_rotvec(values.loc[row, ["turn_x", "turn_y", "turn_z"]].to_numpy(dtype=float))
        place = turn.apply([2 / 4.078, 0, 0])[:2] / (2 / 256)
        at = np.array([values.center_row[row] + place[1], values.center_column[row] + place[0]])
        top, left = np.round(at).astype(int) - 6
        patch = images[row, top : top + 13, left : left + 13].astype(float)
        y, x = np.indices(patch.shape)
        middle = np.array([np.average(y, weights=patch) + top, np.average(x, weights=patch) + left])
        np.testing.assert_allclose(middle, at, atol=0.1)
        assert abs(images[row].sum() / 1e7 - 1) < 0.01
        assert values.n_spots[row] >= 12


def test_zones_differ_and_repeat(gold):
    r = compute_reflections(gold, "electron", 0.7)
    images = simulate_spots(r, [0, 0], SpotConditions(image_size=64), n_zones=3, random_state=5)
    assert images.shape == (2, 3, 64, 64)
    again = simulate_spots(r, [0, 0], SpotConditions(image_size=64), n_zones=3, random_state=5)
    np.testing.assert_array_equal(images, again)
    assert (images[0, 0] != images[0, 1]).any()


def test_zones_share_the_conditions_of_their_specimen(rutile):
    r = compute_reflections(rutile, "electron", 0.7)
    conditions = SpotConditions(image_size=32, strain=0.01, calibration=(-0.02, 0.02), electrons=100.0)
    _, values = simulate_spots(r, [0, 0], conditions, n_zones=3, random_state=0, return_conditions=True)
    for name in ("strain_11", "strain_33", "calibration", "blur"):
        column = values[name].to_numpy().reshape(2, 3)
        assert (column == column[:, :1]).all()
        assert column[0, 0] != column[1, 0]
    assert values["turn_x"].nunique() == 6


def test_random_orientations_are_uniform(gold):
    r = compute_reflections(gold, "electron", 0.7)
    values = draw_spots(IDEAL, r, np.zeros(4000, int), np.random.RandomState(0))
    beams = Rotation.from_rotvec(values[["turn_x", "turn_y", "turn_z"]]).inv().apply([0, 0, 1])
    np.testing.assert_allclose(beams.mean(0), 0, atol=0.04)
    np.testing.assert_allclose(beams.T @ beams / 4000, np.eye(3) / 3, atol=0.02)
    tilted = replace(IDEAL, zone_axis=(1, 1, 1), mistilt=3.0)
    values = draw_spots(tilted, r, np.zeros(50, int), np.random.RandomState(0))
    beams = Rotation.from_rotvec(values[["turn_x", "turn_y", "turn_z"]]).inv().apply([0, 0, 1])
    angles = np.degrees(np.arccos(beams @ np.ones(3) / np.sqrt(3)))
    np.testing.assert_allclose(angles, 3.0, atol=1e-6)


@pytest.mark.parametrize("preset", ["ideal", "typical", "harsh"])
def test_presets_on_many_crystals(sixty, preset):
    r = compute_reflections(sixty, "electron", 0.7)
    images, values = simulate_spots(r, None, preset, random_state=0, return_conditions=True)
    assert len(images) == len(values) == 60
    assert (values.n_spots > 0).mean() > 0.9
    assert not values.isna().any().any()


def test_empty_orientation_is_not_an_error():
    """A small cell may have no excited spot; the image is then the direct beam and diffuse scattering."""
    tungsten = Structure(Lattice.cubic(2.0), ["W"], [[0, 0, 0]])
    r = compute_reflections(CrystalSet.from_pymatgen([tungsten]), "electron", 0.7)
    conditions = SpotConditions(
        thickness_angstrom=3000.0, image_size=64, electrons=1e4, background=0.3, beam_stop=0.0
    )
    images, values = simulate_spots(r, [0] * 20, conditions, random_state=0, return_conditions=True)
    empty = values.n_spots == 0
    assert empty.any()
    sums = images[empty].sum((1, 2))
    expected = 1e4 * (0.3 + values.direct_beam[empty])
    np.testing.assert_allclose(sums, expected, rtol=0.1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_zones": 0}, "n_zones must be a positive integer"),
        ({"conditions": SpotConditions(q_max=3.0)}, "reflections reach"),
        ({"conditions": "rough"}, "conditions must be a SpotConditions or one of"),
        (
            {"conditions": RingConditions()},
            "conditions must be a SpotConditions or one of .* got RingConditions",
        ),
        ({"rows": [5]}, "rows must be from 0 to 0"),
    ],
)
def test_arguments(gold, arguments, message):
    with pytest.raises(ValueError, match=message):
        simulate_spots(compute_reflections(gold, "electron", 0.7), **arguments)
