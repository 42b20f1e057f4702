"""Comparison of compositions that hold stray elements: those of grid, film, holder and contamination.

A composition with carbon or a metal of grids, which no entry fits as it is, may be that of a specimen in a
microscope. Then a stray element may be in excess at a small cost, and the elements of an entry are scaled to
the measurement by one common factor, because strays dilute them. Other compositions are compared as they are.
"""

import numpy as np
from scipy.sparse import csr_array

from xtalsk.library._chemistry import check_excused, element_shares
from xtalsk.library._constants import (
    ABSENT_FRACTION,
    ABSOLUTE_ERROR,
    FITTING_CHI2,
    FREQUENT,
    FREQUENT_COST,
    HEAVIEST_LIGHT,
    NO_SUPPORT,
    OXYGEN_LIMIT,
    PRESENCE_ERROR,
    PRESENCE_SHARE,
    RELATIVE_ERROR,
    STRAY_COST,
    STRAY_LIMIT,
    TOLERATED_CHI2,
    UNSEEN_COST,
)
from xtalsk.utils._formula import N_ELEMENTS
from xtalsk.utils._threads import in_threads

_OXYGEN = 8


class Strays:
    """Costs of stray and unseen elements, each of shape (98,).

    Parameters
    ----------
    stray : sequence of str
        Symbols.

    Attributes
    ----------
    limits : ndarray
        Largest usual atomic fraction of each stray element, 0 for the others.
    costs : ndarray
        χ² of an excess up to that fraction.
    support : int ndarray
        Atomic numbers of the stray elements that a film or grid is made of: all but oxygen and aluminium.
    unseen : ndarray
        Largest χ² of an element of the entry that was not detected; inf above fluorine.

    Raises
    ------
    ValueError
        If ``stray`` is not a list of symbols.
    """

    def __init__(self, stray):
        numbers = np.array(check_excused(stray, "stray"), dtype=int)
        self.support = np.setdiff1d(numbers, check_excused(NO_SUPPORT))
        self.limits, self.costs = np.zeros(N_ELEMENTS), np.zeros(N_ELEMENTS)
        self.limits[numbers - 1] = np.where(numbers == _OXYGEN, OXYGEN_LIMIT, STRAY_LIMIT)
        self.costs[numbers - 1] = np.where(
            np.isin(numbers, check_excused(FREQUENT)), FREQUENT_COST, STRAY_COST
        )
        self.unseen = np.full(N_ELEMENTS, np.inf)
        self.unseen[:HEAVIEST_LIGHT] = UNSEEN_COST


def misfit_with_strays(measured, library, strays, is_candidate):
    """Return how much measured compositions differ from those of a library: log(1 + χ² / 4).

    Parameters
    ----------
    measured : float32 ndarray of shape (n, n_elements)
        Atomic fractions or presence.
    library : CompositionLibrary
    strays : Strays
    is_candidate : bool ndarray of shape (n, n_entries)
        Which entries are compared; the others may have any misfit.

    Returns
    -------
    float32 ndarray of shape (n, n_entries)
        0 for rows without composition. Entries without composition get the median of the other entries.
    """
    misfits, has_none = library.misfit(measured, is_candidate), library.no_composition
    shares = element_shares(measured, library.numbers, library.kind)
    fits = np.where(is_candidate & ~has_none, misfits, np.inf).min(axis=1) <= np.log1p(
        FITTING_CHI2 / TOLERATED_CHI2
    )
    rows = np.flatnonzero(_has_support(shares, strays, library) & ~fits)
    compared = np.ones_like(is_candidate) if has_none.any() else is_candidate  # the median is that of all
    chi2_of = _chi2_of_presence if library.kind == "presence" else _chi2_of_fractions
    chi2 = chi2_of(shares[rows], library, strays, compared[rows])
    chi2 /= TOLERATED_CHI2
    misfits[rows] = np.log1p(chi2, out=chi2)
    if has_none.any() and not has_none.all():
        medians = np.median(misfits[rows][:, ~has_none], axis=1)
        misfits[np.ix_(rows, has_none)] = medians[:, None]
    return misfits


def _has_support(shares, strays, library):
    """Return which compositions have an element of film or grid, or leave one of them out (NaN)."""
    columns = np.intersect1d(strays.support, library.numbers) - 1
    has_support = ~(shares[:, columns] <= ABSENT_FRACTION).all(axis=1)
    return has_support & (np.nan_to_num(shares) > 0).any(axis=1)


def _chi2_of_fractions(shares, library, strays, is_candidate):
    """Return χ² of atomic fractions (n, 98) with each entry, (n, n_entries)."""
    from xtalsk.library._composition_kernels import compare_strays  # imports numba

    shares, out = shares.astype(float), np.zeros(is_candidate.shape, dtype=np.float32)
    errors = RELATIVE_ERROR, ABSOLUTE_ERROR, ABSENT_FRACTION

    def compare(first, last):
        for i in range(first, last):
            compare_strays(
                shares[i],
                *library.sparse,
                is_candidate[i],
                strays.limits,
                strays.costs,
                strays.unseen,
                errors,
                out[i],
            )

    in_threads(compare, len(shares))
    return out


def _chi2_of_presence(shares, library, strays, _):
    """Return χ² of presence (n, 98) with each entry, (n, n_entries).

    An element that only one side has costs 9. Strays and unseen elements cost less, see `PRESENCE_SHARE`.
    """
    full = 1 / PRESENCE_ERROR**2
    excess = np.where(strays.limits > 0, np.minimum(full, PRESENCE_SHARE * strays.costs), full)
    lack = np.minimum(full, PRESENCE_SHARE * strays.unseen)
    present = np.nan_to_num(shares) > 0
    starts, elements, amounts = library.sparse
    entries = csr_array((np.ones(len(amounts)), elements, starts), shape=(len(library), N_ELEMENTS))
    excess, lack = present * excess, (~present & ~np.isnan(shares)) * lack
    return excess.sum(axis=1, keepdims=True) + (entries @ (lack - excess).T).T
