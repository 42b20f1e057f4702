"""Search for cells: candidates from low lines with low indices, scored by all lines of a pattern.

Coarse scores look calculated lines up in a table over Q = q². Each entry is one integer: bit i is set near
observed line i; two counters above these bits add up the calculated lines in the measured range, and those
near an observed line.
"""

from typing import NamedTuple

import torch

from xtalsk.diffraction.indexing._cells import cell_volume, evidence, reduce_cells
from xtalsk.diffraction.indexing._constants import (
    GRID_SIZE,
    MAX_CALCULATED,
    MAX_EXPECTED,
    MIN_CALCULATED,
    MIN_EXPECTED,
    N_FIRST_ROWS,
    N_SECOND,
    N_SECOND_ROWS,
    N_SPARE_LINES,
    ORDER_PENALTY,
    WEAK_SHARE,
)
from xtalsk.diffraction.indexing._zones import zone_candidates

_CALCULATED_BIT, _OBSERVED_BIT = 32, 44  # lowest bits of the two counters of the table
_COUNTER = 2**12 - 1  # largest number in a counter
_HALF_BITS = 10  # lines whose weights are summed by one lookup; two lookups make all 20 lines


class Lines(NamedTuple):
    """Observed lines of n patterns, and what the scores need."""

    q: torch.Tensor  # (n, n_lines) in 1/Å, 0 after the last line
    valid: torch.Tensor  # (n, n_lines) whether there is a line
    prominence: torch.Tensor  # (n, n_lines)
    weights: torch.Tensor  # (n, n_lines) with the sum 1
    low: torch.Tensor  # (n, 1) start of the measured range in 1/Å
    last: torch.Tensor  # (n, 1) last line in 1/Å
    count: torch.Tensor  # (n,) number of lines
    chance: torch.Tensor  # (n,) probability that a random calculated line lies near a given observed line
    covered: torch.Tensor  # (n,) probability that a random calculated line lies near any observed line
    table: torch.Tensor  # (n * GRID_SIZE,) int64 table over Q
    factor: torch.Tensor  # (n, 1) cells of the table per unit of Q


def make_lines(q, prominence, low, tolerance, with_table=True):
    """Prepare lines for the search.

    Parameters
    ----------
    q : Tensor of shape (n, n_lines)
        In 1/Å, increasing; inf after the last line.
    prominence : Tensor of shape (n, n_lines)
    low : Tensor of shape (n, 1)
        Start of the measured range in 1/Å.
    tolerance : float
        In 1/Å.
    with_table : bool
        Whether to fill the table over Q. Compiled loops fill their own.

    Returns
    -------
    Lines
    """
    valid = torch.isfinite(q)
    q = torch.where(valid, q, 0)
    count = valid.sum(1)
    weights = prominence / prominence.sum(1, keepdim=True).clamp_min(1e-12)
    weights = (weights + valid / count.clamp_min(1)[:, None]) / 2  # mean of equal weights and of prominences
    last = q.amax(1, keepdim=True)
    # the density of the lines of a lattice is proportional to q² dq
    chance = (weights * 6 * q**2 * tolerance / last.clamp_min(1e-6) ** 3).sum(1)
    table, factor, covered = _line_table(q, valid, low, last, tolerance) if with_table else (None, None, None)
    count = count.to(q.dtype)
    return Lines(q, valid, prominence, weights, low, last, count, chance, covered, table, factor)


def _line_table(q, valid, low, last, tolerance):
    """Return ``table``, ``factor`` and ``covered`` of `Lines`."""
    factor = (GRID_SIZE - 2) / ((last + tolerance) ** 2).clamp_min(1e-12)
    cells = torch.arange(GRID_SIZE, device=q.device, dtype=q.dtype)
    bits = torch.zeros(len(q), GRID_SIZE + 1, dtype=torch.int64, device=q.device)
    start = torch.where(valid, (q - tolerance).clamp_min(0) ** 2 * factor, GRID_SIZE)
    stop = torch.where(valid, (q + tolerance) ** 2 * factor + 1, GRID_SIZE)
    start, stop = (edge.long().clamp_max(GRID_SIZE) for edge in (start, stop))
    bit = (1 << torch.arange(q.shape[1], device=q.device)).expand_as(start)
    bits.scatter_add_(1, start, bit).scatter_add_(1, stop, -bit)
    bits = bits[:, :GRID_SIZE].cumsum(1)
    inside = (cells + 0.5 >= low**2 * factor) & (cells < GRID_SIZE - 1) & (last > 0)
    near = inside & (bits > 0)
    density = (cells + 0.5).sqrt()  # of lines over Q
    covered = (near * density).sum(1, dtype=torch.float64)
    covered = (covered / (inside * density).sum(1, dtype=torch.float64).clamp_min(1)).to(q.dtype)
    counters = (1 << _CALCULATED_BIT) + (near.long() << _OBSERVED_BIT)
    return torch.where(inside, bits + counters, 0).flatten(), factor, covered


def search_cells(lines, family, tolerance):
    """Find the best candidates of each type of a family by coarse scores.

    Parameters
    ----------
    lines : Lines
    family : Family
    tolerance : float
        In 1/Å.

    Returns
    -------
    cells : Tensor of shape (n, n_types * n_kept, p)
        Parameters of the cells, type after type.
    variants : int64 Tensor of shape (n, n_types * n_kept)
        Variant of the lattice type for each cell.
    scores : Tensor of shape (n, n_types * n_kept)
        Evidence; -inf for places without a cell.
    """
    cells, score = _first_choice(_candidates(lines, family, tolerance), lines, family)
    is_usable = torch.isfinite(score)
    cells = torch.where(is_usable[:, :, None], cells, 1.0)
    pattern = torch.arange(len(cells), device=cells.device).repeat_interleave(cells.shape[1])
    n_variants = len(family.variants)
    scores = _coarse_scores(cells.flatten(0, 1), pattern, family, lines, N_SECOND_ROWS, n_variants)
    scores = torch.where(is_usable, scores.unflatten(1, is_usable.shape), -torch.inf)
    parts = [_best_of_type(cells, scores, family, name) for name in family.types]
    return tuple(torch.cat(part, 1) for part in zip(*parts, strict=True))


def low_squares(lines, family):
    """Q of the lowest lines, from which a family makes candidates, (n, n_low); NaN for missing lines."""
    low = _low_lines(lines, family.n_low)
    return torch.where(lines.valid, lines.q, torch.nan).square().gather(1, low)


def _candidates(lines, family, tolerance):
    """Cells that put chosen low lines on the assigned indices, (n, n_assignments, p), or cells of zones."""
    if family.name == "triclinic":
        return zone_candidates(low_squares(lines, family), lines, tolerance)
    chosen = low_squares(lines, family)[:, family.lines]
    cells = chosen[..., :1] * family.inverses[:, :, 0]
    for j in range(1, chosen.shape[2]):  # each operation is rounded by itself, as in the compiled loops
        cells = cells + chosen[..., j : j + 1] * family.inverses[:, :, j]
    return reduce_cells(cells, family)


def _best(score, n):
    """Highest scores (rows, n) and their places; among equal scores the first ones."""
    ordered = score.sort(dim=1, descending=True, stable=True)
    return ordered.values[:, :n], ordered.indices[:, :n]


def _low_lines(lines, n_low):
    """Numbers of the ``n_low`` lowest lines, increasing, (n, n_low); weak lines give way to spare ones."""
    order = torch.arange(lines.q.shape[1], device=lines.q.device, dtype=lines.q.dtype)
    strongest = lines.prominence.amax(1, keepdim=True).clamp_min(1e-12)
    strength = (lines.prominence / strongest).clamp_max(WEAK_SHARE)
    is_low = lines.valid & (order < n_low + N_SPARE_LINES)
    strength = torch.where(is_low, strength - ORDER_PENALTY * order, -1 - order)
    return strength.topk(n_low, dim=1).indices.sort(1).values


def _first_choice(cells, lines, family):
    """Candidates with the best scores by few lines, (n, n_second, p), and these scores, (n, n_second)."""
    expected = 4 * torch.pi / 3 * lines.last**3 * cell_volume(cells, family) / family.multiplicity
    count = lines.count[:, None]
    is_likely = (expected > MIN_EXPECTED * count) & (expected < MAX_EXPECTED * MAX_CALCULATED * count)
    pattern, which = is_likely.nonzero(as_tuple=True)
    score = torch.full(cells.shape[:2], -torch.inf, dtype=cells.dtype, device=cells.device)
    score[pattern, which] = _coarse_scores(cells[pattern, which], pattern, family, lines, N_FIRST_ROWS, 1)[0]
    score, best = _best(score, N_SECOND)
    return cells.gather(1, best[:, :, None].expand(-1, -1, cells.shape[2])), score


def _best_of_type(cells, scores, family, name):
    """Best cells of one lattice type, their variants and scores; ``scores`` is (n_variants, n, n_second)."""
    variants = torch.tensor([v for v, t in enumerate(family.variants) if t == name], device=cells.device)
    score, variant = scores[variants].max(0)
    score, best = _best(score, family.n_kept)
    cells = cells.gather(1, best[:, :, None].expand(-1, -1, cells.shape[2]))
    return cells, variants[variant].gather(1, best), score


def _coarse_scores(cells, pattern, family, lines, n_rows, n_variants):
    """Evidence of candidates (m, p) for the pattern of each, by the first rows, (n_variants, m)."""
    bits, counters = _look_up(cells, pattern, family, lines, n_rows, n_variants)
    first, last = _sum_bit_weights(lines.weights)
    half = (1 << _HALF_BITS) - 1
    base, count = pattern << _HALF_BITS, lines.count[pattern]
    explained = first[base + (bits & half)] + last[base + (bits >> _HALF_BITS & half)]
    calculated = (counters >> _CALCULATED_BIT & _COUNTER).to(cells.dtype)
    observed = (counters >> _OBSERVED_BIT & _COUNTER) / calculated.clamp_min(1)
    score = evidence(explained, 1 - torch.exp(-calculated * lines.chance[pattern]), count)
    score = score + evidence(observed, lines.covered[pattern].expand_as(observed), calculated)
    is_likely = (calculated >= MIN_CALCULATED * count) & (calculated <= MAX_CALCULATED * count)
    return torch.where(is_likely, score, -torch.inf)


def _look_up(cells, pattern, family, lines, n_rows, n_variants):
    """Look the calculated lines of candidates (m, p) up in the tables of their patterns.

    Returns, for each of the first variants, the union of the bits and the sum of the entries, both int64
    (n_variants, m).
    """
    scaled = (cells * lines.factor[pattern]).T.contiguous()
    offset = (pattern * GRID_SIZE).to(torch.int32)
    bits = torch.zeros(n_variants, len(cells), dtype=torch.int64, device=cells.device)
    sums = torch.zeros_like(bits)
    for variants, rows in family.rows_by_variants(n_rows, n_variants).items():
        union, total = torch.zeros_like(bits[0]), torch.zeros_like(bits[0])
        for row in rows:
            index = _scaled_q2(row, scaled).clamp_(0, GRID_SIZE - 1).to(torch.int32).add_(offset)
            entry = lines.table.index_select(0, index)
            union.bitwise_or_(entry)
            total.add_(entry)
        for v in variants:
            bits[v].bitwise_or_(union)
            sums[v].add_(total)
    return bits, sums


def _scaled_q2(row, scaled):
    """Q of one row for parameters ``scaled`` (p, m), in cells of the table, (m,)."""
    q2 = None
    for factor, column in zip(row, scaled, strict=True):
        if factor:  # product and sum are rounded by themselves, as in the compiled loops
            q2 = column * factor if q2 is None else q2.add_(column * factor)
    return q2


def _sum_bit_weights(weights):
    """Sum the weights of all subsets of the first and of the last ten lines, each (n * 1024,)."""
    line = torch.arange(_HALF_BITS, device=weights.device)
    subset = torch.arange(1 << _HALF_BITS, device=weights.device)[:, None]
    bits = (subset >> line & 1).to(weights.dtype)
    return (weights[:, :_HALF_BITS] @ bits.T).flatten(), (weights[:, _HALF_BITS:] @ bits.T).flatten()
