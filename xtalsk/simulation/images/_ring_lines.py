"""Radii, intensities, texture and single grains of the rings of a pattern."""

from dataclasses import dataclass, replace

import numpy as np
import torch

from xtalsk.physics._electrons import electron_wavelength, on_screen
from xtalsk.simulation._chunks import stacked
from xtalsk.simulation._line_profiles import gather_lines
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
    and the texture plane (H.-J. Bunge, Texture Analysis in Materials Science (1982), chapter 5). Without
    texture it is 1.
    """
    textured = np.flatnonzero(values["march_parameter"] != 1)
    place = torch.full((len(rows),), -1, device=lines.q.device)
    place[torch.from_numpy(textured)] = torch.arange(len(textured), device=lines.q.device)
    member = torch.nonzero(place[lines.pattern] >= 0)[:, 0]
    pattern = place[lines.pattern[member]]
    planes = stacked(values, PLANE_COLUMNS)[textured]
    cosine, share = plane_cosines(reflections, rows[textured], planes, pattern, lines.row[member])
    means = (legendre(cosine) * share[:, None, :]).sum(2)
    coefficients = legendre_coefficients(column["march_parameter"][torch.from_numpy(textured)])
    poles = torch.zeros(len(lines.q), means.shape[1], dtype=means.dtype, device=means.device)
    poles[:, 0] = 1
    return poles.index_copy_(0, member, means * coefficients[pattern])


def split_rings(column, lines):
    """Split rings into smooth ones and those that consist of few grains.

    A reflection of a grain of thickness t is excited within 1/t of the Ewald sphere. This is the case for a
    share 1 / (t q) of random orientations.

    Parameters
    ----------
    column : dict of str to tensor of shape (n,)
        Values of the conditions of each image.
    lines : RingLines

    Returns
    -------
    expected : tensor of shape (m,)
        Expected number of grains of each ring, 0 for smooth rings.
    mean_strength : tensor of shape (m,)
        Mean strength of a grain.
    smooth : RingLines
        The smooth rings; the others have weight 0.
    """
    pattern, q, weight = lines.pattern, lines.q, lines.weight
    share = (1 / (column["thickness_angstrom"][pattern] * q)).clamp_max(1)
    expected = column["n_grains"][pattern] * lines.multiplicity * share
    spotty = (expected < MOST_GRAINS) & (weight * lines.radius > WEAKEST_RING)
    # a profile that is 1 along the radius adds up to 2 pi radius over the pixels of its ring
    mean_strength = weight / expected.clamp_min(1e-30) * (2 * torch.pi * lines.radius)
    nothing = torch.zeros_like(weight)
    smooth = replace(lines, weight=torch.where(spotty, nothing, weight))
    return torch.where(spotty, expected, nothing), mean_strength, smooth
