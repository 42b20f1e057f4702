"""Families of symmetry-equivalent reflections, one representative of each."""

from functools import lru_cache

import numpy as np

_WEIGHTS = np.array([2.0**24, 2.0**12, 1.0])  # codes of hkl, exact and distinct in float64
_LIMIT_STEP = 4


def laue_group(rotations):
    """Distinct rotations of a point group with the inversion added, int64 of shape (m, 3, 3)."""
    return _laue_group(np.ascontiguousarray(rotations, dtype=np.int8).tobytes())


@lru_cache(maxsize=1024)
def _laue_group(rotations):
    rotations = np.frombuffer(rotations, dtype=np.int8).reshape(-1, 3, 3)
    group = np.unique(np.concatenate([rotations, -rotations]).astype(np.int64), axis=0)
    group.setflags(write=False)
    return group


class Families:
    """Reflections of any lattice, without their equivalents.

    Which member stands for its family depends only on the point group, not on the cell, so that crystals of
    one point group and like size share a table of representatives and pick those within 1 / d_min.

    Parameters
    ----------
    rotation_sets : list of ndarray of int, shape (m, 3, 3)
        Point groups in the bases of the crystals.
    """

    def __init__(self, rotation_sets):
        self._rotation_sets = rotation_sets
        self._tables = {}

    def of(self, lattice, index, d_min):
        """One reflection of each family up to 1 / d_min.

        Parameters
        ----------
        lattice : ndarray of shape (3, 3)
            Rows are lattice vectors in Å.
        index : int
            Which point group is the crystal's.
        d_min : float
            In Å.

        Returns
        -------
        hkl : ndarray of int16, shape (n, 3), by ascending q
        q : ndarray of shape (n,)
        multiplicity : ndarray of int16, shape (n,)
            Friedel mates included.
        """
        limits = np.floor(np.linalg.norm(lattice, axis=1) / d_min + 1e-9).astype(int)
        hkl, products, multiplicity = self._table(index, limits)
        reciprocal = np.linalg.inv(lattice)
        metric = reciprocal.T @ reciprocal
        q2 = products @ metric[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
        inside = np.flatnonzero(q2 <= d_min**-2 * (1 + 1e-12))
        q2 = q2[inside]
        order = np.argsort(q2, kind="stable")
        inside = inside[order]
        return hkl[inside], np.sqrt(q2[order]), multiplicity[inside]

    def _table(self, index, limits):
        """Find representatives in a box a little larger than asked for, so that it serves often."""
        limits = tuple((-(-limits // _LIMIT_STEP) * _LIMIT_STEP).tolist())
        key = index, limits
        if key not in self._tables:
            hkl, multiplicity = _representatives(laue_group(self._rotation_sets[index]), limits)
            h, k, l = hkl.T  # noqa: E741
            products = np.stack([h * h, k * k, l * l, 2 * k * l, 2 * h * l, 2 * h * k], axis=1)
            self._tables[key] = hkl.astype(np.int16), products, multiplicity
        return self._tables[key]


def _representatives(laue, limits):
    """Of each family in the box ±limits the member with the largest code, and the size of the family.

    Families that the box cuts may be represented though their members outside are larger; those lie outside
    every sphere that fits into the box.
    """
    signs = [np.diag(rotation) for rotation in laue if (np.abs(rotation) == np.eye(3)).all()]
    flips = [
        any(s[:axis].tolist() == [1] * axis and s[axis] == -1 for s in signs) for axis in range(3)
    ]  # the first index that an operation turns round is not negative in the largest member
    grids = [np.arange(0.0 if flip else -limit, limit + 1) for flip, limit in zip(flips, limits, strict=True)]
    hkl = np.stack(np.meshgrid(*grids, indexing="ij"), axis=-1).reshape(-1, 3)
    code = hkl @ _WEIGHTS
    positive = code > 0
    hkl, code = hkl[positive], code[positive]
    fixing = np.zeros(len(hkl), dtype=int)
    for rotation in laue:  # the list shrinks fast
        image = hkl @ (rotation @ _WEIGHTS)
        largest = image <= code
        if not largest.all():
            hkl, code, fixing, image = hkl[largest], code[largest], fixing[largest], image[largest]
        fixing += image == code
    return hkl, (len(laue) // fixing).astype(np.int16)
