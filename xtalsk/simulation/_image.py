"""What ring and spot images share: where the beam is, and what hides it."""

import numpy as np
import torch

from xtalsk.simulation._stamps import stamp

_PIXEL_WIDTH2 = 8 * np.log(2) / 12  # of the Gaussian whose variance is that of a pixel's width


def check_image(size, q_max, off_center):
    """Check the geometry that ring and spot images share."""
    if not (isinstance(size, int | np.integer) and size >= 32):
        raise ValueError(f"size must be an integer of at least 32 pixels, got {size!r}")
    if not (np.isfinite(q_max) and q_max > 0):
        raise ValueError(f"q_max must be a positive number of 1/Å, got {q_max!r}")
    if not 0 <= off_center <= 0.25:
        raise ValueError(f"off_center must be a share from 0 to 0.25, got {off_center!r}")


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


def hide_behind_stop(rates, column, drawn):
    """Set pixels behind the beam stop to zero, in place: a disc and an arm from it to the edge."""
    stopped = np.flatnonzero(drawn["beam_stop"])
    if not len(stopped):
        return rates
    stopped = torch.from_numpy(stopped).to(rates.device)
    names = ("stop_row", "stop_column", "stop_radius", "stop_azimuth")
    row, column_, radius, azimuth = (column[name][stopped, None] for name in names)
    grid = torch.arange(rates.shape[1], device=rates.device, dtype=rates.dtype)
    y, x = grid - row, grid - column_
    radius2 = (y * y - radius * radius)[:, :, None] + (x * x)[:, None, :]
    cosine, sine = torch.cos(azimuth), torch.sin(azimuth)
    along = (sine * y)[:, :, None] + (cosine * x)[:, None, :]
    across = ((cosine * y)[:, :, None] - (sine * x)[:, None, :]).abs_()
    seen = (radius2 >= 0) & ((along <= 0) | (across >= 0.35 * radius[:, :, None]))
    rates[stopped] *= seen
    return rates
