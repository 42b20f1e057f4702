"""Formulas of the atoms of a cell."""

import numpy as np

from xtalsk.crystals._constants import WHOLE_AMOUNT


def formula_of(atomic_numbers, occupancies):
    """Reduced formula of the atoms of a cell. Fractional amounts have three decimals.

    Parameters
    ----------
    atomic_numbers : ndarray of int, shape (n_atoms,)
    occupancies : ndarray of shape (n_atoms,)

    Returns
    -------
    str
        Elements in the order of electronegativity that IUPAC recommends.
    """
    from pymatgen.core import Element  # slow to import

    amounts = np.bincount(atomic_numbers, weights=occupancies)
    elements = sorted((Element.from_Z(z) for z in np.flatnonzero(amounts)), key=lambda e: e.iupac_ordering)
    counts = np.array([amounts[element.Z] for element in elements])
    rounded = np.round(counts)
    if np.abs(counts - rounded).max() < WHOLE_AMOUNT and rounded.min() > 0:
        counts = rounded / np.gcd.reduce(rounded.astype(int))
    else:
        counts = counts / counts.min()
    return "".join(
        element.symbol + ("" if count == 1 else f"{count:.3f}".rstrip("0").rstrip("."))
        for element, count in zip(elements, counts, strict=True)
    )
