"""Families of symmetry-equivalent reflections, with one representative of each."""

from functools import lru_cache

import numpy as np

from xtalsk.simulation.reflections._constants import BOX_STEP, N_SIEVES
from xtalsk.simulation.reflections._strain import VOIGT, reciprocal_metrics

_WEIGHTS = np.array([2.0**24, 2.0**12, 1.0])  # hkl @ _WEIGHTS is a code, exact and distinct in float64


def laue_group(rotations):
    """Operations of the Laue group: a point group with the inversion added, int64 of shape (m, 3, 3)."""
    return _laue_group(np.ascontiguousarray(rotations, dtype=np.int8).tobytes())


@lru_cache(maxsize=1024)
def _laue_group(rotations):
    rotations = np.frombuffer(rotations, dtype=np.int8).reshape(-1, 3, 3)
    group = np.unique(np.concatenate([rotations, -rotations]).astype(np.int64), axis=0)
    group.setflags(write=False)
    return group


class Families:
    """Representatives of the families of reflections of many crystals.

    The point group alone, not the cell, decides which member represents its family. Crystals with the same
    point group and a similar size therefore share a table of representatives. Each crystal takes those with
    q up to 1 / d_min.

    Parameters
    ----------
    crystals : CrystalSet
    d_min : float
        Smallest spacing in Å.
    """

    def __init__(self, crystals, d_min):
        self._groups, self._index = crystals.rotation_sets, crystals.rotation_index
        self._limit = d_min**-2 * (1 + 1e-12)
        sizes = np.linalg.norm(crystals.lattices, axis=2) / d_min
        # boxes are a little larger than needed, so that more crystals share one
        self._boxes = (-(-np.floor(sizes + 1e-9).astype(int) // BOX_STEP) * BOX_STEP).tolist()
        self._metrics = reciprocal_metrics(crystals.lattices)[:, *VOIGT]
        self._tables = {}

    def __getitem__(self, i):
        """Return one reflection of each family of crystal ``i`` with q up to 1 / d_min.

        Returns
        -------
        hkl : ndarray of int16, shape (n, 3)
            In the order of ascending q.
        q : ndarray of shape (n,)
            In 1/Å.
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
        """Return the representatives in a box, their products of indices (for q²) and multiplicities."""
        key = group, box
        if key not in self._tables:
            hkl, multiplicity = _representatives(laue_group(self._groups[group]), box)
            h, k, l = hkl.T  # noqa: E741
            products = np.stack([h * h, k * k, l * l, 2 * k * l, 2 * h * l, 2 * h * k], axis=1)
            self._tables[key] = hkl.astype(np.int16), products, multiplicity
        return self._tables[key]


def _representatives(laue, box):
    """Return the member with the largest code of each family in the box, and the size of the family.

    Where the box cuts a family, members with larger codes may be outside. Such families lie outside every
    sphere that fits into the box and are never used.
    """
    flips, images = _plan(laue.tobytes())
    h, k, l = (  # noqa: E741
        np.arange(0.0 if flip else -limit, limit + 1) for flip, limit in zip(flips, box, strict=True)
    )
    h, k = h[:, None, None], k[:, None]
    code = h * _WEIGHTS[0] + k * _WEIGHTS[1] + l
    largest = code > 0
    for a, b, c in images[:N_SIEVES]:  # few members besides the representatives remain
        largest &= h * a + k * b + l * c <= code
    index = np.nonzero(largest)
    hkl = np.stack([axis.ravel()[i] for axis, i in zip((h, k, l), index, strict=True)], axis=1)
    code = code[index]
    for image in images[N_SIEVES:]:
        largest = hkl @ image <= code
        if not largest.all():
            hkl, code = hkl[largest], code[largest]
    stabiliser = (hkl @ images.T == code[:, None]).sum(axis=1)  # operations that leave hkl unchanged
    return hkl, (len(laue) // stabiliser).astype(np.int16)


@lru_cache(maxsize=1024)
def _plan(laue):
    """Plan the search for the largest member of each family.

    Returns
    -------
    flips : list of bool
        For each index, whether an operation changes its sign and leaves the indices before it unchanged. The
        index of the largest member is then at least 0.
    images : ndarray of shape (m, 3)
        Code of the image of hkl under each operation, as a linear function of hkl. Operations that exclude
        most members come first.
    """
    laue = np.frombuffer(laue, dtype=np.int64).reshape(-1, 3, 3)
    signs = [np.diag(rotation) for rotation in laue if (np.abs(rotation) == np.eye(3)).all()]
    flips = [any(s[:axis].tolist() == [1] * axis and s[axis] == -1 for s in signs) for axis in range(3)]
    images = laue @ _WEIGHTS
    sample = np.stack(np.meshgrid(*[np.arange(0 if f else -4, 5) for f in flips]), axis=-1).reshape(-1, 3)
    ordered = []
    while len(ordered) < N_SIEVES and len(images):
        remaining = (sample @ images.T <= (sample @ _WEIGHTS)[:, None]).sum(axis=0)
        best = remaining.argmin()
        ordered.append(images[best])
        sample = sample[sample @ images[best] <= sample @ _WEIGHTS]
        images = np.delete(images, best, axis=0)
    return flips, np.concatenate([ordered, images])
