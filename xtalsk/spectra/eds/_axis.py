"""An X-ray spectrum in bins, with a correctable energy axis and resolution."""

import numpy as np
from scipy.ndimage import uniform_filter1d

from xtalsk.spectra.eds._constants import (
    CUTOFF_CHANNELS,
    CUTOFF_COUNTS,
    CUTOFF_MARGIN,
    CUTOFF_REACH,
    CUTOFF_SHARE,
    DEAD_CHANNEL,
    DEAD_COUNTS,
    LARGEST_NOISE_STEP,
    LARGEST_SHIFT,
    LEAST_MEASURED_BIN,
    LEAST_SUMS,
    LEAST_TRIPLES,
    LOWER_STEP,
    OVERFLOW_COUNTS,
    OVERFLOW_FACTOR,
    OVERFLOW_SIGMAS,
    PILE_UP_COUNTS,
    RESOLUTION_RANGE,
    SMOOTHING_BINS,
    SNIP_BINS,
    UPPER_LIMIT,
    UPPER_STEP,
)
from xtalsk.spectra.eds._instrument import axis_errors, changed_resolution, instrument_columns, sum_peaks
from xtalsk.spectra.eds._library import bin_edges, make_library


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
    edges : tuple of float
        Edges of the bins in eV.
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
        energy = energy + offset
        self._energy, self._offset = energy, offset
        self._valid = ~np.isnan(counts) & ~faulty_channels(counts)
        self._channels = _interpolated(counts, energy, self._valid)
        self._window, self._lowest, self.resolution = setting.window, setting.lowest, resolution
        self.edges = _edges(self._channels, energy - offset, setting, offset)
        self._axis_errors = axis_errors(energy)
        self._shift = np.zeros(len(self._axis_errors))
        has_pile_up = self._channels.sum() > PILE_UP_COUNTS
        self._sum_peaks = [sum_peaks(self._channels, energy)] if has_pile_up else []
        self._update()

    def _rebin(self, counts, energy):
        """Return the counts in bins of channels whose middles are at energies in eV, ndarray."""
        between = (energy[1:] + energy[:-1]) / 2
        edges = np.concatenate([[2 * energy[0] - between[0]], between, [2 * energy[-1] - between[-1]]])
        return np.diff(np.interp(self.library.edges, edges, np.concatenate([[0], np.cumsum(counts)])))

    def _update(self):
        """Compute library, counts and measured bins at the present energy axis and resolution."""
        self.library = make_library(self.edges, round(self.resolution), self._window)
        energy = self._energy + self._shift @ self._axis_errors
        self.counts = self._rebin(self._channels, energy)
        if self._valid.all():
            self.measured = np.ones(len(self.counts), bool)
        else:
            missing = self._rebin((~self._valid).astype(float), energy)
            self.measured = missing < LEAST_MEASURED_BIN * self._rebin(np.ones(len(energy)), energy)

    @property
    def zero(self):
        """Correction of the zero of the energy axis in eV."""
        return self._offset + self._shift[0]

    def smooth(self):
        """Return the moving average of the counts, ndarray of shape (n_bins,)."""
        return smoothed(self.counts).clip(0)

    def cut_off(self, error, shifts=0.0):
        """Return chi² of the net counts that lie below the lowest energy, but not below that of any shift.

        Fits of a spectrum at different shifts use different channels. This makes them comparable.

        Parameters
        ----------
        error : float
            Relative error of the counts.
        shifts : float or ndarray of shape (n_shifts,)
            Energies in eV that are added to the axis.

        Returns
        -------
        float or ndarray of shape (n_shifts,)
        """
        beyond = LARGEST_SHIFT - self.zero
        net, weights = self.shifted(np.array([beyond]), error)
        lowest = self.edges[0] - np.asarray(shifts)[..., None]
        return (self.library.middles - beyond < lowest) @ (net[0] ** 2 * weights[0])

    def background(self):
        """Return the background under peaks narrower than 28 bins (seven widths of a line), ndarray.

        It is SNIP on the iterated logarithm of Ryan et al. (Nucl. Instrum. Methods B 34 (1988) 396), for
        counts. `xtalsk.diffraction` clips the square root of intensities of unknown scale instead.
        """
        return _snip(self.smooth())

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
        net, weights : ndarray of shape (n_shifts, n_bins)
            Counts above the background, and their inverse variance.
        """
        energy = self._energy + self._shift @ self._axis_errors
        counts = np.array([self._rebin(self._channels, energy + shift) for shift in shifts])
        smooth = smoothed(counts).clip(0)
        is_inside = self.library.middles >= self.edges[0] + shifts[:, None]
        if self.edges[0] <= self._lowest:
            is_inside = np.ones_like(is_inside)
        weights = is_inside * self.measured / (smooth.clip(1) + (error * smooth) ** 2)
        return counts - _snip(smooth), weights

    def pile_up(self):
        """Return the columns of the sums of two and of three X-rays, ndarray of shape (0 to 2, n_bins)."""
        columns = np.empty((len(self._sum_peaks), len(self.counts)))
        for n, (counts, energy) in enumerate(self._sum_peaks, 2):
            columns[n - 2] = self._rebin(counts, energy + n * (self._shift @ axis_errors(energy / n)))
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
        energy = self._energy + self._shift @ self._axis_errors
        step = (energy[-1] - energy[0]) / (len(energy) - 1)
        in_channels = np.interp(energy, self.library.middles, sums / np.diff(self.library.edges)) * step
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
        columns, precision = instrument_columns(lines, self.library)
        mean = np.zeros(len(columns))
        mean[: len(self._shift)] = self._shift
        return columns, precision, mean

    def correct(self, amplitudes):
        """Correct energy axis and resolution by the fitted amplitudes of `instrument`."""
        n = len(self._shift)
        self._shift = self._shift - amplitudes[:n]
        change = np.clip(amplitudes[n], -LARGEST_NOISE_STEP, LARGEST_NOISE_STEP)
        self.resolution = float(np.clip(changed_resolution(self.resolution, change), *RESOLUTION_RANGE))
        self._update()


def smoothed(values):
    """Return the moving average of values in bins, ndarray of the shape of ``values`` (..., n_bins)."""
    return uniform_filter1d(values, SMOOTHING_BINS, axis=-1)


def _snip(smooth):
    """Return the background of smoothed counts, ndarray of the shape of ``smooth`` (..., n_bins)."""
    level = np.log(np.log(np.sqrt(smooth + 1) + 1) + 1)
    for k in range(min(SNIP_BINS, (level.shape[-1] - 1) // 2), 0, -1):
        level[..., k:-k] = np.minimum(level[..., k:-k], (level[..., : -2 * k] + level[..., 2 * k :]) / 2)
    return (np.exp(np.exp(level) - 1) - 1) ** 2 - 1


def _interpolated(counts, energy, valid):
    """Return counts in which neighbours replace channels that are not valid, ndarray."""
    if not valid.any():
        return counts
    return np.where(valid, counts, np.interp(energy, energy[valid], counts[valid]))


def _edges(counts, energy, setting, offset):
    """Return the edges in eV of the bins of a spectrum, tuple of float.

    The upper end is the same for all shifted axes, so that libraries are reused.
    """
    step = (energy[-1] - energy[0]) / (len(energy) - 1)
    beam_limit = np.ceil(min(setting.beam_energy, UPPER_LIMIT) / UPPER_STEP) * UPPER_STEP
    high = min(beam_limit, energy[-1] - 2 * step - (LARGEST_SHIFT if offset else 0.0))
    energy = energy + offset
    low = max(setting.lowest, energy[0], first_counted(counts, energy, setting.lowest))
    return bin_edges(round(step, 2), high, LOWER_STEP * np.ceil(low / LOWER_STEP))


def faulty_channels(counts):
    """Return which single channels are dead or have overflowed, ndarray of bool.

    No line is as narrow as one channel, so each channel is compared with its two neighbours on either side.
    """
    filled = np.nan_to_num(counts).astype(float)
    padded = np.concatenate([filled[3:1:-1], filled, filled[-3:-5:-1]])
    neighbours = np.stack([padded[:-4], padded[1:-3], padded[3:-1], padded[4:]])
    highest, lowest = neighbours.max(0), neighbours[1:3].min(0)
    limit = OVERFLOW_FACTOR * highest + OVERFLOW_SIGMAS * np.sqrt(highest.clip(1)) + OVERFLOW_COUNTS
    is_dead = (counts < DEAD_CHANNEL * lowest) & (lowest > DEAD_COUNTS)
    return (counts > limit) | is_dead


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
