"""Simulated measured formulas."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from pymatgen.core import Composition

from xtalsk.composition import CompositionStatistics, ElementFractions, ElementPresence, RankedElements
from xtalsk.simulation import FormulaConditions, Sometimes, simulate_formulas
from xtalsk.simulation.spectra._measured_formulas import measured_fractions, sensitivities
from xtalsk.utils._formula import SYMBOLS, parse_formula

EXACT = FormulaConditions.ideal()


def simulate(formula, n=1, seed=0, **fields):
    """Return the measured fractions of a formula as a table, exact but for the fields."""
    fractions = np.repeat(parse_formula(formula)[None], n, axis=0)
    rows = measured_fractions(fractions, replace(EXACT, **fields), np.random.RandomState(seed))
    return pd.DataFrame(rows, columns=SYMBOLS)


@pytest.fixture(scope="module")
def quartz(amcsd):
    return amcsd[(amcsd.names == "Quartz") & (amcsd.formulas == "SiO2")][:1]


def test_simulated_formulas(quartz):
    formulas = simulate_formulas(quartz, np.zeros(400, int), random_state=0)
    silicon = np.array([Composition(f).get_atomic_fraction("Si") for f in formulas])
    assert abs(silicon.mean() - 1 / 3) < 0.01
    assert 0.02 < silicon.std() < 0.05
    exact = simulate_formulas(quartz, conditions="ideal")[0]
    assert Composition(exact).almost_equals(Composition("Si33.33O66.67"))


def test_hydrogen_and_traces_are_not_detected(gold):
    hydroxide = replace(gold, formulas=["Mg0.99Fe0.005(OH)2"])
    low = FormulaConditions(absolute_error=0.002)
    formulas = simulate_formulas(hydroxide, np.zeros(50, int), low, random_state=0)
    assert {str(e) for f in formulas for e in Composition(f)} == {"Mg", "O"}
    assert simulate_formulas(replace(gold, formulas=["H2"])) == [None]
    assert simulate_formulas(replace(gold, formulas=["H2"]), conditions="microscope", random_state=0) == [
        None
    ]
    with pytest.raises(ValueError, match="formula 'Qq2' does not parse: unknown element"):
        simulate_formulas(replace(gold, formulas=["Qq2"]))


def test_grid_and_film_are_added():
    table = simulate("MgO", grid=0.5, grid_elements=(("Ni", 1),), film=0.2, silicon=0.01)
    total = 1 + 1 + 0.25 + 0.01 / 0.99
    np.testing.assert_allclose(table[["Mg", "Ni", "C", "Si"]].iloc[0] * total, [0.5, 1, 0.25, 0.01 / 0.99])
    table = simulate("MgO", n=2000, grid=Sometimes(0.7, 0.3), stray=0.01, impurity=0.1)
    grids = table[["Cu", "Ni", "Mo", "Au"]] > 0.25
    assert 0.6 < grids.any(axis=1).mean() < 0.75
    assert grids["Cu"].sum() > 2 * grids["Ni"].sum() > 0
    assert (table["Fe"] > 0).sum() > (table["Co"] > 0).sum() > 0
    assert ((table > 0.05).sum() > 0).sum() > 60


def test_support_that_the_analyst_leaves_out():
    table = simulate("CuCO3", n=400, grid=0.3, film=0.3, support_excluded=0.5, unseen_as_nan=1.0)
    excluded = table["C"].isna()
    assert 0.4 < excluded.mean() < 0.6
    assert table.loc[excluded, ["Cu", "Ni", "Mo", "Au", "Al"]].isna().sum(axis=1).eq(1).all()
    np.testing.assert_allclose(table.sum(axis=1), 1)


@pytest.mark.parametrize("as_nan", [0, 1])
def test_light_elements_that_are_not_seen(as_nan):
    table = simulate("LiFePO4", lightest=6.5, unseen_as_nan=as_nan, light_factor=0.5)
    assert table[["H", "Li", "C"]].isna().all(axis=None) == bool(as_nan)
    assert table.loc[0, ["N", "Ti"]].tolist() == [0, 0]
    np.testing.assert_allclose(table.loc[0, ["O", "Fe", "P"]].astype(float), [0.5, 0.25, 0.25])


def test_low_counts_hide_elements_by_their_sensitivity():
    factor = dict(zip(SYMBOLS, sensitivities(), strict=True))
    assert factor["Li"] == 0 < factor["C"] < factor["O"] < factor["Si"] < factor["Fe"]
    few, many = (simulate("CAu", n=500, counts=counts) for counts in (200, 1e6))
    assert (few["C"] > 0).mean() < 0.9 < (few["Au"] > 0).mean()
    assert (many["C"] > 0).all()
    np.testing.assert_allclose(many[["C", "Au"]].mean(), 0.5, atol=0.01)
    spread = [simulate("MgO", n=500, counts=counts)["Mg"].std() for counts in (1e3, 1e5)]
    assert spread[0] / spread[1] == pytest.approx(10, rel=0.2)


def test_compositions_of_a_microscope_pass_through_all_blocks(amcsd):
    cells = simulate_formulas(amcsd[:300], conditions="microscope", random_state=0)
    assert {str, np.ndarray} <= {type(cell) for cell in cells}
    table = np.array([np.full(98, np.nan) if c is None else parse_cell(c) for c in cells])
    for transformer in (ElementFractions(), ElementPresence(), RankedElements(), CompositionStatistics()):
        features = transformer.fit_transform(pd.Series(cells))
        np.testing.assert_allclose(features, transformer.fit_transform(table), rtol=1e-5, atol=1e-6)
    fractions = ElementFractions().set_output(transform="pandas").fit_transform(pd.Series(cells))
    assert 0.3 < fractions["li"].isna().mean() < 0.7
    assert (fractions["cu"] > 0.05).mean() > 0.25
    assert (fractions["c"] > 0.05).mean() > 0.25


def parse_cell(cell):
    return parse_formula(cell) if isinstance(cell, str) else cell


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"relative_error": 2}, "relative_error must be"),
        ({"grid": 1.0}, "grid must be from 0 to 0.99"),
        ({"counts": 0}, "counts must be at least 1"),
        ({"grid_elements": ()}, "grid_elements must be a tuple of pairs"),
        ({"stray_elements": ("Fe",)}, "stray_elements must be a tuple of pairs"),
        ({"grid_elements": (("Qq", 1),)}, "unknown element 'Qq'"),
        ({"grid_elements": (("Cu", 0),)}, "the weight of Cu must be above 0"),
        ({"invisible": "He"}, "invisible must be a tuple"),
        ({"invisible": ("Qq",)}, "unknown element 'Qq'"),
    ],
)
def test_conditions_are_checked(fields, message):
    with pytest.raises(ValueError, match=message):
        FormulaConditions(**fields)


def test_other_presets_are_refused(gold):
    with pytest.raises(ValueError, match=r"must be a FormulaConditions or one of .*'microscope'"):
        simulate_formulas(gold, conditions="harsh")
