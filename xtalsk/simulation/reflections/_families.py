"""Families of symmetry-equivalent reflections, one representative of each."""

from functools import lru_cache

import numpy as np

from xtalsk.simulation.reflections._strain import VOIGT, reciprocal_metrics

_WEIGHTS = np.array([2.0**24, 2.0**12, 1.0])  # codes of hkl, exact and distinct in float64
_LIMIT_STEP = 3


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
    crystals : CrystalSet
    d_min : float
        In Å.
    """

    def __init__(self, crystals, d_min):
        self._groups, self._index = crystals.rotation_sets, crystals.rotation_index
        self._limit = d_min**-2 * (1 + 1e-12)
        sizes = np.linalg.norm(crystals.lattices, axis=2) / d_min
        # boxes a little larger than needed serve more often
        self._boxes = (-(-np.floor(sizes + 1e-9).astype(int) // _LIMIT_STEP) * _LIMIT_STEP).tolist()
        self._metrics = reciprocal_metrics(crystals.lattices)[:, *VOIGT]
        self._tables = {}

    def __getitem__(self, i):
        """One reflection of each family of crystal ``i`` up to 1 / d_min.

        Returns
        -------
        hkl : ndarray of int16, shape (n, 3), by ascending q
        q : ndarray of shape (n,)
        multiplicity : ndarray of int16, shape (n,)
            Friedel mates included.
        """
        hkl, products, multiplicity = self._table(self._index[i], tuple(self._boxes[i]))
        q2 = products @ self._metrics[i]
        inside = np.flatnonzero(q2 <= self._limit)
        q2 = q2[inside]
        order = np.argsort(q2, kind="stable")
        inside = inside[order]
        return hkl[inside], np.sqrt(q2[order]), multiplicity[inside]

    def _table(self, group, box):
        """Return representatives in a box, the products that make q² of them, and multiplicities."""
        key = group, box
        if key not in self._tables:
            hkl, multiplicity = _representatives(laue_group(self._groups[group]), box)
            h, k, l = hkl.T  # noqa: E741
            products = np.stack([h * h, k * k, l * l, 2 * k * l, 2 * h * l, 2 * h * k], axis=1)
            self._tables[key] = hkl.astype(np.int16), products, multiplicity
        return self._tables[key]


def _representatives(laue, box):
    """Of each family in the box the member with the largest code, and the size of the family.

    Families that the box cuts may be represented though their members outside are larger; those lie outside
    every sphere that fits into the box.
    """
    flips, images = _plan(laue.tobytes())
    h, k, l = (  # noqa: E741
        np.arange(0.0 if flip else -limit, limit + 1) for flip, limit in zip(flips, box, strict=True)
    )
    h, k = h[:, None, None], k[:, None]
    code = h * _WEIGHTS[0] + k * _WEIGHTS[1] + l
    largest = code > 0
    for a, b, c in images[:3]:  # these leave little more than the representatives
        largest &= h * a + k * b + l * c <= code
    found = np.nonzero(largest)
    hkl = np.stack([axis.ravel()[i] for axis, i in zip((h, k, l), found, strict=True)], axis=1)
    code = code[found]
    for image in images[3:]:
        largest = hkl @ image <= code
        if not largest.all():
            hkl, code = hkl[largest], code[largest]
    fixing = (hkl @ images.T == code[:, None]).sum(axis=1)
    return hkl, (len(laue) // fixing).astype(np.int16)


@lru_cache(maxsize=1024)
def _plan(laue):
    """How to look for the largest members of families.

    Returns
    -------
    flips : list of bool
        Whether an operation turns each index round and leaves those before it alone: then the index of the
        largest member is not negative.
    images : ndarray of shape (m, 3)
        Code of the image of hkl under each operation, as a linear function of hkl; those that rule out most
        members come first.
    """
    laue = np.frombuffer(laue, dtype=np.int64).reshape(-1, 3, 3)
    signs = [np.diag(rotation) for rotation in laue if (np.abs(rotation) == np.eye(3)).all()]
    flips = [any(s[:axis].tolist() == [1] * axis and s[axis] == -1 for s in signs) for axis in range(3)]
    images = laue @ _WEIGHTS
    sample = np.stack(np.meshgrid(*[np.arange(0 if f else -4, 5) for f in flips]), axis=-1).reshape(-1, 3)
    ordered = []
    while len(ordered) < 3 and len(images):
        kept = (sample @ images.T <= (sample @ _WEIGHTS)[:, None]).sum(axis=0)
        best = kept.argmin()
        ordered.append(images[best])
        sample = sample[sample @ images[best] <= sample @ _WEIGHTS]
        images = np.delete(images, best, axis=0)
    return flips, np.concatenate([ordered, images])
