"""Entries of an OPTIMADE database to crystals."""

import numpy as np

from xtalsk.crystals._formulas import formula_of
from xtalsk.crystals._symmetry_search import find_symmetry

FIELDS = (
    "chemical_formula_reduced",
    "chemical_formula_descriptive",
    "nperiodic_dimensions",
    "dimension_types",
    "lattice_vectors",
    "cartesian_site_positions",
    "species",
    "species_at_sites",
    "nsites",
    "structure_features",
    "space_group_it_number",
    "last_modified",
)
"""Properties that are asked for; see the OPTIMADE specification 1.2, "Structures Entries"."""

_NO_ELEMENT = ("X", "vacancy")  # chemical_symbols of the specification that are no atoms of an element
_INCOMPLETE = ("implicit_atoms", "assemblies")  # structure_features: positions are missing or alternatives


def crystal_of_entry(attributes, symprec):
    """Return the arrays of one entry, as `CrystalSet.from_parts` takes them.

    Parameters
    ----------
    attributes : dict
        The ``attributes`` of a structure entry.
    symprec : float
        Tolerance of the search for symmetry in Å.

    Returns
    -------
    dict

    Raises
    ------
    ValueError
        If the entry is not a complete three-dimensional crystal. The message says what is wrong.
    """
    missing = [name for name in FIELDS[4:8] if not attributes.get(name)]
    if missing:
        raise ValueError(f"it lacks {', '.join(missing)}")
    features = set(attributes.get("structure_features") or ()) & set(_INCOMPLETE)
    if features:
        raise ValueError(f"its list of sites is not the whole structure: {', '.join(sorted(features))}")
    n_periodic = attributes.get("nperiodic_dimensions")
    if n_periodic not in (None, 3):
        raise ValueError(f"it is periodic in {n_periodic} dimensions, expected 3")
    lattice = _array(attributes["lattice_vectors"], (3, 3), "lattice_vectors")
    sites = attributes["species_at_sites"]
    positions = _array(attributes["cartesian_site_positions"], (len(sites), 3), "cartesian_site_positions")
    numbers, site_of_atom, occupancies = _atoms(attributes["species"], sites)
    if np.linalg.det(lattice) < 0:
        lattice = -lattice  # right-handed axes; the positions stay, so that handedness is kept
    frac_coords = np.linalg.solve(lattice.T, positions.T).T[site_of_atom]
    space_group, rotations = find_symmetry(lattice, numbers, frac_coords, occupancies, symprec)
    return {
        "lattice": lattice,
        "atomic_numbers": numbers,
        "frac_coords": frac_coords,
        "occupancies": occupancies,
        "u_iso": np.full(len(numbers), np.nan),
        "space_group": space_group,
        "rotations": rotations,
        "formula": formula_of(numbers, occupancies),
    }


def _array(values, shape, name):
    """Return finite numbers of a shape as an array."""
    try:
        array = np.array(values, dtype=float)
    except (TypeError, ValueError):
        raise ValueError(f"{name} are not numbers: {str(values)[:80]}") from None
    if array.shape != shape or not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite numbers of shape {shape}, got shape {array.shape}")
    return array


def _atoms(species, sites):
    """Return atomic number, site and occupancy of each atom; a mixed site has several."""
    from gemmi import Element

    kinds = {}
    for kind in species:
        symbols, shares = kind["chemical_symbols"], kind["concentration"]
        if len(symbols) != len(shares):
            raise ValueError(f"species {kind['name']!r} has {len(symbols)} symbols, {len(shares)} shares")
        atoms = [(symbol, share) for symbol, share in zip(symbols, shares, strict=True) if share > 0]
        kinds[kind["name"]] = [
            (Element(symbol).atomic_number, min(float(share), 1.0))
            for symbol, share in atoms
            if symbol not in _NO_ELEMENT
        ]
        if any(symbol == "X" for symbol, _ in atoms) or kind.get("attached"):
            raise ValueError(f"species {kind['name']!r} holds an unknown or an attached atom")
        if any(number == 0 for number, _ in kinds[kind["name"]]):
            raise ValueError(f"species {kind['name']!r} names no element: {symbols}")
    unknown = sorted(set(sites) - set(kinds))
    if unknown:
        raise ValueError(f"species_at_sites names {unknown}, which species does not list")
    atoms = [(number, site, share) for site, name in enumerate(sites) for number, share in kinds[name]]
    if not atoms:
        raise ValueError("it has no atoms")
    numbers, site_of_atom, occupancies = zip(*atoms, strict=True)
    return np.array(numbers), np.array(site_of_atom), np.array(occupancies)
