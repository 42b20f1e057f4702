"""Templates of core-loss edges: families of edges of the elements at several shifts of their onsets."""

from dataclasses import dataclass
from functools import lru_cache

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
    LEAST_BINS_BESIDE,
    LINE_CUT,
    LINE_HEIGHT,
    LOWEST_M45_ELEMENT,
    NAMING_FAMILIES,
    PLASMON_ENERGY,
    RANGE_ABOVE,
    RANGE_BELOW,
    REFERENCE_BEAM,
    REPLICA_SHARE,
    REPLICA_WIDTH,
    SHIFTS,
    STRENGTH_AT,
    UNCERTAINTY,
)

_FWHM = round(FWHM_PER_SIGMA, 4)  # rounded: fractions depend on the last digit
_BIN_WIDTH_PER_SIGMA = 3.46  # sqrt(12): width of a rectangle over its standard deviation
_HALF_WIDTH_PER_SIGMA = 1.18  # half width at half maximum of a Gaussian over its standard deviation


@dataclass(frozen=True)
class Templates:
    """Templates of the families whose onsets lie in the window.

    A pose is a template of a family at one shift: the whole edge, or its white lines alone.

    Parameters
    ----------
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
        """First pose of each family, ndarray of int of shape (n_families,)."""
        return np.searchsorted(self.of, np.arange(len(self)))


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
    edges = edge_table()
    rows = [
        np.flatnonzero((edges.z == z) & (edges.family == family))[0]
        for z, family in zip(templates.z, templates.family, strict=True)
    ]
    if not rows:
        return np.ones(0)
    place = int(np.searchsorted(ABOVE, STRENGTH_AT))
    beams = ((beam_energy, convergence, collection), REFERENCE_BEAM)
    own, reference = (_beam_curves(rows, beam, slice(place, place + 1))[:, 0] for beam in beams)
    return (own / reference).numpy()


def _beam_curves(rows, beam, part=slice(None)):
    """Cross-sections of rows of the table of edges for one beam, tensor of shape (m, n_above)."""
    values = (torch.full((len(rows),), float(value), dtype=torch.float64) for value in beam)
    return cross_sections(torch.as_tensor(rows), *values, part)


def make_templates(energy, width, resolution):
    """Compute the templates of a window.

    Parameters
    ----------
    energy, width : ndarray of shape (n_bins,)
        Middle and width of the bins in eV.
    resolution : float
        Energy resolution in eV (full width at half maximum); it is rounded to 0.5 eV.

    Returns
    -------
    Templates
    """
    return _make_templates(energy.tobytes(), width.tobytes(), round(2 * float(resolution)) / 2)


@lru_cache(maxsize=16)
def _make_templates(energy, width, resolution):
    """Templates of a window; the axes are bytes, so that the cache can compare them."""
    energy, width = np.frombuffer(energy), np.frombuffer(width)
    edges, groups = edge_table(), _families_in_window(energy)
    whole, smooth, replica, lines = _all_templates(groups, energy, width, resolution)
    first = [rows[0] for rows in groups]
    z, family = edges.z[first], edges.family[first]
    areas = np.array([edges.line_area[rows].max() for rows in groups])
    of, shift, lines_only = _list_poses(areas > 0)
    poses = np.where(lines_only[:, None], lines[of, shift], whole[of, shift]) if len(groups) else whole[:, 0]
    unit = np.maximum(poses.max(1), 1e-30) if len(groups) else np.zeros(0)
    return Templates(
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


def _families_in_window(energy):
    """Rows of the table of edges of each family in the window, list of int ndarrays."""
    edges = edge_table()
    used = np.isin(edges.family, list(UNCERTAINTY))
    keys = sorted(set(zip(edges.z[used], edges.family[used], strict=True)))
    groups = [np.flatnonzero((edges.z == z) & (edges.family == family)) for z, family in keys]
    return [rows for rows in groups if _is_measurable(edges.onset[rows].min(), energy)]


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
        curves = _beam_curves(rows, REFERENCE_BEAM)
        heights = family_heights(curves, torch.from_numpy(rows)).numpy()
        for row, curve, height in zip(rows, curves, heights, strict=True):
            above = energy - table.onset[row] - SHIFTS[:, None]
            area = table.line_area[row] * height
            smooth[i] += _blurred_edge(curve, above, blur)
            replica[i] += _replica(curve, area, above - PLASMON_ENERGY, blur)
            whole[i] += area * _sharp_lines(above, blur)
            lines[i] += area * _gaussian(above - WHITE_LINE_OFFSET, np.hypot(BROAD_LINES / _FWHM, blur))
    smooth += REPLICA_SHARE * replica
    return whole + smooth, smooth, replica, lines


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
