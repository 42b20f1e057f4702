"""An X-ray spectrum in bins, with a correctable energy axis and resolution."""

from copy import copy

import numpy as np
from scipy.ndimage import uniform_filter1d

from xtalsk.spectra.eds import _axis_kernels as kernels
from xtalsk.spectra.eds._bins import make_bins
from xtalsk.spectra.eds._constants import (
    CUTOFF_CHANNELS,
    CUTOFF_COUNTS,
    CUTOFF_MARGIN,
    CUTOFF_REACH,
    CUTOFF_SHARE,
    LARGEST_NOISE_STEP,
    LARGEST_SHIFT,
    LEAST_MEASURED_BIN,
    LEAST_SUMS,
    LEAST_TRIPLES,
    LOWER_STEP,
    PILE_UP_COUNTS,
    RESOLUTION_RANGE,
    UPPER_LIMIT,
    UPPER_STEP,
)
from xtalsk.spectra.eds._instrument import (
    INSTRUMENT_PRECISION,
    N_AXIS_ERRORS,
    changed_resolution,
    corrected_axis,
    instrument_columns,
    sum_peaks,
)
from xtalsk.spectra.eds._library import make_library


class BinnedSpectrum:
    """Counts in bins, with an energy axis and a resolution that can be corrected.

    Parameters
    ----------
    counts, energy : ndarray of shape (n_channels,)
        Counts, NaN in channels that were not measured, and the middle of each channel in eV.
    setting : Setting
    resolution : float
        Full width at half maximum of Mn Kα in eV, as a start.
    offset : float
        Energy in eV to add to the axis.

    Attributes
    ----------
    bins : Bins
    counts : ndarray of shape (n_bins,)
        Counts in each bin.
    measured : ndarray of bool, shape (n_bins,)
        Whether at least half of the channels of a bin were measured.
    resolution : float
        Full width at half maximum of Mn Kα in eV.
    library : Library
        Profiles of lines at the present resolution.
    """

    def __init__(self, counts, energy, setting, resolution, offset=0.0):
        counts = np.asarray(counts, dtype=float)
        self._valid = ~np.isnan(counts) & ~faulty_channels(counts)
        self._channels = _interpolated(counts, energy, self._valid)
        self._setting, self.resolution = setting, resolution
        self._place(energy, offset)

    def _place(self, energy, offset):
        """Set the energy axis in eV, and choose the bins."""
        self._energy, self._offset = energy + offset, offset
        self.bins = _bins(self._channels, energy, self._setting, offset)
        self._shift = np.zeros(N_AXIS_ERRORS)
        self._sum_peaks = None  # computed where they are first needed
        self._update()

    def moved(self, offset):
        """Return this spectrum, before any correction, with an energy in eV added to its axis."""
        moved = copy(self)
        if offset != self._offset:
            moved._place(self._energy - self._offset, offset)
        return moved

    def with_counts(self, counts):
        """Return a spectrum with other counts in its channels, on the corrected energy axis.

        ``counts`` (n_channels,) are NaN in channels that were not measured. Channels that were left out
        before are left out again.
        """
        other = copy(self)
        other._channels = _interpolated(np.asarray(counts, dtype=float), self._energy, self._valid)
        other._sum_peaks = None
        other._update()
        return other

    def channel_shares(self):
        """Return the share of the counts of each channel in each bin, ndarray of shape (n_bins, n_channels).

        The shares of channels that were left out are those of their neighbours: they are 0 themselves.
        """
        n = len(self._energy)
        shares, unit = np.empty((n, len(self.bins))), np.zeros(n)
        for k in range(n):
            unit[k] = 1
            kernels.rebin(unit, self._corrected, 0.0, self.bins.edges, shares[k])
            unit[k] = 0
        lost = np.flatnonzero(~self._valid)
        kept = np.flatnonzero(self._valid)
        for k in lost:
            for place, part in _neighbours(self._energy, kept, k):
                shares[place] += part * shares[k]
        shares[lost] = 0
        return shares.T

    def _update(self):
        """Compute library, counts and measured bins at the present energy axis and resolution."""
        self.library = make_library(self.bins, round(self.resolution), self._setting.window)
        self._corrected = corrected_axis(self._energy, self._shift)
        self.counts = self._rebin(self._channels, self._corrected)
        if self._valid.all():
            self.measured = np.ones(len(self.counts), bool)
        else:
            missing = self._rebin((~self._valid).astype(float), self._corrected)
            channels = self._rebin(np.ones(len(self._energy)), self._corrected)
            self.measured = missing < LEAST_MEASURED_BIN * channels

    def _rebin(self, counts, energy):
        """Return the counts in bins of channels whose middles are at energies in eV, ndarray."""
        out = np.empty(len(self.bins))
        kernels.rebin(counts, energy, 0.0, self.bins.edges, out)
        return out

    @property
    def zero(self):
        """Correction of the zero of the energy axis in eV."""
        return self._offset + self._shift[0]

    def smooth(self):
        """Return the moving average of the counts, ndarray of shape (n_bins,)."""
        return smoothed(self.counts).clip(0)

    def background(self):
        """Return the background under peaks narrower than 28 bins (seven widths of a line), ndarray.

        It is SNIP on the iterated logarithm of Ryan et al. (Nucl. Instrum. Methods B 34 (1988) 396), for
        counts. `xtalsk.diffraction` clips the square root of intensities of unknown scale instead.
        """
        return _snip(self.smooth()[None])[0]

    def shifted(self, shifts, error):
        """Return the net counts in bins, with their weights, if the energy axis is shifted.

        Parameters
        ----------
        shifts : ndarray of shape (n_shifts,)
            Energies in eV that are added to the axis.
        error : float
            Relative error of the counts.

        Returns
        -------
        net, weights : ndarray of float32, shape (n_shifts, n_bins)
            Counts above the background, and their inverse variance.
        """
        counts, smooth = np.empty((2, len(shifts), len(self.bins)))
        kernels.rebin_shifted(self._channels, self._corrected, shifts, self.bins.edges, counts, smooth)
        usable = np.broadcast_to(self.measured, counts.shape)
        if self.bins.edges[0] > self._setting.lowest:
            usable = usable & (self.bins.middles >= self.bins.edges[0] + shifts[:, None])
        net, weights = np.empty((2, *counts.shape), np.float32)
        kernels.weigh_net(counts, _snip(smooth), smooth, usable, error, net, weights)
        return net, weights

    def pile_up(self):
        """Return the columns of the sums of two and of three X-rays, ndarray of shape (0 to 2, n_bins)."""
        if self._sum_peaks is None:
            has_pile_up = self._channels.sum() > PILE_UP_COUNTS
            self._sum_peaks = [sum_peaks(self._channels, self._energy)] if has_pile_up else []
        columns = np.empty((len(self._sum_peaks), len(self.counts)))
        for n, (counts, energy) in enumerate(self._sum_peaks, 2):
            columns[n - 2] = self._rebin(counts, corrected_axis(energy, self._shift, n))
        return columns

    def separate_sums(self, sums):
        """Compute the sum peaks anew, from the spectrum without them.

        Parameters
        ----------
        sums : ndarray of shape (n_bins,)
            Counts in sum peaks.
        """
        share = sums.sum() / max(self.counts.sum(), 1)
        if not self._sum_peaks or share < LEAST_SUMS:
            return
        energy = self._corrected
        step = (energy[-1] - energy[0]) / (len(energy) - 1)
        in_channels = np.interp(energy, self.bins.middles, sums / self.bins.widths) * step
        pairs = sum_peaks(self._channels - in_channels, self._energy)
        self._sum_peaks = [pairs]
        if share > LEAST_TRIPLES:
            self._sum_peaks.append(sum_peaks(self._channels - in_channels, self._energy, pairs))

    def instrument(self, lines):
        """Return columns, precision and mean of the amplitudes for errors of the instrument.

        Parameters
        ----------
        lines : ndarray of shape (n_bins,) or None
            Counts in lines in the fit before; None gives no column.

        Returns
        -------
        columns, precision : ndarray
            See `instrument_columns`.
        mean : ndarray
            Mean of the prior of each amplitude: it keeps the total shift near 0.
        """
        if lines is None:
            return np.empty((0, len(self.counts))), np.empty(0), np.empty(0)
        mean = np.zeros(len(INSTRUMENT_PRECISION))
        mean[: len(self._shift)] = self._shift
        return instrument_columns(lines, self.bins), INSTRUMENT_PRECISION, mean

    def correct(self, amplitudes):
        """Correct energy axis and resolution by the fitted amplitudes of `instrument`."""
        n = len(self._shift)
        self._shift = self._shift - amplitudes[:n]
        change = min(max(float(amplitudes[n]), -LARGEST_NOISE_STEP), LARGEST_NOISE_STEP)
        least, largest = RESOLUTION_RANGE
        self.resolution = float(min(max(changed_resolution(self.resolution, change), least), largest))
        self._update()


def smoothed(values):
    """Return the moving average of values in bins, ndarray of the shape of ``values`` (n_bins,)."""
    out = np.empty(len(values))
    kernels.smooth(values, out)
    return out


def _snip(smooth):
    """Return the background of smoothed counts, ndarray of the shape of ``smooth`` (n, n_bins)."""
    level = np.log(np.log(np.sqrt(smooth + 1) + 1) + 1)
    kernels.snip(level)
    return (np.exp(np.exp(level) - 1) - 1) ** 2 - 1


def _interpolated(counts, energy, valid):
    """Return counts in which neighbours replace channels that are not valid, ndarray."""
    if valid.all() or not valid.any():
        return counts
    return np.where(valid, counts, np.interp(energy, energy[valid], counts[valid]))


def _neighbours(energy, kept, k):
    """Return the two channels of ``kept`` whose mean replaces channel ``k``, and the share of each."""
    after = min(max(np.searchsorted(kept, k), 1), len(kept) - 1)
    left, right = kept[after - 1], kept[after]
    part = np.clip((energy[k] - energy[left]) / (energy[right] - energy[left]), 0, 1)
    return (left, 1 - part), (right, part)


def _bins(counts, energy, setting, offset):
    """Return the bins of a spectrum, `Bins`.

    The upper end is the same for all shifted axes, so that libraries are reused.
    """
    step = (energy[-1] - energy[0]) / (len(energy) - 1)
    beam_limit = np.ceil(min(setting.beam_energy, UPPER_LIMIT) / UPPER_STEP) * UPPER_STEP
    high = min(beam_limit, energy[-1] - 2 * step - (LARGEST_SHIFT if offset else 0.0))
    energy = energy + offset
    low = max(setting.lowest, energy[0], first_counted(counts, energy, setting.lowest))
    return make_bins(round(step, 2), high, LOWER_STEP * np.ceil(low / LOWER_STEP))


def faulty_channels(counts):
    """Return which single channels are dead or have overflowed, ndarray of bool.

    No line is as narrow as one channel, so each channel is compared with its two neighbours on either side.
    """
    faulty = np.empty(len(counts), bool)
    kernels.find_faulty(np.asarray(counts, dtype=float), faulty)
    return faulty


def first_counted(counts, energy, lowest):
    """Return the energy above an electronic low-energy cut-off.

    Parameters
    ----------
    counts, energy : ndarray of shape (n_channels,)
        Counts, and middle of each channel in eV.
    lowest : float
        Lowest energy in eV to use.

    Returns
    -------
    float
        Energy in eV, ``lowest`` if the spectrum shows no cut-off.
    """
    near = np.flatnonzero((energy >= lowest) & (energy < lowest + CUTOFF_REACH))
    if len(near) < 4:
        return lowest
    smooth = uniform_filter1d(counts[near].astype(float), 3)
    highest_above = np.maximum.accumulate(smooth[::-1])[::-1]
    cut = np.flatnonzero(smooth < CUTOFF_SHARE * highest_above)
    if len(cut) and highest_above[0] > CUTOFF_COUNTS:
        return energy[near[cut[-1]]] + CUTOFF_MARGIN
    counted = np.flatnonzero((energy >= lowest) & (counts > 0))[:CUTOFF_CHANNELS]
    is_empty_below = len(counted) and energy[counted[0]] > lowest + CUTOFF_REACH
    if is_empty_below and counts[counted].sum() > CUTOFF_COUNTS:
        return energy[counted[0]] + CUTOFF_MARGIN
    return lowest
