"""Compiled profiles of X-ray lines in bins; see `line_profiles` and `summed_lines`."""

import math

import numpy as np
from scipy.stats import norm

from xtalsk.spectra.eds._row_kernels import add_row
from xtalsk.utils._compiled import compiled_any_order as compiled

_STEPS = 64  # places of the tables per unit
_FARTHEST = 8.5  # where the normal distribution is 0 or 1 to double precision
_LARGEST = 30.0  # of the exponential function; 1 / exp(30) is 0 beside 1
_PLACES = np.arange(-_FARTHEST, _FARTHEST + 0.5 / _STEPS, 1 / _STEPS)
_BELOW, _DENSITY = norm.cdf(_PLACES), norm.pdf(_PLACES)
_EXPONENTIAL = np.exp(np.arange(-_LARGEST, _LARGEST + 0.5 / _STEPS, 1 / _STEPS))


@compiled
def normal_below(x):
    """Return the distribution function of the normal distribution, by the Taylor series at the next place.

    Loops that call it and `exponential` are fast: both have no branches, so that several numbers are computed
    at once.
    """
    x = min(max(x, -_FARTHEST), _FARTHEST)
    k = np.uint64((x + _FARTHEST) * _STEPS + 0.5)
    y = k / _STEPS - _FARTHEST
    d, y2 = x - y, y * y
    series = (y2 - 1) / 6 - d * (y * (y2 - 3) / 24 - d * (y2 * (y2 - 6) + 3) / 120)
    return _BELOW[k] + _DENSITY[k] * d * (1 + d * (d * series - y / 2))


@compiled
def exponential(x):
    """Return the exponential function of a number between -30 and 30."""
    x = min(max(x, -_LARGEST), _LARGEST)
    k = np.uint64((x + _LARGEST) * _STEPS + 0.5)
    d = x - (k / _STEPS - _LARGEST)
    return _EXPONENTIAL[k] * (1 + d * (1 + d / 2 * (1 + d / 3 * (1 + d / 4 * (1 + d / 5)))))


@compiled
def fill_profiles(edges, sigma, peaks, bins, ends, values):
    """Write the share of the counts of a line in each of the bins of its peaks; see `line_profiles`.

    Parameters
    ----------
    edges : ndarray of shape (n_bins + 1,)
        Edges of the bins in eV.
    sigma : ndarray of shape (n_peaks,)
        Standard deviation of each peak in eV.
    peaks : Peaks
    bins, ends : ndarray of int, shape (n_peaks,) and (n_peaks + 1,)
        First bin of each peak, and where its values begin; see `Rows`.
    values : ndarray of shape (n_values,)
    """
    below = np.empty(len(edges))
    for i in range(len(sigma)):
        energy, scale, slope = peaks.energy[i], 1 / sigma[i], 1 / peaks.tail_slope[i]
        height = peaks.tail_share[i] / (1 + peaks.tail_share[i]) * math.exp(0.5 * slope**2)
        own, out = edges[bins[i] :], values[ends[i] : ends[i + 1]]
        for k in range(len(out) + 1):
            x = (own[k] - energy) * scale
            below[k] = normal_below(x) + height * exponential(x * slope) * normal_below(-x - slope)
        for k in range(len(out)):
            out[k] = (below[k + 1] - below[k]) * peaks.share[i]


@compiled
def sum_lines(profiles, index, counts, row, n_bins, starts, bins, ends, values):
    """Sum the lines of each row, and write the sums as `Rows`; see `summed_lines`.

    ``index``, ``counts`` and ``row`` (n_lines,) are those of the lines, with increasing ``row``. The other
    arrays are those of the result; ``bins``, ``ends`` and ``values`` need as many elements as all lines have.

    Returns
    -------
    int
        Number of runs.
    """
    total, line, run, n = np.zeros(n_bins), 0, 0, 0
    ends[0] = 0
    for i in range(len(starts) - 1):
        starts[i] = run
        first, end = n_bins, 0
        while line < len(index) and row[line] == i:
            add_row(profiles, index[line], counts[line], total)
            for k in range(profiles.starts[index[line]], profiles.starts[index[line] + 1]):
                n_values = profiles.ends[k + 1] - profiles.ends[k]
                first, end = min(first, profiles.bins[k]), max(end, profiles.bins[k] + n_values)
            line += 1
        for b in range(first, end):
            if total[b] == 0:
                continue
            if b == first or total[b - 1] == 0:
                bins[run] = b
                run += 1
            values[n] = total[b]
            n += 1
            ends[run] = n
        total[first:end] = 0
    starts[len(starts) - 1] = run
    return run
