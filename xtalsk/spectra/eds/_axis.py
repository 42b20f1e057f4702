"""A spectrum of X-rays in bins, at the calibration found so far."""

import numpy as np
from scipy.ndimage import uniform_filter1d

from xtalsk.spectra.eds._design import instrument_columns, noise_width, shift_shapes, sum_peaks
from xtalsk.spectra.eds._library import bin_edges, make_library

_HIGHEST, _TOP_STEP = 40_000.0, 5_000.0
_PILE_UP_COUNTS = 1e5
_CUT, _CUT_REACH, _CUT_COUNTS = 0.002, 400.0, 100  # what a low-energy cut-off leaves; where it may lie, in eV
_CUT_CHANNELS = 20  # that hold many counts above a cut-off below which there are none
_SNIP_BINS = 14


class BinnedSpectrum:
    """Counts in bins whose place and resolution can be corrected.

    Parameters
    ----------
    counts, energy : ndarray of shape (n_channels,)
        NaN marks a channel that was not measured. Middle of each channel in eV.
    setting : Setting
    resolution : float
        Full width at half maximum of Mn Kα in eV, for a start.

    Attributes
    ----------
    edges : tuple of float
        Of the bins in eV.
    counts : ndarray of shape (n_bins,)
    measured : ndarray of bool, shape (n_bins,)
        Whether at least half of the channels of a bin were measured.
    library : Library
    """

    def __init__(self, counts, energy, setting, resolution):
        good = ~np.isnan(counts) & ~faulty_channels(counts)
        self._energy, self._good = energy, good
        self._raw = (
            np.where(good, counts, np.interp(energy, energy[good], counts[good])) if good.any() else counts
        )
        self._window, self.resolution = setting.window, resolution
        self._step = (energy[-1] - energy[0]) / (len(energy) - 1)
        ends = (
            np.ceil(min(setting.beam_energy, _HIGHEST) / _TOP_STEP) * _TOP_STEP,
            energy[-1] - 2 * self._step,
        )
        low = max(setting.lowest, energy[0], first_counted(self._raw, energy, setting.lowest))
        self.edges = bin_edges(round(self._step, 2), min(ends), 20.0 * np.ceil(low / 20.0))
        self._shapes = shift_shapes(energy)
        self.shift = np.zeros(len(self._shapes))
        self._pile_up = sum_peaks(self._raw, energy) if self._raw.sum() > _PILE_UP_COUNTS else None
        self._bin()

    def _rebin(self, counts, moved):
        """Add the counts of channels about given true energies up to bins."""
        between = (moved[1:] + moved[:-1]) / 2
        edges = np.concatenate([[2 * moved[0] - between[0]], between, [2 * moved[-1] - between[-1]]])
        return np.diff(np.interp(self.library.edges, edges, np.concatenate([[0], np.cumsum(counts)])))

    def _bin(self):
        self.library = make_library(self.edges, round(self.resolution), self._window)
        moved = self._energy + self.shift @ self._shapes
        self.counts = self._rebin(self._raw, moved)
        if self._good.all():
            self.measured = np.ones(len(self.counts), bool)
        else:
            missing = self._rebin((~self._good).astype(float), moved)
            self.measured = missing < 0.5 * self._rebin(np.ones(len(moved)), moved)

    def smooth(self):
        """Return counts averaged over neighbouring bins, ndarray."""
        return uniform_filter1d(self.counts, 5).clip(0)

    def background(self):
        """Background under peaks narrower than 28 bins, seven widths (SNIP; Ryan et al. 1988), ndarray."""
        v = np.log(np.log(np.sqrt(self.smooth() + 1) + 1) + 1)
        for k in range(min(_SNIP_BINS, (len(v) - 1) // 2), 0, -1):
            v[k:-k] = np.minimum(v[k:-k], (v[: -2 * k] + v[2 * k :]) / 2)
        return (np.exp(np.exp(v) - 1) - 1) ** 2 - 1

    def pile_up(self):
        """Column of the sum peaks, (n, n_bins) with n = 0 or 1."""
        if self._pile_up is None:
            return np.empty((0, len(self.counts)))
        counts, energy = self._pile_up
        return self._rebin(counts, energy + 2 * (self.shift @ shift_shapes(energy / 2)))[None]

    def instrument(self, lines):
        """Columns of what the instrument does to lines, and the precision and mean of their amplitudes."""
        if lines is None:
            return np.empty((0, len(self.counts))), np.empty(0), np.empty(0)
        columns, precision = instrument_columns(lines, self.library)
        expected = np.zeros(len(columns))
        expected[: len(self.shift)] = self.shift
        return columns, precision, expected

    def correct(self, found):
        """Take over the amplitudes found for the columns of `instrument`."""
        n = len(self.shift)
        self.shift = self.shift - found[:n]
        self.resolution = float(np.clip(noise_width(self.resolution, np.clip(found[n], -0.3, 0.3)), 100, 250))
        self._bin()


def faulty_channels(counts):
    """Single channels that are dead or run over, ndarray of bool: no line is as narrow as one channel."""
    known = np.nan_to_num(counts).astype(float)
    padded = np.concatenate([known[3:1:-1], known, known[-3:-5:-1]])  # neighbours inside for the ends
    near = np.stack([padded[:-4], padded[1:-3], padded[3:-1], padded[4:]])
    highest, lowest = near.max(0), near[1:3].min(0)
    over = counts > 3 * highest + 10 * np.sqrt(highest.clip(1)) + 10
    return over | ((counts < 0.1 * lowest) & (lowest > 100))


def first_counted(counts, energy, lowest):
    """Energy in eV above which the electronics let X-rays through, where they cut some off."""
    near = np.flatnonzero((energy >= lowest) & (energy < lowest + _CUT_REACH))
    if len(near) < 4:
        return lowest
    rising = uniform_filter1d(counts[near].astype(float), 3)
    ahead = np.maximum.accumulate(rising[::-1])[::-1]
    cut = np.flatnonzero(rising < _CUT * ahead)
    if len(cut) and ahead[0] > _CUT_COUNTS:
        return energy[near[cut[-1]]] + 20.0
    counted = np.flatnonzero((energy >= lowest) & (counts > 0))[:_CUT_CHANNELS]
    nothing_below = len(counted) and energy[counted[0]] > lowest + _CUT_REACH
    return energy[counted[0]] + 20.0 if nothing_below and counts[counted].sum() > _CUT_COUNTS else lowest
