"""Columns of the fit for errors of the instrument: energy axis, resolution, tails and sum peaks."""

from functools import lru_cache

import numpy as np
from scipy.sparse import csr_matrix

from xtalsk.spectra.eds._constants import (
    BEND_ENERGIES,
    BEND_ERROR,
    GAIN_ERROR,
    NEAR_CUT,
    NEAR_WIDTHS,
    NOISE_ERROR,
    NOISE_VARIANCE,
    OFFSET_ERROR,
    PILE_UP_LOWEST,
    TAIL_LENGTHS,
    TAIL_REACH,
    TAIL_SHARES,
    TYPICAL_RESOLUTION,
)
from xtalsk.spectra.eds._library import bin_geometry, bin_middles


@lru_cache(maxsize=64)
def _tail_matrices(edges):
    """Return matrices that move the counts of a bin to a tail below it, csr_matrices (n_bins, n_bins)."""
    middles, width, _ = bin_geometry(edges)
    distance = middles - middles[:, None]
    matrices = []
    for length in TAIL_LENGTHS:
        within = (distance > 0) & (distance < TAIL_REACH * length)
        tail = np.where(within, np.exp(-distance / length), 0) * width[:, None] / length
        matrices.append(csr_matrix(tail - np.diag(tail.sum(0))))
    return matrices


@lru_cache(maxsize=64)
def near_matrix(edges):
    """Return the matrix that spreads the height of each line over its surroundings, csr_matrix."""
    middles, width, sigma = bin_geometry(edges)
    reach = np.exp(-0.5 * ((middles[:, None] - middles) / (NEAR_WIDTHS * sigma)) ** 2)
    return csr_matrix(np.where(reach > NEAR_CUT, reach, 0) * width[:, None] / (np.sqrt(2 * np.pi) * sigma))


def _central_differences(values):
    """Return the difference of the neighbours of each value; at the ends, of the value and its neighbour."""
    padded = np.concatenate([values[:1], values, values[-1:]])
    return padded[2:] - padded[:-2]


@lru_cache(maxsize=64)
def _difference_widths(edges):
    """Return the width of each bin and the distance between the middles of its neighbours, both in eV."""
    return np.diff(edges), _central_differences(bin_middles(edges))


def slope_columns(lines, library):
    """Return the change of counts with position and with resolution.

    Parameters
    ----------
    lines : ndarray of shape (n_bins,)
        Counts in lines.
    library : Library

    Returns
    -------
    shift, broadening : ndarray of shape (n_bins,)
        Change with a shift of 1 eV, and with a relative change of the variance of the noise.
    """
    width, distance = _difference_widths(library.key)
    slope = _central_differences(lines / width) / distance
    return -slope * width, _central_differences(slope) / distance * width * NOISE_VARIANCE / 2


@lru_cache(maxsize=64)
def _axis_errors_in_bins(edges):
    """Return `axis_errors` at the middles of bins."""
    return axis_errors(bin_middles(edges))


def axis_errors(energy):
    """Return the possible errors of the energy axis: offset, gain and bends.

    Parameters
    ----------
    energy : ndarray of shape (n,)
        Energies in eV.

    Returns
    -------
    ndarray of shape (n_errors, n)
        Shifts in eV.
    """
    bends = [np.interp(energy, BEND_ENERGIES, row) for row in np.eye(len(BEND_ENERGIES))]
    return np.array([np.ones(len(energy)), energy, *bends])


def instrument_columns(lines, library):
    """Return the changes of the lines by errors of calibration, resolution and charge collection.

    Parameters
    ----------
    lines : ndarray of shape (n_bins,)
        Counts in lines in the fit before.
    library : Library

    Returns
    -------
    columns : ndarray of shape (n_errors + 1 + 3, n_bins)
        Shifts by each of `axis_errors`, a relative change of the variance of the noise, two tails and a
        shelf.
    precision : ndarray of shape (n_errors + 1 + 3,)
        Inverse variance of the prior of each amplitude.
    """
    shift, broadening = slope_columns(lines, library)
    shifts = shift * _axis_errors_in_bins(library.key)
    tails = [matrix @ lines for matrix in _tail_matrices(library.key)]
    shelf = np.diff(library.edges) * (lines / library.middles)[::-1].cumsum()[::-1]
    bends = [BEND_ERROR] * (len(shifts) - 2)
    errors = np.array([OFFSET_ERROR, GAIN_ERROR, *bends, NOISE_ERROR, *TAIL_SHARES])
    return np.array([*shifts, broadening, *tails, shelf]), 1 / errors**2


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
    pairs = np.fft.irfft(np.fft.rfft(counts, n) * np.fft.rfft(others, n), n).clip(min=0)
    step = (energy[-1] - energy[0]) / (len(energy) - 1)
    return pairs / max(pairs.max(), 1e-9), energy[0] + other_energy[0] + step * np.arange(n)


def changed_resolution(resolution, change):
    """Return the resolution in eV after a relative change of the variance of the noise."""
    return resolution * np.sqrt(1 + change * (TYPICAL_RESOLUTION / resolution) ** 2)
