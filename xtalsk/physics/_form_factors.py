"""Scattering by single atoms."""

from functools import cache

import gemmi
import numpy as np
import torch

RADIATIONS = ("electron", "xray")


@cache
def _coefficients(radiation):
    """Amplitudes, widths and constants by atomic number; row 0 is unused."""
    n_terms = 4 if radiation == "xray" else 5
    table = np.zeros((99, 2 * n_terms + 1))
    for z in range(1, 99):
        element = gemmi.Element(z)
        coefficients = (element.it92 if radiation == "xray" else element.c4322).get_coefs()
        table[z, : len(coefficients)] = coefficients
    table = torch.from_numpy(table)
    return table[:, :n_terms], table[:, n_terms : 2 * n_terms], table[:, 2 * n_terms]


def form_factors(atomic_numbers, q, radiation):
    r"""Atomic form factors of atoms at rest, without anomalous terms.

    X-ray factors f0 (electrons) are sums of four Gaussians and a constant (Int. Tables C, 6.1.1.4),
    electron factors (Å, without the relativistic mass ratio, which scales all alike) of five Gaussians
    (Int. Tables C, 4.3.2.2), both functions of :math:`(\sin\theta/\lambda)^2 = q^2/4`. The coefficients are
    those in gemmi; pymatgen's list differs (its tin entry by 15%).

    Parameters
    ----------
    atomic_numbers : int tensor of shape (..., n_kinds)
    q : tensor of shape (..., n_reflections)
        1/d in 1/Å.
    radiation : {"electron", "xray"}

    Returns
    -------
    tensor of shape (..., n_reflections, n_kinds)
    """
    a, b, c = (table.to(q)[atomic_numbers].unsqueeze(-1) for table in _coefficients(radiation))
    stol2 = (q * q / 4)[..., None, :]
    total = c + sum(a[..., k, :] * torch.exp(-b[..., k, :] * stol2) for k in range(a.shape[-2]))
    return total.transpose(-1, -2)


@cache
def anomalous_factors(wavelength):
    """Anomalous terms f' and f'' in electrons (Cromer-Liberman, by gemmi) for Z = 0 to 98, shape (99, 2).

    Parameters
    ----------
    wavelength : float
        In Å.
    """
    energy = 12398.419843 / wavelength
    pairs = [gemmi.cromer_liberman(z, energy) for z in range(1, 99)]
    return torch.tensor([(0.0, 0.0), *pairs], dtype=torch.float64)
