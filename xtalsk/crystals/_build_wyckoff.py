"""Derive the packaged table of Wyckoff positions from the symmetry operations that gemmi lists.

Run ``python -m xtalsk.crystals._build_wyckoff``.

The points that a symmetry operation fixes form a plane, a line or a single point. Every fixed line is the
axis of a rotation. Every isolated fixed point is the centre of a rotoinversion or a crossing of two axes. The
script lists all fixed spaces modulo the lattice and joins those that an operation of the group maps onto each
other. The result is the list of Wyckoff positions [1]_.

References
----------
.. [1] International Tables for Crystallography A (2016), sections 1.4.4 and 2.1.3.11.
"""

import argparse
from functools import cache
from pathlib import Path

import gemmi
import numpy as np

from xtalsk.crystals._orbits import grid_cells
from xtalsk.crystals._wyckoff import AXES_SCALE, ROWS_PER_GROUP, TABLE, apply_centrings
from xtalsk.crystals._wyckoff_choice import GENERIC

_GRID = 144  # fixed points and the intercepts of lines and planes are multiples of 1/48
_NEIGHBOURS = np.stack(np.meshgrid(*[[-1, 0, 1]] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
_IDENTITY = np.eye(3, dtype=int)


def _reduce(rows, n_columns):
    """Bring integer rows to Hermite normal form in place, by their first columns, and return the rank."""
    row = 0
    for column in range(n_columns):
        while np.count_nonzero(rows[row:, column]) > 1:
            entries = np.abs(rows[row:, column])
            pivot = row + int(np.argmin(np.where(entries, entries, entries.max() + 1)))
            rows[[row, pivot]] = rows[[pivot, row]]
            rows[row + 1 :] -= rows[row + 1 :, [column]] // rows[row, column] * rows[row]
        nonzero = np.flatnonzero(rows[row:, column])
        if len(nonzero):
            pivot = row + int(nonzero[0])
            rows[[row, pivot]] = rows[[pivot, row]]
            rows[row] *= np.sign(rows[row, column])
            rows[:row] -= rows[:row, [column]] // rows[row, column] * rows[row]
            row += 1
        if row == len(rows):
            break
    return row


def _null_lattice(matrix):
    """Reduced basis (3 - rank, 3) of the integer vectors that an integer matrix (m, 3) maps to zero."""
    rows = np.hstack([np.asarray(matrix, dtype=int).T, _IDENTITY])
    rank = _reduce(rows, rows.shape[1] - 3)
    kernel = rows[rank:, -3:].copy()
    _reduce(kernel, 3)
    return kernel


def _derive_primitive_axes(centrings):
    """Vectors (3, 3) of a primitive cell in sixths, from centring vectors in 24ths."""
    vectors = np.vstack([AXES_SCALE * _IDENTITY, centrings * AXES_SCALE // gemmi.Op.DEN])
    _reduce(vectors, 3)
    return vectors[:3]


@cache
def _fixed_directions(rotation):
    """Directions that a rotation (bytes of int8) fixes, the mean of its powers, and the mean of their sums.

    The mean of the powers projects on the fixed space. The mean of the sums maps a translation across the
    fixed space to a fixed point.
    """
    rotation = np.frombuffer(rotation, dtype=np.int8).reshape(3, 3).astype(int)
    powers = [_IDENTITY]
    while not np.array_equal(product := rotation @ powers[-1], powers[0]):
        powers.append(product)
    sums = np.cumsum([np.zeros((3, 3), dtype=int), *powers[:-1]], axis=0)
    return _null_lattice(rotation - _IDENTITY), np.mean(powers, axis=0), np.mean(sums, axis=0)


def _fixed_spaces(rotations, translations):
    """List the fixed spaces of single operations as pairs of directions (freedom, 3) and points (n, 3)."""
    spaces = [(_IDENTITY, np.zeros((1, 3)))]
    for rotation, translation in zip(rotations, translations, strict=True):
        directions, projector, shift = _fixed_directions(rotation.astype(np.int8).tobytes())
        if len(directions) == 3:
            continue
        shifted = translation + _NEIGHBOURS
        is_fixing = np.abs(shifted @ projector.T).max(axis=1) < 1e-6
        if is_fixing.any():
            spaces.append((directions, shifted[is_fixing] @ shift.T))
    return spaces


def _crossings(point, line, rotations, translations):
    """Points (n, 3) of a line, within one period, that operations of other axes also fix."""
    along = (rotations - _IDENTITY) @ line
    target = -translations - (rotations @ point - point)
    i = np.argmax(np.abs(along), axis=1)[:, None]
    period = np.take_along_axis(along, i, axis=1)[:, 0]
    target_component = np.take_along_axis(target, i, axis=1)[:, 0]
    points = [np.empty((0, 3))]
    for k in range(np.abs(period).max(initial=0)):
        in_period = k < np.abs(period)
        s = (target_component[in_period] + k) / period[in_period]
        residual = target[in_period] - s[:, None] * along[in_period]
        is_fixed = np.abs(residual - np.round(residual)).max(axis=1) < 1e-6
        points.append(point + s[is_fixed, None] * line)
    return np.concatenate(points)


@cache
def _rotate_space(rotation, directions):
    """Return the normals of a rotated space, as bytes and transposed; arguments are bytes of integers."""
    directions = np.frombuffer(directions, dtype=int).reshape(-1, 3)
    rotated = directions @ np.frombuffer(rotation, dtype=int).reshape(3, 3).T
    normals = _null_lattice(rotated) if len(rotated) else _IDENTITY
    return normals.tobytes(), normals.T


def _space_labels(points, normals):
    """Integers for the spaces with common normals through the points; equal modulo the lattice."""
    intercepts = np.round(points @ normals * _GRID).astype(int) % _GRID
    return intercepts @ (_GRID ** np.arange(normals.shape[1]))


class _EquivalentSpaces:
    """The spaces listed so far, with all their images under the operations of a group."""

    def __init__(self, rotations, translations):
        self.rotations, self.translations = rotations, translations
        distinct, index = np.unique(rotations, axis=0, return_inverse=True)
        self.distinct = [r.tobytes() for r in distinct.astype(int)]
        self.members = [np.flatnonzero(index == j) for j in range(len(distinct))]
        self.labels = {}  # sets of labels by the normals of the spaces

    def add(self, directions, points):
        """Yield the points whose space is new, and add all spaces equivalent to it."""
        directions = directions.astype(int).tobytes()
        key, normals = _rotate_space(_IDENTITY.tobytes(), directions)
        labels, first = np.unique(_space_labels(points, normals), return_index=True)
        for label, point in zip(labels.tolist(), points[first], strict=True):
            if label in self.labels.setdefault(key, set()):
                continue
            images = self.rotations @ point + self.translations
            for rotation, members in zip(self.distinct, self.members, strict=True):
                image_key, image_normals = _rotate_space(rotation, directions)
                image_labels = _space_labels(images[members], image_normals)
                self.labels.setdefault(image_key, set()).update(image_labels.tolist())
            yield point


def _list_spaces(rotations, translations):
    """List one fixed space of each Wyckoff position, as pairs of a point and directions."""
    equivalent = _EquivalentSpaces(rotations, translations)
    spaces = [
        (point, directions)
        for directions, points in _fixed_spaces(rotations, translations)
        for point in equivalent.add(directions, points)
    ]
    is_proper = np.round(np.linalg.det(rotations)) > 0
    crossings = [
        _crossings(point, directions[0], rotations[is_proper], translations[is_proper])
        for point, directions in spaces
        if len(directions) == 1
    ]
    no_directions = np.zeros((0, 3), dtype=int)
    crossings = np.concatenate([np.empty((0, 3)), *crossings])
    return spaces + [(point, no_directions) for point in equivalent.add(no_directions, crossings)]


def _choose_operations(point, directions, rotations, translations, n_centrings):
    """Rows of the operations of a primitive cell that give each atom of a Wyckoff position once."""
    point = point + GENERIC[: len(directions)] @ directions
    images = (rotations @ point + translations).reshape(n_centrings, -1, 3)
    codes = grid_cells(images) @ np.array([10**12, 10**6, 1])
    # images that a centring vector joins share their lowest code
    return np.sort(np.unique(codes.min(axis=0), return_index=True)[1])


def derive_group(number):
    """Arrays of one space group of the table, as `pack` joins them."""
    operations = gemmi.find_spacegroup_by_number(number).operations()
    primitive = np.array([op.rot for op in operations.sym_ops]) // gemmi.Op.DEN
    offsets, centrings = np.array([op.tran for op in operations.sym_ops]), np.array(operations.cen_ops)
    rotations, translations, n_centrings = apply_centrings(primitive, offsets, centrings)
    positions = [
        (point % 1.0, directions, _choose_operations(point, directions, rotations, translations, n_centrings))
        for point, directions in _list_spaces(rotations, translations)
    ]
    positions.sort(key=lambda position: (len(position[2]), len(position[1])))
    directions = [np.vstack([d, np.zeros((3 - len(d), 3), dtype=int)]) for _, d, _ in positions]
    return {
        "rotations": primitive.astype(np.int8),
        "translations": offsets.astype(np.int8),
        "centrings": centrings.astype(np.int8),
        "primitive_axes": _derive_primitive_axes(centrings).astype(np.int8)[None],
        "points": np.array([point for point, _, _ in positions]),
        "directions": np.array(directions, dtype=np.int8),
        "freedoms": np.array([len(d) for _, d, _ in positions], dtype=np.uint8),
        "orbit_lengths": np.array([len(orbit) for _, _, orbit in positions], dtype=np.uint8),
        "orbit_operations": np.concatenate([orbit for _, _, orbit in positions]).astype(np.uint8),
    }


def pack(groups):
    """Arrays of the packaged table, from those of its space groups."""
    table = {name: np.concatenate([group[name] for group in groups]) for name in groups[0]}
    for name, count in ROWS_PER_GROUP.items():
        table[count] = np.array([len(group[name]) for group in groups], dtype=np.uint16)
    return table


def main(argv=None):
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", default=str(TABLE), type=Path)
    out = parser.parse_args(argv).out
    table = pack([derive_group(number) for number in range(1, 231)])
    np.savez_compressed(out, **table)
    print(f"{len(table['points'])} Wyckoff positions, {out.stat().st_size / 1e3:.0f} kB")  # noqa: T201


if __name__ == "__main__":
    main()
