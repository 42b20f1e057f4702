"""Which edges the elements have, and the oscillator strengths of all of them in one table."""

from dataclasses import dataclass
from functools import cache

import numpy as np
import xraylib

from xtalsk.physics._eels_gos import dipole, k_shell, l_shell, optical_strength
from xtalsk.utils._formula import N_ELEMENTS, SYMBOLS

LOWEST, HIGHEST = 35.0, 4200.0  # onsets that are tabulated, in eV
ABOVE = np.concatenate([[0.0], np.geomspace(1.0, 5000.0, 47)])  # energies above an onset, in eV
LOG_Q2 = np.linspace(np.log(1e-5), np.log(3e3), 72)  # ln (q a₀)²

_SHELLS = ("K", "L3", "L2", "M5", "M4", "M3", "M2", "M1", "N7", "N6", "N5", "N4", "N3", "N2", "O5", "O4")
_PARTNER = {"L3": "L2", "M5": "M4", "M3": "M2", "N7": "N6", "N5": "N4", "N3": "N2", "O5": "O4"}
_SHARE = {"L3": 2 / 3, "L2": 1 / 3}


@dataclass(frozen=True)
class Edges:
    """The edges of all elements, in columns of one row an edge.

    Parameters
    ----------
    z : ndarray of int, shape (n,)
    family : ndarray of str, shape (n,)
        Subshells that belong together, such as ``"L23"``.
    shell : ndarray of str, shape (n,)
    onset : ndarray of shape (n,)
        In eV.
    strength : ndarray of shape (n, n_above, n_q2)
        Generalised oscillator strength in 1/eV at `ABOVE` the onset and at `LOG_Q2`.
    line_area : ndarray of shape (n,)
        Area of the white line at the onset, in eV times the height of the whole family 30 eV above it.
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

    Hydrogenic strengths for K and L23, where they agree with atomic calculations within some 10 to 15%; for
    M, N and O shells, where they fail, those of photoabsorption in the dipole approximation. Onsets are
    xraylib's. Returns `Edges`.
    """
    rows = []
    for z in range(3, N_ELEMENTS + 1):
        for shell in _SHELLS:
            onset = onset_energy(z, shell)
            if LOWEST <= onset <= HIGHEST:
                strength = _strength(z, shell, onset)
                if strength[:30].max() > 0:
                    rows.append((z, _family(shell), shell, onset, strength, white_line_area(z, shell)))
    z, family, shell, onset, strength, area = zip(*rows, strict=True)
    return Edges(
        np.array(z), np.array(family), np.array(shell), np.array(onset),
        np.array(strength, dtype=np.float32), np.array(area),
    )  # fmt: skip


def onset_energy(z, shell):
    """Binding energy of a shell in eV, 0 where xraylib has none."""
    try:
        return 1e3 * xraylib.EdgeEnergy(z, getattr(xraylib, f"{shell}_SHELL"))
    except ValueError:
        return 0.0


def _family(shell):
    partners = {**_PARTNER, **{b: a for a, b in _PARTNER.items()}}
    if shell not in partners:
        return shell
    return shell[0] + "".join(sorted(shell[1] + partners[shell][1]))


def _strength(z, shell, onset):
    energy, q2 = (onset + ABOVE)[:, None], np.exp(LOG_Q2)
    if shell == "K":
        return k_shell(z, energy, q2)
    if shell[0] == "L":
        onset_l1 = onset_energy(z, "L1") or 1.2 * onset
        onset_l3 = onset_energy(z, "L3") or onset
        return _SHARE[shell] * l_shell(z, energy, q2, onset_l3, onset_l1)
    code = getattr(xraylib, f"{shell}_SHELL")
    return dipole(optical_strength(z, code, energy[:, 0] * 1.0005)[:, None], energy, q2)


def white_line_area(z, shell):
    """Area of the white line of a shell: transitions to empty 3d, 4d or 4f states.

    It is proportional to the number of empty states of the ion that is usual in a solid, as found for metals
    by D. H. Pearson, C. C. Ahn and B. Fultz, Phys. Rev. B 47 (1993) 8471; the factors are rough, 3d's that of
    titanium and manganese in two measured oxides. The share of the L3 line follows R. D. Leapman, L. A.
    Grunes and P. L. Fejes, Phys. Rev. B 26 (1982) 614, that of M5 B. T. Thole et al., Phys. Rev. B 32 (1985)
    5107, coarsely.

    Parameters
    ----------
    z : int
    shell : str

    Returns
    -------
    float
        In eV times the height of the family's continuum.
    """
    if shell in ("L3", "L2") and 19 <= z <= 30:
        holes = min(10.0, 1.2 * (30 - z))
        first = np.interp(z, [22, 24, 25, 27, 29], [0.48, 0.6, 0.7, 0.72, 0.65])
        return 4.2 * holes * (first if shell == "L3" else 1 - first)
    if shell in ("L3", "L2") and 37 <= z <= 47:
        return 1.2 * min(10.0, 48 - z) * (0.6 if shell == "L3" else 0.4)
    if shell in ("M5", "M4") and 56 <= z <= 70:
        holes = min(14.0, 71 - z)
        first = np.interp(z, [56, 70], [0.42, 0.85])
        return 3.5 * holes * (first if shell == "M5" else 1 - first)
    return 0.0
