"""Compiled templates of edges on an energy axis."""

import math

import numpy as np

from xtalsk.utils._compiled import compiled_any_order as compiled

_FAR = 8.5  # standard deviations from which on a Gaussian and its integral are 0 or 1 to double precision
_SQRT_2 = math.sqrt(2)
_SQRT_2_PI = math.sqrt(2 * math.pi)


@compiled
def interpolated_curve(curve, above, ratio):
    """Value of a curve that is tabulated at `ABOVE` an onset; see `xtalsk.physics._eels_shapes`.

    Parameters
    ----------
    curve : ndarray of shape (n_above,)
    above : float
        Energy above the onset in eV, at least 0.
    ratio : float
        Distance of two tabulated energies above 1 eV, in ln E.
    """
    place = min(above if above < 1 else 1 + math.log(above) / ratio, len(curve) - 1.001)
    left = int(place)
    return curve[left] + (curve[left + 1] - curve[left]) * (place - left)


@compiled
def blurred_edge(curve, above, sigma, ratio):
    """Value of an edge with a blurred onset; ``sigma`` is the standard deviation of the blur in eV."""
    distance = above / sigma
    if distance < -_FAR:
        return 0.0
    value = interpolated_curve(curve, max(above, 0.0), ratio)
    return value if distance > _FAR else value * 0.5 * math.erfc(-distance / _SQRT_2)


@compiled
def gaussian(x, sigma):
    """Gaussian of area one, in 1/eV."""
    distance = x / sigma
    if abs(distance) > _FAR:
        return 0.0
    return math.exp(-0.5 * distance**2) / (sigma * _SQRT_2_PI)


@compiled
def add_edge(curve, area, onsets, energy, blur, widths, constants, whole, smooth, replica, lines):
    """Add the templates of an edge at some onsets to those of its family.

    Parameters
    ----------
    curve : ndarray of shape (n_above,)
        Cross-section at the energies `ABOVE` the onset, in barn per eV.
    area : float
        Area of the white line in barn.
    onsets : ndarray of shape (n_shifts,)
        In eV.
    energy, blur : ndarray of shape (n_bins,)
        Middle of the bins, and standard deviation of the energy resolution, in eV.
    widths : ndarray of shape (3, n_bins)
        Half width of sharp white lines, standard deviation of broad ones, and that of the blur after one more
        plasmon loss, in eV.
    constants : tuple of four floats
        Distance of tabulated energies in ln E, distance of a white line above its onset, energy below the
        onset at which sharp lines are cut off, and energy of a plasmon, in eV.
    whole, smooth, replica, lines : ndarray of shape (n_shifts, n_bins)
        Sharp white lines are added to ``whole``, the edge without white lines to ``smooth``, the edge after a
        plasmon loss to ``replica`` and broad white lines to ``lines``.
    """
    ratio, line_at, line_cut, plasmon = constants
    for s in range(len(onsets)):
        for i in range(len(energy)):
            above = energy[i] - onsets[s]
            later, wide = above - plasmon, widths[2, i]
            smooth[s, i] += blurred_edge(curve, above, blur[i], ratio)
            replica[s, i] += blurred_edge(curve, later, wide, ratio)
            if area > 0:
                replica[s, i] += area * gaussian(later - line_at, wide)
                lines[s, i] += area * gaussian(above - line_at, widths[1, i])
                if above > -line_cut:
                    half = widths[0, i]
                    whole[s, i] += area * half / (np.pi * ((above - line_at) ** 2 + half**2))
