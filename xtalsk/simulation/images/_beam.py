"""What ring and spot images share: where the beam is, and what hides it."""

import numpy as np
import torch

from xtalsk.simulation.images._stamps import stamp

_PIXELS_PER_PART = 16 * 128 * 128
_PIXEL_WIDTH2 = 8 * np.log(2) / 12  # of the Gaussian whose variance is that of a pixel's width

IMAGE_REACH = 0.7
"""d_min times q_max: reflections go on into the corners of an image."""


def check_reach(reflections, q_max):
    """Check that reflections are of electrons and fill an image."""
    if reflections.radiation != "electron":
        raise ValueError(f"electron images need electron reflections, these are of {reflections.radiation}")
    if reflections.d_min > 1 / q_max * (1 + 1e-6):
        raise ValueError(f"reflections reach 1/d = {1 / reflections.d_min:g} 1/Å, q_max is {q_max:g}")


def draw_geometry(drawn, size, off_center, rng):
    """Add the place of the beam and the beam stop to drawn conditions, in pixels."""
    n = len(drawn)
    for name in ("center_row", "center_column"):
        drawn[name] = (size - 1) / 2 + rng.uniform(-off_center, off_center, n) * size
    drawn["beam_stop"] = rng.uniform(size=n) < drawn["beam_stop"]
    drawn["stop_radius"] = rng.uniform(0.04, 0.09, n) * size
    drawn["stop_azimuth"] = rng.uniform(-np.pi, np.pi, n)
    for name in ("stop_row", "stop_column"):
        drawn[name] = drawn[name.replace("stop", "center")] + rng.uniform(-0.01, 0.01, n) * size


def alike(drawn, size, device):
    """Order images so that those with a beam stop or texture are together, in parts that fit into a cache.

    Returns
    -------
    order : int64 tensor of shape (n,)
    parts : tuple of tensors
    """
    order = np.lexsort([drawn["beam_stop"], drawn.get("march_parameter", drawn["beam_stop"])])
    step = max(1, _PIXELS_PER_PART // size**2) if device.type == "cpu" else len(order)
    order = torch.from_numpy(order).to(device)
    return order, order.split(step)


def spread(width, column, pixel):
    """Full width in pixels of what is ``width`` wide in 1/Å, after blur and the area of a pixel."""
    return torch.sqrt((width / pixel) ** 2 + column["blur"] ** 2 + _PIXEL_WIDTH2)


def add_direct_beam(rates, column, pixel):
    """Add the direct beam to images, in place."""
    if column["direct_beam"].any():
        width = spread(column["beam_width"], column, pixel)
        image = torch.arange(len(rates), device=rates.device)
        strength = column["direct_beam"] * column["electrons"]
        stamp(rates, image, column["center_row"], column["center_column"], strength, width)
    return rates


def hide_behind_stop(rates, column):
    """Set pixels behind the beam stop to zero, in place: a disc and an arm from it to the edge."""
    stopped = column["beam_stop"][:, None] > 0
    if not stopped.any():
        return rates
    grid = torch.arange(rates.shape[1], device=rates.device, dtype=rates.dtype)
    y, x = grid - column["stop_row"][:, None], grid - column["stop_column"][:, None]
    radius2 = torch.where(stopped, column["stop_radius"][:, None] ** 2, -torch.ones_like(y[:, :1]))
    half = torch.where(stopped, 0.35 * column["stop_radius"][:, None], -torch.ones_like(y[:, :1]))
    cosine, sine = (f(column["stop_azimuth"])[:, None] for f in (torch.cos, torch.sin))
    hidden = (y * y - radius2)[:, :, None] + (x * x)[:, None, :] < 0
    arm = ((cosine * y)[:, :, None] - (sine * x)[:, None, :]).abs_() < half[:, :, None]
    arm &= (sine * y)[:, :, None] + (cosine * x)[:, None, :] > 0
    return rates.masked_fill_(hidden.logical_or_(arm), 0.0)
