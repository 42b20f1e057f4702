"""Single core losses of compositions, without plural scattering and detector."""

import numpy as np
import torch

from xtalsk.physics._eels_cross_sections import cross_sections
from xtalsk.physics._eels_edges import edge_table
from xtalsk.physics._eels_shapes import (
    WHITE_LINE_HALF_WIDTH,
    WHITE_LINE_OFFSET,
    family_heights,
    interpolate_curves,
    lorentzian,
)

_WAVENUMBER = 0.5123  # sqrt(2 m E) / ħ of a free electron of 1 eV, in 1/Å
_DAMPING = 30.0  # eV: the fine structure decays with exp(-E / 30 eV); set by eye
_LINE_START = -6.0  # eV from the onset at which white lines are cut off


def present_edges(fractions, highest):
    """Edges of the elements of each spectrum.

    Parameters
    ----------
    fractions : ndarray of shape (n, 98)
        Atomic fractions.
    highest : float
        Edges with higher onsets are left out, in eV.

    Returns
    -------
    spectrum, edge : int64 ndarrays of shape (m,)
        Row of the spectrum and row of `edge_table` of each pair.
    """
    edges = edge_table()
    is_present = (fractions[:, edges.z - 1] > 0) & (edges.onset < highest)
    return np.nonzero(is_present)


def oscillations(above, amplitude, distance, phase):
    """Fine structure of one shell of neighbours: 1 + a exp(-E / 30 eV) sin(2 k d + φ).

    Parameters
    ----------
    above : tensor of shape (m, n_channels)
        Energy E above the onset in eV.
    amplitude : tensor of shape (m, 1)
        Amplitude a relative to the edge.
    distance : tensor of shape (m, 1)
        Distance d of the neighbours in Å.
    phase : tensor of shape (m, 1)
        Phase φ in radians.

    Returns
    -------
    tensor of shape (m, n_channels)

    References
    ----------
    R. F. Egerton, Electron Energy-Loss Spectroscopy in the Electron Microscope, 3rd ed. (2011), sec. 4.6: the
    plane-wave theory of extended fine structure. The damping is not from theory.
    """
    energy = above.clamp_min(0)
    angle = 2 * _WAVENUMBER * energy.sqrt() * distance + phase
    return 1 + amplitude * (-energy / _DAMPING).exp() * angle.sin()


def core_losses(fractions, axis, column, generator):
    """Render the single core losses of compositions.

    Parameters
    ----------
    fractions : ndarray of shape (n, 98)
        Atomic fractions.
    axis : tensor of shape (n, n_channels)
        True energy loss of each channel in eV.
    column : dict of str to tensor of shape (n,)
        Conditions of each spectrum; see `EELSConditions` for the units.
    generator : torch.Generator

    Returns
    -------
    tensor of shape (n, n_channels), in barn per eV and atom
    """
    pairs = present_edges(fractions, float(axis.max()))
    spectrum, edge = (torch.from_numpy(v).to(axis.device) for v in pairs)
    losses = torch.zeros_like(axis)
    if not len(edge):
        return losses
    edges = edge_table()
    conditions = {name: values[spectrum] for name, values in column.items()}
    beam = (conditions[name] for name in ("beam_energy", "convergence_angle", "collection_angle"))
    curves = cross_sections(edge, *beam)
    amounts = torch.as_tensor(fractions).to(axis)[spectrum, torch.as_tensor(edges.z).to(edge)[edge] - 1]
    shift, error, distance, phase = _draw_families(spectrum, edge, axis, generator)
    onset = torch.as_tensor(edges.onset).to(axis)[edge] + shift * conditions["chemical_shift"]
    above = axis[spectrum] - onset[:, None]
    weight = (amounts * (error * conditions["cross_section_error"]).exp())[:, None]
    shape = oscillations(above, conditions["fine_structure"][:, None], distance[:, None], phase[:, None])
    losses.index_add_(0, spectrum, weight * interpolate_curves(curves, above) * shape)
    area = torch.as_tensor(edges.line_area).to(axis)[edge] * conditions["white_lines"]
    lines = torch.nonzero(area > 0)[:, 0]
    if len(lines):
        peaks = _white_lines(above[lines], (family_heights(curves, edge) * area)[lines])
        losses.index_add_(0, spectrum[lines], weight[lines] * peaks)
    return losses


def _white_lines(above, area):
    """White lines of given areas in barn, tensor of shape (m, n_channels) in barn per eV."""
    shape = lorentzian(above - WHITE_LINE_OFFSET, WHITE_LINE_HALF_WIDTH)
    return area[:, None] * torch.where(above > _LINE_START, shape, 0)


def _draw_families(spectrum, edge, axis, generator):
    """Draw what the edges of a family have in common.

    Returns
    -------
    shift, error : tensor of shape (m,)
        Standard normal numbers, which scale the chemical shift and the error of the cross-section.
    distance : tensor of shape (m,)
        Distance of the neighbours in Å.
    phase : tensor of shape (m,)
        Phase of the fine structure in radians.
    """
    edges = edge_table()
    names, kind = np.unique(edges.family, return_inverse=True)
    family = torch.from_numpy(edges.z * len(names) + kind).to(edge)[edge]
    families, index = torch.unique(spectrum * (100 * len(names)) + family, return_inverse=True)
    options = {"generator": generator, "device": axis.device, "dtype": axis.dtype}
    shift, error = torch.randn(2, len(families), **options)[:, index]
    distance, phase = torch.rand(2, len(families), **options)[:, index]
    return shift, error, 1.6 + distance, 2 * torch.pi * phase
