"""CIF files that the package writes are read back the same, by itself and by pymatgen."""

from dataclasses import replace

import gemmi
import numpy as np
import pytest
from pymatgen.core import Lattice, Structure
from scipy.optimize import linear_sum_assignment

from xtalsk import CrystalSet, load_amcsd
from xtalsk.crystals._faults import find_faults


@pytest.fixture(scope="module")
def minerals():
    """Minerals of all crystal systems, with mixed sites, displacements and hydrogen."""
    crystals = load_amcsd()
    first = np.unique(crystals.space_groups, return_index=True)[1]
    rows = first[1 :: len(first) // 12]
    sites = crystals.crystal_of_site
    partial = np.unique(sites[(crystals.occupancies < 1) & np.isfinite(crystals.u_iso)])[:400:80]
    hydrogen = np.unique(sites[crystals.atomic_numbers == 1])[:400:80]
    rows = np.concatenate([rows, partial, hydrogen])
    return crystals[np.setdiff1d(rows, list(find_faults(crystals)))]


def differences(first, second):
    """Distances in Å between the atoms of two crystals, with those in occupancy and displacement."""
    offsets = first.frac_coords[:, None] - second.frac_coords
    offsets -= np.round(offsets)
    cost = np.linalg.norm(offsets @ first.lattices[0], axis=-1)
    for name in ("atomic_numbers", "occupancies", "u_iso"):
        cost = cost + 100 * np.abs(
            np.nan_to_num(getattr(first, name), nan=-1)[:, None]
            - np.nan_to_num(getattr(second, name), nan=-1)
        )
    return cost[linear_sum_assignment(cost)]


def test_round_trip(minerals, tmp_path):
    paths = minerals.to_cifs(tmp_path / "new" / "folder")
    read = CrystalSet.from_cifs(paths)
    assert len(read) == len(minerals)
    np.testing.assert_array_equal(np.diff(read.offsets), np.diff(minerals.offsets))
    np.testing.assert_array_equal(read.space_groups, minerals.space_groups)
    np.testing.assert_allclose(read.volumes, minerals.volumes, rtol=1e-6)
    for i in range(len(minerals)):
        assert differences(minerals[i], read[i]).max() < 0.01, minerals.ids[i]


def test_pymatgen_reads_the_same_structure(minerals):
    for i in range(0, len(minerals), 3):
        structure = Structure.from_str(minerals.to_cif(i), fmt="cif", occupancy_tolerance=1.1)
        expected = minerals.to_pymatgen(i)
        assert len(structure) == len(expected), minerals.ids[i]
        assert structure.composition.almost_equals(expected.composition, rtol=0.01)


def test_only_the_asymmetric_unit_is_written():
    salt = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5] * 3])
    crystals = replace(CrystalSet.from_pymatgen([salt], ids=["rock salt: 1/2"]), names=["it's salt"])
    block = gemmi.cif.read_string(crystals.to_cif(0)).sole_block()
    assert block.name == "rock_salt_1_2"
    assert list(block.find_values("_atom_site_label")) == ["Na1", "Cl2"]
    assert len(block.find_values("_space_group_symop_operation_xyz")) == 192
    assert gemmi.cif.as_string(block.find_value("_space_group_name_H-M_alt")) == "F m -3 m"
    assert gemmi.cif.as_string(block.find_value("_chemical_formula_sum")) == "Na1 Cl1"
    assert gemmi.cif.as_string(block.find_value("_chemical_name_common")) == "it's salt"
    assert list(block.find_values("_atom_site_U_iso_or_equiv")) == ["?", "?"]


def test_different_displacements_of_equivalent_atoms_are_kept():
    salt = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5] * 3])
    salt.add_site_property("u_iso", [0.01] * 7 + [0.02])
    crystals = CrystalSet.from_pymatgen([salt])
    read = CrystalSet.from_cifs(crystals.to_cif(0))
    assert differences(crystals[0], read[0]).max() < 1e-6
    assert read.space_groups.tolist() == [225]


def test_lower_symmetry_than_that_of_the_atoms_is_kept():
    """Hydrogen that was not located may be why the symmetry of the entry is lower than that of its atoms."""
    structure = Structure.from_spacegroup("Pm-3m", Lattice.cubic(4.12), ["Cs", "Cl"], [[0, 0, 0], [0.5] * 3])
    crystals = CrystalSet.from_pymatgen([structure])
    rotations = crystals.rotation_sets[0]
    proper = rotations[np.round(np.linalg.det(rotations)) == 1]
    crystals = replace(crystals, space_groups=[207], rotation_sets=[proper])
    assert CrystalSet.from_cifs(crystals.to_cif(0)).space_groups.tolist() == [207]


def test_files_of_one_name_do_not_replace_each_other(minerals, tmp_path):
    crystals = replace(minerals[:3], ids=["a/b.cif", "A b", "???"])
    paths = crystals.to_cifs(tmp_path)
    assert [path.name for path in paths] == ["a_b.cif", "A_b_1.cif", "_.cif"]
    assert (
        CrystalSet.from_cifs(paths).formulas.tolist()
        == CrystalSet.from_cifs([minerals.to_cif(i) for i in range(3)]).formulas.tolist()
    )


def test_identifiers_that_look_like_numbered_ones(minerals, tmp_path):
    paths = replace(minerals[:3], ids=["a_2", "a", "a"]).to_cifs(tmp_path)
    assert len(set(paths)) == 3


def test_any_origin_is_kept(minerals):
    """gemmi writes translations as multiples of 1/24."""
    shifted = replace(minerals[:3], frac_coords=minerals[:3].frac_coords + np.array([0.013, 0.171, 0.092]))
    for i in range(3):
        read = CrystalSet.from_cifs(shifted.to_cif(i))
        assert differences(shifted[i], read[0]).max() < 1e-6
