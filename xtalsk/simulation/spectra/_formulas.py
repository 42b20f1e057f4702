"""Atomic fractions of formulas, and simulated measured formulas."""

import numpy as np
import pandas as pd
from sklearn.utils import check_random_state

from xtalsk.crystals import CrystalSet
from xtalsk.utils._formula import N_ELEMENTS, SYMBOLS, check_symbol, parse_formula


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


def simulate_formulas(
    crystals,
    rows=None,
    *,
    relative_error=0.1,
    absolute_error=0.005,
    detection_limit=0.01,
    invisible=("H",),
    random_state=None,
):
    """Simulate the formulas that the quantification of spectra gives for crystals.

    The atomic fraction of each visible element gets a relative error, like that of sensitivity factors, and
    an absolute error, like that of counting statistics. Elements below the detection limit are left out. The
    other fractions are normalised.

    Parameters
    ----------
    crystals : CrystalSet
    rows : array-like of int or None
        The crystal of each formula, repeats allowed; None stands for each crystal once.
    relative_error : float
        Standard deviation of the logarithm of each atomic fraction, from 0 to below 1.
    absolute_error : float
        Standard deviation of the error that is added to each atomic fraction above 0, from 0 to below 1.
    detection_limit : float
        Atomic fraction below which an element is not detected, from 0 to below 1.
    invisible : tuple of str
        Symbols of elements that the technique cannot detect.
    random_state : int, RandomState or None
        Seed of the random draws.

    Returns
    -------
    list of str or None
        Formulas in atomic percent, such as ``"Si34.21O65.79"``; None if no element was detected.

    Raises
    ------
    ValueError
        If a formula does not parse, a symbol is unknown or an argument is out of range.

    Examples
    --------
    >>> from pymatgen.core import Lattice, Structure
    >>> from xtalsk.crystals import CrystalSet
    >>> from xtalsk.simulation import simulate_formulas
    >>> salt = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5] * 3])
    >>> simulate_formulas(CrystalSet.from_pymatgen([salt]), relative_error=0, absolute_error=0)
    ['Na50Cl50']
    """
    rng = check_random_state(random_state)
    fractions = atomic_fractions(crystals.formulas)
    noisy = measured_fractions(
        fractions if rows is None else fractions[rows],
        rng,
        relative_error=relative_error,
        absolute_error=absolute_error,
        detection_limit=detection_limit,
        invisible=invisible,
    )
    return [_write(row) if row.any() else None for row in 100 * noisy]


def measured_fractions(
    fractions, rng, *, relative_error=0.1, absolute_error=0.005, detection_limit=0.01, invisible=("H",)
):
    """Simulate measured atomic fractions.

    Parameters
    ----------
    fractions : ndarray of shape (n, 98)
        True atomic fractions.
    rng : RandomState
    relative_error, absolute_error, detection_limit, invisible
        See `simulate_formulas`.

    Returns
    -------
    ndarray of shape (n, 98)
        A row is 0 if no element was detected.
    """
    for name, value in (
        ("relative_error", relative_error),
        ("absolute_error", absolute_error),
        ("detection_limit", detection_limit),
    ):
        if not 0 <= value < 1:
            raise ValueError(f"{name} must be from 0 to below 1, got {value!r}")
    fractions = fractions.copy()
    fractions[:, [check_symbol(symbol) - 1 for symbol in invisible]] = 0
    fractions = _normalise(fractions)
    noisy = fractions * np.exp(relative_error * rng.standard_normal(fractions.shape))
    noisy += absolute_error * rng.standard_normal(fractions.shape) * (fractions > 0)
    noisy = _normalise(noisy.clip(min=0))
    noisy[noisy < max(detection_limit, 5e-5)] = 0  # formulas have two decimals of a percent
    return _normalise(noisy)


def _normalise(fractions):
    """Fractions whose rows sum to one; rows of zeros stay as they are."""
    total = fractions.sum(1, keepdims=True)
    return fractions / np.where(total > 0, total, 1)


def _write(percent):
    """Write a row of atomic percent as a formula with two decimals."""
    return "".join(f"{SYMBOLS[z]}{percent[z]:.2f}".rstrip("0").rstrip(".") for z in np.flatnonzero(percent))
