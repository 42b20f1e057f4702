"""Depth distribution of X-rays in a bulk specimen, and the part that escapes."""

import math
from functools import cache

import numpy as np
import torch
import xraylib

from xtalsk.utils._formula import N_ELEMENTS

_Z = np.arange(1, N_ELEMENTS + 1)
# (a, b) of the exponent a + b exp(-(Z / 5)²) of the overvoltage, for K, L, M and N; Pouchou and Pichoir
_EXPONENTS = ((0.86, 0.12), (0.82, 0.0), (0.78, 0.0), (0.78, 0.0))


@cache
def atomic_weights():
    """Return the atomic weights of hydrogen to californium in g/mol, tensor of shape (98,)."""
    return torch.tensor([xraylib.AtomicWeight(int(z)) for z in _Z], dtype=torch.float64)


def mass_fractions(fractions):
    """Convert atomic fractions to mass fractions, tensors of shape (..., 98)."""
    mass = fractions * atomic_weights().to(fractions)
    return mass / mass.sum(-1, keepdim=True).clamp_min(1e-30)


def overvoltage_exponent(z, family):
    """Return the exponent m of the overvoltage in Pouchou and Pichoir's cross-section, ndarray."""
    a, b = np.array(_EXPONENTS)[family].T
    return a + b * np.exp(-((np.asarray(z) / 5) ** 2))


@cache
def _element_terms():
    """Return Z / A, Z / A times ln of the ionisation potential in keV, and √Z; tensor of shape (3, 98)."""
    z = torch.from_numpy(_Z.astype(float))
    potential = 1e-3 * z * (10.04 + 8.25 * torch.exp(-z / 11.22))
    per_mass = z / atomic_weights()
    return torch.stack([per_mass, per_mass * torch.log(potential), z.sqrt()])


def matrix_terms(mass):
    """Return the means over the elements that set deceleration and backscattering.

    Parameters
    ----------
    mass : tensor of shape (n, 98)
        Mass fractions.

    Returns
    -------
    tuple of three tensors of shape (n, 1)
        Sum of mass fraction times Z/A, mean ionisation potential in keV, and mean atomic number for
        backscattering.
    """
    terms = (mass.to(torch.float64) @ _element_terms().T.to(mass.device)).T[:, :, None]
    stopping, log_potential, root = terms
    return stopping, torch.exp(log_potential / stopping), root**2


def film_or_bulk(thickness, beam_energy):
    """Return the mass thickness of a film, or infinity where the film stops the electrons.

    Parameters
    ----------
    thickness : float or tensor
        Mass thickness in g/cm².
    beam_energy : float or tensor
        Beam energy in keV.

    Returns
    -------
    float or tensor
        Mass thickness in g/cm². It is ``inf`` above half the electron range of Kanaya and Okayama (J. Phys. D
        5 (1972) 43) in silicon.
    """
    is_bulk = thickness > 0.5 * 7.4e-6 * beam_energy**1.67
    if torch.is_tensor(is_bulk):
        return torch.where(is_bulk, math.inf, thickness)
    return math.inf if is_bulk else thickness


def emitted_depth(matrix, beam_energy, edge, exponent, chi):
    r"""Return the mass depth from which X-rays escape, by Pouchou and Pichoir's XPP model [1]_.

    The emitted intensity per incident electron is the product of the ionisation cross-section at the beam
    energy, the number of atoms per mass, and the depth
    :math:`F(\chi) = \int \varphi(\rho z) e^{-\chi\rho z} d\rho z` that this function returns.

    Parameters
    ----------
    matrix : tuple
        Result of `matrix_terms` for n specimens.
    beam_energy : tensor of shape (n, 1)
        Beam energy in keV.
    edge, exponent : tensor of shape (k,) or (n, k)
        Binding energy of the shell in keV, and exponent of its overvoltage.
    chi : tensor of shape (n, k)
        Mass attenuation of the line in the specimen divided by the sine of the take-off angle, in cm²/g.

    Returns
    -------
    tensor of shape (n, k)
        Depth in g/cm², 0 below the threshold.

    References
    ----------
    .. [1] J.-L. Pouchou and F. Pichoir, in Electron Probe Quantitation (1991), p. 31, eqs. 6 to 41.
    """
    excited = beam_energy > edge
    u = torch.where(excited, beam_energy / edge, 2.0).clamp_min(1.0001)
    surface, area, mean_depth, z_mean = _depth_distribution(matrix, edge, exponent, u)
    slope, b, decay, offset = _exponentials(surface, area, mean_depth, z_mean, u)
    inner = surface + offset / (b + chi) - slope * b * decay / (b * (1 + decay) + chi)
    return torch.where(excited, (inner / (b + chi)).clamp_min(0), 0.0)


def _depth_distribution(matrix, edge, exponent, u):
    """Return the surface value, the area and the mean depth of φ(ρz), and the mean atomic number."""
    stopping, potential, z_back = matrix
    v = edge * u / potential
    powers = (0.78, 0.1, -(0.5 - 0.25 * potential))
    factors = (6.6e-6, 1.12e-5 * (1.35 - 0.45 * potential**2), 2.2e-6 / potential)
    deceleration = 0.0
    for power, factor in zip(powers, factors, strict=True):
        t = 1 + power - exponent
        term = (t * u**t * torch.log(u) - u**t + 1) / t**2
        deceleration = deceleration + factor * (v / u) ** power * term
    deceleration = deceleration * u / (v * stopping)

    coefficient = 1.75e-3 * z_back + 0.37 * (1 - torch.exp(-0.015 * z_back**1.3))
    energy = 0.595 + coefficient / 3.7 + coefficient**4.55
    q = (2 * energy - 1) / (1 - energy)
    spread = (u - 1 - (1 - u ** (-(1 + q))) / (1 + q)) / ((2 + q) * (1 + u * (torch.log(u) - 1)))
    backscatter = 1 - coefficient * energy * (1 - spread)
    surface = 1 + 3.3 * (1 - u ** -(2 - 2.3 * coefficient)) * coefficient**1.2

    area = backscatter * deceleration * edge**2 * u**exponent / torch.log(u)
    x, y = 1 + 1.3 * torch.log(z_back), 0.2 + z_back / 200
    ratio = 1 + x * torch.log(1 + y * (1 - u**-0.42)) / torch.log(1 + y)
    return surface, area, torch.minimum(area / ratio, area / surface), z_back


def _exponentials(surface, area, mean_depth, z_mean, u):
    """Return the amplitudes and slopes of the two exponentials whose sum is φ(ρz)."""
    b = math.sqrt(2) * (1 + torch.sqrt((1 - mean_depth * surface / area).clamp_min(0))) / mean_depth
    g = 0.22 * torch.log(4 * z_mean) * (1 - 2 * torch.exp(-z_mean * (u - 1) / 15))
    h = 1 - 10 * (1 - 1 / (1 + u / 10)) / z_mean**2
    limit = 0.9 * b * mean_depth**2 * (b - 2 * surface / area)
    initial = torch.minimum(g * h**4, limit) * area / mean_depth**2
    a = (initial + b * (2 * surface - b * area)) / (b * area * (2 - b * mean_depth) - surface)
    decay = (a - b) / b
    decay = torch.where(decay.abs() < 1e-6, 1e-6, decay)
    offset = (b**2 * area * (1 + decay) - initial - surface * b * (2 + decay)) / decay
    slope = (offset / b + surface - b * area) * (1 + decay) / decay
    return slope, b, decay, offset
