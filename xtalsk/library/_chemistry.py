"""Comparison of compositions: pure functions on arrays."""

from functools import cached_property

import numpy as np
import torch

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


class CompositionLibrary:
    """Compositions of a library, arranged for the comparison with measured ones.

    Parameters
    ----------
    amounts : ndarray of shape (n_entries, n_elements)
        Atomic fractions or presence. NaN counts as 0. An entry of nothing but NaN has no composition.
    numbers : ndarray of int, shape (n_elements,)
        Atomic number of each column.
    kind : {"fractions", "presence"}

    Attributes
    ----------
    shares : float32 ndarray of shape (n_entries, 118)
        See `element_shares`.
    """

    def __init__(self, amounts, numbers, kind):
        amounts = amounts.astype(np.float32)
        self.numbers, self.kind = numbers, kind
        self.no_composition = np.isnan(amounts).all(axis=1)
        self.shares = element_shares(amounts, numbers, kind)
        self._amounts = np.nan_to_num(amounts)
        self._stable = stabilise_variance(self._amounts, kind)

    @cached_property
    def sparse(self):
        """The elements of all entries: first position of each entry and end, columns of H to Cf, amounts."""
        entries, elements = np.nonzero(self.shares > 0)
        starts = np.searchsorted(entries, np.arange(len(self.shares) + 1))
        return starts, elements, self.shares[entries, elements].astype(float)

    def misfit(self, measured):
        """Return how much measured compositions differ from those of the library: log(1 + χ² / 4).

        The logarithm limits the effect of a large χ². Natural minerals are solid solutions: one foreign
        element is nearly as bad as two. Elements that are NaN in a row were not measured; they are left out
        on both sides.

        Parameters
        ----------
        measured : float32 ndarray of shape (n, n_elements)
            Atomic fractions or presence.

        Returns
        -------
        float32 ndarray of shape (n, n_entries)
            0 for rows without composition. Entries without composition get the median of the other entries.
        """
        out = np.zeros((len(measured), len(self._amounts)), dtype=np.float32)
        masks, mask_index = np.unique(~np.isnan(measured), axis=0, return_inverse=True)
        mask_index = mask_index.reshape(-1)
        has_none = self.no_composition
        for k in np.flatnonzero(masks.any(axis=1)):
            rows = np.flatnonzero(mask_index == k)
            misfits = self._misfit_of_elements(measured[rows], masks[k])
            if has_none.any() and not has_none.all():
                misfits[:, has_none] = np.median(misfits[:, ~has_none], axis=1)[:, None]
            out[rows] = misfits
        return out

    def _misfit_of_elements(self, measured, columns):
        """Return the misfit of rows in which the same elements were measured: True in ``columns``."""
        library = self._stable
        if not columns.all():
            library = stabilise_variance(self._amounts[:, columns], self.kind)
        measured = stabilise_variance(measured[:, columns], self.kind)
        misfits = torch.from_numpy(measured @ library.T).mul_(-2)
        misfits += torch.from_numpy(np.square(measured).sum(axis=1)[:, None])
        misfits += torch.from_numpy(np.square(library).sum(axis=1))
        return misfits.clamp_(min=0).div_(TOLERATED_CHI2).log1p_().numpy()


def needed_elements(libraries, excused):
    """Return which elements each entry needs: it is excluded if one of them was found absent.

    An entry does not need its light elements (up to fluorine), its traces (below 5 at%) and the excused
    elements.

    Parameters
    ----------
    libraries : list of CompositionLibrary
        One for each block of chemistry.
    excused : list of int
        Atomic numbers.

    Returns
    -------
    float32 ndarray of shape (n_entries, 118)
        1 for elements that are needed, else 0.
    """
    fractions = [of.shares >= TRACE_FRACTION for of in libraries if of.kind == "fractions"]
    needed = np.any(fractions or [of.shares > 0 for of in libraries], axis=0)
    needed[:, :HEAVIEST_LIGHT] = False
    needed[:, np.array(excused, dtype=int) - 1] = False
    return needed.astype(np.float32)


def check_excused(excused, name="excused"):
    """Return the atomic numbers of a list of element symbols; ``name`` is that of the parameter.

    Raises
    ------
    ValueError
        If it is not a list of symbols of elements.
    """
    if isinstance(excused, str) or not all(isinstance(symbol, str) for symbol in excused):
        raise ValueError(f"{name} must be a list of symbols such as ('H', 'Na'), got {excused!r}")
    unknown = [symbol for symbol in excused if symbol.lower() not in FEATURE_NAMES]
    if unknown:
        raise ValueError(f"{name} has symbols of no element: {unknown}")
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


def excluded_entries(compositions, needed):
    """Return which entries need an element that was measured and found absent.

    Parameters
    ----------
    compositions : list of (float32 ndarray of shape (n, n_elements), CompositionLibrary)
        For each block of chemistry the measured amounts and the library.
    needed : float32 ndarray of shape (n_entries, 118)
        See `needed_elements`.

    Returns
    -------
    bool ndarray of shape (n, n_entries)
    """
    absent, seen = False, False
    for amounts, library in compositions:
        shares = element_shares(amounts, library.numbers, library.kind)
        limit = ABSENT_FRACTION if library.kind == "fractions" else 0
        absent, seen = absent | (shares <= limit), seen | (shares > limit)
    return (absent & ~seen).astype(np.float32) @ needed.T > 0
