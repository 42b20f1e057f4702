"""How often electrons ionise inner shells."""

import math

import numpy as np
import torch
from scipy import constants

_REST = constants.value("electron mass energy equivalent in MeV") * 1e6
_RYDBERG = constants.value("Rydberg constant times hc in eV")
_ALPHA = constants.alpha
_BOHR = constants.value("Bohr radius") * 1e2  # cm
# Inner electrons that screen the nucleus for the shells n = 1 to 5, by Slater's rules (Phys. Rev. 36 (1930)
# 57)
_SCREENING = np.array([0.3, 2 * 0.85 + 7 * 0.35, 2 + 8 * 0.85 + 7 * 0.35, 10 + 18 * 0.85 + 7 * 0.35, 46.0])


# Factor a (1 + b U^-p) by overvoltage U that brings the formula onto distorted-wave values, by kind of shell:
# K; L1; L2 and L3; M1 to M3; M4, M5 and N
_KINDS = {"K": (0.985, 0.77, 2.76), "s": (0.773, 1.37, 1.26), "L": (1.084, 1.80, 1.79)}
_KINDS |= {"M": (0.782, 2.0, 1.2), "d": (1.256, 2.15, 1.32)}


def shell_correction(names):
    """Correction of the cross-section of shells, ``"K"`` to ``"N5"``: ndarray of shape (n_shells, 3).

    Fitted to the distorted-wave cross-sections of D. Bote et al., At. Data Nucl. Data Tables 95 (2009) 871,
    for 27 shells of 17 elements from 5 to 300 keV; it leaves 3% (M) to 5% (L) of scatter, at most 20%.
    """
    kind = {"K": "K", "L1": "s", "L2": "L", "L3": "L", "M1": "M", "M2": "M", "M3": "M"}
    return np.array([_KINDS[kind.get(name, "d")] for name in names])


def shell_radius_term(z, family, edge):
    """Factor c of the cross-section of each shell, equation 10 of Guerra et al.

    Parameters
    ----------
    z, family : ndarray of int
        Atomic number, and 0 to 3 for K to N.
    edge : ndarray
        Binding energy in eV.

    Returns
    -------
    ndarray
    """

    def hydrogenic(n):
        charge = np.maximum(z - _SCREENING[n - 1], 1.0)
        return _RYDBERG * (charge / n) ** 2

    n = np.asarray(family) + 1
    return (0.3 * hydrogenic(n) + 0.7 * hydrogenic(n + 1)) / edge


def ionisation_cross_section(beam_energy, edge, electrons, radius_term, correction):
    """Cross-section for the ionisation of a shell by electrons, binary-encounter-Bethe model.

    The modified relativistic formula of Guerra et al. [1]_ after Kim, Santos and Parente [2]_, which needs no
    table beyond binding energies, times a correction.

    Parameters
    ----------
    beam_energy : tensor
        Kinetic energy of the incident electrons in eV.
    edge : tensor
        Binding energy of the shell in eV.
    electrons : tensor
        In the shell.
    radius_term : tensor
        See `shell_radius_term`.
    correction : tensor of the shape of the others and (3,)
        See `shell_correction`.

    Returns
    -------
    tensor of the common shape, in cm²; 0 below the threshold

    References
    ----------
    .. [1] M. Guerra, F. Parente, P. Indelicato and J. P. Santos, Int. J. Mass Spectrom. 313 (2012) 1.
    .. [2] Y.-K. Kim, J. P. Santos and F. Parente, Phys. Rev. A 62 (2000) 052710.
    """
    t = (beam_energy / edge).clamp_min(1.0)
    t_prime, b_prime = beam_energy / _REST, edge / _REST
    beta_t, beta_b = (1 - 1 / (1 + x) ** 2 for x in (t_prime, b_prime))
    slow = (1 + t_prime / 2) ** 2
    dipole = torch.log(beta_t / (1 - beta_t)) - beta_t - torch.log(2 * b_prime)
    terms = (
        0.5 * dipole * (1 - 1 / t**2)
        + 1
        - 1 / t
        - torch.log(t) / (t + 1) * (1 + 2 * t_prime) / slow
        + b_prime**2 / slow * (t - 1) / 2
    )
    scale = 4 * math.pi * _BOHR**2 * _ALPHA**4 * electrons / ((beta_t + radius_term * beta_b) * 2 * b_prime)
    a, b, p = correction.unbind(-1)
    return torch.where(beam_energy > edge, a * (1 + b * t**-p) * scale * terms.clamp_min(0), 0.0)
