"""Compositions from X-ray spectra on wrong axes, with much pile-up, of hidden and of rare elements."""

from dataclasses import replace
from functools import lru_cache

import matplotlib
import numpy as np
import pytest

from xtalsk.io import Spectrum
from xtalsk.simulation import EDSConditions, simulate_eds
from xtalsk.spectra import EDSComposition
from xtalsk.spectra.eds._counts import check_counts, unscaled_counts
from xtalsk.utils import BrokenCellWarning
from xtalsk.utils._formula import SYMBOLS, parse_formula

RECORDED = {"carbon": 0.0, "silicon": 0.0, "copper": 0.0, "pile_up": 0.0, "energy_shift": 0.0, "counts": 1e5}
FILM = replace(EDSConditions(), takeoff_angle=20.0, **RECORDED)
BULK = replace(EDSConditions.scanning(), beam_energy=15.0, takeoff_angle=35.0, **RECORDED)


@lru_cache
def simulated(formula, conditions, seed=0):
    counts = simulate_eds([formula], conditions=conditions, random_state=seed)[0].astype(float)
    return Spectrum(
        counts, conditions.axis(), beam_energy=conditions.beam_energy, takeoff_angle=conditions.takeoff_angle
    )


def changed(cell, counts=None, energy=None, **beam):
    beam = {"beam_energy": cell.beam_energy, "takeoff_angle": cell.takeoff_angle} | beam
    counts = cell.counts if counts is None else counts
    return Spectrum(counts, cell.energy if energy is None else energy, **beam)


def found(row):
    return {SYMBOLS[i] for i in np.flatnonzero(np.nan_to_num(row) > 0)}


def of(row, symbol):
    return row[SYMBOLS.index(symbol)]


def fractions(cell, **params):
    return EDSComposition(**params).fit_transform([cell])[0]


@pytest.mark.parametrize("beam_energy", [15.0, 20.0])
@pytest.mark.parametrize("formula", ["Mn", "Cr", "Fe", "Ti", "Ba"])
def test_soft_lines_of_metals_are_no_light_elements(formula, beam_energy):
    for seed in range(2):
        row = fractions(simulated(formula, replace(BULK, beam_energy=beam_energy), seed))
        assert found(row) == {formula}


@pytest.mark.parametrize(("formula", "conditions"), [("MnO2", BULK), ("CaF2", BULK), ("Cr2O3", FILM)])
def test_light_elements_of_compounds_are_found(formula, conditions):
    row = fractions(simulated(formula, conditions))
    np.testing.assert_allclose(np.nan_to_num(row), parse_formula(formula), atol=0.1)


@pytest.mark.parametrize("shift", [-60.0, -30.0, 0.0, 30.0, 60.0])
@pytest.mark.parametrize(("formula", "conditions"), [("CaMgSi2O6", FILM), ("Al2O3", BULK), ("Y", BULK)])
def test_a_shifted_axis_is_corrected(formula, conditions, shift):
    cell = simulated(formula, conditions)
    fit = EDSComposition().analyse(changed(cell, energy=cell.energy + shift))
    expected = parse_formula(formula)
    assert found(fit.fractions) == {SYMBOLS[i] for i in np.flatnonzero(expected)}
    np.testing.assert_allclose(np.nan_to_num(fit.fractions), expected, atol=0.1)
    assert fit.shift == pytest.approx(-shift, abs=8)
    assert fit.explained


@pytest.mark.parametrize("formula", ["SrTiO3", "PbS", "CdTe", "Fe"])
def test_a_sound_axis_is_not_moved(formula):
    for conditions in (FILM, BULK):
        assert abs(EDSComposition().analyse(simulated(formula, conditions)).shift) < 8


@pytest.mark.parametrize(
    ("formula", "hidden", "conditions"),
    [("TiN", "N", FILM), ("TiN", "N", BULK), ("VO", "O", BULK), ("AlBr3", "Al", FILM)],
)
def test_elements_under_stronger_lines_are_not_measurable(formula, hidden, conditions):
    cell = simulated(formula, replace(conditions, counts=3e5))
    transformer = EDSComposition().fit([cell])
    row = transformer.transform([cell])[0]
    if of(row, hidden) > 0:  # then it must be right
        assert of(row, hidden) == pytest.approx(parse_formula(formula)[SYMBOLS.index(hidden)], abs=0.15)
    else:
        assert np.isnan(of(row, hidden))
        assert np.isnan(of(transformer.presence_score([cell])[0], hidden))
        assert of(transformer.uncertainty([cell])[0], hidden) > 0.1
    assert found(row) <= {SYMBOLS[i] for i in np.flatnonzero(parse_formula(formula))}


@pytest.mark.parametrize("pile_up", [0.0, 0.02, 0.05])
@pytest.mark.parametrize(("formula", "counts"), [("Al", 1e6), ("Si", 1e5), ("P", 3e4), ("Ta", 1e5)])
def test_sum_peaks_are_no_elements(formula, counts, pile_up):
    row = fractions(simulated(formula, replace(BULK, counts=counts, pile_up=pile_up)))
    assert found(row) == {formula}


@pytest.mark.parametrize("formula", ["Pm", "Xe", "Kr", "Ar"])
@pytest.mark.parametrize("conditions", [FILM, BULK], ids=["film", "bulk"])
def test_rare_elements_do_not_become_others(formula, conditions):
    cell = simulated(formula, conditions)
    assert found(fractions(cell)) == {formula}
    common = fractions(simulated("SrTiO3", conditions))
    assert np.isnan(of(common, formula))


def test_a_spectrum_that_nothing_explains_is_reported():
    cell = simulated("CaMgSi2O6", FILM)
    wrong = changed(cell, energy=0.72 * cell.energy)
    fit = EDSComposition().analyse(wrong)
    assert not fit.explained
    transformer = EDSComposition().fit([cell])
    for method in (transformer.transform, transformer.presence_score):
        with pytest.warns(BrokenCellWarning, match=r"1 of 3 .*not measured:\nrow 1 .*does not explain.*axis"):
            table = method([cell, wrong, None])
        assert np.isnan(table[1:]).all()
        assert not np.isnan(table[0]).all()


@pytest.mark.parametrize("factor", [1 / 8680, 1 / 60.0, 0.37, 100.0, np.pi])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_counts_times_a_number_give_the_same_composition(factor, dtype):
    cell = simulated("CaMgSi2O6", FILM)
    scaled = changed(cell, (factor * cell.counts).astype(dtype))
    np.testing.assert_allclose(fractions(scaled), fractions(cell), atol=1e-6)


def test_unscaled_counts():
    counts = np.random.default_rng(0).poisson(np.geomspace(0.1, 1e5, 2000)).astype(float)
    np.testing.assert_array_equal(unscaled_counts(counts), counts)
    np.testing.assert_array_equal(unscaled_counts(counts / counts.max()), counts)
    with_gaps = np.where(np.arange(2000) % 7 == 0, np.nan, counts / 3)
    np.testing.assert_array_equal(unscaled_counts(with_gaps), np.round(3 * with_gaps))
    smooth = np.geomspace(0.1, 1e5, 2000)
    np.testing.assert_array_equal(unscaled_counts(smooth), smooth)


def test_intensities_that_are_no_counts_are_an_error():
    cell = simulated("CaMgSi2O6", FILM)
    smooth = np.convolve(cell.counts, np.exp(-(np.linspace(-2, 2, 7) ** 2)), mode="same")
    with pytest.raises(ValueError, match=r"row 0 .*counts in all.*no whole numbers.*multiply"):
        EDSComposition().fit_transform([changed(cell, smooth / smooth.max())])
    check_counts(smooth)
    check_counts(np.zeros(200))


def test_cached_compositions_are_used_without_a_take_off_angle():
    cell = simulated("SrTiO3", FILM)
    bare = Spectrum(cell.counts, cell.energy)
    transformer = EDSComposition(cache=True, beam_energy=200.0).fit([bare])
    first = transformer.transform([bare])
    transformer._rows = None  # a second analysis would fail
    np.testing.assert_array_equal(transformer.transform([bare]), first)


def test_energy_losses_are_refused():
    losses = Spectrum(np.arange(2000, 0, -1.0), np.arange(100.0, 2100), beam_energy=200, collection_angle=20)
    with pytest.raises(ValueError, match=r"row 0.*EELSComposition"):
        EDSComposition().fit_transform([losses])


def test_table_of_the_elements():
    fit = EDSComposition().analyse(simulated("FeS2", FILM))
    table = fit.to_frame()
    assert table.columns.tolist() == [
        "element", "atomic_percent", "weight_percent", "uncertainty", "lines",
    ]  # fmt: skip
    assert table.element.tolist() == ["S", "Fe"]
    assert table.lines.tolist() == ["K", "K, L"]
    np.testing.assert_allclose(table.atomic_percent, [66.7, 33.3], atol=4)
    np.testing.assert_allclose(table.weight_percent, [53.4, 46.6], atol=4)
    assert table.uncertainty.between(0.5, 5).all()
    names = dict(fit.peaks)
    assert names["Fe K"] == pytest.approx(6404, abs=5)
    assert names["S K"] == pytest.approx(2308, abs=5)
    noise = Spectrum(np.random.default_rng(0).poisson(0.1, 2048), FILM.axis(), beam_energy=200)
    assert EDSComposition().analyse(noise).to_frame().empty


def test_plot_of_the_fit():
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    fit = EDSComposition().analyse(simulated("FeS2", FILM))
    axes = plt.subplots()[1]
    assert fit.plot(axes) is axes
    assert {"Fe K", "S K"} <= {text.get_text() for text in axes.texts}
    assert axes.get_xlabel() == "energy (eV)"
    plt.close("all")
