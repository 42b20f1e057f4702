"""Tables of the lattice families on a device: lines, assignments and absence classes."""

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch

from xtalsk.diffraction.indexing._constants import REACH
from xtalsk.diffraction.indexing._lattices import FAMILIES, lattice_lines, lattice_variants
from xtalsk.diffraction.indexing._trial_cells import make_assignments

# Reflections of a general line hkl of the holohedry.
_MULTIPLICITY = {"cubic": 48, "tetragonal": 16, "hexagonal": 24, "orthorhombic": 8, "monoclinic": 4}
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
def _arrays(family):
    """Rows, members, inverses and lines of a family as NumPy arrays; five families are kept in memory."""
    rows, members = lattice_lines(family, REACH[family])
    return rows, members, *make_assignments(family)


@cache
def families(device=None, dtype=torch.float32):
    """Tables of all families on a device, kept in memory for each device and type."""
    tables = []
    for name in FAMILIES:
        rows, members, inverses, lines = _arrays(name)
        classes = _absence_classes(name, rows)
        tables.append(
            Family(
                name,
                torch.tensor(rows, dtype=dtype, device=device),
                torch.tensor(members, device=device),
                lattice_variants(name),
                torch.tensor(inverses, dtype=dtype, device=device),
                torch.tensor(lines, device=device),
                {key: torch.tensor(masks, device=device) for key, masks in classes.items()},
                _MULTIPLICITY[name],
            )
        )
    return tuple(tables)
