"""Crystals that are physically impossible."""

import numpy as np
from scipy.spatial import cKDTree

from xtalsk.crystals._connected import connected_labels
from xtalsk.crystals._constants import MAX_SUMMED_OCCUPANCY, SAME_ATOM

_CRYSTAL_SPACING = 1e3  # Å between the origins of two crystals, beyond the longest cell


def find_faults(crystals):
    """Find the crystals with more than one atom on one position.

    Sites closer than 0.06 Å share one position. The sum of their occupancies may reach 1.2, as it does in
    published structures.

    Parameters
    ----------
    crystals : CrystalSet

    Returns
    -------
    dict of int to str
        The reason for each such crystal, by its row.
    """
    crystal = crystals.crystal_of_site
    position = connected_labels(_close_pairs(crystals), len(crystal))
    total = np.bincount(position, crystals.occupancies, minlength=1)
    faults = {}
    for site in np.flatnonzero(total[position] > MAX_SUMMED_OCCUPANCY):
        row = int(crystal[site])
        number = site - crystals.offsets[row]
        faults.setdefault(
            row, f"occupancies on the position of its site {number} add up to {total[position[site]]:.3g}"
        )
    return faults


def main_atoms(crystals):
    """Find the most frequent atom of each position; hydrogen is left out.

    Parameters
    ----------
    crystals : CrystalSet

    Returns
    -------
    sites : ndarray of int, shape (n,)
        In ascending order.
    occupancies : ndarray of shape (n,)
        Of all atoms of the position together, at most 1.
    """
    position = connected_labels(_close_pairs(crystals), len(crystals.atomic_numbers))
    order = np.lexsort([-crystals.occupancies, position])
    main = order[np.r_[True, np.diff(position[order]) != 0][: len(order)]]
    main = np.sort(main[crystals.atomic_numbers[main] != 1])
    return main, np.minimum(np.bincount(position, crystals.occupancies)[position[main]], 1)


def _close_pairs(crystals):
    """Pairs (m, 2) of sites of one crystal closer than `SAME_ATOM`."""
    crystal = crystals.crystal_of_site
    lengths = np.linalg.norm(crystals.lattices, axis=2)[crystal]
    coords = crystals.frac_coords % 1.0
    # sites just below 1 and sites just above 0 are neighbours
    coords = np.where((1 - coords) * lengths < SAME_ATOM, coords - 1, coords)
    points = np.einsum("si,sij->sj", coords, crystals.lattices[crystal])
    points[:, 0] += crystal * (_CRYSTAL_SPACING + lengths.max(initial=0))
    return cKDTree(points).query_pairs(SAME_ATOM, output_type="ndarray")
