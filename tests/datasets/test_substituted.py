"""Crystals with other elements: what changes and what must not."""

import moyopy
import numpy as np
import pytest

from xtalsk import CrystalSet, load_amcsd, substitute_elements


@pytest.fixture(scope="module")
def minerals():
    return load_amcsd()[::45]


@pytest.fixture(scope="module")
def others(minerals):
    return substitute_elements(minerals, random_state=0)


def elements(crystals):
    """Return the set of elements of each crystal."""
    return [
        set(crystals.atomic_numbers[first:last].tolist())
        for first, last in zip(crystals.offsets[:-1], crystals.offsets[1:], strict=True)
    ]


def group(crystals, i):
    """Return the space group of a crystal as moyopy finds it, 0 if it finds none."""
    sites = slice(*crystals.offsets[i : i + 2])
    cell = moyopy.Cell(
        crystals.lattices[i].tolist(),
        crystals.frac_coords[sites].tolist(),
        crystals.atomic_numbers[sites].tolist(),
    )
    try:
        return moyopy.MoyoDataset(cell, symprec=0.01).number
    except ValueError:  # disordered sites are too close
        return 0


def test_space_groups_stay(minerals, others):
    whole = [
        i
        for i in range(len(minerals))
        if (minerals.occupancies[slice(*minerals.offsets[i : i + 2])] == 1).all()
        and group(minerals, i) == minerals.space_groups[i]
    ]
    assert len(whole) > 100
    assert [group(others, i) for i in whole] == minerals.space_groups[whole].tolist()


def test_elements_change_but_never_become_one(minerals, others):
    before, after = elements(minerals), elements(others)
    assert [len(e) for e in after] == [len(e) for e in before]
    assert np.mean([a != b for a, b in zip(after, before, strict=True)]) > 0.6
    is_oxygen, is_hydrogen = minerals.atomic_numbers == 8, minerals.atomic_numbers == 1
    assert 0.7 < np.mean(others.atomic_numbers[is_oxygen] == 8) < 0.9
    assert np.array_equal(others.atomic_numbers == 1, is_hydrogen)
    assert not set(np.unique(others.atomic_numbers)) - set(np.unique(minerals.atomic_numbers))
    np.testing.assert_array_equal(others.frac_coords, minerals.frac_coords)
    np.testing.assert_array_equal(others.occupancies, minerals.occupancies)


def test_formulas_are_those_of_the_sites(others):
    from xtalsk.crystals._formulas import formula_of

    for i in range(0, len(others), 20):
        sites = slice(*others.offsets[i : i + 2])
        assert others.formulas[i] == formula_of(others.atomic_numbers[sites], others.occupancies[sites])
    assert others.ids[0].endswith("-substituted")
    assert set(others.names) == {""}


def test_cells_follow_the_sizes_of_the_atoms():
    minerals = load_amcsd()
    salts = minerals[np.flatnonzero(minerals.formulas == "NaCl")[:1].repeat(400)]
    known = CrystalSet.concatenate([minerals, salts])
    swapped = substitute_elements(known, strain=0, volume_spread=0, random_state=1)[-400:]
    edges = dict(zip(swapped.formulas, swapped.lattices[:, 0, 0], strict=True))
    assert edges["NaCl"] == pytest.approx(salts.lattices[0, 0, 0])
    assert edges["LiCl"] < edges["NaCl"]  # 5.14 and 5.64 Å
    assert edges["LiCl"] == pytest.approx(5.14, rel=0.06)


def test_strains_keep_the_point_group(minerals):
    strained = substitute_elements(minerals, distance=1e-3, volume_spread=0, strain=0.03, random_state=2)
    np.testing.assert_array_equal(strained.atomic_numbers, minerals.atomic_numbers)
    ratios = np.linalg.norm(strained.lattices, axis=2) / np.linalg.norm(minerals.lattices, axis=2)
    cubic = minerals.space_groups >= 195
    assert np.ptp(ratios[cubic], axis=1).max() < 1e-9
    assert np.ptp(ratios[minerals.space_groups < 75], axis=1).mean() > 0.02
    np.testing.assert_allclose(strained.volumes / minerals.volumes, 1, atol=0.02)
    triclinic = minerals[np.flatnonzero(minerals.space_groups <= 2)[:1].repeat(500)]
    cells = substitute_elements(triclinic, distance=1e-3, volume_spread=0, strain=0.03, random_state=2)
    edges = np.log(np.linalg.norm(cells.lattices, axis=2) / np.linalg.norm(triclinic.lattices, axis=2))
    assert np.std(edges) == pytest.approx(0.03 * np.sqrt(2 / 3), rel=0.1)  # of a traceless strain


def test_the_seed_decides(minerals, others):
    again = substitute_elements(minerals, random_state=0)
    assert again.formulas.tolist() == others.formulas.tolist()
    np.testing.assert_array_equal(again.lattices, others.lattices)
    assert substitute_elements(minerals, random_state=1).formulas.tolist() != others.formulas.tolist()


def test_a_few_crystals_are_enough():
    one = load_amcsd()[:1]
    other = substitute_elements(one, random_state=0)
    assert other.formulas.tolist() == one.formulas.tolist()  # no other element is frequent
    assert np.isfinite(other.lattices).all()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"crystals": "AMCSD"}, ValueError, "crystals must be a CrystalSet"),
        ({"crystals": load_amcsd()[:0]}, ValueError, "not empty"),
        ({"distance": 0}, ValueError, "distance"),
        ({"distance": np.inf}, ValueError, "distance"),
        ({"strain": 0.5}, ValueError, "strain"),
        ({"strain": np.nan}, ValueError, "strain"),
        ({"volume_spread": -1}, ValueError, "volume_spread"),
        ({"strain": "much"}, TypeError, "strain"),
    ],
)
def test_wrong_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        substitute_elements(**{"crystals": load_amcsd()[:2], **arguments})
