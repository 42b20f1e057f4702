"""Crystals whose sites vary from specimen to specimen."""

from dataclasses import replace

import numpy as np
from sklearn.utils import check_random_state

from xtalsk.simulation.reflections._compute import DEFAULT_U_ISO
from xtalsk.simulation.reflections._structure_factors import site_kinds


def vary_sites(crystals, *, vacancies=0.05, u_iso=0.3, random_state=None):
    """Make crystals with other occupancies and displacements, their symmetry kept.

    Sites of one crystal that agree in element and displacement, as those that symmetry relates do, vary
    together.

    Parameters
    ----------
    crystals : CrystalSet
    vacancies : float
        Largest share of a kind of site that is empty, drawn uniformly from 0, below 1.
    u_iso : float
        Standard deviation of the logarithm of the displacements; sites that carry none start from B = 0.5 Å².
    random_state : int, RandomState or None

    Returns
    -------
    CrystalSet
        As many crystals, in order.

    Raises
    ------
    ValueError
        If an argument is out of range.

    Examples
    --------
    >>> from xtalsk.datasets import load_amcsd
    >>> from xtalsk.simulation import vary_sites
    >>> crystals = load_amcsd()[:3]
    >>> varied = vary_sites(crystals, random_state=0)
    >>> bool((varied.occupancies < crystals.occupancies).all())
    True
    """
    if not 0 <= vacancies < 1:
        raise ValueError(f"vacancies must be a share from 0 to below 1, got {vacancies!r}")
    if not (np.isfinite(u_iso) and u_iso >= 0):
        raise ValueError(f"u_iso must be at least 0, got {u_iso!r}")
    rng = check_random_state(random_state)
    known = np.where(np.isnan(crystals.u_iso), DEFAULT_U_ISO, crystals.u_iso)
    kind, (crystal, _, _) = site_kinds(crystals, known)
    kind = kind + np.searchsorted(crystal, crystals.crystal_of_site)
    kept = 1 - rng.uniform(0, vacancies, len(crystal))
    spread = np.exp(u_iso * rng.standard_normal(len(crystal)))
    return replace(crystals, occupancies=crystals.occupancies * kept[kind], u_iso=known * spread[kind])
