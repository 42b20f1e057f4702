"""Comparison of compositions: pure functions on arrays."""

import numpy as np

from xtalsk.library._constants import (
    ABSENT_FRACTION,
    ABSOLUTE_ERROR,
    HEAVIEST_LIGHT,
    PRESENCE_ERROR,
    RELATIVE_ERROR,
    TOLERATED_CHI2,
    TRACE_FRACTION,
)
from xtalsk.utils._formula import FEATURE_NAMES, N_ELEMENTS

_NOT_COMPARED = ("h",)  # X-ray spectra do not show hydrogen, and most energy-loss spectra do not either


def element_columns(names):
    """Return the atomic numbers of columns named by elements, or None.

    Parameters
    ----------
    names : sequence of str
        Lower-case symbols such as ``"si"``.

    Returns
    -------
    ndarray of int, or None
        None if a name is not the symbol of an element, or if two names are equal.
    """
    number_of = {name: z for z, name in enumerate(FEATURE_NAMES, start=1)}
    numbers = [number_of.get(name) for name in names]
    return None if None in numbers or len(set(numbers)) < len(numbers) else np.array(numbers)


def is_compared(numbers):
    """Return for each atomic number whether the comparison uses this element: all but hydrogen."""
    return ~np.isin(numbers, [FEATURE_NAMES.index(name) + 1 for name in _NOT_COMPARED])


def stabilise_variance(amounts, kind):
    """Transform amounts so that the standard deviation of each is about 1.

    A fraction x has a relative error of 10% and, independent of it, an error of 0.01. Then asinh(10 x) /
    0.1 has a standard deviation of 1: its derivative is one over the standard deviation of x.

    Parameters
    ----------
    amounts : ndarray of shape (n, n_elements)
        Atomic fractions of any sum, or presence (0 or 1).
    kind : {"fractions", "presence"}

    Returns
    -------
    ndarray of shape (n, n_elements)
    """
    if kind == "presence":
        return amounts / PRESENCE_ERROR
    total = amounts.sum(axis=1, keepdims=True)
    fractions = amounts / np.where(total > 0, total, 1)
    return np.arcsinh(fractions * (RELATIVE_ERROR / ABSOLUTE_ERROR)) / RELATIVE_ERROR


def chi_squared(measured, library, kind):
    """Return χ² of each measured composition with each of the library, shape (n, n_entries)."""
    measured, library = stabilise_variance(measured, kind), stabilise_variance(library, kind)
    squares = np.square(measured).sum(axis=1)[:, None] + np.square(library).sum(axis=1)
    return np.maximum(squares - 2 * (measured @ library.T), 0)


def misfit(measured, library, kind):
    """Return how much compositions differ from those of the library: log(1 + χ² / 4).

    The logarithm limits the effect of a large χ². Natural minerals are solid solutions: one foreign element
    is nearly as bad as two. Elements that are NaN in a row were not measured; they are left out on both
    sides.

    Parameters
    ----------
    measured : float32 ndarray of shape (n, n_elements)
        Atomic fractions or presence.
    library : float32 ndarray of shape (n_entries, n_elements)
        NaN counts as 0. An entry of nothing but NaN has no composition.
    kind : {"fractions", "presence"}

    Returns
    -------
    float32 ndarray of shape (n, n_entries)
        0 for rows without composition. Entries without composition get the median of the other entries.
    """
    out = np.zeros((len(measured), len(library)), dtype=np.float32)
    no_composition = np.isnan(library).all(axis=1)
    library = np.nan_to_num(library)
    masks, mask_index = np.unique(~np.isnan(measured), axis=0, return_inverse=True)
    mask_index = mask_index.reshape(-1)
    for k in np.flatnonzero(masks.any(axis=1)):
        rows, columns = np.flatnonzero(mask_index == k), masks[k]
        chi2 = chi_squared(measured[rows][:, columns], library[:, columns], kind)
        out[rows] = np.log1p(chi2 / TOLERATED_CHI2)
        if no_composition.any() and not no_composition.all():
            medians = np.median(out[rows][:, ~no_composition], axis=1)
            out[np.ix_(rows, no_composition)] = medians[:, None]
    return out


def check_excused(excused):
    """Return the atomic numbers of a list of element symbols.

    Raises
    ------
    ValueError
        If it is not a list of symbols of elements.
    """
    if isinstance(excused, str) or not all(isinstance(symbol, str) for symbol in excused):
        raise ValueError(f"excused must be a list of symbols such as ('H', 'Na'), got {excused!r}")
    unknown = [symbol for symbol in excused if symbol.lower() not in FEATURE_NAMES]
    if unknown:
        raise ValueError(f"excused has symbols of no element: {unknown}")
    return [FEATURE_NAMES.index(symbol.lower()) + 1 for symbol in excused]


def element_shares(amounts, numbers, kind):
    """Return amounts in a table of all elements, as shares of each row.

    Parameters
    ----------
    amounts : ndarray of shape (n, n_columns)
        Atomic fractions of any sum, or presence; NaN where not measured.
    numbers : ndarray of int, shape (n_columns,)
        Atomic number of each column.
    kind : {"fractions", "presence"}

    Returns
    -------
    float32 ndarray of shape (n, 118)
        Fractions with a sum of 1, or presence. NaN where not measured, and in rows without any element.
    """
    total = np.nansum(amounts, axis=1, keepdims=True, dtype=np.float32)
    shares = np.full((len(amounts), N_ELEMENTS), np.nan, dtype=np.float32)
    shares[:, numbers - 1] = amounts / np.where(total > 0, total if kind == "fractions" else 1, np.nan)
    return shares


def excluded_entries(measured, library, excused):
    """Return which entries need an element that was measured and found absent.

    An entry does not need its light elements (up to fluorine), its traces (below 5 at%) and the excused
    elements.

    Parameters
    ----------
    measured, library : list of (float32 ndarray of shape (n, 118), str)
        For each block of chemistry the shares from `element_shares` and their kind.
    excused : list of int
        Atomic numbers.

    Returns
    -------
    bool ndarray of shape (n, n_entries)
    """
    absent, seen = False, False
    for shares, kind in measured:
        limit = ABSENT_FRACTION if kind == "fractions" else 0
        absent, seen = absent | (shares <= limit), seen | (shares > limit)
    fractions = [shares >= TRACE_FRACTION for shares, kind in library if kind == "fractions"]
    needed = np.any(fractions or [shares > 0 for shares, _ in library], axis=0)
    needed[:, :HEAVIEST_LIGHT] = False
    needed[:, np.array(excused, dtype=int) - 1] = False
    return (absent & ~seen).astype(np.float32) @ needed.T.astype(np.float32) > 0
