"""The columns that a spectrum of X-rays is made of."""

from functools import lru_cache

import numpy as np
import torch
from scipy.sparse import csr_matrix

from xtalsk.physics._bremsstrahlung import continuum
from xtalsk.physics._depth import mass_fractions
from xtalsk.physics._xray_detector import line_width
from xtalsk.physics._xray_lines import FAMILIES, xray_lines
from xtalsk.physics._xray_yields import line_tables, line_yields, photons_per_electron
from xtalsk.spectra.eds._library import (
    GROUPS,
    TOLERANCE,
    TYPICAL_RESOLUTION,
    groups_of_lines,
    make_library,
)
from xtalsk.utils._formula import N_ELEMENTS

N_GROUPS = len(GROUPS)
_MARGIN = 40.0  # eV between a line and the end of the range
_LEAST, _LEAST_SOFT = 1e-3, 0.06  # efficiency of the detector for lines to count on, above and below 1 keV
_SOFT, _SOFT_FACTOR = 1000.0, 3.0  # yields and absorption are known that much worse below 1 keV
_NEAR_WIDTHS = 3.0
_SOFT_KNOTS = 4
_TAILS = (70.0, 350.0)  # decay lengths in eV of the tails that incomplete collection of charge leaves
# Standard deviations of what the instrument may do: shift in eV, widths and shares of tails as fractions
_OFFSET, _GAIN, _BEND, _WIDTH, _TAIL_SHARES = 15.0, 0.004, 1.0, 0.15, (0.03, 0.015, 0.01)
_SHIFT_KNOTS = np.array([280.0, 520.0, 1000.0, 2000.0, 4000.0, 8000.0])


def as_tensor(values):
    """Float64 tensor of a list of numbers or an array."""
    return torch.as_tensor(np.asarray(values, dtype=float))


@lru_cache
def mixed_mass():
    """Mass fractions of a mixture that absorbs as a typical solid does, for a start; tensor (1, 98)."""
    fractions = np.zeros((1, N_ELEMENTS))
    fractions[0, [7, 13, 19, 25]] = 0.6, 0.2, 0.1, 0.1
    return mass_fractions(as_tensor(fractions))


@lru_cache(maxsize=64)
def _photons(beam_energy):
    """Photons of each line per electron and atom per area."""
    tables = line_tables()
    return photons_per_electron(torch.arange(len(tables["z"])), as_tensor([beam_energy]), tables)


def yields(mass, lines, setting):
    """Photons of some lines, per electron and mass fraction of their element, ndarray."""
    lines = torch.from_numpy(lines)
    rows = torch.zeros(len(lines), dtype=torch.long)
    photons = _photons(setting.beam_energy)[lines]
    return line_yields(mass, lines, rows, *setting.tensors(), photons=photons).numpy()


@lru_cache(maxsize=64)
def usable_lines(library, setting):
    """Whether each line lies within the bins and can be excited, ndarray of bool."""
    lines = xray_lines()
    low, high = library.edges[0] + _MARGIN, library.edges[-1] - _MARGIN
    excited = lines.edge[lines.sources].min(1) < 0.98 * setting.beam_energy
    seen = library.efficiency > np.where(lines.energy < _SOFT, _LEAST_SOFT, _LEAST)
    return (lines.energy > low) & (lines.energy < high) & excited & seen


@lru_cache(maxsize=64)
def typical_columns(edges, resolution, setting):
    """Return what a unit of mass fraction of each element puts into each bin in a typical solid.

    Returns
    -------
    groups : csr_matrix of shape (99 * n_groups, n_bins)
        Row n_groups z + group.
    families : csr_matrix of shape (99 * 4, n_bins)
        Row 4 z + family.
    """
    library, lines = make_library(edges, resolution, setting.window), xray_lines()
    chosen = np.flatnonzero(usable_lines(library, setting))
    seen = yields(mixed_mass(), chosen, setting) * library.efficiency[chosen]

    def added(kind, n_kinds):
        row = lines.z[chosen] * n_kinds + kind[chosen]
        shape = ((N_ELEMENTS + 1) * n_kinds, len(lines.z))
        return csr_matrix((seen, (row, chosen)), shape) @ library.profiles

    return added(groups_of_lines(), N_GROUPS), added(lines.family, len(FAMILIES))


def element_columns(library, setting, elements, mass):
    """Return what a unit of mass fraction of each element puts into each bin.

    Parameters
    ----------
    library : Library
    setting : Setting
    elements : ndarray of int
        Atomic numbers, increasing.
    mass : tensor of shape (1, 98)
        Of the specimen that absorbs.

    Returns
    -------
    whole : ndarray of shape (n_elements, n_bins)
    groups : csr_matrix of shape (n_elements * n_groups, n_bins)
        The same by groups of lines.
    """
    lines = xray_lines()
    chosen = np.flatnonzero(usable_lines(library, setting) & np.isin(lines.z, elements))
    seen = yields(mass, chosen, setting) * library.efficiency[chosen]
    row = np.searchsorted(elements, lines.z[chosen]) * N_GROUPS + groups_of_lines()[chosen]
    groups = csr_matrix((seen, (row, chosen)), (len(elements) * N_GROUPS, len(lines.z))) @ library.profiles
    return add_groups(groups), groups


def add_groups(groups):
    """Add the groups of each element up: csr_matrix (n_elements * n_groups, n_bins) to ndarray."""
    return (_added_groups(groups.shape[0] // N_GROUPS) @ groups).toarray()


@lru_cache(maxsize=128)
def _added_groups(n_elements):
    """Matrix that adds the groups of each element up, csr_matrix."""
    n = n_elements * N_GROUPS
    return csr_matrix((np.ones(n), (np.arange(n) // N_GROUPS, np.arange(n))), (n_elements, n))


@lru_cache(maxsize=16)
def _hats(edges):
    """Functions that are 1 at one knot and 0 at the others, for the background; ndarray (n_knots, n_bins)."""
    edges = np.array(edges)
    middles = (edges[1:] + edges[:-1]) / 2
    soft = np.linspace(edges[0], min(1000.0, edges[-1]), 5)
    knots = np.unique(np.concatenate([soft, np.geomspace(soft[-1], edges[-1], 9)]))
    return np.array([np.interp(middles, knots, row) for row in np.eye(len(knots))])


def _middles_widths_sigmas(edges):
    """Middle and width of each bin, and standard deviation of a line there, three arrays."""
    edges = np.array(edges)
    middles = (edges[1:] + edges[:-1]) / 2
    return (
        middles,
        np.diff(edges),
        line_width(torch.from_numpy(middles), as_tensor(TYPICAL_RESOLUTION)).numpy(),
    )


@lru_cache(maxsize=64)
def _blur(edges):
    """Matrix that blurs a density in bins as the detector does, csr_matrix of shape (n_bins, n_bins)."""
    middles, width, sigma = _middles_widths_sigmas(edges)
    kernel = np.exp(-0.5 * ((middles[:, None] - middles) / sigma[:, None]) ** 2) * width
    return csr_matrix(np.where(kernel > 1e-4 * width, kernel, 0) / kernel.sum(1, keepdims=True))


@lru_cache(maxsize=64)
def typical_background(edges, setting):
    """`background_columns` of a typical solid."""
    return background_columns(make_library(edges, TYPICAL_RESOLUTION, setting.window), setting, mixed_mass())


def background_columns(library, setting, mass):
    """Bremsstrahlung as the detector counts it, in pieces that join at knots.

    Returns
    -------
    columns : ndarray of shape (n_knots + 2 n_soft, n_bins)
        The soft pieces, below 1 keV, lack the absorption by the window, and that by the specimen too: charge
        lost near the front of the detector fills in what edges cut out, and windows differ.
    """
    middles = torch.from_numpy(library.middles)
    shape = continuum(mass, middles, library.attenuation, *setting.tensors())[0].numpy()
    edges = library.key
    bare = (setting.beam_energy - library.middles) / library.middles
    kinds = [shape * library.bin_efficiency, shape, bare]
    counted = _blur(edges) @ np.stack(kinds, axis=1).clip(min=0)
    counted *= np.diff(library.edges)[:, None] / counted.max(0)
    hats = _hats(edges)
    soft = hats[:_SOFT_KNOTS]
    return np.vstack(
        [part * kind.clip(1e-6) for part, kind in zip((hats, soft, soft), counted.T, strict=True)]
    )


def group_columns(groups, amplitudes, library, weights):
    """Columns that let groups of lines deviate from the intensity that physics gives them.

    Parameters
    ----------
    groups : csr_matrix of shape (n_elements * n_groups, n_bins)
        See `element_columns`.
    amplitudes : ndarray of shape (n_elements,)
        Of the elements, as far as they are known.
    library : Library
    weights : ndarray of shape (n_bins,)
        Inverse variance of each bin.

    Returns
    -------
    deviations : ndarray of shape (n, n_bins)
        Only of groups whose deviation could be noticed; of each element, the group that is known best does
        not deviate, the amount of the element is its own.
    precision : ndarray of shape (n,)
        Inverse variance that the amplitude of each is expected to have.
    """
    total = groups @ np.ones(groups.shape[1])
    place = groups @ library.middles / np.where(total > 0, total, 1)
    tolerance = np.tile(TOLERANCE, len(amplitudes)) * np.where(place < _SOFT, _SOFT_FACTOR, 1.0)
    tolerance *= np.repeat(amplitudes, N_GROUPS)
    noticed = tolerance**2 * (groups.multiply(groups) @ weights) > 0.1
    known = np.where(noticed, tolerance, np.inf).reshape(-1, N_GROUPS)
    noticed[np.arange(len(known)) * N_GROUPS + known.argmin(1)] = False
    return groups[np.flatnonzero(noticed)].toarray(), 1 / tolerance[noticed] ** 2


@lru_cache(maxsize=64)
def _tail_kernels(edges):
    """Matrices that move the counts of a bin to a tail below it, csr_matrices of shape (n_bins, n_bins)."""
    middles, width, _ = _middles_widths_sigmas(edges)
    below = middles - middles[:, None]
    kernels = []
    for decay in _TAILS:
        kernel = (
            np.where((below > 0) & (below < 6 * decay), np.exp(-below / decay), 0) * width[:, None] / decay
        )
        kernels.append(csr_matrix(kernel - np.diag(kernel.sum(0))))
    return kernels


@lru_cache(maxsize=64)
def near_columns(edges):
    """Matrix that gives each line its height over several times its width, csr_matrix (n_bins, n_bins)."""
    middles, width, sigma = _middles_widths_sigmas(edges)
    reach = np.exp(-0.5 * ((middles[:, None] - middles) / (_NEAR_WIDTHS * sigma)) ** 2)
    return csr_matrix(np.where(reach > 0.01, reach, 0) * width[:, None] / (np.sqrt(2 * np.pi) * sigma))


def slope_columns(lines, library):
    """Change of counts with a shift of 1 eV, and with the relative variance of the noise, two arrays."""
    width, across = _widths_across(library.key)
    slope = _central_differences(lines / width) / across
    variance = (TYPICAL_RESOLUTION / 2.3548) ** 2
    return -slope * width, _central_differences(slope) / across * width * variance / 2


@lru_cache(maxsize=64)
def _widths_across(edges):
    """Width of each bin, and distance between the middles of its neighbours, two arrays."""
    middles, width, _ = _middles_widths_sigmas(edges)
    return width, _central_differences(middles)


def _central_differences(values):
    """Difference of the neighbours of each value, of itself and its neighbour at the ends."""
    padded = np.concatenate([values[:1], values, values[-1:]])
    return padded[2:] - padded[:-2]


def instrument_columns(lines, library):
    """Columns for what calibration, resolution and tails may do to the lines found so far.

    Parameters
    ----------
    lines : ndarray of shape (n_bins,)
        Counts in lines.
    library : Library

    Returns
    -------
    columns : ndarray of shape (n_shifts + 1 + 3, n_bins)
        Shifts by each of `shift_shapes`, a relative change of the variance of the noise, two tails and a
        shelf.
    precision : ndarray of shape (n_shifts + 1 + 3,)
    """
    shift, wider = slope_columns(lines, library)
    shifts = shift * _shapes_in_bins(library.key)
    tails = [kernel @ lines for kernel in _tail_kernels(library.key)]
    tails.append(np.diff(library.edges) * (lines / library.middles)[::-1].cumsum()[::-1])
    spreads = np.array([_OFFSET, _GAIN] + [_BEND] * (len(shifts) - 2) + [_WIDTH, *_TAIL_SHARES])
    return np.array([*shifts, wider, *tails]), 1 / spreads**2


@lru_cache(maxsize=64)
def _shapes_in_bins(edges):
    return shift_shapes(_middles_widths_sigmas(edges)[0])


def shift_shapes(energy):
    """Forms in eV that an error of calibration has: offset, gain, and bends about some energies."""
    bends = [np.interp(energy, _SHIFT_KNOTS, row) for row in np.eye(len(_SHIFT_KNOTS))]
    return np.array([np.ones(len(energy)), energy, *bends])


def sum_peaks(counts, energy):
    """Return counts in which two X-rays were taken for one, in some unit, and their energies in eV."""
    counts = np.where(energy > 150, counts, 0).clip(min=0)
    transform = np.fft.rfft(counts, 2 * len(counts))
    pairs = np.fft.irfft(transform**2, 2 * len(counts)).clip(min=0)
    step = (energy[-1] - energy[0]) / (len(energy) - 1)
    return pairs / max(pairs.max(), 1e-9), 2 * energy[0] + step * np.arange(2 * len(counts))


def noise_width(resolution, change):
    """Resolution in eV after a relative change of the variance of the noise."""
    return resolution * np.sqrt(1 + change * (TYPICAL_RESOLUTION / resolution) ** 2)
