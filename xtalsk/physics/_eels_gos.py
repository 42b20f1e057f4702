"""How strongly a shell takes up an energy and a momentum: generalised oscillator strengths."""

import numpy as np
import xraylib

RYDBERG = 13.6057  # eV
_BARN_EV = 1.0976e8  # 2π²e²ħ/(mc) in barn eV: photoabsorption cross-section per oscillator strength and eV

# Egerton's correction of hydrogenic L shells for screening, Na (Z = 11) to Kr.
_L_EXPONENTS = (
    0.82, 0.52, 0.52, 0.42, 0.30, 0.29, 0.22, 0.30, 0.22, 0.16, 0.12, 0.13, 0.13,
    0.14, 0.16, 0.18, 0.19, 0.22, 0.14, 0.11, 0.12, 0.12, 0.12, 0.10, 0.10, 0.10,
)  # fmt: skip


def _hydrogenic(energy, q2, charge, quarter):
    """Parts that the K and L shells share: the energy above the shell, and the Coulomb factor.

    ``quarter`` is 1 for K and 1/4 for L, the binding energy of the hydrogenic shell in Z² Ry.
    """
    q = q2 / charge**2
    k2 = energy / (RYDBERG * charge**2) - quarter
    k = np.maximum(np.sqrt(np.abs(k2)), 0.01 if quarter == 1 else 1e-4)
    twice = 2 * np.sqrt(quarter)  # 2 for K, 1 for L
    angle = np.arctan2(twice * k, q - k2 + quarter)
    free = np.exp(-2 / k * angle) / -np.expm1(-2 * np.pi / k)
    ratio = (q + quarter - k2 + twice * k) / np.maximum(q + quarter - k2 - twice * k, 1e-12)
    bound = np.exp(-np.log(np.maximum(ratio, 1e-12)) / k)
    return q, k2, np.where(k2 >= 0, free, bound)


def k_shell(z, energy, q2):
    """Generalised oscillator strength of the two electrons of a hydrogenic K shell.

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
    """Generalised oscillator strength of a hydrogenic L shell: 2p below the L1 edge, 2s and 2p above.

    Parameters
    ----------
    z, energy, q2
        As in `k_shell`.
    onset_l3, onset_l1 : float
        In eV.

    Returns
    -------
    ndarray, in 1/eV

    References
    ----------
    R. F. Egerton (2011), as above, program SIGMAL3.
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
    """Oscillator strength df/dE of a shell in the optical limit, from its photoabsorption.

    Parameters
    ----------
    z : int
    shell : int
        Of xraylib, such as ``xraylib.M5_SHELL``.
    energy : ndarray of shape (n,)
        In eV. Where xraylib has no value it is zero.

    Returns
    -------
    ndarray of shape (n,), in 1/eV

    References
    ----------
    σ = 2π²e²ħ/(mc) df/dE, Egerton (2011), eq. 4.11; the cross-sections are those of L. Kissel as tabulated
    by xraylib, T. Schoonjans et al., Spectrochim. Acta B 66 (2011) 776.
    """
    barn = xraylib.AtomicWeight(z) / 0.602214
    out = np.zeros(len(energy))
    for i, value in enumerate(energy):
        try:
            out[i] = xraylib.CS_Photo_Partial(z, shell, value * 1e-3) * barn
        except ValueError:
            continue
    return out / _BARN_EV


def dipole(strength, energy, q2):
    """Extend an optical oscillator strength to finite momentum: constant, and none beyond the Bethe ridge.

    Parameters
    ----------
    strength : ndarray of shape (n, 1)
    energy : ndarray of shape (n, 1)
        In eV.
    q2 : ndarray of shape (m,)

    Returns
    -------
    ndarray of shape (n, m)

    References
    ----------
    Egerton (2011), sec. 3.6.1: the ridge stands where (q a₀)² is E / R.
    """
    return strength / (1 + (q2 * RYDBERG / energy) ** 2)
