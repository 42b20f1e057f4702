"""Compiled loops of the search for the end of the central halo: each profile by itself."""

import numpy as np

from xtalsk.utils._compiled import compiled_any_order as compiled


@compiled
def smooth_row(row, kernel, out):
    """Write the weighted mean along a profile to ``out``; NaN is excluded and stays NaN."""
    n, reach = len(row), len(kernel) // 2
    for i in range(n):
        total, weight = np.float32(0), np.float32(0)
        if np.isnan(row[i]):
            out[i] = np.nan
            continue
        for k in range(max(0, i - reach), min(n, i + reach + 1)):
            if not np.isnan(row[k]):
                total += kernel[k - i + reach] * row[k]
                weight += kernel[k - i + reach]
        out[i] = total / weight


@compiled
def _first_clear(row, saturated, most):
    """Return the first bin of a profile beyond the saturated rings; ``saturated`` may be empty."""
    n, first = len(row), 0
    while first < n and np.isnan(row[first]):
        first += 1
    if not len(saturated):
        return first
    past = first
    while past < n and not saturated[past] <= most:
        past += 1
    return past + 2 if past > first else first


@compiled
def _first_top(level, start):
    """Return the first bin from ``start`` on that none of the next three exceeds, or the number of bins."""
    n = len(level)
    for i in range(start, n):
        if np.isnan(level[i]):
            continue
        is_top = True
        for k in range(i + 1, min(i + 4, n)):
            is_top &= not level[k] > level[i]
        if is_top:
            return i
    return n


@compiled
def end_of_halo(row, saturated, kernel, limits, shares):
    """Return the first bin of a profile beyond the halo; see `_halo.hide_halo`.

    ``saturated`` is the share of saturated pixels in each bin, or empty. ``limits`` are the distances start,
    rise and reach in bins, ``shares`` the constants ring, contrast and top.
    """
    first, level = _first_clear(row, saturated, shares[0]), np.empty_like(row)
    smooth_row(row, kernel, level)
    n, lowest = len(row), -1
    for i in range(first, min(n, first + max(1, int(limits[0])))):
        if not np.isnan(level[i]) and (lowest < 0 or level[i] < level[lowest]):
            lowest = i
    if lowest < 0 or lowest - first >= limits[1]:
        return first
    top = _first_top(level, lowest)
    if top >= n or top <= lowest + 1 or top - first >= limits[2]:
        return first
    if not level[top] - level[lowest] > shares[1] * level[top]:
        return first
    past = top
    while past < n and not level[past] < shares[2] * level[top]:
        past += 1
    return past
