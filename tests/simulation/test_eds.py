"""X-ray spectra: the detector, and the effect of each condition."""

import numpy as np
import pytest
import torch

from xtalsk.physics._constants import FWHM_PER_SIGMA
from xtalsk.physics._xray_detector import efficiency, escape_share, line_tail, line_width
from xtalsk.physics._xray_lines import xray_lines
from xtalsk.physics._xray_yields import line_tables
from xtalsk.simulation import EDSConditions, simulate_eds
from xtalsk.simulation._chunks import columns_on
from xtalsk.simulation._counting import make_generator
from xtalsk.simulation.spectra._eds import draw_eds, expected_counts
from xtalsk.simulation.spectra._formulas import atomic_fractions
from xtalsk.utils._formula import SYMBOLS

CLEAN = {"beam_energy": 20.0, "thickness_nm": np.inf, "continuum": 1e-6, "tail": 0.0}


def column(*values):
    return torch.tensor(values, dtype=torch.float64)


def ideal(**fields):
    return EDSConditions(**{f: getattr(EDSConditions.ideal(), f) for f in EDSConditions._limits} | fields)


def spectrum(composition, counts=1e7, **fields):
    conditions = ideal(counts=counts, **fields)
    return conditions.axis(), simulate_eds([composition], conditions=conditions, random_state=0)[0].astype(
        float
    )


def mean_energy(axis, counts, low, high):
    inside = (axis > low) & (axis < high)
    return (axis * counts)[inside].sum() / counts[inside].sum()


def test_window_and_detector():
    one = torch.ones(1, 1, dtype=torch.float64)
    energies = (183.0, 392.0, 525.0, 677.0, 1041.0, 1487.0)
    passed = efficiency(energies, one, 0.775 * one, 0 * one, 0 * one, 100 * one)
    # of the polymer window AP3.3, as its maker tabulates it
    np.testing.assert_allclose(passed[0], [0.33, 0.28, 0.449, 0.526, 0.682, 0.741], atol=0.02)
    high = efficiency((20e3, 40e3), 0 * one, one, 0 * one, 0 * one, 0.45 * one)[0]
    np.testing.assert_allclose(high, [0.37, 0.06], atol=0.04)  # 0.45 mm of silicon
    dead = efficiency((525.0,), 0 * one, one, 0 * one, 100 * one, 100 * one)
    assert 0.75 < float(dead) < 0.9
    assert float(efficiency((1e3,), 0 * one, one, 8 * one, 0 * one, 100 * one)) == pytest.approx(
        0.41, abs=0.04
    )


def test_line_shape():
    width = FWHM_PER_SIGMA * line_width(column(5895.0, 677.0, 277.0), column(130.0, 127.0, 127.0))
    assert float(width[0]) == pytest.approx(130, abs=0.1)
    np.testing.assert_allclose(width[1:], [64, 56], rtol=0.04)  # as makers specify detectors of 127 eV
    share, slope = line_tail(np.array([300.0, 6400.0]))
    assert share[0] > 5 * share[1]
    assert slope[0] < slope[1]


@pytest.mark.parametrize(("symbol", "percent"), [("P", 1.6), ("K", 1.05), ("Ti", 0.66), ("Fe", 0.32)])
def test_escape_peaks(symbol, percent):
    # S. J. B. Reed and N. G. Ware, J. Phys. E 5 (1972) 582
    tables, lines = line_tables(), xray_lines()
    i = np.flatnonzero((lines.z == SYMBOLS.index(symbol) + 1) & (lines.family == 0))[:1]
    share = escape_share(tables["energy"][i], tables["attenuation"][13, i])
    assert 100 * float(share) == pytest.approx(percent, rel=0.09)


def test_no_escape_below_the_silicon_edge():
    assert float(escape_share(column(1830.0), column(300.0))) == 0


def test_escape_peaks_are_drawn():
    axis, counts = spectrum("Fe", **CLEAN)
    alpha = counts[(axis > 6200) & (axis < 6600)].sum()
    escaped = counts[(axis > 4660 - 150) & (axis < 4660 + 150)].sum()
    assert escaped / alpha == pytest.approx(0.0034, abs=0.0004)


def test_the_total_counts_follow_the_condition():
    conditions = EDSConditions(counts=(2e3, 5e4))
    counts, values = simulate_eds(
        ["SrTiO3"], [0] * 150, conditions=conditions, random_state=0, return_conditions=True
    )
    deviation = (counts.sum(1) - values.counts) / np.sqrt(values.counts)
    assert abs(deviation.mean()) < 0.3
    assert 0.8 < deviation.std() < 1.2
    assert counts.dtype.kind == "u"
    assert list(values) == [*EDSConditions._limits, "density"]


def test_random_state():
    spectra = [simulate_eds(["Fe2O3", "NaCl"], random_state=seed) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(spectra[0], spectra[1])
    assert (spectra[0] != spectra[2]).any()


def test_rows_repeat():
    hard = ideal().axis() > 1000
    counts = simulate_eds(["Fe", "Si"], [1, 0, 1], ideal(**CLEAN), random_state=0)
    strongest = [ideal().axis()[hard][c[hard].argmax()] for c in counts]
    assert strongest == pytest.approx([1740, 6404, 1740], abs=15)
    assert (counts[0] != counts[2]).any()


def test_pile_up_is_at_the_sum_of_energies():
    for energy in ((5.0, 20475.0, 10.0), (-195.0, 20475.0, 10.0)):
        axis, counts = spectrum("Fe", energy=energy, pile_up=0.02, **CLEAN)
        alpha = counts[(axis > 6200) & (axis < 6600)].sum() / counts.sum()
        twice = (axis > 12500) & (axis < 13100)
        assert counts[twice].sum() / counts.sum() == pytest.approx(0.02 * alpha**2, rel=0.1)
        assert mean_energy(axis, counts, 12500, 13100) == pytest.approx(2 * 6400, abs=10)
    axis, counts = spectrum("Fe", **CLEAN)
    assert counts[(axis > 12500) & (axis < 13100)].sum() < 200


@pytest.mark.parametrize(
    ("error", "expected"),
    [({"energy_shift": 40.0}, -40), ({"dispersion_error": 0.01}, -63.4), ({"dispersion_error": -0.01}, 64.6)],
)
def test_errors_of_the_axis_move_lines(error, expected):
    right = mean_energy(*spectrum("Fe", **CLEAN), 6100, 6700)
    wrong = mean_energy(*spectrum("Fe", **CLEAN, **error), 6100, 6700)
    assert wrong - right == pytest.approx(expected, abs=2)


def test_resolution_widens_lines():
    def width(resolution):
        axis, counts = spectrum("Ca", resolution=resolution, **CLEAN)
        inside = (axis > 3500) & (axis < 3870)
        middle = mean_energy(axis, counts, 3500, 3870)
        return np.sqrt(((axis - middle) ** 2 * counts)[inside].sum() / counts[inside].sum())

    assert width(150.0) - width(120.0) > 8


@pytest.mark.parametrize(
    ("stray", "specimen", "low", "high"),
    [("copper", "Al", 650, 1250), ("carbon", "Fe", 150, 400), ("silicon", "Fe", 1500, 2000)],
)
def test_stray_lines(stray, specimen, low, high):
    """Lines of grid, support and detector have the given share of the counts in lines of the specimen."""
    setting = CLEAN | {"copper": 0.0, "carbon": 0.0, "silicon": 0.0}
    axis, without = spectrum(specimen, **setting)
    _, counts = spectrum(specimen, **setting | {stray: 0.25})
    outside = (axis < low) | (axis > high)
    if stray == "copper":
        outside &= axis < 5000
    scale = counts[outside].sum() / without[outside].sum()
    assert 1 - scale == pytest.approx(0.2, abs=0.01)


def test_windows_weaken_soft_lines():
    def share(window):
        axis, counts = spectrum("SiO2", thickness_nm=30.0, window=window)
        soft = counts[(axis > 400) & (axis < 650)].sum()
        return soft / counts[(axis > 1600) & (axis < 1950)].sum()

    assert share(1.0) / share(0.0) == pytest.approx(0.449 / 0.74, rel=0.08)


def test_the_grid_of_a_window_transmits_hard_lines():
    def share(window):
        axis, counts = spectrum("Mo", thickness_nm=30.0, window=window)
        hard = counts[(axis > 17000) & (axis < 18000)].sum()
        return hard / counts[(axis > 2150) & (axis < 2600)].sum()

    through = np.exp(-6.5 * 2.33 * 0.038)  # 0.38 mm of silicon at 17.4 keV
    expected = (0.775 + 0.225 * through) / (0.775 * 0.97)  # the film absorbs 3% at 2.3 keV
    assert share(1.0) / share(0.0) == pytest.approx(expected, rel=0.05)


def test_specimens_without_lines():
    """Hydrogen to beryllium have no lines in the window: their spectra hold only the continuum."""
    for conditions in ("ideal", "harsh", EDSConditions.scanning()):
        counts = simulate_eds(["Li", "H2", "BeH"], conditions=conditions, random_state=0)
        assert (counts.sum(1) > 0).all()
    conditions = ideal(counts=1e6)
    counts = simulate_eds(["Li"], conditions=conditions, random_state=0)[0].astype(float)
    counts = counts[50:1900]
    rough = np.abs(np.diff(counts, 2)) / np.sqrt(6 * counts[1:-1].clip(1))
    assert rough.max() < 6


def expected_rates(fractions, conditions, seed=0):
    rng = np.random.RandomState(seed)
    values = draw_eds(conditions, fractions, np.full(len(fractions), 5.0), rng)
    fractions = torch.from_numpy(fractions)
    columns = columns_on({name: values[name].to_numpy() for name in values}, fractions)
    return expected_counts(fractions, columns, conditions, make_generator(rng, "cpu")), values


@pytest.mark.parametrize("preset", [EDSConditions.harsh(), EDSConditions.scanning()])
def test_rates_are_finite_under_all_conditions(amcsd, preset):
    chosen = np.random.RandomState(0).choice(len(amcsd), 300, replace=False)
    rates, values = expected_rates(atomic_fractions(amcsd.formulas[chosen]), preset)
    assert rates.dtype == torch.float64
    assert torch.isfinite(rates).all()
    assert (rates >= 0).all()
    np.testing.assert_allclose(rates.sum(1), values.counts, rtol=1e-9)


def test_yield_errors_are_those_of_elements():
    fractions = atomic_fractions(["CaFe"] * 200)
    rates, _ = expected_rates(fractions, ideal(yield_error=0.2, **CLEAN))
    axis = ideal().axis()
    calcium, iron = (rates[:, (axis > e - 200) & (axis < e + 200)].sum(1) for e in (3692, 6404))
    spread = float(torch.log(calcium / iron).std())
    assert spread == pytest.approx(0.2 * np.sqrt(2), rel=0.15)


def test_density_sets_the_absorption_in_films():
    """A dense film absorbs more soft X-rays."""
    conditions = ideal(thickness_nm=300.0, counts=1e6)
    axis = conditions.axis()
    counts = simulate_eds(["Fe2O3"], [0, 0], conditions, density=[1.0], random_state=0)
    dense = simulate_eds(["Fe2O3"], [0, 0], conditions, density=8.0, random_state=0)
    soft = (axis > 450) & (axis < 600)
    assert dense[:, soft].sum() < 0.9 * counts[:, soft].sum()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: simulate_eds("Fe"), "compositions must be a list"),
        (lambda: simulate_eds([]), "at least one composition"),
        (lambda: simulate_eds(["Xx"]), "unknown element 'Xx'"),
        (lambda: simulate_eds(np.zeros((1, 98))), "not all zero"),
        (lambda: simulate_eds(["Fe"], [1]), "rows must be from 0 to 0"),
        (lambda: simulate_eds(["Fe"], density=0), "density must be positive"),
        (lambda: simulate_eds(["Fe"], density=np.nan), "density must be positive"),
        (lambda: simulate_eds(["Fe"], conditions="good"), "conditions must be an EDSConditions or one of"),
        (lambda: EDSConditions(counts=0), "counts must be above 0"),
        (lambda: EDSConditions(resolution=90), "resolution must be from 110 to 300"),
        (lambda: EDSConditions(beam_energy=2000), "beam_energy must be from 1 to 1000"),
        (lambda: EDSConditions(energy=(0, 500, 10)), "100 channels or more"),
        (lambda: EDSConditions(pile_up=0.5), "pile_up must be from 0 to 0.3"),
    ],
)
def test_bad_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()
