"""What a CIF entry states about its contents, compared with the atoms that were read."""

import re
from dataclasses import dataclass
from functools import lru_cache

import gemmi
import numpy as np

from xtalsk.crystals._constants import (
    AMOUNT_RTOL,
    DENSITY_RTOL,
    FORMULA_TOLERANCE,
    MAX_ATOM_VOLUME,
    MEASURED_DENSITY_RTOL,
    VOLUME_RTOL,
)
from xtalsk.crystals._formulas import formula_of
from xtalsk.symmetry import crystal_system

_N = 99
_ATOMIC_MASS = 1.66053907  # g/cm³ of 1 u in 1 Å³, CODATA 2018
_WEIGHTS = np.array([gemmi.Element(z).weight for z in range(_N)])
_ELEMENTS = re.compile(r"([A-Z][a-z]?)(\d+\.?\d*|\.\d+)?")
_BRACKET = re.compile(r"\(((?:\s*[A-Z][a-z]?(?:\d+\.?\d*|\.\d+)?)+)\s*\)(\d+\.?\d*)?")
_MAX_NESTING = 4
_SYSTEM_TAGS = ("_space_group_crystal_system", "_symmetry_cell_setting")
_SYSTEMS = ("triclinic", "monoclinic", "orthorhombic", "tetragonal", "trigonal", "hexagonal", "cubic")
_MULTIPLICITY_TAGS = ("_atom_site_symmetry_multiplicity", "_atom_site_site_symmetry_multiplicity")


@dataclass
class Statements:
    """Statements of one entry; None where the file makes none.

    Parameters
    ----------
    formula_text : str or None
    formula : ndarray of shape (99,) or None
        Atoms of the formula unit by atomic number.
    z : float or None
        Formula units in the cell.
    density, measured_density : float or None
        In g/cm³.
    weight : float or None
        Formula weight in u.
    volume : float or None
        Cell volume in Å³.
    in_cell : ndarray of shape (99,) or None
        Atoms in the cell by atomic number, from ``_atom_type_number_in_cell``.
    multiplicities : ndarray of float, shape (n_rows,) or None
        Stated multiplicity of each site of the file, NaN where there is none.
    system : str or None
        Crystal system; "trigonal" also where the file says rhombohedral.
    """

    formula_text: str | None = None
    formula: np.ndarray | None = None
    z: float | None = None
    density: float | None = None
    measured_density: float | None = None
    weight: float | None = None
    volume: float | None = None
    in_cell: np.ndarray | None = None
    multiplicities: np.ndarray | None = None
    system: str | None = None

    @property
    def elements(self):
        """Symbols of the elements of the formula."""
        if self.formula is None:
            return frozenset()
        return frozenset(gemmi.Element(int(z)).name for z in np.flatnonzero(self.formula))


def read_statements(block):
    """`Statements` of a CIF data block."""
    text = _text(block, "_chemical_formula_sum")
    formula, z = _parse(text), _positive(block, "_cell_formula_units_Z")
    unit = _parse(_text(block, "_chemical_formula_structural"))
    if formula is not None and unit is not None and z and np.allclose(unit * z, formula, rtol=0.01):
        formula = unit  # pymatgen writes the sum over the whole cell
    return Statements(
        formula_text=text,
        formula=formula,
        z=z,
        density=_positive(block, "_exptl_crystal_density_diffrn"),
        measured_density=_positive(block, "_exptl_crystal_density_meas"),
        weight=_positive(block, "_chemical_formula_weight"),
        volume=_positive(block, "_cell_volume"),
        in_cell=_number_in_cell(block),
        multiplicities=_multiplicities(block),
        system=_system(block),
    )


def _system(block):
    texts = [t.lower() for tag in _SYSTEM_TAGS if (t := _text(block, tag))]
    texts = ["trigonal" if t == "rhombohedral" else t for t in texts]
    return next((t for t in texts if t in _SYSTEMS), None)


def _text(block, tag):
    value = block.find_value(tag)
    if value in (None, "?", "."):
        return None
    return " ".join(gemmi.cif.as_string(value).split()) or None


def _without_brackets(text):
    """Return a formula with its brackets multiplied out: ``Fe(OH)2`` is ``Fe O2 H2``."""

    def multiplied(match):
        factor = float(match[2] or 1)
        return " ".join(
            f"{symbol}{float(amount or 1) * factor:g}" for symbol, amount in _ELEMENTS.findall(match[1])
        )

    for _ in range(_MAX_NESTING):
        if "(" not in text:
            break
        text = _BRACKET.sub(lambda match: f" {multiplied(match)} ", text)
    return text


@lru_cache(maxsize=4096)
def _parse(text):
    """Atoms by atomic number (99,) of a formula such as ``Al2 O3``, None where the text is not readable."""
    if text is None:
        return None
    amounts = np.zeros(_N)
    for token in _without_brackets(text).split():
        parts = _ELEMENTS.findall(token)
        if "".join(symbol + amount for symbol, amount in parts) != token:
            return None
        for symbol, amount in parts:
            z = gemmi.Element(symbol).atomic_number
            if not 0 < z < _N:
                return None
            amounts[z] += float(amount or 1)
    return amounts if amounts.any() and np.isfinite(amounts).all() else None


def _positive(block, tag):
    value = block.find_value(tag)
    number = np.nan if value is None else gemmi.cif.as_number(value)
    return number if np.isfinite(number) and number > 0 else None


def _number_in_cell(block):
    """Atoms in the cell by atomic number, from the list of atom types."""
    table = block.find(["_atom_type_symbol", "_atom_type_number_in_cell"])
    amounts = np.zeros(_N)
    for symbol, number in table:
        letters = re.match(r"[A-Za-z]{0,2}", gemmi.cif.as_string(symbol)).group()
        z, number = gemmi.Element(letters).atomic_number, gemmi.cif.as_number(number)
        if not 0 < z < _N or not np.isfinite(number):
            return None
        amounts[z] += number
    return amounts if amounts.any() else None


def _multiplicities(block):
    for tag in _MULTIPLICITY_TAGS:
        values = block.find_values(tag)
        if len(values):
            return np.array([gemmi.cif.as_number(v) for v in values])
    return None


def contradictions(statements, crystal):
    """List the statements that a crystal contradicts, each with both values.

    Parameters
    ----------
    statements : Statements
    crystal : Expanded
        Atoms of the whole cell.

    Returns
    -------
    list of str
    """
    counted = np.bincount(crystal.atomic_numbers, crystal.occupancies, minlength=_N)
    volume = abs(np.linalg.det(crystal.lattice))
    found = list(_of_composition(statements, counted, crystal))
    found += _of_mass(statements, counted, volume)
    if statements.volume and abs(volume / statements.volume - 1) > VOLUME_RTOL:
        found.append(f"it states a cell volume of {statements.volume:g} Å³, its cell has {volume:.4g} Å³")
    found += _of_system(statements.system, crystal.setting)
    found += _of_multiplicities(statements.multiplicities, crystal)
    if (atom_volume := volume / counted.sum()) > MAX_ATOM_VOLUME:
        found.append(f"its cell has {atom_volume:.4g} Å³ for each atom; expected lengths in Å")
    return found


def _of_composition(statements, counted, crystal):
    """Contradictions of formula, Z and numbers in the cell, without hydrogen, which many files lack."""
    heavy, in_cell = counted.copy(), statements.in_cell
    heavy[1] = 0
    if in_cell is not None and abs(in_cell[2:].sum() - heavy.sum()) > AMOUNT_RTOL * max(heavy.sum(), 1):
        numbers = f"{in_cell[2:].sum():g} atoms in the cell, its sites give {heavy.sum():.4g}"
        yield f"it states {numbers} (without H)"
    if statements.formula is None:
        return
    stated = statements.formula.copy()
    stated[1] = 0
    if not stated.any() or not heavy.any():
        return
    if np.abs(stated / stated.sum() - heavy / heavy.sum()).max() > FORMULA_TOLERANCE:
        formula = formula_of(crystal.atomic_numbers, crystal.occupancies)
        yield f"it states the formula {statements.formula_text!r}, its sites give {formula!r}"
    elif statements.z and abs(heavy.sum() / (statements.z * stated.sum()) - 1) > AMOUNT_RTOL:
        units = heavy.sum() / stated.sum()
        yield (
            f"it states Z = {statements.z:g} formula units {statements.formula_text!r}, "
            f"its sites give {units:.4g} ({counted.sum():.4g} atoms in the cell)"
        )


def _of_mass(statements, counted, volume):
    """Contradictions of density and formula weight; the sites may lack hydrogen of the formula."""
    mass = counted @ _WEIGHTS
    most = mass
    if statements.formula is not None and (heavy := statements.formula[2:].sum()):
        hydrogen = statements.formula[1] * counted[2:].sum() / heavy
        most = mass + max(hydrogen - counted[1], 0) * _WEIGHTS[1]
    names = [("density", statements.density, DENSITY_RTOL)]
    if statements.density is None:
        names = [("measured density", statements.measured_density, MEASURED_DENSITY_RTOL)]
    for name, stated, rtol in names:
        low, high = (m * _ATOMIC_MASS / volume for m in (mass, most))
        if stated and not low * (1 - rtol) < stated < high * (1 + rtol):
            yield f"it states a {name} of {stated:g} g/cm³, its sites give {low:.4g} g/cm³"
    if statements.weight and statements.z:
        stated = statements.weight * statements.z
        if not mass * (1 - DENSITY_RTOL) < stated < most * (1 + DENSITY_RTOL):
            yield f"it states {stated:g} u in the cell (formula weight × Z), its sites give {mass:.5g} u"


def _of_system(stated, setting):
    """Contradiction of the crystal system; a trigonal group in hexagonal axes may be called hexagonal."""
    if stated is None or len(setting) == 1 or not setting.number:
        return
    system = str(crystal_system(setting.number))
    if stated != system and not {stated, system} <= {"trigonal", "hexagonal"}:
        yield f"it states the crystal system {stated!r}, space group {setting.number} is {system}"


def _of_multiplicities(stated, crystal):
    """Contradictions of site multiplicities."""
    if stated is None:
        return
    counted = crystal.multiplicities
    rows = [r for r in np.unique(crystal.rows) if r < len(stated) and np.isfinite(stated[r])]
    wrong = [r for r in rows if counted[r] != stated[r]]
    if wrong:
        r = wrong[0]
        values = f"multiplicity {stated[r]:g} for site {r + 1} of its list, the operations give {counted[r]}"
        yield f"it states {values} ({len(wrong)} of {len(rows)} sites differ)"
