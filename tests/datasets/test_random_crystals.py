import gemmi
import numpy as np
import pytest
import spglib

from xtalsk.crystals import CrystalSet
from xtalsk.crystals._wyckoff import space_group_operations
from xtalsk.datasets import load_amcsd, make_random_crystals

RADII = np.array([0.0] + [gemmi.Element(z).covalent_r for z in range(1, 99)])


@pytest.fixture(scope="module")
def crystals():
    return make_random_crystals(np.arange(1, 231), random_state=0)


@pytest.fixture(scope="module")
def amcsd():
    return load_amcsd()


def n_centrings(number):
    return space_group_operations(int(number))[2]


def test_every_space_group_is_confirmed_by_spglib(crystals):
    assert crystals.space_groups.tolist() == list(range(1, 231))
    for i, number in enumerate(crystals.space_groups):
        atoms = slice(*crystals.offsets[i : i + 2])
        cell = crystals.lattices[i], crystals.frac_coords[atoms], crystals.atomic_numbers[atoms]
        symmetry = spglib.get_symmetry_dataset(cell, symprec=0.01)
        assert symmetry.number == number
        # the cell has no smaller primitive cell
        assert len(symmetry.rotations) == len(space_group_operations(int(number))[0])
        rotations = crystals.rotation_sets[crystals.rotation_index[i]]
        np.testing.assert_array_equal(rotations, np.unique(symmetry.rotations, axis=0))


def test_lattices_have_the_metric_of_their_group(crystals):
    metric = crystals.lattices @ crystals.lattices.transpose(0, 2, 1)
    for i in range(len(crystals)):
        rotations = crystals.rotation_sets[crystals.rotation_index[i]].astype(float)
        kept = rotations.transpose(0, 2, 1) @ metric[i] @ rotations
        np.testing.assert_allclose(kept, np.broadcast_to(metric[i], kept.shape), atol=1e-9 * metric[i].max())


def test_atoms_keep_their_distance(crystals):
    for i in np.flatnonzero(np.diff(crystals.offsets) <= 100):
        structure = crystals.to_pymatgen(int(i))
        radii = RADII[[site.specie.Z for site in structure]]
        distances = structure.distance_matrix
        np.fill_diagonal(distances, min(structure.lattice.get_niggli_reduced_lattice().abc))
        assert (distances >= 0.75 * (radii[:, None] + radii) - 1e-6).all()


def test_volumes_and_contents_are_those_of_the_reference(crystals, amcsd):
    n_atoms = np.bincount(amcsd.crystal_of_site, weights=amcsd.occupancies)
    low, median, high = np.percentile(amcsd.volumes / n_atoms, [1, 50, 99])
    volumes = crystals.volumes / np.diff(crystals.offsets)
    assert (volumes > 0.8 * low).all()
    assert (volumes < 1.6 * high).all()
    assert 0.8 * median < np.median(volumes) < 1.4 * median
    assert set(crystals.atomic_numbers) <= set(amcsd.atomic_numbers)
    assert (crystals.occupancies == 1).all()
    has_u = np.isfinite(crystals.u_iso)
    assert has_u.mean() > 0.9
    assert set(crystals.u_iso[has_u]) <= set(amcsd.u_iso)


def test_small_reference(amcsd):
    reference = amcsd[:3]
    random = make_random_crystals([1, 15, 62, 166, 225], 2, reference=reference, max_sites=60, random_state=0)
    assert set(random.atomic_numbers) <= set(reference.atomic_numbers)
    primitive = np.diff(random.offsets) / [n_centrings(n) for n in random.space_groups]
    assert primitive.max() <= 60
    assert random.space_groups.tolist() == [1, 1, 15, 15, 62, 62, 166, 166, 225, 225]
    assert len(set(random.ids)) == 10
    if not np.isfinite(reference.u_iso).any():
        assert np.isnan(random.u_iso).all()


def test_random_state():
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    first, second, other = (make_random_crystals([2, 76, 78, 194], 3, random_state=s) for s in (1, 1, 2))
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002
    np.testing.assert_array_equal(first.frac_coords, second.frac_coords)
    np.testing.assert_array_equal(first.lattices, second.lattices)
    assert first.formulas.tolist() == second.formulas.tolist()
    assert first.formulas.tolist() != other.formulas.tolist()
    again = make_random_crystals(62, random_state=np.random.RandomState(3))
    assert len(again) == 1


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"space_groups": 231}, ValueError, "space groups"),
        ({"space_groups": [1, 2.5]}, ValueError, "space groups"),
        ({"space_groups": []}, ValueError, "space_groups"),
        ({"space_groups": [[1, 2]]}, ValueError, "space_groups"),
        ({"n_per_group": 0}, ValueError, "n_per_group"),
        ({"n_per_group": 1.5}, TypeError, "n_per_group"),
        ({"max_sites": 0}, ValueError, "max_sites"),
        ({"min_distance": 0.0}, ValueError, "min_distance"),
        ({"min_distance": 1.5}, ValueError, "min_distance"),
        ({"reference": "amcsd"}, ValueError, "reference"),
        ({"random_state": "seed"}, ValueError, "seed"),
        ({"space_groups": 228, "max_sites": 1}, RuntimeError, "space group 228"),
    ],
)
def test_bad_arguments(arguments, error, match):
    with pytest.raises(error, match=match):
        make_random_crystals(**{"space_groups": [2], **arguments})


def test_empty_reference(amcsd):
    with pytest.raises(ValueError, match="reference"):
        make_random_crystals(2, reference=amcsd[[]])
    assert isinstance(make_random_crystals(2, reference=amcsd[[0]], random_state=0), CrystalSet)


def test_no_output(capfd):
    make_random_crystals([97, 139], 20, random_state=0)
    assert capfd.readouterr() == ("", "")
