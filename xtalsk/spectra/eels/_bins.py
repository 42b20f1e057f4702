"""From the channels of an energy-loss spectrum to bins with errors, free of what is not core loss."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.ndimage import median_filter, uniform_filter1d
from scipy.optimize import nnls
from scipy.signal import savgol_filter

LOWEST = 40.0  # eV; below, plasmons hide the edges
_WIDTH, _NARROWEST, _WIDEST = 0.005, 1.0, 5.0  # of bins: share of the energy, limits in eV
_LEAST_BINS, _ENOUGH_BINS = 24, 150
_MEDIAN = 0.4549  # of χ² of one degree of freedom
_SMOOTHED = 15  # bins over which few counts are averaged to tell their variance
_FLOOR = 0.003  # relative error that no bin falls below


@dataclass(frozen=True)
class Bins:
    """A spectrum in bins.

    Parameters
    ----------
    energy, width, counts, error : ndarray of shape (n_bins,)
        Middle and width in eV; mean counts of the channels, in units of the spectrum's middle height, and
        their standard error, which is infinite in a bin without data.
    scale : float
        That unit.
    shift : float or None
        Position of the zero-loss peak in eV, None where the window does not hold it.
    offset : float
        Whole eV that were taken off the energies before, since the peak stood there.
    """

    energy: np.ndarray
    width: np.ndarray
    counts: np.ndarray
    error: np.ndarray
    scale: float
    shift: float | None
    offset: float


def bin_spectrum(energy, counts):
    """Prepare a spectrum.

    Channels without data, dead or saturated ones and single outliers are left out, losses below 40 eV cut
    off.

    Parameters
    ----------
    energy, counts : ndarray of shape (n_channels,)

    Returns
    -------
    Bins or None
        None where no core losses are in the window, or nothing was counted.
    """
    counts = np.asarray(counts, dtype=float)
    shift = zero_loss(energy, counts)
    offset = float(round(shift or 0.0))
    shift = None if shift is None else shift - offset
    energy = energy - offset
    above = energy >= LOWEST
    good = usable(counts[above]) if above.sum() >= _LEAST_BINS else np.zeros(0, dtype=bool)
    if good.sum() < _LEAST_BINS:
        return None
    energy, counts = energy[above], counts[above]
    scale = np.median(np.abs(counts[good])) or np.abs(counts[good]).mean()
    if scale == 0 or np.ptp(counts[good]) == 0:
        return None
    counts = counts / scale
    starts, middle, width = _layout(np.ascontiguousarray(energy, dtype=float).tobytes())
    size = np.add.reduceat(good.astype(float), starts)
    mean = np.add.reduceat(np.where(good, counts, 0), starts) / np.maximum(size, 1)
    full = size > 0
    if full.sum() < _LEAST_BINS:
        return None
    error = np.full(len(starts), np.inf)
    error[full] = _errors(counts[good], mean[full], size[full])
    mean = np.where(full, mean, np.interp(middle, middle[full], mean[full]))
    return Bins(middle, width, mean, error, float(scale), shift, offset)


@lru_cache(maxsize=16)
def _layout(energy):
    """First channel, middle and width of the bins of an axis."""
    energy = np.frombuffer(energy)
    step = np.median(np.diff(energy))
    widest = max((energy[-1] - energy[0]) / _ENOUGH_BINS, 0.4)
    fine = np.minimum(np.clip(_WIDTH * energy, _NARROWEST, _WIDEST), widest)
    number = np.floor(np.concatenate([[0], np.cumsum(np.diff(energy) / np.maximum(fine[:-1], step))]) + 1e-6)
    starts = np.unique(number, return_index=True)[1]
    middle = np.add.reduceat(energy, starts) / np.diff(np.append(starts, len(energy)))
    return starts, middle, np.maximum(np.gradient(middle), 1e-6)


def zero_loss(energy, counts):
    """Position of the zero-loss peak in eV, None where the window does not hold it."""
    near = np.abs(energy) < 15
    if near.sum() < 3 or energy[0] > 2:
        return None
    values = np.where(np.isfinite(counts), counts, 0)
    top = int(np.argmax(np.where(near, values, -np.inf)))
    elsewhere = np.abs(energy - energy[top]) > 10
    if elsewhere.any() and values[top] < 2 * values[elsewhere].max():
        return None
    if values[top] <= 0:
        return None
    upper = near & (values > values[top] / 2)
    return float(np.average(energy[upper], weights=values[upper]))


def usable(counts):
    """Tell channels with data from those that are NaN, dead, saturated or far out of line."""
    good = np.isfinite(counts)
    if not good.any():
        return good
    filled = np.where(good, counts, np.median(counts[good]))
    smooth = median_filter(filled, 15, mode="nearest")
    around = np.abs(filled - smooth)
    spread = 1.4826 * uniform_filter1d(median_filter(around, 41, mode="nearest"), 41)
    spread = np.maximum(spread, 0.01 * np.abs(smooth))
    alone = np.abs(filled - (np.roll(filled, 1) + np.roll(filled, -1)) / 2) > 0.7 * around
    good &= ~((filled == 0) & (smooth > 6 * spread))
    good &= ~((around > 12 * spread) & alone)
    top = filled >= filled.max()
    plateau = top & (np.roll(top, 1) | np.roll(top, -1)) & (top.sum() >= 3)
    return good & ~plateau


def _errors(counts, mean, size):
    """Estimate the errors of bins from those of channels, raised where the bins scatter more."""
    variance = noise(counts, mean) / size
    squares = np.diff(mean, 3) ** 2 / 20
    expected = uniform_filter1d(variance, 4)[2 : 2 + len(squares)]
    segments = np.array_split(np.arange(len(squares)), max(1, len(squares) // 30))
    more = [np.median(squares[s] / expected[s]) / _MEDIAN for s in segments]
    more = median_filter(np.array(more), 3, mode="nearest")
    places = [s.mean() + 1.5 for s in segments]
    variance = variance * np.maximum(1, np.interp(np.arange(len(mean)), places, more))
    error = np.sqrt(variance + (_FLOOR * mean) ** 2)
    return error * _inflation(mean, error)


def noise(counts, mean):
    """Variance of a channel as a function of its height, measured on the spectrum itself.

    Third differences of groups of channels are fitted by c + g y + b² y²: read-out, electrons, and gains that
    differ. A detector's blur hides noise in small groups, so that it is raised to what larger ones show.

    Parameters
    ----------
    counts : ndarray of shape (n_channels,)
    mean : ndarray of shape (n_bins,)
        Heights at which the variance is wanted.

    Returns
    -------
    ndarray of shape (n_bins,)
    """
    group = 4 if len(counts) >= 600 else 2 if len(counts) >= 200 else 1
    height, squares = _differences(counts, group)
    segments = np.array_split(np.arange(len(squares)), max(1, len(squares) // 24))
    level = np.array([max(np.median(height[s]), 0) for s in segments])
    variance = np.array([np.median(squares[s]) / _MEDIAN for s in segments])
    usual = np.median((variance / np.maximum(level, 1e-9))[variance > 0]) if variance.any() else 1e-9
    quantum = np.diff(np.unique(counts)).min()  # one count, where counts are whole
    least = 0.05 * quantum**2 + 1e-12
    weight = 1 / np.maximum(variance, np.maximum(0.1 * usual * level, least))
    design = np.stack([np.ones_like(level), level, level**2], axis=1)
    terms = nnls(design * weight[:, None], variance * weight)[0]

    def model(y):
        y = np.maximum(y, 0)
        return np.maximum(terms[0] + terms[1] * y + terms[2] * y**2, least)

    more = 1.0
    if len(counts) >= 40 * group:
        height, squares = _differences(counts, 2 * group)
        more = max(1.0, np.median(squares / model(height)) / _MEDIAN)
    return more * model(np.maximum(mean, uniform_filter1d(mean, _SMOOTHED)))


def _differences(counts, group):
    """Heights of groups of channels, and squared third differences as an estimate of a channel's variance."""
    n = len(counts) // group
    grouped = counts[: n * group].reshape(n, group).mean(1)
    squares = np.diff(grouped, 3) ** 2 / 20 * group
    return uniform_filter1d(grouped, 4)[2 : 2 + len(squares)], squares


def _inflation(mean, error):
    """How much rougher the bins are than their errors say, over some ten bins."""
    window = 15 if len(mean) >= 60 else 9
    rest = (mean - savgol_filter(mean, window, 3)) / error
    freedom = 0.85 if window == 15 else 0.75
    return max(1.0, 1.4826 * np.median(np.abs(rest)) / freedom)
