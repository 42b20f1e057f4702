"""Symmetry operations applied to the sites of an asymmetric unit."""

import numpy as np

from xtalsk.crystals._constants import N_SITE_SHIFTS, SAME_ATOM

_CELL_STRIDES = np.array([10**12, 10**6, 1])
_GRID_SHIFT = 0.3717  # keeps coordinates of few decimals away from the edges of the grid


def wrap(coords):
    """Bring fractional coordinates into [0, 1); numbers just below a whole number become 0."""
    coords = np.asarray(coords) % 1.0
    coords[coords >= 1.0 - 1e-9] = 0.0
    return coords


def grid_cells(coords):
    """Integer cells of fractional coordinates on a periodic grid of a million steps.

    Images of one atom that agree to rounding errors share a cell.
    """
    return np.floor(coords * 1e6 + _GRID_SHIFT).astype(int) % 1_000_000


def site_symmetry(coords, rotations, translations, lattice, tolerance=SAME_ATOM):
    """Move sites onto nearby special positions, and choose one operation for each image.

    A coordinate such as 0.3333 or (0.174, 0.347) lies near a special position, not on it. The mean of the
    images that fall together lies on it exactly, so the structure has its full symmetry.

    Parameters
    ----------
    coords : ndarray of shape (n_sites, 3)
        Fractional coordinates.
    rotations : ndarray of shape (n_operations, 3, 3)
        They act on fractional coordinates as columns.
    translations : ndarray of shape (n_operations, 3)
        In fractions of the cell.
    lattice : ndarray of shape (3, 3)
        Lattice vectors as rows, in Å.
    tolerance : float
        Distance in Å below which two images are one atom.

    Returns
    -------
    coords : ndarray of shape (n_sites, 3)
        The coordinates on their special positions, within [0, 1).
    keep : ndarray of bool, shape (n_sites, n_operations)
        The operations that give each image once.
    """
    coords = np.array(coords, dtype=float)
    for _ in range(N_SITE_SHIFTS):
        images = np.einsum("kij,sj->ski", rotations, coords) + translations
        offsets = images - coords[:, None]
        offsets -= np.round(offsets)
        fixing = np.linalg.norm(offsets @ lattice, axis=-1) < tolerance
        shift = (offsets * fixing[..., None]).sum(1) / np.maximum(fixing.sum(1), 1)[:, None]
        coords = coords + shift
        if np.abs(shift).max(initial=0) < 1e-9:
            break
    keep = np.ones(fixing.shape, dtype=bool)
    for site in np.flatnonzero(fixing.sum(1) > 1):
        images = rotations @ coords[site] + translations
        keep[site] = False
        cells = grid_cells(images) @ _CELL_STRIDES  # one integer for each cell
        keep[site, np.unique(cells, return_index=True)[1]] = True
    return wrap(coords), keep


def expand_sites(coords, rotations, translations, lattice, tolerance=SAME_ATOM):
    """Apply symmetry operations to the sites of an asymmetric unit.

    Parameters are those of `site_symmetry`.

    Returns
    -------
    coords : ndarray of shape (n_atoms, 3)
        Fractional coordinates of all atoms of the cell.
    sites : ndarray of int, shape (n_atoms,)
        The site of the asymmetric unit that gives each atom.
    """
    coords, keep = site_symmetry(coords, rotations, translations, lattice, tolerance)
    sites, operations = np.nonzero(keep)
    images = np.einsum("aij,aj->ai", rotations[operations], coords[sites]) + translations[operations]
    return wrap(images), sites


def orbit_origins(coords, rotations, translations):
    """Find the first atom of the orbit of each atom of a cell.

    Parameters
    ----------
    coords : ndarray of shape (n_atoms, 3)
        Fractional coordinates of all atoms of the cell.
    rotations : ndarray of shape (n_operations, 3, 3)
        They act on fractional coordinates as columns.
    translations : ndarray of shape (n_operations, 3)
        In fractions of the cell.

    Returns
    -------
    ndarray of int, shape (n_atoms,)
    """
    origins = np.full(len(coords), -1)
    for atom in range(len(coords)):
        if origins[atom] < 0:
            images = rotations @ coords[atom] + translations
            offsets = images[:, None] - coords
            offsets -= np.round(offsets)
            origins[np.square(offsets).sum(axis=-1).argmin(axis=1)] = atom
    return origins
