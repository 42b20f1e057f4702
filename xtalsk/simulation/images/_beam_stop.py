"""Beam stops of any shape with a soft edge.

`hide_behind_stop` in ``_beam.py`` draws the opaque disc on an arm. The compiled twin of `shade` is `shade` in
``_image_kernels.py``: change both.
"""

import numpy as np
import torch

from xtalsk.simulation.images._constants import (
    ARM_HALF_WIDTH,
    BAR_HALF_WIDTH,
    BAR_SHARE,
    NEEDLE,
    NEEDLE_REACH,
)

SHAPE_COLUMNS = ("stop_disc", "stop_reach", "stop_tip", "blade_end", "blade_half_width", "arm_start", "arm")
"""Shape of a beam stop in pixels.

Radius of the disc (negative for none), how far the tip is beyond the point (stop_row, stop_column), half
width of the tip, distance of the widest place of the blade from the tip and half width there, distance of the
arm from the tip and its half width.
"""


def draw_stop_shapes(values, size, rng):
    """Draw which beam stops are needles and their shapes; add `SHAPE_COLUMNS` to ``values`` in place.

    A needle has a narrow tip, widens to a blade and goes on as an arm to the edge of the image; some are bars
    of one width.
    """
    n = len(values)
    radius = values["stop_radius"].to_numpy()
    arm = ARM_HALF_WIDTH * radius
    shapes = np.stack([radius, 0 * arm, arm, 1 + 0 * arm, arm, 2 + 0 * arm, arm])
    if (values["needle_stop"] > 0).any():
        values["needle_stop"] = (rng.uniform(size=n) < values["needle_stop"]).astype(float)
        tip, blade_end, blade, gap, arm = (rng.uniform(*NEEDLE[name], n) * size for name in NEEDLE)
        bar = rng.uniform(size=n) < BAR_SHARE
        width = rng.uniform(*BAR_HALF_WIDTH, n) * size
        tip, blade, arm = (np.where(bar, width, w) for w in (tip, np.maximum(blade, tip), arm))
        reach = rng.uniform(*NEEDLE_REACH, n) * size
        needles = np.stack([-np.full(n, 1e6), reach, tip, blade_end, blade, blade_end + gap, arm])
        shapes = np.where(values["needle_stop"].to_numpy() > 0, needles, shapes)
    values[list(SHAPE_COLUMNS)] = shapes.T


def is_soft(column):
    """Whether each beam stop has another shape than an opaque disc on an arm, bool tensor of shape (n,)."""
    soft = (column["needle_stop"] > 0) | (column["penumbra"] > 0) | (column["stop_transmission"] > 0)
    return soft & (column["beam_stop"] > 0)


def shade(rates, column):
    """Multiply images by the transmission of soft beam stops, in place.

    The transmission rises from ``stop_transmission`` to 1 over the width ``penumbra``, centred on the edge.

    Parameters
    ----------
    rates : tensor of shape (n, size, size)
    column : dict of str to tensor of shape (n,)

    Returns
    -------
    tensor
        ``rates``.
    """
    which = torch.nonzero(is_soft(column))[:, 0]
    if not len(which):
        return rates
    one = {name: column[name][which, None, None] for name in (*_PLACE, *SHAPE_COLUMNS)}
    size = rates.shape[1]
    grid = torch.arange(size, device=rates.device, dtype=rates.dtype)
    y, x = grid[:, None] - one["stop_row"], grid - one["stop_column"]
    cosine, sine = torch.cos(one["stop_azimuth"]), torch.sin(one["stop_azimuth"])
    along = cosine * x + sine * y + one["stop_reach"]
    across = (cosine * y - sine * x).abs()
    blade = ((along / one["blade_end"]).clamp(0, 1)) * (one["blade_half_width"] - one["stop_tip"])
    gap = one["arm_start"] - one["blade_end"]
    taper = ((along - one["blade_end"]) / gap).clamp(0, 1) * (one["arm"] - one["blade_half_width"])
    outside = torch.maximum(across - one["stop_tip"] - blade - taper, -along)
    outside = torch.minimum(outside, torch.sqrt(x * x + y * y) - one["stop_disc"])
    edge = (outside / (one["penumbra"] * size).clamp_min(1e-3) + 0.5).clamp_(0, 1)
    edge = edge * edge * (3 - 2 * edge)
    opaque = 1 - one["stop_transmission"]
    rates[which] *= 1 - opaque * (1 - edge)
    return rates


_PLACE = ("stop_row", "stop_column", "stop_azimuth", "penumbra", "stop_transmission")
