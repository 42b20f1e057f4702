"""Templates of core-loss edges: families of edges of the elements at several shifts of their onsets."""

from dataclasses import dataclass
from functools import cache, cached_property, lru_cache

import numpy as np
import torch

from xtalsk.physics._constants import FWHM_PER_SIGMA
from xtalsk.physics._eels_cross_sections import QUADRATURE, REST_ENERGY, cross_sections, effective_energy
from xtalsk.physics._eels_edges import ABOVE, LOG_Q2, edge_table
from xtalsk.physics._eels_gos import RYDBERG
from xtalsk.physics._eels_shapes import (
    WHITE_LINE_HALF_WIDTH,
    WHITE_LINE_OFFSET,
    family_heights,
)
from xtalsk.spectra.eels._constants import (
    BROAD_LINES,
    DOUBTFUL_SHARE,
    FIRST_SHARP_M45,
    GIANT_N45,
    LEAST_BINS_BESIDE,
    LINE_CUT,
    LINE_HEIGHT,
    LOW_EDGE,
    LOW_EDGE_COST,
    LOWEST_M45_ELEMENT,
    M45_COST,
    NAMING_FAMILIES,
    NEGLIGIBLE,
    PLASMON_ENERGY,
    RANGE_ABOVE,
    RANGE_BELOW,
    REFERENCE_BEAM,
    REPLICA_SHARE,
    REPLICA_WIDTH,
    SHIFTS,
    STRENGTH_AT,
    UNCERTAINTY,
    UNNAMED_COST,
)
from xtalsk.utils._formula import N_ELEMENTS

_FWHM = round(FWHM_PER_SIGMA, 4)  # rounded: fractions depend on the last digit
_BIN_WIDTH_PER_SIGMA = 3.46  # sqrt(12): width of a rectangle over its standard deviation
_HALF_WIDTH_PER_SIGMA = 1.18  # half width at half maximum of a Gaussian over its standard deviation


@dataclass(frozen=True, eq=False)
class Templates:
    """Templates of the families whose onsets lie in the window, the family with the lowest onset first.

    A pose is a template of a family at one shift: the whole edge, or its white lines alone.

    Parameters
    ----------
    row : ndarray of int, shape (n_families,)
        First row of the family in `edge_table`.
    z : ndarray of int, shape (n_families,)
        Atomic number.
    family : ndarray of str, shape (n_families,)
        Name of the family, such as ``"L23"``.
    onset : ndarray of shape (n_families,)
        Lowest onset of the family in eV.
    line_height : ndarray of shape (n_families,)
        Height of the white lines relative to the continuum.
    split : ndarray of shape (n_families,)
        Distance between the lowest and the highest onset of the family in eV.
    naming : ndarray of bool, shape (n_families,)
        Whether the family can name its element.
    smooth : ndarray of shape (n_families, n_shifts, n_bins)
        Cross-sections without white lines for the reference beam, in barn per eV.
    replica : ndarray of shape (n_families, n_shifts, n_bins)
        Cross-sections after one more plasmon loss, in barn per eV.
    of : ndarray of int, shape (n_poses,)
        Family of each pose, in rising order.
    shift : ndarray of int, shape (n_poses,)
        Index of the pose's shift in `SHIFTS`.
    lines_only : ndarray of bool, shape (n_poses,)
        Whether the pose holds broad white lines alone.
    unit : ndarray of shape (n_poses,)
        Height of each pose in barn per eV.
    poses : ndarray of shape (n_poses, n_bins)
        Cross-sections of each pose, divided by its unit.
    """

    row: np.ndarray
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

    @cached_property
    def starts(self):
        """First pose of each family and the number of poses, ndarray of int of shape (n_families + 1,)."""
        return np.searchsorted(self.of, np.arange(len(self) + 1))

    @cached_property
    def first(self):
        """First bin in which each pose is not zero, ndarray of int of shape (n_poses,)."""
        return (np.abs(self.poses) < NEGLIGIBLE).argmin(1)

    @cached_property
    def uncertainty(self):
        """Relative uncertainty of the cross-sections of each family, ndarray of shape (n_families,)."""
        return np.array([UNCERTAINTY[family] for family in self.family])

    @cached_property
    def evidence_share(self):
        """Share of the gain of each family that counts as evidence, ndarray of shape (n_families,)."""
        is_delayed = (self.family == "M45") & (self.z < FIRST_SHARP_M45)
        is_giant = (self.family == "N45") & (self.z >= GIANT_N45[0]) & (self.z <= GIANT_N45[1])
        return np.where(is_delayed | ~(self.naming | is_giant), DOUBTFUL_SHARE, 1)

    @cached_property
    def evidence_cost(self):
        """Cost in χ² of each family as the lead of an element, ndarray of shape (n_families,)."""
        cost = np.where(self.naming, M45_COST * (self.family == "M45"), UNNAMED_COST)
        return cost + LOW_EDGE_COST * (self.onset < LOW_EDGE)

    @cached_property
    def of_element(self):
        """Rows of each element by atomic number, dict of int to ndarray of int."""
        return {int(z): np.flatnonzero(self.z == z) for z in np.unique(self.z)}

    @cached_property
    def groups(self):
        """First place of each element in the second array, and the rows of the elements, two int ndarrays."""
        members = np.argsort(self.z, kind="stable")
        return np.append(np.unique(self.z[members], return_index=True)[1], len(members)), members


def strengths(templates, beam_energy, convergence, collection):
    """Cross-sections of the families for a beam, relative to those for the reference beam.

    The ratio is taken 25 eV above the onset. The shapes of edges hardly depend on the beam.

    Parameters
    ----------
    templates : Templates
    beam_energy : float
        In keV.
    convergence, collection : float
        Half angles in mrad.

    Returns
    -------
    ndarray of shape (n_families,)
    """
    rows = tuple(templates.row.tolist())
    return _strength(rows, (beam_energy, convergence, collection)) / _strength(rows, REFERENCE_BEAM)


@lru_cache(maxsize=64)
def _strength(rows, beam):
    """Cross-sections of rows of the table of edges 25 eV above the onset, up to a factor, ndarray (m,)."""
    from xtalsk.spectra.eels._strength_kernels import cross_sections_at

    energy, curves = _strength_curves(rows)
    beam_energy, convergence, collection = beam
    beam = (*effective_energy(float(beam_energy)), float(convergence), float(collection))
    return cross_sections_at(energy, curves, LOG_Q2, beam, (RYDBERG, REST_ENERGY), *QUADRATURE)


@lru_cache(maxsize=64)
def _strength_curves(rows):
    """Energy loss 25 eV above the onsets of rows of the table of edges, and the oscillator strengths there.

    Returns
    -------
    energy : ndarray of shape (m,)
        In eV.
    strength : ndarray of shape (m, n_momenta)
        In 1/eV.
    """
    edges, place, rows = edge_table(), int(np.searchsorted(ABOVE, STRENGTH_AT)), np.array(rows, dtype=int)
    return edges.onset[rows] + ABOVE[place], edges.strength[rows, place]


def _beam_curves(rows, beam):
    """Cross-sections of rows of the table of edges for one beam, tensor of shape (m, n_above)."""
    values = (torch.full((len(rows),), float(value), dtype=torch.float64) for value in beam)
    return cross_sections(torch.as_tensor(rows), *values)


def make_templates(energy, width, resolution, allowed=None):
    """Compute the templates of a window.

    Parameters
    ----------
    energy, width : ndarray of shape (n_bins,)
        Middle and width of the bins in eV.
    resolution : float
        Energy resolution in eV (full width at half maximum); it is rounded to 0.5 eV.
    allowed : ndarray of bool, shape (99,), or None
        Elements that have templates, by atomic number; None stands for all.

    Returns
    -------
    Templates
    """
    allowed = np.ones(N_ELEMENTS + 1, dtype=bool) if allowed is None else allowed
    rounded = round(2 * float(resolution)) / 2
    return _make_templates(energy.tobytes(), width.tobytes(), rounded, allowed.tobytes())


@lru_cache(maxsize=16)
def _make_templates(energy, width, resolution, allowed):
    """Templates of a window; the arrays are bytes, so that the cache can compare them."""
    energy, width, allowed = np.frombuffer(energy), np.frombuffer(width), np.frombuffer(allowed, dtype=bool)
    edges, groups = edge_table(), _families_in_window(energy, allowed)
    first = np.array([rows[0] for rows in groups], dtype=int)
    z, family = edges.z[first], edges.family[first]
    areas = np.array([edges.line_area[rows].max() for rows in groups])
    of, shift, lines_only = _list_poses(areas > 0)
    starts = np.searchsorted(of, np.arange(len(groups)))
    poses, smooth, replica = _all_templates(groups, starts, len(of), energy, width, resolution)
    unit = np.maximum(poses.max(1), 1e-30)
    poses /= unit[:, None]
    return Templates(
        row=first,
        z=z,
        family=family,
        onset=np.array([edges.onset[rows].min() for rows in groups]),
        line_height=areas / LINE_HEIGHT,
        split=np.array([np.ptp(edges.onset[rows]) for rows in groups]),
        naming=np.isin(family, NAMING_FAMILIES) & ((family != "M45") | (z >= LOWEST_M45_ELEMENT)),
        smooth=smooth,
        replica=replica,
        of=of,
        shift=shift,
        lines_only=lines_only,
        unit=unit,
        poses=poses,
    )


def _families_in_window(energy, allowed):
    """Rows of the table of edges of each family in the window, by onset, list of int ndarrays.

    The window must reach far enough to both sides of the lowest onset of a family.
    """
    groups, onset = _families(allowed.tobytes())
    n_before = np.searchsorted(energy, onset - 1, side="left")
    n_after = len(energy) - np.searchsorted(energy, onset + 1, side="right")
    is_measurable = (
        (energy[0] <= onset - RANGE_BELOW)
        & (energy[-1] >= onset + RANGE_ABOVE)
        & (np.minimum(n_before, n_after) >= LEAST_BINS_BESIDE)
    )
    return [groups[i] for i in np.flatnonzero(is_measurable)]


@lru_cache(maxsize=16)
def _families(allowed):
    """Rows of the table of edges of each family of the elements allowed, and its lowest onset in eV.

    The families are sorted by onset. ``allowed`` is an array of bool as bytes.
    """
    edges = edge_table()
    used = np.isin(edges.family, list(UNCERTAINTY)) & np.frombuffer(allowed, dtype=bool)[edges.z]
    keys = sorted(set(zip(edges.z[used], edges.family[used], strict=True)))
    groups = [np.flatnonzero((edges.z == z) & (edges.family == family)) for z, family in keys]
    groups.sort(key=lambda rows: edges.onset[rows].min())
    return groups, np.array([edges.onset[rows].min() for rows in groups])


def _list_poses(has_lines):
    """Family, shift and kind of each pose, from which families have white lines.

    Returns
    -------
    of, shift : ndarray of int, shape (n_poses,)
    lines_only : ndarray of bool, shape (n_poses,)
    """
    n, n_kinds = len(SHIFTS), 1 + has_lines.astype(int)
    of = np.repeat(np.arange(len(has_lines)), n * n_kinds)
    shift = np.tile(np.arange(n), n_kinds.sum())
    kinds = [np.repeat(np.arange(k), n) for k in n_kinds]
    return of, shift, np.concatenate([np.zeros(0, dtype=int), *kinds]) > 0


def _all_templates(groups, starts, n_poses, energy, width, resolution):
    """Templates of families of edges, in barn per eV.

    Parameters
    ----------
    groups : list of ndarray of int
        Rows of the table of edges of each family.
    starts : ndarray of int, shape (n_families,)
        First pose of each family.
    n_poses : int
    energy, width, resolution
        See `make_templates`.

    Returns
    -------
    poses : ndarray of shape (n_poses, n_bins)
        Whole edges and broad white lines alone, in the order of `_list_poses`.
    smooth, replica : ndarray of shape (n_families, n_shifts, n_bins)
        Edges without white lines, and edges after one more plasmon loss. Whole edges and edges without white
        lines include the usual plural scattering.
    """
    from xtalsk.spectra.eels._template_kernels import add_edge

    n, table = len(SHIFTS), edge_table()
    poses = np.zeros((n_poses, len(energy)))
    smooth, replica = np.zeros((2, len(groups), n, len(energy)))
    blur = np.hypot(resolution / _FWHM, width / _BIN_WIDTH_PER_SIGMA)
    sharp = np.hypot(WHITE_LINE_HALF_WIDTH, _HALF_WIDTH_PER_SIGMA * blur)
    widths = np.stack([sharp, np.hypot(BROAD_LINES / _FWHM, blur), np.hypot(blur, REPLICA_WIDTH)])
    constants = float(np.log(ABOVE[2] / ABOVE[1])), WHITE_LINE_OFFSET, LINE_CUT, PLASMON_ENERGY
    for i, (rows, start) in enumerate(zip(groups, starts.tolist(), strict=True)):
        whole, lines = poses[start : start + n], poses[start + n : start + 2 * n]
        for row, curve, height in zip(rows, *_family_curves(tuple(rows.tolist())), strict=True):
            area = float(table.line_area[row] * height)
            edge = curve, area, table.onset[row] + SHIFTS
            add_edge(*edge, energy, blur, widths, constants, whole, smooth[i], replica[i], lines)
        smooth[i] += REPLICA_SHARE * replica[i]
        whole += smooth[i]
    return poses, smooth, replica


@cache
def _family_curves(rows):
    """Cross-sections of the edges of a family for the reference beam, and the heights that scale white lines.

    Parameters
    ----------
    rows : tuple of int
        Rows of the table of edges.

    Returns
    -------
    curves : ndarray of shape (m, n_above)
    heights : ndarray of shape (m,)
    """
    curves = _beam_curves(rows, REFERENCE_BEAM)
    return curves.numpy(), family_heights(curves, torch.tensor(rows)).numpy()
