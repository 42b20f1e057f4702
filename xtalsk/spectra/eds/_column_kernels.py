"""Compiled loops that add up the lines of elements and of groups."""

import numpy as np

from xtalsk.spectra.eds._constants import (
    LEAST_GROUP_INFORMATION,
    LINE_RATIO_ERRORS,
    SOFT_ENERGY,
    SOFT_RATIO_FACTOR,
)
from xtalsk.spectra.eds._row_kernels import add_row, row_sum
from xtalsk.utils._compiled import compiled_any_order as compiled


@compiled
def fill_elements(lines, profiles, counts, elements, columns):
    """Add the lines of each element to ``columns`` (n_elements, n_bins).

    ``counts`` (n_lines,) are those of each line of the `LineTable`, ``profiles`` the `Rows` of all lines.
    """
    for i in range(len(elements)):
        for k in range(lines.starts[elements[i]], lines.starts[elements[i] + 1]):
            add_row(profiles, lines.index[k], counts[k], columns[i])


@compiled
def count_groups(lines, profiles, counts, elements, out):
    """Add the counts in each line to its group; ``out`` has the shape (n_elements, n_groups)."""
    for i in range(len(elements)):
        for k in range(lines.starts[elements[i]], lines.starts[elements[i] + 1]):
            out[i, lines.group[k]] += counts[k] * row_sum(profiles, lines.index[k])


@compiled
def _information(column, middles, weights):
    """Return the sum of a column, its mean energy, and the inverse variance of its amplitude."""
    total, moment, information = 0.0, 0.0, 0.0
    for b in range(len(column)):
        total += column[b]
        moment += column[b] * middles[b]
        information += column[b] * column[b] * weights[b]
    return total, moment / total if total > 0 else 0.0, information


@compiled
def _fill_groups(lines, profiles, counts, z, amplitude, middles, weights, columns, errors, groups):
    """Write the visible groups of one element; return how many. See `fill_deviations`."""
    n, k, end = 0, lines.starts[z], lines.starts[z + 1]
    while k < end:
        group = lines.group[k]
        columns[n] = 0
        while k < end and lines.group[k] == group:
            add_row(profiles, lines.index[k], counts[k], columns[n])
            k += 1
        _, energy, information = _information(columns[n], middles, weights)
        error = LINE_RATIO_ERRORS[group] * (SOFT_RATIO_FACTOR if energy < SOFT_ENERGY else 1.0) * amplitude
        if error**2 * information > LEAST_GROUP_INFORMATION:
            errors[n] = error
            groups[n] = z * len(LINE_RATIO_ERRORS) + group
            n += 1
    return n


@compiled
def fill_deviations(lines, profiles, counts, elements, amplitudes, middles, weights, columns, errors, groups):
    """Write columns for deviations of groups of lines, see `deviation_columns`.

    Parameters
    ----------
    lines, profiles, counts, elements
        See `fill_elements`.
    amplitudes : ndarray of shape (n_elements,)
    middles, weights : ndarray of shape (n_bins,)
    columns, errors : ndarray of shape (n, n_bins) and (n,)
        Get the columns, and the standard deviation of each amplitude. They need a row for each group.
    groups : ndarray of int, shape (n,)
        Gets the group of each column: n_groups * z + group.

    Returns
    -------
    int
        Number of columns.
    """
    n = 0
    for i in range(len(elements)):
        z, own, own_errors, own_groups = elements[i], columns[n:], errors[n:], groups[n:]
        m = _fill_groups(
            lines, profiles, counts, z, amplitudes[i], middles, weights, own, own_errors, own_groups
        )
        if m == 0:
            continue
        for k in range(np.argmin(own_errors[:m]), m - 1):  # the surest group defines the amount
            own[k] = own[k + 1]
            own_errors[k] = own_errors[k + 1]
            own_groups[k] = own_groups[k + 1]
        n += m - 1
    return n
