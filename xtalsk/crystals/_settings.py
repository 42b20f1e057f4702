"""Symmetry operations of an entry as a group of integer matrices."""

from dataclasses import dataclass
from functools import lru_cache

import gemmi
import numpy as np

from xtalsk.crystals._constants import MAX_OPERATIONS
from xtalsk.crystals._symmetry_search import number_of_operations

_DEN = gemmi.Op.DEN
_IDENTITY_ROW = np.concatenate([np.eye(3, dtype=int).ravel(), np.zeros(3, dtype=int)])


@dataclass(frozen=True, eq=False)
class Setting:
    """A space group in the axes and with the origin of an entry.

    Parameters
    ----------
    name : str
        What the file states: "its operations", or the symbol that is meant.
    number : int
        Space-group number, 0 where it is not known.
    rows : ndarray of int, shape (m, 12)
        Rotation (9 integers) and translation (3 integers, in units of 1/24) of each operation.
    """

    name: str
    number: int
    rows: np.ndarray

    def __post_init__(self):
        object.__setattr__(self, "rotations", self.rows[:, :9].reshape(-1, 3, 3))
        object.__setattr__(self, "translations", self.rows[:, 9:] / _DEN)
        object.__setattr__(self, "point_group", np.unique(self.rotations, axis=0))

    def __len__(self):
        return len(self.rows)

    @property
    def keys(self):
        """The operations as a set, to compare settings."""
        return {row.tobytes() for row in self.rows}

    def misfit(self, lattice):
        """Largest relative change of the metric of a lattice (3, 3) by the rotations."""
        metric = lattice @ lattice.T
        lengths = np.sqrt(np.diag(metric))
        changed = self.point_group.transpose(0, 2, 1) @ metric @ self.point_group
        return float((np.abs(changed - metric) / np.outer(lengths, lengths)).max())


@lru_cache(maxsize=1024)
def setting_of_hall(hall, name):
    """Return the `Setting` of a Hall symbol; ValueError if the symbol is unknown."""
    try:
        group = gemmi.symops_from_hall(hall)
    except RuntimeError as error:
        raise ValueError(f"its Hall symbol {hall!r} is not readable: {error}") from error
    rows = _distinct([_row(op) for op in group])
    tabulated = gemmi.find_spacegroup_by_ops(group)
    return Setting(name, tabulated.number if tabulated else _number(rows), rows)


def setting_of_group(group):
    """Return the `Setting` of a gemmi SpaceGroup."""
    return setting_of_hall(group.hall, group.xhm())


@lru_cache(maxsize=512)
def setting_of_triplets(triplets):
    """Return the `Setting` of operations such as ``"-x,y,1/2-z"``, a tuple that may lack the identity.

    Raises
    ------
    ValueError
        If an operation is not crystallographic or a product of two is not listed.
    """
    if len(triplets) > MAX_OPERATIONS:
        raise ValueError(f"it lists {len(triplets)} symmetry operations, more than {MAX_OPERATIONS}")
    operations = [_parse(t) for t in triplets]
    rows = _distinct([_row(op) for op in operations])
    if not (rows == _IDENTITY_ROW).all(axis=1).any():
        rows = np.vstack([_IDENTITY_ROW, rows])
    group = gemmi.GroupOps(operations)
    tabulated = gemmi.find_spacegroup_by_ops(group)
    if tabulated is not None and setting_of_group(tabulated).keys == {row.tobytes() for row in rows}:
        return Setting("its operations", tabulated.number, rows)
    _check_closed(rows)
    return Setting("its operations", _number(rows), rows)


def _parse(triplet):
    """Return the gemmi Op of a triplet; ValueError if it is not crystallographic."""
    try:
        operation = gemmi.Op(triplet)
    except RuntimeError as error:
        raise ValueError(f"its symmetry operation {triplet!r} is not readable: {error}") from error
    rotation = np.array(operation.rot)
    if (rotation % _DEN).any() or abs(round(float(np.linalg.det(rotation // _DEN)))) != 1:
        raise ValueError(f"its symmetry operation {triplet!r} is no rotation, reflection or inversion")
    return operation


def _row(operation):
    """Twelve integers of a gemmi Op, with the translation inside the cell."""
    return np.concatenate([np.ravel(operation.rot) // _DEN, np.array(operation.tran) % _DEN])


def _distinct(rows):
    """Rows (m, 12) without repeats, in the order of the list."""
    return np.array(list({row.tobytes(): row for row in map(np.asarray, rows)}.values()))


def _number(rows):
    """Space-group number of operations (m, 12), 0 where spglib finds none."""
    try:
        return number_of_operations(rows[:, :9].reshape(-1, 3, 3), rows[:, 9:] / _DEN)
    except ValueError:
        return 0


def _check_closed(rows):
    """Raise ValueError if the product of two operations (m, 12) is not among them."""
    keys = {row.tobytes() for row in rows}
    rotations, translations = rows[:, :9].reshape(-1, 3, 3), rows[:, 9:]
    for i, (rotation, translation) in enumerate(zip(rotations, translations, strict=True)):
        products = np.hstack(
            [(rotation @ rotations).reshape(-1, 9), (translations @ rotation.T + translation) % _DEN]
        )
        for j, product in enumerate(products):
            if product.tobytes() not in keys:
                first, second, missing = (_triplet(r) for r in (rows[i], rows[j], product))
                raise ValueError(
                    f"its {len(rows)} symmetry operations form no group: {first!r} after {second!r} "
                    f"gives {missing!r}, which is not listed; expected all operations of one space group"
                )


def _triplet(row):
    """Text of an operation (12,)."""
    operation = gemmi.Op()
    operation.rot = (row[:9].reshape(3, 3) * _DEN).tolist()
    operation.tran = row[9:].tolist()
    return operation.triplet()
