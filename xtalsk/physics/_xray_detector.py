"""What a silicon drift detector makes of X-rays."""

from functools import cache

import numpy as np
import torch
from scipy.special import expit

from xtalsk.physics._xray_yields import mass_attenuation

_FANO, _PAIR_ENERGY = 0.115, 3.65  # of silicon; eV for an electron-hole pair
_FWHM = 2.3548200450309493
_MN_KA = 5895.0
_SILICON_EDGE, _ESCAPING = 1839.0, 336.0  # eV; attenuation of Si Kα in silicon, cm²/g
_K_SHARE, _K_YIELD = 0.92, 0.0504  # of absorbed X-rays that ionise the K shell, and their fluorescence
SILICON_KA = 1740.0
_SILICON, _BERYLLIUM = 2.33, 1.85  # g/cm³
_FILM = {5: 3.66, 6: 36.2, 7: 1.90, 8: 9.78, 13: 6.63}  # µg/cm² of the elements of the common polymer window
_GRID = 0.38  # mm


def line_width(energy, resolution):
    """Return the standard deviation of a line in eV: Fano statistics and noise.

    Parameters
    ----------
    energy : tensor
        In eV.
    resolution : tensor
        Full width at half maximum of Mn Kα in eV.

    Returns
    -------
    tensor
    """
    variance = (resolution / _FWHM) ** 2 + _FANO * _PAIR_ENERGY * (energy - _MN_KA)
    return torch.sqrt(variance.clamp_min((25.0 / _FWHM) ** 2))


def line_tail(energy):
    """Tail below a line, from charge that is lost near the front of the detector.

    Parameters
    ----------
    energy : ndarray
        Of the line in eV.

    Returns
    -------
    share : ndarray
        Of the counts of the line.
    slope : ndarray
        Decay length in standard deviations of the line.

    References
    ----------
    Calibrated on drift detectors by A. Giunto et al., Nat. Commun. 17 (2026) 9735.
    """
    kev = np.asarray(energy) / 1e3
    share = 0.0094 + 0.1022 * expit(-11.42 * (kev - 0.926))
    return share, 1 + 3.5 * expit(9.63 * (kev - 0.88))


@cache
def _absorbing_parts(energies):
    """Optical depth of a film of 1, of 1 µm of beryllium, 1 nm and 1 mm of silicon, each of shape (n,)."""
    table = mass_attenuation(energies)
    film = sum(table[z - 1] * density * 1e-6 for z, density in _FILM.items())
    silicon = table[13] * _SILICON
    return torch.stack([film, table[3] * _BERYLLIUM * 1e-4, silicon * 1e-7, silicon * 0.1])


def efficiency(energies, film, open_area, beryllium, dead_layer, silicon):
    """Share of the X-rays of each energy that a detector counts.

    Parameters
    ----------
    energies : tuple of float
        In eV.
    film : tensor of shape (n, 1)
        Thickness of a polymer window in units of the common one, boron hydride, polymer and aluminium; its
        areal densities were fitted to the transmission that its maker tabulates (rms 0.008, 0.14 to 20 keV).
    open_area : tensor of shape (n, 1)
        Share of the window that no bar of its silicon grid (0.38 mm) covers.
    beryllium : tensor of shape (n, 1)
        Thickness of a beryllium window in µm.
    dead_layer : tensor of shape (n, 1)
        Thickness of silicon in which charge is lost, in nm.
    silicon : tensor of shape (n, 1)
        Thickness of the detector in mm.

    Returns
    -------
    tensor of shape (n, n_energies)
    """
    organic, metal, dead, crystal = _absorbing_parts(energies).to(film)
    passed = torch.exp(-organic * film - metal * beryllium - dead * dead_layer)
    grid = open_area + (1 - open_area) * torch.exp(-crystal * _GRID)
    return passed * grid * -torch.expm1(-crystal * silicon)


def escape_share(energy, attenuation):
    """Share of the counts of a line in its silicon escape peak, 1.74 keV below.

    Reed and Ware's formula [1]_ for X-rays that enter a thick detector at right angles.

    Parameters
    ----------
    energy : tensor
        In eV.
    attenuation : tensor
        Of silicon at that energy, in cm²/g.

    Returns
    -------
    tensor

    References
    ----------
    .. [1] S. J. B. Reed and N. G. Ware, J. Phys. E 5 (1972) 582.
    """
    share = 1 - _ESCAPING / attenuation * torch.log1p(attenuation / _ESCAPING)
    return torch.where(energy > _SILICON_EDGE, 0.5 * _K_SHARE * _K_YIELD * share, 0.0)
