"""Distances and volumes of atoms that random crystals take from a reference set."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.optimize import nnls

from xtalsk.crystals._ragged import ragged_arange
from xtalsk.datasets._amcsd import load_amcsd
from xtalsk.datasets._constants import CUTOFF, EASING, FARTHEST_NEIGHBOUR, RELAXATION
from xtalsk.datasets._random_contents import COVALENT_RADII
from xtalsk.datasets._reference import count_atoms


@dataclass(frozen=True)
class Contacts:
    """Distances between the elements of n reference crystals, sorted as in `ReferenceStatistics`.

    Parameters
    ----------
    volumes : ndarray of shape (99,)
        Volume of an atom in Å³, by atomic number.
    kinds : ndarray of int, shape (n, 99)
        Place of each element among the k elements of a crystal, by atomic number.
    n_kinds, starts : ndarray of int, shape (n,)
        The k of each crystal, and where its k * k values start in the following arrays.
    distances, radii : ndarray of shape (n_values,)
        Smallest distance between atoms of each two elements, and the sum of their covalent radii, in Å.
    """

    volumes: np.ndarray
    kinds: np.ndarray
    n_kinds: np.ndarray
    starts: np.ndarray
    distances: np.ndarray
    radii: np.ndarray


def describe_contacts(reference):
    """`Contacts` of a CrystalSet."""
    from xtalsk.datasets._packing_kernels import nearest_by_pair

    amounts, order = count_atoms(reference)
    kinds = np.cumsum(amounts > 0, axis=1) - 1
    n_kinds = kinds[:, -1] + 1
    starts = np.empty_like(n_kinds)
    starts[order] = np.cumsum(n_kinds[order] ** 2) - n_kinds[order] ** 2
    distances = nearest_by_pair(
        np.asarray(reference.lattices, dtype=float),
        reference.offsets,
        np.asarray(reference.frac_coords, dtype=float),
        kinds[reference.crystal_of_site, reference.atomic_numbers],
        n_kinds,
        starts,
        CUTOFF,
    )
    radii = [COVALENT_RADII[row > 0] for row in amounts[order]]
    return Contacts(
        # atomic volumes whose sums come closest to the volumes of the cells, in relative terms
        volumes=nnls(amounts / reference.volumes[:, None], np.ones(len(reference)))[0],
        kinds=kinds[order],
        n_kinds=n_kinds[order],
        starts=starts[order],
        distances=distances,
        radii=np.concatenate([np.add.outer(r, r).ravel() for r in radii]),
    )


@cache
def describe_amcsd_contacts():
    """`Contacts` of the AMCSD."""
    return describe_contacts(load_amcsd())


def move_apart(batch, table, contacts, min_distance, attempt, coords):
    """Move atoms to at least the distances that their elements have in the reference crystal, in place.

    Parameters
    ----------
    batch : Batch
        ``batch.lattices`` grow where atoms stay too close.
    table : WyckoffTable
    contacts : Contacts
    min_distance : float
        Smallest distance of two atoms, as a fraction of the sum of their covalent radii.
    attempt : int
        Number of earlier attempts at these crystals; each makes the conditions easier.
    coords : ndarray of shape (n_atoms, 3)
        Fractional coordinates.

    Returns
    -------
    ndarray of bool, shape (n,)
        Whether all distances of a crystal are large enough and each of its atoms has a neighbour.
    """
    from xtalsk.datasets._packing_kernels import loneliest, relax

    *_, enough = RELAXATION
    easing, rows = EASING**attempt, batch.references
    multiplicities = table.multiplicities[batch.orbits]
    elements = np.repeat(batch.elements, multiplicities)
    kinds = contacts.kinds[np.repeat(rows, np.diff(batch.atom_offsets)), elements]
    n_kinds = contacts.n_kinds[rows]
    pairs = ragged_arange(contacts.starts[rows], n_kinds**2)
    distances = np.maximum(easing * contacts.distances[pairs], min_distance / enough * contacts.radii[pairs])
    pairs = n_kinds, np.cumsum(n_kinds**2) - n_kinds**2, distances
    atoms = batch.lattices, batch.atom_offsets, coords
    orbits = batch.orbit_offsets, multiplicities, table.starts[batch.orbits]
    rotations = table.rotations.astype(float)
    least = relax(*atoms, kinds, pairs, orbits, rotations, table.translations, RELAXATION)
    gaps = loneliest(*atoms, COVALENT_RADII[elements], orbits)
    return (least >= enough) & (easing * gaps <= FARTHEST_NEIGHBOUR)
