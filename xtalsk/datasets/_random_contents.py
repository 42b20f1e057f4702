"""Random cells, Wyckoff positions and elements, drawn after those of a reference set."""

from dataclasses import dataclass

import gemmi
import numpy as np

from xtalsk.crystals._gemmi import lattice_vectors
from xtalsk.crystals._wyckoff_choice import draw_positions
from xtalsk.datasets._constants import (
    ANGLE_SPREAD,
    FREE_ANGLES,
    FREE_LENGTH_SPREAD,
    LENGTH_SPREAD,
    N_SIZE_STEPS,
    SIZE_STEP,
    VOLUME_SPREAD,
)
from xtalsk.datasets._reference import impose_bravais_lattice
from xtalsk.symmetry import bravais_lattice, crystal_system

COVALENT_RADII = np.array([0.0] + [gemmi.Element(z).covalent_r for z in range(1, 99)])  # Å, by atomic number


@dataclass
class Batch:
    """Cells and contents of n crystals, whose atoms have no coordinates yet.

    Parameters
    ----------
    lattices : ndarray of shape (n, 3, 3)
        Lattice vectors as rows, in Å.
    orbit_offsets, atom_offsets : ndarray of int, shape (n + 1,)
        First orbit and first atom of each crystal.
    orbits, elements : ndarray of int, shape (n_orbits,)
        Row in the `WyckoffTable` and atomic number of each orbit, in the order of placement.
    references : ndarray of int, shape (n,)
        Row in the `ReferenceStatistics` of the crystal that lends its elements.
    """

    lattices: np.ndarray
    orbit_offsets: np.ndarray
    orbits: np.ndarray
    elements: np.ndarray
    atom_offsets: np.ndarray
    references: np.ndarray


def draw_batch(numbers, attempt, table, statistics, max_sites, rng, volumes=None):
    """Draw cells and contents of crystals. The number of atoms depends on the attempt.

    Parameters
    ----------
    numbers : ndarray of int, shape (n,)
        Space-group numbers.
    attempt : int
        Number of earlier attempts at these crystals.
    table : WyckoffTable
    statistics : ReferenceStatistics
    max_sites : int
        Most atoms in the primitive cell.
    rng : RandomState
    volumes : ndarray of shape (99,) or None
        Atomic volumes in Å³, by which the volume per atom of a reference crystal changes with the amounts.

    Returns
    -------
    Batch
    """
    lattices, systems = _draw_lattices(numbers, statistics, rng), crystal_system(numbers)
    orbits, elements, n_atoms, references = [], [], [], []
    for i, number in enumerate(numbers.tolist()):
        size = _draw_size(systems[i], attempt, statistics, max_sites, rng)
        positions = np.array(draw_positions(number, size, max_sites, rng)) + table.first[number]
        multiplicities = table.multiplicities[positions]
        kinds, row = _choose_elements(multiplicities.tolist(), statistics, rng)
        n_atoms.append(multiplicities.sum())
        volume = statistics.atom_volumes[row] * n_atoms[-1]
        if volumes is not None:
            volume *= _relative_volume(kinds, multiplicities, statistics.amounts[row], volumes)
        lattices[i] *= np.cbrt(volume * np.exp(VOLUME_SPREAD * rng.standard_normal()))
        order = np.lexsort((-COVALENT_RADII[kinds], table.freedoms[positions] > 0))
        orbits.append(positions[order])
        elements.append(kinds[order])
        references.append(row)
    return Batch(
        lattices=lattices,
        orbit_offsets=np.cumsum([0] + [len(o) for o in orbits]),
        orbits=np.concatenate(orbits),
        elements=np.concatenate(elements),
        atom_offsets=np.cumsum([0, *n_atoms]),
        references=np.array(references),
    )


def _relative_volume(elements, multiplicities, amounts, volumes):
    """Volume per atom of orbits of elements, over that of a reference crystal with amounts (99,)."""
    expected = amounts @ volumes / amounts.sum()
    mean = multiplicities @ volumes[elements] / multiplicities.sum()
    return mean / expected if expected > 0 else 1.0


def _draw_lattices(numbers, statistics, rng):
    """Lattices (n, 3, 3) of unit volume, shaped like a reference crystal with the same Bravais lattice."""
    lattices = np.empty((len(numbers), 3, 3))
    bravais = bravais_lattice(numbers)
    for kind in np.unique(bravais):
        rows = np.flatnonzero(bravais == kind)
        cells = _draw_cells(statistics.shapes.get(kind, ()), len(rows), rng)
        for row, cell in zip(rows, impose_bravais_lattice(kind, cells), strict=True):
            lattice = lattice_vectors(gemmi.UnitCell(*cell))
            volume = np.linalg.det(lattice)
            lattices[row] = lattice / np.cbrt(volume) if volume > 0 else np.eye(3)
    return lattices


def _draw_cells(shapes, n, rng):
    """Cell parameters (n, 6): variations of reference cells (k, 6), or random ones where k is 0."""
    if len(shapes):
        cells = shapes[rng.randint(len(shapes), size=n)]
        cells[:, :3] *= np.exp(LENGTH_SPREAD * rng.standard_normal((n, 3)))
        cells[:, 3:] += ANGLE_SPREAD * rng.standard_normal((n, 3))
        return cells
    lengths = np.exp(FREE_LENGTH_SPREAD * rng.standard_normal((n, 3)))
    return np.hstack([lengths, rng.uniform(*FREE_ANGLES, (n, 3))])


def _draw_size(system, attempt, statistics, max_sites, rng):
    """Return a number of atoms in the primitive cell, after a reference crystal of the same system."""
    sizes = statistics.sizes.get(system, statistics.sizes["any"])
    step = attempt % N_SIZE_STEPS
    return min(int(sizes[rng.randint(len(sizes))] * (1 + SIZE_STEP * step)) + step, max_sites)


def _choose_elements(multiplicities, statistics, rng):
    """Choose an element for each orbit, in amounts close to those of a reference crystal.

    Returns the atomic numbers (n_orbits,) and the row of the reference crystal.
    """
    row = _draw_reference_row(len(multiplicities), statistics, rng)
    present = np.flatnonzero(statistics.amounts[row])
    amounts = statistics.amounts[row, present]
    amounts *= sum(multiplicities) / amounts.sum()
    missing = dict(zip(present.tolist(), amounts.tolist(), strict=True))
    absent, elements = set(missing), [0] * len(multiplicities)
    by_size = np.argsort(rng.random_sample(len(elements)) - np.array(multiplicities))
    for n_done, i in enumerate(by_size.tolist()):
        # the largest orbit left gets the element with the largest missing amount; absent elements come first
        # when no more orbits are left than there are absent elements
        candidates = absent if len(elements) - n_done <= len(absent) and absent else missing
        elements[i] = max(candidates, key=missing.get)
        missing[elements[i]] -= multiplicities[i]
        absent.discard(elements[i])
    return np.array(elements), row


def _draw_reference_row(n_orbits, statistics, rng):
    """Row of a reference crystal with at most one element per orbit, and at least two if possible."""
    counts = statistics.n_elements
    low, high = np.searchsorted(counts, [min(n_orbits, 2), n_orbits + 1])
    if low == high:  # all reference crystals are more complex, or all of them are elements
        low, high = 0, np.searchsorted(counts, max(n_orbits, counts[0]) + 1)
    return rng.randint(low, high)
