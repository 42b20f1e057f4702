"""Radii, intensities, texture and single grains of the rings of a pattern."""

from dataclasses import dataclass, replace

import numpy as np
import torch

from xtalsk.physics._electrons import electron_wavelength, on_screen
from xtalsk.simulation._chunks import stacked
from xtalsk.simulation._line_profiles import gather_lines
from xtalsk.simulation.images._constants import MOST_GRAINS, MOST_SPREAD_GRAINS, WEAKEST_RING
from xtalsk.simulation.images._dynamical import blackman_ratio
from xtalsk.simulation.images._fibre import fibre_poles, is_strong
from xtalsk.simulation.reflections._constants import LEGENDRE_ORDERS
from xtalsk.simulation.reflections._strain import STRAIN_COLUMNS, strained_q
from xtalsk.simulation.reflections._texture import (
    PLANE_COLUMNS,
    legendre,
    legendre_coefficients,
    plane_cosines,
)
from xtalsk.utils._threads import is_plain


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


def ring_lines(reflections, rows, values, column, conditions, double=None):
    """Compute the radii and intensities of the rings of a chunk of images.

    The parameters are those of `render_rings`; ``column``, the values on the device; and ``double``, the
    intensity of each reflection by double diffraction, see `with_double_diffraction`.

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
    if values["dynamical"].any():
        weight = weight * _dynamical_ratio(reflections.intensity[row], pattern, column["dynamical"])
    radius = on_screen(q, electron_wavelength(conditions.beam_energy)) / pixel
    if values["calibration"].any():
        radius = radius * (1 + column["calibration"][pattern])
    total = _sum_on_image(weight, radius, pattern, len(rows), size)
    if not (total > 0).all():
        crystal = int(rows[int(torch.nonzero(total <= 0)[0])])
        raise ValueError(f"crystal {crystal} ({reflections.ids[crystal]}) has no ring on the image")
    weight = weight * ((1 - column["background"]) / total)[pattern]
    if double is not None:
        twice = double[row] * multiplicity / (q * q)
        total = _sum_on_image(twice, radius, pattern, len(rows), size)
        share = torch.where(total > 0, column["double_diffraction"], 0)
        twice = twice * ((1 - column["background"]) / total.clamp_min(1e-30))[pattern]
        weight = torch.lerp(weight, twice, share[pattern])
    return RingLines(pattern, row, q, radius, weight, multiplicity)


def _sum_on_image(weight, radius, pattern, n, size):
    """Sum of the intensities of the rings on each image, tensor of shape (n,), up to a constant factor."""
    inside = torch.where(radius < size / 2, weight * radius, torch.zeros_like(weight))
    return torch.zeros(n, dtype=weight.dtype, device=weight.device).index_add_(0, pattern, inside)


def _dynamical_ratio(intensity, pattern, extinction):
    r"""Ratio of dynamical to kinematic intensity of each ring; extinction distances go as 1 / \|F\|."""
    strongest = torch.zeros_like(extinction).scatter_reduce_(0, pattern, intensity, "amax")
    relative = torch.sqrt(intensity / strongest[pattern].clamp_min(1e-30))
    return blackman_ratio(extinction[pattern] * relative)


def seen_tilt(column):
    """Values of the conditions with the tilt that the coefficients of `pole_orders` refer to.

    Those of strong tilted textures refer to the azimuth on the ring, as if the fibre axis lay in the image.
    """
    tilt = column["texture_tilt"]
    strong = is_strong(column) & (tilt != 0)
    if not strong.any():
        return column
    return column | {"texture_tilt": torch.where(strong, torch.full_like(tilt, 90.0), tilt)}


def pole_orders(reflections, rows, values, column, lines):
    """Compute Legendre coefficients of the pole density of each ring, tensor of shape (m, 5).

    The pole density of a family at the angle χ from the fibre axis is the March function averaged about the
    pole. By the addition theorem it is Σ c_l P_l(cos α) P_l(cos χ), where α is the angle between the family
    and the texture plane (H.-J. Bunge, Texture Analysis in Materials Science (1982), chapter 5). Without
    texture it is 1. The coefficients of strong textures are those of `fibre_poles`; see `seen_tilt`. If the
    beam is along the fibre axis, the density is the same all around a ring, and only order 0 is not 0.
    """
    textured = np.flatnonzero(values["march_parameter"] != 1)
    place = torch.full((len(rows),), -1, device=lines.q.device)
    place[torch.from_numpy(textured)] = torch.arange(len(textured), device=lines.q.device)
    member = torch.nonzero(place[lines.pattern] >= 0)[:, 0]
    pattern = place[lines.pattern[member]]
    planes = stacked(values, PLANE_COLUMNS)[textured]
    cosine, share = plane_cosines(reflections, rows[textured], planes, pattern, lines.row[member])
    means = legendre_means(cosine, share)
    own = {name: column[name][torch.from_numpy(textured)] for name in _TEXTURE}
    coefficients = means * legendre_coefficients(own["march_parameter"])[pattern]
    flat, strong = own["texture_tilt"] == 0, is_strong(own)
    if flat.any():
        on_ring = coefficients @ legendre(torch.zeros_like(means[0, :1]))
        on_ring = torch.nn.functional.pad(on_ring, (0, means.shape[1] - 1))
        coefficients = torch.where(flat[pattern][:, None], on_ring, coefficients)
    for which in (strong & flat, strong & ~flat):
        if which.any():
            place = torch.cumsum(which, 0) - 1
            some = torch.nonzero(which[pattern])[:, 0]
            r, tilt = (own[name][which] for name in ("march_parameter", "texture_tilt"))
            coefficients[some] = fibre_poles(cosine[some], share[some], r, tilt, place[pattern[some]])
    random = torch.zeros(len(lines.q), means.shape[1], dtype=means.dtype, device=means.device)
    random[:, 0] = 1
    if (own["texture_share"] != 1).any():
        part = own["texture_share"][pattern][:, None]
        coefficients = part * coefficients + (1 - part) * random[member]
    return random.index_copy_(0, member, coefficients)


def legendre_means(cosine, share):
    """Means of Legendre polynomials of order 0, 2, 4, 6 and 8 over the members of families.

    Parameters
    ----------
    cosine, share : tensor of shape (m, k)
        See `plane_cosines`.

    Returns
    -------
    tensor of shape (m, 5)
    """
    if not is_plain(cosine):
        return (legendre(cosine) * share[:, None, :]).sum(2)
    from xtalsk.simulation.images import _image_kernels  # numba is imported at the first use

    means = torch.zeros(len(cosine), len(LEGENDRE_ORDERS))
    _image_kernels.legendre_means(cosine.contiguous().numpy(), share.contiguous().numpy(), means.numpy())
    return means


_TEXTURE = ("march_parameter", "texture_tilt", "texture_share")


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
        The smooth rings; the others have the weight of their fine grains, 0 if there are none.
    """
    pattern, q, weight = lines.pattern, lines.q, lines.weight
    share = (1 / (column["thickness_angstrom"][pattern] * q)).clamp_max(1)
    expected = column["n_grains"][pattern] * lines.multiplicity * share
    most, grains = MOST_GRAINS, column["grain_share"][pattern]
    if column["grain_spread"].any():  # few grains of very different volumes have most of the intensity
        most = most * torch.exp(column["grain_spread"] ** 2).clamp_max(MOST_SPREAD_GRAINS)[pattern]
    spotty = (expected < most) & (weight * lines.radius > WEAKEST_RING)
    # a profile that is 1 along the radius adds up to 2 pi radius over the pixels of its ring
    mean_strength = weight * grains / expected.clamp_min(1e-30) * (2 * torch.pi * lines.radius)
    smooth = replace(lines, weight=torch.where(spotty, weight * (1 - grains), weight))
    return torch.where(spotty, expected, torch.zeros_like(weight)), mean_strength, smooth
