"""Pole densities of strong fibre textures, as an image of given tilt shows them."""

import numpy as np
import torch

from xtalsk.simulation.images._constants import FIBRE_ANGLES, FIBRE_AZIMUTHS, STRONG_TEXTURE
from xtalsk.simulation.reflections._constants import LEGENDRE_ORDERS
from xtalsk.simulation.reflections._texture import legendre, march


def is_strong(column):
    """Whether the texture of each image is too sharp for an expansion on the whole sphere, bool (n,)."""
    return column["march_parameter"] < STRONG_TEXTURE


def fibre_poles(cosine, share, r, tilt, pattern):
    r"""Expand the pole density on a ring in Legendre polynomials of the cosine of the azimuth.

    The pole of a family at the angle α from the texture plane has the density of the March function averaged
    about the pole: with :math:`\cos\theta = \cos\alpha\cos\chi + \sin\alpha\sin\chi\cos\varphi`, the mean of
    W(cos θ) over φ. On a ring, cos χ is sin(tilt) cos(azimuth). The expansion is exact for the beam along the
    fibre axis.

    Parameters
    ----------
    cosine, share : tensor of shape (m, k)
        See `plane_cosines`.
    r, tilt : tensor of shape (n,)
        March parameter, and angle between beam and fibre axis in degrees, of each image.
    pattern : int64 tensor of shape (m,)
        Image of each ring.

    Returns
    -------
    tensor of shape (m, 5)
        Coefficients of the orders 0, 2, 4, 6 and 8.
    """
    if (tilt == 0).all():  # the density is the same all around the ring
        nodes, projection = torch.zeros(1).to(cosine), torch.ones(1, 1).to(cosine)
    else:
        nodes, weights = np.polynomial.legendre.leggauss(2 * (LEGENDRE_ORDERS[-1] // 2 + 1))
        nodes, weights = (torch.from_numpy(v[len(v) // 2 :]).to(cosine) for v in (nodes, weights))
        factors = torch.tensor([2 * order + 1 for order in LEGENDRE_ORDERS]).to(cosine)
        projection = weights[:, None] * legendre(nodes).T * factors
    angle = torch.linspace(0, np.pi / 2, FIBRE_ANGLES).to(cosine)
    azimuth = (torch.arange(FIBRE_AZIMUTHS).to(cosine) + 0.5) * (np.pi / FIBRE_AZIMUTHS)
    on_axis = torch.sin(torch.deg2rad(tilt))[:, None] * nodes  # cos χ, shape (n, n_nodes)
    off_axis = torch.sqrt(1 - on_axis * on_axis)
    theta = torch.cos(angle)[:, None] * on_axis[:, None, :]
    spread = torch.sin(angle)[:, None] * off_axis[:, None, :]
    theta = (theta[..., None] + spread[..., None] * torch.cos(azimuth)).clamp(-1, 1)
    density = march(theta, r[:, None, None, None]).mean(-1)  # (n, n_angles, n_nodes)
    table = density @ projection  # (n, n_angles, 5) or (n, n_angles, 1)
    place = torch.arccos(cosine.abs().clamp_max(1)) * ((FIBRE_ANGLES - 1) / (np.pi / 2))
    index = place.long().clamp_max(FIBRE_ANGLES - 2)
    fraction = (place - index)[..., None]
    low, high = table[pattern[:, None], index], table[pattern[:, None], index + 1]
    poles = (torch.lerp(low, high, fraction) * share[..., None]).sum(1)
    return torch.nn.functional.pad(poles, (0, len(LEGENDRE_ORDERS) - poles.shape[1]))
