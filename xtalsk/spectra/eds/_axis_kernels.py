"""Compiled loops over channels and bins of one X-ray spectrum."""

import numpy as np

from xtalsk.spectra.eds._constants import (
    DEAD_CHANNEL,
    DEAD_COUNTS,
    OVERFLOW_COUNTS,
    OVERFLOW_FACTOR,
    OVERFLOW_SIGMAS,
    SMOOTHING_BINS,
    SNIP_BINS,
)
from xtalsk.utils._compiled import compiled_any_order as compiled


@compiled
def rebin(counts, energy, shift, edges, out):
    """Write the counts in bins (n_bins,) of channels whose middles are at ``energy`` plus ``shift``.

    The counts of a channel are spread evenly over its width. A channel ends half-way to its neighbours.
    """
    n, channel, below = len(counts), 0, 0.0
    start = energy[0] + shift - (energy[1] - energy[0]) / 2
    end = (energy[0] + energy[1]) / 2 + shift
    before = 0.0
    for b in range(len(edges)):
        while channel < n and end <= edges[b]:
            below += counts[channel]
            channel += 1
            start = end
            if channel < n - 1:
                end = (energy[channel] + energy[channel + 1]) / 2 + shift
            elif channel == n - 1:
                end = energy[n - 1] + shift + (energy[n - 1] - energy[n - 2]) / 2
        total = below
        if channel < n and edges[b] > start:
            total += counts[channel] * (edges[b] - start) / (end - start)
        if b > 0:
            out[b - 1] = total - before
        before = total


@compiled
def smooth(values, out):
    """Write the moving average of values (n_bins,) into ``out``; values are mirrored at the ends."""
    n, reach = len(values), SMOOTHING_BINS // 2
    for k in range(n):
        total = 0.0
        for j in range(k - reach, k + reach + 1):
            i = -j - 1 if j < 0 else j
            total += values[2 * n - i - 1 if i >= n else i]
        out[k] = total / (2 * reach + 1)


@compiled
def _snip(level):
    """Replace a level (n_bins,) by the lower envelope, windows becoming smaller."""
    n = len(level)
    clipped = np.empty(n)
    for k in range(min(SNIP_BINS, (n - 1) // 2), 0, -1):
        middle, left, right = level[k : n - k], level[: n - 2 * k], level[2 * k :]
        for b in range(len(middle)):
            mean = (left[b] + right[b]) / 2
            clipped[b] = mean if mean < middle[b] else middle[b]
        middle[:] = clipped[: len(middle)]


@compiled
def rebin_shifted(counts, energy, shifts, edges, out, smoothed):
    """Write the counts in bins, and their moving average, at each of several shifts; (n_shifts, n_bins)."""
    for i in range(len(shifts)):
        rebin(counts, energy, shifts[i], edges, out[i])
        smooth(out[i], smoothed[i])


@compiled
def snip(levels):
    """Replace each row of levels (n, n_bins) by its lower envelope."""
    for i in range(len(levels)):
        _snip(levels[i])


@compiled
def _neighbour(counts, i):
    """Return the counts of a channel; mirrored beyond the ends; 0 for NaN."""
    n = len(counts)
    if i < 0:
        i = 1 - i
    elif i >= n:
        i = 2 * n - 3 - i
    return 0.0 if np.isnan(counts[i]) else counts[i]


@compiled
def find_faulty(counts, faulty):
    """Write which single channels are dead or have overflowed; see `faulty_channels`."""
    for i in range(len(counts)):
        left, right = _neighbour(counts, i - 1), _neighbour(counts, i + 1)
        lowest = min(left, right)
        highest = max(left, right, _neighbour(counts, i - 2), _neighbour(counts, i + 2))
        limit = OVERFLOW_FACTOR * highest + OVERFLOW_SIGMAS * np.sqrt(max(highest, 1.0)) + OVERFLOW_COUNTS
        is_dead = counts[i] < DEAD_CHANNEL * lowest and lowest > DEAD_COUNTS
        faulty[i] = counts[i] > limit or is_dead
