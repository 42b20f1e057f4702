"""Backgrounds of powder patterns, and their removal."""

import torch

_BLOCK = 16  # points over which a background is taken as constant


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


def remove_background(counts, rates, window, generator):
    """Take a smooth background off counts, as software for databases does it.

    The background runs along the lower edge of the noise under the peaks: the morphological opening of the
    expected counts, smoothed, a little more than their standard deviation lower. What comes out negative is
    turned positive.

    Parameters
    ----------
    counts, rates : tensor of shape (n, n_points)
        Recorded and expected counts.
    window : sequence of int
        Width of the opening of each pattern in points.
    generator : torch.Generator

    Returns
    -------
    tensor of shape (n, n_points)
    """
    n, n_points = counts.shape
    padded = torch.nn.functional.pad(rates[:, None], (0, -n_points % _BLOCK), mode="replicate")
    blocks = -torch.nn.functional.max_pool1d(-padded, _BLOCK)[:, 0]
    lower = torch.stack([_opening(row, max(1, w // _BLOCK)) for row, w in zip(blocks, window, strict=True)])
    noise = lower.clamp_min(0.25).sqrt()
    lots = torch.randn(blocks.shape, generator=generator, device=counts.device, dtype=counts.dtype)
    wander = torch.nn.functional.avg_pool1d(lots[:, None], 3, 1, 1)[:, 0]  # over half a degree or so
    level = torch.randn(n, 1, generator=generator, device=counts.device, dtype=counts.dtype)
    lower = lower - noise * (1.28 + 0.13 * level + 0.4 * wander)
    smooth = torch.nn.functional.interpolate(lower[:, None], padded.shape[2], mode="linear")[:, 0, :n_points]
    return (counts - smooth).abs()


def _opening(row, width):
    """Lower envelope of a row: the largest of the smallest values in windows, then their mean."""
    half = width // 2

    def slide(pool, values):
        return pool(torch.nn.functional.pad(values, (half, half), mode="replicate"), 2 * half + 1, 1)

    pool = torch.nn.functional.max_pool1d
    opened = slide(pool, -slide(pool, -row[None, None]))
    return slide(torch.nn.functional.avg_pool1d, opened)[0, 0]
