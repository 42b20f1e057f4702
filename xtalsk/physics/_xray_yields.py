"""Characteristic X-rays that a specimen of known composition emits."""

from functools import cache

import numpy as np
import torch
import xraylib_np
from scipy.constants import Avogadro

from xtalsk.physics._depth import atomic_weights, emitted_depth, matrix_terms, overvoltage_exponent
from xtalsk.physics._ionisation import ionisation_cross_section, shell_correction, shell_radius_term
from xtalsk.physics._xray_lines import xray_lines
from xtalsk.utils._formula import N_ELEMENTS

_LOWEST_TABULATED = 100.0  # eV
_URANIUM = 92  # the last element of the attenuation table


def mass_attenuation(energies, elements=None):
    """Mass attenuation coefficients of the elements, from xraylib.

    Parameters
    ----------
    energies : sequence of float
        Photon energies in eV. The table starts at 100 eV; below, its first value is scaled by E^-3.
    elements : sequence of int or None
        Atomic numbers; 1 to 98 by default.

    Returns
    -------
    tensor of float64, shape (n_elements, n_energies)
        Coefficients in cm²/g. Elements beyond uranium have that of uranium.
    """
    energies = np.asarray(energies, dtype=float)
    elements = np.arange(1, N_ELEMENTS + 1) if elements is None else np.asarray(elements)
    tabulated = energies.clip(_LOWEST_TABULATED)
    z, row = np.unique(elements.clip(max=_URANIUM), return_inverse=True)
    table = xraylib_np.CS_Total(z.astype(np.int64), tabulated / 1e3) * (tabulated / energies) ** 3
    return torch.from_numpy(table[row])


@cache
def line_tables():
    """Return the table of lines and shells as float64 tensors on the CPU.

    Returns
    -------
    dict of str to tensor
        For each line: ``z``, ``energy`` (eV), ``photons``, ``sources`` and ``attenuation`` (cm²/g, shape
        (98, n_lines)), and ``edge`` (eV) and ``exponent`` of the first shell of its family. For each shell:
        ``shell_edge`` (eV), ``electrons``, ``radius_term`` and ``correction``.
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
    """Return ionisation cross-sections times yields of lines.

    Parameters
    ----------
    line : tensor of int, shape (p,)
        Indices of the lines in `xray_lines`.
    beam_energy : tensor of shape (p,)
        Beam energy in eV.
    tables : dict
        See `line_tables`.

    Returns
    -------
    tensor of shape (p,)
        Photons per incident electron and per atom per cm², in cm².
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
    """Return the photons of lines that leave a specimen into 4π, before the detector.

    The model multiplies ionisation cross-sections at the beam energy, fluorescence yields with Coster-Kronig
    transitions, and the mass depth from which the photons escape. The depth distribution of a bulk specimen
    is that of Pouchou and Pichoir. A film has parallel sides and absorbs its own X-rays. The model has no
    secondary fluorescence, which adds a few per cent to lines just below a strong line of a heavier element.

    Parameters
    ----------
    mass : tensor of float64, shape (n, 98)
        Mass fractions of the specimens.
    line : tensor of int, shape (p,)
        Indices of the lines in `xray_lines`.
    row : tensor of int, shape (p,)
        Index of the specimen of each line.
    beam_energy, takeoff_angle, thickness : tensor of float64, shape (n,)
        Beam energy in eV, take-off angle in degrees, mass thickness in g/cm² (``inf`` for bulk specimens).
    tables : dict or None
        Result of `line_tables` on the device of ``mass``.
    photons : tensor of shape (p,) or None
        Result of `photons_per_electron`; computed by default.

    Returns
    -------
    tensor of shape (p,)
        Photons per incident electron and per unit of mass fraction of the element that emits the line.
    """
    tables = line_tables() if tables is None else tables
    z = tables["z"][line] - 1
    if photons is None:
        photons = photons_per_electron(line, beam_energy[row], tables)
    sine = torch.sin(torch.deg2rad(takeoff_angle))
    chi = (mass @ tables["attenuation"])[row, line] / sine[row]
    is_bulk = torch.isinf(thickness)
    film = torch.where(is_bulk, 0.0, thickness)[row]
    depth = -torch.expm1(-chi * film) / chi
    if is_bulk.any():
        matrix = [term[:, 0][row] for term in matrix_terms(mass)]
        edge, exponent = tables["edge"][line] / 1e3, tables["exponent"][line]
        bulk = emitted_depth(matrix, beam_energy[row] / 1e3, edge, exponent, chi)
        depth = torch.where(is_bulk[row], bulk, depth)
    return Avogadro / atomic_weights().to(mass)[z] * photons * depth
