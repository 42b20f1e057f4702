"""Backgrounds of powder patterns, and their removal."""

import torch

_BLOCK = 16  # points over which a background is taken as constant
_EDGE = 16  # points over which a removed background comes down from the first
_WANDER = 0.19  # of a removed background, in standard deviations of the noise, before it is smoothed


def background_shapes(axis, column):
    """Backgrounds of mean 1.

    Scattering by air that falls off from low angles, a constant, and the hump of amorphous material, all
    bent by a random polynomial.

    Parameters
    ----------
    axis : tensor of shape (n_points,)
        2θ in degrees.
    column : dict of str to tensor of shape (n,)

    Returns
    -------
    tensor of shape (n, n_points)
    """
    drawn = {name: column[name][:, None] for name in column}
    shape = torch.ones(len(column["air"]), len(axis), dtype=axis.dtype, device=axis.device)
    if column["air"].any():
        air = torch.exp(-axis / drawn["air_decay"])
        shape = 1 - drawn["air"] + air * (drawn["air"] / air.mean(1, keepdim=True))
    if column["hump"].any():
        hump = torch.exp(-2.77 * ((axis - drawn["hump_position"]) / drawn["hump_width"]) ** 2)
        shape = (1 - drawn["hump"]) * shape
        shape += hump * (drawn["hump"] / hump.mean(1, keepdim=True).clamp_min(1e-12))
    if column["waviness"].any():
        x = 2 * (axis - axis[0]) / (axis[-1] - axis[0]) - 1
        basis = torch.stack([x, 2 * x**2 - 1, 4 * x**3 - 3 * x, 8 * x**4 - 8 * x**2 + 1])
        lots = torch.stack([column[f"bend_{k}"] for k in range(1, 5)], dim=1)
        shape = shape * torch.exp(drawn["waviness"] * (lots @ basis))
    return shape / shape.mean(1, keepdim=True)


def beam_shape(axis):
    """Scattering near the direct beam, 1 below 7 degrees, with the lower hump about 10 degrees beside it."""
    return torch.sigmoid((7.4 - axis) / 0.35) + 0.3 * torch.exp(-(((axis - 9.8) / 1.2) ** 2))


def uneven(axis, n, generator):
    """Random curves about 1 that change over a degree or so, shape (n, n_points)."""
    n_nodes = max(2, int((axis[-1] - axis[0]) / 0.75))
    lots = torch.randn(n, 1, n_nodes, generator=generator, device=axis.device, dtype=axis.dtype)
    return torch.nn.functional.interpolate(torch.exp(0.9 * lots), len(axis), mode="linear")[:, 0]


def remove_background(counts, rates, column, step, generator):
    """Take a smooth background off counts, as software for databases does it.

    The background runs along the lower edge of the noise under the lines: the morphological opening of the
    expected counts, smoothed, a little more than their standard deviation lower. It starts at the first
    recorded point, from which it sags to the lowest points that follow, and may end at the last. What comes
    out negative is turned positive.

    Parameters
    ----------
    counts : tensor of shape (n, n_points)
        Recorded counts.
    rates : tensor of shape (n, n_points)
        Expected counts as far as the background follows them.
    column : dict of str to tensor of shape (n,)
        Of ``opening_degrees``, ``baseline_depth`` in standard deviations and ``last_pinned``.
    step : float
        In degrees.
    generator : torch.Generator

    Returns
    -------
    tensor of shape (n, n_points)
    """
    n_points = counts.shape[1]
    padded = torch.nn.functional.pad(rates[:, None], (0, -n_points % _BLOCK), mode="replicate")
    blocks = -torch.nn.functional.max_pool1d(-padded, _BLOCK)[:, 0]
    windows = (column["opening_degrees"] / (step * _BLOCK)).long().clamp_min(1).tolist()
    lower = torch.stack([_opening(row, window) for row, window in zip(blocks, windows, strict=True)])
    lots = torch.randn(blocks.shape, generator=generator, device=counts.device, dtype=counts.dtype)
    wander = 0.4 * lots + torch.nn.functional.avg_pool1d(lots[:, None], 3, 1, 1)[:, 0]
    depth = column["baseline_depth"][:, None] + _WANDER * wander
    lower = lower - lower.clamp_min(0.25).sqrt() * depth
    smooth = torch.nn.functional.interpolate(lower[:, None], padded.shape[2], mode="linear")[:, 0, :n_points]
    smooth[:, :_EDGE] = _lower_edge(counts[:, :_EDGE], smooth[:, :_EDGE])
    smooth[:, -1] = torch.where(column["last_pinned"] > 0, counts[:, -1], smooth[:, -1])
    return (counts - smooth).abs()


def _lower_edge(counts, smooth):
    """Curve that starts at the first of the counts, sags to the lowest, and ends as ``smooth`` does."""
    curve = torch.maximum(counts, smooth)
    curve[:, -1] = smooth[:, -1]
    for _ in range(_EDGE):
        chord = (curve[:, :-2] + curve[:, 2:]) / 2
        curve = torch.cat([curve[:, :1], torch.minimum(curve[:, 1:-1], chord), curve[:, -1:]], dim=1)
    return curve


def _opening(row, width):
    """Lower envelope of a row: the largest of the smallest values in windows, then their mean."""
    half = width // 2

    def slide(pool, values):
        return pool(torch.nn.functional.pad(values, (half, half), mode="replicate"), 2 * half + 1, 1)

    pool = torch.nn.functional.max_pool1d
    opened = slide(pool, -slide(pool, -row[None, None]))
    return slide(torch.nn.functional.avg_pool1d, opened)[0, 0]
