"""Radii, intensities, texture and single grains of the rings of a pattern."""

from dataclasses import dataclass, replace

import torch

from xtalsk.physics._electrons import electron_wavelength, on_screen
from xtalsk.simulation._chunks import stacked
from xtalsk.simulation._line_profiles import gather_lines
from xtalsk.simulation.images._beam import spread
from xtalsk.simulation.images._constants import MOST_GRAINS, WEAKEST_RING
from xtalsk.simulation.reflections._strain import STRAIN_COLUMNS, strained_q
from xtalsk.simulation.reflections._texture import (
    PLANE_COLUMNS,
    legendre,
    legendre_coefficients,
    plane_cosines,
)


@dataclass
class RingLines:
    """Rings of a chunk of images.

    Parameters
    ----------
    pattern : int64 tensor of shape (m,)
        Number of the image of each ring.
    row : int64 tensor of shape (m,)
        Row of its reflection.
    q : tensor of shape (m,)
        q in 1/Å with lattice strain.
    radius : tensor of shape (m,)
        In pixels.
    weight : tensor of shape (m,)
        Intensity per unit length along the ring. The rings of an image add up to 1 - ``background``.
    multiplicity : tensor of shape (m,)
        Multiplicity of the family.
    """

    pattern: torch.Tensor
    row: torch.Tensor
    q: torch.Tensor
    radius: torch.Tensor
    weight: torch.Tensor
    multiplicity: torch.Tensor


def ring_lines(reflections, rows, values, column, conditions):
    """Compute the radii and intensities of the rings of a chunk of images.

    The parameters are those of `render_rings` and ``column``, the values on the device.

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
    q = strained_q(reflections, rows, stacked(values, STRAIN_COLUMNS), pattern, row)
    multiplicity = reflections.multiplicity[row]
    weight = reflections.intensity[row] * multiplicity / (q * q)
    if values["b_shift"].any():
        weight = weight * torch.exp(-column["b_shift"][pattern] * q * q / 2)
    radius = on_screen(q, electron_wavelength(conditions.beam_energy)) / pixel
    if values["calibration"].any():
        radius = radius * (1 + column["calibration"][pattern])
    inside = torch.where(radius < size / 2, weight * radius, torch.zeros_like(weight))
    total = torch.zeros(len(rows), dtype=q.dtype, device=q.device).index_add_(0, pattern, inside)
    if not (total > 0).all():
        crystal = int(rows[int(torch.nonzero(total <= 0)[0])])
        raise ValueError(f"crystal {crystal} ({reflections.ids[crystal]}) has no ring on the image")
    weight = weight * ((1 - column["background"]) / total)[pattern]
    return RingLines(pattern, row, q, radius, weight, multiplicity)


def pole_orders(reflections, rows, values, column, lines):
    """Compute Legendre coefficients of the pole density of each ring, tensor of shape (m, 5).

    The pole density of a family at the angle χ from the fibre axis is the March function averaged about the
    pole. By the addition theorem it is Σ c_l P_l(cos α) P_l(cos χ), where α is the angle between the family
    and the texture plane (H.-J. Bunge, Texture Analysis in Materials Science (1982), chapter 5).
    """
    planes = stacked(values, PLANE_COLUMNS)
    cosine, share = plane_cosines(reflections, rows, planes, lines.pattern, lines.row)
    means = (legendre(cosine) * share[:, None, :]).sum(2)
    return means * legendre_coefficients(column["march_parameter"])[lines.pattern]


def draw_grains(column, lines, poles, pixel, generator):
    """Draw the single grains of rings that have few of them, and remove these rings from the smooth ones.

    A reflection of a grain of thickness t is excited within 1/t of the Ewald sphere. This is the case for a
    share 1 / (t q) of random orientations.

    Parameters
    ----------
    column : dict of str to tensor of shape (n,)
        Values of the conditions of each image.
    lines : RingLines
    poles : tensor of shape (m, 5) or None
        See `pole_orders`; None without texture.
    pixel : float
        Width of a pixel in 1/Å.
    generator : torch.Generator

    Returns
    -------
    grains : tuple of tensors
        Image, row, column, weight and width of the spot of each grain.
    lines : RingLines
        The smooth rings.
    """
    pattern, q, weight = lines.pattern, lines.q, lines.weight
    share = (1 / (column["thickness_angstrom"][pattern] * q)).clamp_max(1)
    expected = column["n_grains"][pattern] * lines.multiplicity * share
    spotty = (expected < MOST_GRAINS) & (weight * lines.radius > WEAKEST_RING)
    number = torch.zeros_like(expected)
    number[spotty] = torch.poisson(expected[spotty], generator=generator)
    line = torch.repeat_interleave(torch.arange(len(q), device=q.device), number.long())
    azimuth, uniform = torch.rand(2, len(line), generator=generator, device=q.device, dtype=q.dtype)
    azimuth = 2 * torch.pi * azimuth
    image, radius = pattern[line], lines.radius[line]
    # grains differ in size and excitation: exponential variates of mean one
    # a profile that is 1 along the radius adds up to 2 pi radius over the pixels of its ring
    strength = -torch.log1p(-uniform) * (weight / expected.clamp_min(1e-30))[line] * 2 * torch.pi * radius
    if poles is not None:
        strength = strength * _pole_density(poles[line], azimuth, image, column)
    x, y = _on_ellipse(radius, azimuth, image, column)
    width = spread(column["ring_width"], column, pixel)[image]
    smooth = replace(lines, weight=torch.where(spotty, torch.zeros_like(weight), weight))
    return (image, y, x, strength, width), smooth


def _pole_density(poles, azimuth, image, column):
    """Pole density of a textured sample at the azimuth of each grain, shape (n_grains,)."""
    tilt = torch.sin(torch.deg2rad(column["texture_tilt"]))[image]
    cosine = tilt * torch.cos(azimuth - column["texture_azimuth"][image])
    return (poles * legendre(cosine[:, None])[..., 0]).sum(1).clamp_min(0)


def _on_ellipse(radius, azimuth, image, column):
    """Columns and rows in pixels of points on elliptically distorted rings, each of shape (n_grains,)."""
    turn = column["ellipse_azimuth"][image]
    stretch = torch.sqrt(1 + column["ellipticity"])[image]
    along, across = radius * torch.cos(azimuth - turn) * stretch, radius * torch.sin(azimuth - turn) / stretch
    x = along * torch.cos(turn) - across * torch.sin(turn) + column["center_column"][image]
    y = along * torch.sin(turn) + across * torch.cos(turn) + column["center_row"][image]
    return x, y
