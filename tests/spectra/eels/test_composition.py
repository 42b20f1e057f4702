"""Compositions from energy-loss spectra: simulated, measured and empty ones."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from xtalsk.composition import CompositionStatistics, ElementPresence, RankedElements
from xtalsk.io import Spectrum
from xtalsk.simulation import EELSConditions, simulate_eels
from xtalsk.spectra import EELSComposition
from xtalsk.spectra.eels._bins import bin_spectrum, noise, usable, zero_loss
from xtalsk.utils import BrokenCellWarning
from xtalsk.utils._formula import FEATURE_NAMES, SYMBOLS, parse_formula

IDEAL = EELSConditions.ideal()
GOOD = replace(
    EELSConditions.typical(),
    energy=(200, 1223.5, 0.5),
    beam_energy=200.0,
    convergence_angle=10.0,
    collection_angle=20.0,
    jump_ratio=1.0,
    counts=1e9,
)
BEAM = {"beam_energy": 200.0, "convergence_angle": 10.0, "collection_angle": 20.0}
TEM = EELSComposition(**BEAM)


def spectrum(formula, conditions=GOOD, seed=0, **changes):
    counts = simulate_eels([formula], conditions=conditions, random_state=seed)[0].astype(float)
    return Spectrum(
        counts, conditions.axis(), beam_energy=200, convergence_angle=10, collection_angle=20, **changes
    )


def background(energy, seed=0, height=1e5, power=3.0):
    rates = height * (energy / energy[0]) ** -power
    return np.random.default_rng(seed).poisson(rates).astype(float)


def elements_of(cell, **params):
    return set(EELSComposition(**(BEAM | params)).analyse(cell).elements)


def column(symbol):
    return SYMBOLS.index(symbol)


@pytest.mark.parametrize(
    "formula", ["TiN", "Fe2O3", "CaCO3", "BaTiO3", "LaMnO3", "CeO2", "NaF", "CuO", "Ni", "K2CrO4"]
)
def test_elements_are_found_and_no_others(formula):
    truth = parse_formula(formula)
    analysis = TEM.analyse(spectrum(formula))
    assert set(analysis.elements) == {SYMBOLS[i] for i in np.flatnonzero(truth)}
    assert np.nansum(analysis.fractions) == pytest.approx(1)


def test_fractions_agree_with_the_formula_within_their_errors():
    formulas = ["TiN", "Fe2O3", "CaCO3", "LaMnO3", "CeO2", "NaF", "CuO"]
    cells = [spectrum(formula, seed=i) for i, formula in enumerate(formulas)]
    fitted = EELSComposition().fit(cells)
    fractions, uncertainty = fitted.transform(cells), fitted.uncertainty(cells)
    truth = np.array([parse_formula(formula) for formula in formulas])
    is_present = truth > 0
    assert np.nanmean(np.abs(fractions - truth)[is_present]) < 0.06
    assert (uncertainty[is_present] > 0.005).all()
    assert np.abs((fractions - truth)[is_present] / uncertainty[is_present]).max() < 4


def test_the_parameters_replace_missing_metadata_of_the_beam():
    """A smaller collection angle loses a larger share of the K losses of oxygen."""
    complete = spectrum("CaCO3")
    bare = Spectrum(complete.counts, complete.energy)
    same = EELSComposition(beam_energy=200, convergence_angle=10, collection_angle=20)
    np.testing.assert_allclose(same.fit_transform([bare]), TEM.fit_transform([complete]), atol=1e-6)
    narrow = EELSComposition(beam_energy=60, convergence_angle=0.1, collection_angle=2).fit_transform([bare])
    wide = EELSComposition(beam_energy=300, convergence_angle=0.1, collection_angle=100).fit_transform([bare])
    assert abs(narrow[0, column("O")] - wide[0, column("O")]) > 0.01


def test_the_unit_of_the_counts_does_not_matter():
    cell = spectrum("Fe2O3")
    expected = TEM.fit_transform([cell])[0]
    for counts in (cell.counts * 1e-9, cell.counts * 1e6):
        scaled = Spectrum(counts, cell.energy, beam_energy=200, convergence_angle=10, collection_angle=20)
        np.testing.assert_allclose(TEM.fit_transform([scaled])[0], expected, atol=1e-4)


def test_negative_counts_of_a_subtracted_background():
    cell = spectrum("Fe2O3")
    before = (cell.energy > 400) & (cell.energy < 520)
    power = np.polyfit(np.log(cell.energy[before]), np.log(cell.counts[before]), 1)
    part = cell.energy > 460
    signal = (cell.counts - np.exp(np.polyval(power, np.log(cell.energy))))[part]
    assert (signal < 0).any()
    assert elements_of(Spectrum(signal, cell.energy[part])) == {"Fe", "O"}


@pytest.mark.parametrize("shift", [-6.0, 5.0])
def test_elements_are_found_on_a_shifted_axis(shift):
    cell = spectrum("Fe2O3", replace(GOOD, energy_shift=shift))
    analysis = TEM.analyse(cell)
    assert set(analysis.elements) == {"Fe", "O"}
    onsets = {name: energy for name, energy, _ in analysis.edges}
    assert onsets["O K"] == pytest.approx(532 + shift, abs=3.5)


@pytest.mark.parametrize("shift", [8.0, 13.0])
def test_the_zero_loss_peak_sets_the_zero(shift):
    conditions = replace(GOOD, energy=(-30, 993, 0.5), energy_shift=shift, relative_thickness=0.4)
    cell = spectrum("TiO2", conditions)
    assert zero_loss(cell.energy, cell.counts) == pytest.approx(shift, abs=0.3)
    analysis = TEM.analyse(cell)
    assert {"Ti", "O"} <= set(analysis.elements)
    onsets = {name: energy for name, energy, _ in analysis.edges}
    assert onsets["Ti L23"] == pytest.approx(455.5 + shift, abs=3.5)


def test_dead_hot_and_missing_channels_are_left_out():
    cell = spectrum("Fe2O3")
    counts = cell.counts.copy()
    counts[[100, 101, 700]] = 0
    counts[[300, 1200]] *= 20
    counts[900:910] = np.nan
    broken = Spectrum(counts, cell.energy, beam_energy=200, convergence_angle=10, collection_angle=20)
    a, b = (TEM.fit_transform([c])[0] for c in (broken, cell))
    assert elements_of(broken) == {"Fe", "O"}
    np.testing.assert_allclose(a[column("Fe")], b[column("Fe")], atol=0.03)
    assert not usable(counts)[[100, 101, 700, 300, 1200, 905]].any()
    assert usable(counts).mean() > 0.98


def test_saturated_channels_are_left_out():
    cell = spectrum("Fe2O3")
    limit = np.quantile(cell.counts, 0.97)
    assert elements_of(Spectrum(np.minimum(cell.counts, limit), cell.energy)) == {"Fe", "O"}


def test_no_element_is_found_in_a_background_or_in_noise():
    energy = np.arange(100.0, 1500.0, 1.0)
    rng = np.random.default_rng(0)
    cells = [Spectrum(background(energy, s, 10.0 ** (3 + s % 4), 2 + s % 3), energy) for s in range(12)]
    cells += [Spectrum(rng.poisson(50, energy.size), energy), Spectrum(rng.normal(size=energy.size), energy)]
    assert not np.nan_to_num(TEM.fit_transform(cells)).any()
    presence = TEM.presence_score(cells)
    assert np.nanmax(presence) < 0.5
    assert np.isfinite(presence[:, column("O")]).all()


@pytest.mark.parametrize("counts", [np.zeros(2000), np.full(2000, 7.0)])
def test_empty_and_constant_spectra_are_rows_of_nan(counts):
    cell = Spectrum(counts, np.arange(2000.0))
    assert np.isnan(TEM.fit_transform([cell])).all()
    with pytest.raises(ValueError, match="no core losses"):
        TEM.analyse(cell)


def test_low_losses_alone_are_a_row_of_nan():
    energy = np.arange(-10, 39, 0.1)
    counts = 1e6 * np.exp(-0.5 * energy**2) + 1e3 / (1 + ((energy - 22) / 5) ** 2)
    assert np.isnan(TEM.fit_transform([Spectrum(counts, energy)])).all()


def test_elements_outside_the_window_are_nan_and_absent_elements_are_zero():
    fractions = TEM.fit_transform([spectrum("Fe2O3")])[0]
    for symbol in ("H", "He", "Al", "Si", "Sr", "Xe", "Pu"):  # K of silicon lies above, L below the window
        assert np.isnan(fractions[column(symbol)])
    for symbol in ("N", "F", "Ti", "Cr", "Ni", "La"):
        assert fractions[column(symbol)] == 0
    presence = TEM.presence_score([spectrum("Fe2O3")])[0]
    assert presence[column("Fe")] > 0.9
    assert presence[column("Ni")] < 0.5
    assert np.isnan(presence[column("Si")])


def test_elements_below_the_noise_are_nan():
    rich, poor = (
        TEM.fit_transform([spectrum("CaO", replace(GOOD, counts=counts, jump_ratio=jump))])[0]
        for counts, jump in ((1e9, 1.0), (3e6, 0.1))
    )
    assert rich[column("O")] == pytest.approx(0.5, abs=0.15)
    assert poor[column("Ca")] > 0
    assert np.isnan(poor[column("O")])
    assert (poor == 0).sum() < (rich == 0).sum()


def test_only_the_given_elements_are_searched():
    cell = spectrum("CaCO3")
    assert elements_of(cell, elements=["Ca", "O"]) == {"Ca", "O"}
    assert elements_of(cell, elements=["Si"]) == set()


def test_curves_of_an_analysis():
    cell = spectrum("Fe2O3")
    analysis = TEM.analyse(cell)
    residuals = (analysis.counts - analysis.curve) / analysis.counts
    assert np.abs(residuals).max() < 0.1
    assert np.median(np.abs(residuals)) < 0.01
    late = analysis.energy > 800
    assert (analysis.background[late] < analysis.curve[late]).all()
    assert repr(analysis).startswith("EELSAnalysis(O 0.")
    assert "no element" in repr(
        TEM.analyse(Spectrum(background(np.arange(300.0, 900)), np.arange(300.0, 900)))
    )


def test_values_of_an_analysis():
    cell = spectrum("Fe2O3")
    analysis = TEM.analyse(cell)
    assert set(analysis.elements) == {"Fe", "O"}
    assert [SYMBOLS[z - 1] for z in analysis.atomic_numbers] == analysis.elements
    np.testing.assert_allclose(analysis.uncertainty, TEM.fit([cell]).uncertainty([cell])[0], rtol=1e-6)
    measurable = np.isfinite(analysis.fractions)
    for values in (analysis.uncertainty, analysis.presence, analysis.significance):
        np.testing.assert_array_equal(np.isfinite(values), measurable)
    significant = np.flatnonzero(np.nan_to_num(analysis.significance) > TEM.n_sigma) + 1
    assert set(analysis.atomic_numbers) <= set(significant)
    assert {name.split()[0] for name, _, _ in analysis.edges} == {"Fe", "O"}


def test_the_transformers_of_compositions_accept_the_table():
    cells = pd.Series([spectrum("Fe2O3"), None, spectrum("CuO")], name="eels")
    table = EELSComposition().set_output(transform="pandas").fit_transform(cells)
    assert list(table.columns) == list(FEATURE_NAMES)
    presence = ElementPresence().set_output(transform="pandas").fit_transform(table)
    assert presence.loc[0, ["fe", "o", "cu"]].tolist() == [1, 1, 0]
    assert presence.loc[1].isna().all()
    for transformer in (RankedElements(3), CompositionStatistics(presets=("ionic",))):
        assert np.isfinite(transformer.fit_transform(table)[[0, 2]]).any()


def test_measured_strontium_titanate(measured_data):
    pytest.importorskip("rsciio")
    fractions = TEM.fit_transform([str(measured_data / "tem" / "EELS_STO.dm3")])[0]
    assert set(np.flatnonzero(fractions > 0)) == {column("Ti"), column("O")}
    assert 1.5 < fractions[column("O")] / fractions[column("Ti")] < 4.5  # 3 in SrTiO3
    assert np.isnan(fractions[column("Sr")])


def test_manganese_and_iron_of_exspy():
    """The white lines and steps of this artificial spectrum are not those of atoms, but the onsets are."""
    data = pytest.importorskip("exspy.data")
    signal = data.EELS_MnFe(random_state=0)
    energy = signal.axes_manager[-1].axis
    cells = [Spectrum(counts, energy, beam_energy=200) for counts in signal.data]
    fractions = np.nan_to_num(TEM.fit_transform(cells))
    manganese, iron = fractions[:, column("Mn")], fractions[:, column("Fe")]
    np.testing.assert_allclose(manganese + iron, 1, atol=1e-6)
    assert (manganese[:3] > 0.95).all()
    assert iron[-1] > 0.95
    assert (np.diff(iron) > -0.1).all()


def test_manganese_oxide_and_chromium_of_exspy():
    exspy = pytest.importorskip("exspy")
    hs = pytest.importorskip("hyperspy.api")
    folder = Path(exspy.__file__).parent / "tests"
    oxide = folder / "components" / "coreloss_spectrum.msa"
    chromium = folder / "drawing" / "data" / "Cr_L_cl.hspy"
    if not (oxide.exists() and chromium.exists()):
        pytest.skip("exspy came without its test data")
    assert elements_of(hs.load(str(oxide))) == {"Mn", "O"}
    assert elements_of(hs.load(str(chromium))) == {"Cr"}


def test_noise_is_estimated_from_the_spectrum():
    rng = np.random.default_rng(0)
    rates = np.linspace(4000, 400, 4000)
    for gain, read in ((1.0, 0.0), (5.0, 0.0), (1.0, 60.0)):
        counts = gain * rng.poisson(rates) + read * rng.standard_normal(4000)
        expected = gain**2 * rates + read**2
        ratio = noise(counts, gain * rates) / expected
        assert 0.8 < np.median(ratio) < 1.3
        assert (ratio > 0.6).all()


def test_errors_of_bins_hold_for_blurred_noise():
    rng = np.random.default_rng(1)
    energy = np.arange(200.0, 1200.0, 0.5)
    white = rng.poisson(2000, energy.size).astype(float)
    blurred = np.convolve(white, [0.25, 0.5, 0.25], "same")
    for counts in (white, blurred):
        bins = bin_spectrum(energy[2:-2], counts[2:-2])
        z = (bins.counts * bins.scale - 2000) / (bins.error * bins.scale)
        assert 0.6 < z.std() < 1.3


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"elements": "Fe"}, "list of symbols"),
        ({"elements": []}, "list of symbols"),
        ({"elements": ["Xx"]}, "unknown element"),
        ({"n_sigma": 0}, "n_sigma"),
        ({"beam_energy": 0}, "beam_energy"),
        ({"collection_angle": -1.0}, "collection_angle"),
        ({"convergence_angle": 0.0}, "convergence_angle"),
    ],
)
def test_wrong_parameters(params, message):
    with pytest.raises(ValueError, match=message):
        EELSComposition(**params).fit([None])


def test_wrong_cells():
    fitted = EELSComposition().fit([None])
    for wrong in (np.ones(100), "no/such/file.msa", 3):
        with pytest.raises((ValueError, OSError), match="row 0"):
            fitted.transform([wrong])
    with pytest.warns(BrokenCellWarning, match="1 of 2"):
        fractions = fitted.set_params(on_error="warn").presence_score([np.ones(100), None])
    assert np.isnan(fractions).all()
