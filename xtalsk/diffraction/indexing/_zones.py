"""Trial cells of triclinic lattices: zones of the reciprocal lattice, and pairs of zones that share a line.

The method is that of T. Ito, Nature 164, 755 (1949), as P. M. de Wolff, Acta Cryst. 11, 664 (1958), made it
systematic. Two low lines with Q = a and b, and a third one with Q = a + b ± f, give a zone: a plane of the
reciprocal lattice. Its other points, h² a + k² b + h k f, tell true zones from accidents. Two zones that
share a line are a corner: they give five of the six parameters. Every observed line gives the sixth, as
011, 111 or one of their mirror images. Each trial cell is reduced; axes need not be among the observed lines.
"""

import torch

from xtalsk.diffraction.indexing._constants import (
    MAX_MIXED,
    N_CORNERS,
    N_ZONES,
    REDUCTION_STEPS,
    ZONE_END,
    ZONE_PENALTY,
    ZONE_POINTS,
    ZONE_TOLERANCE,
)


def zone_candidates(low, lines, tolerance):
    """Make trial cells from zones.

    Parameters
    ----------
    low : Tensor of shape (n, n_low)
        Q of the lowest lines in 1/Å²; NaN for missing lines.
    lines : Lines
    tolerance : float
        In 1/Å.

    Returns
    -------
    Tensor of shape (n, n_trials, 6)
        Reduced cells; NaN where there is none.
    """
    first, second = torch.triu_indices(low.shape[1], low.shape[1], 1, device=low.device)
    mixed, scores = _find_zones(low, first, second, lines, tolerance)
    pair = torch.arange(len(first), device=low.device)[:, None].expand(mixed.shape[1:]).flatten()
    mixed, scores = mixed.flatten(1), scores.flatten(1)
    zones = _best_places(scores, N_ZONES)
    mixed, scores, pair = mixed.gather(1, zones), scores.gather(1, zones), pair[zones]
    x, y = torch.triu_indices(zones.shape[1], zones.shape[1], 1, device=low.device)
    shared, b, c = _other_lines(first[pair], second[pair], x, y)
    corners = torch.where(shared >= 0, scores[:, x] + scores[:, y], -torch.inf)
    best = _best_places(corners, N_CORNERS)
    is_corner = torch.isfinite(corners.gather(1, best))
    a, b, c = (low.gather(1, lines.gather(1, best).clamp_min(0)) for lines in (shared, b, c))
    e, f = (mixed[:, z].gather(1, best) for z in (y, x))
    a = torch.where(is_corner, a, torch.nan)
    q2 = torch.where(lines.valid, lines.q.square(), torch.nan)
    return reduce_triclinic(_trials(*(v[..., None] for v in (a, b, c, e, f)), q2[:, None]))


def _best_places(scores, n):
    """Places of the ``n`` highest scores of each row in increasing order; among equal ones the first."""
    order = scores.sort(dim=1, descending=True, stable=True).indices[:, :n]
    return order.sort(1).values


def _find_zones(low, first, second, lines, tolerance):
    """Mixed parameters and scores of all zones, (n, n_pairs, n_lines); -inf where there is none."""
    a, b = low[:, first, None], low[:, second, None]
    q2 = torch.where(lines.valid, lines.q.square(), torch.nan)[:, None]
    mixed = (q2 - a - b).abs()
    scores = torch.where(mixed <= MAX_MIXED * a, 0.0, -torch.inf).to(low.dtype)
    end = lines.last.square()[..., None] * ZONE_END
    observed = torch.where(lines.valid, lines.q, -torch.inf)[:, None, None]
    for h, k in ZONE_POINTS:
        point = h * h * a + k * k * b + h * k * mixed
        nearest = (observed - point.clamp_min(0).sqrt()[..., None]).abs().amin(3)
        nearest = nearest * (1 / (ZONE_TOLERANCE * tolerance))
        gain = torch.where(nearest < 1, 1 - nearest * nearest, -ZONE_PENALTY)
        scores = torch.where((point > 0) & (point <= end), scores + gain, scores)
    distance = (mixed[..., None, :] - mixed[..., None]).abs()  # of zones in the last place
    is_same = distance < (2 * ZONE_TOLERANCE * tolerance) * b[..., None].sqrt()
    number = torch.arange(mixed.shape[2], device=low.device)
    is_better = scores[..., None, :] > scores[..., None]
    is_better |= (scores[..., None, :] == scores[..., None]) & (number < number[:, None])
    is_better &= torch.isfinite(scores)[..., None, :]
    return mixed, torch.where((is_same & is_better).any(3), -torch.inf, scores)


def _other_lines(first, second, x, y):
    """Line that the zones ``x`` and ``y`` share, -1 if none, and the other line of each, (n, n_pairs)."""
    shared = torch.full_like(first[:, x], -1)
    b, c = shared.clone(), shared.clone()
    for line, b_of_line in ((first[:, x], second[:, x]), (second[:, x], first[:, x])):
        for other, c_of_line in ((first[:, y], second[:, y]), (second[:, y], first[:, y])):
            is_corner = (line == other) & (b_of_line != c_of_line)
            shared = torch.where(is_corner, line, shared)
            b, c = torch.where(is_corner, b_of_line, b), torch.where(is_corner, c_of_line, c)
    return shared, b, c


def _trials(a, b, c, e, f, q2):
    """Cells from corners (n, n_corners, 1) and every line (n, 1, n_lines), (n, n_trials, 6)."""
    total = a + b + c
    ways = [
        q2 - (b + c),
        (b + c) - q2,
        q2 - (total + e + f),
        q2 - (total - e - f),
        (total + e - f) - q2,
        (total - e + f) - q2,
    ]
    d = torch.stack(ways, -1)
    is_cell = d.abs() <= MAX_MIXED * torch.minimum(b, c)[..., None]
    d = torch.where(is_cell, d, torch.nan)
    parameters = [x[..., None].expand_as(d) for x in (a, b, c)]
    parameters += [d, *(x[..., None].expand_as(d) for x in (e, f))]
    return torch.stack(parameters, -1).flatten(1, 3)


def _swap(is_less, x, y):
    """Swap the values of two tensors where ``is_less``."""
    return torch.where(is_less, y, x), torch.where(is_less, x, y)


def reduce_triclinic(cells):
    """Reduce triclinic cells: short axes first, mixed terms no longer than the squares, (..., 6).

    Each step shortens an axis by multiples of a shorter one, and the third by the sum of the others. A few
    steps reduce all but extreme cells, which stay as far as they came.
    """
    a, b, c, d, e, f = cells.unbind(-1)
    for step in range(REDUCTION_STEPS + 1):
        is_less = b < a
        (a, b), (d, e) = _swap(is_less, a, b), _swap(is_less, d, e)
        is_less = c < b
        (b, c), (e, f) = _swap(is_less, b, c), _swap(is_less, e, f)
        is_less = b < a
        (a, b), (d, e) = _swap(is_less, a, b), _swap(is_less, d, e)
        if step == REDUCTION_STEPS:
            break
        k = torch.floor(f / (a + a) + 0.5)
        b, d, f = b + k * (k * a - f), d - k * e, f - (k + k) * a
        k = torch.floor(e / (a + a) + 0.5)
        c, d, e = c + k * (k * a - e), d - k * f, e - (k + k) * a
        k = torch.floor(d / (b + b) + 0.5)
        c, e, d = c + k * (k * b - d), e - k * f, d - (k + k) * b
        sign = torch.where(d * e * f > 0, 1.0, -1.0).to(cells.dtype)
        d, e, f = sign * d.abs(), sign * e.abs(), sign * f.abs()
        excess = a + b + d + e + f
        is_long = excess < 0
        c = torch.where(is_long, c + excess, c)
        e, d = torch.where(is_long, -(e + a + a + f), e), torch.where(is_long, -(d + b + b + f), d)
    return torch.stack([a, b, c, d, e, f], -1)
