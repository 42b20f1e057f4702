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
def _cumulated(counts, energy):
    """Return the counts below each end of a channel, and its energy, ndarrays of shape (n_channels + 1,).

    A channel ends half-way to its neighbours. ``energy`` is the middle of each.
    """
    n = len(energy)
    below, ends = np.zeros(n + 1), np.empty(n + 1)
    for i in range(n):
        below[i + 1] = below[i] + counts[i]
    ends[0] = energy[0] - (energy[1] - energy[0]) / 2
    for i in range(1, n):
        ends[i] = (energy[i - 1] + energy[i]) / 2
    ends[n] = energy[n - 1] + (energy[n - 1] - energy[n - 2]) / 2
    return below, ends


@compiled
def _counts_below(below, ends, energy, per_energy):
    """Return the counts below an energy; those of a channel are spread evenly over its width.

    The search for the channel starts where it would be if all channels were equally wide.
    """
    n = len(ends) - 1
    k = int(min(max((energy - ends[0]) * per_energy, 0.0), n - 1.0))
    while k > 0 and ends[k] > energy:
        k -= 1
    while k < n - 1 and ends[k + 1] <= energy:
        k += 1
    part = (energy - ends[k]) / (ends[k + 1] - ends[k])
    return below[k] + min(max(part, 0.0), 1.0) * (below[k + 1] - below[k])


@compiled
def _rebin(below, ends, shift, edges, out):
    """Write the counts in bins of channels that are shifted; see `_cumulated`."""
    at_edges, per_energy = np.empty(len(edges)), len(ends) / (ends[-1] - ends[0])
    for b in range(len(edges)):
        at_edges[b] = _counts_below(below, ends, edges[b] - shift, per_energy)
    out[:] = at_edges[1:] - at_edges[:-1]


@compiled
def rebin(counts, energy, shift, edges, out):
    """Write the counts in bins (n_bins,) of channels whose middles are at ``energy`` plus ``shift``."""
    below, ends = _cumulated(counts, energy)
    _rebin(below, ends, shift, edges, out)


@compiled
def smooth(values, out):
    """Write the moving average of values (n_bins,) into ``out``; values are mirrored at the ends."""
    n, reach = len(values), SMOOTHING_BINS // 2
    padded = np.empty(n + 2 * reach)
    padded[reach : n + reach] = values
    for i in range(reach):
        padded[reach - 1 - i] = values[i]
        padded[n + reach + i] = values[n - 1 - i]
    for k in range(n):
        total = 0.0
        for j in range(2 * reach + 1):
            total += padded[k + j]
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
    below, ends = _cumulated(counts, energy)
    for i in range(len(shifts)):
        _rebin(below, ends, shifts[i], edges, out[i])
        smooth(out[i], smoothed[i])
        for b in range(len(edges) - 1):
            smoothed[i, b] = max(smoothed[i, b], 0.0)


@compiled
def weigh_net(counts, background, smooth, usable, error, net, weights):
    """Write net counts and their inverse variance, 0 in bins that are not usable; arrays (n, n_bins)."""
    for i in range(len(counts)):
        for b in range(counts.shape[1]):
            net[i, b] = counts[i, b] - background[i, b]
            weights[i, b] = usable[i, b] / (max(smooth[i, b], 1.0) + (error * smooth[i, b]) ** 2)


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
