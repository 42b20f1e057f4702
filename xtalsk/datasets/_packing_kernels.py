"""Compiled distances between the atoms of crystals."""

import math

import numpy as np

from xtalsk.datasets._constants import FARTHEST_NEIGHBOUR, HOPE, SAME_PLACE
from xtalsk.utils._compiled import compiled


@compiled
def _reach(inverse, distance):
    """Count the neighbouring cells on each side, along each axis, within a distance in Å of an atom."""
    a, b, c = distance * np.sqrt((inverse**2).sum(axis=0)) + 0.5
    return int(a), int(b), int(c)


@compiled
def _separation(coords, a, b):
    """Difference of the fractional coordinates of two atoms, within half a cell."""
    u, v, w = coords[a, 0] - coords[b, 0], coords[a, 1] - coords[b, 1], coords[a, 2] - coords[b, 2]
    return u - np.rint(u), v - np.rint(v), w - np.rint(w)


@compiled
def _vector(lattice, u, v, w):
    """Cartesian vector in Å of a vector in fractions of the cell."""
    return (
        u * lattice[0, 0] + v * lattice[1, 0] + w * lattice[2, 0],
        u * lattice[0, 1] + v * lattice[1, 1] + w * lattice[2, 1],
        u * lattice[0, 2] + v * lattice[1, 2] + w * lattice[2, 2],
    )


@compiled
def nearest_by_pair(lattices, offsets, coords, kinds, n_kinds, starts, cutoff):
    """Smallest distance of atoms of each two elements in each of n crystals.

    Parameters
    ----------
    lattices : ndarray of shape (n, 3, 3)
        Lattice vectors as rows, in Å.
    offsets : ndarray of int, shape (n + 1,)
        First atom of each crystal.
    coords : ndarray of shape (n_atoms, 3)
        Fractional coordinates.
    kinds : ndarray of int, shape (n_atoms,)
        Element of each atom, from 0 in each crystal.
    n_kinds, starts : ndarray of int, shape (n,)
        Number of elements k of each crystal, and where its k * k distances start in the result.
    cutoff : float
        Distance in Å that stands for all larger ones. Atoms closer than `SAME_PLACE` share one place.

    Returns
    -------
    ndarray of shape (n_distances,)
        In Å.
    """
    nearest = np.full((n_kinds**2).sum(), cutoff)
    for c in range(len(lattices)):
        lattice = lattices[c]
        reach = _reach(np.linalg.inv(lattice), cutoff)
        for a in range(offsets[c], offsets[c + 1]):
            for b in range(a, offsets[c + 1]):
                forth = starts[c] + kinds[a] * n_kinds[c] + kinds[b]
                best = nearest[forth] ** 2
                u, v, w = _separation(coords, a, b)
                for i in range(-reach[0], reach[0] + 1):
                    for j in range(-reach[1], reach[1] + 1):
                        for k in range(-reach[2], reach[2] + 1):
                            x, y, z = _vector(lattice, u + i, v + j, w + k)
                            square = x * x + y * y + z * z
                            if SAME_PLACE**2 < square < best:
                                best = square
                nearest[forth] = nearest[starts[c] + kinds[b] * n_kinds[c] + kinds[a]] = math.sqrt(best)
    return nearest


@compiled
def _push(coords, lattice, kinds, contacts, a, first, last, reach):
    """Sum (3,) of the overlaps of atom ``a``, as vectors in Å, and its smallest distance over contact."""
    push, least = np.zeros(3), 1.0
    for b in range(first, last):
        contact = contacts[kinds[a], kinds[b]]
        u, v, w = _separation(coords, a, b)
        for i in range(-reach[0], reach[0] + 1):
            for j in range(-reach[1], reach[1] + 1):
                for k in range(-reach[2], reach[2] + 1):
                    if a == b and i == 0 and j == 0 and k == 0:
                        continue
                    x, y, z = _vector(lattice, u + i, v + j, w + k)
                    square = x * x + y * y + z * z
                    if square < contact * contact:
                        ratio = math.sqrt(square) / contact
                        least = min(least, ratio)
                        overlap = 1.0 / max(ratio, 1e-3) - 1.0
                        push[0] += overlap * x
                        push[1] += overlap * y
                        push[2] += overlap * z
    return push, least


@compiled
def _move_orbit(coords, first, point, rotations, translations):
    """Put the atoms of an orbit at the images of a point."""
    for m in range(len(rotations)):
        for k in range(3):
            coords[first + m, k] = translations[m, k]
            for n in range(3):
                coords[first + m, k] += rotations[m, k, n] * point[n]


@compiled
def relax(lattices, offsets, coords, kinds, contacts, orbits, rotations, translations, steps):
    """Move the atoms of n crystals apart within their Wyckoff positions, in place.

    The overlaps with all neighbours have the symmetry of the position, and so has their sum. A lattice grows
    where atoms stay too close. The last step moves nothing, so that the result describes the crystal.

    Parameters
    ----------
    lattices, offsets, coords, kinds
        See `nearest_by_pair`.
    contacts : tuple of (ndarray of int, ndarray of int, ndarray)
        Number of elements k of each crystal, where its k * k contact distances start, and all these in Å.
    orbits : tuple of (ndarray of int, ndarray of int, ndarray of int)
        First orbit of each crystal (n + 1,), atoms of each orbit, and its first operation.
    rotations, translations : ndarray of shape (n_operations, 3, 3) and (n_operations, 3)
    steps : tuple of (int, int, float, float, float)
        Steps before a lattice grows, times that it grows, its growth, the share of an overlap that one step
        removes, and the smallest distance over contact that is enough.

    Returns
    -------
    ndarray of shape (n,)
        Smallest distance over the contact distance of the pair, at most 1.
    """
    n_kinds, starts, distances = contacts
    orbit_offsets, multiplicities, operations = orbits
    n_steps, n_growths, growth, step, enough = steps
    least = np.ones(len(lattices))
    for c in range(len(lattices)):
        k = n_kinds[c]
        contact = distances[starts[c] : starts[c] + k * k].reshape(k, k)
        limit = 1.0  # first all overlaps are reduced, then only those that are too large
        for t in range(n_steps * (n_growths + 1)):
            if t > 0 and t % n_steps == 0:
                lattices[c] *= growth
            inverse = np.linalg.inv(lattices[c])
            reach = _reach(inverse, contact.max())
            least[c], a = 1.0, offsets[c]
            for o in range(orbit_offsets[c], orbit_offsets[c + 1]):
                push, ratio = _push(coords, lattices[c], kinds, contact, a, offsets[c], offsets[c + 1], reach)
                least[c] = min(least[c], ratio)
                if ratio < limit:
                    used = slice(operations[o], operations[o] + multiplicities[o])
                    point = coords[a] + step * (push @ inverse)
                    _move_orbit(coords, a, point, rotations[used], translations[used])
                a += multiplicities[o]
            is_last = t % n_steps == n_steps - 1
            hopeless = least[c] * growth ** (n_growths - t // n_steps) < HOPE * enough
            if (least[c] >= enough and limit == enough) or (is_last and hopeless):
                break
            if least[c] >= enough:
                limit = enough
    return least


@compiled
def loneliest(lattices, offsets, coords, radii, orbits):
    """Largest distance of an atom to its nearest neighbour over the sum of their radii, in each crystal.

    Parameters
    ----------
    lattices, offsets, coords
        See `relax`.
    radii : ndarray of shape (n_atoms,)
        In Å.
    orbits : tuple of (ndarray of int, ndarray of int, ndarray of int)
        See `relax`.

    Returns
    -------
    ndarray of shape (n,)
        Infinite where an atom has no neighbour nearby. All up to `FARTHEST_NEIGHBOUR` are found.
    """
    orbit_offsets, multiplicities, _ = orbits
    largest = np.zeros(len(lattices))
    for c in range(len(lattices)):
        first, last = offsets[c], offsets[c + 1]
        reach = _reach(np.linalg.inv(lattices[c]), 2 * FARTHEST_NEIGHBOUR * radii[first:last].max())
        a = first
        for o in range(orbit_offsets[c], orbit_offsets[c + 1]):
            nearest = np.inf
            for b in range(first, last):
                u, v, w = _separation(coords, a, b)
                for i in range(-reach[0], reach[0] + 1):
                    for j in range(-reach[1], reach[1] + 1):
                        for k in range(-reach[2], reach[2] + 1):
                            if a == b and i == 0 and j == 0 and k == 0:
                                continue
                            x, y, z = _vector(lattices[c], u + i, v + j, w + k)
                            ratio = math.sqrt(x * x + y * y + z * z) / (radii[a] + radii[b])
                            nearest = min(nearest, ratio)
            largest[c] = max(largest[c], nearest)
            a += multiplicities[o]
    return largest
