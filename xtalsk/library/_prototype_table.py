"""Known structures as prototypes: groups of sites, classes of similar structures, sizes of atoms."""

import numpy as np

from xtalsk.crystals._elements import element_volumes
from xtalsk.crystals._faults import find_faults, main_atoms
from xtalsk.library._chemistry import stabilise_variance
from xtalsk.library._prototype_constants import MAX_ELEMENTS
from xtalsk.utils._formula import N_ELEMENTS


class PrototypeTable:
    """Known structures, arranged for the search of candidates.

    Hydrogen is left out. Atoms that share a position count as the most frequent one of them.

    Parameters
    ----------
    crystals : CrystalSet

    Attributes
    ----------
    n_groups : ndarray of int, shape (n,)
        Number of elements of each structure; 0 for those that are not used: faulty ones, and those of
        hydrogen alone or of more than 7 elements.
    elements, amounts : ndarray of shape (n, 7)
        Atomic number of each group of sites, and its atoms in the cell, in descending order of the atoms.
    classes, class_sizes : ndarray of int, shape (n,)
        Number of the class of similar structures, and the number of structures in it. A class has one space
        group, one number of atoms of each group, and cells of nearly the same shape.
    sites : tuple of ndarray
        First site of each structure, and coordinates, occupancies and groups of the sites.
    volumes : ndarray of shape (99,)
        Volume of an atom of each element in Å³, by atomic number.
    """

    def __init__(self, crystals):
        n = len(crystals)
        main, occupancy = main_atoms(crystals)
        owner, z = crystals.crystal_of_site[main], crystals.atomic_numbers[main].astype(int)
        counts = np.zeros((n, N_ELEMENTS + 1))
        np.add.at(counts, (owner, z), occupancy)
        self.n_groups = (counts > 0).sum(axis=1)
        faulty = np.isin(np.arange(n), list(find_faults(crystals)))
        self.n_groups[faulty | (self.n_groups > MAX_ELEMENTS)] = 0
        self.elements = np.argsort(-counts, axis=1, kind="stable")[:, :MAX_ELEMENTS]
        self.amounts = np.take_along_axis(counts, self.elements, axis=1)
        group_of = np.argsort(np.argsort(-counts, axis=1, kind="stable"), axis=1)
        starts = np.concatenate([[0], np.cumsum(np.bincount(owner, minlength=n))])
        self.site_rows = main
        self.sites = starts, crystals.frac_coords[main], occupancy, group_of[owner, z]
        self.volumes = element_volumes(crystals)
        self.stable = _stable_amounts(self.amounts)
        self.classes, self.class_sizes = _classes(crystals, self.amounts)

    def lattice_factors(self, rows, volumes):
        """Return the factor of the cell edges of prototypes in which atoms have other ``volumes``.

        ``volumes`` (m, 7) are those of the atoms on each group of the prototypes in ``rows`` (m,).
        """
        amounts = self.amounts[rows]
        own = (amounts * self.volumes[self.elements[rows]]).sum(axis=1)
        return np.cbrt((amounts * volumes).sum(axis=1) / np.maximum(own, 1e-6))


def _stable_amounts(amounts):
    """Return amounts (n, 7) with errors of 1, see `stabilise_variance`."""
    return stabilise_variance(amounts, "fractions")


def _classes(crystals, amounts):
    """Return the number of the class of each crystal, and the size of this class."""
    edges = np.sort(np.linalg.norm(crystals.lattices, axis=2), axis=1) / np.cbrt(crystals.volumes)[:, None]
    key = np.column_stack([crystals.space_groups, np.round(amounts, 1), np.round(edges / 0.12)])
    _, index, sizes = np.unique(key, axis=0, return_inverse=True, return_counts=True)
    index = index.reshape(-1)
    return index, sizes[index]
