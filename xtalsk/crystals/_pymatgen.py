"""To and from pymatgen structures."""

import numpy as np
from pymatgen.core import Element, Lattice, Structure

from xtalsk.crystals._constants import MAX_POSITION_OCCUPANCY, SAME_POSITION_DECIMALS
from xtalsk.crystals._formulas import formula_of
from xtalsk.crystals._symmetry_search import find_symmetry, group_by_position


def parts_from_structure(structure, symprec):
    """Arrays of one pymatgen Structure, for `CrystalSet.from_parts`; ``symprec`` is in Å."""
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
        lattice, coords = -lattice, -coords  # the same structure in right-handed axes
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
    species, coords, u_iso = [], [], []
    for atoms in group_by_position(crystal.frac_coords, SAME_POSITION_DECIMALS["structure"]):
        species.append(_species(crystal, atoms))
        coords.append(crystal.frac_coords[atoms[0]])
        u = float(crystal.u_iso[atoms[0]])
        u_iso.append(None if np.isnan(u) else u)
    properties = {} if all(u is None for u in u_iso) else {"u_iso": u_iso}
    return Structure(Lattice(crystal.lattices[0]), species, coords, site_properties=properties)


def _species(crystal, atoms):
    """Occupancies by element of the atoms that share one position, with a sum of at most 1."""
    species = {}
    for atom in atoms:
        symbol = Element.from_Z(int(crystal.atomic_numbers[atom])).symbol
        species[symbol] = species.get(symbol, 0.0) + float(crystal.occupancies[atom])
    total = sum(species.values())
    if total > MAX_POSITION_OCCUPANCY:
        raise ValueError(f"{crystal.ids[0]}: a position is occupied {total:.2f} times, by {species}")
    if total > 1.0:  # rounded occupancies of a mixed site
        species = {symbol: occupancy / total for symbol, occupancy in species.items()}
    return species
