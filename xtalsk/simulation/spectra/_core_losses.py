"""Core losses of compositions on the energy axis, before the specimen's thickness and the detector."""

import numpy as np
import torch

from xtalsk.physics._eels_cross_sections import cross_sections
from xtalsk.physics._eels_edges import ABOVE, edge_table

_WAVENUMBER = 0.5123  # 1/Å of a free electron of 1 eV


def present_edges(fractions, highest):
    """Pair spectra with the edges of their elements.

    Parameters
    ----------
    fractions : ndarray of shape (n, 98)
    highest : float
        Onsets above, in eV, are left out.

    Returns
    -------
    spectrum, edge : int64 ndarrays of shape (m,)
    """
    edges = edge_table()
    wanted = (fractions[:, edges.z - 1] > 0) & (edges.onset < highest)
    return np.nonzero(wanted)


def on_axis(curves, above):
    """Interpolate curves that are tabulated at `ABOVE` an onset, zero below it.

    Parameters
    ----------
    curves : tensor of shape (m, n_above)
    above : tensor of shape (m, n_channels)
        Energy above the onset, in eV.

    Returns
    -------
    tensor of shape (m, n_channels)
    """
    ratio = float(np.log(ABOVE[2] / ABOVE[1]))
    place = torch.where(above < 1, above, 1 + above.clamp_min(1).log() / ratio)
    place = place.clamp(0, len(ABOVE) - 1.001)
    left = place.long()
    low, high = curves.gather(1, left), curves.gather(1, left + 1)
    return torch.where(above >= 0, low + (high - low) * (place - left), 0)


def oscillations(above, amplitude, distance, phase):
    """Fine structure of one shell of neighbours, damped: 1 + a e^(-E/30) sin(2 k d + φ).

    Parameters
    ----------
    above : tensor of shape (m, n_channels)
        In eV.
    amplitude, distance, phase : tensor of shape (m, 1)
        Distances in Å.

    Returns
    -------
    tensor of shape (m, n_channels)

    References
    ----------
    Egerton (2011), sec. 4.6: the plane-wave theory of extended fine structure, with a damping made up.
    """
    energy = above.clamp_min(0)
    angle = 2 * _WAVENUMBER * energy.sqrt() * distance + phase
    return 1 + amplitude * (-energy / 30).exp() * angle.sin()


def core_losses(fractions, axis, column, generator):
    """Render the single core losses of compositions, in barn per eV and atom.

    Parameters
    ----------
    fractions : ndarray of shape (n, 98)
    axis : tensor of shape (n, n_channels)
        True energy of each channel in eV.
    column : dict of str to tensor of shape (n,)
        Drawn conditions.
    generator : torch.Generator

    Returns
    -------
    tensor of shape (n, n_channels)
    """
    spectrum, edge = (
        torch.from_numpy(v).to(axis.device) for v in present_edges(fractions, float(axis.max()))
    )
    out = torch.zeros_like(axis)
    if not len(edge):
        return out
    edges, of = edge_table(), {name: values[spectrum] for name, values in column.items()}
    curves = cross_sections(edge, of["beam_energy"], of["convergence_angle"], of["collection_angle"])
    amounts = torch.as_tensor(fractions).to(axis)[spectrum, torch.as_tensor(edges.z).to(edge)[edge] - 1]
    shift, error, distance, phase = _draws_of_families(spectrum, edge, axis, generator)
    onset = torch.as_tensor(edges.onset).to(axis)[edge] + shift * of["chemical_shift"]
    above = axis[spectrum] - onset[:, None]
    weight = (amounts * (error * of["cross_section_error"]).exp())[:, None]
    shape = oscillations(above, of["fine_structure"][:, None], distance[:, None], phase[:, None])
    out.index_add_(0, spectrum, weight * on_axis(curves, above) * shape)
    area = torch.as_tensor(edges.line_area).to(axis)[edge] * of["white_lines"]
    some = torch.nonzero(area > 0)[:, 0]
    if len(some):
        peaks = _white_lines(above[some], (heights_of_families(curves, edge) * area)[some])
        out.index_add_(0, spectrum[some], weight[some] * peaks)
    return out


def _white_lines(above, area):
    """Lorentzian lines of 2 eV width, 1.5 eV above their onset, with the given areas."""
    shape = (1 / torch.pi) / ((above - 1.5) ** 2 + 1)
    return area[:, None] * torch.where(above > -6, shape, 0)


def heights_of_families(curves, edge):
    """Height of the family of each edge 30 eV above its onset, from the share that the shell has in it.

    Parameters
    ----------
    curves : tensor of shape (m, n_above)
        Cross-sections of `edge`.
    edge : int64 tensor of shape (m,)

    Returns
    -------
    tensor of shape (m,)
    """
    share = {"L3": 2 / 3, "L2": 1 / 3, "M5": 3 / 5, "M4": 2 / 5}
    shares = torch.tensor([share.get(shell, 1.0) for shell in edge_table().shell])
    return curves[:, int(np.searchsorted(ABOVE, 30.0))] / shares.to(curves)[edge]


def _draws_of_families(spectrum, edge, like, generator):
    """Draw what the shells of a family share: shift and error (normal), distance in Å, phase."""
    edges = edge_table()
    names, kind = np.unique(edges.family, return_inverse=True)
    family = torch.from_numpy(edges.z * len(names) + kind).to(edge)[edge]
    found, index = torch.unique(spectrum * (100 * len(names)) + family, return_inverse=True)
    as_like = {"generator": generator, "device": like.device, "dtype": like.dtype}
    shift, error = torch.randn(2, len(found), **as_like)[:, index]
    distance, phase = torch.rand(2, len(found), **as_like)[:, index]
    return shift, error, 1.6 + distance, 2 * torch.pi * phase
