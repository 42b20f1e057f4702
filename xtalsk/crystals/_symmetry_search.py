"""Space groups of structures and of lists of operations, with spglib and moyopy."""

import numpy as np

from xtalsk.crystals._constants import SAME_OCCUPANCY_DECIMALS, SAME_POSITION_DECIMALS
from xtalsk.crystals._wyckoff import primitive_axes


def number_of_operations(rotations, translations):
    """Space-group number of a full list of symmetry operations; ValueError if they form no group."""
    import spglib

    group = spglib.get_spacegroup_type_from_symmetry(rotations, translations)
    if group is None:
        raise ValueError("its symmetry operations do not form a space group")
    return group.number


def find_symmetry(lattice, atomic_numbers, frac_coords, occupancies, symprec):
    """Determine the space group of a structure with spglib. Atoms that share a position are one site.

    Parameters
    ----------
    lattice : ndarray of shape (3, 3)
        Lattice vectors as rows, in Å.
    atomic_numbers, occupancies : ndarray of shape (n_atoms,)
    frac_coords : ndarray of shape (n_atoms, 3)
        Fractional coordinates.
    symprec : float
        Tolerance in Å.

    Returns
    -------
    number : int
        Space-group number.
    rotations : ndarray of shape (m, 3, 3)
        The point group, in the basis of the lattice.

    Raises
    ------
    ValueError
        If spglib finds no symmetry.
    """
    found = find_operations(lattice, atomic_numbers, frac_coords, occupancies, symprec)
    if found is None:
        raise ValueError(f"spglib finds no space group within {symprec} Å (atoms may overlap)")
    return found.number, np.unique(found.rotations, axis=0)


def find_operations(lattice, atomic_numbers, frac_coords, occupancies, symprec):
    """Return spglib's dataset of the symmetry of a structure, None where it finds none.

    The parameters are those of `find_symmetry`. Its atoms are the positions of `group_by_position`.
    """
    import spglib

    positions, kinds = _merge_sites(atomic_numbers, frac_coords, occupancies)
    return spglib.get_symmetry_dataset((lattice, positions, kinds), symprec=symprec)


def group_by_position(frac_coords, decimals):
    """List the atoms on each position, for coordinates (n, 3) that agree to a number of decimals."""
    atoms_at = {}
    for atom, key in enumerate(map(tuple, np.round(np.asarray(frac_coords) % 1.0, decimals) % 1.0)):
        atoms_at.setdefault(key, []).append(atom)
    return list(atoms_at.values())


def _merge_sites(atomic_numbers, frac_coords, occupancies):
    """Return the distinct positions, and an integer for each that stands for its elements and occupancies."""
    positions, kinds, index_of_kind = [], [], {}
    for atoms in group_by_position(frac_coords, SAME_POSITION_DECIMALS["symmetry"]):
        kind = tuple(
            sorted(
                (int(atomic_numbers[a]), round(float(occupancies[a]), SAME_OCCUPANCY_DECIMALS)) for a in atoms
            )
        )
        positions.append(frac_coords[atoms[0]])
        kinds.append(index_of_kind.setdefault(kind, len(index_of_kind) + 1))
    return positions, kinds


def has_space_group(number, lattice, coords, elements, symprec):
    """Whether moyopy finds a given space group for a crystal, and no smaller primitive cell.

    Parameters
    ----------
    number : int
        Space-group number; the crystal is in the reference setting of that group.
    lattice : ndarray of shape (3, 3)
        Vectors of the conventional cell as rows, in Å.
    coords : ndarray of shape (n, 3)
        Fractional coordinates in the conventional cell, only of the atoms of a primitive cell.
    elements : list of int, length n
        One integer for each element.
    symprec : float
        Tolerance in Å.

    Returns
    -------
    bool
    """
    import moyopy

    axes = primitive_axes(number)
    cell = moyopy.Cell((axes @ lattice).tolist(), (coords @ np.linalg.inv(axes)).tolist(), elements)
    try:
        symmetry = moyopy.MoyoDataset(cell, symprec=symprec)
    except ValueError:
        return False
    return symmetry.number == number and symmetry.prim_std_cell.num_atoms == len(elements)
