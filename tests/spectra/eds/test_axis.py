"""Faulty channels, low-energy cut-offs and bins of X-ray spectra."""

import numpy as np
import pytest

from xtalsk.physics._constants import FWHM_PER_SIGMA
from xtalsk.spectra.eds._axis import BinnedSpectrum, faulty_channels, first_counted
from xtalsk.spectra.eds._setting import Setting

ENERGY = np.arange(5.0, 20475, 10)
SETTING = Setting(beam_energy=15e3, takeoff_angle=35.0, thickness=np.inf, window="polymer", lowest=180.0)


def smooth(level=1000.0, resolution=130.0, energy=ENERGY):
    """Return expected counts: bremsstrahlung and the line of silicon."""
    line = 30 * np.exp(-0.5 * ((energy - 1740) / (0.6 * resolution / FWHM_PER_SIGMA)) ** 2)
    return level * (np.exp(-energy / 5000) + line)


@pytest.mark.parametrize("level", [0.01, 1.0, 30.0, 1e3, 1e6])
def test_no_channel_of_a_good_spectrum_is_faulty(level):
    for seed in range(5):
        assert not faulty_channels(np.random.default_rng(seed).poisson(smooth(level))).any()
    narrow = np.random.default_rng(0).poisson(smooth(level, 60.0, np.arange(5.0, 20475, 20)))
    assert not faulty_channels(narrow).any()


@pytest.mark.parametrize("channel", [0, 1, 174, 500, 2045, 2046])
def test_single_channels_that_are_faulty(channel):
    counts = np.random.default_rng(0).poisson(smooth(1e4)).astype(float)
    for value in (0, 65535e3):
        counts[channel] = value
        assert np.flatnonzero(faulty_channels(counts)).tolist() == [channel]
    assert not faulty_channels(np.zeros(100)).any()


def test_missing_channels_are_not_faulty_neighbours():
    counts = np.random.default_rng(0).poisson(smooth(1e3)).astype(float)
    counts[100:110] = np.nan
    faulty = faulty_channels(counts)
    assert not faulty[~np.isnan(counts)][np.r_[0:97, 103:2000]].any()


@pytest.mark.parametrize("cut", [200.0, 350.0, 550.0, 700.0, 1000.0])
def test_a_cut_off_is_found(cut):
    energy = ENERGY
    counts = np.random.default_rng(0).poisson(smooth(1e3) * (energy > cut))
    assert cut < first_counted(counts, energy, 180.0) <= cut + 50


@pytest.mark.parametrize("level", [0.001, 0.1, 10.0, 1e4])
def test_no_cut_off_where_there_is_none(level):
    counts = np.random.default_rng(0).poisson(smooth(level))
    assert first_counted(counts, ENERGY, 180.0) == 180.0
    assert first_counted(0 * counts, ENERGY, 180.0) == 180.0


@pytest.mark.parametrize("step", [5.0, 10.0, 20.0])
def test_bins_keep_all_counts(step):
    energy = np.arange(-470.0, 20000, step)
    counts = np.random.default_rng(0).poisson(smooth(100.0, energy=energy)).astype(float)
    spectrum = BinnedSpectrum(counts, energy, SETTING, 130.0)
    low, high = spectrum.bins.edges[0], spectrum.bins.edges[-1]
    assert (low, spectrum.measured.all()) == (180.0, True)
    inside = counts[(energy > low + step) & (energy < high - step)].sum()
    assert spectrum.counts.sum() == pytest.approx(inside, rel=0.02)
    widths = np.diff(spectrum.bins.edges)
    assert (widths >= step - 0.01).all()
    assert widths[-1] > widths[0]


def test_bins_of_missing_channels_are_not_measured():
    counts = smooth()
    counts[300:310] = np.nan
    counts[800] = 0
    spectrum = BinnedSpectrum(counts, ENERGY, SETTING, 130.0)
    middles = spectrum.bins.middles
    gap = (middles > 3000) & (middles < 3100)
    assert not spectrum.measured[gap].any()
    dead = np.abs(middles - 8005).argmin()  # its neighbours replace a single channel
    assert spectrum.measured[dead]
    np.testing.assert_allclose(spectrum.counts[dead], spectrum.counts[[dead - 1, dead + 1]].mean(), rtol=0.2)
    assert spectrum.measured.mean() > 0.97
    assert np.isfinite(spectrum.counts).all()
