"""Atomic fractions of formulas."""

import numpy as np
import pandas as pd

from xtalsk.crystals import CrystalSet
from xtalsk.utils._formula import N_ELEMENTS, parse_formula


def atomic_fractions(formulas):
    """Atomic fractions of formulas.

    Parameters
    ----------
    formulas : sequence of str
        Chemical formulas.

    Returns
    -------
    ndarray of shape (n, 98)
        Atomic fractions from hydrogen to californium. Deuterium is hydrogen.

    Raises
    ------
    ValueError
        If a formula does not parse or contains an element above Z = 98; the message names the formula.
    """
    return np.reshape([parse_formula(formula) for formula in formulas], (-1, N_ELEMENTS))


def check_fractions(compositions):
    """Check compositions and return their atomic fractions.

    Parameters
    ----------
    compositions : CrystalSet, sequence of str, or array of shape (n, 98)
        Crystals, formulas, or atomic fractions with hydrogen first, which are normalised.

    Returns
    -------
    ndarray of shape (n, 98)

    Raises
    ------
    ValueError
        If there is no composition, a formula does not parse, or the array does not hold atomic fractions.
    """
    if isinstance(compositions, str):
        raise ValueError(f"compositions must be a list of formulas, got the string {compositions!r}")
    if isinstance(compositions, CrystalSet):
        return atomic_fractions(compositions.formulas)
    if isinstance(compositions, np.ndarray | pd.DataFrame) and np.ndim(compositions) == 2:
        values = np.asarray(compositions, dtype=float)
        if values.shape[1] != N_ELEMENTS or not len(values):
            raise ValueError(f"an array of atomic fractions must be (n, {N_ELEMENTS}), got {values.shape}")
        if not np.isfinite(values).all() or (values < 0).any() or not values.any(1).all():
            raise ValueError("atomic fractions must be finite, not negative, and not all zero in a row")
        return values / values.sum(1, keepdims=True)
    fractions = atomic_fractions(list(compositions))
    if not len(fractions):
        raise ValueError("compositions must hold at least one composition")
    return fractions
