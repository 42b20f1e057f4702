"""How often each space group occurs among known compounds."""

import re
from functools import cache

import numpy as np

from xtalsk.datasets._compounds import load_compounds

_MINERALS = (9_000_000, 9_017_999)  # numbers of the entries of AMCSD in the COD


def check_prior(prior, reference_groups):
    """Return the weight of each of the 230 space groups.

    Parameters
    ----------
    prior : {"minerals", "inorganic"}, array-like of shape (230,) or None
        None stands for the counts in ``reference_groups``.
    reference_groups : ndarray of int
        Space-group numbers.

    Returns
    -------
    ndarray of shape (230,)

    Raises
    ------
    ValueError
        If ``prior`` is neither a known name nor 230 weights.
    """
    if prior is None:
        return np.bincount(reference_groups, minlength=231)[1:].astype(float)
    if isinstance(prior, str):
        if prior not in ("minerals", "inorganic"):
            raise ValueError(f"prior must be 'minerals', 'inorganic', 230 weights or None, got {prior!r}")
        return count_space_groups(prior == "minerals")
    weights = np.asarray(prior, dtype=float)
    if weights.shape != (230,) or not np.isfinite(weights).all() or weights.min() < 0:
        raise ValueError(
            "prior must hold 230 finite weights of at least 0, one for each space group; "
            f"got an array of shape {weights.shape}"
        )
    return weights


@cache
def count_space_groups(minerals):
    """Count compounds of each space group in `load_compounds`, as an array (230,).

    Compounds of the same elements and the same space group count once, so that a series of solid solutions
    counts like a compound of fixed composition.

    Parameters
    ----------
    minerals : bool
        Whether to count minerals. Otherwise all compounds count, except those of carbon with hydrogen.
    """
    compounds = load_compounds()
    elements = compounds["formula"].map(lambda formula: frozenset(re.findall("[A-Z][a-z]?", formula)))
    if minerals:
        chosen = compounds["id"].str.removeprefix("cod:").astype(int).between(*_MINERALS)
    else:
        chosen = ~elements.map(frozenset("CH").issubset)
    table = compounds.assign(elements=elements)[chosen].drop_duplicates(["elements", "space_group"])
    return np.bincount(table["space_group"], minlength=231)[1:].astype(float)
