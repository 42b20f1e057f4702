"""Random variation of site occupancies and displacements."""

from dataclasses import replace

import numpy as np
from sklearn.utils import check_random_state

from xtalsk.simulation.reflections._compute import DEFAULT_U_ISO
from xtalsk.simulation.reflections._structure_factors import site_kinds


def vary_sites(crystals, *, vacancies=0.05, u_iso=0.3, random_state=None):
    """Change the occupancies and displacements of crystals at random and keep their symmetry.

    Sites of one crystal with the same element and the same displacement change together; these include all
    symmetry-equivalent sites.

    Parameters
    ----------
    crystals : CrystalSet
    vacancies : float
        Largest share of the sites of one kind that are empty, 0 to below 1. The share is drawn uniformly
        between 0 and this one.
    u_iso : float
        Standard deviation of the natural logarithm of the mean-square displacements. Sites without a
        displacement start from B = 8π²U = 0.5 Å².
    random_state : int, RandomState or None

    Returns
    -------
    CrystalSet
        The changed crystals in the same order.

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
    displacements = np.where(np.isnan(crystals.u_iso), DEFAULT_U_ISO, crystals.u_iso)
    kind, (crystal, _, _) = site_kinds(crystals, displacements)
    kind = kind + np.searchsorted(crystal, crystals.crystal_of_site)
    filled = 1 - rng.uniform(0, vacancies, len(crystal))
    factor = np.exp(u_iso * rng.standard_normal(len(crystal)))
    return replace(
        crystals, occupancies=crystals.occupancies * filled[kind], u_iso=displacements * factor[kind]
    )
