"""Generalised oscillator strengths of atomic shells."""

import numpy as np
import xraylib

from xtalsk.physics._constants import RYDBERG_EV

RYDBERG = round(RYDBERG_EV, 4)  # eV, rounded: simulated counts depend on the last digit
_BARN_EV = 1.0976e8  # 2π²e²ħ/(mc) in barn eV: photoabsorption cross-section over df/dE

# Exponents of the screening correction of hydrogenic L shells, Na (Z = 11) to Kr: Egerton's SIGMAL3.
_L_EXPONENTS = (
    0.82, 0.52, 0.52, 0.42, 0.30, 0.29, 0.22, 0.30, 0.22, 0.16, 0.12, 0.13, 0.13,
    0.14, 0.16, 0.18, 0.19, 0.22, 0.14, 0.11, 0.12, 0.12, 0.12, 0.10, 0.10, 0.10,
)  # fmt: skip


def _hydrogenic(energy, q2, charge, binding):
    """Reduced momentum, reduced energy and Coulomb factor of a hydrogenic shell.

    ``binding`` is the binding energy of the shell in Z² Ry: 1 for K and 1/4 for L.
    """
    q = q2 / charge**2
    k2 = energy / (RYDBERG * charge**2) - binding
    k = np.maximum(np.sqrt(np.abs(k2)), 0.01 if binding == 1 else 1e-4)
    twice = 2 * np.sqrt(binding)  # 2 for K, 1 for L
    angle = np.arctan2(twice * k, q - k2 + binding)
    free = np.exp(-2 / k * angle) / -np.expm1(-2 * np.pi / k)
    ratio = (q + binding - k2 + twice * k) / np.maximum(q + binding - k2 - twice * k, 1e-12)
    bound = np.exp(-np.log(np.maximum(ratio, 1e-12)) / k)
    return q, k2, np.where(k2 >= 0, free, bound)


def k_shell(z, energy, q2):
    """Generalised oscillator strength of a hydrogenic K shell with two electrons.

    Parameters
    ----------
    z : int
        Atomic number.
    energy : ndarray
        Energy loss in eV.
    q2 : ndarray
        Squared momentum (q a₀)².

    Returns
    -------
    ndarray, in 1/eV

    References
    ----------
    R. F. Egerton, Electron Energy-Loss Spectroscopy in the Electron Microscope, 3rd ed. (2011), eqs. 3.125 to
    3.127 and program SIGMAK3.
    """
    charge = z - 0.5 if z > 1 else 1.0
    q, k2, coulomb = _hydrogenic(energy, q2, charge, 1.0)
    denominator = ((q - k2 + 1) ** 2 + 4 * k2) ** 3
    strength = 256 * energy / (RYDBERG * charge**4) * (q + k2 / 3 + 1 / 3) * coulomb
    return strength / (denominator * RYDBERG)


def l_shell(z, energy, q2, onset_l3, onset_l1):
    """Generalised oscillator strength of a hydrogenic L shell.

    Below the L1 edge the 2p electrons contribute, above it the 2s and 2p electrons.

    Parameters
    ----------
    z : int
        Atomic number.
    energy : ndarray
        Energy loss in eV.
    q2 : ndarray
        Squared momentum (q a₀)².
    onset_l3, onset_l1 : float
        Onset energies in eV.

    Returns
    -------
    ndarray, in 1/eV

    References
    ----------
    R. F. Egerton, Electron Energy-Loss Spectroscopy in the Electron Microscope, 3rd ed. (2011), program
    SIGMAL3.
    """
    charge = z - 0.35 * 7 - 1.7
    q, k2, coulomb = _hydrogenic(energy, q2, charge, 0.25)
    base = (q - k2 + 0.25) ** 2 + k2
    below = (
        2.25 * q**4
        - (0.75 + 3 * k2) * q**3
        + (0.59375 - 0.75 * k2 - 0.5 * k2**2) * q**2
        + (0.11146 + 0.85417 * k2 + 1.8833 * k2**2 + k2**3) * q
        + (0.0035807 + k2 / 21.333 + k2**2 / 4.5714 + k2**3 / 2.4 + k2**4 / 4)
    ) / base**5
    above = (
        q**3
        - (5 / 3 * k2 + 11 / 12) * q**2
        + (k2**2 / 3 + 1.5 * k2 + 65 / 48) * q
        + (k2**3 / 3 + 0.75 * k2**2 + 23 / 48 * k2 + 5 / 64)
    ) / base**4
    exponent = _L_EXPONENTS[z - 11] if 11 <= z < 11 + len(_L_EXPONENTS) else 0.1
    screening = (np.maximum(energy + 0.1 - onset_l3, 0.1) / (1.8 * z**2)) ** exponent
    shape = np.where(energy > onset_l1, above, below)
    return screening * 32 * shape * coulomb * energy / (RYDBERG**2 * charge**4)


def optical_strength(z, shell, energy):
    """Oscillator strength df/dE of a subshell in the optical limit, from photoabsorption.

    Parameters
    ----------
    z : int
        Atomic number.
    shell : int
        Code of xraylib for the subshell, such as ``xraylib.M5_SHELL``.
    energy : ndarray of shape (n,)
        Energy loss in eV.

    Returns
    -------
    ndarray of shape (n,), in 1/eV
        Zero at energies for which xraylib has no cross-section.

    References
    ----------
    σ = 2π²e²ħ/(mc) df/dE, R. F. Egerton (2011), eq. 4.11. The cross-sections are those of L. Kissel in
    xraylib, T. Schoonjans et al., Spectrochim. Acta B 66 (2011) 776.
    """
    to_barn = xraylib.AtomicWeight(z) / 0.602214  # from cm²/g to barn per atom
    strength = np.zeros(len(energy))
    for i, value in enumerate(energy):
        try:
            strength[i] = xraylib.CS_Photo_Partial(z, shell, value * 1e-3) * to_barn
        except ValueError:
            continue
    return strength / _BARN_EV


def dipole(strength, energy, q2):
    """Extend an optical oscillator strength to finite momentum in the dipole approximation.

    The strength is constant at small momentum and falls to zero beyond the Bethe ridge.

    Parameters
    ----------
    strength : ndarray of shape (n, 1)
        Optical oscillator strength in 1/eV.
    energy : ndarray of shape (n, 1)
        Energy loss in eV.
    q2 : ndarray of shape (m,)
        Squared momentum (q a₀)².

    Returns
    -------
    ndarray of shape (n, m), in 1/eV

    References
    ----------
    R. F. Egerton (2011), sec. 3.6.1: the Bethe ridge is at (q a₀)² = E / R.
    """
    return strength / (1 + (q2 * RYDBERG / energy) ** 2)
