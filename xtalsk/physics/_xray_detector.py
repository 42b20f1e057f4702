"""Response of a silicon drift detector to X-rays."""

from functools import cache

import numpy as np
import torch
from scipy.special import expit

from xtalsk.physics._constants import FWHM_PER_SIGMA
from xtalsk.physics._xray_yields import mass_attenuation

_FANO, _PAIR_ENERGY = 0.115, 3.65  # Fano factor of silicon; energy of an electron-hole pair in eV
_MN_KA = 5895.0  # eV
_NARROWEST = 25.0  # smallest full width at half maximum of a line, in eV
SILICON_KA = 1740.0
"""Energy of Si Kα in eV."""
_SILICON_EDGE = 1839.0  # K edge in eV
_SI_KA_ATTENUATION = 336.0  # of Si Kα in silicon, in cm²/g
_K_SHARE, _K_YIELD = 0.92, 0.0504  # share of absorbed X-rays that ionise the K shell; its fluorescence yield
_SILICON_DENSITY, _BERYLLIUM_DENSITY = 2.33, 1.85  # g/cm³
_FILM = {5: 3.66, 6: 36.2, 7: 1.90, 8: 9.78, 13: 6.63}  # µg/cm² of each element in the common polymer window
POLYMER_OPEN_AREA = 0.775
"""Fraction of a polymer window's area between the bars of its silicon grid."""
_GRID_THICKNESS = 0.38  # of the silicon grid that supports the window, in mm


def line_width(energy, resolution):
    """Return the standard deviation of a line, from Fano statistics and electronic noise.

    Parameters
    ----------
    energy : tensor
        Energy of the line in eV.
    resolution : tensor
        Full width at half maximum of Mn Kα in eV.

    Returns
    -------
    tensor
        Standard deviation in eV.
    """
    variance = (resolution / FWHM_PER_SIGMA) ** 2 + _FANO * _PAIR_ENERGY * (energy - _MN_KA)
    return torch.sqrt(variance.clamp_min((_NARROWEST / FWHM_PER_SIGMA) ** 2))


def line_tail(energy):
    """Return the low-energy tail of a line. Charge lost near the front of the detector causes it.

    Parameters
    ----------
    energy : ndarray
        Energy of the line in eV.

    Returns
    -------
    share : ndarray
        Counts in the tail as a fraction of the counts in the peak.
    slope : ndarray
        Decay length of the tail in standard deviations of the line.

    References
    ----------
    The formula was calibrated on drift detectors by A. Giunto et al., Nat. Commun. 17 (2026) 9735.
    """
    kev = np.asarray(energy) / 1e3
    share = 0.0094 + 0.1022 * expit(-11.42 * (kev - 0.926))
    return share, 1 + 3.5 * expit(9.63 * (kev - 0.88))


@cache
def _absorbing_parts(energies):
    """Return optical depths of 1 polymer window, 1 µm Be, 1 nm Si and 1 mm Si, tensor (4, n_energies)."""
    *film, beryllium, silicon = mass_attenuation(energies, [*_FILM, 4, 14])
    film = sum(element * density * 1e-6 for element, density in zip(film, _FILM.values(), strict=True))
    silicon = silicon * _SILICON_DENSITY
    return torch.stack([film, beryllium * _BERYLLIUM_DENSITY * 1e-4, silicon * 1e-7, silicon * 0.1])


def efficiency(energies, film, open_area, beryllium, dead_layer, silicon):
    """Return the detection efficiency at each energy.

    Parameters
    ----------
    energies : tuple of float
        Photon energies in eV.
    film : tensor of shape (n, 1)
        Thickness of a polymer window in units of the common one (boron hydride, polymer and aluminium). The
        areal densities of the common window were fitted to the transmission that its maker tabulates (rms
        0.008, 0.14 to 20 keV).
    open_area : tensor of shape (n, 1)
        Fraction of the window area between the bars of the silicon grid (0.38 mm thick).
    beryllium : tensor of shape (n, 1)
        Thickness of a beryllium window in µm.
    dead_layer : tensor of shape (n, 1)
        Thickness in nm of the front layer of silicon that loses all charge.
    silicon : tensor of shape (n, 1)
        Thickness of the detector crystal in mm.

    Returns
    -------
    tensor of shape (n, n_energies)
        Fraction of the X-rays that the detector counts.
    """
    polymer, metal, dead, crystal = _absorbing_parts(energies).to(film)
    transmission = torch.exp(-polymer * film - metal * beryllium - dead * dead_layer)
    grid = open_area + (1 - open_area) * torch.exp(-crystal * _GRID_THICKNESS)
    return transmission * grid * -torch.expm1(-crystal * silicon)


def escape_share(energy, attenuation):
    """Return the share of the counts of a line in its silicon escape peak, 1.74 keV below the line.

    It is the formula of Reed and Ware [1]_ for X-rays that enter a thick detector at normal incidence.

    Parameters
    ----------
    energy : tensor
        Energy of the line in eV.
    attenuation : tensor
        Mass attenuation coefficient of silicon at that energy in cm²/g.

    Returns
    -------
    tensor
        Share of the counts, 0 below the K edge of silicon.

    References
    ----------
    .. [1] S. J. B. Reed and N. G. Ware, J. Phys. E 5 (1972) 582.
    """
    share = 1 - _SI_KA_ATTENUATION / attenuation * torch.log1p(attenuation / _SI_KA_ATTENUATION)
    return torch.where(energy > _SILICON_EDGE, 0.5 * _K_SHARE * _K_YIELD * share, 0.0)
