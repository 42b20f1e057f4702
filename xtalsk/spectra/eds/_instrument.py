"""Columns of the fit for errors of the instrument: energy axis, resolution, tails and sum peaks."""

import math

import numpy as np

from xtalsk.spectra.eds import _instrument_kernels as kernels
from xtalsk.spectra.eds._constants import (
    BEND_ENERGIES,
    BEND_ERROR,
    GAIN_ERROR,
    NOISE_ERROR,
    OFFSET_ERROR,
    PILE_UP_LOWEST,
    TAIL_SHARES,
    TYPICAL_RESOLUTION,
)

N_AXIS_ERRORS = 2 + len(BEND_ENERGIES)
"""Errors of the energy axis: offset, gain and bends."""

INSTRUMENT_PRECISION = (
    np.array([OFFSET_ERROR, GAIN_ERROR, *[BEND_ERROR] * len(BEND_ENERGIES), NOISE_ERROR, *TAIL_SHARES]) ** -2
)
"""Inverse variance of the prior of each amplitude of `instrument_columns`."""


def slope_columns(lines, bins):
    """Return the change of counts with position and with resolution.

    Parameters
    ----------
    lines : ndarray of shape (n_bins,)
        Counts in lines.
    bins : Bins

    Returns
    -------
    shift, broadening : ndarray of shape (n_bins,)
        Change with a shift of 1 eV, and with a relative change of the variance of the noise.
    """
    shift, broadening = np.empty((2, len(bins)))
    kernels.slopes(lines, bins.widths, bins.distances, shift, broadening)
    return shift, broadening


def corrected_axis(energy, amplitudes, n_xrays=1):
    """Return energies after a correction of the energy axis.

    Parameters
    ----------
    energy : ndarray of shape (n,)
        Energies in eV, increasing.
    amplitudes : ndarray of shape (n_errors,)
        Offset in eV, relative gain, and bends in eV at `BEND_ENERGIES`.
    n_xrays : int, default=1
        X-rays that are counted as one. Each has the same share of the energy, and its own shift.

    Returns
    -------
    ndarray of shape (n,)
    """
    corrected = np.empty(len(energy))
    kernels.correct_axis(energy, amplitudes, n_xrays, corrected)
    return corrected


def instrument_columns(lines, bins):
    """Return the changes of the lines by errors of calibration, resolution and charge collection.

    Parameters
    ----------
    lines : ndarray of shape (n_bins,)
        Counts in lines in the fit before.
    bins : Bins

    Returns
    -------
    ndarray of shape (n_errors + 1 + 3, n_bins)
        Shifts by each error of the axis, a relative change of the variance of the noise, two tails and a
        shelf.
    """
    columns = np.empty((len(INSTRUMENT_PRECISION), len(bins)))
    kernels.fill_instrument(
        lines, bins.widths, bins.distances, bins.middles, bins.axis_errors, bins.tails, columns
    )
    return columns


def sum_peaks(counts, energy, sums=None):
    """Return the spectrum of X-rays that the detector counts as one.

    Parameters
    ----------
    counts, energy : ndarray of shape (n_channels,)
        Counts, and middle of each channel in eV.
    sums : tuple of ndarray or None
        Sums to which one more X-ray is added, as this function returns them. None gives sums of two X-rays.

    Returns
    -------
    counts, energy : ndarray
        Counts of sums, relative to their maximum, and their energies in eV.
    """
    counts = np.where(energy > PILE_UP_LOWEST, counts, 0).clip(min=0)
    others, other_energy = (counts, energy) if sums is None else sums
    n = len(counts) + len(others)
    transform = np.fft.rfft(counts, n)
    transform *= transform if sums is None else np.fft.rfft(others, n)
    pairs = np.fft.irfft(transform, n).clip(min=0)
    step = (energy[-1] - energy[0]) / (len(energy) - 1)
    return pairs / max(pairs.max(), 1e-9), energy[0] + other_energy[0] + step * np.arange(n)


def changed_resolution(resolution, change):
    """Return the resolution in eV after a relative change of the variance of the noise."""
    return resolution * math.sqrt(1 + change * (TYPICAL_RESOLUTION / resolution) ** 2)
