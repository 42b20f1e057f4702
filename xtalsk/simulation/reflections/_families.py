"""Families of symmetry-equivalent reflections, with one representative of each."""

from functools import lru_cache

import numpy as np

from xtalsk.simulation.reflections._strain import VOIGT, reciprocal_metrics

_NO_COLUMNS = np.empty((0, 3), np.int16), np.empty(0), np.empty(0, np.int16)


def laue_group(rotations):
    """Operations of the Laue group: a point group with the inversion added, int64 of shape (m, 3, 3)."""
    return _laue_group(np.ascontiguousarray(rotations, dtype=np.int8).tobytes())


@lru_cache(maxsize=1024)
def _laue_group(rotations):
    rotations = np.frombuffer(rotations, dtype=np.int8).reshape(-1, 3, 3)
    group = np.unique(np.concatenate([rotations, -rotations]).astype(np.int64), axis=0)
    group.setflags(write=False)
    return group


def find_families(crystals, d_min, usable):
    """Find the families of reflections of many crystals with q up to 1 / d_min.

    The member with the largest h represents its family; among these the one with the largest k, then l.

    Parameters
    ----------
    crystals : CrystalSet
    d_min : float
        Smallest spacing in Å.
    usable : ndarray of bool, shape (n,)
        The other crystals get no families.

    Returns
    -------
    counts : ndarray of int, shape (n,)
        Number of families of each crystal.
    hkl : ndarray of int16, shape (m, 3)
        One member of each family, in the order of ascending q within each crystal.
    q : ndarray of shape (m,)
        In 1/Å.
    multiplicity : ndarray of int16, shape (m,)
        Friedel mates included.
    """
    from xtalsk.simulation.reflections import _family_kernels  # numba is imported at the first use

    index, flips, images, image_starts = _group_tables(crystals)
    arguments = (
        reciprocal_metrics(crystals.lattices)[:, *VOIGT],
        d_min**-2 * (1 + 1e-12),
        (np.linalg.norm(crystals.lattices, axis=2) / d_min + 1e-9).astype(np.int64),
        np.where(usable, index, -1),
        flips,
        images,
        image_starts,
    )
    starts = np.zeros(len(crystals) + 1, dtype=np.int64)
    _family_kernels.find_families(*arguments, starts, _NO_COLUMNS)
    counts = starts[1:].copy()
    np.cumsum(counts, out=starts[1:])
    n = starts[-1]
    hkl, q2, multiplicity = np.empty((n, 3), np.int16), np.empty(n), np.empty(n, np.int16)
    if n:
        _family_kernels.find_families(*arguments, starts, (hkl, q2, multiplicity))
    return counts, hkl, np.sqrt(q2), multiplicity


def _group_tables(crystals):
    """Return the Laue group of each crystal, and flips, images and first images of all groups."""
    used, index = np.unique(crystals.rotation_index, return_inverse=True)
    plans = [_plan(laue_group(crystals.rotation_sets[k]).tobytes()) for k in used]
    flips, images = zip(*plans, strict=True)
    return index, np.array(flips), np.concatenate(images), np.cumsum([0, *map(len, images)])


@lru_cache(maxsize=1024)
def _plan(laue):
    """Plan the search for the largest member of each family.

    Returns
    -------
    flips : list of bool
        For each index, whether an operation changes its sign and leaves the indices before it unchanged. The
        index of the largest member is then at least 0.
    images : ndarray of int64, shape (m, 3)
        Code of the image of hkl under each proper rotation, as a linear function of hkl.
    """
    from xtalsk.simulation.reflections._family_kernels import SHIFT

    laue = np.frombuffer(laue, dtype=np.int64).reshape(-1, 3, 3)
    signs = [np.diag(rotation) for rotation in laue if (np.abs(rotation) == np.eye(3)).all()]
    flips = [any(s[:axis].tolist() == [1] * axis and s[axis] == -1 for s in signs) for axis in range(3)]
    return flips, laue[np.linalg.det(laue) > 0] @ np.array([SHIFT**2, SHIFT, 1])
