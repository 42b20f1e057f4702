"""What the lines of the elements look like in the bins in which spectra are analysed."""

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

WINDOWS = {
    "polymer": {"film": 1.0, "open_area": 0.775, "beryllium": 0.0},
    "beryllium": {"film": 0.0, "open_area": 1.0, "beryllium": 8.0},
    "none": {"film": 0.0, "open_area": 1.0, "beryllium": 0.0},
}
"""Entrance windows of detectors, see `efficiency`."""

_BINS_PER_WIDTH = 4
_REACH = 4.5  # standard deviations of a line that are drawn
TYPICAL_RESOLUTION = 130.0

# Groups of lines, and how far (as a fraction) the intensity of each may be from what physics predicts
GROUPS = ("K", "L3", "L2", "L1", "Ll", "M5", "M3", "M1", "Mz", "N")
TOLERANCE = np.array([0.05, 0.10, 0.15, 0.30, 1.00, 0.20, 0.40, 0.60, 0.60, 1.0])


def _group(name):
    """Place in GROUPS of a line, ``"L3M5"``."""
    if name[0] in "KN":
        return GROUPS.index(name[0])
    if name[0] == "L":
        return GROUPS.index("Ll" if name[2:] == "M1" else name[:2])
    if name[1] in "45":
        return GROUPS.index("M5" if name[2:] in ("N6", "N7") else "Mz")
    return GROUPS.index("M3" if name[1] == "3" else "M1")


@lru_cache
def groups_of_lines():
    """Place in GROUPS of each line, ndarray of int."""
    return np.array([_group(name) for name in xray_lines().name])


def elements_of_lines():
    """Atomic number of each line, ndarray of int."""
    return xray_lines().z


@lru_cache(maxsize=64)
def bin_edges(channel_width, highest, lowest):
    """Edges in eV of bins a quarter as wide as a line is there, but no narrower than a channel."""
    edges = [lowest]
    energies = torch.arange(0, highest + 200, 100, dtype=torch.float64)
    widths = 2.3548 / _BINS_PER_WIDTH * line_width(energies, torch.tensor(TYPICAL_RESOLUTION)).numpy()
    widths = widths.clip(min=channel_width).tolist()
    while edges[-1] < highest:
        edges.append(edges[-1] + widths[int(edges[-1] / 100)])
    return tuple(edges)


@dataclass(frozen=True, eq=False)
class Library:
    """Lines and absorption on given bins.

    Parameters
    ----------
    key : tuple of float
        The edges of the bins in eV, to remember what was computed for them.
    edges : ndarray of shape (n_bins + 1,)
        The same.
    profiles : csr_matrix of shape (n_lines, n_bins)
        Share of the counts of each line in each bin, its escape peak included.
    efficiency : ndarray of shape (n_lines,)
        Of the detector, for each line.
    attenuation : tensor of shape (98, n_bins)
        In cm²/g.
    bin_efficiency : ndarray of shape (n_bins,)
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
        return (self.edges[1:] + self.edges[:-1]) / 2


def _below(edge, energy, width):
    """Share of the counts of lines below an energy; see `line_tail` for the tail."""
    x = (edge - energy) / width
    share, slope = line_tail(energy)
    tail = np.exp(np.minimum(0.5 / slope**2 + x / slope, 50)) * ndtr(-x - 1 / slope)
    return ndtr(x) + share / (1 + share) * tail


@lru_cache(maxsize=64)
def line_profiles(edges, resolution):
    """Share of the counts of each line in each bin, csr_matrix of shape (n_lines, n_bins)."""
    tables, edges = line_tables(), np.array(edges)
    energy = tables["energy"].numpy()
    escape = escape_share(tables["energy"], tables["attenuation"][13]).numpy()
    places = np.concatenate([energy, energy - SILICON_KA])
    weight = np.concatenate([1 - escape, escape])
    keep = (weight > 0) & (places > 0)
    line = np.tile(np.arange(len(energy)), 2)[keep]
    places, weight = places[keep], weight[keep]
    width = line_width(torch.from_numpy(places), torch.tensor(float(resolution))).numpy()
    first = np.searchsorted(edges, places - _REACH * width * line_tail(places)[1].clip(1.5)).clip(1) - 1
    last = np.searchsorted(edges, places + _REACH * width).clip(max=len(edges) - 1)
    n = (last - first).clip(min=0)
    peak = np.repeat(np.arange(len(places)), n)
    bins = np.arange(n.sum()) - np.repeat(np.cumsum(n) - n, n) + np.repeat(first, n)
    energies, widths = places[peak], width[peak]
    share = _below(edges[bins + 1], energies, widths) - _below(edges[bins], energies, widths)
    return csr_matrix((share * weight[peak], (line[peak], bins)), (len(energy), len(edges) - 1))


@lru_cache(maxsize=16)
def _absorption(edges, window):
    """Efficiency of the detector for each line and bin, and attenuation in each bin."""
    middles = (np.array(edges[1:]) + np.array(edges[:-1])) / 2
    energies = (*line_tables()["energy"].tolist(), *middles.tolist())
    parts = {k: torch.tensor([[v]], dtype=torch.float64) for k, v in WINDOWS[window].items()}
    crystal = {
        k: torch.tensor([[v]], dtype=torch.float64) for k, v in (("dead_layer", 30.0), ("silicon", 0.45))
    }
    counted = efficiency(energies, **parts, **crystal)[0].numpy()
    n_lines = len(energies) - len(middles)
    return counted[:n_lines], counted[n_lines:], mass_attenuation(middles)


@lru_cache(maxsize=64)
def make_library(edges, resolution, window):
    """Make the library for bins, a resolution (FWHM of Mn Kα in eV) and a window of WINDOWS."""
    lines, bins, attenuation = _absorption(edges, window)
    return Library(edges, np.array(edges), line_profiles(edges, resolution), lines, attenuation, bins)
