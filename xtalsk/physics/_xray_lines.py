"""Characteristic X-ray lines of the elements."""

import re
from dataclasses import dataclass
from functools import cache

import numpy as np
import xraylib

from xtalsk.utils._formula import N_ELEMENTS

LOWEST_LINE, HIGHEST_LINE = 100.0, 40_000.0
"""Energies in eV between which lines are listed; photoabsorption is tabulated from 100 eV."""

FAMILIES = ("K", "L", "M", "N")

_SHELLS = ["K", *(f"L{k}" for k in range(1, 4)), *(f"M{k}" for k in range(1, 6)), "N4", "N5"]
_ELECTRONS = dict(zip(_SHELLS, (2, 2, 2, 4, 2, 2, 4, 4, 6, 4, 6), strict=True))
_LINE = re.compile(r"(K|L[123]|M[1-5]|N[45])([LMNO][1-7])_LINE")
_WEAKEST = 0.003  # of the strongest line of the family, were shells ionised by the number of their electrons
_FIRST_4F = 57
# W. T. Elam, B. D. Ravel and J. R. Sieber, Radiat. Phys. Chem. 63 (2002) 121
_LIGHT_YIELDS = {5: 7.0e-4, 6: 1.4e-3, 7: 3.1e-3, 8: 5.8e-3, 9: 9.2e-3, 10: 1.6e-2}


@dataclass(frozen=True, eq=False)
class XRayLines:
    """Lines of the elements from boron to californium, and the shells whose vacancies they fill.

    Parameters
    ----------
    z, family, energy : ndarray of shape (n_lines,)
        Atomic number; 0 to 3 for K, L, M and N; energy in eV.
    photons : ndarray of shape (n_lines, n_sources)
        Photons of the line per ionisation of each of its source shells: fluorescence yield times radiative
        rate times the share of the vacancies that Coster-Kronig transitions bring to the shell that the line
        fills.
    sources : ndarray of int, shape (n_lines, n_sources)
        Positions of these shells in the arrays below.
    name : ndarray of str, shape (n_lines,)
        In the notation of the IUPAC, ``"KL3"``.
    shell_z, shell_family, shell_name, edge, electrons : ndarray of shape (n_shells,)
        Atomic number, family and name of each shell, its binding energy in eV and number of electrons.
    """

    z: np.ndarray
    family: np.ndarray
    energy: np.ndarray
    photons: np.ndarray
    sources: np.ndarray
    name: np.ndarray
    shell_z: np.ndarray
    shell_family: np.ndarray
    shell_name: np.ndarray
    edge: np.ndarray
    electrons: np.ndarray

    @property
    def first_edge(self):
        """Lowest binding energy of the family of each line in eV, ndarray of shape (n_lines,)."""
        lowest = np.full((N_ELEMENTS + 1, len(FAMILIES)), np.inf)
        np.minimum.at(lowest, (self.shell_z, self.shell_family), self.edge)
        return lowest[self.z, self.family]


def _look_up(function, *arguments):
    """Call xraylib, which has an error for every number it lacks; 0 stands for it here."""
    try:
        return function(*arguments)
    except ValueError:
        return 0.0


def _energy(z, name):
    """Energy in eV; lanthanum's lines from 4f states, which xraylib lacks, reach up to the edge."""
    if z == _FIRST_4F and name in ("M5N7", "M4N6"):
        return 1e3 * xraylib.EdgeEnergy(z, getattr(xraylib, f"{name[:2]}_SHELL"))
    return 1e3 * _look_up(xraylib.LineEnergy, z, getattr(xraylib, f"{name}_LINE"))


def _rate(z, name):
    """Radiative rate; those of the 4f electrons before gadolinium, which xraylib lacks, are gadolinium's."""
    if name in ("M5N7", "M5N6", "M4N6", "M5N3", "M4N2") and _FIRST_4F <= z < 64:
        z = 64
    if name[:2] in ("N4", "N5"):
        return 1.0 if name in ("N4N6", "N5N7") and z > 70 else 0.0
    return _look_up(xraylib.RadRate, z, getattr(xraylib, f"{name}_LINE"))


def _yield(z, shell):
    """Fluorescence yield, faults of the table mended.

    K yields before sodium are too high by 14% (F) to 80% (C) to agree with measured oxides and fluorides:
    those of Elam et al. are taken. M5 has none for lanthanum: half of M4's is taken. M2 jumps tenfold between
    platinum and bismuth: it is kept below one and a half times M3.
    """
    if shell == "K" and z in _LIGHT_YIELDS:
        return _LIGHT_YIELDS[z]
    value = _look_up(xraylib.FluorYield, z, getattr(xraylib, f"{shell}_SHELL"))
    if shell == "M5" and not value and z >= _FIRST_4F:
        return 0.5 * _yield(z, "M4")
    if shell == "M2":
        return min(value, 1.5 * _yield(z, "M3"))
    return value


def _transfer(z, shells):
    """Share of the vacancies made in each shell of a family that Coster-Kronig transitions bring to each."""
    n = len(shells)
    step = np.zeros((n, n))
    for i in range(n):
        for j in range(i + 1, n):
            code = getattr(xraylib, f"F{shells[i]}{shells[j][1]}_TRANS", None)
            step[i, j] = 0.0 if code is None else _look_up(xraylib.CosKronTransProb, z, code)
    total = np.eye(n)
    for j in range(1, n):  # a vacancy moves outward only, so shells are complete in order
        total[:, j] += total[:, :j] @ step[:j, j]
    return total


def _lines_of_shell(z, shell, names):
    """Energies and photons per vacancy of the lines that fill a shell; close ones are put together."""
    found = []
    for name in names:
        energy = _energy(z, name)
        photons = _yield(z, shell) * _rate(z, name)
        if LOWEST_LINE <= energy <= HIGHEST_LINE and photons > 0:
            found.append((energy, photons, name))
    if not found:
        return []
    found.sort()
    merged = [found[0]]
    for energy, photons, name in found[1:]:
        before = merged[-1]
        if energy - before[0] > 6:
            merged.append((energy, photons, name))
            continue
        total = before[1] + photons
        mean = (before[0] * before[1] + energy * photons) / total
        merged[-1] = (mean, total, name if photons > before[1] else before[2])
    return merged


@cache
def xray_lines():
    """Return the table of lines: energies, yields and rates of xraylib [1]_.

    Returns
    -------
    XRayLines

    References
    ----------
    .. [1] T. Schoonjans et al., Spectrochim. Acta B 66 (2011) 776.
    """
    names = {shell: [] for shell in _SHELLS}
    for macro in dir(xraylib):
        if match := _LINE.fullmatch(macro):
            names[match[1]].append(macro.removesuffix("_LINE"))
    families = [[s for s in _SHELLS if s[0] == family] for family in FAMILIES]
    width = max(map(len, families))
    shells, lines = [], []
    for z in range(3, N_ELEMENTS + 1):
        for family, members in enumerate(families):
            edges = [1e3 * _look_up(xraylib.EdgeEnergy, z, getattr(xraylib, f"{s}_SHELL")) for s in members]
            present = [(s, e) for s, e in zip(members, edges, strict=True) if e > 0]
            transfer = _transfer(z, [s for s, _ in present]) if present else None
            first = len(shells)
            for k, (shell, edge) in enumerate(present):
                shells.append((z, family, shell, edge, _ELECTRONS[shell]))
                for energy, photons, name in _lines_of_shell(z, shell, names[shell]):
                    row = np.zeros(width)
                    row[: len(present)] = photons * transfer[:, k]
                    sources = np.minimum(first + np.arange(width), first + len(present) - 1)
                    lines.append((z, family, energy, row, sources, name))
    shells = [np.array(column) for column in zip(*shells, strict=True)]
    z, family, energy, photons, sources, name = (np.array(column) for column in zip(*lines, strict=True))
    typical = (photons * shells[-1][sources]).sum(1)
    strongest = np.zeros((N_ELEMENTS + 1, len(FAMILIES)))
    np.maximum.at(strongest, (z, family), typical)
    kept = typical > _WEAKEST * strongest[z, family]
    return XRayLines(*(a[kept] for a in (z, family, energy, photons, sources, name)), *shells)
