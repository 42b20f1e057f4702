"""Refinement of the cells of a search, and their figures of merit, in double precision."""

from typing import NamedTuple

import torch

from xtalsk.diffraction.indexing._cells import cell_volume, evidence, reduce_cells
from xtalsk.diffraction.indexing._constants import (
    MAX_CHANGE,
    MIN_DEVIATION,
    PARAMETER_PRICE,
    PARAMETER_WEIGHT,
    REFINE_PARTS,
    SHIFT_WEIGHT,
    TIGHT_SHARE,
)

FIGURES = ("evidence", "log_m20", "explained", "explained_intensity", "observed", "log_volume")
_FAR = 1e3  # q, in 1/Å, of lines that do not exist
_REAL = ("q", "weights", "low", "last", "count", "chance", "covered")  # fields of `Lines`, here in double


class Fit(NamedTuple):
    """The best refined cell of each type of a family."""

    figures: torch.Tensor  # (n, n_types, len(FIGURES))
    q: torch.Tensor  # (n, n_types, n_rows) calculated lines in 1/Å, increasing
    order: torch.Tensor  # (n, n_types, n_rows) the row of each calculated line
    predicted: torch.Tensor  # (n, n_types, n_rows) whether it lies in the range, apart from the line before
    observed: torch.Tensor  # (n, n_types, n_rows) whether it is predicted and observed
    shift: torch.Tensor  # (n, n_types, 1) of the zero, in 1/Å
    variant: torch.Tensor  # (n, n_types, 1) of the lattice; -1 where there is no cell


class Matches(NamedTuple):
    """Comparison of calculated and observed lines of k cells."""

    deviation: (
        torch.Tensor
    )  # (n, k, n_lines) distance of each observed line to the nearest calculated one, 1/Å
    explained: torch.Tensor  # (n, k, n_lines) whether it lies within the tight tolerance
    predicted: torch.Tensor  # (n, k, n_rows) as in `Fit`
    observed: torch.Tensor  # (n, k, n_rows) as in `Fit`


def fit_cells(candidates, family, lines, tolerance, step):
    """Refine the cells of a search and compute the figures of the best cell of each type.

    The best cell has the highest evidence: it explains many lines and many of its own lines are observed,
    both beyond chance, less a price for each of its parameters.

    Parameters
    ----------
    candidates : (Tensor, Tensor, Tensor)
        Cells, variants and scores from `search_cells`.
    family : Family
    lines : Lines
    tolerance : float
        In 1/Å.
    step : float
        Width of the bins in 1/Å.

    Returns
    -------
    Fit
    """
    cells, variants, score = candidates
    cells, lines = cells.double(), lines._replace(**{name: getattr(lines, name).double() for name in _REAL})
    cells, shift = _refine_cells(cells, variants, family, lines, tolerance, step)
    q, order = _calculate_lines(cells, variants, family)
    matches = match_lines(q, shift, lines, TIGHT_SHARE * tolerance)
    volume = cell_volume(reduce_cells(cells, family), family)
    figures, n_calculated = _figures(matches, volume, cells.shape[2], lines, tolerance, step)
    enough_lines = lines.count[:, None] >= cells.shape[2] + 2
    is_usable = torch.isfinite(score) & torch.isfinite(volume) & (n_calculated > 0) & enough_lines
    figures = torch.where(is_usable[..., None], figures, 0)
    merit = torch.where(is_usable, figures[..., 0], -torch.inf)
    best = merit.unflatten(1, (len(family.types), -1)).argmax(2)
    variants = torch.where(is_usable, variants, -1)
    columns = (figures, q, order, matches.predicted, matches.observed, shift[..., None], variants[..., None])
    return Fit(*(_take_best(column, best) for column in columns))


def _take_best(x, best):
    """Of values (n, n_types * n_kept, m), those at ``best`` (n, n_types) of each type, (n, n_types, m)."""
    x = x.unflatten(1, (best.shape[1], -1))
    return x.gather(2, best[..., None, None].expand(-1, -1, 1, x.shape[3]))[:, :, 0]


def _calculate_lines(cells, variants, family):
    """Lines of cells in 1/Å, increasing, and their rows, both (n, k, n_rows); forbidden lines are last."""
    q = (cells @ family.rows.T.to(cells.dtype)).clamp_min(0).sqrt()
    return torch.where(family.members[variants], q, _FAR).sort(dim=2, stable=True)


def _nearest(ordered, q):
    """Index, in increasing numbers (..., m), of the number nearest to each of ``q`` (..., l)."""
    after = torch.searchsorted(ordered, q).clamp(1, ordered.shape[-1] - 1)
    return after - (q - ordered.gather(-1, after - 1) < ordered.gather(-1, after) - q).long()


def _refine_cells(cells, variants, family, lines, tolerance, step):
    """Refined cells (n, k, p) and shifts of the zero in 1/Å (n, k); each line keeps its first row."""
    observed = torch.where(lines.valid, lines.q, -1.0)
    q, order = _calculate_lines(cells, variants, family)
    nearest = _nearest(q, observed[:, None].repeat(1, q.shape[1], 1))
    rows = family.rows[order.gather(2, nearest)].to(cells.dtype)
    shift = cells.new_zeros(cells.shape[:2])
    for part in REFINE_PARTS:
        cells, shift = _least_squares_step(cells, shift, rows, observed, part * tolerance, step)
    return cells, shift


def _least_squares_step(cells, shift, rows, q, tolerance, step):
    """Make one step of least squares for the cells and a shift of all q, on the lines within the tolerance.

    A line calculated at q_c is observed at q_c + shift. Errors of the zero and of the sample height cause
    such a shift. It stays within one bin, and a weak prior draws it to 0.
    """
    moved = q[:, None] - shift[..., None]
    deviation = moved - (rows * cells[:, :, None]).sum(3).clamp_min(0).sqrt()
    is_used = (deviation.abs() < tolerance).to(q.dtype)[..., None]
    scale = cells.abs().mean(-1, keepdim=True).clamp_min(1e-9)
    slope = scale[..., None] / (2 * moved.clamp_min(1e-3)[..., None])  # dq = dQ / 2q
    design = torch.cat([rows * slope, torch.ones_like(slope)], 3) * is_used
    normal = design.mT @ design
    right = (design.mT @ deviation[..., None])[..., 0]
    prior = torch.full_like(right, PARAMETER_WEIGHT)
    prior[..., -1] = SHIFT_WEIGHT
    right[..., -1] -= SHIFT_WEIGHT * shift
    change = torch.linalg.solve(normal + torch.diag_embed(prior), right)
    cells = cells + change[..., :-1].clamp(-MAX_CHANGE, MAX_CHANGE) * scale
    return cells, (shift + change[..., -1]).clamp(-step, step)


def match_lines(q, shift, lines, tight):
    """Compare calculated lines ``q`` (n, k, n_rows) with the observed ones, `Matches`; ``tight`` in 1/Å."""
    moved = torch.where(lines.valid[:, None], lines.q[:, None] - shift[..., None], 2 * _FAR)
    deviation = (moved - q.gather(2, _nearest(q, moved))).abs()
    explained = lines.valid[:, None] & (deviation < tight)
    predicted = (q >= lines.low[..., None]) & (q <= lines.last[..., None] + tight)
    predicted[..., 1:] &= q.diff(dim=2) > tight / 2
    observed = predicted & ((q - moved.gather(2, _nearest(moved, q))).abs() < tight)
    return Matches(deviation, explained, predicted, observed)


def _figures(matches, volume, n_parameters, lines, tolerance, step):
    """Figures of merit of all cells, (n, k, len(FIGURES)), and their numbers of calculated lines, (n, k)."""
    n_calculated = matches.predicted.sum(2).to(volume.dtype)
    observed = matches.observed.sum(2) / n_calculated.clamp_min(1)
    intensity = (matches.explained * lines.weights[:, None]).sum(2)
    count = lines.count[:, None]
    chance = 1 - torch.exp(-TIGHT_SHARE * n_calculated * lines.chance[:, None])
    covered = TIGHT_SHARE * lines.covered[:, None].expand_as(observed)
    merit = evidence(intensity, chance, count) + evidence(observed, covered, n_calculated)
    merit = merit - PARAMETER_PRICE * n_parameters * (count + 1).log()
    explained = matches.explained.sum(2) / count.clamp_min(1)
    log_m20 = _log_m20(matches.deviation, lines, n_calculated, tolerance, step)
    return torch.stack([merit, log_m20, explained, intensity, observed, volume.log()], 2), n_calculated


def _log_m20(deviation, lines, n_calculated, tolerance, step):
    """Logarithm of de Wolff's M = Q_N / (2 <|ΔQ|> N_calculated), (n, k).

    A deviation counts as the tolerance at most, so that a foreign line costs no more than one that fits
    poorly. It counts as a twentieth of a bin at least.
    """
    in_q2 = 2 * lines.q[:, None] * deviation.clamp(MIN_DEVIATION * step, tolerance)
    mean = (in_q2 * lines.valid[:, None]).sum(2) / lines.count.clamp_min(1)[:, None]
    return (lines.last**2 / (2 * mean * n_calculated).clamp_min(1e-9)).clamp_min(1e-3).log()
