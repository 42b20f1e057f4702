"""Search for lattices: cells that put low lines of a pattern on low indices, judged by all its lines."""

from dataclasses import dataclass

import torch

_GRID = 8192  # cells of Q that coarse scores look lines up in
_FIRST, _SECOND = 28, 64  # lines of a lattice in the first and in the second coarse score
_N_SECOND = 320  # candidates that the second score is made of
_N_KEPT = 6  # cells of each type that are handed on
_FEWEST, _MOST = 0.5, 10.0  # lines of a lattice in the range, in units of those observed
_STRONG = 0.15  # of the most prominent line; the lowest lines are passed over for higher ones only below that
_CALCULATED, _HIT = 32, 44  # bits of the table that count lines in the range, and those on an observed one


@dataclass(frozen=True)
class Lines:
    """Observed lines of patterns, and what coarse scores need to know of them."""

    q: torch.Tensor  # (n, n_lines), 0 beyond the last
    valid: torch.Tensor  # (n, n_lines)
    prominence: torch.Tensor  # (n, n_lines)
    weights: torch.Tensor  # (n, n_lines), of sum 1
    low: torch.Tensor  # (n, 1), where the measured range begins
    last: torch.Tensor  # (n, 1), the last line
    count: torch.Tensor  # (n,)
    chance: torch.Tensor  # (n,), of one calculated line to lie within the tolerance of a given observed one
    covered: torch.Tensor  # (n,), share of calculated lines that chance puts on an observed one
    table: torch.Tensor  # (n * _GRID,) int64 over Q: bit i near line i, and the two bits above
    factor: torch.Tensor  # (n, 1), from Q to cells of the table


def make_lines(q, prominence, low, tolerance):
    """Prepare lines (inf where there is none) for a search; ``low`` has shape (n, 1)."""
    valid = torch.isfinite(q)
    q = torch.where(valid, q, 0)
    count = valid.sum(1)
    weights = prominence / prominence.sum(1, keepdim=True).clamp_min(1e-12)
    weights = (weights + valid / count.clamp_min(1)[:, None]) / 2  # between counted and weighted
    last = q.amax(1, keepdim=True)
    # lines of a lattice are as dense as q² dq
    chance = (weights * 6 * q**2 * tolerance / last.clamp_min(1e-6) ** 3).sum(1)
    table, factor, covered = _line_table(q, valid, low, last, tolerance)
    count = count.to(q.dtype)
    return Lines(q, valid, prominence, weights, low, last, count, chance, covered, table, factor)


def _line_table(q, valid, low, last, tolerance):
    factor = (_GRID - 2) / ((last + tolerance) ** 2).clamp_min(1e-12)
    cells = torch.arange(_GRID, device=q.device, dtype=q.dtype)
    bits = torch.zeros(len(q), _GRID + 1, dtype=torch.int64, device=q.device)
    start = torch.where(valid, (q - tolerance).clamp_min(0) ** 2 * factor, _GRID).long().clamp_max(_GRID)
    stop = torch.where(valid, (q + tolerance) ** 2 * factor + 1, _GRID).long().clamp_max(_GRID)
    bit = (1 << torch.arange(q.shape[1], device=q.device)).expand_as(start)
    bits.scatter_add_(1, start, bit).scatter_add_(1, stop, -bit)
    bits = bits[:, :_GRID].cumsum(1)
    inside = (cells + 0.5 >= low**2 * factor) & (cells < _GRID - 1) & (last > 0)
    near = inside & (bits > 0)
    density = (cells + 0.5).sqrt()  # of lines over Q
    covered = (near * density).sum(1) / (inside * density).sum(1).clamp_min(1)
    table = torch.where(inside, bits + (1 << _CALCULATED) + (near.long() << _HIT), 0)
    return table.flatten(), factor, covered


def settle(cells, family):
    """Name the axes as the tables do: by length, the oblique ones reduced."""
    if family.name == "orthorhombic":
        return cells.sort(dim=-1).values
    if family.name != "monoclinic":
        return cells
    a, b, c, d = cells.unbind(-1)
    for _ in range(2):
        a, c, d = torch.minimum(a, c), torch.maximum(a, c), d.abs()
        over = d > a
        c, d = torch.where(over, a + c - d, c), torch.where(over, d - 2 * a, d)
    return torch.stack([torch.minimum(a, c), b, torch.maximum(a, c), d.abs()], -1)


def volume(cells, family):
    """Volume of the cells in Å³, NaN where they are none."""
    a = cells.unbind(-1)
    determinant = {
        "cubic": lambda a: a**3,
        "tetragonal": lambda a, c: a * a * c,
        "hexagonal": lambda a, c: 0.75 * a * a * c,
        "orthorhombic": lambda a, b, c: a * b * c,
        "monoclinic": lambda a, b, c, d: b * (a * c - d * d / 4),
    }[family.name](*a)
    good = (cells[..., :3] > 0).all(-1) & (determinant > 0)
    if family.name == "monoclinic":
        good &= a[3] <= a[0] * (1 + 1e-3)
    return torch.where(good, determinant, torch.nan).rsqrt()


def evidence(share, chance, n):
    """How much more often n trials came true than by chance, as a logarithm of likelihoods.

    n times the Kullback-Leibler divergence of Bernoulli distributions, negative where less came true.
    """
    p, k = chance.clamp(1e-4, 1 - 1e-4), share.clamp(1e-4, 1 - 1e-4)
    ratio = n * (k * (k / p).log() + (1 - k) * ((1 - k) / (1 - p)).log())
    return torch.where(k > p, ratio, -ratio)


def _candidates(lines, family):
    """Cells that put chosen low lines on the assigned indices, (n, n_assignments, p)."""
    n_low = int(family.lines.max()) + 1
    order = torch.arange(lines.q.shape[1], device=lines.q.device, dtype=lines.q.dtype)
    strong = (lines.prominence / lines.prominence.amax(1, keepdim=True).clamp_min(1e-12)).clamp_max(_STRONG)
    strong = torch.where(lines.valid & (order < n_low + 3), strong - 1e-3 * order, -1 - order)
    low = strong.topk(n_low, dim=1).indices.sort(1).values
    q2 = torch.where(lines.valid, lines.q, torch.nan).square().gather(1, low)
    return settle(torch.einsum("cij,ncj->nci", family.inverses, q2[:, family.lines]), family)


def _look_up(cells, rows_of, family, lines, n_rows, n_variants):
    """Which observed lines flat candidates (m, p) of the patterns ``rows_of`` explain.

    Returns, for each of the first variants, the bits of the lines and the sum of the entries of the table
    that calculated lines fall on, both (n_variants, m).
    """
    scaled = (cells * lines.factor[rows_of]).T.contiguous()
    offset = (rows_of * _GRID).to(torch.int32)
    masks = torch.zeros(n_variants, len(cells), dtype=torch.int64, device=cells.device)
    sums = torch.zeros_like(masks)
    for has, some in family.groups(n_rows, n_variants).items():
        mask, total = torch.zeros_like(masks[0]), torch.zeros_like(masks[0])
        for row in some:
            at = 0
            for value, column in zip(row, scaled, strict=True):
                if value:
                    at = column * value + at if isinstance(at, int) else at.add_(column, alpha=value)
            entry = lines.table.index_select(0, at.clamp_(0, _GRID - 1).to(torch.int32).add_(offset))
            mask.bitwise_or_(entry)
            total.add_(entry)
        for v in has:
            masks[v].bitwise_or_(mask)
            sums[v].add_(total)
    return masks, sums


def _sums_of_weights(weights):
    """Add up the weights of any set of ten lines, for the first and for the last ten, each (n * 1024,)."""
    ten = torch.arange(10, device=weights.device)
    bits = (torch.arange(1024, device=weights.device)[:, None] >> ten & 1).to(weights.dtype)
    return (weights[:, :10] @ bits.T).flatten(), (weights[:, 10:] @ bits.T).flatten()


def _coarse_scores(cells, rows_of, family, lines, n_rows, n_variants):
    """Evidence of flat candidates (m, p) of the patterns ``rows_of``, (n_variants, m)."""
    masks, sums = _look_up(cells, rows_of, family, lines, n_rows, n_variants)
    first, last = _sums_of_weights(lines.weights)
    base, count = rows_of * 1024, lines.count[rows_of]
    explained = first[base + (masks & 1023)] + last[base + (masks >> 10 & 1023)]
    calculated = (sums >> _CALCULATED & 4095).to(cells.dtype)
    hit = (sums >> _HIT & 4095) / calculated.clamp_min(1)
    score = evidence(explained, 1 - torch.exp(-calculated * lines.chance[rows_of]), count)
    score = score + evidence(hit, lines.covered[rows_of].expand_as(hit), calculated)
    return torch.where((calculated >= _FEWEST * count) & (calculated <= _MOST * count), score, -torch.inf)


def search(lines, family):
    """Find the best candidates of each type of a family by coarse scores.

    Returns cells (n, n_types * n_kept, p), their variants and their scores (n, n_types * n_kept), type after
    type. Scores of what is no cell are -inf.
    """
    cells = _candidates(lines, family)
    expected = 4 * torch.pi / 3 * lines.last**3 * volume(cells, family) / family.multiplicity
    count = lines.count[:, None]
    rows_of, which = ((expected > 0.3 * count) & (expected < 1.2 * _MOST * count)).nonzero(as_tuple=True)
    first = torch.full(cells.shape[:2], -torch.inf, dtype=cells.dtype, device=cells.device)
    first[rows_of, which] = _coarse_scores(cells[rows_of, which], rows_of, family, lines, _FIRST, 1)[0]
    first, at = first.topk(min(_N_SECOND, first.shape[1]), dim=1)
    cells = cells.gather(1, at[:, :, None].expand(-1, -1, cells.shape[2]))
    usable = torch.isfinite(first)
    cells = torch.where(usable[:, :, None], cells, 1.0)
    rows_of = torch.arange(len(cells), device=cells.device).repeat_interleave(cells.shape[1])
    scores = _coarse_scores(cells.flatten(0, 1), rows_of, family, lines, _SECOND, len(family.variants))
    scores = torch.where(usable, scores.unflatten(1, usable.shape), -torch.inf)
    parts = []
    for name in family.types:
        own = torch.tensor([v for v, t in enumerate(family.variants) if t == name], device=cells.device)
        score, variant = scores[own].max(0)
        score, at = score.topk(min(_N_KEPT, score.shape[1]), dim=1)
        best = cells.gather(1, at[:, :, None].expand(-1, -1, cells.shape[2]))
        parts.append((best, own[variant].gather(1, at), score))
    return tuple(torch.cat(part, 1) for part in zip(*parts, strict=True))
