"""Groups of crystals of one compound."""

import numpy as np
from scipy.spatial import cKDTree

from xtalsk.crystals._connected import connected_labels
from xtalsk.simulation.spectra._formulas import atomic_fractions


def compound_groups(crystals, *, tolerance=0.02):
    """Assign crystals to compounds: crystals with nearly one composition, or one name, share a group.

    Groups are transitive. If A and B have one composition and B and C have one mineral or prototype name, all
    three share a group. A doping series is therefore one compound, and so are all polymorphs.

    Parameters
    ----------
    crystals : CrystalSet
    tolerance : float
        Largest difference of the atomic fractions of any element between two crystals of one composition.

    Returns
    -------
    ndarray of int, shape (n,)
        The group of each crystal, from 0.

    Examples
    --------
    >>> from xtalsk.datasets import compound_groups, load_amcsd
    >>> crystals = load_amcsd()
    >>> groups = compound_groups(crystals)
    >>> carbonates = (crystals.formulas == "CaCO3") | (crystals.names == "Aragonite")
    >>> len(set(groups[carbonates]))
    1
    """
    n = len(crystals)
    fractions = atomic_fractions(crystals.formulas)
    pairs = cKDTree(fractions).query_pairs(tolerance, p=np.inf, output_type="ndarray")
    names, name = np.unique(crystals.names.astype(str), return_inverse=True)
    named = np.flatnonzero(names[name] != "")  # empty names connect nothing
    pairs = np.concatenate([pairs, np.stack([named, n + name[named]], axis=1)]).astype(int)
    return np.unique(connected_labels(pairs, n + len(names))[:n], return_inverse=True)[1]
