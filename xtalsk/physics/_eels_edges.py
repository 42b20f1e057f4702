"""One table of all ionisation edges: onsets, oscillator strengths and white lines."""

from dataclasses import dataclass
from functools import cache

import numpy as np
import xraylib

from xtalsk.physics._eels_gos import dipole, k_shell, l_shell, optical_strength
from xtalsk.utils._formula import N_ELEMENTS, SYMBOLS

ABOVE = np.concatenate([[0.0], np.geomspace(1.0, 5000.0, 47)])
"""Energies above an onset in eV at which edges are tabulated."""

LOG_Q2 = np.linspace(np.log(1e-5), np.log(3e3), 72)
"""ln (q a₀)² at which oscillator strengths are tabulated."""

SHELL_SHARES = {"L3": 2 / 3, "L2": 1 / 3, "M5": 3 / 5, "M4": 2 / 5}
"""Share of a subshell in the electrons of its family."""

_LOWEST, _HIGHEST = 35.0, 4200.0  # range of the tabulated onsets in eV

_SHELLS = ("K", "L3", "L2", "M5", "M4", "M3", "M2", "M1", "N7", "N6", "N5", "N4", "N3", "N2", "O5", "O4")
_PARTNER = {"L3": "L2", "M5": "M4", "M3": "M2", "N7": "N6", "N5": "N4", "N3": "N2", "O5": "O4"}


@dataclass(frozen=True)
class Edges:
    """The edges of all elements, one row per edge.

    Parameters
    ----------
    z : ndarray of int, shape (n,)
        Atomic number.
    family : ndarray of str, shape (n,)
        Family of the subshell, such as ``"L23"`` for L2 and L3.
    shell : ndarray of str, shape (n,)
        Subshell, such as ``"L3"``.
    onset : ndarray of shape (n,)
        Onset energy in eV.
    strength : ndarray of shape (n, n_above, n_q2)
        Generalised oscillator strength in 1/eV. The second axis is the energy `ABOVE` the onset, the third
        is `LOG_Q2`.
    line_area : ndarray of shape (n,)
        Area of the white line at the onset, in eV times the cross-section of the whole family 30 eV above
        the onset.
    """

    z: np.ndarray
    family: np.ndarray
    shell: np.ndarray
    onset: np.ndarray
    strength: np.ndarray
    line_area: np.ndarray

    def __len__(self):
        return len(self.z)

    def name(self, i):
        """Element and shell of an edge, such as ``"Ti L3"``."""
        return f"{SYMBOLS[self.z[i] - 1]} {self.shell[i]}"


@cache
def edge_table():
    """Tabulate all edges between 35 and 4,200 eV.

    K and L23 edges have hydrogenic oscillator strengths, which agree with atomic calculations within 10 to
    15%. The hydrogenic model fails for M, N and O shells: their strengths come from photoabsorption in the
    dipole approximation. The onset energies are those of xraylib.

    Returns
    -------
    Edges
    """
    rows = []
    for z in range(3, N_ELEMENTS + 1):
        for shell in _SHELLS:
            onset = onset_energy(z, shell)
            if _LOWEST <= onset <= _HIGHEST:
                strength = _strength(z, shell, onset)
                if strength[:30].max() > 0:
                    rows.append((z, _family(shell), shell, onset, strength, white_line_area(z, shell)))
    z, family, shell, onset, strength, area = zip(*rows, strict=True)
    return Edges(
        np.array(z), np.array(family), np.array(shell), np.array(onset),
        np.array(strength, dtype=np.float32), np.array(area),
    )  # fmt: skip


def onset_energy(z, shell):
    """Binding energy of a subshell in eV; 0 if xraylib has no value."""
    try:
        return 1e3 * xraylib.EdgeEnergy(z, getattr(xraylib, f"{shell}_SHELL"))
    except ValueError:
        return 0.0


def _family(shell):
    """Family of a subshell, such as ``"L23"`` for L3."""
    partners = {**_PARTNER, **{b: a for a, b in _PARTNER.items()}}
    if shell not in partners:
        return shell
    return shell[0] + "".join(sorted(shell[1] + partners[shell][1]))


def _strength(z, shell, onset):
    """Oscillator strength of a subshell in 1/eV, shape (n_above, n_q2)."""
    energy, q2 = (onset + ABOVE)[:, None], np.exp(LOG_Q2)
    if shell == "K":
        return k_shell(z, energy, q2)
    if shell[0] == "L":
        onset_l1 = onset_energy(z, "L1") or 1.2 * onset
        onset_l3 = onset_energy(z, "L3") or onset
        return SHELL_SHARES[shell] * l_shell(z, energy, q2, onset_l3, onset_l1)
    code = getattr(xraylib, f"{shell}_SHELL")
    return dipole(optical_strength(z, code, energy[:, 0] * 1.0005)[:, None], energy, q2)


def white_line_area(z, shell):
    """Area of the white line of a subshell.

    White lines are transitions to empty 3d, 4d or 4f states. The area is proportional to the number of empty
    states of the ion that is common in solids [1]_. The factors are rough: that of the 3d metals comes from
    titanium and manganese in two measured oxides. The share of the L3 line follows [2]_. The share of the M5
    line follows [3]_ coarsely.

    Parameters
    ----------
    z : int
        Atomic number.
    shell : str
        Subshell, such as ``"L3"``.

    Returns
    -------
    float
        In eV times the cross-section of the family 30 eV above the onset; 0 without a white line.

    References
    ----------
    .. [1] D. H. Pearson, C. C. Ahn and B. Fultz, Phys. Rev. B 47 (1993) 8471.
    .. [2] R. D. Leapman, L. A. Grunes and P. L. Fejes, Phys. Rev. B 26 (1982) 614.
    .. [3] B. T. Thole et al., Phys. Rev. B 32 (1985) 5107.
    """
    if shell in ("L3", "L2") and 19 <= z <= 30:
        holes = min(10.0, 1.2 * (30 - z))
        share = np.interp(z, [22, 24, 25, 27, 29], [0.48, 0.6, 0.7, 0.72, 0.65])
        return 4.2 * holes * (share if shell == "L3" else 1 - share)
    if shell in ("L3", "L2") and 37 <= z <= 47:
        return 1.2 * min(10.0, 48 - z) * (0.6 if shell == "L3" else 0.4)
    if shell in ("M5", "M4") and 56 <= z <= 70:
        holes = min(14.0, 71 - z)
        share = np.interp(z, [56, 70], [0.42, 0.85])
        return 3.5 * holes * (share if shell == "M5" else 1 - share)
    return 0.0
