"""How alike elements are in crystals, and how large their atoms are."""

from functools import cache

import numpy as np
from scipy.optimize import nnls

from xtalsk.crystals._constants import ELECTRONEGATIVITY_UNIT, ORDER_UNIT, RADIUS_UNIT, START_WEIGHT
from xtalsk.crystals._contacts import _RADII
from xtalsk.utils._formula import N_ELEMENTS, SYMBOLS, electronegativities


@cache
def element_distances():
    """Return how different elements are as neighbours in crystals, (99, 99) by atomic number.

    Differences of Pauling electronegativity, of covalent radius and of Mendeleev number count.
    """
    from pymatgen.core import Element  # slow to import

    order = np.array([Element(symbol).mendeleev_no for symbol in SYMBOLS], dtype=float)
    negativity = np.nan_to_num(electronegativities(), nan=2.5)
    table = np.zeros((N_ELEMENTS + 1, N_ELEMENTS + 1))
    columns = negativity / ELECTRONEGATIVITY_UNIT, np.log(_RADII[1:]) / RADIUS_UNIT, order / ORDER_UNIT
    table[1:, 1:] = np.sqrt(sum((column[:, None] - column) ** 2 for column in columns))
    return table


def element_volumes(crystals):
    """Return the volume of an atom of each element in Å³, (99,), fitted to the cells of crystals.

    Non-negative least squares fit the relative errors of the cell volumes. The fit starts from the
    cubes of the covalent radii, times one factor: elements that few crystals have stay near these.
    """
    counts = np.zeros((len(crystals), N_ELEMENTS + 1))
    np.add.at(counts, (crystals.crystal_of_site, crystals.atomic_numbers.astype(int)), crystals.occupancies)
    scaled = counts / crystals.volumes[:, None]
    cubes = _RADII**3
    shares = scaled @ cubes
    start = cubes * (shares.sum() / (shares @ shares))
    weights = np.sqrt(START_WEIGHT) / start
    # normal equations: as many rows as elements
    factor = np.linalg.cholesky(scaled.T @ scaled + np.diag(weights**2))
    return nnls(factor.T, np.linalg.solve(factor, scaled.sum(axis=0) + weights**2 * start))[0]
