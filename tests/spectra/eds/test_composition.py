"""Compositions from simulated X-ray spectra, also badly recorded ones and ones without lines."""

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pandas as pd
import pytest
from sklearn.pipeline import make_pipeline

from xtalsk.baselines import make_baseline
from xtalsk.compose import make_features
from xtalsk.composition import CompositionStatistics, ElementPresence, RankedElements
from xtalsk.io import Spectrum
from xtalsk.simulation import EDSConditions, simulate_eds
from xtalsk.spectra import EDSComposition
from xtalsk.utils import BrokenCellWarning
from xtalsk.utils._formula import FEATURE_NAMES, SYMBOLS, parse_formula

SEM = replace(EDSConditions.scanning(), silicon=0.0)
TEM = replace(EDSConditions.typical(), silicon=0.0)
CLEAN = replace(
    SEM,
    beam_energy=15.0,
    takeoff_angle=35.0,
    carbon=0.0,
    pile_up=0.0,
    energy_shift=0.0,
    dispersion_error=0.0,
    counts=3e5,
)
FORMULAS = ["CaMgSi2O6", "FeTiO3", "LaMnO3", "PbTiO3", "CdTe", "GaAs", "Ca5P3O13F", "CoNiAs2", "CePO4", "ZnS"]
DIOPSIDE = {"Ca", "Mg", "Si", "O"}


def simulated(formulas, conditions, seed=0):
    counts, table = simulate_eds(formulas, conditions=conditions, random_state=seed, return_conditions=True)
    beams = table[["beam_energy", "takeoff_angle"]].to_dict("records")
    return [Spectrum(c.astype(float), conditions.axis(), **b) for c, b in zip(counts, beams, strict=True)]


@lru_cache
def diopside(energy=CLEAN.energy):
    return simulated(["CaMgSi2O6"], replace(CLEAN, energy=energy))[0]


def changed(cell, counts=None, energy=None, **beam):
    beam = {"beam_energy": 15.0, "takeoff_angle": 35.0} | beam
    counts = cell.counts if counts is None else counts
    return Spectrum(counts, cell.energy if energy is None else energy, **beam)


def fractions(cells, **params):
    cells = cells if isinstance(cells, list) else [cells]
    return EDSComposition(**params).fit_transform(cells)


def found(cell, **params):
    row = fractions(cell, **params)[0]
    return {SYMBOLS[i] for i in np.flatnonzero(np.nan_to_num(row) > 0)}


def truths(formulas):
    return np.array([parse_formula(formula) for formula in formulas])


def column(*symbols):
    return [SYMBOLS.index(symbol) for symbol in symbols]


def assert_diopside(cell, tolerance=0.03, **params):
    row = fractions(cell, **params)[0]
    assert set(np.array(SYMBOLS)[np.nan_to_num(row) > 0]) == DIOPSIDE
    np.testing.assert_allclose(np.nan_to_num(row), parse_formula("CaMgSi2O6"), atol=tolerance)


@pytest.mark.parametrize("conditions", [SEM, TEM], ids=["SEM", "TEM"])
@pytest.mark.parametrize(("counts", "recall", "error"), [(3e3, 0.93, 0.05), (1e5, 0.99, 0.025)])
def test_elements_and_amounts_at_any_dose(conditions, counts, recall, error):
    """All conditions vary: voltage, angle, window, calibration, coating, grid, sum peaks."""
    cells = simulated(FORMULAS, replace(conditions, counts=counts))
    table = np.nan_to_num(fractions(cells, exclude=("C", "Cu")))
    expected = truths(FORMULAS)
    present = expected > 0
    assert (table[present] > 0).mean() >= recall
    assert (table[~present] > 0).sum() <= 0.1 * len(cells)
    assert np.abs(table - expected)[present].mean() < error
    np.testing.assert_allclose(table.sum(1), 1, atol=1e-5)


@pytest.mark.parametrize("counts", [1e4, 3e5])
@pytest.mark.parametrize(
    "formula",
    ["BaTiO3", "MoS2", "PbS", "PbMoO4", "Na2SO4", "MnCr2O4", "SrSiO3", "FeF2", "CeVO4", "TaSi2"],
)
def test_overlapping_lines(formula, counts):
    conditions = replace(CLEAN, counts=counts, beam_energy=20.0)
    row = np.nan_to_num(fractions(simulated([formula], conditions)))[0]
    expected = parse_formula(formula)
    assert set(np.flatnonzero(row)) == set(np.flatnonzero(expected))
    np.testing.assert_allclose(row, expected, atol=0.09)


@pytest.mark.parametrize("level", [0.0, 0.05, 1.0, 100.0])
def test_no_elements_in_noise(level):
    counts = np.random.default_rng(0).poisson(level, len(CLEAN.axis()))
    row = fractions(Spectrum(counts, CLEAN.axis(), beam_energy=15))[0]
    assert (np.nan_to_num(row) == 0).all()
    assert row[column("Fe")] == 0


@pytest.mark.parametrize("counts", [300, 3e3, 2e4])
@pytest.mark.parametrize("beam_energy", [15.0, 20.0, 200.0])
def test_no_elements_in_bremsstrahlung(counts, beam_energy):
    """Helium represents a specimen without lines.

    With more counts, the absorption of bremsstrahlung by the window can look like nitrogen.
    """
    film = {"thickness_nm": 100.0, "window": 0.0} if beam_energy > 60 else {"window": 1.0}
    conditions = replace(CLEAN, counts=counts, beam_energy=beam_energy, **film)
    assert found(simulated(["He"], conditions)[0]) == set()


def test_elements_that_the_detector_cannot_see_are_nan():
    cell = diopside()
    row = fractions(cell)[0]
    assert np.isnan(row[column("H", "Li", "B", "Ne")]).all()  # neon is not looked for
    assert (row[column("C", "N", "F", "Fe", "Au")] == 0).all()
    behind = fractions(cell, window="beryllium")[0]
    assert np.isnan(behind[column("B", "C", "N", "O", "F")]).all()
    assert (behind[column("Mg", "Si", "Ca")] > 0.1).all()
    assert behind[column("Fe")] == 0
    low = fractions(changed(cell, beam_energy=6.0))[0]  # too low for the K lines of iron, not for its L lines
    assert low[column("Fe")] == 0


def test_elements_of_channels_that_were_not_measured_are_nan():
    cell = diopside()
    counts = np.where(cell.energy < 600, np.nan, cell.counts)
    part = cell.energy > 600
    for spectrum in (changed(cell, counts), changed(cell, cell.counts[part], cell.energy[part])):
        row = fractions(spectrum)[0]
        assert np.isnan(row[column("C", "N", "O")]).all()
        np.testing.assert_allclose(row[column("Mg", "Si", "Ca")], [0.25, 0.5, 0.25], atol=0.04)


def test_excluded_elements_are_fitted_and_nan():
    conditions = replace(CLEAN, copper=0.5, carbon=0.2)
    cell = simulated(["CaMgSi2O6"], conditions)[0]
    assert found(cell) == DIOPSIDE | {"C", "Cu"}
    row = fractions(cell, exclude=("Cu", "C"))[0]
    assert np.isnan(row[column("Cu", "C")]).all()
    assert np.nansum(row) == pytest.approx(1)
    np.testing.assert_allclose(np.nan_to_num(row), parse_formula("CaMgSi2O6"), atol=0.04)
    transformer = EDSComposition(exclude=("Cu", "C")).fit([cell])
    for table in (transformer.presence_score([cell]), transformer.uncertainty([cell])):
        assert np.isnan(table[0, column("Cu", "C")]).all()
    elements = EDSComposition(exclude=("Cu", "C")).analyse(cell).elements
    assert set(elements) >= {"Cu", "C"}


def test_only_elements_that_are_allowed():
    assert found(diopside(), elements=["O", "Si", "Fe"]) == {"O", "Si"}
    assert found(diopside(), elements=["Au"]) == set()
    assert found(diopside(), elements=["O", "Si", "Mg"], exclude=["Ca"]) == {"O", "Si", "Mg"}


def test_significance_and_minimum():
    cell = simulated(["Ca19MgSi20O60"], replace(CLEAN, counts=1e5))[0]
    assert found(cell) == DIOPSIDE
    assert found(cell, min_fraction=0.02) == DIOPSIDE - {"Mg"}
    assert found(cell, n_sigma=1000.0) == set()
    numbers = [len(EDSComposition(n_sigma=s).analyse(cell).elements) for s in (1.0, 4.0, 30.0)]
    assert numbers == sorted(numbers, reverse=True)
    assert numbers[0] > numbers[-1]
    large = fractions(cell, min_fraction=0.02)[0]
    assert np.nansum(large) == pytest.approx(1)


def test_presence_is_at_least_one_half_for_elements_found():
    cells = simulated(FORMULAS[:6], replace(SEM, counts=3e4))
    transformer = EDSComposition().fit(cells)
    presence = transformer.presence_score(cells)
    assert presence.dtype == np.float32
    np.testing.assert_array_equal(np.isnan(presence), np.isnan(transformer.transform(cells)))
    scores = presence[~np.isnan(presence)]
    assert ((scores >= 0) & (scores <= 1)).all()
    for cell, row in zip(cells, presence, strict=True):
        atomic_numbers = transformer.analyse(cell).atomic_numbers
        np.testing.assert_array_equal(np.flatnonzero(row >= 0.5) + 1, atomic_numbers)


def test_uncertainty_is_the_size_of_the_errors():
    formulas = FORMULAS * 2
    cells = simulated(formulas, replace(SEM, counts=3e4, beam_energy=15.0, resolution=130.0))
    transformer = EDSComposition(exclude=("C",)).fit(cells)
    table, uncertainty = transformer.transform(cells), transformer.uncertainty(cells)
    inside = (table > 0) & (table < 1)
    assert (uncertainty[inside] > 0.001).all()
    assert (uncertainty[table == 0] == 0).all()
    error = np.abs(table - truths(formulas))[inside] / uncertainty[inside]
    assert np.mean(error < 2) > 0.85
    assert 0.3 < np.median(error) < 1.2


@pytest.mark.parametrize(
    "bad",
    [
        lambda n: np.arange(n) % 7 == 0,
        lambda n: (np.arange(n) > 168) & (np.arange(n) < 176),
        lambda n: np.arange(n) > 1200,
    ],
    ids=["every seventh", "in a line", "the end"],
)
def test_channels_that_were_not_measured(bad):
    cell = diopside()
    assert_diopside(changed(cell, np.where(bad(len(cell.counts)), np.nan, cell.counts)))


def test_dead_and_overflowed_channels():
    cell = diopside()
    for value, channels in ((0, [50, 174, 300, 369]), (65535, [0, 51, 140, 300, 900, 2047])):
        counts = cell.counts.copy()
        counts[channels] = value
        assert_diopside(changed(cell, counts))


@pytest.mark.parametrize(("offset", "gain"), [(-15, 0), (15, 0), (0, -0.004), (0, 0.004), (10, -0.003)])
def test_errors_of_calibration(offset, gain):
    cell = diopside()
    assert_diopside(changed(cell, energy=cell.energy * (1 + gain) + offset))


@pytest.mark.parametrize("width", [25.0, 60.0])
def test_a_peak_at_zero_energy(width):
    cell = diopside(energy=(-480.0, 20475.0, 5.0))
    shape = np.exp(-0.5 * (cell.energy / width) ** 2)
    peak = np.random.default_rng(0).poisson(10 * cell.counts.sum() * shape / shape.sum())
    assert_diopside(changed(cell, cell.counts + peak))


def test_fractional_and_negative_counts():
    cell = diopside()
    rng = np.random.default_rng(0)
    assert_diopside(changed(cell, 0.37 * cell.counts))
    negative = 0.4 * cell.counts + rng.normal(-0.2, 0.5, len(cell.counts))
    assert (negative < 0).any()
    assert_diopside(changed(cell, negative))


@pytest.mark.parametrize("cut", [300, 700])
def test_a_low_energy_cut_off(cut):
    cell = diopside()
    row = fractions(changed(cell, np.where(cell.energy < cut, 0, cell.counts)))[0]
    np.testing.assert_allclose(row[column("Ca", "Mg")] / row[column("Si")], 0.5, rtol=0.15)
    assert np.isnan(row[column("O")]).all() == (cut >= 600)


def test_wide_channels():
    assert_diopside(diopside(energy=(10.0, 40950.0, 20.0)))


def test_axes_and_voltages_may_differ_within_a_column():
    axes = [(5.0, 20475.0, 10.0), (-480.0, 19995.0, 5.0), (10.0, 40950.0, 20.0)]
    voltages = [10.0, 15.0, 20.0]
    cells = []
    for energy, beam_energy in zip(axes, voltages, strict=True):
        conditions = replace(CLEAN, energy=energy, beam_energy=beam_energy)
        cells += simulated(["CaMgSi2O6"], conditions)
    cells.insert(2, None)
    table = fractions(cells)
    assert np.isnan(table[2]).all()
    for row in np.nan_to_num(np.delete(table, 2, axis=0)):
        np.testing.assert_allclose(row, parse_formula("CaMgSi2O6"), atol=0.03)


def test_parameters_replace_missing_conditions():
    cell = diopside()
    bare = Spectrum(cell.counts, cell.energy)
    same = fractions(bare, beam_energy=15, takeoff_angle=35)
    np.testing.assert_allclose(same, fractions(cell), atol=1e-6)
    for other in ({"thickness_nm": 20.0}, {"window": "none"}, {"beam_energy": 12}, {"takeoff_angle": 80}):
        assert np.nanmax(np.abs(fractions(bare, **({"beam_energy": 15} | other)) - same)) > 0.005
    with pytest.raises(ValueError, match=r"row 0.*no beam energy.*beam_energy=\.\.\..*parameter beam_energy"):
        fractions(bare)


def test_cells_that_cannot_be_used():
    cell = diopside()
    in_kev = changed(cell, energy=cell.energy / 1e3)
    short = changed(cell, cell.counts[:90], cell.energy[:90])
    for wrong, message in ((in_kev, "is the axis in eV"), (short, "at least 100 channels")):
        with pytest.raises(ValueError, match=f"row 1 of column eds: .*{message}"):
            EDSComposition().fit_transform(pd.Series([cell, wrong], name="eds"))
    transformer = EDSComposition(on_error="warn").fit([cell])
    with pytest.warns(BrokenCellWarning, match="2 of 3 .*not measured:\nrow 1"):
        table = transformer.transform([cell, in_kev, "no/such/file.msa"])
    assert np.isnan(table[1:]).all()
    assert np.nansum(table[0]) == pytest.approx(1)


def test_cache_does_not_change_the_result():
    cells = simulated(FORMULAS[:5], replace(SEM, counts=1e4))
    expected = fractions(cells)
    for _ in range(2):
        np.testing.assert_array_equal(fractions(cells, cache=True), expected)


def test_the_table_goes_into_the_transformers_of_compositions():
    cells = [*simulated(["CaMgSi2O6", "FeS2"], CLEAN), None]
    X = pd.DataFrame({"eds": pd.Series(cells, dtype=object)})
    composition = EDSComposition()
    features = make_features(
        presence=("eds", make_pipeline(composition, ElementPresence())),
        ranked=("eds", make_pipeline(composition, RankedElements(n_ranks=2))),
        statistics=("eds", make_pipeline(composition, CompositionStatistics(presets=("magpie",)))),
    )
    table = features.fit_transform(X)
    assert table.loc[0, ["presence__ca", "presence__o", "presence__fe"]].tolist() == [1, 1, 0]
    assert table["ranked__rank1_z"].tolist()[:2] == [8, 16]
    assert table.loc[2].isna().all()
    assert table.filter(like="statistics__").loc[:1].notna().any(axis=1).all()


def test_curves_of_an_analysis_fit():
    fit = EDSComposition().analyse(diopside())
    assert fit.elements == ["O", "Mg", "Si", "Ca"]
    assert fit.atomic_numbers.tolist() == [8, 12, 14, 20]
    assert (fit.significance[fit.atomic_numbers - 1] >= 4).all()
    assert np.isnan(fit.significance[column("H", "Li")]).all()
    assert repr(fit).startswith("EDSFit(O 0.")
    assert fit.lines.shape == (4, len(fit.energy))
    deviation = (fit.counts - fit.curve) / np.sqrt(fit.curve.clip(1) + (0.03 * fit.curve) ** 2)
    assert np.abs(deviation).mean() < 1.2
    np.testing.assert_allclose(fit.background + fit.lines.sum(0), fit.curve, rtol=0.5, atol=100)
    assert 125 < fit.resolution < 140
    silicon = fit.lines[fit.elements.index("Si")]
    assert fit.energy[silicon.argmax()] == pytest.approx(1740, abs=15)
    assert fit.width.sum() == pytest.approx(fit.energy[-1] - fit.energy[0], rel=0.02)


def test_names_of_the_columns():
    transformer = EDSComposition().set_output(transform="pandas")
    assert list(transformer.fit_transform([diopside()]).columns) == list(FEATURE_NAMES)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"elements": "Fe"}, "list of symbols"),
        ({"elements": []}, "list of symbols"),
        ({"elements": ["Xx"]}, "unknown element"),
        ({"exclude": "Cu"}, "list of symbols"),
        ({"exclude": ["Xx"]}, "unknown element"),
        ({"n_sigma": 0}, "n_sigma"),
        ({"min_fraction": 1.0}, "min_fraction"),
        ({"beam_energy": 0}, "beam_energy"),
        ({"takeoff_angle": 100.0}, "takeoff_angle"),
        ({"thickness_nm": 0}, "thickness_nm"),
        ({"window": "glass"}, "window"),
        ({"lowest_energy": 50.0}, "lowest_energy"),
    ],
)
def test_wrong_parameters(params, message):
    with pytest.raises(ValueError, match=message):
        EDSComposition(**params).fit([None])


@pytest.mark.parametrize(
    ("formula", "beam_energy", "elements"),
    [("Fe", 5.0, "Fe"), ("TiO2", 5.0, "Ti O"), ("CaCl2", 15.0, "Ca Cl"), ("NaCl", 10.0, "Na Cl")],
)
def test_soft_lines_alone_are_evidence_and_do_not_rule_hard_ones_out(formula, beam_energy, elements):
    conditions = replace(CLEAN, beam_energy=beam_energy, counts=1e6, yield_error=0.0)
    for cell in simulated([formula] * 3, conditions):
        row = fractions(cell)[0]
        assert set(np.array(SYMBOLS)[np.nan_to_num(row) > 0.05]) == set(elements.split())
        np.testing.assert_allclose(row[column(*elements.split())], parse_formula(formula)[
            column(*elements.split())], atol=0.05)  # fmt: skip


def test_elements_that_were_not_looked_for_are_nan():
    row = fractions(diopside(), elements=("O", "Mg", "Si", "Ca", "Fe"))[0]
    assert np.isnan(row[column("Al", "Ar", "Zn")]).all()
    assert row[column("Fe")] == 0
    assert np.isnan(fractions(diopside())[0][column("Ar", "Tc", "Pm")]).all()


def test_elements_below_min_fraction_have_a_low_presence():
    cell = diopside()
    rare = EDSComposition(min_fraction=0.2).fit([cell])
    row, presence = rare.transform([cell])[0], rare.presence_score([cell])[0]
    assert (row[column("Ca", "Mg")] == 0).all()
    assert (presence[column("Ca", "Mg")] < 0.5).all()
    assert (presence[column("O")] > 0.5).all()


def test_a_film_that_stops_the_electrons_is_bulk():
    np.testing.assert_array_equal(fractions(diopside(), thickness_nm=1e6), fractions(diopside()))
    assert not np.array_equal(fractions(diopside(), thickness_nm=50.0), fractions(diopside()))


def test_boosted_trees_take_a_table_in_which_columns_have_no_value():
    cells = simulated(["SiO2", "FeS2"] * 6, replace(CLEAN, counts=1e4))
    model = make_pipeline(EDSComposition(), ElementPresence(), make_baseline("hist_gradient_boosting"))
    y = [0, 1] * 6
    assert (model.fit(cells, y).predict(cells) == y).all()
