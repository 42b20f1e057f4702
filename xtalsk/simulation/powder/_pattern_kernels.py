"""Compiled points of powder patterns: line shapes, expected counts, recorded counts, removed background.

They compute what `_line_profiles.broaden`, `_background` and `_simulate.render_powder` compute with torch.
"""

import math

import numpy as np

from xtalsk.simulation._counting_kernels import draw_counts, key_of, random_bits, standard_normal
from xtalsk.simulation.reflections._fast_kernels import exponential, fast

COUNTS, REMAINDER, WANDER = 2, 3, 4  # purposes of random numbers, see `key_of`
_FOUR_LN_2 = 2.77  # rounded, as in `_line_profiles.gaussian`


@fast
def broaden_spectra(spectra, n_padded, fwhm, eta, tail, out):
    """Multiply Fourier transforms by those of the line shapes, and add the widths of each pattern.

    Parameters
    ----------
    spectra : ndarray of float32, shape (m, k, 2 * n_frequencies)
        Real and imaginary parts in turn.
    n_padded : int
        Number of points of the transforms.
    fwhm, eta, tail : ndarray of shape (m, k)
        Widths in points, Lorentzian shares and lengths of the tails in points.
    out : ndarray of float32, shape (m, 2 * n_frequencies)
        Zeros, to which the products are added.
    """
    n_frequencies = spectra.shape[2] // 2
    for m in range(spectra.shape[0]):
        for k in range(spectra.shape[1]):
            width, length = math.pi * fwhm[m, k] / n_padded, 2 * math.pi * tail[m, k] / n_padded
            lorentz, gauss = eta[m, k], 1 - eta[m, k]
            square = width * width / (4 * math.log(2))
            spectrum, total = spectra[m, k], out[m]
            for f in range(n_frequencies):
                transfer = lorentz * exponential(-width * f) + gauss * exponential(-square * f * f)
                phase = length * f  # the transform of the tail is 1 / (1 - i phase)
                transfer /= 1 + phase * phase
                x, y = spectrum[2 * f] * transfer, spectrum[2 * f + 1] * transfer
                total[2 * f] += x - y * phase
                total[2 * f + 1] += y + x * phase


@fast
def _mean(values):
    """Return the mean of an array."""
    total = 0.0
    for i in range(len(values)):
        total += values[i]
    return total / len(values)


@fast
def _background(axis, value, shape):
    """Write a background of mean 1, see `_background.background_shapes`."""
    n = len(axis)
    for i in range(n):
        shape[i] = 1.0
    part = np.empty(n)
    if value.air != 0:
        for i in range(n):
            part[i] = exponential(-axis[i] / value.air_decay)
        factor = value.air / _mean(part)
        for i in range(n):
            shape[i] = 1 - value.air + factor * part[i]
    if value.hump != 0:
        for i in range(n):
            x = (axis[i] - value.hump_position) / value.hump_width
            part[i] = exponential(-_FOUR_LN_2 * x * x)
        factor = value.hump / max(_mean(part), 1e-12)
        for i in range(n):
            shape[i] = (1 - value.hump) * shape[i] + factor * part[i]
    if value.waviness != 0:
        span = axis[n - 1] - axis[0]
        for i in range(n):
            x = 2 * (axis[i] - axis[0]) / span - 1
            second = 2 * x * x - 1
            third = (4 * x * x - 3) * x
            fourth = 2 * second * second - 1
            wave = value.bend_1 * x + value.bend_2 * second + value.bend_3 * third + value.bend_4 * fourth
            shape[i] *= exponential(min(value.waviness * wave, 700.0))
    mean = _mean(shape)
    for i in range(n):
        shape[i] /= mean


@fast
def expect_counts(members, profiles, values, axis, low_angle, rates):
    """Compute the expected counts of patterns from the profiles of their lines.

    Parameters
    ----------
    members : ndarray of int, shape (m,)
        Numbers of the patterns.
    profiles : ndarray of float32, shape (m, n_padded)
        Lines of any height; points behind the axis are not used.
    values : record ndarray of shape (n,)
        Values of the conditions.
    axis, low_angle : ndarray of shape (n_points,)
        2θ in degrees, and `low_angle_shape`.
    rates : ndarray of float32, shape (n, n_points)
        The expected counts are written here.
    """
    n_points = len(axis)
    shape = np.empty(n_points)
    for m in range(len(members)):
        value, rate, profile = values[members[m]], rates[members[m]], profiles[m]
        total, highest = 0.0, np.float32(0)
        for i in range(n_points):
            rate[i] = max(profile[i], np.float32(0))
            total += rate[i]
            highest = max(highest, rate[i])
        scale = value.line_counts / total if value.line_counts > 0 else value.peak_counts / highest
        if value.background == 0:
            for i in range(n_points):
                rate[i] *= scale
            continue
        _background(axis, value, shape)
        low = value.low_angle_scatter * value.background
        for i in range(n_points):
            rate[i] = rate[i] * scale + shape[i] * value.background + low_angle[i] * low


@fast
def _interpolated(nodes, position):
    """Return the value between nodes at equal distances; constant outside."""
    position = max(position, 0.0)
    left = min(int(position), len(nodes) - 1)
    right = min(left + 1, len(nodes) - 1)
    return nodes[left] + (position - left) * (nodes[right] - nodes[left])


@fast
def _lower_edge(rate, remainder, value, key, step, constants, lower):
    """Write the background of each block of points, see `_background._lowered_opening`."""
    block, _, _, _, wander, roughness, lowest_variance = constants
    n, n_points = len(lower), len(rate)
    lowest, opened = np.empty(n), np.empty(n)
    for b in range(n):
        least = np.inf
        for i in range(b * block, min((b + 1) * block, n_points)):
            least = min(least, rate[i] - remainder[i])
        lowest[b] = least
    half = max(int(value.opening_degrees / (step * block)), 1) // 2
    for b in range(n):
        opened[b] = lowest[max(b - half, 0) : b + half + 1].min()
    for b in range(n):
        lowest[b] = opened[max(b - half, 0) : b + half + 1].max()
    noise = np.zeros(n + 2)
    for b in range(n):
        noise[b + 1] = standard_normal(random_bits(key, b))
    for b in range(n):
        total = 0.0
        for other in range(b - half, b + half + 1):
            total += lowest[min(max(other, 0), n - 1)]
        mean = total / (2 * half + 1)
        uneven = roughness * noise[b + 1] + (noise[b] + noise[b + 1] + noise[b + 2]) / 3
        depth = value.baseline_depth + wander * uneven
        lower[b] = mean - math.sqrt(max(mean, lowest_variance)) * depth


@fast
def _sag(counts, baseline, n_edge):
    """Replace the start of the baseline by a curve from the first count, see `_background._lower_edge`."""
    n = min(n_edge, len(counts))
    curve = np.empty(n)
    for i in range(n):
        curve[i] = max(counts[i], baseline[i])
    curve[n - 1] = baseline[n - 1]
    for _ in range(n_edge):
        before = curve[0]
        for i in range(1, n - 1):
            chord = (before + curve[i + 1]) / 2
            before = curve[i]
            curve[i] = min(curve[i], chord)
    for i in range(n):
        baseline[i] = curve[i]


@fast
def _remove_background(counts, rate, value, seed, low_angle, step, constants):
    """Subtract a smooth background from the counts of one pattern, see `_background.remove_background`."""
    block, n_edge, n_nodes, spread = constants[0], constants[1], constants[2], constants[3]
    n_points = len(counts)
    nodes, remainder, key = np.empty(n_nodes), np.empty(n_points), key_of(seed, REMAINDER)
    for node in range(n_nodes):
        nodes[node] = math.exp(spread * standard_normal(random_bits(key, node)))
    left = value.low_angle_scatter * value.background * value.beam_left
    for i in range(n_points):
        remainder[i] = left * low_angle[i] * _interpolated(nodes, (i + 0.5) * n_nodes / n_points - 0.5)
    lower, baseline = np.empty(-(-n_points // block)), np.empty(n_points)
    _lower_edge(rate, remainder, value, key_of(seed, WANDER), step, constants, lower)
    for i in range(n_points):
        baseline[i] = _interpolated(lower, (i + 0.5) / block - 0.5)
    _sag(counts, baseline, n_edge)
    if value.last_pinned > 0:
        baseline[n_points - 1] = counts[n_points - 1]
    for i in range(n_points):
        counts[i] = abs(counts[i] - baseline[i])


@fast
def record_counts(
    members, rates, values, seeds, low_angle, step, constants, table, per_count, largest, counts
):
    """Draw the counts of patterns, remove the background and scale, where the conditions say so.

    Parameters
    ----------
    members : ndarray of int, shape (m,)
        Numbers of the patterns.
    rates : ndarray of float32, shape (n, n_points)
        Expected counts.
    values : record ndarray of shape (n,)
        Values of the conditions.
    seeds : ndarray of uint64, shape (n,)
    low_angle : ndarray of shape (n_points,)
        See `low_angle_shape`.
    step : float
        Step of the axis in degrees.
    constants : tuple
        BLOCK, EDGE, number of nodes of the remainder, REMAINDER_SPREAD, WANDER, WANDER_ROUGHNESS and
        LOWEST_VARIANCE.
    table, per_count, largest
        See `count_line`.
    counts : ndarray of float32, shape (n, n_points)
        The counts are written here.
    """
    n_points = rates.shape[1]
    for i in members:
        value, rate, count = values[i], rates[i], counts[i]
        draw_counts(rate, key_of(seeds[i], COUNTS), table, per_count, largest, count, 0, n_points)
        if value.background_removed > 0:
            _remove_background(count, rate, value, seeds[i], low_angle, step, constants)
        if value.full_scale > 0:
            highest = np.float32(1)
            for j in range(n_points):
                highest = max(highest, count[j])
            scale = value.full_scale / highest
            for j in range(n_points):
                count[j] = math.floor(count[j] * scale)
        elif value.background_removed > 0:
            for j in range(n_points):
                count[j] = np.rint(count[j])
