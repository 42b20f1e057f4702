"""Columns of the fit that elements and groups of lines contribute."""

from functools import lru_cache

import numpy as np
import torch
from scipy.sparse import csr_matrix

from xtalsk.physics._depth import mass_fractions
from xtalsk.physics._xray_lines import FAMILIES, xray_lines
from xtalsk.physics._xray_yields import line_tables, line_yields, photons_per_electron
from xtalsk.spectra.eds._constants import (
    CUT_LINE,
    FIRST_WHOLE,
    GROUPS,
    LARGEST_EDGE,
    LEAST_EFFICIENCY,
    LEAST_GROUP_INFORMATION,
    LEAST_SOFT_EFFICIENCY,
    LINE_MARGIN,
    LINE_RATIO_ERRORS,
    SOFT_ENERGY,
    SOFT_RATIO_FACTOR,
    TYPICAL_SOLID,
)
from xtalsk.spectra.eds._library import as_tensor, groups_of_lines, make_library
from xtalsk.utils._formula import N_ELEMENTS

N_GROUPS = len(GROUPS)


@lru_cache
def typical_mass():
    """Return the mass fractions of a typical solid, which absorbs in first fits; tensor of shape (1, 98)."""
    fractions = np.zeros((1, N_ELEMENTS))
    for z, fraction in TYPICAL_SOLID.items():
        fractions[0, z - 1] = fraction
    return mass_fractions(as_tensor(fractions))


def mass_of(elements, amplitudes):
    """Return the mass fractions of a fit, tensor of shape (1, 98); a typical solid if all amplitudes are 0.

    Parameters
    ----------
    elements : ndarray of int
        Atomic numbers.
    amplitudes : ndarray
        Their masses in any unit.
    """
    if not amplitudes.sum() > 0:
        return typical_mass()
    mass = np.zeros((1, N_ELEMENTS))
    mass[0, elements - 1] = amplitudes / amplitudes.sum()
    return torch.from_numpy(mass)


@lru_cache(maxsize=64)
def _photons(beam_energy):
    """Return `photons_per_electron` of all lines at a beam energy in eV, tensor."""
    tables = line_tables()
    return photons_per_electron(torch.arange(len(tables["z"])), as_tensor([beam_energy]), tables)


def _detected(mass, lines, library, setting):
    """Return the detected photons of lines per electron and mass fraction of their element, ndarray."""
    index = torch.from_numpy(lines)
    rows = torch.zeros(len(lines), dtype=torch.long)
    photons = _photons(setting.beam_energy)[index]
    emitted = line_yields(mass, index, rows, *setting.tensors(), photons=photons).numpy()
    return emitted * library.efficiency[lines]


@lru_cache(maxsize=64)
def usable_lines(library, setting):
    """Return which lines lie within the bins, can be excited and are detected, ndarray of bool."""
    lines = xray_lines()
    low, high = library.edges[0] + LINE_MARGIN, library.edges[-1] - LINE_MARGIN
    within = (lines.energy > low) & (lines.energy < high)
    excited = lines.edge[lines.sources].min(1) < LARGEST_EDGE * setting.beam_energy
    least = np.where(lines.energy < SOFT_ENERGY, LEAST_SOFT_EFFICIENCY, LEAST_EFFICIENCY)
    return within & excited & (library.efficiency > least)


@lru_cache(maxsize=64)
def edge_columns(library, setting):
    """Return the K lines of light elements that are cut by the lowest energy, ndarray of shape (99, n_bins).

    They cannot be measured, but they are not part of the background.
    """
    lines = xray_lines()
    is_cut = (
        (np.abs(lines.energy - library.edges[0]) < CUT_LINE) & (lines.family == 0) & (lines.z < FIRST_WHOLE)
    )
    index = np.flatnonzero(is_cut & ~usable_lines(library, setting))
    intensity = _detected(typical_mass(), index, library, setting)
    shape = (N_ELEMENTS + 1, len(lines.z))
    return (csr_matrix((intensity, (lines.z[index], index)), shape) @ library.profiles).toarray()


@lru_cache(maxsize=64)
def typical_columns(edges, resolution, setting):
    """Return the counts in each bin per unit of mass fraction of each element, in a typical solid.

    Parameters
    ----------
    edges, resolution
        See `make_library`.
    setting : Setting

    Returns
    -------
    groups : csr_matrix of shape (99 * n_groups, n_bins)
        Row n_groups * z + group.
    families : csr_matrix of shape (99 * 4, n_bins)
        Row 4 * z + family.
    """
    library, lines = make_library(edges, resolution, setting.window), xray_lines()
    index = np.flatnonzero(usable_lines(library, setting))
    intensity = _detected(typical_mass(), index, library, setting)

    def summed(kind, n_kinds):
        row = lines.z[index] * n_kinds + kind[index]
        shape = ((N_ELEMENTS + 1) * n_kinds, len(lines.z))
        return csr_matrix((intensity, (row, index)), shape) @ library.profiles

    return summed(groups_of_lines(), N_GROUPS), summed(lines.family, len(FAMILIES))


def typical_groups(spectrum, setting, elements):
    """Return the rows of `typical_columns` for the groups of some elements, csr_matrix."""
    groups = typical_columns(spectrum.edges, round(spectrum.resolution), setting)[0]
    return groups[(elements[:, None] * N_GROUPS + np.arange(N_GROUPS)).ravel()]


def element_columns(library, setting, elements, mass):
    """Return the counts in each bin per unit of mass fraction of each element.

    Parameters
    ----------
    library : Library
    setting : Setting
    elements : ndarray of int
        Atomic numbers, increasing.
    mass : tensor of shape (1, 98)
        Mass fractions of the specimen that absorbs.

    Returns
    -------
    columns : ndarray of shape (n_elements, n_bins)
        Counts of all lines of an element.
    groups : csr_matrix of shape (n_elements * n_groups, n_bins)
        Counts of each group of lines.
    """
    lines = xray_lines()
    index = np.flatnonzero(usable_lines(library, setting) & np.isin(lines.z, elements))
    intensity = _detected(mass, index, library, setting)
    row = np.searchsorted(elements, lines.z[index]) * N_GROUPS + groups_of_lines()[index]
    shape = (len(elements) * N_GROUPS, len(lines.z))
    groups = csr_matrix((intensity, (row, index)), shape) @ library.profiles
    return sum_groups(groups), groups


@lru_cache(maxsize=64)
def strongest_lines(library, setting):
    """Return the energy in eV of the strongest line of each group of each element, ndarray (99, n_groups)."""
    lines = xray_lines()
    index = np.flatnonzero(usable_lines(library, setting))
    index = index[np.argsort(_detected(typical_mass(), index, library, setting))]
    energy = np.full((N_ELEMENTS + 1, N_GROUPS), np.nan)
    energy[lines.z[index], groups_of_lines()[index]] = lines.energy[index]  # the last one stays
    return energy


def sum_groups(groups):
    """Sum the groups of each element: csr_matrix (n_elements * n_groups, n_bins) to ndarray."""
    return (_summing_matrix(groups.shape[0] // N_GROUPS) @ groups).toarray()


@lru_cache(maxsize=128)
def _summing_matrix(n_elements):
    """Return the matrix that sums the groups of each element, csr_matrix."""
    n = n_elements * N_GROUPS
    return csr_matrix((np.ones(n), (np.arange(n) // N_GROUPS, np.arange(n))), (n_elements, n))


def group_columns(groups, amplitudes, library, weights):
    """Return columns for deviations of groups of lines from their predicted intensities.

    Parameters
    ----------
    groups : csr_matrix of shape (n_elements * n_groups, n_bins)
        See `element_columns`.
    amplitudes : ndarray of shape (n_elements,)
        Amplitudes of the elements in the fit before.
    library : Library
    weights : ndarray of shape (n_bins,)
        Inverse variance of each bin.

    Returns
    -------
    columns : ndarray of shape (n, n_bins)
        Only groups whose deviation would be visible. The group of each element with the smallest error has
        no column: it defines the amount of the element.
    precision : ndarray of shape (n,)
        Inverse variance of the prior of each amplitude.
    """
    total = groups @ np.ones(groups.shape[1])
    mean_energy = groups @ library.middles / np.where(total > 0, total, 1)
    error = np.tile(LINE_RATIO_ERRORS, len(amplitudes))
    error *= np.where(mean_energy < SOFT_ENERGY, SOFT_RATIO_FACTOR, 1.0)
    error *= np.repeat(amplitudes, N_GROUPS)
    is_visible = error**2 * (groups.multiply(groups) @ weights) > LEAST_GROUP_INFORMATION
    visible_error = np.where(is_visible, error, np.inf).reshape(-1, N_GROUPS)
    is_visible[np.arange(len(visible_error)) * N_GROUPS + visible_error.argmin(1)] = False
    return groups[np.flatnonzero(is_visible)].toarray(), 1 / error[is_visible] ** 2
