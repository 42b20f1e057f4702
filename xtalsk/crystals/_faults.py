"""Crystals that cannot be right."""

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from xtalsk.crystals._orbits import SAME_ATOM

_FULLEST = 1.2
_CRYSTAL_SPACING = 1e3


def find_faults(crystals):
    """Name the crystals that have more than one atom in one place.

    Sites closer than 0.06 Å are one place, which may be shared; occupancies of published structures add up
    to 1.2 at most.

    Parameters
    ----------
    crystals : CrystalSet

    Returns
    -------
    dict of int to str
        What is wrong, by row of the crystal.
    """
    crystal = crystals.crystal_of_site
    lengths = np.linalg.norm(crystals.lattices, axis=2)[crystal]
    coords = crystals.frac_coords % 1.0
    coords = np.where((1 - coords) * lengths < SAME_ATOM, coords - 1, coords)  # both ends of a cell meet
    places = np.einsum("si,sij->sj", coords, crystals.lattices[crystal])
    places[:, 0] += crystal * (_CRYSTAL_SPACING + lengths.max(initial=0))
    pairs = cKDTree(places).query_pairs(SAME_ATOM, output_type="ndarray")
    n = len(places)
    graph = coo_matrix((np.ones(len(pairs)), pairs.T), shape=(n, n))
    place = connected_components(graph, directed=False)[1]
    total = np.bincount(place, crystals.occupancies, minlength=1)
    faults = {}
    for site in np.flatnonzero(total[place] > _FULLEST):
        row = int(crystal[site])
        number = site - crystals.offsets[row]
        faults.setdefault(
            row, f"occupancies at the place of its site {number} add up to {total[place[site]]:.3g}"
        )
    return faults
