"""From oscillator strengths to cross-sections of a microscope: kinematics and apertures."""

import numpy as np
import torch

from xtalsk.physics._eels_edges import ABOVE, LOG_Q2, edge_table
from xtalsk.physics._eels_gos import RYDBERG

_BOHR2 = 3.5188e8  # 4π a₀² in barn
_REST = 510_999.0  # electron, eV
_NODES, _WEIGHTS = (torch.from_numpy(v) for v in np.polynomial.legendre.leggauss(24))


def effective_energy(beam_energy):
    """Half the mass times the squared velocity, and the Lorentz factor, of electrons of some keV.

    Returns
    -------
    energy : float or tensor
        T = m v² / 2 in eV.
    gamma : float or tensor
    """
    gamma = 1 + beam_energy * 1e3 / _REST
    return _REST / 2 * (1 - 1 / gamma**2), gamma


def aperture_share(theta, convergence, collection):
    """Share of the incident electrons that enter the spectrometer after scattering by an angle.

    The directions of incidence fill a disc of the convergence angle, those collected one of the collection
    angle; scattering moves one disc over the other, and their overlap counts.

    Parameters
    ----------
    theta, convergence, collection : tensor
        In mrad, of shapes that broadcast.

    Returns
    -------
    tensor, 0 to 1
    """
    a, b = convergence.clamp_min(1e-3), collection
    d = theta.clamp_min(1e-6)
    first = ((d**2 + a**2 - b**2) / (2 * d * a)).clamp(-1, 1)
    second = ((d**2 + b**2 - a**2) / (2 * d * b)).clamp(-1, 1)
    kite = ((-d + a + b) * (d + a - b) * (d - a + b) * (d + a + b)).clamp_min(0).sqrt() / 2
    overlap = a**2 * first.arccos() + b**2 * second.arccos() - kite
    return (overlap / (torch.pi * a**2)).clamp(0, 1)


def cross_sections(edges, beam_energy, convergence, collection, part=slice(None)):
    """Cross-sections dσ/dE of edges at `ABOVE` their onsets.

    Parameters
    ----------
    edges : int64 tensor of shape (m,)
        Rows of `edge_table`.
    beam_energy, convergence, collection : tensor of shape (m,)
        In keV and mrad.
    part : slice
        Of `ABOVE`, where not all of it is wanted.

    Returns
    -------
    tensor of shape (m, n_above), in barn per eV and atom

    References
    ----------
    R. F. Egerton, Electron Energy-Loss Spectroscopy in the Electron Microscope, 3rd ed. (2011), eqs. 3.139 to
    3.151: dσ/dE = 4π a₀² R²/(E T) ∫ GOS d ln (q a₀)², with relativistic kinematics.
    """
    like = beam_energy
    table, onset = _tables(like.device, like.dtype)
    energy = onset[edges][:, None] + torch.as_tensor(ABOVE[part]).to(like)
    speed, gamma = (v[:, None] for v in effective_energy(beam_energy))
    least = energy**2 / (4 * RYDBERG * speed) + energy**3 / (8 * gamma**3 * RYDBERG * speed**2)
    incident = speed / (RYDBERG * (1 - 2 * speed / _REST))
    after = (incident - energy / RYDBERG * (gamma - energy / (2 * _REST))).clamp_min(0)
    spread = 4 * (incident * after).sqrt()
    widest = (convergence + collection)[:, None] * 1e-3
    most = least + spread * torch.sin(widest / 2) ** 2
    half = (most / least).log()[..., None] / 2
    log_q2 = least.log()[..., None] + half * (1 + _NODES.to(like))
    sine = ((log_q2.exp() - least[..., None]) / spread[..., None]).clamp(0, 1).sqrt()
    share = aperture_share(2e3 * sine.arcsin(), convergence[:, None, None], collection[:, None, None])
    place = ((log_q2 - LOG_Q2[0]) / (LOG_Q2[1] - LOG_Q2[0])).clamp(0, len(LOG_Q2) - 1.001)
    left = place.long()
    rows = table[edges][:, part]
    low, high = rows.gather(2, left), rows.gather(2, left + 1)
    strength = low + (high - low) * (place - left)
    integral = (strength * share * half * _WEIGHTS.to(like)).sum(2)
    return _BOHR2 * RYDBERG**2 / (energy * speed) * integral


_CACHE = {}


def _tables(device, dtype):
    """Strengths and onsets of the edges on a device."""
    key = (str(device), dtype)
    if key not in _CACHE:
        edges = edge_table()
        _CACHE[key] = tuple(torch.from_numpy(v).to(device, dtype) for v in (edges.strength, edges.onset))
    return _CACHE[key]
