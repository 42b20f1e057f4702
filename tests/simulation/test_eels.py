"""Energy-loss spectra: cross-sections against other programs, and the simulation of the recording."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import xraylib

from xtalsk.crystals import CrystalSet
from xtalsk.physics._constants import RYDBERG_EV
from xtalsk.physics._eels_cross_sections import aperture_share, cross_sections, effective_energy
from xtalsk.physics._eels_edges import ABOVE, edge_table, white_line_area
from xtalsk.physics._eels_gos import k_shell, l_shell, optical_strength
from xtalsk.simulation import EELSConditions, simulate_eels
from xtalsk.simulation.spectra._core_losses import core_losses, oscillations
from xtalsk.simulation.spectra._eels import render_eels
from xtalsk.simulation.spectra._eels_recording import transfer
from xtalsk.utils._formula import SYMBOLS, parse_formula

IDEAL = EELSConditions.ideal()


def row_of(name):
    table = edge_table()
    return next(i for i in range(len(table)) if table.name(i) == name)


def cross_section(name, beam_energy=200.0, convergence=0.0, collection=20.0):
    """Cross-section in barn per eV at the energies `ABOVE` the onset."""
    values = (torch.tensor([float(v)], dtype=torch.float64) for v in (beam_energy, convergence, collection))
    return cross_sections(torch.tensor([row_of(name)]), *values)[0].numpy()


def values_of(**changes):
    column = {name: [getattr(IDEAL, name)] for name in IDEAL.draw(1, 0).columns}
    column |= {name: [value] for name, value in changes.items()}
    return {name: np.array(values, dtype=float) for name, values in column.items()}


def as_columns(values):
    return {name: torch.from_numpy(value) for name, value in values.items()}


@pytest.mark.parametrize("name", ["B K", "O K", "Si K", "Ti L3", "Cu L3"])
@pytest.mark.parametrize("beam_energy", [60.0, 200.0])
def test_cross_sections_are_those_of_exspy(name, beam_energy):
    """SIGMAK3 and SIGMAL3 of exspy, without convergence; exspy gives the sum of both L edges."""
    gos = pytest.importorskip("exspy._misc.eels.hydrogenic_gos")
    theirs = gos.HydrogenicGOS(name.replace(" ", "_"))
    onset = edge_table().onset[row_of(name)]
    places = [8, 15, 25, 32]
    expected = theirs.integrateq(theirs.onset_energy, 20e-3, beam_energy)(onset + ABOVE[places])
    ours = cross_section(name, beam_energy)[places] * (1.5 if name.endswith("L3") else 1)
    np.testing.assert_allclose(ours, expected, rtol=0.02)


@pytest.mark.parametrize("symbol", ["C", "O", "Mg", "Si"])
def test_k_shells_agree_with_photoabsorption(symbol):
    z = SYMBOLS.index(symbol) + 1
    onset = edge_table().onset[row_of(f"{symbol} K")]
    energy = onset * np.array([1.1, 1.5, 2.0])
    ours = k_shell(z, energy, np.full(3, 1e-5))
    np.testing.assert_allclose(ours, optical_strength(z, xraylib.K_SHELL, energy), rtol=0.2)


def test_oscillator_strengths_sum_to_the_electrons():
    """Bethe's sum rule for the two K electrons; transitions to filled states are missing."""
    energy = np.geomspace(532, 1e5, 4000)
    strength = k_shell(8, energy, np.full(4000, 1e-5))
    assert 1.5 < np.trapezoid(strength, energy) < 2.0


def test_l_shells_gain_two_electrons_at_the_l1_edge():
    energy = np.array([560.0, 568.0])
    below, above = l_shell(22, energy, np.full(2, 1e-4), 455.5, 563.7)
    assert 1.02 < above / below < 1.6


def test_electrons_of_200_kev():
    energy, gamma = effective_energy(200.0)
    assert gamma == pytest.approx(1.3914, abs=1e-4)
    assert energy == pytest.approx(123_500, rel=1e-3)  # Egerton (2011), appendix E


def test_share_of_the_aperture_against_sampling():
    rng = np.random.RandomState(0)
    for theta, alpha, beta in [(5, 10, 8), (20, 15, 10), (1, 3, 30), (12, 20, 4)]:
        radius, angle = alpha * np.sqrt(rng.uniform(size=200_000)), rng.uniform(0, 2 * np.pi, 200_000)
        inside = np.hypot(radius * np.cos(angle) + theta, radius * np.sin(angle)) < beta
        ours = aperture_share(*(torch.tensor(float(v), dtype=torch.float64) for v in (theta, alpha, beta)))
        assert float(ours) == pytest.approx(inside.mean(), abs=0.005)


def test_larger_apertures_and_smaller_convergence_collect_more():
    small, large, convergent = (
        cross_section("O K", collection=c, convergence=a)[20] for c, a in ((5, 0), (50, 0), (5, 10))
    )
    assert small < 0.75 * large
    assert convergent < 0.6 * small


def test_cross_sections_agree_with_photoabsorption_in_the_dipole_limit():
    """dσ/dE = 4πa₀²R²/(E T) df/dE ln(1 + β²/θ_E²), Egerton (2011), eq. 3.151, of an M edge."""
    place, beta = 30, 5e-3
    energy = edge_table().onset[row_of("La M5")] + ABOVE[place]
    speed, gamma = effective_energy(200.0)
    theta_e = energy / (2 * gamma * speed)
    strength = optical_strength(57, xraylib.M5_SHELL, np.array([energy * 1.0005]))[0]
    expected = 3.5188e8 * RYDBERG_EV**2 / (energy * speed) * strength * np.log1p((beta / theta_e) ** 2)
    assert cross_section("La M5", collection=5)[place] == pytest.approx(expected, rel=0.03)


def test_onsets_agree_with_tables():
    table = edge_table()
    onsets = {table.name(i): table.onset[i] for i in range(len(table))}
    for name, onset in {"C K": 284, "O K": 532, "Ti L3": 456, "Fe L3": 708, "La M5": 832}.items():
        assert onsets[name] == pytest.approx(onset, abs=2)
    assert (table.strength >= 0).all()
    assert np.isfinite(table.strength).all()
    assert not ({"H", "He"} & {SYMBOLS[z - 1] for z in table.z})


def test_white_lines_shrink_as_states_fill():
    areas = [white_line_area(z, "L3") + white_line_area(z, "L2") for z in (22, 25, 28, 30)]
    assert areas == sorted(areas, reverse=True)
    assert areas[0] > 20
    assert areas[-1] == 0
    assert white_line_area(57, "M5") > white_line_area(69, "M5") > 0
    assert white_line_area(8, "K") == 0


def test_core_losses_are_those_of_the_atoms():
    """The height of an edge is the atomic fraction times the cross-section of one atom."""
    axis = torch.arange(1200.0, 1500.0, 1.0, dtype=torch.float64)[None].repeat(2, 1)
    fractions = np.stack([parse_formula("MgB3"), parse_formula("MgB")])
    column = {k: v.repeat(2) for k, v in as_columns(values_of(convergence_angle=0.0)).items()}
    one, two = core_losses(fractions, axis, column, torch.Generator().manual_seed(0)).numpy()
    step = [c[110:130].mean() - c[80:100].mean() for c in (one, two)]
    assert step[1] / step[0] == pytest.approx(2, rel=0.02)
    assert step[1] == pytest.approx(0.5 * cross_section("Mg K")[12], rel=0.05)


def test_fine_structure_dies_out():
    above = torch.arange(0.0, 400.0, 0.1, dtype=torch.float64)[None]
    amplitude, distance, phase = (torch.full((1, 1), v, dtype=torch.float64) for v in (0.5, 2.0, 0.0))
    shape = oscillations(above, amplitude, distance, phase)[0].numpy()
    assert np.abs(shape[:100] - 1).max() > 0.2
    assert np.abs(shape[-1000:] - 1).max() < 1e-3


def test_plural_scattering_keeps_electrons_and_moves_them():
    column = as_columns(
        values_of(relative_thickness=0.8, plasmon_energy=20.0, plasmon_width=3.0, resolution=0.5)
    )
    response = torch.fft.irfft(transfer(4096, 0.5, column), n=4096)[0].numpy()
    assert response.sum() == pytest.approx(1, abs=1e-6)
    zero_loss = response[:10].sum() + response[-10:].sum()
    assert zero_loss == pytest.approx(np.exp(-0.8), rel=0.03)
    assert abs(response[20:60].argmax() + 20 - 40) <= 2  # 20 eV in half-eV channels


def test_the_seed_fixes_the_spectra():
    again = [simulate_eels(["Fe2O3", "SiO2"], random_state=4) for _ in range(2)]
    np.testing.assert_array_equal(*again)
    assert (simulate_eels(["Fe2O3", "SiO2"], random_state=5) != again[0]).any()
    counts, table = simulate_eels(["Fe2O3"], rows=[0, 0, 0], random_state=0, return_conditions=True)
    assert len(counts) == len(table) == 3
    assert (counts[0] != counts[1]).any()


def test_all_forms_of_compositions_give_the_same_spectrum(rutile):
    conditions = replace(IDEAL, energy=(400, 700, 1.0))
    expected = simulate_eels(["TiO2"], conditions=conditions, random_state=0)
    fractions = parse_formula("TiO2")[None]
    for same in (fractions, np.repeat(fractions, 1, axis=0) * 3, rutile):
        assert isinstance(same, CrystalSet | np.ndarray)
        np.testing.assert_array_equal(simulate_eels(same, conditions=conditions, random_state=0), expected)


@pytest.mark.parametrize("preset", ["ideal", "typical", "harsh"])
def test_presets_give_counts(preset):
    counts = simulate_eels(["CaCO3", "Au", "H2", "BN"], conditions=preset, random_state=0)
    assert counts.shape == (4, 2048)
    assert counts.dtype.kind == "u"
    assert (counts.sum(1) > 0).all()


def test_counts_and_gain_set_the_dose():
    conditions = replace(IDEAL, energy=(400, 700, 1.0), counts=1e6, gain=5.0)
    counts = simulate_eels(["NiO"], conditions=conditions, random_state=0)[0]
    assert counts.sum() == pytest.approx(5e6, rel=0.01)


def test_an_edge_is_as_high_as_its_jump_ratio():
    conditions = replace(IDEAL, energy=(450, 650, 1.0), jump_ratio=0.5, relative_thickness=0.0)
    axis, counts = (
        conditions.axis(),
        simulate_eels(["MgO"], conditions=conditions, random_state=0)[0].astype(float),
    )
    tail = simulate_eels(["Mg"], conditions=replace(conditions, jump_ratio=1e6), random_state=0)[0].astype(
        float
    )
    assert tail.argmax() < 5  # no edge of magnesium in the window
    before = (axis > 500) & (axis < 525)
    power = np.polyfit(np.log(axis[before]), np.log(counts[before]), 1)
    jump = counts[axis == 555][0] / np.exp(np.polyval(power, np.log(555))) - 1
    assert jump == pytest.approx(0.5, rel=0.35)


def test_errors_of_the_axis_move_edges():
    def onset(**changes):
        conditions = replace(IDEAL, energy=(480, 620, 0.5), **changes)
        counts = simulate_eels(["MgO"], conditions=conditions, random_state=0)[0].astype(float)
        return conditions.axis()[np.diff(counts).argmax()]

    assert onset() == pytest.approx(532, abs=1)
    assert onset(energy_shift=6.0) == pytest.approx(538, abs=1)
    assert onset(dispersion_error=-0.1) == pytest.approx(550 + (532 - 550) / 0.9, abs=1.5)


def test_a_window_from_below_zero_holds_the_zero_loss_peak():
    conditions = replace(IDEAL, energy=(-20, 300, 0.5), relative_thickness=0.5)
    counts = simulate_eels(["SiC"], conditions=conditions, random_state=0)[0].astype(float)
    axis = conditions.axis()
    assert axis[counts.argmax()] == pytest.approx(0, abs=0.5)
    plasmon = (axis > 10) & (axis < 30)
    assert axis[plasmon][counts[plasmon].argmax()] == pytest.approx(20, abs=2)


def test_blur_correlates_the_noise():
    conditions = replace(
        IDEAL, energy=(400, 1400, 1.0), counts=1e6, spread=1.5, jump_ratio=1e-6, exponent=0.0
    )
    noise = np.diff(simulate_eels(["H"], conditions=conditions, random_state=0)[0].astype(float))
    plain = replace(conditions, spread=0.0)
    rough = np.diff(simulate_eels(["H"], conditions=plain, random_state=0)[0].astype(float))
    assert noise.std() < 0.4 * rough.std()
    assert rough.std() == pytest.approx(np.sqrt(2 * 1e6 / 1001), rel=0.1)


def test_single_precision_is_enough():
    """The simulation in single precision agrees with double precision to a thousandth."""
    table = values_of(counts=1e9)
    counts = render_eels(parse_formula("Fe2O3")[None], table, IDEAL, torch.Generator().manual_seed(0))
    assert counts.dtype == torch.float32
    axis = torch.from_numpy(IDEAL.axis())[None]
    fractions = parse_formula("Fe2O3")[None]
    exact = core_losses(fractions, axis, as_columns(table), torch.Generator().manual_seed(0))
    single = core_losses(
        fractions,
        axis.float(),
        {k: v.float() for k, v in as_columns(table).items()},
        torch.Generator().manual_seed(0),
    )
    np.testing.assert_allclose(single, exact, rtol=2e-3, atol=1e-3 * float(exact.max()))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("MgO", "must be a list of formulas"),
        (["MgOx"], "does not parse"),
        ([], "at least one"),
        (np.ones((2, 3)), "must be"),
        (np.zeros((1, 98)), "not all zero"),
        (np.full((1, 98), np.nan), "must be finite"),
        (-np.ones((1, 98)), "not negative"),
    ],
)
def test_wrong_compositions(wrong, message):
    with pytest.raises(ValueError, match=message):
        simulate_eels(wrong)


@pytest.mark.parametrize("rows", [[], [1], [-1], [0.5], [[0]]])
def test_wrong_rows(rows):
    with pytest.raises(ValueError, match="rows"):
        simulate_eels(["MgO"], rows=rows)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("energy", (500, 400, 1)),
        ("energy", (0, 100, 0)),
        ("energy", "all"),
        ("beam_energy", 0),
        ("collection_angle", -1),
        ("jump_ratio", 0),
        ("counts", 0),
        ("fine_structure", 2),
        ("relative_thickness", (1, 9)),
    ],
)
def test_wrong_conditions(field, value):
    with pytest.raises(ValueError, match=field):
        EELSConditions(**{field: value})
    with pytest.raises(ValueError, match="conditions must be"):
        simulate_eels(["MgO"], conditions="best")
