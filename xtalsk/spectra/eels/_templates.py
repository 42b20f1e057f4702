"""What each element adds to an energy-loss spectrum: templates of families of edges at several shifts."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from scipy.special import ndtr

from xtalsk.physics._eels_cross_sections import cross_sections
from xtalsk.physics._eels_edges import ABOVE, edge_table
from xtalsk.simulation.spectra._core_losses import heights_of_families, on_axis

SHIFTS = np.arange(-10.0, 11.0, 2.0)  # eV
# Uncertainty of the cross-sections of a family, as a fraction; families that are not here are not used.
UNCERTAINTY = {
    "K": 0.10, "L23": 0.15, "M45": 0.35, "M23": 0.5, "M1": 0.5,
    "N45": 0.6, "N23": 0.6, "N67": 0.8, "O45": 0.8,
}  # fmt: skip
_NAMING = ("K", "L23", "M45")  # families from which an element is named; the others only explain
_BEFORE, _AFTER = 6.0, 15.0  # eV that the window must reach beside an onset
_LEAST_BINS = 4
_PLASMON, _REPLICA = 20.0, 0.35  # eV; what plural scattering adds, as a share of the edge
_REFERENCE = (200.0, 10.0, 20.0)  # keV and mrad for which shapes are tabulated
_BROAD = 8.0  # eV, full width of the white lines in the templates that hold nothing else
_HEIGHT_AT = int(np.searchsorted(ABOVE, 25.0))


@dataclass(frozen=True)
class Templates:
    """Templates of the families whose onsets lie in the window.

    Parameters
    ----------
    z, family, onset : ndarrays of shape (n_families,)
        Atomic number, name, and lowest onset in eV.
    line_height : ndarray of shape (n_families,)
        Of white lines relative to the continuum.
    split : ndarray of shape (n_families,)
        Distance of the onsets of the family's shells, in eV.
    naming : ndarray of bool, shape (n_families,)
        Whether a family can name its element.
    smooth : ndarray of shape (n_families, n_shifts, n_bins)
        Cross-sections in barn per eV without white lines, for the reference beam.
    replica : ndarray of shape (n_families, n_shifts, n_bins)
        The same after another loss to plasmons.
    of : ndarray of int, shape (n_poses,)
        Family of each pose, rising.
    shift : ndarray of int, shape (n_poses,)
        Its place in `SHIFTS`.
    lines_only : ndarray of bool, shape (n_poses,)
    unit : ndarray of shape (n_poses,)
        Height of each pose in barn per eV.
    poses : ndarray of shape (n_poses, n_bins)
        Cross-sections of a family at a shift, over their unit: everything, or broad white lines alone.
    """

    z: np.ndarray
    family: np.ndarray
    onset: np.ndarray
    line_height: np.ndarray
    split: np.ndarray
    naming: np.ndarray
    smooth: np.ndarray
    replica: np.ndarray
    of: np.ndarray
    shift: np.ndarray
    lines_only: np.ndarray
    unit: np.ndarray
    poses: np.ndarray

    def __len__(self):
        return len(self.z)

    def starts(self):
        """First pose of each family."""
        return np.searchsorted(self.of, np.arange(len(self)))


def strengths(templates, beam_energy, convergence, collection):
    """Cross-sections of families for a beam relative to those of the reference, shape (n_families,).

    The ratio is that 25 eV above the onset: shapes hardly depend on the beam.
    """
    edges = edge_table()
    rows = [
        np.flatnonzero((edges.z == z) & (edges.family == family))[0]
        for z, family in zip(templates.z, templates.family, strict=True)
    ]
    if not rows:
        return np.ones(0)
    ratio = []
    for beam in ((beam_energy, convergence, collection), _REFERENCE):
        values = (torch.full((len(rows),), float(v), dtype=torch.float64) for v in beam)
        ratio.append(cross_sections(torch.tensor(rows), *values, slice(_HEIGHT_AT, _HEIGHT_AT + 1))[:, 0])
    return (ratio[0] / ratio[1]).numpy()


def make_templates(energy, width, resolution):
    """Compute the templates of a window; see `Templates`.

    Parameters
    ----------
    energy, width : ndarray of shape (n_bins,)
        In eV.
    resolution : float
        Full width at half maximum in eV.
    """
    return _make_templates(energy.tobytes(), width.tobytes(), round(2 * float(resolution)) / 2)


@lru_cache(maxsize=16)
def _make_templates(energy, width, resolution):
    energy, width = np.frombuffer(energy), np.frombuffer(width)
    edges = edge_table()
    used = np.isin(edges.family, list(UNCERTAINTY))
    keys = sorted(set(zip(edges.z[used], edges.family[used], strict=True)))
    groups = [np.flatnonzero((edges.z == z) & (edges.family == family)) for z, family in keys]
    groups = [rows for rows in groups if _measurable(edges.onset[rows].min(), energy)]
    full, smooth, replica, lines = _all_templates(groups, energy, width, resolution)
    first = [rows[0] for rows in groups]
    z, family, area = edges.z[first], edges.family[first], edges.line_area
    has_lines = np.array([area[rows].max() > 0 for rows in groups], dtype=bool)
    n = len(SHIFTS)
    of = np.repeat(np.arange(len(groups)), n * (1 + has_lines))
    kind = np.concatenate([np.repeat([0, 1], n) if two else np.zeros(n) for two in has_lines] or [[]])
    shift = np.tile(np.arange(n), (1 + has_lines).sum() if len(groups) else 0)
    poses = np.where(kind[:, None] > 0, lines[of, shift], full[of, shift]) if len(groups) else full[:, 0]
    unit = np.maximum(poses.max(1), 1e-30) if len(groups) else np.zeros(0)
    naming = np.isin(family, _NAMING) & ((family != "M45") | (z >= 37))
    return Templates(
        z, family, np.array([edges.onset[rows].min() for rows in groups]),
        np.array([area[rows].max() / 4 for rows in groups]),
        np.array([np.ptp(edges.onset[rows]) for rows in groups]), naming, smooth, replica,
        of, shift, kind > 0, unit, poses / unit[:, None],
    )  # fmt: skip


def _measurable(onset, energy):
    before, after = energy < onset - 1, energy > onset + 1
    return (
        energy[0] <= onset - _BEFORE
        and energy[-1] >= onset + _AFTER
        and min(before.sum(), after.sum()) >= _LEAST_BINS
    )


def _all_templates(groups, energy, width, resolution):
    """Templates of groups of edges, each of shape (n_groups, n_shifts, n_bins).

    They are whole ones, ones without white lines, ones after another loss, and ones of broad white lines
    alone.
    """
    shape = (len(groups), len(SHIFTS), len(energy))
    full, smooth, replica, lines = (np.zeros(shape) for _ in range(4))
    edges, blur = edge_table(), np.hypot(resolution / 2.3548, width / 3.46)
    for i, rows in enumerate(groups):
        values = (torch.full((len(rows),), v, dtype=torch.float64) for v in _REFERENCE)
        edge = torch.from_numpy(rows)
        curves = cross_sections(edge, *values)
        heights = heights_of_families(curves, edge).numpy()
        for row, curve, height in zip(rows, curves, heights, strict=True):
            above = energy - edges.onset[row] - SHIFTS[:, None]
            later = above - _PLASMON
            area = edges.line_area[row] * height
            wide = np.hypot(blur, 6.0)
            replica[i] += _at(curve, later) * ndtr(later / wide) + area * _gaussian(later - 1.5, wide)
            smooth[i] += _at(curve, above) * ndtr(above / blur)
            full[i] += area * _lorentzian(above - 1.5, np.hypot(1.0, 1.18 * blur)) * (above > -8)
            lines[i] += area * _gaussian(above - 1.5, np.hypot(_BROAD / 2.3548, blur))
    smooth += _REPLICA * replica
    return full + smooth, smooth, replica, lines


def _lorentzian(x, half):
    return half / np.pi / (x**2 + half**2)


def _gaussian(x, sigma):
    return np.exp(-0.5 * (x / sigma) ** 2) / (sigma * np.sqrt(2 * np.pi))


def _at(curve, above):
    above = torch.from_numpy(np.maximum(above, 0.0))
    return on_axis(curve.expand(len(above), -1), above).numpy()
