"""Lines that each extinction group leaves of a lattice, in every setting of its axes.

The reflection conditions follow from the symmetry operations in gemmi of the space group of lowest number of
each extinction group (`xtalsk.symmetry.extinction_group`). The lines are those of `_lattices`. A line is
present if the group allows any reflection of equal q in the holohedry of the lattice.
"""

from functools import cache
from itertools import permutations
from typing import NamedTuple

import gemmi
import numpy as np

from xtalsk.diffraction.indexing._constants import REACH
from xtalsk.diffraction.indexing._lattices import lattice_lines, lattice_reflections
from xtalsk.symmetry import crystal_family, extinction_group

_HOLOHEDRY = {  # a space group of the holohedry of each family
    "cubic": 221,
    "tetragonal": 123,
    "hexagonal": 191,
    "orthorhombic": 47,
    "monoclinic": 10,
    "triclinic": 2,
}
# Changes of the monoclinic axes a and c. The conditions are modulo 2, and so these are all.
_CHANGES = ((1, 0, 0, 1), (0, 1, 1, 0), (1, 1, 0, 1), (1, 0, 1, 1), (0, 1, 1, 1), (1, 1, 1, 0))


class Extinctions(NamedTuple):
    """Extinction groups of one family."""

    groups: tuple  # lowest space-group number of each group
    present: np.ndarray  # (n_settings, n_rows) bool: which lines a group has in a setting
    owner: np.ndarray  # (n_settings,) place of the group of each setting in ``groups``
    variant: np.ndarray  # (n_settings,) variant of the lattice in each setting, as in `_lattices`


def extinction_groups(family):
    """Lowest space-group numbers of the extinction groups of a family, increasing."""
    numbers = np.unique(extinction_group(np.arange(1, 231)))
    return tuple(numbers[crystal_family(numbers) == family].tolist())


def _settings(family):
    """Return the matrices from indices of a lattice to those of the standard setting, (n_settings, 3, 3)."""
    if family == "orthorhombic":
        return np.eye(3, dtype=np.int32)[list(permutations(range(3)))]
    if family == "monoclinic":
        return np.array([[[a, 0, b], [0, 1, 0], [c, 0, d]] for a, b, c, d in _CHANGES], dtype=np.int32)
    return np.eye(3, dtype=np.int32)[np.newaxis]


@cache
def extinctions(family):
    """Return the `Extinctions` of a family, kept in memory."""
    rows, members = lattice_lines(family, REACH[family])
    number_of_row = {row: number for number, row in enumerate(rows)}
    hkl, rows_of_hkl = zip(*lattice_reflections(family, REACH[family]), strict=True)
    line = np.array([number_of_row[row] for row in rows_of_hkl])
    holohedry = gemmi.find_spacegroup_by_number(_HOLOHEDRY[family]).operations().sym_ops
    images = [np.array(hkl) @ (np.array(op.rot) // gemmi.Op.DEN) for op in holohedry]

    def lines_of(operations, setting):
        present = np.zeros(len(rows), dtype=bool)
        for image in images:
            present[line[~operations.systematic_absences((image @ setting).astype(np.int32))]] = True
        return present

    settings = {}
    for place, number in enumerate(extinction_groups(family)):
        operations = gemmi.find_spacegroup_by_number(number).operations()
        centring = gemmi.GroupOps([gemmi.Op().translated(shift) for shift in operations.cen_ops])
        for setting in _settings(family):
            variant = int((members == lines_of(centring, setting)).all(axis=1).argmax())
            settings[place, variant, lines_of(operations, setting).tobytes()] = None
    owner, variant, present = zip(*settings, strict=True)
    present = np.array([np.frombuffer(lines, dtype=bool) for lines in present])
    return Extinctions(extinction_groups(family), present, np.array(owner), np.array(variant))
