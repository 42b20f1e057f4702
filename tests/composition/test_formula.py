import numpy as np
import pandas as pd
import pytest
from pymatgen.core import Composition

from xtalsk.composition import ElementFractions
from xtalsk.datasets import load_amcsd
from xtalsk.utils._formula import SYMBOLS, parse_formula

FORMULAS = [
    "SiO2", "Fe0.94O", "Ca(OH)2", "Ca2Mg4.5Fe.5Si8O22(OH)2", "K[Al(SO4)2]", "Mg3[Si2O5](OH)4", "Cf2O3", "Xe",
    "Ca10(PO4)6(OH)1.5F.5", "C12H22O11", "NaN", "HfO2", "D2O", "Na(AlSi3O8)0.7", "((Ca))", "Fe2 O3",
]  # fmt: skip


def as_dict(fractions):
    return {SYMBOLS[i]: fractions[i] for i in np.flatnonzero(fractions)}


@pytest.mark.parametrize("formula", FORMULAS)
def test_formulas_agree_with_pymatgen(formula):
    expected = Composition(formula).fractional_composition.get_el_amt_dict()
    assert as_dict(parse_formula(formula)) == pytest.approx(expected)


@pytest.mark.parametrize("dot", "·•⋅*")
def test_hydrates(dot):
    assert as_dict(parse_formula(f"CuSO4{dot}5H2O")) == pytest.approx(as_dict(parse_formula("CuSO9H10")))


@pytest.mark.parametrize(
    ("formula", "message"),
    [
        ("Xx2O3", "unknown element 'Xx'"),
        ("Es2O3", "unknown element 'Es'"),
        ("fe2o3", "unexpected 'f'"),
        ("SiO-2", "unexpected '-'"),
        ("Fe2+", "unexpected '\\+'"),
        ("Ca@O", "unexpected '@'"),
        ("SiO0", "an amount is zero"),
        ("Ca(OH)0", "an amount is zero"),
        ("(Ca", "not closed, expected '\\)'"),
        ("Ca(OH]2", "unexpected bracket"),
        ("H2O)", "unexpected bracket"),
        ("", "contains no element"),
        ("()2", "contains no element"),
        ("2", "contains no element"),
        ("Ca(2O)", "follows neither"),
        ("Ca2.3.4", "follows neither"),
        ("CuSO4·", "contains no element"),
    ],
)
def test_broken_formulas(formula, message):
    with pytest.raises(ValueError, match=message) as caught:
        parse_formula(formula)
    assert repr(formula) in str(caught.value)


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ({"Si": 1, "O": -2}, "amount of O is -2"),
        ({"Si": 1, "O": 0}, "amount of O is 0"),
        ({"Si": np.nan}, "amount of Si is nan"),
        ({"Si": "two"}, "not a number"),
        ({"Qq": 1}, "unknown element 'Qq'"),
        ({14: 1}, "unknown element '14'"),
        ({}, "contains no element"),
        (Composition({}), "contains no element"),
        (Composition("X2O"), "unknown element 'X'"),
        (12, "got int"),
        (["Si", "O"], "got list"),
        (np.array([[1.0]]), "shape"),
        (np.array([0.5, -0.5, 1.0]), "fraction of He is -0.5"),
        (np.zeros(5), "all fractions are zero"),
        (np.array([np.inf, 1.0]), "fraction of H is inf"),
    ],
)
def test_broken_compositions(cell, message):
    with pytest.raises(ValueError, match=f"row 1 of column formula: .*{message}"):
        make_column_and_transform(["SiO2", cell])


def make_column_and_transform(cells):
    column = pd.Series(dict(enumerate(cells)), dtype=object, name="formula")
    return ElementFractions().fit(column).transform(column)


def test_isotopes_and_oxidation_states_are_merged():
    cells = [Composition("D2O"), {"D": 1, "H": 1, "O": 1}, Composition({"H+": 2, "O2-": 1}), "T2O", "H2O"]
    out = make_column_and_transform(cells)
    np.testing.assert_array_equal(out, np.repeat(out[-1:], len(cells), axis=0))
    np.testing.assert_allclose(out[0, [0, 7]], [2 / 3, 1 / 3], rtol=1e-6)


def test_all_formulas_of_the_packaged_structures_parse():
    formulas = load_amcsd().formulas
    out = ElementFractions().fit_transform(formulas)
    assert out.shape == (9273, 98)
    np.testing.assert_allclose(out.sum(axis=1), 1, rtol=1e-5)


def test_strings_of_pandas():
    column = pd.Series(["SiO2", None, "NaCl"], dtype="string", name="formula")
    out = ElementFractions().fit_transform(column)
    assert np.isnan(out).all(axis=1).tolist() == [False, True, False]
