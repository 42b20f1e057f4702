"""Shortest distances between atoms of one crystal."""

from types import SimpleNamespace

import gemmi
import numpy as np

from xtalsk.crystals._constants import MAX_SUMMED_OCCUPANCY, MIN_CONTACT, SAME_ATOM, SHARED_OCCUPANCY

_RADII = np.array([1.0] + [gemmi.Element(z).covalent_r for z in range(1, 99)])
_CHUNK = 200_000  # pairs at a time
_STEPS = np.stack(np.meshgrid(*[(-1, 0, 1)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)


def shortest_contact(crystal):
    """Shortest distance of a crystal, relative to the covalent radii.

    Pairs whose occupancies add up to 1 or less are alternatives on one place and do not count.

    Parameters
    ----------
    crystal : Expanded

    Returns
    -------
    ratio : float
        Distance over the sum of covalent radii, infinite where no pair counts.
    pair : tuple of (int, int, float)
        Two atoms and their distance in Å.
    """
    first = np.unique(crystal.atoms, return_index=True)[1]
    radii, occupancies = _RADII[crystal.atomic_numbers], crystal.occupancies
    best = _repeat(crystal, radii)
    step = max(1, _CHUNK // len(radii))
    for start in range(0, len(first), step):
        rows = first[start : start + step]
        distances = _distances(crystal.frac_coords[rows], crystal.frac_coords, crystal.lattice)
        limits = np.where(distances < SAME_ATOM, MAX_SUMMED_OCCUPANCY, SHARED_OCCUPANCY)
        counts = occupancies[rows, None] + occupancies > limits
        counts[np.arange(len(rows)), rows] = False
        ratios = np.where(counts, distances / (radii[rows, None] + radii), np.inf)
        k = int(np.argmin(ratios))
        i, j = divmod(k, len(radii))
        if ratios[i, j] < best[0]:
            best = float(ratios[i, j]), (int(rows[i]), j, float(distances[i, j]))
    return best


def contact_of(crystals, row):
    """Shortest distance between atoms of one crystal of a `CrystalSet`, in sums of covalent radii."""
    sites = slice(*crystals.offsets[row : row + 2])
    crystal = SimpleNamespace(
        lattice=crystals.lattices[row],
        atomic_numbers=crystals.atomic_numbers[sites],
        frac_coords=crystals.frac_coords[sites],
        occupancies=crystals.occupancies[sites],
        atoms=np.arange(sites.stop - sites.start),
    )
    return shortest_contact(crystal)[0]


def _repeat(crystal, radii):
    """Contact of the largest atom that is always present with its image in the next cell."""
    always = np.flatnonzero(2 * crystal.occupancies > SHARED_OCCUPANCY)
    if not len(always):
        return np.inf, (0, 0, np.inf)
    atom = int(always[np.argmax(radii[always])])
    length = float(np.linalg.norm(crystal.lattice, axis=1).min())
    return length / (2 * radii[atom]), (atom, atom, length)


def _distances(points, others, lattice):
    """Distances (m, n) in Å between fractional coordinates, to the nearest image."""
    offsets = points[:, None] - others
    offsets -= np.round(offsets)
    metric = lattice @ lattice.T
    lengths = np.sqrt(np.diag(metric))
    cosines = np.abs(metric / np.outer(lengths, lengths))
    if max(cosines[0, 1], cosines[0, 2], cosines[1, 2]) <= 0.5 + 1e-6:
        return np.linalg.norm(offsets @ lattice, axis=-1)
    nearest = np.full(offsets.shape[:2], np.inf)
    for shift in _STEPS:  # oblique cells, whose nearest image is not the rounded one
        nearest = np.minimum(nearest, np.linalg.norm((offsets + shift) @ lattice, axis=-1))
    return nearest


def insane_contact(crystal, contact, labels):
    """List the reason why the shortest contact of `shortest_contact` is impossible; empty where it is not."""
    ratio, (i, j, distance) = contact
    if ratio >= MIN_CONTACT:
        return []
    names = " and ".join(labels[crystal.rows[crystal.atoms[a]]] for a in (i, j))
    expected = MIN_CONTACT * _RADII[crystal.atomic_numbers[[i, j]]].sum()
    return [f"its atoms {names} are {distance:.2f} Å apart; expected at least {expected:.2f} Å"]
