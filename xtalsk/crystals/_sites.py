"""Cell and sites of a CIF data block, read by gemmi and checked."""

import re
from dataclasses import dataclass, field

import gemmi
import numpy as np

from xtalsk.crystals._constants import (
    MAX_SITE_OCCUPANCY,
    MIN_CELL_FULLNESS,
    MIN_CELL_LENGTH,
    MIN_CELL_VOLUME,
)
from xtalsk.crystals._gemmi import lattice_vectors
from xtalsk.crystals._labels import element_of_label
from xtalsk.crystals._site_types import parse_type

_LENGTHS = ("_cell_length_a", "_cell_length_b", "_cell_length_c")
_ANGLES = ("_cell_angle_alpha", "_cell_angle_beta", "_cell_angle_gamma")
_FRACTION = re.compile(r"([+-]?\d+)/([1-9]\d*)")
_SEVERAL_ELEMENTS = re.compile(r"[A-Z][a-z]?[,/+][A-Z]")
_DUMMY_LABEL = re.compile(r"(?:Cg|Cnt|X|Xx|Du|Dum|Q|Bq)\d*")
_SYMBOLS = {z: gemmi.Element(z).name for z in range(1, 99)}


@dataclass
class Sites:
    """Atoms of the asymmetric unit. A site of mixed type has one atom for each element.

    Parameters
    ----------
    rows : ndarray of int, shape (n,)
        Row of each atom in the list of sites of the file.
    atomic_numbers, occupancies, u_iso : ndarray of shape (n,)
        ``u_iso`` is in Å², NaN where the file has none.
    frac_coords : ndarray of shape (n, 3)
    doubts : list of str
        What was changed or assumed.
    """

    rows: np.ndarray
    atomic_numbers: np.ndarray
    frac_coords: np.ndarray
    occupancies: np.ndarray
    u_iso: np.ndarray
    doubts: list = field(default_factory=list)


def read_cell(block):
    """Lattice vectors as rows (3, 3) in Å of a block, and doubts; ValueError if the cell is not physical."""
    as_number = gemmi.cif.as_number
    texts = {tag: block.find_value(tag) for tag in _LENGTHS + _ANGLES}
    missing = [tag for tag in _LENGTHS if texts[tag] is None]
    if missing:
        raise ValueError(f"it states no {' and no '.join(missing)}")
    no_angle = [tag for tag in _ANGLES if texts[tag] in (None, "?", ".")]
    values = [90.0 if tag in no_angle else as_number(text) for tag, text in texts.items()]
    cell = gemmi.UnitCell(*values)
    lattice = lattice_vectors(cell)
    is_physical = (
        np.isfinite(values).all()
        and np.isfinite(lattice).all()
        and cell.volume > MIN_CELL_VOLUME
        and min(values[:3]) > MIN_CELL_LENGTH
        and np.linalg.det(lattice) > MIN_CELL_FULLNESS * np.linalg.norm(lattice, axis=1).prod()
    )
    if not is_physical:
        stated = ", ".join(str(texts[tag]) for tag in _LENGTHS + _ANGLES)
        raise ValueError(f"its cell is not physical: ({stated})")
    return lattice, [f"it states no {tag}; 90° was taken" for tag in no_angle]


def check_has_sites(block, small):
    """Raise ValueError if a block lists no fractional coordinates."""
    columns = [f"_atom_site_fract_{axis}" for axis in "xyz"]
    if small.sites and all(len(block.find_values(tag)) == len(small.sites) for tag in columns):
        return
    has_cartesian = len(block.find_values("_atom_site_Cartn_x"))
    reason = "; it has only _atom_site_Cartn_x" if has_cartesian else ""
    raise ValueError(f"it lists no atoms with _atom_site_fract_x, _y and _z{reason}")


def read_sites(block, small, present):
    """`Sites` of a block and its gemmi SmallStructure; ValueError if they cannot be used.

    ``present`` is the set of element symbols in the formula of the entry, empty where it states none.
    """
    doubts = []
    atoms = _elements(block, small.sites, present, doubts)
    if not atoms:
        raise ValueError("all its sites are dummy atoms")
    rows, numbers, amounts = (np.array(column) for column in zip(*atoms, strict=True))
    if (numbers > 98).any():
        labels = [small.sites[i].label for i in rows[numbers > 98]]
        raise ValueError(f"its sites {labels[:5]} are elements without form factors (Z above 98)")
    u_iso = np.array([site.u_iso for site in small.sites])[rows]
    return Sites(
        rows=rows,
        atomic_numbers=numbers,
        frac_coords=_coordinates(block, small.sites)[rows],
        occupancies=(_occupancies(block, small.sites, doubts)[rows] * amounts),
        u_iso=np.where((u_iso > 0) & np.isfinite(u_iso), u_iso, np.nan),  # gemmi gives 0 where there is none
        doubts=doubts,
    )


def _column(block, tag, n_sites):
    """Texts of a column of the sites without quotes, or None where the file has no such column."""
    values = block.find_values(tag)
    if len(values) != n_sites:
        return None
    return [gemmi.cif.as_string(v) if v[:1] in "'\";" else v for v in values]


def _elements(block, sites, present, doubts):
    """List (row, atomic number, amount) of all atoms, without dummy atoms."""
    types = _column(block, "_atom_site_type_symbol", len(sites)) or ["?"] * len(sites)
    flags = _column(block, "_atom_site_calc_flag", len(sites)) or ["?"] * len(sites)
    has_types = any(t not in ("?", ".") for t in types)
    atoms, dummies = [], []
    for row, (site, kind, flag) in enumerate(zip(sites, types, flags, strict=True)):
        parsed = () if flag.lower() == "dum" else parse_type(kind if has_types else "?")
        if parsed is None and _DUMMY_LABEL.fullmatch(site.label):
            parsed, kind = (), "unknown"
        if parsed is None:
            parsed = ((_element_of_site(site, present), 1.0),)
        elif not parsed and flag.lower() != "dum":
            dummies.append(f"{site.label} (type {kind})")
        atoms.extend((row, z, amount) for z, amount in parsed)
    if dummies:
        doubts.append(f"its sites {dummies[:5]} were left out as dummy atoms")
    return atoms


def _element_of_site(site, present):
    """Atomic number of a site without a type, from its label; elements of the formula come first."""
    label = site.label
    if _SEVERAL_ELEMENTS.search(label):
        raise ValueError(f"the site label {label!r} names several elements, and the site has no type symbol")
    if present and _SYMBOLS.get(by_formula := element_of_label(label, present)) in present:
        return by_formula
    z = site.element.atomic_number
    return z if 0 < z <= 98 else element_of_label(label)


def _coordinates(block, sites):
    """Fractional coordinates (n, 3); fractions such as 1/3 are read, other text raises ValueError."""
    coords = np.array([site.fract.tolist() for site in sites])
    for row, axis in zip(*np.nonzero(~np.isfinite(coords)), strict=True):
        text = block.find_values(f"_atom_site_fract_{'xyz'[axis]}")[int(row)]
        match = _FRACTION.fullmatch(text.strip("'\" "))
        if match is None:
            raise ValueError(
                f"it has coordinates that are not numbers: {text!r} for {'xyz'[axis]} of {sites[row].label!r}"
            )
        coords[row, axis] = int(match[1]) / int(match[2])
    return coords


def _occupancies(block, sites, doubts):
    """Occupancies (n,); ValueError for text that is no number, and for numbers outside 0 to 1."""
    occupancies = np.array([site.occ for site in sites])
    texts = _column(block, "_atom_site_occupancy", len(sites)) or []
    unknown = []
    for row, text in enumerate(texts):
        if text == "?":
            unknown.append(sites[row].label)
        elif text != "." and not np.isfinite(gemmi.cif.as_number(text)):
            match = _FRACTION.fullmatch(text.strip())
            if match is None:
                raise ValueError(f"the occupancy of its site {sites[row].label!r} is {text!r}, not a number")
            occupancies[row] = int(match[1]) / int(match[2])
    if unknown:
        doubts.append(f"the occupancy of its sites {unknown[:5]} is '?'; 1 was taken")
    wrong = ~((occupancies >= 0) & (occupancies <= MAX_SITE_OCCUPANCY))
    if wrong.any() or not (occupancies > 0).any():
        label = sites[int(np.argmax(wrong))].label
        raise ValueError(
            f"it has occupancies from {occupancies.min():g} to {occupancies.max():g} (site {label!r}); "
            "expected 0 to 1"
        )
    return np.minimum(occupancies, 1.0)
