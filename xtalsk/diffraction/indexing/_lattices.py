"""Lattice families: the rows and the reflection conditions of their lines.

The lines of a lattice lie at Q = q² = 1/d² = row · parameters, with the rows and parameters

    cubic         (h² + k² + l²)             a*²
    tetragonal    (h² + k², l²)              a*², c*²
    hexagonal     (h² + hk + k², l²)         a*², c*²
    orthorhombic  (h², k², l²)               a*², b*², c*², increasing
    monoclinic    (h², k², l², hl)           a*², b*², c*², 2 a* c* cos β*, with 0 <= the last <= a*² <= c*²
    triclinic     (h², k², l², kl, hl, hk)   a*², b*², c*², 2 b* c* cos α*, 2 a* c* cos β*, 2 a* b* cos γ*

A line belongs to a centred lattice if the reflection conditions of the International Tables for
Crystallography A (2016), table 1.6.3.1, allow one of its reflections. Settings of one lattice with other axes
are its variants. In this file l is written m.
"""

from itertools import product

import numpy as np

FAMILIES = ("cubic", "tetragonal", "hexagonal", "orthorhombic", "monoclinic", "triclinic")


def _any(h, k, m):
    return True


def _body(h, k, m):
    return (h + k + m) % 2 == 0


def _all_faces(h, k, m):
    return h % 2 == k % 2 == m % 2


def _face_a(h, k, m):
    return (k + m) % 2 == 0


def _face_b(h, k, m):
    return (h + m) % 2 == 0


def _face_c(h, k, m):
    return (h + k) % 2 == 0


def _obverse_or_reverse(h, k, m):
    return (k - h + m) % 3 == 0 or (h - k + m) % 3 == 0


# For each family, the conditions of the variants of each lattice type.
_CONDITIONS = {
    "cubic": {"p": [_any], "i": [_body], "f": [_all_faces]},
    "tetragonal": {"p": [_any], "i": [_body]},
    "hexagonal": {"p": [_any], "r": [_obverse_or_reverse]},
    "orthorhombic": {"p": [_any], "c": [_face_c, _face_b, _face_a], "i": [_body], "f": [_all_faces]},
    "monoclinic": {"p": [_any], "c": [_face_c, _face_a, _body]},
    "triclinic": {"p": [_any]},
}


def lattice_variants(family):
    """Lattice type of each variant of a family, e.g. ("p", "c", "c", "c", "i", "f")."""
    return tuple(name for name, conditions in _CONDITIONS[family].items() for _ in conditions)


def lattice_types(family):
    """Lattice types of a family, e.g. ("p", "c", "i", "f")."""
    return tuple(_CONDITIONS[family])


def _row(family, h, k, m):
    """Row of a reflection h, k, l."""
    return {
        "cubic": (h * h + k * k + m * m,),
        "tetragonal": (h * h + k * k, m * m),
        "hexagonal": (h * h + h * k + k * k, m * m),
        "orthorhombic": (h * h, k * k, m * m),
        "monoclinic": (h * h, k * k, m * m, h * m),
        "triclinic": (h * h, k * k, m * m, k * m, h * m, h * k),
    }[family]


def lattice_reflections(family, reach):
    """Yield the indices and the row of one reflection of each form; the others have the same q."""
    top = [int(r) for r in reach]
    low_h = -top[0] if family in ("monoclinic", "triclinic") else 0
    low_k = -top[1] if family == "triclinic" else 0
    for hkl in product(range(low_h, top[0] + 1), range(low_k, top[1] + 1), range(top[2] + 1)):
        is_within = sum((i / r) ** 2 for i, r in zip(hkl, reach, strict=True)) <= 1
        is_first = hkl[2] > 0 or hkl[0] > 0 or (hkl[0] == 0 and hkl[1] > 0)  # not the opposite of another
        if is_within and is_first:
            yield hkl, _row(family, *hkl)


def lattice_lines(family, reach):
    """List the lines of a family.

    Parameters
    ----------
    family : str
    reach : (float, float, float)
        Half axes of the ellipsoid of indices h, k, l.

    Returns
    -------
    rows : list of tuples of int
        One row a line, in the order of the smallest distance of its indices from the middle of the ellipsoid.
    members : bool ndarray of shape (n_variants, n_rows)
        Which lines a variant has.
    """
    conditions = [test for variants in _CONDITIONS[family].values() for test in variants]
    lines = {}
    for hkl, row in lattice_reflections(family, reach):
        norm = sum((i / r) ** 2 for i, r in zip(hkl, reach, strict=True))
        is_allowed = np.array([test(*hkl) for test in conditions])
        before = lines.get(row, (norm, is_allowed))
        lines[row] = (min(norm, before[0]), is_allowed | before[1])
    rows = sorted(lines, key=lambda row: lines[row][0])
    return rows, np.array([lines[row][1] for row in rows]).T
