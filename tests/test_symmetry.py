"""Levels of symmetry, against the symmetry operations themselves."""

from itertools import permutations, product

import gemmi
import numpy as np
import pytest

from xtalsk.symmetry import (
    LEVELS,
    bravais_lattice,
    crystal_family,
    crystal_system,
    extinction_group,
    laue_class,
    point_group,
    to_level,
)

NUMBERS = np.arange(1, 231)
ENANTIOMORPHS = [
    (76, 78), (91, 95), (92, 96), (144, 145), (151, 153), (152, 154), (169, 170), (171, 172), (178, 179),
    (180, 181), (212, 213),
]  # fmt: skip


def test_number_of_classes():
    expected = dict(zip(LEVELS, (6, 7, 14, 11, 32, 97, 230), strict=True))
    assert {level: len(np.unique(to_level(NUMBERS, level))) for level in LEVELS} == expected


def test_known_labels():
    assert [crystal_system(n) for n in (1, 3, 16, 75, 143, 168, 195)] == [
        "triclinic", "monoclinic", "orthorhombic", "tetragonal", "trigonal", "hexagonal", "cubic",
    ]  # fmt: skip
    assert crystal_family(143) == "hexagonal"
    assert point_group(62) == "mmm"
    assert laue_class(198) == "m-3"
    assert bravais_lattice([5, 38, 43, 87, 146, 206]).tolist() == ["mS", "oS", "oF", "tI", "hR", "cI"]


@pytest.mark.parametrize(
    ("fine", "coarse"),
    [
        ("crystal_system", "crystal_family"),
        ("bravais_lattice", "crystal_family"),
        ("laue_class", "crystal_system"),
        ("point_group", "laue_class"),
        ("extinction_group", "crystal_family"),
    ],
)
def test_coarser_levels_are_unions_of_finer_ones(fine, coarse):
    pairs = set(zip(to_level(NUMBERS, fine).tolist(), to_level(NUMBERS, coarse).tolist(), strict=True))
    assert len(pairs) == len(np.unique(to_level(NUMBERS, fine)))


def test_known_extinction_partners():
    for a, b in [*ENANTIOMORPHS, (23, 24), (197, 199)]:
        assert extinction_group(a) == extinction_group(b)
    assert extinction_group(14) == 14
    assert len({extinction_group(n) for n in (205, 206, 220, 230)}) == 4


def _powder_lines(number, holohedry, hkl):
    """Lines of equal |q| in the lattice that are present, for each allowed exchange of axes."""
    operations = gemmi.find_spacegroup_by_number(number).operations()
    absent = np.array([operations.is_systematically_absent(h) for h in hkl.tolist()])
    images = hkl @ holohedry
    exchanges = list(permutations(range(3))) if crystal_system(number) == "orthorhombic" else [(0, 1, 2)]
    for axes in exchanges:
        code = (images[..., list(axes)] @ np.array([10_000, 100, 1])).max(axis=0)
        yield tuple(np.unique(code[~absent]).tolist())


def test_extinction_groups_follow_from_the_operations():
    hkl = np.array(list(product(range(-6, 7), repeat=3)))
    representative = {"triclinic": 2, "monoclinic": 10, "orthorhombic": 47, "tetragonal": 123,
                      "hexagonal": 191, "cubic": 221}  # fmt: skip
    lines = {}
    for number in NUMBERS.tolist():
        family = crystal_family(number)
        group = gemmi.find_spacegroup_by_number(representative[family])
        holohedry = np.array([op.rot for op in group.operations().sym_ops]) // gemmi.Op.DEN
        key = (family, min(_powder_lines(number, holohedry, hkl)))
        lines.setdefault(key, []).append(number)
    derived = {n: members[0] for members in lines.values() for n in members}
    assert derived == dict(zip(NUMBERS.tolist(), extinction_group(NUMBERS).tolist(), strict=True))


def test_number_of_groups_in_the_literature():
    labels = extinction_group(NUMBERS).astype(float)
    labels[208 - 1] += 0.5  # P4(2)32 beside P2(1)3
    labels[np.array([171, 172, 180, 181]) - 1] += 0.5  # P6(2) and relatives beside P3(1)
    _, counts = np.unique(labels, return_counts=True)
    assert (len(counts), (counts == 1).sum()) == (99, 40)


@pytest.mark.parametrize("bad", [0, 231, 1.5, "Fm-3m", [1, 2, -4], np.nan])
def test_bad_numbers_are_named(bad):
    with pytest.raises(ValueError, match="integers from 1 to 230, got"):
        to_level(bad, "point_group")


def test_unknown_level():
    with pytest.raises(ValueError, match="level must be one of"):
        to_level(1, "laue")
