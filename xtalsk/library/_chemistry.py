"""How well compositions fit: pure functions on arrays."""

import numpy as np

from xtalsk.utils._formula import FEATURE_NAMES

_RELATIVE_ERROR = 0.1
_ABSOLUTE_ERROR = 0.01  # atomic fraction; elements below it are mostly not seen
_PRESENCE_ERROR = 1 / 3  # of whether an element is there or not
_UNSEEN = ("h",)
_TOLERATED = 4.0  # χ² of two compositions of one mineral


def element_columns(names):
    """Atomic number of the element that each name is, or None if one is not the symbol of an element."""
    number = {name: z for z, name in enumerate(FEATURE_NAMES, start=1)}
    numbers = [number.get(name) for name in names]
    return None if None in numbers or len(set(numbers)) < len(numbers) else np.array(numbers)


def visible(numbers):
    """Which elements count: not hydrogen, which neither X-rays nor most spectra show."""
    return ~np.isin(numbers, [FEATURE_NAMES.index(name) + 1 for name in _UNSEEN])


def even_out(amounts, kind):
    """Turn amounts into numbers whose errors are about 1 everywhere.

    Fractions x that are off by 10% and, independently, by 0.01 become asinh(10 x) / 0.1, whose derivative is
    one over the standard deviation.
    """
    if kind == "presence":
        return amounts / _PRESENCE_ERROR
    total = amounts.sum(axis=1, keepdims=True)
    fractions = amounts / np.where(total > 0, total, 1)
    return np.arcsinh(fractions * (_RELATIVE_ERROR / _ABSOLUTE_ERROR)) / _RELATIVE_ERROR


def misfit(measured, library, kind):
    """How badly compositions fit those of the library: log(1 + χ² / 4).

    The logarithm is that of a distribution with long tails: natural minerals are solid solutions, and one
    element that should not be there is nearly as bad as two. Elements that a row could not measure, NaN, are
    left out on both sides.

    Parameters
    ----------
    measured : float32 ndarray of shape (n, n_elements)
    library : float32 ndarray of shape (n_entries, n_elements)
        NaN counts as 0; a row of NaN has no composition.
    kind : {"fractions", "presence"}

    Returns
    -------
    float32 ndarray of shape (n, n_entries)
        0 for rows without composition; for entries without one, the median of the others.
    """
    out = np.zeros((len(measured), len(library)), dtype=np.float32)
    known = ~np.isnan(measured)
    unknown_entries = np.isnan(library).all(axis=1)
    library = np.nan_to_num(library)
    patterns, index = np.unique(known, axis=0, return_inverse=True)
    index = index.reshape(-1)
    for k in np.flatnonzero(patterns.any(axis=1)):
        rows, columns = np.flatnonzero(index == k), patterns[k]
        ours, theirs = even_out(measured[rows][:, columns], kind), even_out(library[:, columns], kind)
        squares = np.square(ours).sum(axis=1)[:, None] + np.square(theirs).sum(axis=1)
        distance = np.maximum(squares - 2 * (ours @ theirs.T), 0)
        out[rows] = np.log1p(distance / _TOLERATED)
        if unknown_entries.any() and not unknown_entries.all():
            out[np.ix_(rows, unknown_entries)] = np.median(out[rows][:, ~unknown_entries], axis=1)[:, None]
    return out
