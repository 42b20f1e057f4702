"""Characteristic X-ray lines of the elements."""

import re
from dataclasses import dataclass
from functools import cache

import numpy as np
import xraylib

from xtalsk.utils._formula import N_ELEMENTS

LOWEST_LINE, HIGHEST_LINE = 100.0, 40_000.0
"""Energies in eV between which lines are listed. Tables of photoabsorption start at 100 eV."""

FAMILIES = ("K", "L", "M", "N")

_SHELLS = ["K", *(f"L{k}" for k in range(1, 4)), *(f"M{k}" for k in range(1, 6)), "N4", "N5"]
_ELECTRONS = dict(zip(_SHELLS, (2, 2, 2, 4, 2, 2, 4, 4, 6, 4, 6), strict=True))
_FAMILY_SHELLS = [[s for s in _SHELLS if s[0] == family] for family in FAMILIES]
_N_SOURCES = max(map(len, _FAMILY_SHELLS))
_LINE = re.compile(r"(K|L[123]|M[1-5]|N[45])([LMNO][1-7])_LINE")
_WEAKEST = 0.003  # lines weaker than this share of the strongest line of their family are left out
_CLOSE = 6.0  # lines of one shell that are closer than this, in eV, become one line
_LIGHTEST = 3  # lithium: hydrogen and helium have no characteristic line
_LANTHANUM, _GADOLINIUM, _YTTERBIUM = 57, 64, 70
# K fluorescence yields; W. T. Elam, B. D. Ravel and J. R. Sieber, Radiat. Phys. Chem. 63 (2002) 121
_LIGHT_YIELDS = {5: 7.0e-4, 6: 1.4e-3, 7: 3.1e-3, 8: 5.8e-3, 9: 9.2e-3, 10: 1.6e-2}


@dataclass(frozen=True, eq=False)
class XRayLines:
    """X-ray lines of the elements boron to californium, and the shells that emit them.

    Parameters
    ----------
    z, family, energy : ndarray of shape (n_lines,)
        Atomic number, family (0 to 3 for K, L, M and N) and energy in eV of each line.
    photons : ndarray of shape (n_lines, n_sources)
        Photons of the line per ionisation of each source shell. It is the product of fluorescence yield,
        radiative rate, and the probability that Coster-Kronig transitions move the vacancy from the source
        shell to the shell that emits the line.
    sources : ndarray of int, shape (n_lines, n_sources)
        Indices of the source shells in the arrays below.
    name : ndarray of str, shape (n_lines,)
        Name in IUPAC notation, such as ``"KL3"``.
    shell_z, shell_family, shell_name, edge, electrons : ndarray of shape (n_shells,)
        Atomic number, family and name of each shell, its binding energy in eV and its number of electrons.
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
        """Lowest binding energy in eV in the family of each line, ndarray of shape (n_lines,)."""
        lowest = np.full((N_ELEMENTS + 1, len(FAMILIES)), np.inf)
        np.minimum.at(lowest, (self.shell_z, self.shell_family), self.edge)
        return lowest[self.z, self.family]


def _look_up(function, *arguments):
    """Return a value of xraylib, 0 where xraylib has none."""
    try:
        return function(*arguments)
    except ValueError:
        return 0.0


def _binding_energy(z, shell):
    """Return the binding energy of a shell in eV, 0 where the element lacks the shell."""
    return 1e3 * _look_up(xraylib.EdgeEnergy, z, getattr(xraylib, f"{shell}_SHELL"))


def _energy(z, name):
    """Return the energy of a line in eV.

    xraylib lacks the lines of lanthanum from 4f states. They have the binding energy of the M shell.
    """
    if z == _LANTHANUM and name in ("M5N7", "M4N6"):
        return _binding_energy(z, name[:2])
    return 1e3 * _look_up(xraylib.LineEnergy, z, getattr(xraylib, f"{name}_LINE"))


def _rate(z, name):
    """Return the radiative rate of a line.

    xraylib lacks the rates of 4f electrons before gadolinium. They are those of gadolinium.
    """
    if name in ("M5N7", "M5N6", "M4N6", "M5N3", "M4N2") and _LANTHANUM <= z < _GADOLINIUM:
        z = _GADOLINIUM
    if name[:2] in ("N4", "N5"):
        return 1.0 if name in ("N4N6", "N5N7") and z > _YTTERBIUM else 0.0
    return _look_up(xraylib.RadRate, z, getattr(xraylib, f"{name}_LINE"))


def _yield(z, shell):
    """Return the fluorescence yield of a shell, with corrections of xraylib's table.

    The K yields of xraylib below sodium are 14% (F) to 80% (C) too high for measured oxides and fluorides.
    The yields of Elam et al. replace them. xraylib has no M5 yield for lanthanum; half of the M4 yield
    replaces it. The M2 yields jump tenfold between platinum and bismuth; they are limited to one and a half
    times the M3 yield.
    """
    if shell == "K" and z in _LIGHT_YIELDS:
        return _LIGHT_YIELDS[z]
    value = _look_up(xraylib.FluorYield, z, getattr(xraylib, f"{shell}_SHELL"))
    if shell == "M5" and not value and z >= _LANTHANUM:
        return 0.5 * _yield(z, "M4")
    if shell == "M2":
        return min(value, 1.5 * _yield(z, "M3"))
    return value


def _vacancy_transfer(z, shells):
    """Return the probability that a vacancy moves from each shell of a family to each other one.

    Vacancies move by Coster-Kronig transitions, in one or several steps.

    Returns
    -------
    ndarray of shape (n_shells, n_shells)
        Row: shell that is ionised; column: shell that the vacancy reaches.
    """
    n = len(shells)
    step = np.zeros((n, n))
    for i in range(n):
        for j in range(i + 1, n):
            code = getattr(xraylib, f"F{shells[i]}{shells[j][1]}_TRANS", None)
            step[i, j] = 0.0 if code is None else _look_up(xraylib.CosKronTransProb, z, code)
    total = np.eye(n)
    for j in range(1, n):  # vacancies only move outward, so columns left of j are final
        total[:, j] += total[:, :j] @ step[:j, j]
    return total


def _merge_close_lines(lines):
    """Return (energy, photons, name) of sorted lines, close ones replaced by their mean."""
    merged = lines[:1]
    for energy, photons, name in lines[1:]:
        last_energy, last_photons, last_name = merged[-1]
        if energy - last_energy > _CLOSE:
            merged.append((energy, photons, name))
            continue
        total = last_photons + photons
        mean = (last_energy * last_photons + energy * photons) / total
        merged[-1] = (mean, total, name if photons > last_photons else last_name)
    return merged


def _lines_of_shell(z, shell, names):
    """Return (energy in eV, photons per vacancy, name) of the lines that a shell emits."""
    lines = []
    for name in names:
        energy = _energy(z, name)
        photons = _yield(z, shell) * _rate(z, name)
        if LOWEST_LINE <= energy <= HIGHEST_LINE and photons > 0:
            lines.append((energy, photons, name))
    return _merge_close_lines(sorted(lines))


def _line_names():
    """Return the names of all lines that xraylib knows, a list for each shell."""
    names = {shell: [] for shell in _SHELLS}
    for macro in dir(xraylib):
        if match := _LINE.fullmatch(macro):
            names[match[1]].append(macro.removesuffix("_LINE"))
    return names


def _family_tables(z, family, names, first_shell):
    """Return the rows of one family of one element.

    Parameters
    ----------
    z, family : int
        Atomic number, and 0 to 3 for K, L, M and N.
    names : dict
        Result of `_line_names`.
    first_shell : int
        Index that the first shell of the family gets in the table of shells.

    Returns
    -------
    shells : list of (z, family, name, edge, electrons)
    lines : list of (z, family, energy, photons, sources, name)
    """
    edges = {shell: _binding_energy(z, shell) for shell in _FAMILY_SHELLS[family]}
    edges = {shell: edge for shell, edge in edges.items() if edge > 0}
    if not edges:
        return [], []
    transfer = _vacancy_transfer(z, list(edges))
    sources = np.minimum(first_shell + np.arange(_N_SOURCES), first_shell + len(edges) - 1)
    lines = []
    for k, shell in enumerate(edges):
        for energy, photons, name in _lines_of_shell(z, shell, names[shell]):
            per_ionisation = np.zeros(_N_SOURCES)
            per_ionisation[: len(edges)] = photons * transfer[:, k]
            lines.append((z, family, energy, per_ionisation, sources, name))
    return [(z, family, shell, edge, _ELECTRONS[shell]) for shell, edge in edges.items()], lines


def _is_strong(z, family, photons, source_electrons):
    """Return which lines reach 0.3% of the strongest line of their family, ndarray of bool.

    It takes the ionisation of each shell as proportional to its number of electrons.
    """
    intensity = (photons * source_electrons).sum(1)
    strongest = np.zeros((N_ELEMENTS + 1, len(FAMILIES)))
    np.maximum.at(strongest, (z, family), intensity)
    return intensity > _WEAKEST * strongest[z, family]


@cache
def xray_lines():
    """Return the table of X-ray lines, with energies, yields and rates of xraylib [1]_.

    Returns
    -------
    XRayLines

    References
    ----------
    .. [1] T. Schoonjans et al., Spectrochim. Acta B 66 (2011) 776.
    """
    names = _line_names()
    shells, lines = [], []
    for z in range(_LIGHTEST, N_ELEMENTS + 1):
        for family in range(len(FAMILIES)):
            family_shells, family_lines = _family_tables(z, family, names, len(shells))
            shells += family_shells
            lines += family_lines
    shells = [np.array(column) for column in zip(*shells, strict=True)]
    z, family, energy, photons, sources, name = (np.array(column) for column in zip(*lines, strict=True))
    strong = _is_strong(z, family, photons, shells[-1][sources])
    return XRayLines(*(column[strong] for column in (z, family, energy, photons, sources, name)), *shells)
