from dataclasses import replace

import numpy as np
import pytest

from xtalsk.crystals import BrokenEntryWarning
from xtalsk.datasets import compound_groups, load_amcsd, make_specimens
from xtalsk.io import DiffractionImage, Profile
from xtalsk.simulation import PowderConditions, RingConditions, SpotConditions

SMALL = RingConditions(size=64)


@pytest.fixture(scope="module")
def crystals():
    return load_amcsd()[::900]


def test_columns_cells_and_labels(crystals):
    X, y, groups = make_specimens(
        crystals, ("rings", "powder", "formula"), n_replicas=2, random_state=0,
        conditions={"rings": SMALL, "powder": PowderConditions(two_theta=(10, 60, 0.05))},
    )  # fmt: skip
    assert list(X) == ["rings", "powder", "formula"]
    assert len(X) == len(y) == len(groups) == 2 * len(crystals)
    np.testing.assert_array_equal(y, np.repeat(crystals.space_groups, 2))
    np.testing.assert_array_equal(groups[::2], groups[1::2])
    assert all(isinstance(c, DiffractionImage) and c.data.shape == (64, 64) for c in X["rings"])
    assert all(isinstance(c, Profile) and c.two_theta[-1] == pytest.approx(60) for c in X["powder"])
    assert all(isinstance(c, str) or c is None for c in X["formula"])
    assert (X["rings"][0].data != X["rings"][1].data).any()
    # cells are views of one array: splitting copies no pixels
    assert X["rings"][0].data.base is X["rings"][1].data.base


def test_columns_do_not_depend_on_one_another(crystals):
    options = {"random_state": 5, "conditions": {"rings": SMALL}}
    both = make_specimens(crystals, ("rings", "formula"), **options)[0]
    alone = make_specimens(crystals, "formula", **options)[0]
    again = make_specimens(crystals, ("rings", "formula"), **options)[0]
    assert both["formula"].tolist() == alone["formula"].tolist()
    for a, b in zip(both["rings"], again["rings"], strict=True):
        np.testing.assert_array_equal(a.data, b.data)


def test_missing_modalities(crystals):
    tiny = RingConditions(size=32)
    X, _, _ = make_specimens(
        crystals, n_replicas=40, missing=0.6, random_state=0, conditions={"rings": tiny}, electrons=100
    )
    absent = X.isna()
    assert not absent.all(axis=1).any()
    np.testing.assert_allclose(absent.mean(), 0.6 - 0.6**2 / 2, atol=0.06)
    X, _, _ = make_specimens(crystals, missing={"rings": 1.0}, conditions={"rings": tiny}, random_state=0)
    visible = X["formula"].notna()
    assert X.loc[visible, "rings"].isna().all()


def test_groups_join_formula_and_name(crystals):
    six = replace(
        load_amcsd()[:6],
        formulas=["CaCO3", "C Ca O3", "CaCO3", "MgCO3", "NaCl", "KCl"],
        groups=["Calcite", "Aragonite", "", "Calcite", "", ""],
    )
    groups = compound_groups(six)
    assert len(set(groups[:4])) == 1
    assert len(set(groups)) == 3
    series = replace(
        six, formulas=[f"La{2 - x}Ca{x}CuO4" for x in (0.02, 0.1, 0.18, 0.26, 0.34, 1.0)], groups=[""] * 6
    )
    assert compound_groups(series).tolist() == [0, 0, 0, 0, 0, 1]
    assert len(set(compound_groups(series, tolerance=1e-6))) == 6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"modalities": ("rings", "sound")}, "modalities must be distinct names"),
        ({"modalities": ()}, "modalities must be distinct names"),
        ({"n_replicas": 0}, "n_replicas must be a positive integer"),
        ({"missing": 1.5}, "probabilities from 0 to 1"),
        ({"missing": {"eds": 0.1}}, r"missing names \['eds'\]"),
        ({"n_zones": 1.5}, "n_zones must be a positive integer"),
        ({"conditions": "rough"}, "RingConditions or one of"),
        ({"conditions": {"rings": PowderConditions()}}, "must be a RingConditions"),
        ({"conditions": {"eds": "harsh"}}, r"conditions name \['eds'\]"),
        ({"on_error": "ignore"}, "on_error must be one of"),
        ({"electrons": 0}, "electrons must be above 0"),
    ],
)
def test_arguments(crystals, arguments, message):
    with pytest.raises(ValueError, match=message):
        make_specimens(crystals, **arguments)


def test_several_zones_are_columns_of_their_own(crystals):
    conditions = {"spots": SpotConditions(size=64)}
    X, _, _ = make_specimens(crystals, "spots", n_zones=2, conditions=conditions, random_state=0)
    assert list(X) == ["spots_1", "spots_2"]
    assert (X["spots_1"][0].data != X["spots_2"][0].data).any()
    assert list(make_specimens(crystals[:2], "spots", conditions=conditions)[0]) == ["spots"]
    X, _, _ = make_specimens(
        crystals, ("spots", "formula"), n_zones=2, missing={"spots": 1.0}, conditions=conditions
    )
    assert X.loc[X["formula"].notna(), ["spots_1", "spots_2"]].isna().all(axis=None)


def test_conditions_are_kept_in_words(crystals):
    X, _, _ = make_specimens(crystals[:2], conditions={"rings": SMALL}, electrons=(1e3, 1e4))
    assert "electrons=(1000.0, 10000.0)" in X.attrs["conditions"]["rings"]
    assert "size=64" in X.attrs["conditions"]["rings"]


def test_crystals_that_cannot_be_right_are_left_out_and_named(crystals):
    three = crystals[:3]
    crowded = replace(three, frac_coords=np.where(three.crystal_of_site[:, None] == 1, 0, three.frac_coords))
    with pytest.warns(BrokenEntryWarning, match="1 of 3 entries were left out:\ncrystal 1 "):
        X, y, groups = make_specimens(crowded, "formula", n_replicas=2)
    assert len(X) == len(y) == len(groups) == 4
    with pytest.raises(ValueError, match="occupancies at the place of its site 0 add up to"):
        make_specimens(crowded, "formula", on_error="raise")


def test_empty_set(crystals):
    with pytest.raises(ValueError, match="at least one crystal"):
        make_specimens(crystals[:0])
