"""Files, folders, tables and texts that hold CIFs, sound and damaged."""

import gzip
import random
import warnings
from pathlib import Path

import pandas as pd
import pytest

from xtalsk.crystals import BrokenEntryWarning, CrystalSet, _constants

DATA = Path(__file__).parents[1] / "data" / "cif"
DDLM = """#\\#CIF_2.0
data_x
_cell.length_a 5.64
_cell.length_b 5.64
_cell.length_c 5.64
_cell.angle_alpha 90
_cell.angle_beta 90
_cell.angle_gamma 90
_space_group.name_H-M_alt 'F m -3 m'
loop_
_atom_site.label
_atom_site.type_symbol
_atom_site.fract_x
_atom_site.fract_y
_atom_site.fract_z
Na1 Na 0 0 0
Cl1 Cl 0.5 0.5 0.5
"""


@pytest.fixture
def salt(cif):
    return cif([5.64], "Na 0 0 0\nCl 0.5 0.5 0.5", lines="_space_group_name_H-M_alt 'F m -3 m'")


def is_salt(crystals):
    return crystals.space_groups.tolist() == [225] and len(crystals.atomic_numbers) == 8


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "latin-1"])
def test_encodings(salt, tmp_path, encoding):
    path = tmp_path / "salt.cif"
    path.write_text(salt + "_publ_author_name 'Müller'\n", encoding=encoding)
    assert is_salt(CrystalSet.from_cifs(path))


def test_byte_order_mark_in_a_table(salt):
    assert is_salt(CrystalSet.from_cifs(pd.DataFrame({"cif": ["\ufeff" + salt]})))


@pytest.mark.parametrize(
    "change", [str, lambda t: t.replace("\n", "\r\n"), lambda t: t.replace("_cell.", "_CELL.")]
)
def test_dotted_tags(change):
    assert is_salt(CrystalSet.from_cifs(change(DDLM)))
    both = DDLM.replace("loop_\n", "_space_group_name_H-M_alt 'F m -3 m'\nloop_\n", 1)
    assert is_salt(CrystalSet.from_cifs(change(both)))


def test_folder_with_suffixes_in_any_case(salt, tmp_path):
    (tmp_path / "sub.cif").mkdir()
    for name in ("A.CIF", "b.cif", "c.mcif", "sub.cif/d.Mcif"):
        (tmp_path / name).write_text(salt)
    (tmp_path / "e.cif.gz").write_bytes(gzip.compress(salt.encode(), mtime=0))
    (tmp_path / "notes.txt").write_text("no crystal")
    crystals = CrystalSet.from_cifs(tmp_path)
    assert crystals.ids.tolist() == ["A.CIF", "b.cif", "c.mcif", "e.cif.gz", "sub.cif/d.Mcif"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"no CIF entries found in .*empty.*expected files \.cif"):
        CrystalSet.from_cifs(tmp_path / "empty")


def test_text_in_place_of_a_path(salt):
    assert is_salt(CrystalSet.from_cifs(salt))
    assert CrystalSet.from_cifs([salt, salt]).ids.tolist() == ["0", "1"]
    assert is_salt(CrystalSet.from_cifs(pd.Series([salt])))
    for wrong in ("x" * 5000, "a\0b.cif"):
        with pytest.raises((ValueError, FileNotFoundError), match=r"got 'x|no such file|got 'a"):
            CrystalSet.from_cifs(wrong)
    for wrong in (None, 3, b"data_x", {"cif": salt}):
        with pytest.raises(ValueError, match="expected a path, CIF text, a list of these or a table"):
            CrystalSet.from_cifs(wrong)


def test_several_blocks(salt, cif):
    other = cif([4.12], "Cs 0 0 0\nCl 0.5 0.5 0.5", lines="_space_group_IT_number 221")
    text = "data_global\n_journal_year 2000\n" + salt.replace("data_test", "data_salt") + other
    crystals = CrystalSet.from_cifs(text)
    assert crystals.ids.tolist() == ["text#salt", "text#test"]
    assert crystals.space_groups.tolist() == [225, 221]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty"),
        (b" \n\n", "the file is empty"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "the file is binary"),
        (b"data_x\n_cell_length_a 'abc\n", "unterminated"),
        (b"data_x\n;text\n", "not readable as CIF"),
        (b"data_x\nloop_\n_a\n_b\n1 2 3\n", "not readable as CIF"),
        (b"data_a\n_x 1\ndata_a\n_x 2\n", "duplicate block name"),
        (b"data_a\n_x 1\n_x 2\n", "duplicate tag"),
        (gzip.compress(b"data_x\n" * 50, mtime=0)[:20], "the compressed file is damaged"),
        (b"hello", "not readable as CIF"),
        (b"data_x\n_cell_length_a 5\n", "it lists no atoms"),
        (b"#only a comment\n", "it has no data block"),
    ],
)
def test_damaged_files_do_not_stop_the_others(salt, tmp_path, content, reason):
    (tmp_path / "damaged.cif").write_bytes(content)
    (tmp_path / "salt.cif").write_text(salt)
    with pytest.warns(
        BrokenEntryWarning, match=rf"(?s)1 of 2 entries were left out.*damaged\.cif: .*{reason}"
    ):
        assert is_salt(CrystalSet.from_cifs(tmp_path))
    with pytest.raises(ValueError, match=rf"damaged\.cif: .*{reason}"):
        CrystalSet.from_cifs(tmp_path / "damaged.cif")


def test_huge_files_and_entries(salt, cif, tmp_path, monkeypatch):
    sites = "\n".join(f"Na{i} 0.{i:06d} 0.1 0.2" for i in range(6000))
    with pytest.raises(ValueError, match="6000 sites and 192 operations are too many"):
        CrystalSet.from_cifs(cif([50.0], sites, lines="_space_group_name_H-M_alt 'F m -3 m'"))
    (tmp_path / "bomb.cif.gz").write_bytes(gzip.compress(b"data_x\n" * 100_000, mtime=0))
    (tmp_path / "large.cif").write_bytes(b"data_x\n" * 100_000)
    monkeypatch.setattr("xtalsk.crystals._cif_text.MAX_FILE_SIZE", 2**19)
    assert _constants.MAX_FILE_SIZE > 2**19
    for name in ("bomb.cif.gz", "large.cif"):
        with pytest.raises(ValueError, match="the file is larger than 0 MB"):
            CrystalSet.from_cifs(tmp_path / name)


@pytest.mark.parametrize(
    "content", [b"", b"a,b\n1,2,3\n4,5,6,7\n", b'cif\n"unclosed', b"\xff\xfe\0\0", b"\0" * 100]
)
def test_damaged_tables(tmp_path, content):
    for name in ("t.csv", "T.CSV", "t.csv.gz"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=rf"{name}|no column"):
            CrystalSet.from_cifs(tmp_path / name)


def test_entries_with_one_name(salt, tmp_path):
    paths = [tmp_path / folder / "x.cif" for folder in "abc"]
    for path, text in zip(paths, ("", "", salt), strict=True):
        path.parent.mkdir()
        path.write_text(text)
    with pytest.warns(BrokenEntryWarning, match=r"(?s)2 of 3 .*x\.cif: .*x\.cif \(2\): "):
        CrystalSet.from_cifs(paths)


def test_mutated_files_give_a_crystal_or_one_documented_error():
    rng = random.Random(0)
    texts = [p.read_text(encoding="utf-8") for p in sorted(DATA.glob("*.cif"))]
    reasons = []
    for _ in range(300):
        text = list(rng.choice(texts))
        for _ in range(rng.randint(1, 8)):
            i = rng.randrange(len(text))
            action = rng.random()
            if action < 0.4:
                text[i] = chr(rng.randrange(1, 256))
            elif action < 0.7:
                del text[i : i + rng.randrange(1, 200)]
            else:
                text[i:i] = rng.choice(
                    ["loop_", "'", ";", "\n", "1e400", "nan", "?", "-", "data_", "_cell_length_a 0"]
                )
            text = text or ["x"]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                assert len(CrystalSet.from_cifs([f"data_\n{''.join(text)}"]))
            except ValueError as error:
                reasons.append(str(error))
    assert all("cannot be used" in reason for reason in reasons)
    assert not any("Error: " in reason for reason in reasons)  # reasons are sentences, no names of classes


@pytest.mark.parametrize("damage", ["empty", "text", "truncated", "flipped", "pickle"])
def test_damaged_archives(salt, tmp_path, damage):
    import numpy as np

    path = tmp_path / "crystals.npz"
    CrystalSet.from_cifs(salt).save(path)
    content = bytearray(path.read_bytes())
    if damage == "flipped":
        content[60:90] = bytes(30)
    changed = {"empty": b"", "text": b"hello", "truncated": content[: len(content) // 2], "flipped": content}
    if damage == "pickle":
        np.savez(path, lattices=np.array([object()], dtype=object))
    else:
        path.write_bytes(changed[damage])
    with pytest.raises(ValueError, match=r"crystals\.npz does not hold a CrystalSet"):
        CrystalSet.load(path)
    with pytest.raises(FileNotFoundError):
        CrystalSet.load(tmp_path / "nowhere.npz")
