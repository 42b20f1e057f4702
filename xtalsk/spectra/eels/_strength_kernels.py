"""Compiled cross-sections of edges at one energy loss, as in `xtalsk.physics._eels_cross_sections`."""

import math

import numpy as np

from xtalsk.utils._compiled import compiled_any_order as compiled


@compiled
def aperture_share(theta, convergence, collection):
    """Share of the electrons that enter the spectrometer after scattering by the angle ``theta``, in mrad.

    The same as the function of this name in `xtalsk.physics._eels_cross_sections`, for numbers.
    """
    a, b, d = max(convergence, 1e-3), collection, max(theta, 1e-6)
    if d >= a + b:
        return 0.0
    if d <= abs(a - b):
        return min(a, b) ** 2 / a**2
    first = math.acos((d**2 + a**2 - b**2) / (2 * d * a))
    second = math.acos((d**2 + b**2 - a**2) / (2 * d * b))
    kite = math.sqrt((-d + a + b) * (d + a - b) * (d - a + b) * (d + a + b)) / 2
    return min((a**2 * first + b**2 * second - kite) / (np.pi * a**2), 1.0)


@compiled
def cross_sections_at(energy, strength, log_q2, beam, constants, nodes, weights):
    """Differential cross-sections of edges, each at one energy loss.

    The same integral as in `xtalsk.physics._eels_cross_sections.cross_sections`.

    Parameters
    ----------
    energy : ndarray of shape (m,)
        Energy loss in eV.
    strength : ndarray of shape (m, n_momenta)
        Oscillator strengths at this energy loss in 1/eV.
    log_q2 : ndarray of shape (n_momenta,)
        Equidistant values of ln (q a₀)² of the columns of ``strength``.
    beam : tuple of four floats
        Effective incident energy in eV, Lorentz factor, convergence and collection half angle in mrad.
    constants : tuple of two floats
        Rydberg energy and rest energy of an electron in eV.
    nodes, weights : ndarray of shape (n_nodes,)
        Quadrature from -1 to 1.

    Returns
    -------
    ndarray of shape (m,)
        Cross-sections over 4π a₀² R², where R is the Rydberg energy.
    """
    speed, gamma, convergence, collection = beam
    rydberg, rest = constants
    step, last = log_q2[1] - log_q2[0], len(log_q2) - 1.001
    incident = speed / (rydberg * (1 - 2 * speed / rest))
    sine_square = math.sin((convergence + collection) * 1e-3 / 2) ** 2
    result = np.empty(len(energy))
    for i in range(len(energy)):
        loss = energy[i]
        least = loss**2 / (4 * rydberg * speed) + loss**3 / (8 * gamma**3 * rydberg * speed**2)
        after = max(incident - loss / rydberg * (gamma - loss / (2 * rest)), 0.0)
        spread = 4 * math.sqrt(incident * after)
        half = math.log((least + spread * sine_square) / least) / 2
        start, total = math.log(least), 0.0
        for k in range(len(nodes)):
            here = start + half * (1 + nodes[k])
            square = min(max((math.exp(here) - least) / spread, 0.0), 1.0)
            theta = 2e3 * math.asin(math.sqrt(square))
            place = min(max((here - log_q2[0]) / step, 0.0), last)
            left = int(place)
            low, high = strength[i, left], strength[i, left + 1]
            share = aperture_share(theta, convergence, collection)
            total += weights[k] * share * (low + (high - low) * (place - left))
        result[i] = total * half / (loss * speed)
    return result
