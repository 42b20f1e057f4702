"""Atomic form factors and anomalous terms."""

from functools import cache

import gemmi
import numpy as np
import torch
from scipy import constants

RADIATIONS = ("electron", "xray")
_EV_ANGSTROM = constants.h * constants.c / constants.e * 1e10  # energy times wavelength of a photon


@cache
def _coefficients(radiation):
    """Amplitudes, widths and constants of the Gaussians, by atomic number; row 0 is unused."""
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

    X-ray form factors f0 (in electrons) are sums of four Gaussians and a constant (Int. Tables C, 6.1.1.4).
    Electron form factors (in Å) are sums of five Gaussians (Int. Tables C, 4.3.2.2); they do not include the
    relativistic mass ratio, which is the same factor for all atoms. Both are functions of
    :math:`(\sin\theta/\lambda)^2 = q^2/4`. The coefficients are those of gemmi. The table of pymatgen differs
    (tin by 15%).

    Parameters
    ----------
    atomic_numbers : int tensor of shape (..., n_kinds)
        Atomic number of each kind of atom.
    q : tensor of shape (..., n_reflections)
        1/d in 1/Å.
    radiation : {"electron", "xray"}

    Returns
    -------
    tensor of shape (..., n_reflections, n_kinds)
        In electrons (X-rays) or Å (electrons).
    """
    a, b, c = (table.to(q)[atomic_numbers].unsqueeze(-1) for table in _coefficients(radiation))
    stol2 = (q * q / 4)[..., None, :]
    total = c + sum(a[..., k, :] * torch.exp(-b[..., k, :] * stol2) for k in range(a.shape[-2]))
    return total.transpose(-1, -2)


@cache
def anomalous_factors(wavelength):
    """Anomalous terms f' and f'' of all elements.

    gemmi computes them with the method of Cromer and Liberman.

    Parameters
    ----------
    wavelength : float
        X-ray wavelength in Å.

    Returns
    -------
    tensor of float64, shape (99, 2)
        f' and f'' in electrons, by atomic number; row 0 is zero.
    """
    energy = _EV_ANGSTROM / wavelength
    pairs = [gemmi.cromer_liberman(z, energy) for z in range(1, 99)]
    return torch.tensor([(0.0, 0.0), *pairs], dtype=torch.float64)
