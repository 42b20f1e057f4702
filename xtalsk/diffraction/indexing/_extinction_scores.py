"""Log-probabilities of extinction groups from the absent lines of the best cell of each lattice type.

The likelihood is that of A. J. Markvardsen et al., Acta Cryst. A57, 47 (2001), in spirit, for lists of lines
instead of integrated intensities. Let p be the share of the lines of a cell that are observed, and ε the
probability that a foreign or stray line is observed at a given place. A group forbids certain lines. Each one
with no present line near it multiplies the likelihood of the group by ε / p if it is observed, and by
(1 - ε) / (1 - p) if not. The setting of the axes with the highest likelihood counts. The evidence of the cell
is added. All groups have equal prior probabilities.
"""

import numpy as np
import torch

from xtalsk.diffraction.indexing import _twin
from xtalsk.diffraction.indexing._constants import (
    ABSENCE_BLEND,
    MIN_LOG_PROBABILITY,
    STRAY_SHARE,
    TIGHT_SHARE,
)
from xtalsk.diffraction.indexing._extinctions import extinction_groups
from xtalsk.diffraction.indexing._lattices import lattice_types, lattice_variants
from xtalsk.diffraction.indexing._refine import match_lines
from xtalsk.utils._threads import in_threads


def extinction_names(options):
    """Names of the columns of `log_probabilities`."""
    return [f"extinction_{group}" for family in options.families for group in extinction_groups(family)]


def log_probabilities(fits, lines, tolerance, step, options, n_threads=None):
    """Log-probability of each extinction group.

    Parameters
    ----------
    fits : list of Fit, or of ndarray of shape (n, n_types, FIT_SIZE)
        Best cells of each family, from `_refine.fit_cells` or from compiled loops.
    lines : Lines
        Lines with which absences are compared.
    tolerance, step : float
        In 1/Å.
    options : Options
    n_threads : int or None
        Of compiled loops; None for as many as torch uses.

    Returns
    -------
    Tensor of shape (n, n_groups)
        All groups have the same value if there is no cell.
    """
    lines = lines._replace(q=lines.q.double(), low=lines.low.double(), last=lines.last.double())
    widths = step, TIGHT_SHARE * tolerance, ABSENCE_BLEND * step
    scores = []
    for family, fit in zip(options.families, fits, strict=True):
        if isinstance(fit, np.ndarray):
            scores.append(_compiled_scores(family, fit, lines, widths, n_threads))
        else:
            scores.append(_batched_scores(family, fit, lines, widths))
    scores = torch.cat(scores, 1)
    scores = torch.where(torch.isfinite(scores).any(1, keepdim=True), scores, 0)
    return scores.log_softmax(1).clamp_min(MIN_LOG_PROBABILITY)


def _compiled_scores(family, fits, lines, widths, n_threads):
    """Log-likelihoods of the groups of a family (n, n_groups), by compiled loops; -inf without a cell."""
    from xtalsk.diffraction.indexing._extinction_kernels import compare_groups

    scores = np.full((len(fits), len(extinction_groups(family))), -np.inf)
    tables = _twin.arrays_of_extinctions(family)
    columns = lines.q, lines.valid.sum(1), lines.low[:, 0], lines.last[:, 0]
    columns = [fits, *(column.contiguous().numpy() for column in columns), scores]

    def compare(first, last):
        compare_groups(*(column[first:last] for column in columns), *tables, *widths)

    if n_threads == 1:
        compare(0, len(fits))
    else:
        in_threads(compare, len(fits))
    return torch.from_numpy(scores)


def _batched_scores(family, fit, lines, widths):
    """Compute what `_compiled_scores` computes, by batched tensors."""
    step, tight, blend = widths
    tables = _twin.arrays_of_extinctions(family)[2:]
    present, owner, variant = (torch.as_tensor(x, device=lines.q.device) for x in tables)
    matches = match_lines(fit.q, fit.shift[..., 0], lines, tight)
    n_observed, n_predicted = matches.observed.sum(2), matches.predicted.sum(2)
    n_foreign = lines.valid.sum(1, keepdim=True) - matches.explained.sum(2)
    usual = (n_observed + 1) / (n_predicted + 2).double()
    stray = STRAY_SHARE + n_foreign * 2 * tight / (lines.last - lines.low).clamp_min(step)
    stray = torch.minimum(stray, usual / 2)
    if_observed, if_not = (stray / usual).log(), ((1 - stray) / (1 - usual)).log()
    end = lines.last[..., None] + tight + blend
    scores = usual.new_full((len(usual), len(extinction_groups(family))), -torch.inf)
    for setting, group, of_variant in zip(present, owner, variant, strict=True):
        t = lattice_types(family).index(lattice_variants(family)[of_variant])
        positions, absent = fit.q[:, t], ~setting[fit.order[:, t]] | (fit.q[:, t] > end[:, 0])
        before = torch.where(absent, -torch.inf, positions).cummax(1).values
        after = torch.where(absent, torch.inf, positions).flip(1).cummin(1).values.flip(1)
        isolated = matches.predicted[:, t] & (positions - before >= blend) & (after - positions >= blend)
        seen = (isolated & matches.observed[:, t]).sum(1)
        score = seen * if_observed[:, t] + (isolated.sum(1) - seen) * if_not[:, t]
        is_usable = (fit.variant[:, t, 0] == of_variant) & lines.valid[:, 0]
        score = torch.where(is_usable, score + fit.figures[:, t, 0], -torch.inf)
        scores[:, group] = torch.maximum(scores[:, group], score)
    return scores
