import gemmi
import numpy as np
import pytest

from xtalsk.crystals._build_wyckoff import derive_group, main, pack
from xtalsk.crystals._wyckoff import (
    TABLE,
    WyckoffTable,
    primitive_axes,
    space_group_operations,
    wyckoff_positions,
)

KINDS = {  # (multiplicity, freedom) as International Tables A lists them
    1: [(1, 3)],
    2: [(1, 0)] * 8 + [(2, 3)],
    62: [(4, 0), (4, 0), (4, 2), (8, 3)],
    47: [(1, 0)] * 8 + [(2, 1)] * 12 + [(4, 2)] * 6 + [(8, 3)],
    166: [(3, 0), (3, 0), (6, 1), (9, 0), (9, 0), (18, 1), (18, 1), (18, 2), (36, 3)],
    225: [(4, 0), (4, 0), (8, 0), (24, 0), (24, 1), (32, 1)] + [(48, 1)] * 3 + [(96, 2)] * 2 + [(192, 3)],
    227: [(8, 0), (8, 0), (16, 0), (16, 0), (32, 1), (48, 1), (96, 1), (96, 2), (192, 3)],
}


def test_positions_of_the_international_tables():
    assert sum(len(wyckoff_positions(n)) for n in range(1, 231)) == 1731
    for number, kinds in KINDS.items():
        assert [(w.multiplicity, w.freedom) for w in wyckoff_positions(number)] == kinds


@pytest.mark.parametrize("number", [5, 14, 43, 70, 88, 122, 146, 155, 167, 190, 199, 206, 220, 227, 230])
def test_orbits(number):
    rng = np.random.RandomState(number)
    rotations, translations, n = space_group_operations(number)
    for w in wyckoff_positions(number):
        point = w.point + rng.uniform(size=w.freedom) @ w.directions
        shifts = rotations @ point + translations - point
        n_fixing = (np.abs(shifts - np.round(shifts)).max(axis=1) < 1e-6).sum()
        assert n_fixing * w.multiplicity == len(rotations)
        atoms = w.rotations @ point + w.translations
        apart = atoms[:, None] - atoms
        apart -= np.round(apart)
        assert np.abs(apart).max(axis=2)[~np.eye(len(atoms), dtype=bool)].min(initial=1) > 1e-6
        # the first atoms are those of a primitive cell
        cells = (atoms[: w.multiplicity // n] @ np.linalg.inv(primitive_axes(number))) % 1.0
        assert len(np.unique(np.round(cells, 6) % 1.0, axis=0)) == w.multiplicity // n


def test_table_agrees_with_the_derivation():
    derived = pack([derive_group(number) for number in range(1, 231)])
    with np.load(TABLE) as table:
        assert set(table) == set(derived)
        for name in table:
            np.testing.assert_allclose(table[name], derived[name], atol=1e-12, err_msg=name)
    assert TABLE.stat().st_size < 200_000


def test_build_script(tmp_path, capsys):
    main(["--out", str(tmp_path / "table.npz")])
    assert "1731 Wyckoff positions" in capsys.readouterr().out
    with np.load(tmp_path / "table.npz") as built, np.load(TABLE) as table:
        assert set(built) == set(table)


@pytest.mark.parametrize("number", [1, 62, 146, 148, 227])
def test_operations_are_those_of_gemmi(number):
    group = gemmi.find_spacegroup_by_number(number).operations()
    expected = {(tuple(np.ravel(op.rot) // 24), tuple(np.array(op.tran) % 24)) for op in group}
    rotations, translations, n_centrings = space_group_operations(number)
    shifts = np.round(translations * 24).astype(int)
    assert {(tuple(r.ravel()), tuple(t)) for r, t in zip(rotations, shifts, strict=True)} == expected
    assert n_centrings == len(group.cen_ops)
    assert np.linalg.det(primitive_axes(number)) == pytest.approx(1 / n_centrings)


def test_joined_arrays():
    table = WyckoffTable([225, 62, 62])
    assert table.first == {62: 0, 225: 4}
    assert table.multiplicities.tolist() == [m for n in (62, 225) for m, _ in KINDS[n]]
    row = table.first[225] + 4
    position = wyckoff_positions(225)[4]
    operations = slice(table.starts[row], table.starts[row] + table.multiplicities[row])
    np.testing.assert_array_equal(table.rotations[operations], position.rotations)
    np.testing.assert_array_equal(table.translations[operations], position.translations)


@pytest.mark.parametrize("number", [0, 231, 1.5])
def test_bad_numbers(number):
    with pytest.raises(ValueError, match="integers from 1 to 230"):
        wyckoff_positions(number)
