"""Rings of a pattern before they are drawn: radii, strengths, texture and single grains."""

from dataclasses import dataclass, replace

import torch

from xtalsk.physics._electrons import electron_wavelength, on_screen
from xtalsk.simulation._chunks import stacked
from xtalsk.simulation._profiles import gather_lines
from xtalsk.simulation.images._beam import spread
from xtalsk.simulation.reflections._strain import STRAIN_COLUMNS, strained_q
from xtalsk.simulation.reflections._texture import (
    PLANE_COLUMNS,
    legendre,
    legendre_coefficients,
    plane_cosines,
)

_MOST_GRAINS = 300  # of one ring that are drawn one by one; more are taken as a smooth ring
_WEAKEST = 2e-4  # share of all rings below which single grains of a ring do not show


@dataclass
class RingLines:
    """Rings of a chunk of images.

    Parameters
    ----------
    pattern : int64 tensor of shape (m,)
    row : int64 tensor of shape (m,)
        Row of the reflection.
    q : tensor of shape (m,)
        In 1/Å, strained.
    radius : tensor of shape (m,)
        In pixels.
    weight : tensor of shape (m,)
        Intensity per unit length along the ring; all rings of a pattern hold 1 - ``background``.
    multiplicity : tensor of shape (m,)
    """

    pattern: torch.Tensor
    row: torch.Tensor
    q: torch.Tensor
    radius: torch.Tensor
    weight: torch.Tensor
    multiplicity: torch.Tensor


def ring_lines(reflections, rows, drawn, column, conditions):
    """Place the rings of a chunk of images and share the electrons among them.

    Parameters are those of `render_rings`, and ``column``, the drawn conditions on the device.

    Returns
    -------
    RingLines

    Raises
    ------
    ValueError
        If a crystal has no ring on the image.
    """
    size, pixel = conditions.image_size, 2 * conditions.q_max / conditions.image_size
    pattern, row = gather_lines(reflections, rows)
    q = strained_q(reflections, rows, stacked(drawn, STRAIN_COLUMNS), pattern, row)
    multiplicity = reflections.multiplicity[row]
    weight = reflections.intensity[row] * multiplicity / (q * q)
    if drawn["b_shift"].any():
        weight = weight * torch.exp(-column["b_shift"][pattern] * q * q / 2)
    radius = on_screen(q, electron_wavelength(conditions.beam_energy)) / pixel
    if drawn["calibration"].any():
        radius = radius * (1 + column["calibration"][pattern])
    inside = torch.where(radius < size / 2, weight * radius, torch.zeros_like(weight))
    total = torch.zeros(len(rows), dtype=q.dtype, device=q.device).index_add_(0, pattern, inside)
    if not (total > 0).all():
        crystal = int(rows[int(torch.nonzero(total <= 0)[0])])
        raise ValueError(f"crystal {crystal} ({reflections.ids[crystal]}) has no ring on the image")
    weight = weight * ((1 - column["background"]) / total)[pattern]
    return RingLines(pattern, row, q, radius, weight, multiplicity)


def pole_orders(reflections, rows, drawn, column, lines):
    """Legendre coefficients of the pole density of each ring, shape (m, 5).

    The density of the poles of a family at an angle χ from a fibre axis is the March function averaged about
    the pole: by the addition theorem Σ c_l P_l(cos α) P_l(cos χ), α the angle between family and texture
    plane (H.-J. Bunge, Texture Analysis in Materials Science (1982), chapter 5).
    """
    planes = stacked(drawn, PLANE_COLUMNS)
    cosine, share = plane_cosines(reflections, rows, planes, lines.pattern, lines.row)
    means = (legendre(cosine) * share[:, None, :]).sum(2)
    return means * legendre_coefficients(column["march_parameter"])[lines.pattern]


def draw_grains(column, lines, poles, pixel, generator):
    """Take the rings of few grains out of the smooth ones, and place their grains.

    A reflection of a grain of thickness t is excited within 1/t of the Ewald sphere, which holds for a share
    of 1 / (t q) of random orientations.

    Returns
    -------
    grains : tuple of tensors
        Image, row, column, weight and width of the spot of each grain.
    lines : RingLines
        What remains in smooth rings.
    """
    pattern, q, weight = lines.pattern, lines.q, lines.weight
    share = (1 / (column["thickness_angstrom"][pattern] * q)).clamp_max(1)
    expected = column["n_grains"][pattern] * lines.multiplicity * share
    few = (expected < _MOST_GRAINS) & (weight * lines.radius > _WEAKEST)
    number = torch.zeros_like(expected)
    number[few] = torch.poisson(expected[few], generator=generator)
    line = torch.repeat_interleave(torch.arange(len(q), device=q.device), number.long())
    azimuth, lot = torch.rand(2, len(line), generator=generator, device=q.device, dtype=q.dtype)
    azimuth = 2 * torch.pi * azimuth
    image, radius = pattern[line], lines.radius[line]
    # grains differ in size and excitation: exponential variates of mean one
    strength = -torch.log1p(-lot) * (weight / expected.clamp_min(1e-30))[line] * 2 * torch.pi * radius
    if poles is not None:
        tilt = torch.sin(torch.deg2rad(column["texture_tilt"]))[image]
        toward = tilt * torch.cos(azimuth - column["texture_azimuth"][image])
        strength = strength * (poles[line] * legendre(toward[:, None])[..., 0]).sum(1).clamp_min(0)
    turn = column["ellipse_azimuth"][image]
    stretch = torch.sqrt(1 + column["ellipticity"])[image]
    along, across = radius * torch.cos(azimuth - turn) * stretch, radius * torch.sin(azimuth - turn) / stretch
    x = along * torch.cos(turn) - across * torch.sin(turn) + column["center_column"][image]
    y = along * torch.sin(turn) + across * torch.cos(turn) + column["center_row"][image]
    width = spread(column["ring_width"], column, pixel)[image]
    # a profile that holds 1 along the radius adds up to 2 pi radius over the pixels of its ring
    smooth = replace(lines, weight=torch.where(few, torch.zeros_like(weight), weight))
    return (image, y, x, strength, width), smooth
