"""Bins of an energy-loss spectrum, with standard errors that are estimated from the spectrum itself."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.ndimage import median_filter, uniform_filter1d

from xtalsk.spectra.eels._constants import (
    DEAD_SCATTER,
    ENOUGH_BINS,
    GROUP_SIZES,
    LEAST_BINS,
    LEAST_ERROR,
    LEAST_SATURATED,
    LEAST_SCATTER,
    LEAST_USUAL_VARIANCE,
    LEAST_VARIANCE,
    LONE_SHARE,
    LOWEST_LOSS,
    NARROWEST_BIN,
    NARROWEST_WINDOW_BIN,
    OUTLIER_SCATTER,
    RELATIVE_BIN_WIDTH,
    ROUGHNESS_WINDOWS,
    SCATTER_SEGMENT,
    SCATTER_WINDOW,
    SMOOTH_WINDOW,
    THIRD_DIFFERENCE,
    VARIANCE_BINS,
    VARIANCE_FLOOR,
    VARIANCE_SEGMENT,
    WIDEST_BIN,
)
from xtalsk.spectra.eels._zero_loss import zero_loss

_MEDIAN_OF_SQUARE = 0.4549  # median of χ² with one degree of freedom
_SIGMA_PER_MAD = 1.4826  # standard deviation of a normal distribution over its median absolute deviation


@dataclass(frozen=True)
class Bins:
    """A spectrum in bins.

    Parameters
    ----------
    energy, width : ndarray of shape (n_bins,)
        Middle and width of the bins in eV.
    counts : ndarray of shape (n_bins,)
        Mean counts of the channels in a bin, in units of ``scale``.
    error : ndarray of shape (n_bins,)
        Standard error of ``counts``; infinite for a bin without data.
    scale : float
        Median height of the spectrum in counts.
    shift : float or None
        Position of the zero-loss peak after subtraction of ``offset`` in eV; None if the window does not hold
        the peak.
    offset : float
        Position of the zero-loss peak, rounded to whole eV. It was subtracted from the energies.
    place : ndarray of int, shape (n_channels,)
        Bin of each channel, -1 for channels that were left out.
    """

    energy: np.ndarray
    width: np.ndarray
    counts: np.ndarray
    error: np.ndarray
    scale: float
    shift: float | None
    offset: float
    place: np.ndarray


def bin_spectrum(energy, counts, zero=None):
    """Divide a spectrum into bins.

    Channels without data, dead or saturated channels and single outliers are left out, and so are losses
    below 40 eV.

    Parameters
    ----------
    energy : ndarray of shape (n_channels,)
        In eV.
    counts : ndarray of shape (n_channels,)
    zero : Bins or None
        Bins that give the position of the zero-loss peak; None finds it in the spectrum.

    Returns
    -------
    Bins or None
        None if the window holds no core losses, or no counts.
    """
    counts = np.asarray(counts, dtype=float)
    if zero is None:
        shift = zero_loss(energy, counts)
    else:
        shift = None if zero.shift is None else zero.shift + zero.offset
    offset = float(round(shift or 0.0))
    shift = None if shift is None else shift - offset
    energy = energy - offset
    above = energy >= LOWEST_LOSS
    good = usable(counts[above]) if above.sum() >= LEAST_BINS else np.zeros(0, dtype=bool)
    if good.sum() < LEAST_BINS:
        return None
    energy, counts = energy[above], counts[above]
    scale = median(np.abs(counts[good])) or np.abs(counts[good]).mean()
    if scale == 0 or np.ptp(counts[good]) == 0:
        return None
    counts = counts / scale
    starts, middle, width = _layout(np.ascontiguousarray(energy, dtype=float).tobytes())
    mean, error = _mean_and_error(counts, good, starts, middle)
    if mean is None:
        return None
    place = np.full(len(above), -1)
    place[above] = np.where(good, np.repeat(np.arange(len(starts)), np.diff([*starts, len(energy)])), -1)
    return Bins(middle, width, mean, error, float(scale), shift, offset, place)


def _mean_and_error(counts, good, starts, middle):
    """Mean counts and standard errors of the bins, each (n_bins,); both None if too few bins have data."""
    size = np.add.reduceat(good.astype(float), starts)
    mean = np.add.reduceat(np.where(good, counts, 0), starts) / np.maximum(size, 1)
    full = size > 0
    if full.sum() < LEAST_BINS:
        return None, None
    error = np.full(len(starts), np.inf)
    error[full] = _errors(counts[good], mean[full], size[full])
    return np.where(full, mean, np.interp(middle, middle[full], mean[full])), error


@lru_cache(maxsize=16)
def _layout(energy):
    """First channel, middle and width of the bins of an energy axis, each of shape (n_bins,)."""
    energy = np.frombuffer(energy)
    step = np.median(np.diff(energy))
    widest = max((energy[-1] - energy[0]) / ENOUGH_BINS, NARROWEST_WINDOW_BIN)
    fine = np.minimum(np.clip(RELATIVE_BIN_WIDTH * energy, NARROWEST_BIN, WIDEST_BIN), widest)
    number = np.floor(np.concatenate([[0], np.cumsum(np.diff(energy) / np.maximum(fine[:-1], step))]) + 1e-6)
    starts = np.unique(number, return_index=True)[1]
    middle = np.add.reduceat(energy, starts) / np.diff(np.append(starts, len(energy)))
    return starts, middle, np.maximum(np.gradient(middle), 1e-6)


def usable(counts):
    """Channels that can be used: neither NaN, dead or saturated nor single outliers.

    Parameters
    ----------
    counts : ndarray of shape (n_channels,)

    Returns
    -------
    ndarray of bool, shape (n_channels,)
    """
    good = np.isfinite(counts)
    if not good.any():
        return good
    filled = np.where(good, counts, median(counts[good]))
    smooth = median_filter(filled, SMOOTH_WINDOW, mode="nearest")
    distance = np.abs(filled - smooth)
    scatter = uniform_filter1d(median_filter(distance, SCATTER_WINDOW, mode="nearest"), SCATTER_WINDOW)
    scatter = np.maximum(_SIGMA_PER_MAD * scatter, LEAST_SCATTER * np.abs(smooth))
    neighbours = (np.roll(filled, 1) + np.roll(filled, -1)) / 2
    is_single = np.abs(filled - neighbours) > LONE_SHARE * distance
    good &= ~((filled == 0) & (smooth > DEAD_SCATTER * scatter))
    good &= ~((distance > OUTLIER_SCATTER * scatter) & is_single)
    top = filled >= filled.max()
    saturated = top & (np.roll(top, 1) | np.roll(top, -1)) & (top.sum() >= LEAST_SATURATED)
    return good & ~saturated


def _errors(counts, mean, size):
    """Return the standard errors of the bins, ndarray of shape (n_bins,).

    They follow from the noise of the channels, and are larger where neighbouring bins scatter more than that.
    """
    variance = noise(counts, mean) / size
    squares = np.diff(mean, 3) ** 2 / THIRD_DIFFERENCE
    expected = uniform_filter1d(variance, 4)[2 : 2 + len(squares)]
    n_segments = max(1, len(squares) // SCATTER_SEGMENT)
    excess = _medians(squares / expected, n_segments) / _MEDIAN_OF_SQUARE
    excess = median_filter(excess, 3, mode="nearest")
    places = _segment_middles(len(squares), n_segments) + 1.5
    variance = variance * np.maximum(1, np.interp(np.arange(len(mean)), places, excess))
    error = np.sqrt(variance + (LEAST_ERROR * mean) ** 2)
    return error * _inflation(mean, error)


def _segment_middles(n, n_segments):
    """Mean places in the parts into which `numpy.array_split` divides n values, shape (n_segments,)."""
    sizes = np.full(n_segments, n // n_segments)
    sizes[: n % n_segments] += 1
    return np.cumsum(sizes) - (sizes + 1) / 2


def _medians(values, n_segments):
    """Medians of the parts into which `numpy.array_split` divides values, shape (n_segments,)."""
    from xtalsk.spectra.eels._bin_kernels import segment_medians

    return segment_medians(np.ascontiguousarray(values, dtype=float), n_segments)


def median(values):
    """Median of values, float."""
    return float(_medians(values, 1)[0])


def noise(counts, mean):
    """Variance of a channel as a function of its height, estimated from the spectrum itself.

    Third differences of groups of channels are fitted with c + g y + b² y²: read-out noise, counting noise,
    and gains that differ between channels. The blur of a detector hides noise in small groups of channels.
    Therefore the variance is raised to that of larger groups.

    Parameters
    ----------
    counts : ndarray of shape (n_channels,)
    mean : ndarray of shape (n_bins,)
        Heights for which the variance is returned, in the unit of ``counts``.

    Returns
    -------
    ndarray of shape (n_bins,)
    """
    from xtalsk.spectra.eels._bin_kernels import smallest_step, third_differences

    group = next((size for least, size in GROUP_SIZES if len(counts) >= least), 1)
    terms, least = _fit_variance(*third_differences(counts, group), smallest_step(np.sort(counts)))

    def model(y):
        y = np.maximum(y, 0)
        return np.maximum(terms[0] + terms[1] * y + terms[2] * y**2, least)

    blur = 1.0
    if len(counts) >= 40 * group:
        height, squares = third_differences(counts, 2 * group)
        blur = max(1.0, median(squares / model(height)) / _MEDIAN_OF_SQUARE)
    return blur * model(np.maximum(mean, uniform_filter1d(mean, VARIANCE_BINS)))


def _fit_variance(height, squares, quantum):
    """Fit the variance of a channel as a function of its height.

    Parameters
    ----------
    height, squares : ndarray of shape (n_differences,)
        See `third_differences`.
    quantum : float
        Smallest difference of two counts: one count, where counts are whole numbers.

    Returns
    -------
    terms : ndarray of shape (3,)
        Coefficients of 1, y and y².
    least : float
        Smallest variance.
    """
    from xtalsk.spectra.eels._bin_kernels import nonnegative_solution

    n_segments = max(1, len(squares) // VARIANCE_SEGMENT)
    level = np.maximum(_medians(height, n_segments), 0)
    variance = _medians(squares, n_segments) / _MEDIAN_OF_SQUARE
    usual = median((variance / np.maximum(level, 1e-9))[variance > 0]) if variance.any() else 1e-9
    least = LEAST_VARIANCE * quantum**2 + VARIANCE_FLOOR
    weight = 1 / np.maximum(variance, np.maximum(LEAST_USUAL_VARIANCE * usual * level, least))
    design = np.stack([weight, level * weight, level**2 * weight])
    return nonnegative_solution(design @ design.T, design @ (variance * weight), np.zeros(3)), least


def _inflation(mean, error):
    """Factor by which the bins scatter around a smooth curve more than their errors, at least 1."""
    window, spread = next((w, s) for least, w, s in ROUGHNESS_WINDOWS if len(mean) >= least)
    residuals = (mean - _smooth(mean, window)) / error
    return max(1.0, _SIGMA_PER_MAD * median(np.abs(residuals)) / spread)


def _smooth(values, window):
    """Savitzky-Golay filter of degree three, ndarray of the shape of ``values``."""
    half, fit = window // 2, _cubic_fit(window)
    smooth = np.convolve(values, fit[half], mode="same")
    smooth[:half], smooth[-half:] = fit[:half] @ values[:window], fit[-half:] @ values[-window:]
    return smooth


@lru_cache
def _cubic_fit(window):
    """Matrix that turns values into those of the cubic that fits them best, (window, window)."""
    design = np.vander(np.linspace(-1, 1, window), 4)
    return design @ np.linalg.pinv(design)
