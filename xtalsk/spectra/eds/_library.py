"""Bins of X-ray spectra, and the profiles of all lines in these bins."""

from dataclasses import dataclass
from functools import lru_cache

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
from xtalsk.spectra.eds._constants import (
    BIN_WIDTH,
    CRYSTAL,
    GROUPS,
    LEAST_TAIL_REACH,
    LINE_REACH,
    TYPICAL_RESOLUTION,
    WINDOWS,
)

_WIDTH_STEP = 100  # eV between the energies at which widths of bins are computed
_SILICON = 13  # index


def as_tensor(values):
    """Convert a list of numbers or an array to a float64 tensor."""
    return torch.as_tensor(np.asarray(values, dtype=float))


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


@lru_cache(maxsize=64)
def bin_edges(channel_width, highest, lowest):
    """Return the edges in eV of bins a quarter as wide as a line.

    Parameters
    ----------
    channel_width : float
        Smallest width of a bin in eV.
    highest, lowest : float
        Ends of the bins in eV.

    Returns
    -------
    tuple of float
    """
    energies = torch.arange(0, highest + 2 * _WIDTH_STEP, _WIDTH_STEP, dtype=torch.float64)
    sigma = line_width(energies, torch.tensor(TYPICAL_RESOLUTION)).numpy()
    widths = (BIN_WIDTH * sigma).clip(min=channel_width).tolist()
    edges = [lowest]
    while edges[-1] < highest:
        edges.append(edges[-1] + widths[int(edges[-1] / _WIDTH_STEP)])
    return tuple(edges)


def bin_middles(edges):
    """Return the middle of each bin in eV, ndarray."""
    edges = np.asarray(edges)
    return (edges[1:] + edges[:-1]) / 2


def bin_geometry(edges):
    """Return the middle and the width of each bin, and the standard deviation of a line there, all in eV."""
    middles = bin_middles(edges)
    sigma = line_width(torch.from_numpy(middles), as_tensor(TYPICAL_RESOLUTION)).numpy()
    return middles, np.diff(edges), sigma


@dataclass(frozen=True, eq=False)
class Library:
    """Profiles of lines, efficiency and attenuation in the bins of a spectrum.

    Parameters
    ----------
    key : tuple of float
        Edges of the bins in eV, as a key of caches.
    edges : ndarray of shape (n_bins + 1,)
        Edges of the bins in eV.
    profiles : csr_matrix of shape (n_lines, n_bins)
        Share of the counts of each line in each bin, with its escape peak and tail.
    efficiency : ndarray of shape (n_lines,)
        Detection efficiency for each line.
    attenuation : tensor of shape (98, n_bins)
        Mass attenuation coefficients in cm²/g.
    bin_efficiency : ndarray of shape (n_bins,)
        Detection efficiency in each bin.
    """

    key: tuple
    edges: np.ndarray
    profiles: csr_matrix
    efficiency: np.ndarray
    attenuation: torch.Tensor
    bin_efficiency: np.ndarray

    @property
    def middles(self):
        """Middle of each bin in eV, ndarray."""
        return bin_middles(self.edges)


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
def line_profiles(edges, resolution):
    """Return the share of the counts of each line in each bin.

    Parameters
    ----------
    edges : tuple of float
        Edges of the bins in eV.
    resolution : int
        Full width at half maximum of Mn Kα in eV.

    Returns
    -------
    csr_matrix of shape (n_lines, n_bins)
    """
    line, energy, peak_share = _peaks()
    edges = np.array(edges)
    sigma = line_width(torch.from_numpy(energy), torch.tensor(float(resolution))).numpy()
    tail_reach = LINE_REACH * sigma * line_tail(energy)[1].clip(LEAST_TAIL_REACH)
    first = np.searchsorted(edges, energy - tail_reach).clip(1) - 1
    last = np.searchsorted(edges, energy + LINE_REACH * sigma).clip(max=len(edges) - 1)
    n = (last - first).clip(min=0)
    peak = np.repeat(np.arange(len(energy)), n)
    bins = np.arange(n.sum()) - np.repeat(np.cumsum(n) - n, n) + np.repeat(first, n)
    below = [_share_below(edges[k], energy[peak], sigma[peak]) for k in (bins, bins + 1)]
    share = (below[1] - below[0]) * peak_share[peak]
    return csr_matrix((share, (line[peak], bins)), (len(xray_lines().z), len(edges) - 1))


@lru_cache(maxsize=16)
def _absorption(edges, window):
    """Return the detection efficiency for each line and each bin, and the attenuation in each bin."""
    middles = bin_middles(edges)
    energies = (*line_tables()["energy"].tolist(), *middles.tolist())
    detector = {k: torch.tensor([[v]], dtype=torch.float64) for k, v in (WINDOWS[window] | CRYSTAL).items()}
    efficiencies = efficiency(energies, **detector)[0].numpy()
    n_lines = len(energies) - len(middles)
    return efficiencies[:n_lines], efficiencies[n_lines:], mass_attenuation(middles)


@lru_cache(maxsize=64)
def make_library(edges, resolution, window):
    """Make the library for bins, a resolution and a window.

    Parameters
    ----------
    edges : tuple of float
        Edges of the bins in eV.
    resolution : int
        Full width at half maximum of Mn Kα in eV.
    window : str
        One of `WINDOWS`.

    Returns
    -------
    Library
    """
    line_efficiency, bin_efficiency, attenuation = _absorption(edges, window)
    profiles = line_profiles(edges, resolution)
    return Library(edges, np.array(edges), profiles, line_efficiency, attenuation, bin_efficiency)
