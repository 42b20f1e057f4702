"""Compiled loops over bins: errors of the instrument and of the model."""

import numpy as np

from xtalsk.spectra.eds._constants import (
    BEND_ENERGIES,
    LEAST_VARIANCE,
    LINE_ERROR,
    NEAR_ERROR,
    NOISE_VARIANCE,
    POSITION_ERROR,
    SUM_ERROR,
    WIDTH_ERROR,
)
from xtalsk.spectra.eds._row_kernels import multiply, row_product
from xtalsk.utils._compiled import compiled_any_order as compiled


@compiled
def _difference(values, k):
    """Return the difference of the neighbours of a value; at the ends, of the value and its neighbour."""
    return values[min(k + 1, len(values) - 1)] - values[max(k - 1, 0)]


@compiled
def slopes(lines, widths, distances, shift, broadening):
    """Write the change of lines with position and resolution; see `slope_columns`. Arrays are (n_bins,)."""
    n = len(lines)
    density = lines / widths
    for k in range(n):
        broadening[k] = _difference(density, k) / distances[k]
        shift[k] = -broadening[k] * widths[k]
    density[:] = broadening
    for k in range(n):
        broadening[k] = _difference(density, k) / distances[k] * widths[k] * NOISE_VARIANCE / 2


@compiled
def fill_instrument(lines, widths, distances, middles, axis_errors, tails, out):
    """Write the changes of lines by errors of the instrument into ``out``; see `instrument_columns`."""
    n, n_shifts = len(lines), len(axis_errors)
    shift = np.empty(n)
    slopes(lines, widths, distances, shift, out[n_shifts])
    for i in range(n_shifts):
        for k in range(n):
            out[i, k] = shift[k] * axis_errors[i, k]
    for i in range(len(tails)):
        multiply(tails[i], lines, out[n_shifts + 1 + i])
    above = 0.0
    for k in range(n - 1, -1, -1):
        above += lines[k] / middles[k]
        out[-1, k] = widths[k] * above


@compiled
def inverse_variance(curve, lines, sums, measured, widths, distances, near, background_error, weights):
    """Write the inverse variance of the counts by counting and by errors of the model; see `Estimate`."""
    n = len(lines)
    shift, broadening = np.empty(n), np.empty(n)
    slopes(lines, widths, distances, shift, broadening)
    for k in range(n):
        variance = max(curve[k], LEAST_VARIANCE)
        variance += (LINE_ERROR * lines[k]) ** 2 + (POSITION_ERROR * shift[k]) ** 2
        variance += (WIDTH_ERROR * broadening[k]) ** 2 + (SUM_ERROR * sums[k]) ** 2
        variance += (NEAR_ERROR * row_product(near, k, lines)) ** 2
        variance += (background_error[k] * (curve[k] - lines[k])) ** 2
        weights[k] = measured[k] / variance


@compiled
def correct_axis(energy, amplitudes, n_xrays, out):
    """Write increasing energies after a correction of the axis into ``out``; see `corrected_axis`."""
    offset, gain, bends = amplitudes[0], amplitudes[1], amplitudes[2:]
    last, k = len(bends) - 1, 0
    for i in range(len(energy)):
        own = energy[i] / n_xrays
        while k <= last and BEND_ENERGIES[k] <= own:
            k += 1
        if k == 0 or k > last:
            bend = bends[min(k, last)]
        else:
            part = (own - BEND_ENERGIES[k - 1]) / (BEND_ENERGIES[k] - BEND_ENERGIES[k - 1])
            bend = bends[k - 1] + part * (bends[k] - bends[k - 1])
        out[i] = energy[i] + n_xrays * (offset + gain * own + bend)
