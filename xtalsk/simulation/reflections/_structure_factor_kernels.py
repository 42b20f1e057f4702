"""Compiled structure factors."""

import math

import numpy as np

from xtalsk.simulation.reflections._fast_kernels import exponential, fast

SITES_PER_BLOCK = 128  # atoms whose phase factors are in memory at once


@fast
def _phase_factors(coordinates, box, real, imaginary):
    """Write exp(2πi n x) of each axis, index n and atom; the index n is in row n + box."""
    for axis in range(3):
        middle = box[axis]
        for site in range(len(coordinates)):
            angle = 2 * math.pi * (coordinates[site, axis] % 1.0)
            c, s = math.cos(angle), math.sin(angle)
            x, y = 1.0, 0.0
            for n in range(middle + 1):
                real[axis, middle + n, site], imaginary[axis, middle + n, site] = x, y
                real[axis, middle - n, site], imaginary[axis, middle - n, site] = x, -y
                x, y = x * c - y * s, x * s + y * c


@fast
def _add_phases(hkl, box, occupancies, real, imaginary, sums):
    """Add the geometric structure factors of a block of atoms to ``sums``, shape (2, n_reflections)."""
    n = len(occupancies)
    for r in range(len(hkl)):
        h, k, l = hkl[r, 0] + box[0], hkl[r, 1] + box[1], hkl[r, 2] + box[2]  # noqa: E741
        h_real, h_imaginary = real[0, h], imaginary[0, h]
        k_real, k_imaginary = real[1, k], imaginary[1, k]
        l_real, l_imaginary = real[2, l], imaginary[2, l]
        x, y = 0.0, 0.0
        for i in range(n):
            a = (h_real[i] * k_real[i] - h_imaginary[i] * k_imaginary[i]) * occupancies[i]
            b = (h_real[i] * k_imaginary[i] + h_imaginary[i] * k_real[i]) * occupancies[i]
            x += a * l_real[i] - b * l_imaginary[i]
            y += a * l_imaginary[i] + b * l_real[i]
        sums[0, r] += x
        sums[1, r] += y


@fast
def _add_kind(q, u_iso, amplitudes, widths, constant, anomalous, sums, total):
    """Multiply the sums of one kind by its scattering factors and add them to ``total``."""
    factor, damping = np.empty(len(q)), np.empty(len(q))
    displacement = 2 * math.pi**2 * u_iso
    for r in range(len(q)):
        damping[r] = exponential(-displacement * q[r] * q[r])
        factor[r] = constant + anomalous[0]
    for term in range(len(amplitudes)):
        amplitude, width = amplitudes[term], widths[term] / 4
        for r in range(len(q)):
            factor[r] += amplitude * exponential(-width * q[r] * q[r])
    for r in range(len(q)):
        x, y = sums[0, r] * damping[r], sums[1, r] * damping[r]
        total[0, r] += factor[r] * x
        total[1, r] += factor[r] * y
        total[2, r] += anomalous[1] * x
        total[3, r] += anomalous[1] * y


@fast
def add_intensities(first, last, starts, hkl, q, kind_starts, kinds, site_starts, sites, factors, intensity):
    """Compute |F|² of the reflections of the crystals from ``first`` to ``last``.

    Parameters
    ----------
    first, last : int
    starts : ndarray of int, shape (n + 1,)
        First reflection of each crystal.
    hkl : ndarray of int16, shape (m, 3)
    q : ndarray of shape (m,)
        1/d in 1/Å.
    kind_starts : ndarray of int, shape (n + 1,)
        First kind of each crystal, see `site_kinds`.
    kinds : tuple of ndarray of shape (n_kinds,)
        Atomic number and mean-square displacement (Å²).
    site_starts : ndarray of int, shape (n_kinds + 1,)
        First site of each kind.
    sites : tuple of ndarray of shape (n_sites, 3) and (n_sites,)
        Coordinates and occupancies, sorted by kind.
    factors : tuple of ndarray of shape (99, n_terms), (99, n_terms), (99,) and (99, 2)
        Amplitudes, widths and constants of the form factors and anomalous terms, by atomic number.
    intensity : ndarray of shape (m,)
        |F|² is written here.
    """
    amplitudes, widths, constants, anomalous = factors
    for i in range(first, last):
        rows = slice(starts[i], starts[i + 1])
        n = starts[i + 1] - starts[i]
        if n == 0:
            continue
        box = np.array([np.abs(hkl[rows, axis]).max() for axis in range(3)])
        real = np.empty((3, 2 * box.max() + 1, SITES_PER_BLOCK))
        imaginary = np.empty_like(real)
        total = np.zeros((4, n))
        for kind in range(kind_starts[i], kind_starts[i + 1]):
            sums = np.zeros((2, n))
            for start in range(site_starts[kind], site_starts[kind + 1], SITES_PER_BLOCK):
                block = slice(start, min(start + SITES_PER_BLOCK, site_starts[kind + 1]))
                _phase_factors(sites[0][block], box, real, imaginary)
                _add_phases(hkl[rows], box, sites[1][block], real, imaginary, sums)
            z = kinds[0][kind]
            _add_kind(
                q[rows], kinds[1][kind], amplitudes[z], widths[z], constants[z], anomalous[z], sums, total
            )
        for r in range(n):  # the cross terms of f' and f'' have opposite signs in the two Friedel mates
            intensity[starts[i] + r] = (
                total[0, r] ** 2 + total[1, r] ** 2 + total[2, r] ** 2 + total[3, r] ** 2
            )
