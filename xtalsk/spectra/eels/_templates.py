"""Templates of core-loss edges: families of edges of the elements at several shifts of their onsets."""

from dataclasses import dataclass
from functools import cache, cached_property, lru_cache

import numpy as np
import torch
from scipy.special import ndtr

from xtalsk.physics._constants import FWHM_PER_SIGMA
from xtalsk.physics._eels_cross_sections import cross_sections
from xtalsk.physics._eels_edges import ABOVE, edge_table
from xtalsk.physics._eels_shapes import (
    WHITE_LINE_HALF_WIDTH,
    WHITE_LINE_OFFSET,
    family_heights,
    interpolate_curves,
    lorentzian,
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
    POSES_IN_BLOCK,
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
    def blocks(self):
        """Blocks of poses and the first bin in which a pose is not zero, list of (slice, int)."""
        first = (np.abs(self.poses) < NEGLIGIBLE).argmin(1)
        parts = [slice(i, i + POSES_IN_BLOCK) for i in range(0, len(first), POSES_IN_BLOCK)]
        return [(part, int(first[part].min())) for part in parts]

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
    """Cross-sections of rows of the table of edges 25 eV above the onset, ndarray of shape (m,)."""
    place = int(np.searchsorted(ABOVE, STRENGTH_AT))
    return _beam_curves(rows, beam, slice(place, place + 1))[:, 0].numpy() if rows else np.ones(0)


def _beam_curves(rows, beam, part=slice(None)):
    """Cross-sections of rows of the table of edges for one beam, tensor of shape (m, n_above)."""
    values = (torch.full((len(rows),), float(value), dtype=torch.float64) for value in beam)
    return cross_sections(torch.as_tensor(rows), *values, part)


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
    whole, smooth, replica, lines = _all_templates(groups, energy, width, resolution)
    first = np.array([rows[0] for rows in groups], dtype=int)
    z, family = edges.z[first], edges.family[first]
    areas = np.array([edges.line_area[rows].max() for rows in groups])
    of, shift, lines_only = _list_poses(areas > 0)
    poses = np.where(lines_only[:, None], lines[of, shift], whole[of, shift]) if len(groups) else whole[:, 0]
    unit = np.maximum(poses.max(1), 1e-30) if len(groups) else np.zeros(0)
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
        poses=poses / unit[:, None],
    )


def _families_in_window(energy, allowed):
    """Rows of the table of edges of each family in the window, by onset, list of int ndarrays."""
    edges = edge_table()
    used = np.isin(edges.family, list(UNCERTAINTY)) & allowed[edges.z]
    keys = sorted(set(zip(edges.z[used], edges.family[used], strict=True)))
    groups = [np.flatnonzero((edges.z == z) & (edges.family == family)) for z, family in keys]
    groups = [rows for rows in groups if _is_measurable(edges.onset[rows].min(), energy)]
    return sorted(groups, key=lambda rows: edges.onset[rows].min())


def _is_measurable(onset, energy):
    """Whether the window reaches far enough to both sides of an onset."""
    before, after = energy < onset - 1, energy > onset + 1
    return (
        energy[0] <= onset - RANGE_BELOW
        and energy[-1] >= onset + RANGE_ABOVE
        and min(before.sum(), after.sum()) >= LEAST_BINS_BESIDE
    )


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


def _all_templates(groups, energy, width, resolution):
    """Templates of families of edges, each of shape (n_families, n_shifts, n_bins), in barn per eV.

    Returns
    -------
    whole, smooth, replica, lines : ndarray
        The whole edges, the edges without white lines, the edges after one more plasmon loss, and broad white
        lines alone. The first two include the usual plural scattering.
    """
    shape = (len(groups), len(SHIFTS), len(energy))
    whole, smooth, replica, lines = (np.zeros(shape) for _ in range(4))
    blur = np.hypot(resolution / _FWHM, width / _BIN_WIDTH_PER_SIGMA)
    table = edge_table()
    for i, rows in enumerate(groups):
        for row, curve, height in zip(rows, *_family_curves(tuple(rows.tolist())), strict=True):
            above = energy - table.onset[row] - SHIFTS[:, None]
            area = table.line_area[row] * height
            smooth[i] += _blurred_edge(curve, above, blur)
            replica[i] += _replica(curve, area, above - PLASMON_ENERGY, blur)
            whole[i] += area * _sharp_lines(above, blur)
            lines[i] += area * _gaussian(above - WHITE_LINE_OFFSET, np.hypot(BROAD_LINES / _FWHM, blur))
    smooth += REPLICA_SHARE * replica
    return whole + smooth, smooth, replica, lines


@cache
def _family_curves(rows):
    """Cross-sections of the edges of a family for the reference beam, and the heights that scale white lines.

    Parameters
    ----------
    rows : tuple of int
        Rows of the table of edges.

    Returns
    -------
    curves : tensor of shape (m, n_above)
    heights : ndarray of shape (m,)
    """
    curves = _beam_curves(rows, REFERENCE_BEAM)
    return curves, family_heights(curves, torch.tensor(rows)).numpy()


def _blurred_edge(curve, above, sigma):
    """Edge with a blurred onset, ndarray of the shape of ``above``."""
    above_onset = torch.from_numpy(np.maximum(above, 0.0))
    values = interpolate_curves(curve.expand(len(above), -1), above_onset).numpy()
    return values * ndtr(above / sigma)


def _replica(curve, area, above, sigma):
    """Edge and its white line, blurred by a plasmon loss, ndarray of the shape of ``above``."""
    wide = np.hypot(sigma, REPLICA_WIDTH)
    return _blurred_edge(curve, above, wide) + area * _gaussian(above - WHITE_LINE_OFFSET, wide)


def _sharp_lines(above, sigma):
    """White line of area one at the energy resolution of the spectrum, in 1/eV."""
    half_width = np.hypot(WHITE_LINE_HALF_WIDTH, _HALF_WIDTH_PER_SIGMA * sigma)
    return lorentzian(above - WHITE_LINE_OFFSET, half_width) * (above > -LINE_CUT)


def _gaussian(x, sigma):
    """Gaussian of area one, in 1/eV."""
    return np.exp(-0.5 * (x / sigma) ** 2) / (sigma * np.sqrt(2 * np.pi))
