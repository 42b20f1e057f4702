"""Crystals against the statements of their own CIF: formula, Z, density, distances."""

import pytest

SALT = "Na 0 0 0\nCl 0.5 0.5 0.5"
FCC = "_space_group_name_H-M_alt 'F m -3 m'\n"
SOUND = """_chemical_formula_sum 'Cl Na'
_cell_formula_units_Z 4
_exptl_crystal_density_diffrn 2.163
_chemical_formula_weight 58.44
_cell_volume 179.41(3)
_space_group_crystal_system cubic
"""


def test_sound_statements_give_no_doubt(cif, read):
    crystals, doubts = read(cif([5.64], SALT, lines=FCC + SOUND))
    assert (crystals.formulas.tolist(), doubts) == (["NaCl"], "")
    sites = "Na 0 0 0 4 4.0\nCl 0.5 0.5 0.5 4 4.0"
    columns = "label fract_x fract_y fract_z symmetry_multiplicity B_iso_or_equiv"
    assert read(cif([5.64], sites, columns, FCC + SOUND))[1] == ""


def test_sum_over_the_cell_beside_a_structural_formula(cif, read):
    """pymatgen writes Z of the structural formula beside the sum over the cell."""
    lines = (
        FCC + "_chemical_formula_sum 'Na4 Cl4'\n_chemical_formula_structural NaCl\n_cell_formula_units_Z 4\n"
    )
    assert read(cif([5.64], SALT, lines=lines))[1] == ""
    text = lines.replace("Na4 Cl4", "Ca4 O8 H8").replace("NaCl", "Ca(HO)2")
    assert "its sites give 'NaCl'" in read(cif([5.64], SALT, lines=text))[1]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("'Cl Na'", "'Cl2 Na'", ["states the formula 'Cl2 Na'", "give 'NaCl'"]),
        ("'Cl Na'", "'Cl K'", ["states the formula 'Cl K'", "give 'NaCl'"]),
        ("Z 4", "Z 1", ["Z = 1", "give 4 (8 atoms in the cell)"]),
        ("2.163", "4.3", ["density of 4.3 g/cm³", "give 2.164 g/cm³"]),
        ("58.44", "74.55", ["298.2 u in the cell", "give 233.77 u"]),
        ("179.41(3)", "211", ["cell volume of 211 Å³", "has 179.4 Å³"]),
        ("cubic", "tetragonal", ["crystal system 'tetragonal'", "225 is cubic"]),
    ],
)
def test_contradictions_name_both_values(cif, read, old, new, expected):
    crystals, doubts = read(cif([5.64], SALT, lines=FCC + SOUND.replace(old, new)))
    assert len(crystals) == 1
    for part in expected:
        assert part in doubts


def test_measured_density_and_number_in_cell(cif, read):
    lines = FCC + "_exptl_crystal_density_meas 1.1\n"
    doubts = read(cif([5.64], SALT, lines=lines))[1]
    assert "measured density of 1.1 g/cm³, its sites give 2.164" in doubts
    lines = FCC + "loop_\n_atom_type_symbol\n_atom_type_number_in_cell\nNa1+ {}\nCl1- 4\n"
    assert read(cif([5.64], SALT, lines=lines.format(4)))[1] == ""
    doubts = read(cif([5.64], SALT, lines=lines.format(1)))[1]
    assert "states 5 atoms in the cell, its sites give 8" in doubts


def test_multiplicity(cif, read):
    sites, columns = "Na 0 0 0 4\nCl 0.5 0.5 0.5 8", "label fract_x fract_y fract_z symmetry_multiplicity"
    doubts = read(cif([5.64], sites, columns, FCC))[1]
    assert "multiplicity 8 for site 2 of its list, the operations give 4 (1 of 2 sites differ)" in doubts


def test_hydrogen_may_be_missing(cif, read):
    """Portlandite Ca(OH)2 without hydrogen, with the formula and density of the whole."""
    lines = (
        "_space_group_name_H-M_alt 'P -3 m 1'\n_chemical_formula_sum 'Ca H2 O2'\n_cell_formula_units_Z 1\n"
        "_exptl_crystal_density_diffrn 2.25\n_chemical_formula_weight 74.09\n"
    )
    cell = [3.59, 3.59, 4.91, 90, 90, 120]
    assert read(cif(cell, "Ca 0 0 0\nO 1/3 2/3 0.234", lines=lines))[1] == ""


def test_distances_and_units(cif, read):
    doubts = read(cif([5.64], SALT.replace("0.5 0.5 0.5", "0.1 0 0"), lines=FCC))[1]
    assert "its atoms Na and Cl are 0.56 Å apart; expected at least 1.61 Å" in doubts
    assert "expected lengths in Å" in read(cif([564.0], SALT, lines=FCC))[1]
    assert "Å apart" in read(cif([0.564], SALT, lines=FCC))[1]
    columns = "label fract_x fract_y fract_z occupancy"
    sites = "Na 0 0 0 0.5\nK 0 0 0.01 0.5\nCl 0.5 0.5 0.5 1"  # split site: alternatives on one place
    assert read(cif([5.64], sites, columns, FCC))[1] == ""
    sites = "Na 0 0 0 1\nK 0 0 0 1\nCl 0.5 0.5 0.5 1"
    assert "its atoms Na and K are 0.00 Å apart" in read(cif([5.64], sites, columns, FCC))[1]


def test_distances_in_oblique_cells(cif, read):
    """The nearest image in a cell with an angle of 33° is not the one of rounded coordinates."""
    cell = [10.74, 10.74, 10.74, 30.5, 30.5, 30.5]
    doubts = read(cif(cell, "Bi 0 0 0\nTe 0.98 0.99 0.99", lines="_space_group_name_H-M_alt 'P 1'"))[1]
    assert "its atoms Bi and Te are" in doubts
