"""The zero-loss peak in the window, wherever the axis has it."""

from dataclasses import replace

import numpy as np
import pytest

from xtalsk.io import Spectrum
from xtalsk.simulation import EELSConditions, simulate_eels
from xtalsk.spectra import EELSComposition
from xtalsk.spectra.eels._zero_loss import zero_loss

WINDOW = replace(EELSConditions.ideal(), energy=(-30, 1500, 0.5), counts=1e9, jump_ratio=1.0)
BEAM = {"beam_energy": 200.0, "convergence_angle": 5.0, "collection_angle": 20.0}


def losses(formula, **changes):
    conditions = replace(WINDOW, **changes)
    counts = simulate_eels([formula], conditions=conditions, random_state=0)[0].astype(float)
    return conditions.axis(), counts


@pytest.mark.parametrize("shift", [-60.0, -20.0, 0.0, 13.0, 16.5, 20.0, 45.0, 90.0, 500.0])
def test_the_peak_sets_the_zero_wherever_it_is(shift):
    energy, counts = losses("MgO", relative_thickness=0.5)
    analysis = EELSComposition().analyse(Spectrum(counts, energy + shift, **BEAM))
    assert set(analysis.elements) == {"Mg", "O"}
    assert analysis.fractions[[11, 7]] == pytest.approx([0.5, 0.5], abs=0.15)
    assert analysis.zero_loss == pytest.approx(shift, abs=0.3)
    onsets = {name: onset for name, onset, _ in analysis.edges}
    assert onsets["O K"] == pytest.approx(532 + shift, abs=3.5)
    assert onsets["Mg K"] == pytest.approx(1305 + shift, abs=3.5)


@pytest.mark.parametrize(("thickness", "resolution"), [(0.2, 0.6), (1.0, 1.0), (1.0, 2.0), (2.0, 1.0)])
def test_peaks_of_thin_and_thick_films(thickness, resolution):
    energy, counts = losses("Fe2O3", relative_thickness=thickness, resolution=resolution)
    for shift in (0.0, 20.0, 60.0):
        assert zero_loss(energy + shift, counts) == pytest.approx(shift, abs=0.3)


def test_a_window_that_begins_just_below_the_peak():
    energy, counts = losses("MgO", relative_thickness=0.5)
    part = energy > -9
    assert zero_loss(energy[part] + 25, counts[part]) == pytest.approx(25, abs=0.3)


def test_core_losses_have_no_zero_loss_peak():
    energy = np.arange(100.0, 1100.0)
    falling = 1e6 * (energy / 100) ** -3.0
    spike = falling.copy()
    spike[400] *= 200
    pair = falling.copy()
    pair[400:402] *= 100
    for counts in (falling, spike, pair, falling[::-1], np.zeros(1000), np.full(1000, np.nan), np.ones(1000)):
        assert zero_loss(energy, counts) is None
    steep = 1e6 * (np.arange(40.0, 400.0) / 40) ** -5.0
    assert zero_loss(np.arange(40.0, 400.0), steep) is None


def test_white_lines_without_background_are_no_zero_loss_peak():
    energy = np.arange(300.0, 700.0, 0.25)
    lines = sum(h / (1 + ((energy - e) / 0.5) ** 2) for e, h in ((346, 8.0), (349.5, 10.0)))  # calcium L23
    counts = 1e4 * (lines + (energy > 346) * (346 / energy) ** 3)
    assert zero_loss(energy, counts) is None


def test_an_xray_spectrum_with_a_strobe_peak_is_refused():
    energy = np.arange(-200.0, 20_000.0, 10.0)
    counts = 1e5 * np.exp(-0.5 * (energy / 25) ** 2) + 1e3 * np.exp(-0.5 * ((energy - 1740) / 35) ** 2) + 10
    with pytest.raises(ValueError, match="X-rays"):
        EELSComposition().fit([None]).transform([Spectrum(counts, energy, beam_energy=200)])
