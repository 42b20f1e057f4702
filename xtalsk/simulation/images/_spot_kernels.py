"""Compiled search for the spots of oriented crystals; `_spot_positions` does the same on a GPU."""

import math

import numpy as np

from xtalsk.utils._compiled import compiled


@compiled
def find_excited(hkl, q, offsets, axes, operations, n_operations, limits, wavelength, q_max, first, last):
    """Find the images of reflections that lie near the Ewald sphere, each reflection once.

    Parameters
    ----------
    hkl : ndarray of int16, shape (m, 3)
    q : ndarray of float32, shape (m,)
        In 1/Å.
    offsets : ndarray of int64, shape (n + 1,)
        First line of each pattern.
    axes : ndarray of float32, shape (n, k, 3, 3)
    operations : ndarray of int64, shape (n, k, 3, 3)
        See `_spot_positions._image_axes`.
    n_operations : ndarray of int64, shape (n,)
        Operations of each pattern.
    limits : ndarray of float32, shape (2, n)
        Largest excitation error in 1/Å and tangent of the precession angle.
    wavelength : float
        In Å.
    q_max : float
        Largest q on the screen in 1/Å.
    first, last : int
        Range of the patterns.

    Returns
    -------
    integers : ndarray of int64, shape (l, 5)
        Line, symmetry operation and the indices h, k and l of each spot.
    numbers : ndarray of float32, shape (l, 2)
        Excitation error and the amplitude by which precession changes it, in 1/Å.
    """
    integers, numbers = np.empty((1024, 5), np.int64), np.empty((1024, 2), np.float32)
    n, square, radius = 0, wavelength**-2, 1 / wavelength
    indices = np.empty(3, np.int64)
    for pattern in range(first, last):
        reach, tangent = limits[0, pattern], limits[1, pattern]
        for line in range(offsets[pattern], offsets[pattern + 1]):
            h, k, l, q_line = hkl[line, 0], hkl[line, 1], hkl[line, 2], q[line]  # noqa: E741
            start = n
            farthest = reach + q_line * tangent
            lowest = -farthest - q_line * q_line * wavelength  # no image below is near the sphere
            for image in range(n_operations[pattern]):
                matrix = axes[pattern, image]
                z = h * matrix[0, 2] + k * matrix[1, 2] + l * matrix[2, 2]
                if z > farthest or z < lowest:
                    continue
                screen2 = min(max(q_line * q_line - z * z, 0.0), square)
                if screen2 >= q_max * q_max:
                    continue
                swing = math.sqrt(screen2) * tangent
                error = -screen2 / (math.sqrt(square - screen2) + radius) - z
                if abs(error) >= reach + swing:
                    continue
                own = operations[pattern, image]
                for axis in range(3):
                    indices[axis] = h * own[0, axis] + k * own[1, axis] + l * own[2, axis]
                if is_among(indices, integers, start, n):
                    continue
                if n == len(integers):
                    integers = np.concatenate((integers, np.empty_like(integers)))
                    numbers = np.concatenate((numbers, np.empty_like(numbers)))
                integers[n, 0], integers[n, 1], integers[n, 2:] = line, image, indices
                numbers[n, 0], numbers[n, 1] = error, swing
                n += 1
    return integers[:n].copy(), numbers[:n].copy()


@compiled
def is_among(indices, integers, first, last):
    """Return whether one of the spots ``first`` to ``last`` has these indices."""
    for spot in range(first, last):
        same = integers[spot, 2] == indices[0] and integers[spot, 3] == indices[1]
        if same and integers[spot, 4] == indices[2]:
            return True
    return False
