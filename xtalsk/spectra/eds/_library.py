"""Profiles of all X-ray lines in the bins of a spectrum."""

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch

from xtalsk.physics._xray_detector import (
    SILICON_KA,
    efficiency,
    escape_share,
    line_tail,
    line_width,
)
from xtalsk.physics._xray_lines import xray_lines
from xtalsk.physics._xray_yields import line_tables, mass_attenuation
from xtalsk.spectra.eds import _library_kernels as kernels
from xtalsk.spectra.eds._bins import Bins
from xtalsk.spectra.eds._constants import (
    CRYSTAL,
    GROUPS,
    LEAST_TAIL_REACH,
    LINE_REACH,
    WINDOWS,
)
from xtalsk.spectra.eds._rows import Rows

_SILICON = 13  # index


def _group(name):
    """Return the index in GROUPS of a line such as ``"L3M5"``."""
    if name[0] in "KN":
        return GROUPS.index(name[0])
    if name[0] == "L":
        return GROUPS.index("Ll" if name[2:] == "M1" else name[:2])
    if name[1] in "45":
        return GROUPS.index("M5" if name[2:] in ("N6", "N7") else "Mz")
    return GROUPS.index("M3" if name[1] == "3" else "M1")


@lru_cache
def groups_of_lines():
    """Return the index in GROUPS of each line, ndarray of int."""
    return np.array([_group(name) for name in xray_lines().name])


def elements_of_lines():
    """Return the atomic number of each line, ndarray of int."""
    return xray_lines().z


@dataclass(frozen=True, eq=False)
class Library:
    """Profiles of lines, efficiency and attenuation in the bins of a spectrum.

    Parameters
    ----------
    bins : Bins
    profiles : Rows
        Share of the counts of each line in each bin, with its escape peak and tail.
    attenuation : ndarray of shape (n_bins, 98)
        Mass attenuation coefficients in cm²/g.
    bin_efficiency : ndarray of shape (n_bins,)
        Detection efficiency in each bin.
    """

    bins: Bins
    profiles: Rows
    attenuation: np.ndarray
    bin_efficiency: np.ndarray


class Peaks(NamedTuple):
    """Main and escape peaks of all lines, sorted by line and energy.

    Parameters
    ----------
    starts : ndarray of int, shape (n_lines + 1,)
        Where the peaks of each line begin, and the end of the last ones.
    energy, share : ndarray of shape (n_peaks,)
        Energy in eV, and share of the counts of the line.
    tail_share, tail_slope : ndarray of shape (n_peaks,)
        See `line_tail`.
    """

    starts: np.ndarray
    energy: np.ndarray
    share: np.ndarray
    tail_share: np.ndarray
    tail_slope: np.ndarray


@lru_cache
def _peaks():
    """Return the `Peaks` of all lines."""
    tables = line_tables()
    energy = tables["energy"].numpy()
    escape = escape_share(tables["energy"], tables["attenuation"][_SILICON]).numpy()
    peak_energy, share = np.array([energy - SILICON_KA, energy]).T, np.array([escape, 1 - escape]).T
    valid = (share > 0) & (peak_energy > 0)
    starts = np.concatenate([[0], np.cumsum(valid.sum(1))])
    return Peaks(starts, peak_energy[valid], share[valid], *line_tail(peak_energy[valid]))


@lru_cache(maxsize=128)
def line_profiles(bins, resolution):
    """Return the share of the counts of each line in each bin.

    A peak is a normal distribution with the tail of `line_tail`, another one with an exponential decrease.

    Parameters
    ----------
    bins : Bins
    resolution : int
        Full width at half maximum of Mn Kα in eV.

    Returns
    -------
    Rows
        One row for each line. The runs of a row are its peaks.
    """
    peaks, last_edge = _peaks(), len(bins.edges) - 1
    sigma = line_width(torch.from_numpy(peaks.energy), torch.tensor(float(resolution))).numpy()
    tail_reach = LINE_REACH * sigma * peaks.tail_slope.clip(LEAST_TAIL_REACH)
    first = np.searchsorted(bins.edges, peaks.energy - tail_reach).clip(1) - 1
    last = np.searchsorted(bins.edges, peaks.energy + LINE_REACH * sigma).clip(max=last_edge)
    ends = np.concatenate([[0], np.cumsum((last - first).clip(min=0))])
    values = np.empty(ends[-1])
    kernels.fill_profiles(bins.edges, sigma, peaks, first, ends, values)
    return Rows(peaks.starts, first, ends, values)


@lru_cache(maxsize=16)
def _line_efficiency(window):
    """Return the detection efficiency for each line, ndarray of shape (n_lines,)."""
    return _efficiency(window, line_tables()["energy"].tolist())


def _efficiency(window, energies):
    """Return the detection efficiency at energies in eV, ndarray."""
    detector = {k: torch.tensor([[v]], dtype=torch.float64) for k, v in (WINDOWS[window] | CRYSTAL).items()}
    return efficiency(tuple(energies), **detector)[0].numpy()


@lru_cache(maxsize=64)
def absorption(bins, window):
    """Return the detection efficiency for each line and each bin, and the attenuation in each bin.

    Returns
    -------
    line_efficiency : ndarray of shape (n_lines,)
    bin_efficiency : ndarray of shape (n_bins,)
    attenuation : ndarray of shape (n_bins, 98)
        Mass attenuation coefficients of the elements in cm²/g.
    """
    attenuation = np.ascontiguousarray(mass_attenuation(bins.middles).numpy().T)
    return _line_efficiency(window), _efficiency(window, bins.middles.tolist()), attenuation


@lru_cache(maxsize=128)
def make_library(bins, resolution, window):
    """Make the library for bins, a resolution and a window.

    Parameters
    ----------
    bins : Bins
    resolution : int
        Full width at half maximum of Mn Kα in eV.
    window : str
        One of `WINDOWS`.

    Returns
    -------
    Library
    """
    _, bin_efficiency, attenuation = absorption(bins, window)
    return Library(bins, line_profiles(bins, resolution), attenuation, bin_efficiency)
