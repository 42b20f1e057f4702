"""Bremsstrahlung, the continuous X-ray background."""

import torch

from xtalsk.physics._depth import matrix_terms
from xtalsk.utils._formula import N_ELEMENTS

_KRAMERS = 2.0e-9  # photons per eV, electron and atomic number


def continuum(mass, energies, attenuation, beam_energy, takeoff_angle, thickness):
    """Return the bremsstrahlung that leaves a specimen into 4π, before the detector.

    A bulk specimen follows Kramers' law with the absorption of Heinrich and Yakowitz. A film emits as the top
    slice of a bulk specimen with the same mass thickness, with Bethe's stopping power [1]_.

    Parameters
    ----------
    mass : tensor of float64, shape (n, 98)
        Mass fractions.
    energies : tensor of shape (k,)
        Photon energies in eV.
    attenuation : tensor of shape (98, k)
        Mass attenuation coefficients at these energies in cm²/g.
    beam_energy, takeoff_angle, thickness : tensor of shape (n,)
        Beam energy in eV, take-off angle in degrees, mass thickness in g/cm² (``inf`` for bulk specimens).

    Returns
    -------
    tensor of shape (n, k)
        Photons per eV and incident electron, 0 above the beam energy.

    References
    ----------
    .. [1] J. I. Goldstein et al., Scanning Electron Microscopy and X-Ray Microanalysis (2003), chapters 3, 6
       and 9.
    """
    chi = mass @ attenuation / torch.sin(torch.deg2rad(takeoff_angle))[:, None]
    beam = beam_energy[:, None]
    z = (mass @ torch.arange(1, N_ELEMENTS + 1, dtype=mass.dtype, device=mass.device))[:, None]
    kramers = _KRAMERS * z * (beam - energies).clamp_min(0) / energies
    slowed = ((beam / 1e3) ** 1.65 - (energies / 1e3) ** 1.65).clamp_min(0)
    bulk = kramers / (1 + 1.2e-6 * slowed * chi) ** 2
    is_bulk = torch.isinf(thickness)
    if is_bulk.all():
        return bulk
    stopping, potential = matrix_terms(mass)[:2]
    power = 7.85e10 * stopping / beam * torch.log(1.166 * beam / (1e3 * potential))  # eV cm²/g
    film = torch.where(is_bulk, 1.0, thickness)[:, None]
    thin = _KRAMERS * z / energies * power * -torch.expm1(-chi * film) / chi * (energies < beam)
    return torch.where(is_bulk[:, None], bulk, thin)
