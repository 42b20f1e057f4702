"""The space group of a CIF: every way to state it, and contradictions."""

import gemmi
import numpy as np
import pytest

from xtalsk.crystals import CrystalSet
from xtalsk.crystals._space_group_symbols import settings_of_symbol

SALT = "Na 0 0 0\nCl 0.5 0.5 0.5"
F23 = ["x,y,z", "-x,-y,z", "-x,y,-z", "x,-y,-z", "z,x,y", "z,-x,-y", "-z,-x,y", "-z,x,-y", "y,z,x", "-y,z,-x",
       "y,-z,-x", "-y,-z,x"]  # fmt: skip


def n_atoms(crystals):
    return np.diff(crystals.offsets).tolist()


def as_lines(**tags):
    return "".join(f"{tag} '{value}'\n" for tag, value in tags.items())


@pytest.mark.parametrize(
    "lines",
    [
        "_space_group_name_Hall '-F 4 2 3'",
        "_symmetry_space_group_name_Hall '-F 4 2 3'",
        "_symmetry_Int_Tables_number 225",
        "_space_group_IT_number 225",
        "_space_group_name_H-M_full 'F 4/m -3 2/m'",
        "_space_group_name_Schoenflies 'Oh^5'",
        "_symmetry_space_group_name_H-M Fm3m",
        "_symmetry_space_group_name_H-M 'F m -3 m (225)'",
        "_symmetry_space_group_name_H-M 'F m −3 m'",
        "_symmetry_space_group_name_H-M 'nonsense'\n_space_group_IT_number 225",
    ],
)
def test_rock_salt_by_every_name(cif, read, lines):
    crystals, _ = read(cif([5.64], SALT, lines=lines))
    assert (crystals.space_groups.tolist(), n_atoms(crystals)) == ([225], [8])
    assert len(crystals.rotation_sets[0]) == 48


@pytest.mark.parametrize(
    ("symbol", "expected"),
    [
        ("F d -3 m S", ["F d -3 m:1"]),
        ("F d -3 m Z", ["F d -3 m:2"]),
        ("Fd-3m O2", ["F d -3 m:2"]),
        ("F d -3 m (origin choice 2)", ["F d -3 m:2"]),
        ("F 41/d -3 2/m", ["F d -3 m:1", "F d -3 m:2"]),
        ("R-3mR", ["R -3 m:R"]),
        ("R -3 m :h", ["R -3 m:H"]),
        ("P2(1)/c", ["P 1 21/c 1", "P 21/c 1 1"]),
        ("P 2(1) 2(1) 2(1)", ["P 21 21 21"]),
        ("P 63/m 2/m 2/c", ["P 63/m m c"]),
        ("I 2/b 2/a 2/m", ["I b a m"]),
        ("F43m", ["F -4 3 m"]),
        ("P 6/m c c S", ["P 6/m c c"]),
        ("P nonsense", []),
        ("P 42/m m c (a,b+1/2,c)", []),
    ],
)
def test_spellings(symbol, expected):
    assert [group.xhm() for group in settings_of_symbol(symbol)] == expected


def test_every_tabulated_setting_is_known_by_its_symbol():
    for group in gemmi.spacegroup_table():
        for symbol in (group.xhm(), group.hm, group.short_name()):
            assert group.hall in [g.hall for g in settings_of_symbol(symbol)], symbol


# one compound for each kind of group with two origins: sites in choice 2, atoms in the cell
ORIGINS = {
    "F d -3 m": ([5.431], "Si 0.125 0.125 0.125", 8),
    "P 4/n m m": ([3.96, 3.96, 5.0, 90, 90, 90], "Pb 0.25 0.25 0.237\nO 0.75 0.25 0", 4),
    "I 41/a m d": ([3.785, 3.785, 9.514, 90, 90, 90], "Ti 0 0.75 0.125\nO 0 0.75 0.3333", 12),
    "P m m n": (
        [11.51, 3.56, 4.37, 90, 90, 90],
        "V 0.10118 0.25 0.8917\nO 0.1043 0.25 0.531\nO -0.0689 0.25 0.003\nO 0.25 0.25 0.001",
        14,
    ),
}  # fmt: skip


@pytest.mark.parametrize("symbol", ORIGINS)
def test_unsuffixed_origin_by_distances_with_a_warning(cif, read, symbol):
    cell, sites, expected = ORIGINS[symbol]
    explicit, doubts = read(cif(cell, sites, lines=f"_space_group_name_H-M_alt '{symbol} :2'"))
    assert (n_atoms(explicit), doubts) == ([expected], "")
    crystals, doubts = read(cif(cell, sites, lines=f"_space_group_name_H-M_alt '{symbol}'"))
    assert n_atoms(crystals) == [expected]
    np.testing.assert_allclose(crystals.frac_coords, explicit.frac_coords, atol=1e-9)
    assert f"used: {symbol}:2" in doubts
    assert f"{symbol}:1" in doubts


@pytest.mark.parametrize(
    "statement",
    ["_chemical_formula_sum Si\n_cell_formula_units_Z 8", "_exptl_crystal_density_diffrn 2.33",
     "_space_group_IT_coordinate_system_code 2", "_space_group_name_Hall '-F 4vw 2vw 3'"],
)  # fmt: skip
def test_unsuffixed_origin_by_statements_without_a_warning(cif, read, statement):
    cell, sites, expected = ORIGINS["F d -3 m"]
    crystals, doubts = read(cif(cell, sites, lines=f"_space_group_name_H-M_alt 'F d -3 m'\n{statement}"))
    assert (n_atoms(crystals), crystals.space_groups.tolist(), doubts) == ([expected], [227], "")


def test_origin_that_the_file_states_but_its_atoms_contradict(cif, read):
    """Spinel with atoms in choice 1 and the symbol of choice 2, as in a published file of NiFe2O4."""
    sites = "Ni 0 0 0\nFe 0.625 0.625 0.625\nO 0.379 0.379 0.379"
    lines = "_space_group_name_H-M_alt 'F d -3 m :2'\n_chemical_formula_sum 'Fe2 Ni O4'"
    _, doubts = read(cif([8.34], sites, lines=lines))
    assert "it states the formula 'Fe2 Ni O4', its sites give 'FeNi2O4'" in doubts
    assert "its atoms fit another setting: F d -3 m:1 (227): Fe2NiO4, 56 atoms" in doubts


CORUNDUM_H = ([4.7589, 4.7589, 12.991, 90, 90, 120], "Al 0 0 0.3521\nO 0.3063 0 0.25", 30)
CORUNDUM_R = (
    [5.128, 5.128, 5.128, 55.287, 55.287, 55.287],
    "Al 0.3521 0.3521 0.3521\nO 0.5563 0.9437 0.25",
    10,
)


@pytest.mark.parametrize("name", ["_space_group_name_H-M_alt 'R -3 c'", "_space_group_IT_number 167"])
@pytest.mark.parametrize("corundum", [CORUNDUM_H, CORUNDUM_R], ids="HR")
def test_rhombohedral_axes_by_the_cell(cif, read, name, corundum):
    cell, sites, expected = corundum
    crystals, doubts = read(cif(cell, sites, lines=name))
    assert (n_atoms(crystals), crystals.formulas.tolist(), doubts) == ([expected], ["Al2O3"], "")
    metric = crystals.lattices[0] @ crystals.lattices[0].T
    rotations = crystals.rotation_sets[0].astype(float)
    kept = rotations.transpose(0, 2, 1) @ metric @ rotations
    np.testing.assert_allclose(kept, np.broadcast_to(metric, (12, 3, 3)), atol=1e-6)


def test_number_of_another_setting_than_the_atoms(cif, read):
    """Perovskite in the axes of P b n m with the number only: distances show the fault."""
    cell = [5.38, 5.44, 7.64, 90, 90, 90]
    sites = "Ca 0.993 0.036 0.25\nTi 0 0.5 0\nO 0.071 0.484 0.25\nO 0.711 0.288 0.037"
    crystals, doubts = read(cif(cell, sites, lines="_symmetry_space_group_name_H-M 'P b n m'"))
    assert (crystals.formulas.tolist(), doubts) == (["CaTiO3"], "")
    _, doubts = read(cif(cell, sites, lines="_space_group_IT_number 62\n_chemical_formula_sum 'Ca O3 Ti'"))
    assert "its atoms fit another setting: P b n m (62): CaTiO3, 20 atoms" in doubts


def test_the_most_detailed_symbol_counts(cif, read):
    lines = "_space_group_name_H-M_alt 'F d -3 m'\n_symmetry_space_group_name_H-M 'F d -3 m :2'\n"
    crystals, doubts = read(cif([5.431], "Si 0.125 0.125 0.125", lines=lines))
    assert (n_atoms(crystals), doubts) == ([8], "")
    lines = "_symmetry_space_group_name_H-M 'P 21/b'\n_space_group_IT_number 14\n"
    crystals, doubts = read(cif([5.0, 6.0, 7.0, 90, 90, 104], "Fe 0.1 0.2 0.3", lines=lines))
    assert (crystals.space_groups.tolist(), doubts) == ([14], "")
    np.testing.assert_allclose(sorted(crystals.frac_coords[:, 1]), [0.2, 0.3, 0.7, 0.8])


def test_unsuffixed_origin_with_the_identity_only(cif, read):
    lines = "_space_group_name_H-M_alt 'F d -3 m'"
    crystals, doubts = read(cif([5.431], "Si 0.125 0.125 0.125", lines=lines, operations=["x,y,z"]))
    assert (crystals.space_groups.tolist(), n_atoms(crystals)) == ([227], [8])
    assert "give space group 1, its symbol 'F d -3 m' means 227" in doubts


def test_axes_that_the_cell_contradicts(cif, read):
    cell, sites, expected = CORUNDUM_H
    crystals, doubts = read(cif(cell, sites, lines="_space_group_name_H-M_alt 'R -3 c :R'"))
    assert n_atoms(crystals) == [expected]
    assert "fits 'R -3 c:H', not its symbol 'R -3 c :R'" in doubts


@pytest.mark.parametrize("name", ["_symmetry_space_group_name_H-M 'P 2/m'", "_space_group_IT_number 10"])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_unique_axis_by_the_cell(cif, read, name, axis):
    angles = [90, 90, 90]
    angles[axis] = 104
    crystals, doubts = read(cif([4.5, 5.1, 6.2, *angles], "Fe 0 0 0\nO 0.3 0.3 0.3", lines=name))
    assert crystals.formulas.tolist() == ["FeO4"]
    special = [0.3, 0.3, 0.3]
    special[axis] = 0.5
    sites = "Fe 0 0 0\nO " + " ".join(map(str, special))
    crystals, doubts = read(cif([4.5, 5.1, 6.2, *angles], sites, lines=name))
    assert (crystals.formulas.tolist(), n_atoms(crystals), doubts) == (["FeO2"], [3], "")


def test_operations_that_do_not_fit_the_cell(cif):
    text = cif(
        [4.5, 5.1, 6.2, 90, 90, 104], "Fe 0 0 0", operations=["x,y,z", "-x,y,-z", "-x,-y,-z", "x,-y,z"]
    )
    with pytest.raises(
        ValueError, match=r"operations \(space group 10\) do not fit its cell \(4.5, 5.1, 6.2, 90, 90, 104"
    ):
        CrystalSet.from_cifs(text)


def test_small_deviation_of_the_cell_is_named(cif, read):
    _, doubts = read(cif([5.64, 5.64, 5.67, 90, 90, 90], SALT, lines="_space_group_IT_number 225"))
    assert "deviates from space group 225" in doubts
    assert read(cif([5.64, 5.64, 5.641, 90, 90, 90], SALT, lines="_space_group_IT_number 225"))[1] == ""


@pytest.mark.parametrize(
    ("operations", "message"),
    [
        (
            ["x-y,x,z", "y,-x+y,z", "-x,-y,z+1/2", "-x+y,-x,z+1/3", "-y,x-y,z+2/3", "x,y,z"],
            "form no group: 'x-y,x,z'",
        ),
        (["x,y,z", "x/2,y,z"], "'x/2,y,z' is no rotation"),
        (["x,y,z", "x,y,x"], "'x,y,x' is no rotation"),
        (["x,y,z", "x+0.1,y,z"], r"'x\+0.1,y,z' is not readable"),
        (["x,y,z", "x,y"], "'x,y' is not readable"),
    ],
)  # fmt: skip
def test_operations_that_are_no_group(cif, operations, message):
    with pytest.raises(ValueError, match=message):
        CrystalSet.from_cifs(cif([7.14, 7.14, 19.38, 90, 90, 120], "In 0.32 0 0", operations=operations))


def test_operations_without_the_identity(cif, read):
    crystals, doubts = read(cif([4.0, 5.0, 6.0, 80, 85, 95], "Fe 0.1 0.2 0.3", operations=["-x,-y,-z"]))
    assert (crystals.space_groups.tolist(), n_atoms(crystals), doubts) == ([2], [2], "")


@pytest.mark.parametrize(
    ("symbol", "operations", "expected", "named"),
    [
        ("F m -3 m", ["x,y,z"], (225, 8), "give space group 1, its symbol 'F m -3 m' means 225"),
        ("F 2 3", F23, (196, 8), "give space group 195, its symbol 'F 2 3' means 196"),
        ("P m -3 m", F23, (221, 2), ""),  # the atoms are the same with either group
    ],
)
def test_operations_that_are_too_few(cif, read, symbol, operations, expected, named):
    lines = f"_symmetry_space_group_name_H-M '{symbol}'"
    crystals, doubts = read(cif([5.64], SALT, lines=lines, operations=operations))
    assert (int(crystals.space_groups[0]), n_atoms(crystals)[0]) == expected
    assert named in doubts
    assert bool(doubts) == bool(named)


def test_all_atoms_listed_beside_a_symbol(cif, read):
    """All eight atoms with the identity only: nothing is doubled, and the group is that of the symbol."""
    group = gemmi.SpaceGroup("F m -3 m").operations()
    sites = {tuple(np.round(np.array(op.apply_to_xyz(x)) % 1, 6)): e
             for e, x in (("Na", [0, 0, 0]), ("Cl", [0.5, 0.5, 0.5])) for op in group}  # fmt: skip
    assert len(sites) == 8
    text = "\n".join(f"{e} {x} {y} {z}" for (x, y, z), e in sites.items())
    lines = "_symmetry_space_group_name_H-M 'F m -3 m'"
    crystals, doubts = read(cif([5.64], text, lines=lines, operations=["x,y,z"]))
    assert (crystals.space_groups.tolist(), n_atoms(crystals), doubts) == ([225], [8], "")


def test_formula_and_number_of_atoms_decide_between_symbol_and_operations(cif, read):
    lines = (
        "_symmetry_space_group_name_H-M 'F m -3 m'\n_chemical_formula_sum 'Cl Na'\n_cell_formula_units_Z 1"
    )
    crystals, doubts = read(cif([2.82], "Na 0 0 0\nCl 0.5 0.5 0.5", lines=lines, operations=["x,y,z"]))
    assert n_atoms(crystals) == [2]
    assert "give space group 1, its symbol 'F m -3 m' means 225" in doubts


def test_symbol_and_number_that_disagree(cif, read):
    lines = "_symmetry_space_group_name_H-M 'P m -3 m'\n_space_group_IT_number 225\n"
    with pytest.raises(ValueError, match=r"'P m -3 m' means 221.*225.*nothing decides"):
        CrystalSet.from_cifs(cif([5.64], SALT, lines=lines))
    crystals, doubts = read(
        cif([5.64], SALT, lines=lines + "_chemical_formula_sum NaCl\n_cell_formula_units_Z 4\n")
    )
    assert crystals.space_groups.tolist() == [225]
    assert "means 221" in doubts


def test_unknown_or_no_space_group(cif, read):
    with pytest.raises(ValueError, match="unknown space group: symbol 'P nonsense'"):
        CrystalSet.from_cifs(cif([5.64], SALT, lines="_symmetry_space_group_name_H-M 'P nonsense'"))
    with pytest.raises(ValueError, match="unknown space group: number '999'"):
        CrystalSet.from_cifs(cif([5.64], SALT, lines="_space_group_IT_number 999"))
    _, doubts = read(cif([4.1], "Cs 0 0 0\nCl 0.5 0.5 0.5"))
    assert "states no space group" in doubts


MAGNETIC = """
_parent_space_group{dot}name_H-M_alt 'F m -3 m'
_space_group_magn{dot}number_BNS 139.537
loop_
_space_group_symop_magn_operation{dot}xyz
x,y,z,+1
-x,-y,z,+1
-y,x,z,+1
y,-x,z,+1
-x,-y,-z,+1
x,y,-z,+1
y,-x,-z,+1
-y,x,-z,+1
x,-y,-z,-1
-x,y,-z,-1
y,x,-z,-1
-y,-x,-z,-1
-x,y,z,-1
x,-y,z,-1
-y,-x,z,-1
y,x,z,-1
loop_
_space_group_symop_magn_centering{dot}xyz
x,y,z,+1
x+1/2,y+1/2,z+1/2,{reversal}
"""


@pytest.mark.parametrize("dot", "._")
@pytest.mark.parametrize("reversal", ["+1", "-1"])
def test_magnetic_operations_and_centring(cif, read, dot, reversal):
    lines = MAGNETIC.format(dot=dot, reversal=reversal)
    crystals, doubts = read(cif([2.49, 2.49, 3.52, 90, 90, 90], "Ni1 Ni 0 0 0", lines=lines,
                                columns="label type_symbol fract_x fract_y fract_z"))  # fmt: skip
    assert (crystals.space_groups.tolist(), n_atoms(crystals), doubts) == ([139], [2], "")


def test_modulated_structures_are_refused(cif):
    lines = "loop_\n_space_group_symop_ssg_operation_algebraic\nx1,x2,x3,x4\n"
    with pytest.raises(ValueError, match="modulated"):
        CrystalSet.from_cifs(cif([5.0], "Fe 0 0 0", lines=lines))
