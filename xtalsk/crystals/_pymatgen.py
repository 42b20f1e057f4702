"""To and from pymatgen, and the symmetry of a structure by spglib."""

import numpy as np
import spglib
from pymatgen.core import Element, Lattice, Structure


def formula_of(atomic_numbers, occupancies):
    """Reduced formula of the atoms of a cell; fractional amounts are kept to three decimals.

    Parameters
    ----------
    atomic_numbers : ndarray of int, shape (n_atoms,)
    occupancies : ndarray of shape (n_atoms,)

    Returns
    -------
    str
    """
    amounts = np.bincount(atomic_numbers, weights=occupancies)
    present = sorted((Element.from_Z(z) for z in np.flatnonzero(amounts)), key=lambda e: e.iupac_ordering)
    counts = np.array([amounts[element.Z] for element in present])
    whole = np.abs(counts - np.round(counts)).max() < 0.01
    counts = (
        np.round(counts) / np.gcd.reduce(np.round(counts).astype(int)) if whole else counts / counts.min()
    )
    return "".join(
        element.symbol + ("" if count == 1 else f"{count:.3f}".rstrip("0").rstrip("."))
        for element, count in zip(present, counts, strict=True)
    )


def find_symmetry(lattice, atomic_numbers, frac_coords, occupancies, symprec):
    """Space-group number and point-group rotations by spglib; atoms that share a position are one site.

    Parameters
    ----------
    lattice : ndarray of shape (3, 3)
    atomic_numbers, occupancies : ndarray of shape (n_atoms,)
    frac_coords : ndarray of shape (n_atoms, 3)
    symprec : float
        In Å.

    Returns
    -------
    number : int
    rotations : ndarray of shape (m, 3, 3)

    Raises
    ------
    ValueError
        If spglib finds no symmetry.
    """
    positions, kinds, first, seen = [], [], {}, {}
    keys = [tuple(k) for k in np.round(np.asarray(frac_coords) % 1.0, 4) % 1.0]
    for atom, key in enumerate(keys):
        first.setdefault(key, []).append(atom)
    for atoms in first.values():
        kind = tuple(sorted((int(atomic_numbers[a]), round(float(occupancies[a]), 3)) for a in atoms))
        positions.append(frac_coords[atoms[0]])
        kinds.append(seen.setdefault(kind, len(seen) + 1))
    found = spglib.get_symmetry_dataset((lattice, positions, kinds), symprec=symprec)
    if found is None:
        raise ValueError(f"spglib finds no space group within {symprec} Å (atoms may overlap)")
    return found.number, np.unique(found.rotations, axis=0)


def parts_from_structure(structure, symprec):
    """Arrays of one pymatgen Structure, for `CrystalSet.from_parts`."""
    numbers, coords, occupancies, u_iso = [], [], [], []
    for site in structure:
        for species, occupancy in site.species.items():
            numbers.append(species.Z)
            coords.append(site.frac_coords)
            occupancies.append(occupancy)
            u = site.properties.get("u_iso")
            u_iso.append(np.nan if u is None else u)
    if not numbers:
        raise ValueError("it has no atoms")
    numbers, coords, occupancies = np.array(numbers), np.array(coords), np.array(occupancies)
    lattice = structure.lattice.matrix
    if np.linalg.det(lattice) < 0:
        lattice = -lattice  # the same lattice in a right-handed setting of space
    space_group, rotations = find_symmetry(lattice, numbers, coords, occupancies, symprec)
    return {
        "lattice": lattice,
        "atomic_numbers": numbers,
        "frac_coords": coords,
        "occupancies": np.minimum(occupancies, 1.0),
        "u_iso": np.array(u_iso, dtype=float),
        "space_group": space_group,
        "rotations": rotations,
        "formula": formula_of(numbers, occupancies),
    }


def to_structure(crystal):
    """Pymatgen Structure of a `CrystalSet` of one crystal."""
    places = {}
    for atom, key in enumerate(map(tuple, np.round(crystal.frac_coords, 5) % 1.0)):
        places.setdefault(key, []).append(atom)
    species, coords, u_iso = [], [], []
    for atoms in places.values():
        here = {}
        for atom in atoms:
            symbol = Element.from_Z(int(crystal.atomic_numbers[atom])).symbol
            here[symbol] = here.get(symbol, 0.0) + float(crystal.occupancies[atom])
        total = sum(here.values())
        if total > 1.1:
            raise ValueError(f"{crystal.ids[0]}: a position is occupied {total:.2f} times, by {here}")
        if total > 1.0:  # rounded occupancies of a mixed site
            here = {s: o / total for s, o in here.items()}
        species.append(here)
        coords.append(crystal.frac_coords[atoms[0]])
        u = float(crystal.u_iso[atoms[0]])
        u_iso.append(None if np.isnan(u) else u)
    properties = {} if all(u is None for u in u_iso) else {"u_iso": u_iso}
    return Structure(Lattice(crystal.lattices[0]), species, coords, site_properties=properties)
