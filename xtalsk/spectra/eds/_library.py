"""Profiles of all X-ray lines in the bins of a spectrum."""

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import torch
from scipy.sparse import csr_matrix
from scipy.special import ndtr

from xtalsk.physics._xray_detector import (
    SILICON_KA,
    efficiency,
    escape_share,
    line_tail,
    line_width,
)
from xtalsk.physics._xray_lines import xray_lines
from xtalsk.physics._xray_yields import line_tables, mass_attenuation
from xtalsk.spectra.eds._bins import Bins
from xtalsk.spectra.eds._constants import (
    CRYSTAL,
    GROUPS,
    LEAST_TAIL_REACH,
    LINE_REACH,
    WINDOWS,
)
from xtalsk.spectra.eds._rows import rows_of

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
    profiles : csr_matrix of shape (n_lines, n_bins)
        Share of the counts of each line in each bin, with its escape peak and tail.
    attenuation : ndarray of shape (n_bins, 98)
        Mass attenuation coefficients in cm²/g.
    bin_efficiency : ndarray of shape (n_bins,)
        Detection efficiency in each bin.
    """

    bins: Bins
    profiles: csr_matrix
    attenuation: np.ndarray
    bin_efficiency: np.ndarray

    @cached_property
    def rows(self):
        """The profiles as `Rows`."""
        return rows_of(self.profiles)

    @property
    def middles(self):
        """Middle of each bin in eV, ndarray."""
        return self.bins.middles


def _share_below(edge, energy, sigma):
    """Return the share of the counts of a line below an energy, with the tail of `line_tail`."""
    x = (edge - energy) / sigma
    share, slope = line_tail(energy)
    tail = np.exp(np.minimum(0.5 / slope**2 + x / slope, 50)) * ndtr(-x - 1 / slope)
    return ndtr(x) + share / (1 + share) * tail


def _peaks():
    """Return line index, energy in eV and share of the counts of all main and escape peaks."""
    tables = line_tables()
    energy = tables["energy"].numpy()
    escape = escape_share(tables["energy"], tables["attenuation"][_SILICON]).numpy()
    peak_energy = np.concatenate([energy, energy - SILICON_KA])
    share = np.concatenate([1 - escape, escape])
    valid = (share > 0) & (peak_energy > 0)
    line = np.tile(np.arange(len(energy)), 2)
    return line[valid], peak_energy[valid], share[valid]


@lru_cache(maxsize=64)
def line_profiles(bins, resolution):
    """Return the share of the counts of each line in each bin.

    Parameters
    ----------
    bins : Bins
    resolution : int
        Full width at half maximum of Mn Kα in eV.

    Returns
    -------
    csr_matrix of shape (n_lines, n_bins)
    """
    line, energy, peak_share = _peaks()
    edges = bins.edges
    sigma = line_width(torch.from_numpy(energy), torch.tensor(float(resolution))).numpy()
    tail_reach = LINE_REACH * sigma * line_tail(energy)[1].clip(LEAST_TAIL_REACH)
    first = np.searchsorted(edges, energy - tail_reach).clip(1) - 1
    last = np.searchsorted(edges, energy + LINE_REACH * sigma).clip(max=len(edges) - 1)
    n = (last - first).clip(min=0)
    peak = np.repeat(np.arange(len(energy)), n)
    place = np.arange(n.sum()) - np.repeat(np.cumsum(n) - n, n) + np.repeat(first, n)
    below = [_share_below(edges[k], energy[peak], sigma[peak]) for k in (place, place + 1)]
    share = (below[1] - below[0]) * peak_share[peak]
    return csr_matrix((share, (line[peak], place)), (len(xray_lines().z), len(edges) - 1))


@lru_cache(maxsize=16)
def absorption(bins, window):
    """Return the detection efficiency for each line and each bin, and the attenuation in each bin.

    Returns
    -------
    line_efficiency : ndarray of shape (n_lines,)
    bin_efficiency : ndarray of shape (n_bins,)
    attenuation : ndarray of shape (n_bins, 98)
        Mass attenuation coefficients of the elements in cm²/g.
    """
    energies = (*line_tables()["energy"].tolist(), *bins.middles.tolist())
    detector = {k: torch.tensor([[v]], dtype=torch.float64) for k, v in (WINDOWS[window] | CRYSTAL).items()}
    efficiencies = efficiency(energies, **detector)[0].numpy()
    n_lines = len(energies) - len(bins)
    attenuation = np.ascontiguousarray(mass_attenuation(bins.middles).numpy().T)
    return efficiencies[:n_lines], efficiencies[n_lines:], attenuation


@lru_cache(maxsize=64)
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
