"""Wyckoff positions of the space groups, from a packaged table.

`xtalsk.crystals._build_wyckoff` derives the table from the symmetry operations that gemmi lists, and so keeps
gemmi's reference settings.
"""

from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np

from xtalsk.symmetry import check_space_group

TABLE = files("xtalsk.crystals") / "data" / "wyckoff.npz"
TRANSLATION_SCALE = 24  # the table has translations in 24ths of the cell
AXES_SCALE = 6  # and primitive axes in sixths
# The arrays of the table, each with the array that has its number of rows per space group
ROWS_PER_GROUP = {
    "rotations": "n_operations",
    "translations": "n_operations",
    "centrings": "n_centrings",
    "points": "n_positions",
    "directions": "n_positions",
    "freedoms": "n_positions",
    "orbit_lengths": "n_positions",
    "orbit_operations": "n_orbit_operations",
}


@dataclass(frozen=True, eq=False)
class WyckoffPosition:
    """One Wyckoff position: ``point + u @ directions`` for any ``u``, and its images.

    Parameters
    ----------
    point : ndarray of shape (3,)
        Fractional coordinates.
    directions : ndarray of int, shape (freedom, 3)
        Lattice vectors along the line, plane or space of the first atom. Values of ``u`` in [0, 1) cover it.
    rotations : ndarray of int, shape (multiplicity, 3, 3)
        Rotations of one operation for each atom of the cell, the identity first. The first ``multiplicity /
        n_centrings`` operations give the atoms of a primitive cell.
    translations : ndarray of shape (multiplicity, 3)
        Translations of the same operations, in fractions of the cell.
    """

    point: np.ndarray
    directions: np.ndarray
    rotations: np.ndarray
    translations: np.ndarray

    @property
    def multiplicity(self):
        """Number of atoms in the cell."""
        return len(self.rotations)

    @property
    def freedom(self):
        """Number of free coordinates, 0 to 3."""
        return len(self.directions)


@cache
def _load_table():
    """Return the arrays of the packaged table as lists with one array for each space group."""
    with TABLE.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        table = dict(archive)
    groups = {
        name: np.split(table[name], np.cumsum(table[lengths], dtype=int)[:-1])
        for name, lengths in ROWS_PER_GROUP.items()
    }
    return groups | {"primitive_axes": table["primitive_axes"]}


def _group_arrays(number):
    """Return the arrays of one space group of the packaged table."""
    row = int(check_space_group(number)) - 1
    return {name: arrays[row] for name, arrays in _load_table().items()}


@cache
def space_group_operations(number):
    """Operations of a space group in gemmi's reference setting, ordered by centring vector.

    Parameters
    ----------
    number : int
        1 to 230.

    Returns
    -------
    rotations : ndarray of int, shape (n_operations, 3, 3)
        They act on fractional coordinates as columns.
    translations : ndarray of shape (n_operations, 3)
        In fractions of the cell, within [0, 1).
    n_centrings : int
        Number of lattice points in the cell.

    Raises
    ------
    ValueError
        If ``number`` is not a space-group number.
    """
    group = _group_arrays(number)
    return apply_centrings(group["rotations"], group["translations"], group["centrings"])


def apply_centrings(rotations, translations, centrings):
    """Operations of a space group from those of a primitive cell, as `space_group_operations` returns them.

    Translations (n, 3) and centring vectors (n_centrings, 3) are integers, in 24ths of the cell.
    """
    centrings = np.asarray(centrings) / TRANSLATION_SCALE
    translations = np.asarray(translations) / TRANSLATION_SCALE
    shifted = (centrings[:, None] + translations).reshape(-1, 3) % 1.0
    return np.tile(np.asarray(rotations, dtype=int), (len(centrings), 1, 1)), shifted, len(centrings)


@cache
def primitive_axes(number):
    """Vectors of a primitive cell of a space group as rows (3, 3), in terms of those of the cell."""
    return _group_arrays(number)["primitive_axes"] / AXES_SCALE


@cache
def wyckoff_positions(number):
    """Wyckoff positions of a space group in gemmi's reference setting.

    The letters of the International Tables are not included, because no rule derives them.

    Parameters
    ----------
    number : int
        1 to 230.

    Returns
    -------
    tuple of WyckoffPosition
        From the lowest multiplicity to the general position.

    Raises
    ------
    ValueError
        If ``number`` is not a space-group number.

    Examples
    --------
    >>> from xtalsk.crystals._wyckoff import wyckoff_positions
    >>> [(w.multiplicity, w.freedom) for w in wyckoff_positions(62)]
    [(4, 0), (4, 0), (4, 2), (8, 3)]
    """
    group = _group_arrays(number)
    rotations, translations, n_centrings = space_group_operations(number)
    first_operation = len(rotations) // n_centrings * np.arange(n_centrings)[:, None]
    orbits = np.split(group["orbit_operations"], np.cumsum(group["orbit_lengths"], dtype=int)[:-1])
    positions = []
    for i, orbit in enumerate(orbits):
        operations = (orbit + first_operation).ravel()
        directions = group["directions"][i, : group["freedoms"][i]].astype(int)
        positions.append(
            WyckoffPosition(group["points"][i], directions, rotations[operations], translations[operations])
        )
    return tuple(positions)


class WyckoffTable:
    """The Wyckoff positions of some space groups and their operations, as arrays end to end.

    Parameters
    ----------
    numbers : array-like of int
        Space-group numbers.

    Attributes
    ----------
    first : dict of int to int
        First row of each space group in the arrays of positions.
    points, directions : ndarray of shape (n_positions, 3) and (n_positions, 3, 3)
        See `WyckoffPosition`; directions beyond the freedom are zero.
    freedoms, multiplicities, n_primitive : ndarray of int, shape (n_positions,)
        Free coordinates, atoms in the cell, and atoms in the primitive cell.
    starts : ndarray of int, shape (n_positions,)
        First row of each position in the arrays of operations.
    rotations, translations : ndarray of shape (n_operations, 3, 3) and (n_operations, 3)
    """

    def __init__(self, numbers):
        groups = {int(n): wyckoff_positions(int(n)) for n in np.unique(numbers)}
        lengths = [len(g) for g in groups.values()]
        positions = [w for g in groups.values() for w in g]
        self.first = dict(zip(groups, np.cumsum([0, *lengths]).tolist(), strict=False))
        self.points = np.array([w.point for w in positions])
        self.directions = np.zeros((len(positions), 3, 3))
        for i, w in enumerate(positions):
            self.directions[i, : w.freedom] = w.directions
        self.freedoms = np.array([w.freedom for w in positions])
        self.multiplicities = np.array([w.multiplicity for w in positions])
        n_centrings = np.repeat([space_group_operations(n)[2] for n in groups], lengths)
        self.n_primitive = self.multiplicities // n_centrings
        self.starts = np.cumsum(self.multiplicities) - self.multiplicities
        self.rotations = np.concatenate([w.rotations for w in positions]).astype(float)
        self.translations = np.concatenate([w.translations for w in positions])
