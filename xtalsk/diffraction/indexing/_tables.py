"""Tables of the lattice families on a device: lines, assignments and absence classes."""

from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
import torch

from xtalsk.diffraction.indexing._constants import N_KEPT, N_KEPT_TRICLINIC, N_ZONE_LINES, REACH
from xtalsk.diffraction.indexing._lattices import FAMILIES, lattice_lines, lattice_variants
from xtalsk.diffraction.indexing._trial_cells import load_assignments

# Reflections of a general line hkl of the holohedry.
_MULTIPLICITY = {
    "cubic": 48,
    "tetragonal": 16,
    "hexagonal": 24,
    "orthorhombic": 8,
    "monoclinic": 4,
    "triclinic": 2,
}
_SQUARES = (1, 4, 9, 16, 25, 36, 49, 64)
# Lines that a screw axis or a glide plane forbids, by the row (n, l²) of a line with l written m.
_UNIAXIAL_CLASSES = {
    "tetragonal": {
        "screw_2": lambda n, m: n == 0 and m % 2,
        "screw_4": lambda n, m: n == 0 and m % 4,
        "glide_hk0": lambda n, m: m == 0 and n % 2,
        "glide_0kl": lambda n, m: n in _SQUARES and (n + m) % 2,
        "glide_hhl": lambda n, m: n % 2 == 0 and n // 2 in _SQUARES and m % 2,
    },
    "hexagonal": {
        "screw_2": lambda n, m: n == 0 and m % 2,
        "screw_3": lambda n, m: n == 0 and m % 3,
        "glide_h0l": lambda n, m: n in _SQUARES and m % 2,
        "glide_hhl": lambda n, m: n % 3 == 0 and n // 3 in _SQUARES and m % 2,
    },
}
# Axes along which orthorhombic and monoclinic lattices have screw axes and normals of glide planes.
_AXES = {"orthorhombic": (0, 1, 2), "monoclinic": (1,)}
_AXIAL_CLASSES = ("screw", "glide", "glide_n")


class Options(NamedTuple):
    """What is searched for."""

    triclinic: bool = True  # whether to search for triclinic lattices
    deep: bool = False  # whether to try more assignments of monoclinic lattices
    zero_shift: float | None = None  # largest shift of the zero in 1/Å; None for one bin
    lenient: bool = False  # whether to index a second set of lines, with weaker ones
    absences: bool = False  # whether to compare the extinction groups

    @property
    def families(self):
        """Names of the families that are searched for."""
        return FAMILIES if self.triclinic else FAMILIES[:-1]


DEFAULT = Options()  # of `IndexingScores`


@dataclass(frozen=True)
class Family:
    """Lattices of one metric, which share their candidates."""

    name: str
    rows: torch.Tensor  # (n_rows, n_parameters) lines in the order of their indices
    members: torch.Tensor  # (n_variants, n_rows) bool: which lines a variant has
    variants: tuple  # lattice type of each variant, e.g. ("p", "c", "c", "c", "i", "f")
    inverses: torch.Tensor  # (n_assignments, n_parameters, n_parameters) from Q of chosen lines to parameters
    lines: torch.Tensor  # (n_assignments, n_parameters) numbers of the chosen lines among the lowest ones
    classes: dict  # name -> bool (n_settings, n_rows): lines that screw axes and glide planes forbid
    multiplicity: int  # reflections of a general line
    n_low: int  # lowest lines from which candidates are made
    n_kept: int  # cells of each lattice type that are refined

    @property
    def types(self):
        """Names of the lattice types."""
        return tuple(dict.fromkeys(self.variants))

    def rows_by_variants(self, n_rows, n_variants):
        """Group the first rows, as lists, by the variants that have them: {(variant, ...): [row, ...]}."""
        groups = {}
        for row, members in zip(
            self.rows[:n_rows].tolist(), self.members[:, :n_rows].T.tolist(), strict=True
        ):
            groups.setdefault(tuple(v for v in range(n_variants) if members[v]), []).append(row)
        return groups


def settings_of_classes(family):
    """Return the number of settings of each absence class of a family, {name: n_settings}."""
    if family in _UNIAXIAL_CLASSES:
        return dict.fromkeys(_UNIAXIAL_CLASSES[family], 1)
    return dict.fromkeys(_AXIAL_CLASSES, len(_AXES[family])) if family in _AXES else {}


def _absence_classes(family, rows):
    """Whether lines belong to each absence class, {name: bool (n_settings, n_rows)}."""
    if family in _UNIAXIAL_CLASSES:
        return {
            name: np.array([[is_absent(n, round(l2**0.5)) for n, l2 in rows]], dtype=bool)
            for name, is_absent in _UNIAXIAL_CLASSES[family].items()
        }
    classes = {name: [] for name in settings_of_classes(family)}
    for axis in _AXES.get(family, ()):
        indices = np.rint(np.sqrt(np.array(rows)[:, :3])).astype(int)
        is_odd, is_zero = indices % 2 == 1, indices == 0
        others = [i for i in range(3) if i != axis]
        classes["screw"].append(is_zero[:, others].all(1) & is_odd[:, axis])
        classes["glide"].append(is_zero[:, axis] & is_odd[:, others].any(1))
        classes["glide_n"].append(is_zero[:, axis] & (is_odd[:, others].sum(1) == 1))
    return {name: np.array(masks, dtype=bool) for name, masks in classes.items()}


@cache
def _arrays(family, deep):
    """Rows, members, inverses and lines of a family as NumPy arrays, kept in memory."""
    rows, members = lattice_lines(family, REACH[family])
    if family == "triclinic":  # its candidates come from zones
        return rows, members, np.zeros((0, 6, 6)), np.zeros((0, 6), dtype=np.int64)
    return rows, members, *load_assignments(family, deep)


@cache
def _family(name, deep, device, dtype):
    """Table of one family on a device, kept in memory."""
    rows, members, inverses, lines = _arrays(name, deep)
    classes = _absence_classes(name, rows)
    return Family(
        name,
        torch.tensor(rows, dtype=dtype, device=device),
        torch.tensor(members, device=device),
        lattice_variants(name),
        torch.tensor(inverses, dtype=dtype, device=device),
        torch.tensor(lines, device=device),
        {key: torch.tensor(masks, device=device) for key, masks in classes.items()},
        _MULTIPLICITY[name],
        N_ZONE_LINES if name == "triclinic" else int(lines.max()) + 1,
        N_KEPT_TRICLINIC if name == "triclinic" else N_KEPT,
    )


def families(device=None, dtype=torch.float32, options=DEFAULT):
    """Tables of the families that are searched for on a device."""
    return tuple(
        _family(name, options.deep and name == "monoclinic", device, dtype) for name in options.families
    )
