"""Compiled loops over powder scans: each scan by itself."""

import numpy as np

from xtalsk.utils._compiled import compiled


@compiled
def bin_row(q, intensity, edges, longest, shares, out):
    """Mean over each bin of the straight lines between the points of a scan, in ``out`` (n_bins,).

    A step longer than ``longest`` is a gap. ``shares`` (n_bins,) is the part of each bin, in 1/Å, that has to
    be covered; the other bins are NaN. See `_functional.bin_mean`.
    """
    last, i = len(q) - 2, 0
    for k in range(len(out)):
        low, high = max(edges[k], q[0]), min(edges[k + 1], q[-1])
        area, covered = 0.0, 0.0
        while i < last and q[i + 1] <= low:
            i += 1
        while low < high:
            step, end = q[i + 1] - q[i], high if i == last else min(high, q[i + 1])
            if step <= longest and not np.isnan(intensity[i]) and not np.isnan(intensity[i + 1]):
                middle = intensity[i] + (intensity[i + 1] - intensity[i]) * ((low + end) / 2 - q[i]) / step
                area += middle * (end - low)
                covered += end - low
            low = end
            if low < high:
                i += 1
        out[k] = area / covered if covered > shares[k] else np.nan


@compiled
def is_rough(values, weights, share):
    """Return whether a point of a scan is surely farther from the smooth curve than rounding can bring it.

    The smooth curve is the mean of neighbours with ``weights`` (n_points,). The limit is that of
    `_plausibility.smooth_reason` or higher: the smallest step between neighbours stands for the smallest
    difference of any two values. The search starts at the highest point and ends at the first rough one.
    """
    n, reach = len(values), len(weights) // 2
    lowest, highest, top, step = values[0], values[0], 0, np.inf
    for i in range(1, n):
        difference = abs(values[i] - values[i - 1])
        if 0 < difference < step:
            step = difference
        lowest = min(lowest, values[i])
        if values[i] > highest:
            highest, top = values[i], i
    limit = max(share * (highest - lowest), 0.55 * step if step < np.inf else 0.0)
    first = max(reach, min(top, n - reach - 1))
    for turn in range(2):
        for i in range(first if turn == 0 else reach, n - reach if turn == 0 else first):
            smooth = 0.0
            for k in range(len(weights)):
                smooth += weights[k] * values[i - reach + k]
            if abs(values[i] - smooth) > limit:
                return True
    return False
