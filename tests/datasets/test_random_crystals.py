import gemmi
import numpy as np
import pytest
import spglib
from pymatgen.core import Element

from xtalsk.crystals import CrystalSet
from xtalsk.crystals._wyckoff import space_group_operations
from xtalsk.datasets import load_amcsd, make_random_crystals
from xtalsk.datasets._contacts import describe_contacts
from xtalsk.datasets._reference import count_atoms
from xtalsk.datasets._space_group_shares import count_space_groups
from xtalsk.symmetry import crystal_system

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
        ({"packing": "dense"}, ValueError, "packing"),
        ({"prior": "minerals"}, ValueError, "n_crystals"),
        ({"space_groups": None}, ValueError, "n_crystals"),
        ({"n_crystals": 0}, ValueError, "n_crystals"),
        ({"n_crystals": 2, "n_per_group": 2}, ValueError, "n_per_group"),
        ({"n_crystals": 2, "prior": "organic"}, ValueError, "'minerals', 'inorganic'"),
        ({"n_crystals": 2, "prior": np.ones(7)}, ValueError, "230 finite weights"),
        ({"n_crystals": 2, "prior": np.full(230, -1)}, ValueError, "230 finite weights"),
        ({"n_crystals": 2, "prior": np.zeros(230)}, ValueError, "prior is 0"),
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


def distances_of(crystals, i):
    """Distances of all atoms of a crystal (n, n); on the diagonal those to their nearest images."""
    structure = crystals.to_pymatgen(i)
    distances = structure.distance_matrix
    np.fill_diagonal(distances, min(structure.lattice.get_niggli_reduced_lattice().abc))
    return np.array([site.specie.Z for site in structure]), distances


def shortest_oxygen_distances(crystals):
    pairs = [distances_of(crystals, i) for i in range(len(crystals))]
    return [distances[np.ix_(z == 8, z == 8)].min() for z, distances in pairs if (z == 8).any()]


def test_packing_of_the_reference():
    groups = [2, 14, 15, 19, 62, 166]
    packed, loose = (
        make_random_crystals(groups, 5, packing=packing, random_state=0)
        for packing in ("reference", "covalent")
    )
    assert packed.space_groups.tolist() == np.repeat(groups, 5).tolist()
    for i in range(len(packed)):
        z, distances = distances_of(packed, i)
        ratios = distances / (RADII[z][:, None] + RADII[z])
        assert ratios.min() >= 0.75 - 1e-6
        assert ratios.min(axis=0).max() < 1.7  # 1.3, eased with each attempt
        cell = packed.lattices[i], packed.to_pymatgen(i).frac_coords, z
        assert spglib.get_symmetry_dataset(cell, symprec=0.01).number == packed.space_groups[i]
    # oxygens touch at 2.2 to 2.8 Å in minerals
    assert np.median(shortest_oxygen_distances(packed)) > 2.1
    assert np.median(shortest_oxygen_distances(loose)) < 1.8


def test_distances_of_the_reference(amcsd):
    is_whole = np.minimum.reduceat(amcsd.occupancies, amcsd.offsets[:-1]) == 1
    reference = amcsd[np.flatnonzero(is_whole)[:15]]
    contacts, (_, order) = describe_contacts(reference), count_atoms(reference)
    for row, i in enumerate(order.tolist()):
        z, distances = distances_of(reference, i)
        present = np.unique(z)
        expected = [[distances[np.ix_(z == a, z == b)].min() for b in present] for a in present]
        k = contacts.n_kinds[row]
        found = contacts.distances[contacts.starts[row] :][: k * k].reshape(k, k)
        np.testing.assert_allclose(found, np.minimum(expected, 4.0), atol=1e-4)
        np.testing.assert_array_equal(contacts.kinds[row, present], np.arange(k))


def test_volumes_follow_the_elements(amcsd):
    volumes = describe_contacts(amcsd[:3000]).volumes
    assert 7 < volumes[8] < 12  # oxygen
    assert volumes[Element("Mg").Z] < volumes[Element("Ca").Z] < volumes[Element("K").Z]


@pytest.mark.parametrize(
    ("is_mineral", "monoclinic", "tetragonal"),
    [(True, (0.29, 0.34), (0.07, 0.10)), (False, (0.21, 0.25), (0.12, 0.15))],
)
def test_published_shares(is_mineral, monoclinic, tetragonal):
    counts = count_space_groups(is_mineral)
    assert counts.shape == (230,)
    assert counts.argmax() == 13  # P2_1/c
    shares = counts / counts.sum()
    systems = crystal_system(np.arange(1, 231))
    for system, (low, high) in {"monoclinic": monoclinic, "tetragonal": tetragonal}.items():
        assert low < shares[systems == system].sum() < high


def test_prior(amcsd):
    weights = np.zeros(230)
    weights[[1, 13]] = 1.0, 3.0
    groups = make_random_crystals(n_crystals=60, prior=weights, random_state=0).space_groups
    assert set(groups) == {2, 14}
    assert 30 < (groups == 14).sum() < 58
    one = make_random_crystals([2, 14, 62], n_crystals=4, prior=weights * [k == 1 for k in range(230)])
    assert one.space_groups.tolist() == [2] * 4
    reference = amcsd[:40]
    as_reference = make_random_crystals(n_crystals=10, reference=reference, random_state=0)
    assert set(as_reference.space_groups) <= set(reference.space_groups)
    minerals = make_random_crystals(range(1, 16), n_crystals=10, prior="minerals", random_state=0)
    assert minerals.space_groups.max() <= 15
