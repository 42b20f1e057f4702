"""Statistics of the crystals that random crystals imitate."""

from dataclasses import dataclass
from functools import cache

import numpy as np

from xtalsk.crystals._gemmi import cell_parameters
from xtalsk.datasets._amcsd import load_amcsd
from xtalsk.datasets._constants import STANDARD_CELL_RTOL, VOLUME_PERCENTILES
from xtalsk.symmetry import bravais_lattice, crystal_system

_LATTICE_POINTS = {"P": 1, "S": 2, "I": 2, "F": 4, "R": 3}


@dataclass(frozen=True)
class ReferenceStatistics:
    """Contents and cells of a reference set, its n crystals sorted by their number of elements.

    Parameters
    ----------
    amounts : ndarray of shape (n, 99)
        Atoms in the cell, by atomic number.
    n_elements : ndarray of int, shape (n,)
    atom_volumes : ndarray of shape (n,)
        Cell volume per atom in Å³.
    sizes : dict of str to ndarray of int
        Numbers of atoms in the primitive cell, by crystal system; those of all crystals are at ``"any"``.
    shapes : dict of str to ndarray of shape (k, 6)
        Cell parameters (Å, degrees) in standard axes, by Bravais lattice.
    u_iso : dict of int to ndarray
        Isotropic mean-square displacements in Å², by atomic number.
    """

    amounts: np.ndarray
    n_elements: np.ndarray
    atom_volumes: np.ndarray
    sizes: dict
    shapes: dict
    u_iso: dict


def describe(reference):
    """`ReferenceStatistics` of a CrystalSet."""
    amounts, order = count_atoms(reference)
    n_atoms, n_elements = amounts.sum(axis=1), (amounts > 0).sum(axis=1)
    volumes = reference.volumes / n_atoms
    bravais, systems = bravais_lattice(reference.space_groups), crystal_system(reference.space_groups)
    cells = cell_parameters(reference.lattices)
    is_standard = _is_standard(bravais, cells)
    sizes = _primitive_sizes(n_atoms, bravais, is_standard)
    return ReferenceStatistics(
        amounts=amounts[order],
        n_elements=n_elements[order],
        atom_volumes=np.clip(volumes, *np.percentile(volumes, VOLUME_PERCENTILES))[order],
        sizes={s: sizes[systems == s] for s in np.unique(systems)} | {"any": sizes},
        shapes={b: cells[is_standard & (bravais == b)] for b in np.unique(bravais)},
        u_iso=_u_iso_by_element(reference),
    )


def count_atoms(reference):
    """Atoms in the cells of n crystals (n, 99), by atomic number, and their order by number of elements."""
    amounts = np.zeros((len(reference), 99))
    np.add.at(amounts, (reference.crystal_of_site, reference.atomic_numbers), reference.occupancies)
    return amounts, np.argsort((amounts > 0).sum(axis=1), kind="stable")


@cache
def describe_amcsd():
    """`ReferenceStatistics` of the AMCSD."""
    return describe(load_amcsd())


def _is_standard(bravais, cells):
    """Whether each cell (n, 6) is in the standard axes of its Bravais lattice."""
    is_standard = np.zeros(len(cells), dtype=bool)
    for kind in np.unique(bravais):
        rows = bravais == kind
        expected = impose_bravais_lattice(kind, cells[rows])
        is_standard[rows] = np.isclose(cells[rows], expected, rtol=STANDARD_CELL_RTOL).all(axis=1)
    return is_standard


def _primitive_sizes(n_atoms, bravais, is_standard):
    """Numbers of atoms in the primitive cells (n,), at least 1."""
    has_rhombohedral_axes = (bravais == "hR") & ~is_standard
    n_points = np.where(has_rhombohedral_axes, 1, [_LATTICE_POINTS[b[1]] for b in bravais])
    return np.maximum(np.round(n_atoms / n_points), 1).astype(int)


def _u_iso_by_element(reference):
    """Isotropic displacements in Å² of all sites that have one, by atomic number."""
    has_u = np.isfinite(reference.u_iso)
    z, u_iso = reference.atomic_numbers[has_u], reference.u_iso[has_u]
    return {int(element): u_iso[z == element] for element in np.unique(z)}


def impose_bravais_lattice(bravais, cells):
    """Change cell parameters (k, 6) to obey the conditions of a Bravais lattice in its standard axes."""
    cells = np.array(cells)
    family = bravais[0]
    if family == "c":
        cells[:, :3] = np.exp(np.log(cells[:, :3]).mean(axis=1, keepdims=True))
    elif family in "th":
        cells[:, :2] = np.exp(np.log(cells[:, :2]).mean(axis=1, keepdims=True))
    if family == "m":
        cells[:, [3, 5]] = 90.0
    elif family != "a":
        cells[:, 3:] = 90.0
    if family == "h":
        cells[:, 5] = 120.0
    return cells
