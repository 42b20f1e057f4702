"""Columns of the fit that elements and groups of lines contribute."""

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from scipy.constants import Avogadro

from xtalsk.physics import _emission_kernels
from xtalsk.physics._depth import atomic_weights, mass_fractions, matrix_terms
from xtalsk.physics._xray_lines import FAMILIES, xray_lines
from xtalsk.physics._xray_yields import line_tables, photons_per_electron
from xtalsk.spectra.eds import _column_kernels, _library_kernels
from xtalsk.spectra.eds._bins import as_tensor
from xtalsk.spectra.eds._constants import (
    CUT_LINE,
    FIRST_WHOLE,
    GROUPS,
    LARGEST_EDGE,
    LEAST_EFFICIENCY,
    LEAST_SOFT_EFFICIENCY,
    LINE_MARGIN,
    SOFT_ENERGY,
    SOFT_FAMILY,
    TYPICAL_SOLID,
)
from xtalsk.spectra.eds._library import absorption, groups_of_lines, make_library
from xtalsk.spectra.eds._rows import Rows, dense_rows, multiply
from xtalsk.utils._formula import N_ELEMENTS

N_GROUPS = len(GROUPS)


@lru_cache
def typical_mass():
    """Return the mass fractions of a typical solid, which absorbs in first fits; ndarray of shape (98,)."""
    fractions = np.zeros(N_ELEMENTS)
    fractions[np.array(list(TYPICAL_SOLID)) - 1] = list(TYPICAL_SOLID.values())
    return mass_fractions(as_tensor(fractions)).numpy()


def mass_of(elements, amplitudes):
    """Return the mass fractions of a fit, ndarray of shape (98,); a typical solid if all amplitudes are 0.

    Parameters
    ----------
    elements : ndarray of int
        Atomic numbers.
    amplitudes : ndarray
        Their masses in any unit.
    """
    if not amplitudes.sum() > 0:
        return typical_mass()
    mass = np.zeros(N_ELEMENTS)
    mass[elements - 1] = amplitudes / amplitudes.sum()
    return mass


@lru_cache
def _element_terms():
    """Return Z/A, Z/A times ln of the ionisation potential, and √Z of each element, ndarray (3, 98)."""
    stopping, potential, z = (term[:, 0].numpy() for term in matrix_terms(torch.eye(N_ELEMENTS)))
    return np.array([stopping, stopping * np.log(potential), np.sqrt(z)])


def matrix_means(mass):
    """Return `xtalsk.physics._depth.matrix_terms` of one specimen, tuple of float."""
    stopping, log_potential, root = (_element_terms() @ mass).tolist()
    return stopping, float(np.exp(log_potential / stopping)), root**2


@lru_cache(maxsize=64)
def _photons(beam_energy):
    """Return `photons_per_electron` of all lines at a beam energy in eV, ndarray."""
    tables = line_tables()
    return photons_per_electron(torch.arange(len(tables["z"])), as_tensor([beam_energy]), tables).numpy()


class LineTable(NamedTuple):
    """Lines and what their intensities depend on, sorted by element and group.

    Parameters
    ----------
    index, group : ndarray of int, shape (n_lines,)
        Index in `xray_lines`, and group.
    starts : ndarray of int, shape (100,)
        Where the lines of each atomic number begin, and the end of the last ones.
    edge, exponent : ndarray of shape (n_lines,)
        Binding energy in keV and exponent of the overvoltage; see `xtalsk.physics._depth.emitted_depth`.
    attenuation : ndarray of shape (n_lines, 98)
        Mass attenuation coefficients in cm²/g.
    counts_per_depth : ndarray of shape (n_lines,)
        Detected photons per electron, mass fraction of the element, and emitted depth in g/cm².
    """

    index: np.ndarray
    group: np.ndarray
    starts: np.ndarray
    edge: np.ndarray
    exponent: np.ndarray
    attenuation: np.ndarray
    counts_per_depth: np.ndarray


def _line_table(chosen, bins, setting):
    """Return the `LineTable` of the lines in an ndarray of bool."""
    lines, tables = xray_lines(), {name: table.numpy() for name, table in line_tables().items()}
    index = np.flatnonzero(chosen)
    index = index[np.lexsort((groups_of_lines()[index], lines.z[index]))]
    counts = Avogadro / atomic_weights().numpy()[lines.z - 1] * _photons(setting.beam_energy)
    return LineTable(
        index,
        groups_of_lines()[index],
        np.searchsorted(lines.z[index], np.arange(N_ELEMENTS + 2)),
        tables["edge"][index] / 1e3,
        tables["exponent"][index],
        np.ascontiguousarray(tables["attenuation"].T[index]),
        (counts * absorption(bins, setting.window)[0])[index],
    )


@lru_cache(maxsize=64)
def usable_lines(bins, setting):
    """Return which lines lie within the bins, can be excited and are detected, ndarray of bool."""
    lines, efficiency = xray_lines(), absorption(bins, setting.window)[0]
    low, high = bins.edges[0] + LINE_MARGIN, bins.edges[-1] - LINE_MARGIN
    within = (lines.energy > low) & (lines.energy < high)
    excited = lines.edge[lines.sources].min(1) < LARGEST_EDGE * setting.beam_energy
    least = np.where(lines.energy < SOFT_ENERGY, LEAST_SOFT_EFFICIENCY, LEAST_EFFICIENCY)
    return within & excited & (efficiency > least)


@lru_cache(maxsize=64)
def line_table(bins, setting):
    """Return the `LineTable` of the usable lines."""
    return _line_table(usable_lines(bins, setting), bins, setting)


def detected_counts(table, elements, mass, setting):
    """Return the counts of each line of some elements per electron and mass fraction of its element.

    Parameters
    ----------
    table : LineTable
    elements : ndarray of int
        Atomic numbers.
    mass : ndarray of shape (98,)
        Mass fractions of the specimen that absorbs.
    setting : Setting

    Returns
    -------
    ndarray of shape (n_lines,)
        0 for lines of other elements.
    """
    counts = np.zeros(len(table.index))
    _emission_kernels.emitted_counts(table, elements, mass, *setting.numbers(), matrix_means(mass), counts)
    return counts


_ALL_ELEMENTS = np.arange(N_ELEMENTS + 1)


def summed_lines(profiles, index, counts, row, n_rows, n_bins):
    """Return the sum of the lines of each row, `Rows`.

    Parameters
    ----------
    profiles : Rows
        Profiles of all lines.
    index, counts, row : ndarray of shape (n_lines,)
        Index of each line in ``profiles``, its counts, and the row to which it belongs, increasing.
    n_rows, n_bins : int
    """
    n_runs = (profiles.starts[index + 1] - profiles.starts[index]).sum()
    n_values = (profiles.ends[profiles.starts[index + 1]] - profiles.ends[profiles.starts[index]]).sum()
    starts, bins, ends, values = (
        np.empty(n_rows + 1, int),
        *np.empty((2, n_runs + 1), int),
        np.empty(n_values),
    )
    n = _library_kernels.sum_lines(profiles, index, counts, row, n_bins, starts, bins, ends, values)
    return Rows(starts, bins[:n].copy(), ends[: n + 1].copy(), values[: ends[n]].copy())


@lru_cache(maxsize=64)
def edge_columns(library, setting):
    """Return the K lines of light elements that are cut by the lowest energy, ndarray of shape (99, n_bins).

    They cannot be measured, but they are not part of the background.
    """
    lines = xray_lines()
    near_edge = np.abs(lines.energy - library.bins.edges[0]) < CUT_LINE
    is_cut = near_edge & (lines.family == 0) & (lines.z < FIRST_WHOLE)
    table = _line_table(is_cut & ~usable_lines(library.bins, setting), library.bins, setting)
    counts = detected_counts(table, _ALL_ELEMENTS, typical_mass(), setting)
    columns = np.zeros((N_ELEMENTS + 1, len(library.bins)))
    profiles = dense_rows(library.profiles, table.index, len(library.bins))
    np.add.at(columns, lines.z[table.index], counts[:, None] * profiles)
    return columns


@lru_cache(maxsize=64)
def cut_columns(library, setting):
    """Return the rows of `edge_columns` that are not 0, ndarray of shape (n, n_bins)."""
    columns = edge_columns(library, setting)
    return columns[columns.any(1)]


@dataclass(frozen=True, eq=False)
class TypicalColumns:
    """Counts in each bin per unit of mass fraction of each element, in a typical solid.

    Parameters
    ----------
    elements, groups, families : Rows
        One row for each element, group (row n_groups * z + group) and family (row 4 * z + family).
    group_rank : ndarray of shape (99 * n_groups,)
        Counts in each group, 1e12 more for hard groups.
    is_visible : ndarray of bool, shape (99 * n_groups,)
        Whether a group has lines.
    is_soft : ndarray of bool, shape (99 * 4,)
        Whether the mean energy of a family is low.
    """

    elements: Rows
    groups: Rows
    families: Rows
    group_rank: np.ndarray
    is_visible: np.ndarray
    is_soft: np.ndarray


@lru_cache(maxsize=128)
def typical_columns(bins, resolution, setting):
    """Return `TypicalColumns` for bins, a resolution in eV (int) and a setting."""
    library, table = make_library(bins, resolution, setting.window), line_table(bins, setting)
    counts = detected_counts(table, _ALL_ELEMENTS, typical_mass(), setting)
    z, family = xray_lines().z[table.index], xray_lines().family[table.index]

    def summed(kind, n_kinds):
        row, n_rows = z * n_kinds + kind, (N_ELEMENTS + 1) * n_kinds
        rows = summed_lines(library.profiles, table.index, counts, row, n_rows, len(bins))
        total = multiply(rows, np.ones(len(bins)))
        return rows, total, multiply(rows, bins.middles) < SOFT_FAMILY * total

    groups, total, is_soft = summed(table.group, N_GROUPS)
    families, _, is_soft_family = summed(family, len(FAMILIES))
    elements = summed(0, 1)[0]
    rank = np.where(is_soft, 0, 1e12) + total
    return TypicalColumns(elements, groups, families, rank, total > 0, is_soft_family)


def element_columns(library, setting, elements, mass):
    """Return the counts in each bin per unit of mass fraction of each element.

    Parameters
    ----------
    library : Library
    setting : Setting
    elements : ndarray of int
        Atomic numbers, increasing.
    mass : ndarray of shape (98,)
        Mass fractions of the specimen that absorbs.

    Returns
    -------
    columns : ndarray of shape (n_elements, n_bins)
        Counts of all lines of an element.
    line_counts : ndarray of shape (n_lines,)
        Counts in each line of `line_table`.
    """
    table = line_table(library.bins, setting)
    line_counts = detected_counts(table, elements, mass, setting)
    columns = np.zeros((len(elements), len(library.bins)))
    _column_kernels.fill_elements(table, library.profiles, line_counts, elements, columns)
    return columns, line_counts


def group_counts(library, setting, elements, line_counts):
    """Return the counts in each group of lines of some elements, ndarray of shape (n_elements, n_groups).

    ``line_counts`` (n_lines,) are those of `element_columns`.
    """
    table, counts = line_table(library.bins, setting), np.zeros((len(elements), N_GROUPS))
    _column_kernels.count_groups(table, library.profiles, line_counts, elements, counts)
    return counts


@lru_cache(maxsize=64)
def strongest_lines(bins, setting):
    """Return the energy in eV of the strongest line of each group of each element, ndarray (99, n_groups)."""
    lines, table = xray_lines(), line_table(bins, setting)
    order = np.argsort(detected_counts(table, _ALL_ELEMENTS, typical_mass(), setting))
    index = table.index[order]
    energy = np.full((N_ELEMENTS + 1, N_GROUPS), np.nan)
    energy[lines.z[index], table.group[order]] = lines.energy[index]  # the last one stays
    return energy


def deviation_columns(library, setting, elements, line_counts, amplitudes, weights):
    """Return columns for deviations of groups of lines from their predicted intensities.

    Parameters
    ----------
    library : Library
    setting : Setting
    elements : ndarray of int
        Atomic numbers, increasing.
    line_counts : ndarray of shape (n_lines,)
        See `element_columns`.
    amplitudes : ndarray of shape (n_elements,)
        Amplitudes of the elements in the fit before.
    weights : ndarray of shape (n_bins,)
        Inverse variance of each bin.

    Returns
    -------
    columns : ndarray of shape (n, n_bins)
        Only groups whose deviation would be visible. The group of each element with the smallest error has
        no column: it defines the amount of the element.
    precision : ndarray of shape (n,)
        Inverse variance of the prior of each amplitude.
    groups : ndarray of int, shape (n,)
        Element and group of each column: n_groups * z + group.
    """
    table, bins = line_table(library.bins, setting), library.bins
    n_rows = len(elements) * N_GROUPS
    columns, errors, groups = np.empty((n_rows, len(bins))), np.empty(n_rows), np.empty(n_rows, int)
    n = _column_kernels.fill_deviations(
        *(table, library.profiles, line_counts, elements, amplitudes, bins.middles, weights),
        *(columns, errors, groups),
    )
    return columns[:n], 1 / errors[:n] ** 2, groups[:n]
