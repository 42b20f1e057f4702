"""Simulated measured formulas."""

from dataclasses import replace

import numpy as np
import pytest
from pymatgen.core import Composition

from xtalsk.simulation import simulate_formulas


def test_simulated_formulas(amcsd):
    quartz = amcsd[(amcsd.names == "Quartz") & (amcsd.formulas == "SiO2")][:1]
    formulas = simulate_formulas(quartz, np.zeros(400, int), relative_error=0.1, random_state=0)
    silicon = np.array([Composition(f).get_atomic_fraction("Si") for f in formulas])
    assert abs(silicon.mean() - 1 / 3) < 0.01
    assert 0.02 < silicon.std() < 0.05
    exact = simulate_formulas(quartz, relative_error=0, absolute_error=0)[0]
    assert Composition(exact).almost_equals(Composition("Si33.33O66.67"))


def test_hydrogen_and_traces_are_not_detected(gold):
    hydroxide = replace(gold, formulas=["Mg0.99Fe0.005(OH)2"])
    formulas = simulate_formulas(hydroxide, np.zeros(50, int), absolute_error=0.002, random_state=0)
    assert {str(e) for f in formulas for e in Composition(f)} == {"Mg", "O"}
    assert simulate_formulas(replace(gold, formulas=["H2"])) == [None]
    with pytest.raises(ValueError, match="formula 'Qq2' does not parse: unknown element"):
        simulate_formulas(replace(gold, formulas=["Qq2"]))
    with pytest.raises(ValueError, match="relative_error must be"):
        simulate_formulas(gold, relative_error=2)
