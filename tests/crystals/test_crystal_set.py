import pickle
from contextlib import suppress

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from xtalsk.crystals import BrokenEntryWarning, CrystalSet
from xtalsk.crystals._formulas import formula_of
from xtalsk.crystals._orbits import expand_sites

CSCL = """data_cscl
_cell_length_a 4.12
_cell_length_b 4.12
_cell_length_c 4.12
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_space_group_name_H-M_alt '{group}'
loop_
_atom_site_label
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
{sites}
"""
GOOD = CSCL.format(group="P m -3 m", sites="Cs 0 0 0 0.9\nRb 0 0 0 0.1\nCl 0.5 0.5 0.5 1")


@pytest.fixture
def structures():
    rutile = Structure.from_spacegroup(
        "P4_2/mnm", Lattice.tetragonal(4.59, 2.96), ["Ti", "O"], [[0, 0, 0], [0.305, 0.305, 0]]
    )
    alloy = Structure(Lattice.cubic(3.6), [{"Cu": 0.7, "Au": 0.3}] * 4,
                      [[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])  # fmt: skip
    skew = Structure(Lattice.from_parameters(5, 6, 7, 80, 85, 95), ["Fe", "O", "H"],
                     [[0.1, 0.2, 0.3], [0.4, 0.1, 0.9], [0.7, 0.6, 0.2]])  # fmt: skip
    return [rutile, alloy, skew]


@pytest.fixture
def crystals(structures):
    return CrystalSet.from_pymatgen(structures, ids=["r", "a", "s"], names=["rutile", "", "odd"])


def test_from_and_to_pymatgen(crystals, structures):
    assert crystals.space_groups.tolist() == [136, 225, 1]
    assert crystals.formulas.tolist()[0] == "TiO2"
    for i, structure in enumerate(structures):
        back = crystals.to_pymatgen(i)
        assert back.matches(structure)
        assert back.composition.almost_equals(structure.composition, atol=1e-5)
        np.testing.assert_allclose(back.lattice.matrix, structure.lattice.matrix)


def test_point_groups_keep_the_metric(crystals):
    for i, lattice in enumerate(crystals.lattices):
        metric = lattice @ lattice.T
        rotations = crystals.rotation_sets[crystals.rotation_index[i]].astype(float)
        kept = np.einsum("kji,jl,klm->kim", rotations, metric, rotations)
        np.testing.assert_allclose(kept, np.broadcast_to(metric, kept.shape), atol=1e-9)
    assert [len(crystals.rotation_sets[k]) for k in crystals.rotation_index] == [16, 48, 1]


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (1, "a"),
        (-1, "s"),
        (slice(1, None), "as"),
        ([2, 0], "sr"),
        (np.array([True, False, True]), "rs"),
        ([], ""),
    ],
)
def test_indexing(crystals, key, expected):
    part = crystals[key]
    assert "".join(part.ids) == expected
    assert part.offsets[-1] == len(part.atomic_numbers)
    for i, name in enumerate(part.ids):
        whole = list(crystals.ids).index(name)
        assert part.to_pymatgen(i) == crystals.to_pymatgen(whole)


def test_index_out_of_range(crystals):
    with pytest.raises(IndexError, match="crystal 3 of a set of 3"):
        crystals[3]


def test_concatenate_and_save(crystals, tmp_path):
    joined = CrystalSet.concatenate([crystals[2], crystals[:2]])
    joined.save(tmp_path / "crystals.npz")
    for restored in (CrystalSet.load(tmp_path / "crystals.npz"), pickle.loads(pickle.dumps(joined))):
        assert restored.ids.tolist() == ["s", "r", "a"]
        assert restored.names.tolist() == ["odd", "rutile", ""]
        np.testing.assert_array_equal(restored.frac_coords, joined.frac_coords)
        assert len(restored.rotation_sets[restored.rotation_index[1]]) == 16
    with pytest.raises(ValueError, match="at least one"):
        CrystalSet.concatenate([])


def test_load_names_a_foreign_file(tmp_path):
    np.savez(tmp_path / "other.npz", a=1)
    with pytest.raises(ValueError, match="does not hold a CrystalSet"):
        CrystalSet.load(tmp_path / "other.npz")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lattices": np.zeros((1, 3, 3))}, "crystal 0 .* flat"),
        ({"lattices": -np.eye(3)[None]}, "left-handed"),
        ({"atomic_numbers": [0, 17]}, "atomic number outside 1 to 98 at its site 0"),
        ({"occupancies": [1.0, 1.2]}, r"occupancy outside \(0, 1\] at its site 1"),
        ({"frac_coords": [[0, 0, np.nan], [0.5] * 3]}, "not finite at its site 0"),
        ({"u_iso": [np.nan, -0.1]}, "negative u_iso at its site 1"),
        ({"space_groups": [231]}, "from 1 to 230"),
        ({"offsets": [0, 3]}, "offsets must rise"),
        ({"formulas": ["a", "b"]}, "formulas must have shape"),
    ],
)
def test_unphysical_crystals_are_named(change, message):
    salt = {
        "lattices": np.eye(3)[None] * 4,
        "offsets": [0, 2],
        "atomic_numbers": [55, 17],
        "frac_coords": [[0, 0, 0], [0.5, 0.5, 0.5]],
        "occupancies": [1, 1],
        "u_iso": [np.nan, np.nan],
        "space_groups": [221],
        "rotation_sets": [np.eye(3)[None]],
        "rotation_index": [0],
        "formulas": ["CsCl"],
        "ids": ["x"],
        "names": [""],
    }
    CrystalSet(**salt)
    with pytest.raises(ValueError, match=message):
        CrystalSet(**(salt | change))


def test_cifs_broken_entries_are_reported_and_do_not_stop_the_rest(tmp_path):
    (tmp_path / "sub").mkdir()
    entries = {
        "a_good.cif": GOOD,
        "b_text.cif": "this is not a CIF",
        "c_cell.cif": GOOD.replace("_cell_length_a 4.12", "_cell_length_a 0"),
        "d_atom.cif": GOOD.replace("Cl 0.5", "Qq 0.5"),
        "e_empty.cif": "data_x\n_cell_length_a 3\n",
        "f_occupancy.cif": GOOD.replace("0.9\n", "1.9\n"),
        "g_group.cif": GOOD.replace("P m -3 m", "P nonsense"),
        "sub/h_good.cif": GOOD,
    }
    for name, text in entries.items():
        (tmp_path / name).write_text(text)
    with pytest.warns(BrokenEntryWarning, match="6 of 8 entries were left out") as record:
        crystals = CrystalSet.from_cifs(tmp_path)
    assert crystals.ids.tolist() == ["a_good.cif", "sub/h_good.cif"]
    assert crystals.space_groups.tolist() == [221, 221]
    np.testing.assert_allclose(crystals[0].occupancies, [0.9, 0.1, 1.0], atol=1e-6)
    errors = next(w.message.errors for w in record if isinstance(w.message, BrokenEntryWarning))
    reasons = " | ".join(errors[k] for k in sorted(errors))
    for part in ("not readable", "not physical", "Qq", "no atoms", "occupancies", "nonsense"):
        assert part in reasons
    with pytest.raises(ValueError, match="6 of 8 entries cannot be used; the first is b_text"):
        CrystalSet.from_cifs(tmp_path, on_error="raise")


def test_cif_table(tmp_path):
    import pandas as pd

    table = pd.DataFrame({"name": ["x", "y", "z"], "cif": [GOOD, None, GOOD]})
    table.to_csv(tmp_path / "table.csv.gz", index=False)
    with pytest.warns(BrokenEntryWarning, match="y: expected CIF text"):
        crystals = CrystalSet.from_cifs(tmp_path / "table.csv.gz", id_column="name", n_jobs=2)
    assert crystals.ids.tolist() == ["x", "z"]
    with pytest.raises(ValueError, match="no column 'cifs'; it has"):
        CrystalSet.from_cifs(table, column="cifs")
    with pytest.raises(FileNotFoundError, match=r"nowhere\.cif"):
        CrystalSet.from_cifs(tmp_path / "nowhere.cif")


def test_symmetry_is_determined_where_a_cif_lists_none():
    text = CSCL.format(group="P 1", sites="Cs 0 0 0 1\nCl 0.5 0.5 0.5 1")
    import pandas as pd

    crystals = CrystalSet.from_cifs(pd.DataFrame({"cif": [text]}))
    assert crystals.space_groups.tolist() == [221]
    assert len(crystals.rotation_sets[crystals.rotation_index[0]]) == 48


def test_rounded_special_positions_give_each_atom_once():
    import gemmi

    group = gemmi.SpaceGroup("P 63/m m c").operations().sym_ops
    rotations = np.array([op.rot for op in group]) // 24
    translations = np.array([op.tran for op in group]) / 24
    lattice = np.array(gemmi.UnitCell(3.2, 3.2, 5.2, 90, 90, 120).orth.mat.tolist()).T
    coords, sites = expand_sites(
        [[0.3333, 0.6667, 0.25], [0.174, 0.347, 0.6]], rotations, translations, lattice
    )
    assert np.bincount(sites).tolist() == [2, 12]
    np.testing.assert_allclose(coords[0], [1 / 3, 2 / 3, 0.25], atol=1e-9)
    x, y, _ = coords[sites == 1][0]
    assert abs(y - 2 * x) < 1e-9


def test_measured_collections(shared_data):
    folder = shared_data / "structures" / "openchemistry"
    crystals = CrystalSet.from_cifs(folder)
    assert len(crystals) == len(list(folder.rglob("*.cif")))
    import pandas as pd

    table = pd.read_csv(shared_data / "structures" / "mp_d.csv.gz", nrows=150)
    crystals = CrystalSet.from_cifs(table, id_column="material_id")
    assert np.mean(crystals.space_groups == table["spacegroup.number"]) > 0.96


def is_mapped(array):
    """Return whether an array is a view of one that is mapped into memory."""
    while array is not None and not isinstance(array, np.memmap):
        array = getattr(array, "base", None)
    return array is not None


@pytest.mark.parametrize("mmap", [False, True])
def test_an_uncompressed_set_returns_unchanged(crystals, tmp_path, mmap):
    path = tmp_path / "crystals"
    crystals.save(path, compressed=False)
    restored = CrystalSet.load(path, mmap=mmap)
    for name, value in vars(crystals).items():
        other = getattr(restored, name)
        if name == "rotation_sets":
            assert all(np.array_equal(a, b) for a, b in zip(value, other, strict=True))
        else:
            assert other.dtype == value.dtype
            np.testing.assert_array_equal(other, value)
    assert is_mapped(restored.frac_coords) == mmap
    again = CrystalSet.concatenate([restored, restored[[1]]])
    assert again.ids.tolist() == [*"rasa"]
    restored[:2].save(path, compressed=False)  # the file that is mapped is replaced
    assert CrystalSet.load(path).to_pymatgen(1).matches(restored.to_pymatgen(1))


def test_slices_share_memory(crystals):
    for key in (slice(1, 3), slice(None), slice(-1, None), slice(2, 1), slice(0, 0)):
        part, copied = crystals[key], crystals[np.arange(3)[key]]
        assert np.shares_memory(part.frac_coords, crystals.frac_coords) == bool(len(part))
        for name in set(vars(copied)) - {"rotation_sets"}:
            np.testing.assert_array_equal(getattr(part, name), getattr(copied, name))
    assert crystals[::-1].ids.tolist() == [*"sar"]


def test_a_damaged_uncompressed_file_is_named(crystals, tmp_path):
    path = tmp_path / "crystals"
    crystals.save(path, compressed=False)
    data = path.read_bytes()
    places = [k for k in range(0, len(data), 97) if data[k] or k > len(data) // 2]
    n_found = 0
    for place in places:
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        with suppress(ValueError):
            restored = CrystalSet.load(path)  # the byte lies between two arrays
            np.testing.assert_array_equal(restored.frac_coords, crystals.frac_coords)
            continue
        n_found += 1
    assert n_found > len(places) / 3
    path.write_bytes(b"?" + data[1:])
    with pytest.raises(ValueError, match=f"{path} does not hold"):
        CrystalSet.load(path)
    path.write_bytes(data[:-1])
    with pytest.raises(ValueError, match="incomplete"):
        CrystalSet.load(path, mmap=True)
    crystals.save(path)
    with pytest.raises(ValueError, match="compressed=False"):
        CrystalSet.load(path, mmap=True)


def test_offsets_and_indices_of_a_mapped_file_are_checked(crystals, tmp_path):
    bad = crystals._from_checked(**vars(crystals) | {"rotation_index": crystals.rotation_index + 9})
    bad.save(tmp_path / "crystals", compressed=False)
    with pytest.raises(ValueError, match="rotation_index"):
        CrystalSet.load(tmp_path / "crystals", mmap=True)
    bad = crystals._from_checked(**vars(crystals) | {"offsets": crystals.offsets[::-1]})
    bad.save(tmp_path / "crystals", compressed=False)
    with pytest.raises(ValueError, match="offsets"):
        CrystalSet.load(tmp_path / "crystals", mmap=True)


def test_the_formula_keeps_a_trace():
    assert formula_of(np.array([11, 17, 19]), np.array([1.0, 1.0, 0.008])) == "KNa125Cl125"
