"""Refinement of cells that a search has found, and figures of merit."""

from dataclasses import dataclass

import torch

from xtalsk.diffraction.indexing._search import evidence, settle, volume

FIGURES = ("evidence", "log_m20", "explained", "explained_intensity", "observed", "log_volume")
_TIGHT = 0.6  # of the tolerance, within which a line counts as explained after the refinement
_FAR = 1e3  # q of lines that there are not


@dataclass(frozen=True)
class Fit:
    """The best refined cell of each type of a family."""

    figures: torch.Tensor  # (n, n_types, len(FIGURES))
    q: torch.Tensor  # (n, n_types, n_rows) calculated lines in order
    order: torch.Tensor  # (n, n_types, n_rows) which rows they are
    predicted: torch.Tensor  # (n, n_types, n_rows) whether one stands in the range, apart from the one before
    observed: torch.Tensor  # (n, n_types, n_rows) whether it is observed, too


def _calculate(cells, variants, family):
    """Lines of cells in order of q, (n, k, n_rows), and which rows they are; what a variant lacks is last."""
    q = (cells @ family.rows.T).clamp_min(0).sqrt()
    return torch.where(family.members[variants], q, _FAR).sort(2)


def _nearest(ordered, q):
    """Which of ordered numbers (..., m) is nearest to each of ``q`` (..., l)."""
    after = torch.searchsorted(ordered, q).clamp(1, ordered.shape[-1] - 1)
    return after - (q - ordered.gather(-1, after - 1) < ordered.gather(-1, after) - q).long()


def _refine(cells, shift, rows, q, tolerance, step):
    """One step of least squares for the cell and a shift of all q, on the lines within the tolerance.

    A line calculated at q_c is observed at q_c + shift. The shift, as an error of the zero or of the height
    of the sample makes it, has a prior of half a bin.
    """
    moved = q[:, None] - shift[..., None]
    apart = moved - (rows * cells[:, :, None]).sum(3).clamp_min(0).sqrt()
    use = (apart.abs() < tolerance).to(q.dtype)[..., None]
    scale = cells.abs().mean(-1, keepdim=True).clamp_min(1e-9)
    slope = scale[..., None] / (2 * moved.clamp_min(1e-3)[..., None])  # dq = dQ / 2q
    design = torch.cat([rows * slope, torch.ones_like(slope)], 3) * use
    normal = (design.mT @ design).double()
    right = (design.mT @ apart[..., None])[..., 0].double()
    prior = torch.full_like(right, 1e-4)
    prior[..., -1] = 0.1
    right[..., -1] -= 0.1 * shift
    change = torch.linalg.solve(normal + torch.diag_embed(prior), right).to(cells.dtype)
    cells = cells + change[..., :-1].clamp(-0.02, 0.02) * scale
    return cells, (shift + change[..., -1]).clamp(-step, step)


def _log_m(apart, lines, n_calculated, tolerance, step):
    """Logarithm of de Wolff's M = Q_N / (2 <|ΔQ|> N_calculated), ΔQ no larger than the tolerance.

    A foreign line thus costs no more than one that fits poorly; no fit is better than a twentieth of a bin.
    """
    in_q2 = 2 * lines.q[:, None] * apart.clamp(0.05 * step, tolerance)
    mean = (in_q2 * lines.valid[:, None]).sum(2) / lines.count.clamp_min(1)[:, None]
    return (lines.last**2 / (2 * mean * n_calculated).clamp_min(1e-9)).clamp_min(1e-3).log()


def fit(found, family, lines, tolerance, step):
    """Refine what a search has found and judge the best cell of each type.

    A cell is the better the more lines it explains and the more of its own lines are observed, both beyond
    chance, less a price for each of its parameters.
    """
    cells, variants, score = found
    q = torch.where(lines.valid, lines.q, -1.0)
    shift = torch.zeros_like(score)
    at, order = _calculate(cells, variants, family)
    rows = family.rows[order.gather(2, _nearest(at, q[:, None].repeat(1, at.shape[1], 1)))]
    for part in (1.0, 0.8):
        cells, shift = _refine(cells, shift, rows, q, part * tolerance, step)
    at, order = _calculate(cells, variants, family)
    moved = torch.where(lines.valid[:, None], q[:, None] - shift[..., None], 2 * _FAR)
    apart = (moved - at.gather(2, _nearest(at, moved))).abs()
    tight = _TIGHT * tolerance
    explained = lines.valid[:, None] & (apart < tight)
    predicted = (at >= lines.low[..., None]) & (at <= lines.last[..., None] + tight)
    predicted[..., 1:] &= at.diff(dim=2) > tight / 2
    observed = predicted & ((at - moved.gather(2, _nearest(moved, at))).abs() < tight)
    n_calculated = predicted.sum(2).to(q.dtype)
    hit = observed.sum(2) / n_calculated.clamp_min(1)
    intensity = (explained * lines.weights[:, None]).sum(2)
    count = lines.count[:, None]
    merit = evidence(intensity, 1 - torch.exp(-_TIGHT * n_calculated * lines.chance[:, None]), count)
    merit = merit + evidence(hit, _TIGHT * lines.covered[:, None].expand_as(hit), n_calculated)
    n_parameters = cells.shape[2]
    merit = merit - 1.5 * n_parameters * (count + 1).log()
    size = volume(settle(cells, family), family)
    good = torch.isfinite(score) & torch.isfinite(size) & (n_calculated > 0) & (count >= n_parameters + 2)
    log_m = _log_m(apart, lines, n_calculated, tolerance, step)
    counted = explained.sum(2) / count.clamp_min(1)
    values = torch.stack([merit, log_m, counted, intensity, hit, size.log()], 2)
    values = torch.where(good[..., None], values, 0)
    merit = torch.where(good, merit, -torch.inf).unflatten(1, (len(family.types), -1))
    best = merit.argmax(2, keepdim=True)[..., None]

    def of_best(x):
        x = x.unflatten(1, (len(family.types), -1))
        return x.gather(2, best.expand(-1, -1, -1, x.shape[3]))[:, :, 0]

    return Fit(*(of_best(x) for x in (values, at, order, predicted, observed)))
