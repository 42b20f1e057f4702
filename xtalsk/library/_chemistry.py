"""Comparison of compositions: pure functions on arrays."""

from functools import cached_property

import numpy as np

from xtalsk.crystals._ragged import ragged_arange
from xtalsk.library._constants import (
    ABSENT_FRACTION,
    ABSOLUTE_ERROR,
    HEAVIEST_LIGHT,
    PRESENCE_ERROR,
    RELATIVE_ERROR,
    STOICHIOMETRY_ELEMENTS,
    TOLERATED_CHI2,
    TRACE_FRACTION,
)
from xtalsk.utils._first_answer import is_compiled_or_worth_it
from xtalsk.utils._formula import FEATURE_NAMES, N_ELEMENTS
from xtalsk.utils._threads import in_threads

_ENTRIES_AT_ONCE = 8192  # of which a table of all elements is made
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


def sorted_amounts(shares):
    """Return the largest amounts of each composition (n, 98) in descending order, whatever the elements.

    Returns
    -------
    ndarray of shape (n, 6)
        As from `stabilise_variance`.
    """
    largest = np.partition(-shares, STOICHIOMETRY_ELEMENTS, axis=1)[:, :STOICHIOMETRY_ELEMENTS]
    return stabilise_variance(-np.sort(largest, axis=1), "fractions")


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
    no_composition : bool ndarray of shape (n_entries,)
    sparse : tuple of ndarray
        The elements of all entries: first position of each entry and end, (n_entries + 1,); columns of H to
        Cf and amounts (fractions with a sum of 1, or presence), (m,).
    """

    def __init__(self, amounts, numbers, kind):
        self.numbers, self.kind = numbers, kind
        self.no_composition = np.isnan(amounts).all(axis=1)
        parts = [
            _sparse_shares(amounts[first : first + _ENTRIES_AT_ONCE], numbers, kind)
            for first in range(0, max(1, len(amounts)), _ENTRIES_AT_ONCE)
        ]
        counts, elements, shares = (np.concatenate(tables) for tables in zip(*parts, strict=True))
        self.sparse = np.concatenate([[0], np.cumsum(counts)]), elements, shares

    def __len__(self):
        return len(self.no_composition)

    def dense(self, rows=slice(None)):
        """Return the amounts of some entries in a table of all elements, float32 (n, 98)."""
        starts, elements, shares = self.sparse
        rows = np.arange(len(self))[rows]
        lengths = starts[rows + 1] - starts[rows]
        places = ragged_arange(starts[rows], lengths)
        table = np.zeros((len(rows), N_ELEMENTS), dtype=np.float32)
        table[np.repeat(np.arange(len(rows)), lengths), elements[places]] = shares[places]
        return table

    def has_elements(self, smallest=0):
        """Return which elements each entry has, (n_entries, 98): above 0, and at least ``smallest``."""
        starts, elements, shares = self.sparse
        table = np.zeros((len(self), N_ELEMENTS), dtype=bool)
        table[np.repeat(np.arange(len(self)), np.diff(starts)), elements] = shares >= smallest
        return table

    @cached_property
    def stoichiometry(self):
        """The largest amounts of each entry, see `sorted_amounts`."""
        blocks = [
            sorted_amounts(self.dense(slice(first, first + _ENTRIES_AT_ONCE)))
            for first in range(0, max(1, len(self)), _ENTRIES_AT_ONCE)
        ]
        return np.concatenate(blocks)

    def misfit(self, measured, is_candidate=None):
        """Return how much measured compositions differ from those of the library: log(1 + χ² / 4).

        The logarithm limits the effect of a large χ². Natural minerals are solid solutions: one foreign
        element is nearly as bad as two. Elements that are NaN in a row were not measured; they are left out
        on both sides.

        Parameters
        ----------
        measured : float32 ndarray of shape (n, n_elements)
            Atomic fractions or presence.
        is_candidate : bool ndarray of shape (n, n_entries), or None
            Which entries are compared; the others may have any misfit. None: all.

        Returns
        -------
        float32 ndarray of shape (n, n_entries)
            0 for rows without composition. Entries without composition get the median of the other entries.
        """
        out = np.zeros((len(measured), len(self)), dtype=np.float32)
        masks, mask_index = np.unique(~np.isnan(measured), axis=0, return_inverse=True)
        mask_index = mask_index.reshape(-1)
        has_none = self.no_composition
        if is_candidate is None or has_none.any():  # the median is that of all
            is_candidate = np.broadcast_to(True, out.shape)
        for k in np.flatnonzero(masks.any(axis=1)):
            rows = np.flatnonzero(mask_index == k)
            misfits = self._misfit_of_elements(measured[rows], masks[k], is_candidate[rows])
            if has_none.any() and not has_none.all():
                misfits[:, has_none] = np.median(misfits[:, ~has_none], axis=1)[:, None]
            out[rows] = misfits
        return out

    def _misfit_of_elements(self, measured, columns, is_candidate):
        """Return the misfit of rows in which the same elements were measured: True in ``columns``."""
        from xtalsk.library._composition_kernels import compare_plain  # imports numba

        starts, elements, _ = self.sparse
        amounts = self._stable(self.numbers[columns] - 1)
        stable = np.zeros((len(measured), N_ELEMENTS))
        stable[:, self.numbers[columns] - 1] = stabilise_variance(measured[:, columns], self.kind)
        out = np.zeros(is_candidate.shape, dtype=np.float32)

        def compare(first, last):
            for i in range(first, last):
                compare_plain(stable[i], starts, elements, amounts, is_candidate[i], TOLERATED_CHI2, out[i])

        in_threads(compare, len(measured))
        return out

    def _stable(self, measured):
        """Return the amounts of ``sparse`` as from `stabilise_variance`, 0 for elements not measured."""
        starts, elements, shares = self.sparse
        shares = np.where(np.isin(np.arange(N_ELEMENTS), measured)[elements], shares, 0)
        if self.kind == "presence":
            return shares / PRESENCE_ERROR
        total = np.diff(np.concatenate([[0], np.cumsum(shares)])[starts])
        total = np.repeat(np.where(total > 0, total, 1), np.diff(starts))
        return np.arcsinh(shares / total * (RELATIVE_ERROR / ABSOLUTE_ERROR)) / RELATIVE_ERROR


def _sparse_shares(amounts, numbers, kind):
    """Return the number of elements of each entry, and the columns and amounts of all elements."""
    shares = element_shares(amounts.astype(np.float32), numbers, kind)
    entries, elements = np.nonzero(shares > 0)
    return np.bincount(entries, minlength=len(shares)), elements, shares[entries, elements].astype(float)


def element_bits(has_element):
    """Return a table of elements (n, 98), bool, with one bit for each element: uint64 (n, 2)."""
    bits = np.zeros((len(has_element), 2 * 8), dtype=np.uint8)
    packed = np.packbits(has_element, axis=1)
    bits[:, : packed.shape[1]] = packed
    return bits.view(np.uint64)


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
    uint64 ndarray of shape (n_entries, 2)
        See `element_bits`.
    """
    fractions = [of.has_elements(TRACE_FRACTION) for of in libraries if of.kind == "fractions"]
    needed = np.any(fractions or [of.has_elements() for of in libraries], axis=0)
    needed[:, :HEAVIEST_LIGHT] = False
    needed[:, np.array(excused, dtype=int) - 1] = False
    return element_bits(needed)


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
    float32 ndarray of shape (n, 98)
        Fractions with a sum of 1, or presence. NaN where not measured, and in rows without any element.
    """
    total = np.nansum(amounts, axis=1, keepdims=True, dtype=np.float32)
    shares = np.full((len(amounts), N_ELEMENTS), np.nan, dtype=np.float32)
    shares[:, numbers - 1] = amounts / np.where(total > 0, total if kind == "fractions" else 1, np.nan)
    return shares


def excluded_entries(compositions, needed, excused=()):
    """Return which entries cannot be the measured phase.

    These are entries that need an element that was measured and found absent, and entries of which no element
    was found although one of their main elements could be seen. Elements above fluorine can be seen, and
    so can light elements that are not lighter than the lightest element found.

    Parameters
    ----------
    compositions : list of (float32 ndarray of shape (n, n_elements), CompositionLibrary)
        For each block of chemistry the measured amounts and the library.
    needed : uint64 ndarray of shape (n_entries, 2)
        See `needed_elements`.
    excused : list of int
        Atomic numbers of elements that never exclude an entry.

    Returns
    -------
    bool ndarray of shape (n, n_entries)
    """
    absent, seen = False, False
    for amounts, library in compositions:
        shares = element_shares(amounts, library.numbers, library.kind)
        limit = ABSENT_FRACTION if library.kind == "fractions" else 0
        absent, seen = absent | (shares <= limit), seen | (shares > limit)
    absent = absent & ~seen
    excluded = _lack_elements(element_bits(absent), needed)
    unneeded = np.flatnonzero(~needed.any(axis=1))  # the others share an element, or are excluded
    if len(unneeded):
        excluded[:, unneeded] |= _have_nothing_in_common(
            absent, seen, [library.dense(unneeded) for _, library in compositions], excused
        )
    return excluded


def _lack_elements(absent, needed):
    """Return which entries need an element that is absent, (n, n_entries), from bits of elements."""
    if not is_compiled_or_worth_it("xtalsk.library._composition_kernels", len(absent)):
        return (absent[:, np.newaxis] & needed).any(axis=2)
    from xtalsk.library._composition_kernels import find_lacking  # imports numba

    out = np.empty((len(absent), len(needed)), dtype=bool)

    def find(first, last):
        for i in range(first, last):
            find_lacking(absent[i, 0], absent[i, 1], needed, out[i])

    in_threads(find, len(absent))
    return out


def _have_nothing_in_common(absent, seen, shares, excused):
    """Return which entries could be seen, but have no element that was found, (n, n_entries).

    ``absent`` and ``seen`` (n, 98) are the elements of the rows; ``shares`` has those of the entries.
    """
    can_be_seen = np.arange(N_ELEMENTS) >= np.minimum(seen.argmax(axis=1), HEAVIEST_LIGHT)[:, None]
    can_be_seen &= seen.any(axis=1, keepdims=True)
    can_be_seen[:, np.array(excused, dtype=int) - 1] = False
    own = np.any([share > 0 for share in shares], axis=0).astype(np.float32)
    main = np.any([share >= TRACE_FRACTION for share in shares], axis=0).astype(np.float32)
    is_absent = (absent & can_be_seen).astype(np.float32) @ main.T > 0
    return is_absent & ~(seen.astype(np.float32) @ own.T > 0)
