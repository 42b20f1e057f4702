"""Classes of symmetry of space-group numbers: point group, Laue class, crystal system and others.

All functions take one number (1 to 230) or an array of numbers, and return one label or an array of labels.
Point groups, Laue classes, crystal systems and lattice centrings are those of gemmi [1]_ for the standard
setting of each space-group type.

References
----------
.. [1] M. Wojdyr, J. Open Source Softw. 7, 4200 (2022), GEMMI.
.. [2] International Tables for Crystallography A (2016), section 1.6.4, extinction symbols.
"""

from functools import cache

import gemmi
import numpy as np

__all__ = [
    "LEVELS",
    "bravais_lattice",
    "check_space_group",
    "crystal_family",
    "crystal_system",
    "extinction_group",
    "laue_class",
    "point_group",
    "space_group_symbol",
    "to_level",
]

LEVELS = (
    "crystal_family",
    "crystal_system",
    "bravais_lattice",
    "laue_class",
    "point_group",
    "extinction_group",
    "space_group",
)
"""Names of the levels of symmetry, from coarse to fine."""

_FAMILY_LETTER = {
    "triclinic": "a",
    "monoclinic": "m",
    "orthorhombic": "o",
    "tetragonal": "t",
    "hexagonal": "h",
    "cubic": "c",
}

# Space-group types with the same absent powder lines in their standard settings. Reflections of equal |q| in
# the holohedry of the lattice count as one line. In the orthorhombic system the axes may be permuted. Types
# that are not listed stand alone. The test suite derives this list from the symmetry operations.
_SHARED_EXTINCTIONS = (
    (1, 2), (3, 6, 10), (4, 11), (5, 8, 12), (7, 13), (9, 15), (16, 25, 47), (21, 35, 38, 65),
    (22, 42, 69), (23, 24, 44, 71), (26, 28, 51), (27, 49), (29, 57), (30, 53), (31, 59), (32, 55), (33, 62),
    (34, 58), (36, 40, 63), (37, 66), (39, 67), (41, 64), (45, 72), (46, 74),
    (75, 81, 83, 89, 99, 111, 115, 123), (76, 78, 91, 95), (77, 84, 93),
    (79, 82, 87, 97, 107, 119, 121, 139), (80, 98), (85, 129), (90, 113), (92, 96), (100, 117, 127),
    (101, 116, 132), (102, 118, 136), (103, 124), (104, 128), (105, 112, 131), (106, 135), (108, 120, 140),
    (109, 122),
    (143, 147, 149, 150, 156, 157, 162, 164, 168, 174, 175, 177, 183, 187, 189, 191),
    (144, 145, 151, 152, 153, 154, 171, 172, 180, 181), (146, 148, 155, 160, 166),
    (158, 165, 185, 188, 193), (159, 163, 186, 190, 194), (161, 167), (169, 170, 178, 179),
    (173, 176, 182), (184, 192), (195, 200, 207, 215, 221), (196, 202, 209, 216, 225),
    (197, 199, 204, 211, 217, 229), (198, 208), (201, 224), (203, 227), (212, 213), (218, 223), (219, 226),
)  # fmt: skip


def check_space_group(numbers):
    """Return ``numbers`` as an int64 array after checking that each is a space-group number.

    Parameters
    ----------
    numbers : int or array-like of int

    Returns
    -------
    ndarray of int64
        Of the shape of ``numbers``.

    Raises
    ------
    ValueError
        If an entry is not an integer from 1 to 230. The message names the first such entry.
    """
    array = np.asarray(numbers)
    try:
        as_float = array.astype(float)
    except (TypeError, ValueError):
        raise ValueError(f"space groups must be integers from 1 to 230, got {array.ravel()[:3]!r}") from None
    bad = ~((as_float >= 1) & (as_float <= 230) & (as_float == np.floor(as_float)))
    if bad.any():
        where = int(np.flatnonzero(bad.ravel())[0])
        first = array.ravel()[where].item()
        raise ValueError(f"space groups must be integers from 1 to 230, got {first!r} at position {where}")
    return as_float.astype(np.int64)


@cache
def _table(level):
    """Labels of one level for the numbers 0 to 230; number 0 is not used."""
    groups = [gemmi.find_spacegroup_by_number(n) for n in range(1, 231)]
    if level == "space_group":
        labels = list(range(1, 231))
    elif level == "point_group":
        labels = [g.point_group_hm() for g in groups]
    elif level == "laue_class":
        labels = [g.laue_str() for g in groups]
    elif level == "crystal_system":
        labels = [g.crystal_system_str() for g in groups]
    elif level == "crystal_family":
        labels = [g.crystal_system_str().replace("trigonal", "hexagonal") for g in groups]
    elif level == "bravais_lattice":
        centrings = ["S" if g.centring_type() in "ABC" else g.centring_type() for g in groups]
        families = _table("crystal_family")[1:]
        labels = [_FAMILY_LETTER[f] + c for f, c in zip(families, centrings, strict=True)]
    elif level == "extinction_group":
        labels = list(range(1, 231))
        for members in _SHARED_EXTINCTIONS:
            for n in members:
                labels[n - 1] = members[0]
    else:
        raise ValueError(f"level must be one of {LEVELS}, got {level!r}")
    return np.array(labels[:1] + labels)


def to_level(numbers, level):
    """Map space-group numbers to the labels of a coarser level of symmetry.

    Parameters
    ----------
    numbers : int or array-like of int
        Space-group numbers, 1 to 230.
    level : str
        One of `LEVELS`.

    Returns
    -------
    str, int or ndarray
        The label of each number. It is an array if ``numbers`` is an array.

    Raises
    ------
    ValueError
        If a number is not from 1 to 230 or the level is unknown.

    Examples
    --------
    >>> from xtalsk.symmetry import to_level
    >>> to_level([2, 62, 167, 225], "crystal_system").tolist()
    ['triclinic', 'orthorhombic', 'trigonal', 'cubic']
    """
    labels = _table(level)[check_space_group(numbers)]
    return labels.item() if np.ndim(labels) == 0 else labels


def space_group_symbol(number):
    """Short Hermann-Mauguin symbol of a space-group number, int, in the standard setting.

    Examples
    --------
    >>> from xtalsk.symmetry import space_group_symbol
    >>> space_group_symbol(14), space_group_symbol(167)
    ('P21/c', 'R-3c')
    """
    symbol = gemmi.find_spacegroup_by_number(int(check_space_group(number))).short_name()
    return symbol.replace("H", "R")  # gemmi writes H for rhombohedral groups on hexagonal axes


def point_group(numbers):
    """Hermann-Mauguin symbol of the point group, e.g. ``"m-3m"``.

    Examples
    --------
    >>> from xtalsk.symmetry import point_group
    >>> point_group(225)
    'm-3m'
    """
    return to_level(numbers, "point_group")


def laue_class(numbers):
    """Hermann-Mauguin symbol of the Laue class, which is the point group with an inversion centre.

    Examples
    --------
    >>> from xtalsk.symmetry import laue_class
    >>> laue_class(216)
    'm-3m'
    """
    return to_level(numbers, "laue_class")


def crystal_system(numbers):
    """Name of the crystal system. Trigonal and hexagonal are two systems.

    Examples
    --------
    >>> from xtalsk.symmetry import crystal_system
    >>> crystal_system(166)
    'trigonal'
    """
    return to_level(numbers, "crystal_system")


def crystal_family(numbers):
    """Name of the crystal family. Trigonal and hexagonal crystals are both ``"hexagonal"``.

    Examples
    --------
    >>> from xtalsk.symmetry import crystal_family
    >>> crystal_family(166)
    'hexagonal'
    """
    return to_level(numbers, "crystal_family")


def bravais_lattice(numbers):
    """Pearson symbol of the Bravais lattice, e.g. ``"cF"``. Centrings of one face (A, B, C) are ``"S"``.

    Examples
    --------
    >>> from xtalsk.symmetry import bravais_lattice
    >>> bravais_lattice([15, 167, 225]).tolist()
    ['mS', 'hR', 'cF']
    """
    return to_level(numbers, "bravais_lattice")


def extinction_group(numbers):
    """Lowest space-group number that shares the systematic absences of a powder pattern.

    Space groups of one extinction group have the same lines and the same absences in a powder pattern. Only
    intensities or chemistry distinguish them. There are 97 such groups, and 38 of them are a single space
    group. International Tables A (section 1.6.4) list 99 symbols, 40 of them for a single space group. They
    write two conditions with two screw axes each: P2₁3 and P4₂32 (h00: h = 2n), and P3₁ and P6₂ with related
    groups (00l: l = 3n). Absences are those of the standard settings. In the orthorhombic system the axes may
    be permuted.

    Parameters
    ----------
    numbers : int or array-like of int
        Space-group numbers, 1 to 230.

    Returns
    -------
    int or ndarray of int
        The lowest number among the space groups with the same powder extinctions.

    Examples
    --------
    >>> from xtalsk.symmetry import extinction_group
    >>> extinction_group([23, 24, 199, 14]).tolist()
    [23, 23, 197, 14]
    """
    return to_level(numbers, "extinction_group")
