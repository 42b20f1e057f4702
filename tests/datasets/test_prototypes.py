"""The packaged prototypes and their types."""

from dataclasses import replace

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from xtalsk import CrystalSet, load_amcsd, load_prototypes
from xtalsk.crystals._contacts import contact_of
from xtalsk.crystals._faults import find_faults, main_atoms
from xtalsk.crystals._symmetry_search import find_symmetry
from xtalsk.datasets._amcsd import _unpack
from xtalsk.datasets._build_prototypes import asymmetric_unit, find_types, number_types, pack_computed, write


@pytest.fixture(scope="module")
def prototypes():
    return load_prototypes(return_descr=True)


@pytest.fixture(scope="module")
def known():
    """Perovskites, one of them with atoms shifted along z, and rock salts."""
    places, shifted = [[0, 0, 0], [0.5] * 3, [0.5, 0.5, 0]], [[0, 0, 0], [0.5, 0.5, 0.52], [0.5, 0.5, 0.02]]
    shifted += [[0.5, 0, 0.49], [0, 0.5, 0.49]]
    cubic = [
        Structure.from_spacegroup("Pm-3m", Lattice.cubic(a), ["Sr", metal, "O"], places)
        for a, metal in ((3.9, "Ti"), (4.1, "Hf"))
    ]
    moved = Structure(Lattice.tetragonal(4.0, 4.1), ["Ba", "Ti", "O", "O", "O"], shifted)
    salts = [
        Structure.from_spacegroup("Fm-3m", Lattice.cubic(a), pair, places[:2])
        for a, pair in ((5.64, ["Na", "Cl"]), (4.21, ["O", "Mg"]))
    ]
    return CrystalSet.from_pymatgen([*cubic, moved, *salts], ids=[f"mp-{i}" for i in range(5)])


def test_prototypes_and_their_sources(prototypes):
    crystals, descr = prototypes
    assert f"{len(crystals):,} crystal structures" in descr
    sources = {text.partition("-")[0].partition(":")[0] for text in crystals.ids}
    for source in sources:
        assert f"`{source}" in descr
    assert "CC-BY-4.0" in descr
    assert len(set(crystals.ids)) == len(crystals)
    assert not find_faults(crystals)


def test_computed_structures_have_the_symmetry_of_their_label(prototypes):
    crystals = prototypes[0]
    computed = np.flatnonzero([text.startswith("mp-") for text in crystals.ids])
    for row in computed[:: len(computed) // 40]:
        sites = slice(*crystals.offsets[row : row + 2])
        arrays = crystals.atomic_numbers[sites], crystals.frac_coords[sites], crystals.occupancies[sites]
        number, rotations = find_symmetry(crystals.lattices[row], *arrays, 0.005)
        assert number == crystals.space_groups[row], crystals.ids[row]
        assert len(rotations) == len(crystals.rotation_sets[crystals.rotation_index[row]])
        assert contact_of(crystals, row) >= 0.6


def test_unique_types_are_few_and_come_first(prototypes):
    unique = load_prototypes(unique=True)
    assert len(unique) < len(prototypes[0]) / 3
    assert set(unique.ids) <= set(prototypes[0].ids)
    is_full = np.minimum.reduceat(unique.occupancies, unique.offsets[:-1]) == 1
    salts = [
        row
        for row in np.flatnonzero(is_full & (unique.space_groups == 225) & (np.diff(unique.offsets) == 8))
        if np.unique(unique[row].atomic_numbers, return_counts=True)[1].tolist() == [4, 4]
    ]
    assert len(salts) == 1  # rock salt, of hundreds of compounds
    assert unique.ids[salts[0]].startswith("amcsd:")


def test_types_do_not_depend_on_elements_axes_and_origin(known):
    moved = replace(known, frac_coords=(known.frac_coords + 0.5) % 1)
    types = find_types(CrystalSet.concatenate([known, moved]), 0.03, verbose=False)
    first = number_types(types)
    assert first.tolist() == [0, 0, 2, 3, 3] * 2
    assert types[2][0][0] == 99


def test_hydrogen_and_minor_elements_do_not_count():
    metals = {"Fe": 0.7, "Mg": 0.3}
    salt = Structure.from_spacegroup("Fm-3m", Lattice.cubic(4.3), [metals, "O"], [[0, 0, 0], [0.5] * 3])
    salt.append("H", [0.25] * 3)
    sites, occupancies = main_atoms(CrystalSet.from_pymatgen([salt]))
    assert len(sites) == 8
    np.testing.assert_allclose(occupancies, 1)


def test_packed_structures_are_unpacked(known, tmp_path):
    arrays = pack_computed(known)
    unpacked = _unpack(arrays | {"ids": str(arrays["ids"]).split("\n")})
    np.testing.assert_array_equal(unpacked.ids, known.ids)
    np.testing.assert_array_equal(unpacked.space_groups, known.space_groups)
    for i in range(len(known)):
        assert unpacked.to_pymatgen(i).matches(known.to_pymatgen(i))
    assert len(asymmetric_unit(known[[3]])[0]["numbers"]) == 2
    write(tmp_path / "prototypes.npz", load_amcsd()[:2], known, np.array([0, -1, 2, 2, 4, 5, -1]))
    with np.load(tmp_path / "prototypes.npz") as archive:
        assert archive["measured"].tolist() == [0]
        assert archive["types"].tolist() == [0, 1, 1, 2, 3]
        assert str(archive["ids"]).split("\n") == ["mp-0", "mp-1", "mp-2", "mp-3"]
