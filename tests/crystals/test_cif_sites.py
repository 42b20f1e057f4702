"""Elements, occupancies and coordinates of CIF sites."""

import numpy as np
import pytest

from xtalsk.crystals import CrystalSet
from xtalsk.crystals._site_types import parse_type

TYPED = "label type_symbol fract_x fract_y fract_z"
BCC = "_space_group_name_H-M_alt 'I m -3 m'"
FCC = "_space_group_name_H-M_alt 'F m -3 m'"


def contents(crystals):
    """Occupied sites in the cell by atomic number."""
    amounts = np.bincount(crystals.atomic_numbers, crystals.occupancies)
    return {int(z): round(float(amounts[z]), 6) for z in np.flatnonzero(amounts)}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Fe", {26: 1}),
        ("FE", {26: 1}),
        ("Fe3+", {26: 1}),
        ("Fe+3", {26: 1}),
        ("O2-", {8: 1}),
        ("Fe(III)", {26: 1}),
        ("2H", {1: 1}),
        ("D", {1: 1}),
        ("57Fe", {26: 1}),
        ("0.8Nb + 0.2Zr", {41: 0.8, 40: 0.2}),
        ("0.8Nb+0.2Zr", {41: 0.8, 40: 0.2}),
        ("Nb0.8Zr0.2", {41: 0.8, 40: 0.2}),
        ("Nb 0.8, Zr 0.2", {41: 0.8, 40: 0.2}),
        ("Fe2+0.5", {26: 0.5}),
        ("Fe2+0.5Fe3+0.5", {26: 1}),
        ("0.5Fe2+0.5Al3+", {26: 0.5, 13: 0.5}),
        ("1/2Fe + 1/2Ni", {26: 0.5, 28: 0.5}),
        ("H2O", {8: 1}),
        ("NH4", {7: 1}),
        ("Cval", {6: 1}),
        ("X", {}),
        (".", {}),
        ("Vac", {}),
    ],
)
def test_type_symbols(text, expected):
    assert dict(parse_type(text)) == pytest.approx(expected)


@pytest.mark.parametrize("text", ["Nb,Zr", "Fe/Ni", "0.9Nb+0.2Zr", "2Nb+1Zr", "99Fe", "Qq"])
def test_type_symbols_that_name_no_amounts(text):
    with pytest.raises(ValueError, match=text.replace("+", r"\+")):
        parse_type(text)


def test_mixed_type_symbol(cif, read):
    crystals, doubts = read(cif([3.4], "'Nb,Zr' '0.8Nb + 0.2Zr' 0 0 0", TYPED, BCC))
    assert (contents(crystals), doubts) == ({40: 0.4, 41: 1.6}, "")
    sites = "M '0.8Nb + 0.2Zr' 0 0 0 0.5"
    crystals, _ = read(cif([3.4], sites, TYPED + " occupancy", BCC))
    assert contents(crystals) == {40: 0.2, 41: 0.8}
    with pytest.raises(ValueError, match="'Nb,Zr' names several elements"):
        CrystalSet.from_cifs(cif([3.4], "'Nb,Zr' 0 0 0", lines=BCC))


def test_dummy_atoms(cif, read):
    sites = "Na1 Na 0 0 0 d\nCl1 Cl 0.5 0.5 0.5 d\nCg1 C 0.25 0.25 0.25 dum"
    crystals, doubts = read(cif([5.64], sites, TYPED + " calc_flag", FCC))
    assert (contents(crystals), doubts) == ({11: 4, 17: 4}, "")
    for kind in ("X", ".", "Du"):
        sites = f"Na1 Na 0 0 0\nCl1 Cl 0.5 0.5 0.5\nCg1 {kind} 0.25 0.25 0.25"
        crystals, doubts = read(cif([5.64], sites, TYPED, FCC))
        assert contents(crystals) == {11: 4, 17: 4}
        assert f"Cg1 (type {kind})" in doubts
    crystals, doubts = read(cif([5.64], "Na1 0 0 0\nCl1 0.5 0.5 0.5\nCg1 0.25 0.25 0.25", lines=FCC))
    assert contents(crystals) == {11: 4, 17: 4}
    assert "Cg1" in doubts
    with pytest.raises(ValueError, match="all its sites are dummy atoms"):
        CrystalSet.from_cifs(cif([5.64], "X1 X 0 0 0 dum", TYPED + " calc_flag", FCC))


def test_labels_are_read_by_the_formula(cif, read):
    lines = FCC + "\n_chemical_formula_sum 'Sn O'"
    assert contents(read(cif([4.8], "SN1 0 0 0\nO1 0.5 0.5 0.5", lines=lines))[0]) == {8: 4, 50: 4}
    lines = FCC + "\n_chemical_formula_sum 'C O'"
    assert contents(read(cif([4.8], "CO1 0 0 0\nO1 0.5 0.5 0.5", lines=lines))[0]) == {6: 4, 8: 4}


@pytest.mark.parametrize(
    ("occupancy", "expected", "named"),
    [
        ("0.5(1)", 0.5, ""),
        ("1/2", 0.5, ""),
        (".", 1, ""),
        ("?", 1, "['Na1'] is '?'; 1 was taken"),
        ("1.002", 1, ""),
    ],
)
def test_occupancies(cif, read, occupancy, expected, named):
    sites = f"Na1 Na 0 0 0 {occupancy}\nCl1 Cl 0.5 0.5 0.5 1"
    crystals, doubts = read(cif([5.64], sites, TYPED + " occupancy", FCC))
    assert contents(crystals) == {11: 4 * expected, 17: 4}
    assert named in doubts
    assert bool(doubts) == bool(named)


@pytest.mark.parametrize("occupancy", ["1.5", "-0.2", "abc", "0,5", "1/0", "inf", "nan"])
def test_impossible_occupancies(cif, occupancy):
    text = cif([5.64], f"Na1 Na 0 0 0 {occupancy}\nCl1 Cl 0.5 0.5 0.5 1", TYPED + " occupancy", FCC)
    with pytest.raises(ValueError, match=r"Na1.*"):
        CrystalSet.from_cifs(text)


def test_coordinates_as_fractions_and_with_uncertainty(cif, read):
    cell, lines = [2.51, 2.51, 4.07, 90, 90, 120], "_space_group_name_H-M_alt 'P 63/m m c'"
    crystals, doubts = read(cif(cell, "Co 1/3 2/3 0.25(1)", lines=lines))
    assert (len(crystals.atomic_numbers), doubts) == (2, "")
    np.testing.assert_allclose(crystals.frac_coords[0], [1 / 3, 2 / 3, 0.25])
    for value in ("?", ".", "0,25", "abc", "1/0", "inf"):
        with pytest.raises(ValueError, match=r"not numbers: .* for z of 'Co'"):
            CrystalSet.from_cifs(cif(cell, f"Co 1/3 2/3 {value}", lines=lines))


def test_cell_with_missing_parts(cif, read):
    text = cif([5.64], "Na 0 0 0\nCl 0.5 0.5 0.5", lines=FCC)
    crystals, doubts = read(text.replace("_cell_angle_beta 90\n", ""))
    assert crystals.volumes[0] == pytest.approx(5.64**3)
    assert "states no _cell_angle_beta; 90° was taken" in doubts
    with pytest.raises(ValueError, match="states no _cell_length_b"):
        CrystalSet.from_cifs(text.replace("_cell_length_b 5.64\n", ""))
    for value in ("0", "?", "abc", "-5", "1e400"):
        with pytest.raises(ValueError, match="cell is not physical"):
            CrystalSet.from_cifs(text.replace("length_b 5.64", f"length_b {value}"))
    with pytest.raises(ValueError, match="cell is not physical"):
        CrystalSet.from_cifs(text.replace("beta 90", "beta 180"))
    with pytest.raises(ValueError, match="cell is not physical"):
        CrystalSet.from_cifs(text.replace("beta 90", "beta 270"))


def test_sites_without_fractional_coordinates(cif):
    text = cif([5.64], "Na 0 0 0", "label Cartn_x Cartn_y Cartn_z", FCC)
    with pytest.raises(
        ValueError, match="no atoms with _atom_site_fract_x, _y and _z; it has only _atom_site_Cartn_x"
    ):
        CrystalSet.from_cifs(text)
