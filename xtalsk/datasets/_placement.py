"""Placement of the atoms of random crystals at sufficient distances."""

from dataclasses import dataclass

import numpy as np

from xtalsk.crystals._ragged import ragged_arange
from xtalsk.datasets._constants import LATTICE_GROWTH, N_FAILURES, N_TRIALS
from xtalsk.datasets._random_contents import COVALENT_RADII


def place_orbits(batch, table, min_distance, rng):
    """Place the orbits of all crystals of a batch, one orbit of each crystal at a time.

    Parameters
    ----------
    batch : Batch
        ``batch.lattices`` grow where an orbit finds no room.
    table : WyckoffTable
    min_distance : float
        Smallest distance of two atoms, as a fraction of the sum of their covalent radii.
    rng : RandomState

    Returns
    -------
    coords : ndarray of shape (n_atoms, 3)
        Fractional coordinates.
    is_complete : ndarray of bool, shape (n,)
        Whether all atoms of a crystal have a place.
    """
    placement = _Placement(batch, table, min_distance)
    while len(crystals := placement.active_crystals()):
        trial = placement.draw_trial(crystals, rng)
        placement.accept(trial, placement.clearance(trial))
    return placement.coords, placement.is_complete


@dataclass
class _Trial:
    """Trial points of the next orbit of each of n crystals, and the images of the points."""

    crystals: np.ndarray  # (n,), rows of the batch
    radii: np.ndarray  # (n,), smallest allowed radius in Å of the element
    points: np.ndarray  # (n, N_TRIALS, 3)
    n_images: np.ndarray  # (n,)
    owner: np.ndarray  # (m,), the crystal, 0 to n - 1, of each image
    images: np.ndarray  # (m, N_TRIALS, 3)


class _Placement:
    """Coordinates of the atoms placed so far, and the next orbit of each crystal."""

    def __init__(self, batch, table, min_distance):
        n, n_atoms = len(batch.lattices), batch.atom_offsets[-1]
        self.batch, self.table = batch, table
        self.coords, self.radii = np.zeros((n_atoms, 3)), np.zeros(n_atoms)
        self.next_orbit = batch.orbit_offsets[:-1].copy()
        self.n_placed, self.n_failures = np.zeros(n, dtype=int), np.zeros(n, dtype=int)
        self.orbit_radii = COVALENT_RADII[batch.elements] * min_distance
        self.largest_radii = np.maximum.reduceat(self.orbit_radii, batch.orbit_offsets[:-1])

    @property
    def is_complete(self):
        """Whether all atoms of a crystal have a place, shape (n,)."""
        return self.next_orbit >= self.batch.orbit_offsets[1:]

    def active_crystals(self):
        """Rows of the crystals with orbits left and few failures."""
        return np.flatnonzero(~self.is_complete & (self.n_failures < N_FAILURES))

    def draw_trial(self, crystals, rng):
        """Draw trial points for the next orbits of crystals."""
        table, orbits = self.table, self.batch.orbits[self.next_orbit[crystals]]
        u = rng.random_sample((len(crystals), N_TRIALS, 3))
        points = table.points[orbits][:, None] + np.matmul(u, table.directions[orbits])
        n_images = table.multiplicities[orbits]
        operations = ragged_arange(table.starts[orbits], n_images)
        owner = np.repeat(np.arange(len(crystals)), n_images)
        images = np.matmul(points[owner], table.rotations[operations].transpose(0, 2, 1))
        images += table.translations[operations][:, None]
        radii = self.orbit_radii[self.next_orbit[crystals]]
        return _Trial(crystals, radii, points, n_images, owner, images)

    def clearance(self, trial):
        """Smallest distance (n, N_TRIALS) of the points to other atoms, relative to the allowed distance."""
        lattices = self.batch.lattices[trial.crystals]
        reciprocal = np.linalg.norm(np.linalg.inv(lattices), axis=1)
        reach = np.floor(2 * self.largest_radii[trial.crystals][:, None] * reciprocal + 0.5).astype(int)
        to_images = _nearest(
            trial.owner,
            trial.images - trial.points[trial.owner],
            2 * trial.radii[trial.owner],
            np.diff(trial.owner, prepend=-1) > 0,  # the identity is the first operation
            lattices,
            reach,
        )
        n_placed = self.n_placed[trial.crystals]
        atoms = ragged_arange(self.batch.atom_offsets[trial.crystals], n_placed)
        owner = np.repeat(np.arange(len(trial.crystals)), n_placed)
        to_placed = _nearest(
            owner,
            self.coords[atoms][:, None] - trial.points[owner],
            self.radii[atoms] + trial.radii[owner],
            np.zeros(len(owner), dtype=bool),
            lattices,
            reach,
        )
        return np.minimum(to_images, to_placed)

    def accept(self, trial, clearance):
        """Store the atoms of the best points where they fit, and expand the other lattices."""
        best = np.argmax(clearance, axis=1)
        fits = clearance[np.arange(len(best)), best] >= 1.0
        is_new = fits[trial.owner]
        owner = trial.owner[is_new]
        first = self.batch.atom_offsets[trial.crystals] + self.n_placed[trial.crystals]
        atoms = ragged_arange(first, trial.n_images)[is_new]
        self.coords[atoms], self.radii[atoms] = trial.images[is_new, best[owner]], trial.radii[owner]
        placed, failed = trial.crystals[fits], trial.crystals[~fits]
        self.n_placed[placed] += trial.n_images[fits]
        self.next_orbit[placed] += 1
        self.n_failures[failed] += 1
        self.batch.lattices[failed] *= LATTICE_GROWTH


def _nearest(owner, separations, contact, is_itself, lattices, reach):
    """Smallest distance from trial points to atoms, in units of the allowed distance.

    Parameters
    ----------
    owner : ndarray of int, shape (m,)
        The crystal, 0 to n - 1, of each atom, in rising order.
    separations : ndarray of shape (m, n_trials, 3)
        From the trial points of the crystal to the atom, in fractions of the cell.
    contact : ndarray of shape (m,)
        Allowed distance in Å.
    is_itself : ndarray of bool, shape (m,)
        Whether the atom is the trial point itself, which is apart from itself only by lattice vectors.
    lattices : ndarray of shape (n, 3, 3)
        Lattice vectors as rows, in Å.
    reach : ndarray of int, shape (n, 3)
        Number of neighbouring cells to search on each side.

    Returns
    -------
    ndarray of shape (n, n_trials)
        Infinite where a crystal has no atoms.
    """
    nearest = np.full((len(lattices), separations.shape[1]), np.inf)
    if not len(owner):
        return nearest
    vectors, starts, lengths = _neighbour_cells(reach)
    cells = vectors[ragged_arange(starts[owner], lengths[owner])]
    pair = np.repeat(np.arange(len(owner)), lengths[owner])
    separations = separations - np.round(separations)
    vectors = np.matmul((separations[pair] + cells[:, None]), lattices[owner[pair]])
    squares = np.einsum("rki,rki->rk", vectors, vectors)
    squares[is_itself[pair] & ~cells.any(axis=1)] = np.inf
    squares /= (contact**2)[pair, None]
    starts = np.flatnonzero(np.diff(owner[pair], prepend=-1))
    nearest[owner[pair][starts]] = np.sqrt(np.minimum.reduceat(squares, starts, axis=0))
    return nearest


def _neighbour_cells(reach):
    """Lattice translations within ``reach`` (n, 3) cells, and their first row and number for each crystal."""
    boxes, index = np.unique(reach, axis=0, return_inverse=True)
    index = index.ravel()  # numpy 2.0 returns another shape
    grids = [np.indices(2 * box + 1).reshape(3, -1).T - box for box in boxes]
    lengths = np.array([len(g) for g in grids])
    return np.concatenate(grids), (np.cumsum(lengths) - lengths)[index], lengths[index]
