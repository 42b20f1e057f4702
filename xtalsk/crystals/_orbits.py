"""Symmetry operations applied to the sites of an asymmetric unit."""

import numpy as np

SAME_ATOM = 0.06
"""Images of one site nearer than this (Å) are one atom on a rounded special position.

In the AMCSD such distances stop at 0.05 Å and those of genuinely split sites begin at 0.07 Å.
"""


def wrap(coords):
    """Bring fractional coordinates into [0, 1), tiny negative numbers to 0."""
    coords = np.asarray(coords) % 1.0
    coords[coords >= 1.0 - 1e-9] = 0.0
    return coords


def site_symmetry(coords, rotations, translations, lattice, tolerance=SAME_ATOM):
    """Move sites onto the special positions they are near to, and pick one operation for each image.

    A coordinate such as 0.3333 or (0.174, 0.347) lies near a special position but not on it. Averaging the
    images that fall together puts it there exactly, so that the structure has its full symmetry.

    Parameters
    ----------
    coords : ndarray of shape (n_sites, 3)
        Fractional coordinates.
    rotations : ndarray of shape (n_operations, 3, 3)
    translations : ndarray of shape (n_operations, 3)
    lattice : ndarray of shape (3, 3)
        Rows are the lattice vectors in Å.
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
    for _ in range(3):
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
        image = rotations @ coords[site] + translations
        # images coincide to rounding now; the odd offset keeps short decimals off the edges of the grid
        cell = np.floor(image * 1e6 + 0.3717) % 1e6
        keep[site] = False
        keep[site, np.unique(cell, axis=0, return_index=True)[1]] = True
    return wrap(coords), keep


def expand_sites(coords, rotations, translations, lattice, tolerance=SAME_ATOM):
    """All atoms of the cell, and which site of the asymmetric unit each comes from.

    Parameters are those of `site_symmetry`.

    Returns
    -------
    coords : ndarray of shape (n_atoms, 3)
    sites : ndarray of int, shape (n_atoms,)
    """
    coords, keep = site_symmetry(coords, rotations, translations, lattice, tolerance)
    sites, operations = np.nonzero(keep)
    images = np.einsum("aij,aj->ai", rotations[operations], coords[sites]) + translations[operations]
    return wrap(images), sites
