"""Direct beam and beam stop of ring and spot images.

The compiled twin of the beam stop is `hide` in ``_image_kernels.py``: change both.
"""

import numpy as np
import torch

from xtalsk.simulation.images._beam_stop import draw_stop_shapes, is_soft, shade
from xtalsk.simulation.images._constants import ARM_HALF_WIDTH, STOP_OFFSET, STOP_RADIUS
from xtalsk.simulation.images._export import draw_export
from xtalsk.simulation.images._stamps import stamp

_PIXEL_WIDTH2 = 8 * np.log(2) / 12  # squared FWHM in pixels of a Gaussian with the variance of a square pixel

IMAGE_REACH = 0.7
"""Product of d_min and q_max at which the reflections fill the corners of an image: 1 / √2, rounded down."""


def check_reach(reflections, q_max):
    """Raise ValueError if the reflections are not of electrons or do not reach ``q_max`` (in 1/Å)."""
    if reflections.radiation != "electron":
        raise ValueError(
            f"electron images need electron reflections, these are {reflections.radiation} reflections"
        )
    if reflections.d_min > 1 / q_max * (1 + 1e-6):
        raise ValueError(f"reflections reach 1/d = {1 / reflections.d_min:g} 1/Å, q_max is {q_max:g}")


def draw_geometry(values, size, off_center, rng):
    """Draw the positions of beam and beam stop in pixels, and add them to the DataFrame ``values``."""
    n = len(values)
    for name in ("center_row", "center_column"):
        values[name] = (size - 1) / 2 + rng.uniform(-off_center, off_center, n) * size
    values["beam_stop"] = rng.uniform(size=n) < values["beam_stop"]
    values["stop_radius"] = rng.uniform(*STOP_RADIUS, n) * size
    values["stop_azimuth"] = rng.uniform(-np.pi, np.pi, n)
    for name in ("stop_row", "stop_column"):
        values[name] = values[name.replace("stop", "center")] + rng.uniform(*STOP_OFFSET, n) * size


def spread(width, column, pixel):
    """Full width in pixels of a feature of ``width`` in 1/Å, with the blur and the size of a pixel."""
    return torch.sqrt((width / pixel) ** 2 + column["blur"] ** 2 + _PIXEL_WIDTH2)


def draw_extras(values, size, rng):
    """Draw what only some conditions need, after all else; change the DataFrame ``values`` in place."""
    draw_stop_shapes(values, size, rng)
    values["readout_turned"] = 0.0
    if (values["blooming"] > 0).any() or (values["smear"] > 0).any():
        values["readout_turned"] = (rng.uniform(size=len(values)) < 0.5).astype(float)
    draw_export(values, rng)


def add_direct_beam(rates, column, pixel):
    """Add the direct beam to images of expected electrons, in place; ``pixel`` is in 1/Å."""
    if column["direct_beam"].any():
        width = spread(column["beam_width"], column, pixel)
        image = torch.arange(len(rates), device=rates.device)
        strength = column["direct_beam"] * column["electrons"]
        stamp(rates, image, column["center_row"], column["center_column"], strength, width)
    return rates


def hide_behind_stop(rates, column):
    """Set pixels behind the beam stop to zero, in place; the stop is a disc on an arm to the edge.

    `shade` draws the beam stops of another shape.
    """
    shade(rates, column)
    has_stop = ((column["beam_stop"] > 0) & ~is_soft(column))[:, None]
    if not has_stop.any():
        return rates
    grid = torch.arange(rates.shape[1], device=rates.device, dtype=rates.dtype)
    y, x = grid - column["stop_row"][:, None], grid - column["stop_column"][:, None]
    nothing = -torch.ones_like(y[:, :1])  # a size that no pixel is within
    radius2 = torch.where(has_stop, column["stop_radius"][:, None] ** 2, nothing)
    half_width = torch.where(has_stop, ARM_HALF_WIDTH * column["stop_radius"][:, None], nothing)
    cosine, sine = (f(column["stop_azimuth"])[:, None] for f in (torch.cos, torch.sin))
    disc = (y * y - radius2)[:, :, None] + (x * x)[:, None, :] < 0
    arm = ((cosine * y)[:, :, None] - (sine * x)[:, None, :]).abs_() < half_width[:, :, None]
    arm &= (sine * y)[:, :, None] + (cosine * x)[:, None, :] > 0
    return rates.masked_fill_(disc.logical_or_(arm), 0.0)
