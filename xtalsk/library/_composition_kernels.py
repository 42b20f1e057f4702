"""Compiled comparison of compositions in which stray elements may be in excess."""

import numpy as np

from xtalsk.utils._compiled import compiled


@compiled
def _stable(fraction, relative_error, absolute_error):
    """Return a fraction with a standard deviation of about 1, see `stabilise_variance`."""
    return np.arcsinh(fraction * (relative_error / absolute_error)) / relative_error


@compiled
def _excess_cost(stable, least, limit, cost, errors):
    """Return χ² of an amount of a stray element of which at least ``least`` is in the entry."""
    full = stable - _stable(least, errors[0], errors[1])
    beyond = max(0.0, stable - _stable(least + limit, errors[0], errors[1]))
    return min(full * full, cost + beyond * beyond)


@compiled
def find_lacking(low, high, needed, out):
    """Write which entries need an element that is absent: bits of elements (low, high), (n_entries, 2)."""
    for entry in range(len(needed)):
        out[entry] = ((low & needed[entry, 0]) | (high & needed[entry, 1])) != 0


@compiled
def compare_plain(measured, starts, elements, amounts, is_candidate, tolerated, out):
    """Compare one composition with the entries that are candidates: log(1 + χ² / tolerated) in ``out``.

    ``measured`` (n_elements,) and ``amounts`` (m,) are those of `stabilise_variance`, 0 where not measured.
    The other arrays are those of `compare_strays`.
    """
    total = 0.0
    for z in range(len(measured)):
        total += measured[z] * measured[z]
    for entry in range(len(starts) - 1):
        if is_candidate[entry]:
            chi2 = total
            for j in range(starts[entry], starts[entry + 1]):
                chi2 += amounts[j] * (amounts[j] - 2 * measured[elements[j]])
            out[entry] = np.log1p(max(chi2, 0.0) / tolerated)


@compiled
def compare_strays(measured, starts, elements, amounts, is_candidate, limits, costs, unseen, errors, out):
    """Compare one composition with the entries that are candidates; χ² goes to ``out`` (n_entries,).

    Parameters
    ----------
    measured : ndarray of shape (n_elements,)
        Atomic fractions with a sum of 1; NaN where not measured.
    starts : int ndarray of shape (n_entries + 1,)
        First position of each entry in the two arrays that follow.
    elements : int ndarray of shape (m,)
        Columns of the elements of all entries.
    amounts : ndarray of shape (m,)
    is_candidate : bool ndarray of shape (n_entries,)
    limits, costs : ndarray of shape (n_elements,)
        Largest usual amount of each stray element and what it costs; limits are 0 for other elements.
    unseen : ndarray of shape (n_elements,)
        What it costs that an element of the entry is absent; inf: as much as its amount demands.
    errors : tuple of (relative error, absolute error, largest fraction that counts as absent)
    out : ndarray of shape (n_entries,)
    """
    n_elements = len(measured)
    stable, free = np.zeros(n_elements), np.zeros(n_elements)
    total = 0.0
    for z in range(n_elements):
        if measured[z] > 0:
            stable[z] = _stable(measured[z], errors[0], errors[1])
            free[z] = stable[z] * stable[z]
            if limits[z] > 0:
                free[z] = _excess_cost(stable[z], 0.0, limits[z], costs[z], errors)
            total += free[z]
    for entry in range(len(starts) - 1):
        if not is_candidate[entry]:
            continue
        seen, own, sure_seen, sure_own = 0.0, 0.0, 0.0, 0.0
        for j in range(starts[entry], starts[entry + 1]):
            z = elements[j]
            if np.isnan(measured[z]) or (measured[z] <= errors[2] and unseen[z] < np.inf):
                continue
            seen += measured[z]
            own += amounts[j]
            if limits[z] == 0:
                sure_seen += measured[z]
                sure_own += amounts[j]
        best = total
        for scale in (seen / own if own > 0 else 0.0, sure_seen / sure_own if sure_own > 0 else 0.0):
            chi2 = total
            for j in range(starts[entry], starts[entry + 1]):
                z = elements[j]
                if np.isnan(measured[z]):
                    continue
                expected = scale * amounts[j]
                difference = stable[z] - _stable(expected, errors[0], errors[1])
                cost = difference * difference
                if limits[z] > 0 and difference > 0:
                    cost = _excess_cost(stable[z], expected, limits[z], costs[z], errors)
                elif measured[z] <= errors[2]:
                    cost = min(cost, unseen[z])
                chi2 += cost - free[z]
            if scale > 0:
                best = min(best, chi2)
        out[entry] = max(best, 0.0)
