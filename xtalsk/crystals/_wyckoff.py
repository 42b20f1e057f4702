"""Wyckoff positions, derived from the symmetry operations of a space group.

The points that a symmetry operation leaves in place form a plane, a line or a single point. Every line that
is fixed belongs to a rotation, and every isolated point to a rotoinversion or to two axes that cross there.
Listing all of these modulo the lattice, and joining those that an operation of the group carries into each
other, gives the Wyckoff positions [1]_.

References
----------
.. [1] International Tables for Crystallography A (2016), sections 1.4.4 and 2.1.3.11.
"""

from bisect import bisect_right
from dataclasses import dataclass
from functools import cache

import gemmi
import moyopy
import numpy as np

from xtalsk.symmetry import check_space_group

_GRID = 144  # fixed points and the places of lines and planes are multiples of 1/48
_NEIGHBOURS = np.stack(np.meshgrid(*[[-1, 0, 1]] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
_GENERIC = np.array([0.1327, 0.3171, 0.2893])  # a place on a line or plane that is special by no symmetry


@dataclass(frozen=True, eq=False)
class WyckoffPosition:
    """One Wyckoff position: ``point + u @ directions`` for any ``u``, and its images.

    Parameters
    ----------
    point : ndarray of shape (3,)
        Fractional coordinates.
    directions : ndarray of int, shape (freedom, 3)
        Lattice vectors along the line, plane or space of the first atom; ``u`` in [0, 1) covers it.
    rotations : ndarray of int, shape (multiplicity, 3, 3)
        Of one operation for each atom of the cell, the identity first. The first ``multiplicity /
        n_centrings`` give the atoms of a primitive cell.
    translations : ndarray of shape (multiplicity, 3)
        Of the same operations.
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
def space_group_operations(number):
    """Operations of a space group in gemmi's reference setting, those of each centring vector together.

    Parameters
    ----------
    number : int
        1 to 230.

    Returns
    -------
    rotations : ndarray of int, shape (n_operations, 3, 3)
        They act on fractional coordinates as columns.
    translations : ndarray of shape (n_operations, 3)
        In [0, 1).
    n_centrings : int
        Lattice points in the cell.
    """
    operations = gemmi.find_spacegroup_by_number(int(check_space_group(number))).operations()
    rotations = np.array([op.rot for op in operations.sym_ops]) // gemmi.Op.DEN
    translations = np.array([op.tran for op in operations.sym_ops]) / gemmi.Op.DEN
    centrings = np.array(operations.cen_ops) / gemmi.Op.DEN
    shifted = (centrings[:, None] + translations).reshape(-1, 3) % 1.0
    return np.tile(rotations, (len(centrings), 1, 1)), shifted, len(centrings)


@cache
def primitive_axes(number):
    """Vectors of a primitive cell of a space group as rows (3, 3), in terms of those of the cell."""
    _, translations, n_centrings = space_group_operations(number)
    centrings = translations[:: len(translations) // n_centrings] - translations[0]
    vectors = np.round(np.vstack([np.eye(3), centrings]) * 6).astype(int)  # in halves and thirds
    _reduce(vectors, 3)
    return vectors[:3] / 6


@cache
def _span(key):
    """Directions that a rotation, given as bytes of int8, keeps, the mean of its powers, and of their sums.

    The second projects on the fixed space; the third gives a fixed point from a translation across it.
    """
    rotation = np.frombuffer(key, dtype=np.int8).reshape(3, 3).astype(int)
    powers = [np.eye(3, dtype=int)]
    while not np.array_equal(product := rotation @ powers[-1], powers[0]):
        powers.append(product)
    sums = np.cumsum([np.zeros((3, 3), dtype=int), *powers[:-1]], axis=0)
    return _null_lattice(rotation - np.eye(3, dtype=int)), np.mean(powers, axis=0), np.mean(sums, axis=0)


def _null_lattice(matrix):
    """Basis of the integer vectors (3 - rank, 3) that an integer matrix (m, 3) sends to zero, reduced."""
    work = np.hstack([np.asarray(matrix, dtype=int).T, np.eye(3, dtype=int)])
    rank = _reduce(work, work.shape[1] - 3)
    kernel = work[rank:, -3:].copy()
    _reduce(kernel, 3)
    return kernel


def _reduce(work, n_columns):
    """Bring integer rows to Hermite normal form in place, by their first columns; the rank comes back."""
    row = 0
    for column in range(n_columns):
        while np.count_nonzero(work[row:, column]) > 1:
            entries = np.abs(work[row:, column])
            pivot = row + int(np.argmin(np.where(entries, entries, entries.max() + 1)))
            work[[row, pivot]] = work[[pivot, row]]
            work[row + 1 :] -= work[row + 1 :, [column]] // work[row, column] * work[row]
        found = np.flatnonzero(work[row:, column])
        if len(found):
            pivot = row + int(found[0])
            work[[row, pivot]] = work[[pivot, row]]
            work[row] *= np.sign(work[row, column])
            work[:row] -= work[:row, [column]] // work[row, column] * work[row]
            row += 1
        if row == len(work):
            break
    return row


def _fixed_spaces(rotations, translations):
    """List the fixed spaces of the single operations, as pairs of directions and of points, one a row."""
    spaces = [(np.eye(3, dtype=int), np.zeros((1, 3)))]
    for rotation, translation in zip(rotations, translations, strict=True):
        directions, projector, shift = _span(rotation.astype(np.int8).tobytes())
        if len(directions) == 3:
            continue
        moved = translation + _NEIGHBOURS
        fixing = np.abs(moved @ projector.T).max(axis=1) < 1e-6
        if fixing.any():
            spaces.append((directions, moved[fixing] @ shift.T))
    return spaces


def _crossings(point, line, rotations, translations):
    """Points of a line, within one period, that the operations of other axes also keep."""
    along = (rotations - np.eye(3, dtype=int)) @ line
    target = -translations - (rotations @ point - point)
    i = np.argmax(np.abs(along), axis=1)[:, None]
    period = np.take_along_axis(along, i, axis=1)[:, 0]
    target_there = np.take_along_axis(target, i, axis=1)[:, 0]
    found = [np.empty((0, 3))]
    for k in range(np.abs(period).max(initial=0)):
        here = k < np.abs(period)
        s = (target_there[here] + k) / period[here]
        residual = target[here] - s[:, None] * along[here]
        met = np.abs(residual - np.round(residual)).max(axis=1) < 1e-6
        found.append(point + s[met, None] * line)
    return np.concatenate(found)


@cache
def _turned(rotation, directions):
    """Turn a space and give its normals, as a name and transposed; both arguments are bytes of integers."""
    directions = np.frombuffer(directions, dtype=int).reshape(-1, 3)
    turned = directions @ np.frombuffer(rotation, dtype=int).reshape(3, 3).T
    normals = _null_lattice(turned) if len(turned) else np.eye(3, dtype=int)
    return normals.tobytes(), normals.T


class _Classes:
    """Spaces that the operations of a group carry into each other, met so far."""

    def __init__(self, rotations, translations):
        self.rotations, self.translations = rotations, translations
        distinct, index = np.unique(rotations, axis=0, return_inverse=True)
        self.distinct = [r.tobytes() for r in distinct.astype(int)]
        self.members = [np.flatnonzero(index == j) for j in range(len(distinct))]
        self.seen = {}

    def add(self, directions, points):
        """Yield those of the points whose space is new, and remember all spaces equivalent to it."""
        directions = directions.astype(int).tobytes()
        kind, normals = _turned(np.eye(3, dtype=int).tobytes(), directions)
        labels, first = np.unique(_labels(points, normals), return_index=True)
        for label, point in zip(labels.tolist(), points[first], strict=True):
            if label in self.seen.setdefault(kind, set()):
                continue
            images = self.rotations @ point + self.translations
            for rotation, members in zip(self.distinct, self.members, strict=True):
                kind_there, normals_there = _turned(rotation, directions)
                there = _labels(images[members], normals_there)
                self.seen.setdefault(kind_there, set()).update(there.tolist())
            yield point


def _labels(points, normals):
    """Integers that tell spaces with the same normals apart modulo the lattice."""
    places = np.round(points @ normals * _GRID).astype(int) % _GRID
    return places @ (_GRID ** np.arange(normals.shape[1]))


def _position(point, directions, rotations, translations, n_centrings):
    """Make the Wyckoff position of a fixed space, an operation for each of its atoms."""
    place = point + _GENERIC[: len(directions)] @ directions
    images = (rotations @ place + translations).reshape(n_centrings, -1, 3)
    cells = np.floor(images * 1e6 + 0.3717).astype(int) % 1_000_000
    codes = (cells @ np.array([10**12, 10**6, 1])).min(axis=0)  # one for images that a centring vector joins
    first = np.sort(np.unique(codes, return_index=True)[1])
    chosen = (first + images.shape[1] * np.arange(n_centrings)[:, None]).ravel()
    return WyckoffPosition(point % 1.0, directions, rotations[chosen], translations[chosen])


@cache
def wyckoff_positions(number):
    """Wyckoff positions of a space group in gemmi's reference setting.

    They are derived from the operations of the group; the letters of the International Tables, which follow
    no rule that could be derived, are not given.

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
    rotations, translations, n_centrings = space_group_operations(number)
    classes = _Classes(rotations, translations)
    spaces = [
        (point, directions)
        for directions, points in _fixed_spaces(rotations, translations)
        for point in classes.add(directions, points)
    ]
    turning = np.round(np.linalg.det(rotations)) > 0
    crossings = [
        _crossings(point, directions[0], rotations[turning], translations[turning])
        for point, directions in spaces
        if len(directions) == 1
    ]
    origin = np.zeros((0, 3), dtype=int)
    spaces += [
        (point, origin) for point in classes.add(origin, np.concatenate([np.empty((0, 3)), *crossings]))
    ]
    found = [_position(*space, rotations, translations, n_centrings) for space in spaces]
    return tuple(sorted(found, key=lambda w: (w.multiplicity, w.freedom)))


class WyckoffTable:
    """The Wyckoff positions of some space groups, and their operations, in arrays end to end.

    The positions of group ``n`` begin in row ``first[n]``, the operations of position ``w`` in row
    ``starts[w]``; ``directions`` (n, 3, 3) beyond the freedom are zero.
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


@cache
def _choices(number):
    """Multiplicities in the primitive cell, freedoms and summed weights of the Wyckoff positions."""
    n_centrings = space_group_operations(number)[2]
    kinds = [(w.multiplicity // n_centrings, w.freedom) for w in wyckoff_positions(number)]
    weights = [multiplicity / kinds.count((multiplicity, f)) for multiplicity, f in kinds]
    return [k[0] for k in kinds], [k[1] for k in kinds], np.cumsum(weights).tolist()


def draw_positions(number, size, max_size, rng):
    """Choose rows of `wyckoff_positions` with about ``size`` atoms in the primitive cell.

    Large multiplicities are preferred, positions without freedom used at most once, and the lowest
    multiplicity is always allowed. Choices that always have more symmetry are drawn again, for more atoms.
    """
    multiplicities, freedoms, weights = _choices(number)
    for _ in range(20):
        left, chosen = max(size, multiplicities[0]), []
        for u in rng.random_sample(20 + size):
            n_fitting = bisect_right(multiplicities, left)
            if not n_fitting:
                break
            w = bisect_right(weights, u * weights[n_fitting - 1])
            if freedoms[w] or w not in chosen:
                chosen.append(w)
                left -= multiplicities[w]
        # larger choices nearly always suffice
        if len(chosen) > 4 or max(freedoms[w] for w in chosen) > 1 or _suffice(number, tuple(sorted(chosen))):
            break
        size = min(size + 1 + size // 4, max_size)
    return chosen


@cache
def _suffice(number, chosen):
    """Whether orbits of different elements on the chosen positions have just this space group.

    What holds at one generic place holds at nearly all, and fewer elements only add symmetry.
    """
    positions = wyckoff_positions(number)
    rotations, _, n_centrings = space_group_operations(number)
    metric = np.array([[25.0, 2.0, 3.0], [2.0, 36.0, 4.0], [3.0, 4.0, 49.0]])
    lattice = np.linalg.cholesky(np.mean(rotations.transpose(0, 2, 1) @ metric @ rotations, axis=0))
    coords, elements = [], []
    for k, w in enumerate(positions[i] for i in chosen):
        place = w.point + ((k + 1) * _GENERIC % 1.0)[: w.freedom] @ w.directions
        n_atoms = w.multiplicity // n_centrings
        coords.append(w.rotations[:n_atoms] @ place + w.translations[:n_atoms])
        elements += [k + 1] * n_atoms
    return has_space_group(number, lattice, np.concatenate(coords), elements, symprec=1e-4)


def has_space_group(number, lattice, coords, elements, symprec):
    """Tell by moyopy whether a crystal in the reference setting has a space group, and no smaller cell.

    ``lattice`` is that of the conventional cell and ``coords`` (n, 3) refer to it, but only the atoms of a
    primitive cell are given; ``symprec`` is in Å.
    """
    axes = primitive_axes(number)
    cell = moyopy.Cell((axes @ lattice).tolist(), (coords @ np.linalg.inv(axes)).tolist(), elements)
    try:
        found = moyopy.MoyoDataset(cell, symprec=symprec)
    except ValueError:
        return False
    return found.number == number and found.prim_std_cell.num_atoms == len(elements)
