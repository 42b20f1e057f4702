"""Characteristic X-rays that a specimen of given composition emits."""

from functools import cache

import numpy as np
import torch
import xraylib
from scipy.constants import Avogadro

from xtalsk.physics._depth import atomic_weights, emitted_depth, matrix_terms, overvoltage_exponent
from xtalsk.physics._ionisation import ionisation_cross_section, shell_correction, shell_radius_term
from xtalsk.physics._xray_lines import xray_lines
from xtalsk.utils._formula import N_ELEMENTS

_LOWEST_TABULATED = 100.0


def mass_attenuation(energies):
    """Mass attenuation coefficients of the elements, from xraylib.

    Parameters
    ----------
    energies : sequence of float
        In eV; below 100 eV, where the table ends, the value at 100 eV is scaled by E^-3.

    Returns
    -------
    tensor of float64, shape (98, n_energies)
        In cm²/g.
    """
    table = np.empty((N_ELEMENTS, len(energies)))
    for k, energy in enumerate(energies):
        at = max(float(energy), _LOWEST_TABULATED)
        steeper = (at / float(energy)) ** 3
        table[:, k] = [xraylib.CS_Total(min(z, 92), at / 1e3) * steeper for z in range(1, N_ELEMENTS + 1)]
    return torch.from_numpy(table)


@cache
def line_tables():
    """Return the table of lines as float64 tensors on the CPU, with what the yields need.

    Returns
    -------
    dict of str to tensor
        ``z``, ``energy``, ``photons``, ``sources`` and ``attenuation`` (98, n_lines) of the lines, ``edge``
        and ``exponent`` of the first shell of their families, and by shell ``shell_edge``, ``electrons``,
        ``radius_term`` and ``correction``.
    """
    lines = xray_lines()
    first = lines.first_edge
    columns = {
        "z": lines.z,
        "energy": lines.energy,
        "photons": lines.photons,
        "sources": lines.sources,
        "edge": first,
        "exponent": overvoltage_exponent(lines.z, lines.family),
        "shell_edge": lines.edge,
        "electrons": lines.electrons,
        "radius_term": shell_radius_term(lines.shell_z, lines.shell_family, lines.edge),
        "correction": shell_correction(lines.shell_name),
    }
    tables = {name: torch.from_numpy(values) for name, values in columns.items()}
    return tables | {"attenuation": mass_attenuation(lines.energy)}


def photons_per_electron(line, beam_energy, tables):
    """Photons of lines per incident electron and atom per area: cross-sections times yields, in cm².

    Parameters
    ----------
    line : tensor of int, shape (p,)
    beam_energy : tensor of shape (p,)
        In eV.
    tables : dict
        See `line_tables`.

    Returns
    -------
    tensor of shape (p,)
    """
    sources = tables["sources"][line]
    cross_sections = ionisation_cross_section(
        beam_energy[:, None],
        tables["shell_edge"][sources],
        tables["electrons"][sources],
        tables["radius_term"][sources],
        tables["correction"][sources],
    )
    return (tables["photons"][line] * cross_sections).sum(1)


def line_yields(mass, line, row, beam_energy, takeoff_angle, thickness, tables=None, photons=None):
    """Photons of lines that leave a specimen into 4π, before the detector.

    They are counted per incident electron and per unit of mass fraction of the element that emits them.

    Ionisation cross-sections at the beam energy, fluorescence yields and Coster-Kronig transitions, and the
    depth from which lines emerge: of a bulk specimen after Pouchou and Pichoir, of a film with parallel sides
    the thickness with its own absorption. Fluorescence by other X-rays is left out; it adds a few per cent to
    lines just below a strong one of a heavier element.

    Parameters
    ----------
    mass : tensor of float64, shape (n, 98)
        Mass fractions of the specimens.
    line : tensor of int, shape (p,)
        Places of the lines in `xray_lines`.
    row : tensor of int, shape (p,)
        The specimen of each.
    beam_energy, takeoff_angle, thickness : tensor of float64, shape (n,)
        In eV, degrees and g/cm² (``inf`` for bulk specimens).
    tables : dict or None
        `line_tables` on the device of ``mass``.
    photons : tensor of shape (p,) or None
        See `photons_per_electron`, where they are known already.

    Returns
    -------
    tensor of shape (p,)
    """
    tables = line_tables() if tables is None else tables
    z = tables["z"][line] - 1
    if photons is None:
        photons = photons_per_electron(line, beam_energy[row], tables)
    sine = torch.sin(torch.deg2rad(takeoff_angle))
    chi = (mass @ tables["attenuation"])[row, line] / sine[row]
    thick = torch.isinf(thickness)
    film = torch.where(thick, 0.0, thickness)[row]
    depth = -torch.expm1(-chi * film) / chi
    if thick.any():
        matrix = [term[:, 0][row] for term in matrix_terms(mass)]
        edge, exponent = tables["edge"][line] / 1e3, tables["exponent"][line]
        bulk = emitted_depth(matrix, beam_energy[row] / 1e3, edge, exponent, chi)
        depth = torch.where(thick[row], bulk, depth)
    return Avogadro / atomic_weights().to(mass)[z] * photons * depth
