"""Figures of merit of lattices from profiles: pure functions on batched tensors, for any device.

For each lattice type, the search assigns low indices to the low lines of a profile in many ways. Each
assignment gives a candidate cell. All lines score the candidates; the best ones are refined and scored again.
The figures of the best cell of each type are:

- evidence: log-likelihood ratio against chance that so many lines are explained and that so many calculated
  lines are observed, less a price for the parameters of the cell;
- log_m20: logarithm of the figure of merit of P. M. de Wolff, J. Appl. Cryst. 1, 108 (1968), for the lines of
  the profile (20 or fewer); a foreign line costs as much as one that fits poorly;
- explained, explained_intensity: share of the lines that the cell explains, by number, and weighted by the
  mean of equal weights and of prominences;
- observed: share of the calculated lines that are observed;
- log_volume: logarithm of the volume of the conventional cell in Å³.

Profiles on a processor are indexed by compiled loops (`_twin`), profiles on other devices by batched tensors
(`_search`, `_refine`). Both compute the same: candidates in single precision, each operation rounded by
itself; lines and refined cells in double precision; among equal scores the first candidate wins.

The search is dense for cubic, tetragonal and hexagonal lattices. For ideal patterns of minerals, the
candidates include about 90% of the orthorhombic and about half of the monoclinic cells. Rhombohedral lattices
are searched for by their hexagonal cell. Triclinic cells are made from zones (`_zones`).

A pattern may be indexed several times: with its lines moved by trial shifts of the zero, of which it keeps
the one of highest evidence, and with a second set of lines that includes weaker ones, whose figures have the
prefix ``lenient_``.
"""

import numpy as np
import torch

from xtalsk.diffraction._constants import LINE_MIN_HEIGHT, LINE_SIGMA
from xtalsk.diffraction._peak_search import find_lines
from xtalsk.diffraction.indexing import _twin
from xtalsk.diffraction.indexing._cell_table import cells_of_fits
from xtalsk.diffraction.indexing._constants import (
    ABSENCE_MIN_HEIGHT,
    ABSENCE_SIGMA,
    LENIENT_MIN_HEIGHT,
    LENIENT_SIGMA,
    N_ABSENCE_LINES,
    N_LINES,
    N_RATIOS,
    SHIFT_SPACING,
)
from xtalsk.diffraction.indexing._extinction_scores import extinction_names, log_probabilities
from xtalsk.diffraction.indexing._lattices import lattice_types
from xtalsk.diffraction.indexing._refine import FIGURES, fit_cells
from xtalsk.diffraction.indexing._search import make_lines, search_cells
from xtalsk.diffraction.indexing._tables import DEFAULT, families, settings_of_classes
from xtalsk.utils._first_answer import is_compiled_or_worth_it

_KERNELS = "xtalsk.diffraction.indexing._family_kernels"  # the loops that compile longest
_SYSTEMS = ("cubic", "tetragonal", "hexagonal_p", "hexagonal_r", "orthorhombic", "monoclinic", "triclinic")
_STRICT, _LENIENT = (LINE_SIGMA, LINE_MIN_HEIGHT), (LENIENT_SIGMA, LENIENT_MIN_HEIGHT)
_LOG_VOLUME = FIGURES.index("log_volume")


def _type_names(options):
    """Names of the lattice types of all families, such as ``cubic_p``."""
    return [f"{family}_{name}" for family in options.families for name in lattice_types(family)]


def _systems(options):
    """Names of the systems that are compared with each other."""
    return _SYSTEMS if options.triclinic else _SYSTEMS[:-1]


def _thresholds(options):
    """Least prominence of the lines of each set: in units of the noise, and as a share of the highest."""
    return (_STRICT, _LENIENT) if options.lenient else (_STRICT,)


def figure_names(options=DEFAULT):
    """Names of the columns of `lattice_figures`, without building any table."""
    names = [f"{name}_{figure}" for name in _type_names(options) for figure in FIGURES]
    names += [f"{system}_margin" for system in _systems(options)]
    for family in options.families:
        for name, n_settings in settings_of_classes(family).items():
            settings = [""] if n_settings == 1 else [f"_{k}" for k in range(1, n_settings + 1)]
            names += [f"{family}_{name}{k}" for k in settings]
    names += extinction_names(options) if options.absences else []
    names += ["lines", "lines_in_all", "q_first", "q_last"]
    names += [f"q_ratio_{k}" for k in range(2, N_RATIOS + 1)]
    return names + [f"lenient_{name}" for name in names] if options.lenient else names


def _margins(evidences, options):
    """Evidence of each system less the highest evidence of the others, (n, n_systems)."""
    types, systems = _type_names(options), _systems(options)
    best = [
        evidences[:, [i for i, name in enumerate(types) if name.startswith(system)]].amax(1)
        for system in systems
    ]
    best = torch.stack(best, 1)
    others = torch.stack(
        [best[:, [j for j in range(len(systems)) if j != i]].amax(1) for i in range(len(systems))], 1
    )
    return best - others


def _absences(fitted, family):
    """Share of the lines of each absence class that are observed, by the best primitive cell, (n, n_classes).

    The share among all lines counts as one further line of the class, so that small classes stay near it.
    """
    order, predicted, observed = fitted.order[:, 0], fitted.predicted[:, 0], fitted.observed[:, 0]
    usual = (observed.sum(1, keepdim=True) + 1) / (predicted.sum(1, keepdim=True) + 2)
    shares = []
    for masks in family.classes.values():
        of_class = masks[:, order].transpose(0, 1)  # (n, n_settings, n_rows)
        n_observed = (of_class & observed[:, None]).sum(2)
        shares.append((n_observed + usual) / ((of_class & predicted[:, None]).sum(2) + 1))
    return torch.cat([usual[:, :0], *(share.sort(1).values for share in shares)], 1)


def _line_features(q, _, total):
    """Numbers of lines, first and last line in 1/Å, and ratios to the first line, (n, 3 + N_RATIOS)."""
    count = torch.isfinite(q).sum(1, keepdim=True).to(q.dtype)
    q = torch.where(torch.isfinite(q), q, 0)
    first, last = q[:, :1], q.amax(1, keepdim=True)
    ratios = q[:, 1:N_RATIOS] / first.clamp_min(1e-6)
    return torch.cat([count, total[:, None], first, last, ratios], 1)


def _batched_figures(lines, tolerance, step, options):
    """Figures (n, n_types, n_figures), lists of shares of absence classes and of fits, by batched tensors."""
    figures, absences, fits = [], [], []
    for family in families(lines.q.device, lines.q.dtype, options):
        fitted = fit_cells(search_cells(lines, family, tolerance), family, lines, tolerance, step)
        figures.append(fitted.figures)
        absences.append(_absences(fitted, family))
        fits.append(fitted)
    return torch.cat(figures, 1).to(lines.q.dtype), [x.to(lines.q.dtype) for x in absences], fits


def _compiled_figures(lines, tolerance, step, options, n_threads=None):
    """Compute what `_batched_figures` computes, by compiled loops on a processor."""
    found = _twin.index_patterns(lines, tolerance, step, n_threads, options)
    figures = torch.from_numpy(np.concatenate([fits.figures for fits in found], axis=1))
    absences = [torch.from_numpy(fits.absences).to(lines.q.dtype) for fits in found]
    return figures.to(lines.q.dtype), absences, [fits.best_fits for fits in found]


def _measured_bins(profiles, compiled):
    """First measured bin of each profile (n, 1), and which profiles were measured (n,)."""
    if compiled:  # without operations of torch on all bins, for which its threads would wake up
        measured = ~np.isnan(profiles.numpy())
        return torch.from_numpy(measured.argmax(1)[:, np.newaxis]), torch.from_numpy(measured.any(1))
    measured = ~profiles.isnan()
    return measured.to(torch.int8).argmax(1, keepdim=True), measured.any(1)


def _lines_of_profiles(profiles, q0, step, thresholds, compiled, n_lines=N_LINES):
    """Lines of profiles: q and prominence, (n, n_lines), and the numbers of all their lines (n,)."""
    n_sigma, min_height = thresholds
    if compiled:
        found = _twin.find_lines(profiles, q0, step, n_lines, n_sigma, min_height)
    else:
        found = find_lines(profiles.double(), q0, step, n_lines, n_sigma=n_sigma, min_height=min_height)
    return tuple(x.to(profiles.dtype) for x in found)


def trial_shifts(zero_shift, step):
    """Shifts of the zero in 1/Å at which lines are indexed; the refinement moves each by up to one bin."""
    rest = max((zero_shift or 0.0) - step, 0.0)
    n = int(np.ceil(rest / (SHIFT_SPACING * step)))
    return [0.0, *(sign * rest * k / n for k in range(1, n + 1) for sign in (1, -1))]


def _moved_lines(found, low, tolerance, step, options, compiled):
    """Yield each trial shift and the `Lines` that it leaves."""
    q, prominence, _ = found
    for shift in trial_shifts(options.zero_shift, step):
        yield shift, make_lines(q - shift, prominence, low - shift, tolerance, with_table=not compiled)


def _figures_of_lines(found, weak, low, tolerance, step, options, n_threads, compiled):
    """Figures, margins and absences of one set of lines, at the trial shift of highest evidence.

    ``weak`` are the lines with which absences are compared, if they are.
    """
    best, highest = None, None
    for shift, lines in _moved_lines(found, low, tolerance, step, options, compiled):
        if compiled:
            figures, absences, fits = _compiled_figures(lines, tolerance, step, options, n_threads)
        else:
            figures, absences, fits = _batched_figures(lines, tolerance, step, options)
        columns = [figures.flatten(1), _margins(figures[:, :, 0], options), *absences]
        if options.absences:
            compared = make_lines(weak[0] - shift, weak[1], low - shift, tolerance, with_table=False)
            chances = log_probabilities(fits, compared, tolerance, step, options, n_threads)
            columns.append(chances.to(figures.dtype))
        columns = torch.cat(columns, 1)
        merit = torch.where(figures[..., _LOG_VOLUME] != 0, figures[..., 0], -torch.inf).amax(1)
        if best is None:
            best, highest = columns, merit
        else:
            best = torch.where((merit > highest)[:, None], columns, best)
            highest = torch.maximum(highest, merit)
    return best


def lattice_cells(profiles, q0, step, n_cells, *, tolerance=None, n_threads=None, options=DEFAULT):
    """Cells of highest evidence of each profile, by compiled loops on a processor.

    Parameters
    ----------
    profiles, q0, step, tolerance, n_threads, options
        As in `lattice_figures`; the profiles are in single precision.
    n_cells : int
        Largest number of cells of a profile.

    Returns
    -------
    list of list of tuple
        For each profile, cells as from `_cell_table.cells_of_fits`.
    """
    tolerance = step if tolerance is None else tolerance
    low, _ = _measured_bins(profiles, compiled=True)
    low = q0 + step * low.to(profiles.dtype)
    results = []
    for thresholds in _thresholds(options):
        found = _lines_of_profiles(profiles, q0, step, thresholds, compiled=True)
        for shift, lines in _moved_lines(found, low, tolerance, step, options, compiled=True):
            fits = _twin.index_patterns(lines, tolerance, step, n_threads, options)
            results.append((shift, [family.fits for family in fits]))
    return [_cells_of_row(results, row, n_cells, options) for row in range(len(profiles))]


def _cells_of_row(results, row, n_cells, options):
    """Cells of one profile from the fits of each set of lines at each trial shift."""
    fits = [
        (family, f"{family}_{name}", of_family[number][row, i], shift)
        for shift, of_family in results
        for number, family in enumerate(options.families)
        for i, name in enumerate(lattice_types(family))
    ]
    return cells_of_fits(fits, n_cells)


def lattice_figures(profiles, q0, step, *, tolerance=None, n_threads=None, compiled=None, options=DEFAULT):
    """Figures of merit of the lattices that fit profiles best.

    Parameters
    ----------
    profiles : Tensor of shape (n, n_bins)
        Intensity of even noise against q = 1/d without background, as from `PowderProfile` and
        `RadialProfile`; NaN where nothing was measured.
    q0, step : float
        Middle of the first bin and width of the bins in 1/Å.
    tolerance : float or None
        Largest distance in 1/Å between an observed and a calculated line; None takes one bin.
    n_threads : int or None
        Threads of the compiled loops on a processor; None for the number of threads of torch.
    compiled : bool or None
        Whether to use compiled loops, which take profiles in single precision on a processor; None uses them
        for such profiles, except for a few before the loops were first compiled on this machine. The batched
        tensors give the same figures within 1e-5.
    options : Options
        What is searched for.

    Returns
    -------
    Tensor of shape (n, n_figures)
        Columns as in `figure_names`. Figures are 0 for lattice types without a cell and for patterns with too
        few lines. Rows of profiles without any measured bin are NaN.
    """
    tolerance = step if tolerance is None else tolerance
    if compiled is None:
        is_possible = profiles.device.type == "cpu" and profiles.dtype == torch.float32
        compiled = is_possible and is_compiled_or_worth_it(_KERNELS, len(profiles))
    low, is_measured = _measured_bins(profiles, compiled)
    low = q0 + step * low.to(profiles.dtype)
    columns, weak = [], None
    if options.absences:
        thresholds = ABSENCE_SIGMA, ABSENCE_MIN_HEIGHT
        weak = _lines_of_profiles(profiles, q0, step, thresholds, compiled, N_ABSENCE_LINES)
    for thresholds in _thresholds(options):
        found = _lines_of_profiles(profiles, q0, step, thresholds, compiled)
        columns.append(_figures_of_lines(found, weak, low, tolerance, step, options, n_threads, compiled))
        columns.append(_line_features(*found))
    return torch.where(is_measured[:, None], torch.cat(columns, 1), torch.nan)
