import shutil

import numpy as np
import pytest

from xtalsk.crystals import BrokenEntryWarning, CrystalSet
from xtalsk.datasets import _cif_tree, load_cif_tree

CELL = """data_{name}
_cell_length_a {a}
_cell_length_b {a}
_cell_length_c {a}
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_space_group_IT_number 225
loop_
_atom_site_label
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
Cu 0 0 0
"""


@pytest.fixture
def tree(tmp_path):
    for k in range(12):
        folder = tmp_path / "tree" / str(k // 5)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{k:02}.CIF").write_text(CELL.format(name=k, a=3.5 + k / 10))
    (tmp_path / "tree" / "1" / "06.CIF").write_text("data_broken\n_cell_length_a x\n")
    (tmp_path / "tree" / "notes.txt").write_text("no crystal")
    return tmp_path / "tree"


def load(tree, **options):
    with pytest.warns(BrokenEntryWarning, match=r"1 of 12 entries were left out:\n1/06.CIF"):
        return load_cif_tree(tree, data_home=tree.parent / "home", **options)


def test_all_files_are_read_in_order_with_any_number_of_jobs(tree, monkeypatch):
    monkeypatch.setattr(_cif_tree, "_PART_SIZE", 3)
    read = load(tree, license="CC0-1.0")
    assert read.crystals.ids.tolist() == [f"{k // 5}/{k:02}.CIF" for k in range(12) if k != 6]
    np.testing.assert_allclose(read.crystals.lattices[:, 0, 0], [3.5 + k / 10 for k in range(12) if k != 6])
    assert set(read.crystals.space_groups) == {225}
    assert read.broken["id"].tolist() == ["1/06.CIF"]
    assert set(read.provenance["license"]) == {"CC0-1.0"}
    again = load(tree, n_jobs=2, cache=False)
    assert again.crystals.ids.tolist() == read.crystals.ids.tolist()
    np.testing.assert_array_equal(again.crystals.frac_coords, read.crystals.frac_coords)


def test_a_second_call_reads_only_what_changed(tree, monkeypatch):
    first = load(tree)
    seen = []
    real = _cif_tree._read_files

    def counted(root, part, symprec):
        seen.extend(file.as_posix() for file in part)
        return real(root, part, symprec)

    monkeypatch.setattr(_cif_tree, "_read_files", counted)
    assert load(tree).crystals.ids.tolist() == first.crystals.ids.tolist()
    assert seen == []
    (tree / "2" / "11.CIF").write_text(CELL.format(name="other", a=4.75))
    assert load(tree).crystals.lattices[-1, 0, 0] == 4.75
    assert seen == ["2/10.CIF", "2/11.CIF"]
    for file in (tree.parent / "home").rglob("*.npz"):  # a damaged cache is read again, not believed
        file.write_bytes(file.read_bytes()[:100])
    assert load(tree).crystals.ids.tolist() == first.crystals.ids.tolist()
    assert len(seen) == 2 + 12


def test_crystals_are_those_of_from_cifs(tree):
    with pytest.warns(BrokenEntryWarning):
        expected = CrystalSet.from_cifs(tree)
    np.testing.assert_array_equal(load(tree).crystals.lattices, expected.lattices)


def test_a_tree_without_crystals(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such folder"):
        load_cif_tree(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"no CIF files in .*\.mcif"):
        load_cif_tree(tmp_path)
    (tmp_path / "a.cif").write_text("nothing")
    with pytest.raises(ValueError, match=r"none of 1 entries .* a\.cif: not readable as CIF"):
        load_cif_tree(tmp_path, cache=False)
    shutil.rmtree(tmp_path)
