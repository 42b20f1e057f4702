"""Differential cross-sections of edges for a microscope: oscillator strengths, kinematics and apertures."""

import numpy as np
import torch

from xtalsk.physics._constants import ELECTRON_REST_ENERGY_EV
from xtalsk.physics._eels_edges import ABOVE, LOG_Q2, edge_table
from xtalsk.physics._eels_gos import RYDBERG

_BOHR2 = 3.5188e8  # 4π a₀² in barn
REST_ENERGY = float(round(ELECTRON_REST_ENERGY_EV))  # eV, rounded: simulated counts depend on the last digit
QUADRATURE = np.polynomial.legendre.leggauss(24)  # nodes and weights of the integral over the momentum
_NODES, _WEIGHTS = (torch.from_numpy(v) for v in QUADRATURE)


def effective_energy(beam_energy):
    """Effective incident energy and Lorentz factor of beam electrons.

    Parameters
    ----------
    beam_energy : float or tensor
        In keV.

    Returns
    -------
    energy : float or tensor
        T = m v² / 2 in eV, with the rest mass m.
    gamma : float or tensor
        Lorentz factor.
    """
    gamma = 1 + beam_energy * 1e3 / REST_ENERGY
    return REST_ENERGY / 2 * (1 - 1 / gamma**2), gamma


def aperture_share(theta, convergence, collection):
    """Share of the incident electrons that enter the spectrometer after scattering by an angle.

    The directions of incidence fill a disc with the radius of the convergence angle. The directions that the
    spectrometer collects fill a disc with the radius of the collection angle. Scattering displaces the first
    disc by ``theta``; the share is the overlap of the two discs over the area of the first.

    Parameters
    ----------
    theta : tensor
        Scattering angle in mrad.
    convergence, collection : tensor
        Half angles in mrad. The three shapes must broadcast.

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


def cross_sections(edges, beam_energy, convergence, collection):
    """Differential cross-sections dσ/dE of edges at the energies `ABOVE` their onsets.

    Parameters
    ----------
    edges : int64 tensor of shape (m,)
        Rows of `edge_table`.
    beam_energy : tensor of shape (m,)
        In keV.
    convergence, collection : tensor of shape (m,)
        Half angles in mrad.

    Returns
    -------
    tensor of shape (m, n_above), in barn per eV and atom

    References
    ----------
    R. F. Egerton, Electron Energy-Loss Spectroscopy in the Electron Microscope, 3rd ed. (2011), eqs. 3.139 to
    3.151: dσ/dE = 4π a₀² R²/(E T) ∫ GOS d ln (q a₀)², with relativistic kinematics.
    """
    table, onset = _tables(beam_energy.device, beam_energy.dtype)
    energy = onset[edges][:, None] + torch.as_tensor(ABOVE).to(beam_energy)
    speed, gamma = (v[:, None] for v in effective_energy(beam_energy))
    log_q2, theta, half = _momentum_nodes(energy, speed, gamma, convergence + collection)
    share = aperture_share(theta, convergence[:, None, None], collection[:, None, None])
    strength = _interpolate_strength(table[edges], log_q2)
    integral = (strength * share * half * _WEIGHTS.to(beam_energy)).sum(2)
    return _BOHR2 * RYDBERG**2 / (energy * speed) * integral


def _momentum_nodes(energy, speed, gamma, widest):
    """Nodes of the integral over the momentum transfer.

    Parameters
    ----------
    energy : tensor of shape (m, n_above)
        Energy loss in eV.
    speed, gamma : tensor of shape (m, 1)
        See `effective_energy`.
    widest : tensor of shape (m,)
        Largest scattering angle that the spectrometer collects, in mrad.

    Returns
    -------
    log_q2, theta : tensor of shape (m, n_above, n_nodes)
        ln (q a₀)² and scattering angle in mrad.
    half : tensor of shape (m, n_above, 1)
        Half the range of ln (q a₀)².
    """
    least = energy**2 / (4 * RYDBERG * speed) + energy**3 / (8 * gamma**3 * RYDBERG * speed**2)
    incident = speed / (RYDBERG * (1 - 2 * speed / REST_ENERGY))
    after = (incident - energy / RYDBERG * (gamma - energy / (2 * REST_ENERGY))).clamp_min(0)
    spread = 4 * (incident * after).sqrt()
    most = least + spread * torch.sin(widest[:, None] * 1e-3 / 2) ** 2
    half = (most / least).log()[..., None] / 2
    log_q2 = least.log()[..., None] + half * (1 + _NODES.to(energy))
    sine = ((log_q2.exp() - least[..., None]) / spread[..., None]).clamp(0, 1).sqrt()
    return log_q2, 2e3 * sine.arcsin(), half


def _interpolate_strength(rows, log_q2):
    """Oscillator strengths at given ln (q a₀)², tensor of shape (m, n_above, n_nodes), in 1/eV."""
    place = ((log_q2 - LOG_Q2[0]) / (LOG_Q2[1] - LOG_Q2[0])).clamp(0, len(LOG_Q2) - 1.001)
    left = place.long()
    low, high = rows.gather(2, left), rows.gather(2, left + 1)
    return low + (high - low) * (place - left)


_CACHE = {}


def _tables(device, dtype):
    """Oscillator strengths and onsets of all edges, as tensors on a device."""
    key = (str(device), dtype)
    if key not in _CACHE:
        edges = edge_table()
        _CACHE[key] = tuple(torch.from_numpy(v).to(device, dtype) for v in (edges.strength, edges.onset))
    return _CACHE[key]
