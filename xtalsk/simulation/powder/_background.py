"""Backgrounds of powder patterns, and their removal."""

import torch

from xtalsk.simulation._line_profiles import gaussian
from xtalsk.simulation.powder._constants import (
    BLOCK,
    EDGE,
    LOW_ANGLE_EDGE,
    LOW_ANGLE_EDGE_WIDTH,
    LOW_ANGLE_HUMP,
    LOWEST_VARIANCE,
    REMAINDER_SPREAD,
    REMAINDER_STEP,
    WANDER,
    WANDER_ROUGHNESS,
)


def background_shapes(axis, column):
    """Compute backgrounds of mean 1.

    A background is the sum of scattering by air, which decreases with the angle, a constant, and the broad
    peak of amorphous material. It is multiplied by a random polynomial.

    Parameters
    ----------
    axis : tensor of shape (n_points,)
        2θ in degrees.
    column : dict of str to tensor of shape (n,)
        Values of the conditions of each pattern.

    Returns
    -------
    tensor of shape (n, n_points)
    """
    values = {name: column[name][:, None] for name in column}
    shape = torch.ones(len(column["air"]), len(axis), dtype=axis.dtype, device=axis.device)
    if column["air"].any():
        air = torch.exp(-axis / values["air_decay"])
        shape = 1 - values["air"] + air * (values["air"] / air.mean(1, keepdim=True))
    if column["hump"].any():
        hump = gaussian(axis, values["hump_position"], values["hump_width"])
        shape = (1 - values["hump"]) * shape
        shape += hump * (values["hump"] / hump.mean(1, keepdim=True).clamp_min(1e-12))
    if column["waviness"].any():
        shape = shape * torch.exp(values["waviness"] * _random_polynomials(axis, column))
    return shape / shape.mean(1, keepdim=True)


def _random_polynomials(axis, column):
    """Sum of Chebyshev polynomials of order 1 to 4 with the drawn coefficients, shape (n, n_points)."""
    x = 2 * (axis - axis[0]) / (axis[-1] - axis[0]) - 1
    basis = torch.stack([x, 2 * x**2 - 1, 4 * x**3 - 3 * x, 8 * x**4 - 8 * x**2 + 1])
    coefficients = torch.stack([column[f"bend_{k}"] for k in range(1, 5)], dim=1)
    return coefficients @ basis


def low_angle_shape(axis):
    """Scattering near the direct beam, 1 below 7 degrees, and a lower hump near 10 degrees; (n_points,)."""
    position, width, height = LOW_ANGLE_HUMP
    edge = torch.sigmoid((LOW_ANGLE_EDGE - axis) / LOW_ANGLE_EDGE_WIDTH)
    return edge + height * torch.exp(-(((axis - position) / width) ** 2))


def uneven_factors(axis, n, generator):
    """Draw random positive curves of median 1 that change within about one degree, shape (n, n_points)."""
    n_nodes = max(2, int((axis[-1] - axis[0]) / REMAINDER_STEP))
    noise = torch.randn(n, 1, n_nodes, generator=generator, device=axis.device, dtype=axis.dtype)
    curves = torch.exp(REMAINDER_SPREAD * noise)
    return torch.nn.functional.interpolate(curves, len(axis), mode="linear")[:, 0]


def remove_background(counts, rates, column, step, generator):
    """Subtract a smooth background from counts, as the software of databases does.

    The background follows the lower edge of the noise below the lines. It is the smoothed morphological
    opening of the expected counts, lowered by a little more than their standard deviation. It starts at the
    first recorded point, falls from there to the lowest of the next points, and may end at the last recorded
    point. Negative differences become positive.

    Parameters
    ----------
    counts : tensor of shape (n, n_points)
        Recorded counts.
    rates : tensor of shape (n, n_points)
        Expected counts, without the part that the background does not follow.
    column : dict of str to tensor of shape (n,)
        ``opening_degrees``, ``baseline_depth`` in standard deviations and ``last_pinned``.
    step : float
        Step of the axis in degrees.
    generator : torch.Generator

    Returns
    -------
    tensor of shape (n, n_points)
    """
    n_points = counts.shape[1]
    lower = _lowered_opening(rates, column, step, generator)
    baseline = torch.nn.functional.interpolate(lower[:, None], lower.shape[1] * BLOCK, mode="linear")
    baseline = baseline[:, 0, :n_points]
    baseline[:, :EDGE] = _lower_edge(counts[:, :EDGE], baseline[:, :EDGE])
    baseline[:, -1] = torch.where(column["last_pinned"] > 0, counts[:, -1], baseline[:, -1])
    return (counts - baseline).abs()


def _lowered_opening(rates, column, step, generator):
    """Background of each block of points, below the opening of the rates, shape (n, n_blocks)."""
    padded = torch.nn.functional.pad(rates[:, None], (0, -rates.shape[1] % BLOCK), mode="replicate")
    blocks = -torch.nn.functional.max_pool1d(-padded, BLOCK)[:, 0]
    windows = (column["opening_degrees"] / (step * BLOCK)).long().clamp_min(1).tolist()
    lower = torch.stack([_opening(row, window) for row, window in zip(blocks, windows, strict=True)])
    noise = torch.randn(blocks.shape, generator=generator, device=rates.device, dtype=rates.dtype)
    wander = WANDER_ROUGHNESS * noise + torch.nn.functional.avg_pool1d(noise[:, None], 3, 1, 1)[:, 0]
    depth = column["baseline_depth"][:, None] + WANDER * wander
    return lower - lower.clamp_min(LOWEST_VARIANCE).sqrt() * depth


def _lower_edge(counts, baseline):
    """Curve from the first count to the end of ``baseline``, which sags to the lowest counts between."""
    curve = torch.maximum(counts, baseline)
    curve[:, -1] = baseline[:, -1]
    for _ in range(EDGE):
        chord = (curve[:, :-2] + curve[:, 2:]) / 2
        curve = torch.cat([curve[:, :1], torch.minimum(curve[:, 1:-1], chord), curve[:, -1:]], dim=1)
    return curve


def _opening(row, width):
    """Lower envelope of a row: minimum, maximum and mean in sliding windows, one after the other."""
    half = width // 2

    def slide(pool, values):
        return pool(torch.nn.functional.pad(values, (half, half), mode="replicate"), 2 * half + 1, 1)

    pool = torch.nn.functional.max_pool1d
    opened = slide(pool, -slide(pool, -row[None, None]))
    return slide(torch.nn.functional.avg_pool1d, opened)[0, 0]
