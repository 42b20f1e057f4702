"""Compiled loops over the pixels of a spectrum image."""

import numpy as np

from xtalsk.spectra.eds._nonnegative_kernels import eliminate, factorise, minimise, scale_gram
from xtalsk.utils._compiled import compiled_any_order as compiled

_LEAST_EXPECTED = 1e-9  # expected counts below which the logarithm is not computed
_HALF_NORMAL = 1 - 2 / np.pi  # variance of the positive half of a normal distribution of variance 1
_MOST_SWEEPS = 10_000  # of `descend`
_LEAST_INFORMATION = 1e-6  # smallest share of the information of a column that others leave
_LEAST_EXPECTED_SHARE = 1e-3  # smallest expected counts of a bin, relative to those of the mean spectrum


@compiled
def bin_channels(counts, starts, bins, shares, out):
    """Write the counts in bins (n_bins,) of one pixel from those in its channels; see `Binning`."""
    out[:] = 0
    for k in range(len(counts)):
        value = counts[k]
        if value != 0:
            for j in range(starts[k], starts[k + 1]):
                out[bins[j]] += shares[j] * value


@compiled
def bin_pixels(counts, starts, bins, shares, out):
    """Write the counts in bins (n, n_bins) of pixels; see `bin_channels`."""
    for i in range(len(counts)):
        bin_channels(counts[i], starts, bins, shares, out[i])


@compiled
def normal_equations(columns, variance, values, gram, target):
    """Write the normal equations of least squares with the variance of each bin.

    ``columns`` are (p, n_bins), ``variance`` and ``values`` (n_bins,), ``gram`` (p, p), ``target`` (p,).
    """
    p, n = columns.shape
    weighted = np.empty(n)
    inverse = np.empty(n)
    for b in range(n):
        inverse[b] = 1 / variance[b]
    for i in range(p):
        total = 0.0
        for b in range(n):
            weighted[b] = columns[i, b] * inverse[b]
            total += weighted[b] * values[b]
        target[i] = total
        for j in range(i + 1):
            total = 0.0
            for b in range(n):
                total += weighted[b] * columns[j, b]
            gram[i, j] = total
            gram[j, i] = total


@compiled
def write_covariance(scaled, scale, x, covariance):
    """Write the covariance of amplitudes.

    Amplitudes above 0 vary together; all others stay 0. Those at 0 get the variance that they would have if
    they alone were added, on the diagonal.

    Parameters
    ----------
    scaled, scale : ndarray of shapes (p, p) and (p,)
        See `scale_gram`.
    x : ndarray of shape (p,)
        Solution for the scaled columns.
    covariance : ndarray of shape (p, p)
    """
    p = len(x)
    active = np.flatnonzero(x > 0)
    n = len(active)
    lower, inverse = np.empty((n, n)), np.zeros((n, n))
    factorise(scaled, active, lower)
    for i in range(n):  # rows of the inverse of the factor
        for k in range(i):
            for j in range(k + 1):
                inverse[i, j] -= lower[i, k] * inverse[k, j]
        inverse[i, i] = 1.0
        for j in range(i + 1):
            inverse[i, j] /= lower[i, i]
    covariance[:] = 0
    for i in range(n):
        for j in range(i + 1):
            total = 0.0
            for k in range(i, n):
                total += inverse[k, i] * inverse[k, j]
            value = total * scale[active[i]] * scale[active[j]]
            covariance[active[i], active[j]] = value
            covariance[active[j], active[i]] = value
    for i in range(p):
        if x[i] > 0:
            continue
        information = scaled[i, i]
        for k in range(n):
            part = 0.0
            for j in range(k + 1):
                part += inverse[k, j] * scaled[active[j], i]
            information -= part * part
        covariance[i, i] = scale[i] ** 2 / max(information, _LEAST_INFORMATION)


@compiled
def write_variance(amplitudes, columns, mean, total, prior, gain, readout, out):
    """Write the expected variance of each bin (n_bins,).

    The expected counts are those of the fit and those of the mean spectrum of the region, weighted with the
    counts of the pixel, ``total``, and with ``prior`` counts.
    """
    n_columns, n = columns.shape
    share = max(total, 0.0) / (max(total, 0.0) + prior)
    least = max(total, 1.0) * (1 - share)
    for b in range(n):
        out[b] = least * mean[b]
    for i in range(n_columns):
        factor = share * amplitudes[i]
        if factor != 0:
            for b in range(n):
                out[b] += factor * columns[i, b]
    for b in range(n):
        out[b] = gain * max(out[b], _LEAST_EXPECTED_SHARE * max(total, 1.0) * mean[b]) + readout[b]


@compiled
def propagate(amplitudes, covariance, atoms, fractions, uncertainty):
    """Write atomic fractions (n_elements,) of amplitudes, and their standard deviations.

    Amplitudes at 0 could be above it: their half-normal distributions are part of the others' deviations.

    Parameters
    ----------
    amplitudes, covariance : ndarray of shapes (p,) and (p, p)
    atoms : ndarray of shape (p,)
        Atoms per unit of amplitude, 0 for columns that are not part of the composition.
    """
    p, total = len(amplitudes), 0.0
    for i in range(p):
        total += atoms[i] * amplitudes[i]
    slope = np.empty(p)
    for e in range(len(fractions)):
        if not total > 0:
            fractions[e], uncertainty[e] = np.nan, np.nan
            continue
        fraction = atoms[e] * amplitudes[e] / total
        if amplitudes[e] > 0:
            for i in range(p):
                slope[i] = atoms[i] * ((1.0 if i == e else 0.0) - fraction) / total
                slope[i] = slope[i] if amplitudes[i] > 0 else 0.0
            variance = 0.0
            for i in range(p):
                for j in range(p):
                    variance += slope[i] * covariance[i, j] * slope[j]
            for i in range(p):  # amplitudes at 0 could be above it
                if not amplitudes[i] > 0:
                    variance += _HALF_NORMAL * (atoms[i] * fraction / total) ** 2 * covariance[i, i]
        else:
            variance = (atoms[e] / total) ** 2 * covariance[e, e]
        fractions[e], uncertainty[e] = fraction, np.sqrt(variance)


@compiled
def excess(values, curve, reach, error, gain, readout):
    """Return the largest significance of counts above the fit in a window of bins, and the window's middle.

    It is the root of the deviance of Poisson's distribution, reduced by the relative ``error`` of the fit.
    ``values`` and ``curve``, the expected counts, are (n_bins,).
    """
    n, best, place = len(values), 0.0, 0
    measured, expected, noise = 0.0, 0.0, 0.0
    for b in range(min(reach, n)):
        measured, expected, noise = measured + values[b], expected + curve[b], noise + readout[b]
    for b in range(n):
        if b + reach < n:
            measured += values[b + reach]
            expected += curve[b + reach]
            noise += readout[b + reach]
        if b - reach - 1 >= 0:
            measured -= values[b - reach - 1]
            expected -= curve[b - reach - 1]
            noise -= readout[b - reach - 1]
        m = max(expected, _LEAST_EXPECTED)
        if measured > m:
            y, effective = measured / gain, m / gain + noise / gain**2
            y += noise / gain**2
            deviance = 2 * (y * np.log(y / effective) - (y - effective))
            variance = gain * m + noise
            deviance *= variance / (variance + (error * m) ** 2)
            if deviance > best:
                best, place = deviance, b
    return np.sqrt(best), place


@compiled
def descend(gram, target, tolerance, x):
    """Minimise x'Gx / 2 - x't for x >= 0, one amplitude after the other, from the start ``x``.

    It is slow but cannot cycle, and replaces `minimise` where that fails.
    """
    for _ in range(_MOST_SWEEPS):
        change = 0.0
        for i in range(len(x)):
            gradient = -target[i]
            for j in range(len(x)):
                gradient += gram[i, j] * x[j]
            new = max(x[i] - gradient / gram[i, i], 0.0)
            change = max(change, abs(new - x[i]))
            x[i] = new
        if change <= tolerance * np.abs(x).max():
            return


@compiled
def solve_pixel(values, columns, mean, noise, passes, ridge, tolerance, work, amplitudes, covariance):
    """Fit the columns to the counts in bins of one pixel.

    Parameters
    ----------
    values : ndarray of shape (n_bins,)
    columns, mean : ndarray of shapes (p + n_free, n_bins) and (n_bins,)
        See `PixelModels`.
    noise : tuple of (prior, gain, readout)
        See `write_variance`.
    passes : int
        Fits; each but the first has the variance of the fit before.
    ridge, tolerance : float
        See `scale_gram` and `minimise`.
    work : tuple of ndarray
        Room for what is computed: variance (n_bins,), gram (p + n_free, p + n_free), target (p + n_free,),
        scaled (p, p), scale and x (p,), passive (bool, (p,)), coupling (n_free, p) and offset (n_free,).
    amplitudes, covariance : ndarray of shapes (p + n_free,) and (p, p)
        Get the result; see `write_covariance`.
    """
    prior, gain, readout = noise
    variance, gram, target, scaled, scale, x, passive, coupling, offset = work
    total = max(values.sum(), 0.0)
    p, n_free = len(scale), len(offset)
    amplitudes[:] = 0
    usable = np.ones(p, np.bool_)
    for k in range(passes):
        write_variance(amplitudes, columns, mean, total, np.inf if k == 0 else prior, gain, readout, variance)
        normal_equations(columns, variance, values, gram, target)
        if n_free:
            eliminate(gram, target, p, coupling, offset)
        scale_gram(gram[:p, :p], ridge, scale, scaled)
        for i in range(p):
            target[i] *= scale[i]
        if not minimise(scaled, target[:p], usable, passive, tolerance, x):
            x[:] = 0
            passive[:] = True
            descend(scaled, target[:p], tolerance, x)
        for i in range(p):
            amplitudes[i] = scale[i] * max(x[i], 0.0)
        for i in range(n_free):
            amplitudes[p + i] = offset[i]
            for j in range(p):
                amplitudes[p + i] -= coupling[i, j] * amplitudes[j]
    write_covariance(scaled, scale, x, covariance)


@compiled
def fit_pixels(
    counts, regions, binning, columns, means, atoms, n_free, noise, numbers, window,
    fractions, uncertainty, largest, place,
):  # fmt: skip
    """Fit each pixel with the columns of its region.

    Parameters
    ----------
    counts : ndarray of float32, shape (n, n_channels)
    regions : ndarray of int, shape (n,)
        Model of each pixel, negative for pixels that are not fitted.
    binning : tuple
        See `bin_channels`.
    columns, means, atoms : ndarray
        Shapes (n_models, n_columns, n_bins), (n_models, n_bins) and (n_models, p). See `PixelModels`.
    n_free : int
        Number of the last columns whose amplitudes may be negative.
    noise : tuple
        See `solve_pixel`.
    numbers : tuple of (passes, ridge, tolerance)
        See `solve_pixel`.
    window : tuple of (reach, error)
        See `excess`.
    fractions, uncertainty : ndarray of float32, shape (n, n_elements)
    largest, place : ndarray of shape (n,)
        Get the largest excess of the counts over the fit, and its bin.
    """
    starts, bins, shares = binning
    passes, ridge, tolerance = numbers
    _, gain, readout = noise
    n_columns, n_bins = columns.shape[1:]
    p = n_columns - n_free
    values, curve, variance = np.empty(n_bins), np.empty(n_bins), np.empty(n_bins)
    gram, target, amplitudes = np.empty((n_columns, n_columns)), np.empty(n_columns), np.empty(n_columns)
    scaled, covariance, scale, x = np.empty((p, p)), np.empty((p, p)), np.empty(p), np.empty(p)
    passive, coupling, offset = np.ones(p, np.bool_), np.empty((n_free, p)), np.empty(n_free)
    none = np.zeros(n_bins)
    work = (variance, gram, target, scaled, scale, x, passive, coupling, offset)
    for i in range(len(counts)):
        r = regions[i]
        if r < 0:
            continue
        bin_channels(counts[i], starts, bins, shares, values)
        passive[:] = True
        solve_pixel(
            values, columns[r], means[r], noise, passes, ridge, tolerance, work, amplitudes, covariance
        )
        propagate(amplitudes[:p], covariance, atoms[r], fractions[i], uncertainty[i])
        write_variance(amplitudes, columns[r], means[r], values.sum(), noise[0], 1.0, none, curve)
        largest[i], place[i] = excess(values, curve, window[0], window[1], gain, readout)
