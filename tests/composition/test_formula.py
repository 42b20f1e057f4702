import numpy as np
import pandas as pd
import pytest
from pymatgen.core import Composition

from xtalsk.composition import CompositionStatistics, ElementFractions, ElementPresence, RankedElements
from xtalsk.datasets import load_amcsd
from xtalsk.utils import BrokenCellWarning
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
    ("formula", "plain"),
    [
        ("CaSO4.2H2O", "CaSO6H4"),
        ("CaSO4. 2H2O", "CaSO6H4"),
        ("CaSO4 . 2 H2O", "CaSO6H4"),
        ("CuSO4 5H2O", "CuSO9H10"),
        ("CuSO4 5 H2O", "CuSO9H10"),
        ("CuSO4 x 5H2O", "CuSO9H10"),
        ("CuSO4×5H2O", "CuSO9H10"),
        ("Na2CO3.10H2O", "Na2CO13H20"),
        ("CaSO4.0.5H2O", "Ca2S2O9H2"),
        ("CaSO4.1/2H2O", "Ca2S2O9H2"),
        ("CaSO4·½H2O", "Ca2S2O9H2"),
        ("CaSO4 1/2 H2O", "Ca2S2O9H2"),
        ("CaCl2.0.5H2O", "Ca2Cl4H2O"),
        ("CaSO4.1.5H2O", "Ca2S2O11H6"),
        ("MgSO4.H2O", "MgSO5H2"),
        ("MgSO4.7(H2O)", "MgSO11H14"),
        ("CoCl2.6H2O", "CoCl2O6H12"),
        ("NaCl.2H2O", "NaClO2H4"),
        ("NaCl 2H2O", "NaClO2H4"),
        ("AlK(SO4)2.12H2O", "AlKS2O20H24"),
        ("(NH4)2SO4.Al2(SO4)3.24H2O", "N2Al2S4O40H56"),
        ("MgCl2.KCl.6H2O", "MgKCl3O6H12"),
        ("Ni(NO3)2.6NH3", "NiN8O6H18"),
        ("3CaO.Al2O3", "Ca3Al2O6"),
        ("Al2O3.2SiO2.2H2O", "Al2Si2O9H4"),
        ("CaO.2Al2O3", "CaAl4O7"),
        ("2CaO SiO2", "Ca2SiO4"),
        ("MgO 2SiO2", "MgSi2O5"),
    ],
)
def test_hydrates_and_oxides_with_full_stops_and_blanks(formula, plain):
    assert as_dict(parse_formula(formula)) == pytest.approx(as_dict(parse_formula(plain)))


@pytest.mark.parametrize(
    ("formula", "expected"),
    [
        ("Ca1.5H2O", {"Ca": 1.5, "H": 2, "O": 1}),
        ("Fe0.5H2O", {"Fe": 0.5, "H": 2, "O": 1}),
        ("Na4.5H2O", {"Na": 4.5, "H": 2, "O": 1}),
        ("Mg2.5Fe.5SiO4", {"Mg": 2.5, "Fe": 0.5, "Si": 1, "O": 4}),
        ("Fe0,94O", {"Fe": 0.94, "O": 1}),
        ("Fe0,5Ni0,5", {"Fe": 1, "Ni": 1}),
        ("(Mg0.9,Fe0.1)2SiO4", {"Mg": 1.8, "Fe": 0.2, "Si": 1, "O": 4}),
    ],
)
def test_full_stops_and_commas_in_amounts(formula, expected):
    assert as_dict(parse_formula(formula)) == pytest.approx(
        Composition(expected).fractional_composition.get_el_amt_dict()
    )


@pytest.mark.parametrize(
    "formula",
    [
        "Fe 50 Ni 50", "50 Fe 50 Ni", "50Fe 50Ni", "Fe50 Ni50", "Fe50, Ni50", "Fe 50; Ni 50",
        "Fe: 50, Ni: 50",
        "Fe 50 at% Ni 50 at%", "50 at.% Fe 50 at.% Ni", "Fe50Ni50 (at%)", "Fe 50 atomic percent Ni 50 at. %",
    ],
)  # fmt: skip
def test_amounts_in_per_cent(formula):
    assert as_dict(parse_formula(formula)) == pytest.approx({"Fe": 0.5, "Ni": 0.5})


@pytest.mark.parametrize(
    ("formula", "plain"),
    [
        ("SiO₂", "SiO2"),
        ("ＳｉＯ２", "SiO2"),
        ("SiO_2", "SiO2"),
        ("SiO_{2}", "SiO2"),
        ("Ca_2_SiO_4_", "Ca2SiO4"),
        ("SiO<sub>2</sub>", "SiO2"),
        ("CuSO₄・5H₂O", "CuSO9H10"),
        ("CuSO 4 · 5H 2 O", "CuSO9H10"),
        ("Al 2 O 3", "Al2O3"),
        ("CaCO 3", "CaCO3"),
        ("Ca (OH) 2", "CaO2H2"),
        ("\u00a0Fe2\u2009O3", "Fe2O3"),
        ("Ba Ti O", "BaTiO"),
    ],
)
def test_other_characters_and_blanks(formula, plain):
    assert as_dict(parse_formula(formula)) == pytest.approx(as_dict(parse_formula(plain)))


def test_huge_amounts_do_not_overflow():
    huge = "1" + 308 * "0"
    assert as_dict(parse_formula(f"H{huge}O{huge}")) == pytest.approx({"H": 0.5, "O": 0.5})
    for formula in (f"H{400 * '9'}", f"(H{huge}){huge}O"):
        with pytest.raises(ValueError, match="amount of H is inf") as caught:
            parse_formula(formula)
        assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    "cell", ["Ba, Ti, O", "Ba,Ti,O", "Ba; Ti; O", "Ba-Ti-O", "Ba/Ti/O", ["Ba", "Ti", "O"], {"Ba", "Ti", "O"}]
)
def test_elements_without_amounts_are_presence_only(cell):
    column = pd.Series({0: "SiO2", 1: cell}, dtype=object, name="formula")
    presence = ElementPresence().set_output(transform="pandas").fit_transform(column)
    assert set(presence.columns[presence.loc[1] == 1]) == {"ba", "ti", "o"}
    assert presence.loc[1].notna().all()
    for transformer in (ElementFractions(), RankedElements(), CompositionStatistics(presets=("ionic",))):
        with pytest.raises(ValueError, match=r"row 1 of column formula: .*elements without amounts"):
            transformer.fit(column).transform(column)
        with pytest.warns(BrokenCellWarning, match="1 of 2"):
            out = transformer.set_params(on_error="warn").transform(column)
        assert np.isnan(out).all(axis=1).tolist() == [False, True]


def test_symbols_that_spell_a_unit_are_no_unit():
    assert as_dict(parse_formula("NpPm3")) == pytest.approx({"Np": 0.25, "Pm": 0.75})
    assert as_dict(parse_formula("O4PPm")) == pytest.approx({"O": 2 / 3, "P": 1 / 6, "Pm": 1 / 6})


def test_unknown_elements_in_a_list():
    with pytest.raises(ValueError, match=r"row 1 .*unknown element 'Qq'"):
        ElementPresence().fit_transform(["SiO2", "Ba, Qq"])


@pytest.mark.parametrize(
    ("formula", "message"),
    [
        ("Fe 50 wt% Ni 50 wt%", "it gives weights"),
        ("Fe70Ni30 (wt.%)", "it gives weights"),
        ("Fe 50 weight percent Ni 50 weight percent", "it gives weights"),
        ("Fe 500 ppm", "it gives weights"),
        ("Fe 500 wppm", "it gives weights"),
        ("50% Fe 50% Ni", "of weight or of atoms"),
        ("Fe 50Ni 50", "ambiguous"),
        ("Ba, Ti, O3", "'Ba' in a list separated by commas"),
        ("(Mg,Fe)2SiO4", "bracket lists elements without amounts"),
        ("(Mg0.9,Fe)2SiO4", "bracket lists elements without amounts"),
        ("CaSO4·nH2O", "amounts must be numbers"),
        ("CaSO4.xH2O", "amounts must be numbers"),
        ("La1-xSrxMnO3", "amounts must be numbers"),
        ("YBa2Cu3O7-δ", "amounts must be numbers"),
        ("Fe3+", "leave out charges"),
        ("Fe³⁺", "leave out charges and mass numbers"),
        ("Si¹⁸O₂", "leave out charges and mass numbers"),
        ("[18O]", "the amount 18 follows neither"),
        ("X2O", "unknown element 'X'.*leave out vacancies and dummy species"),
        ("Va0.1Fe0.9O", "unknown element 'Va'.*leave out vacancies"),
        ("□0.1Fe0.9O", "unexpected '□'"),
        ("quartz", "may be the name of a mineral"),
        ("Bornite", "may be the name of a mineral"),
        ("α-quartz", "may be the name of a mineral"),
        ("iron oxide", "may be the name of a mineral"),
        ("Fe2O3 (hematite)", "may be the name of a mineral"),
        ("YBCO", "abbreviation"),
        ("sio2", "begin with a capital letter"),
        ("1/0H2O", "an amount is zero"),
        ("5 5", "the amount 5 follows neither"),
    ],
)
def test_formulas_that_are_told(formula, message):
    for transformer in (ElementFractions(), ElementPresence()):
        with pytest.raises(ValueError, match=f"row 1 of column \\(unnamed\\): .*{message}"):
            transformer.fit_transform(["SiO2", formula])


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
        ("BaTi03", "the amount 03 begins with zero; for oxygen, write the letter O"),
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
        (["Si", "O"], "elements without amounts"),
        ({"Si", "O"}, "elements without amounts"),
        ([14, 8], "got list"),
        ({"Si": 10**400, "O": 2}, "amount of Si is inf"),
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
