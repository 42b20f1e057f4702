"""The compiled fit of pixels against plain NumPy and SciPy."""

import numpy as np
import pytest
from scipy.optimize import lsq_linear, nnls

from xtalsk.spectra.eds._nonnegative import minimise
from xtalsk.spectra.maps import _pixel_kernels as kernels
from xtalsk.spectra.maps._binning import binned, binning_of
from xtalsk.spectra.maps._excess import excess_groups
from xtalsk.spectra.maps._regions import Bands, Regions

N_BINS, PRIOR, READOUT = 120, 10.0, 0.02


def shapes(rng, n_lines=5):
    """Peaks and a background with one count each, (n_lines + 1, n_bins)."""
    place = np.arange(N_BINS)
    lines = np.exp(-0.5 * ((place - rng.uniform(5, 110, n_lines)[:, None]) / rng.uniform(1.5, 4)) ** 2)
    columns = np.vstack([lines, np.exp(-place / 50)])
    return columns / columns.sum(1, keepdims=True)


def fit(columns, mean, values, n_free=0, gain=1.0, passes=2):
    """Fit of all pixels by the compiled loop: fractions, uncertainties, and excess."""
    n, p = len(values), len(columns) - n_free
    atoms = np.where(np.arange(p) < len(columns) - max(n_free, 1), np.arange(p) + 1.0, 0)
    n_elements = int((atoms > 0).sum())
    binning = binning_of(np.eye(N_BINS))
    noise, numbers = (PRIOR * gain, gain, np.full(N_BINS, READOUT)), (passes, 1e-12, 1e-13)
    fractions, uncertainty = np.full((2, n, n_elements), np.nan, np.float32)
    largest, place = np.zeros(n), np.zeros(n, int)
    kernels.fit_pixels(
        values.astype(np.float32), np.zeros(n, int), tuple(binning), columns[None], mean[None], atoms[None],
        n_free, noise, numbers, (3, 0.05), fractions, uncertainty, largest, place,
    )  # fmt: skip
    return fractions, uncertainty, largest, place, atoms


def plain_fit(columns, mean, values, gain=1.0, free=0, passes=2):
    """Amplitudes and variance of the bins of one pixel by SciPy."""
    total, amplitudes = values.sum(), np.zeros(len(columns))
    for k in range(passes):
        share = 0.0 if k == 0 else total / (total + PRIOR * gain)
        curve = share * amplitudes @ columns + (1 - share) * total * mean
        variance = gain * np.maximum(curve, 1e-3 * total * mean) + READOUT
        root = variance**-0.5
        if free:
            low = np.r_[np.zeros(len(columns) - free), np.full(free, -np.inf)]
            options = {"bounds": (low, np.inf), "method": "bvls", "tol": 1e-14, "max_iter": 500}
            amplitudes = lsq_linear((columns * root).T, values * root, **options).x
        else:
            amplitudes = nnls((columns * root).T, values * root)[0]
    return amplitudes, variance


@pytest.mark.parametrize("gain", [1.0, 2.5])
def test_fit_is_that_of_scipy(gain):
    rng = np.random.default_rng(0)
    columns = shapes(rng)
    rate = np.array([20.0, 5, 0, 0, 8, 30]) @ columns
    values = rng.poisson(rate, (60, N_BINS)) * gain
    fractions, uncertainty, *_, atoms = fit(columns, rate / rate.sum(), values, gain=gain)
    for row, own, error in zip(values, fractions, uncertainty, strict=True):
        amplitudes, variance = plain_fit(columns, rate / rate.sum(), row, gain)
        total = atoms @ amplitudes
        expected = (atoms * amplitudes / total)[:5]
        np.testing.assert_allclose(own, expected, atol=1e-6)
        active = amplitudes > 0
        covariance = np.zeros((6, 6))
        covariance[np.ix_(active, active)] = np.linalg.inv((columns[active] / variance) @ columns[active].T)
        slopes = (np.eye(6)[:5] - expected[:, None]) * atoms / total
        spare = np.zeros(6)  # variances of amplitudes at 0, if each alone were added
        for i in np.flatnonzero(~active):
            chosen = np.append(np.flatnonzero(active), i)
            spare[i] = np.linalg.inv((columns[chosen] / variance) @ columns[chosen].T)[-1, -1]
        expected_error = np.diag(slopes @ covariance @ slopes.T) + (1 - 2 / np.pi) * slopes**2 @ spare
        expected_error = np.where(active[:5], expected_error, (atoms[:5] / total) ** 2 * spare[:5])
        np.testing.assert_allclose(error**2, expected_error, rtol=2e-4)


def test_columns_of_any_sign():
    rng = np.random.default_rng(1)
    columns = np.vstack([shapes(rng), np.linspace(-0.01, 0.01, N_BINS)])
    rate = np.array([200.0, 50, 0, 0, 80, 900, -300]) @ columns
    values = rng.poisson(rate.clip(0), (30, N_BINS))
    mean = rate.clip(0) / rate.clip(0).sum()
    fractions, *_, atoms = fit(columns, mean, values, n_free=2)
    for row, own in zip(values, fractions, strict=True):
        amplitudes, _ = plain_fit(columns, mean, row, free=2)
        expected = atoms * amplitudes[:5]
        np.testing.assert_allclose(own, expected / expected.sum(), atol=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_descent_finds_the_same_minimum(seed):
    rng = np.random.default_rng(seed)
    design = rng.normal(size=(8, 12))
    gram, target = design @ design.T + np.eye(8), rng.normal(size=8)
    x = np.zeros(8)
    kernels.descend(gram, target, 1e-13, x)
    np.testing.assert_allclose(x, minimise(gram, target), atol=1e-9)


def test_channels_share_their_counts():
    matrix = np.array([[1, 0.25, 0, 0], [0, 0.75, 0, 1.0]])
    counts = np.array([[4, 8, 100, 2], [0, 0, 0, 0]])
    np.testing.assert_allclose(binned(binning_of(matrix), counts, 2), counts @ matrix.T)


def test_excess_over_the_fit():
    rng = np.random.default_rng(2)
    columns = shapes(rng, 1)
    rate = np.array([30.0, 60]) @ columns
    values = rng.poisson(rate, (500, N_BINS))
    values[7, 90:94] += 4
    _, _, largest, place, _ = fit(columns, rate / rate.sum(), values)
    assert largest.argmax() == 7
    assert abs(place[7] - 91.5) < 4
    assert largest[7] > 6
    assert np.quantile(largest, 0.99) < 4.5


def test_groups_of_excess_are_no_accident():
    usable = np.ones((100, 100), bool)
    largest, place = np.full((100, 100), 2.0), np.zeros((100, 100), int)
    largest[0, :2], place[0, :2] = 6.0, (10, 80)
    assert excess_groups(largest, place, usable, N_BINS) == []
    largest[1, :5], place[1, :5] = 6.0, (50, 51, 50, 49, 52)
    (group,) = excess_groups(largest, place, usable, N_BINS)
    np.testing.assert_array_equal(np.argwhere(group), [[1, k] for k in range(5)])


def test_bands_hold_enough_counts():
    total = np.r_[np.zeros(50), np.full(400, 10.0), np.nan, np.full(400, 0.1)]
    bands = Bands(total, np.arange(851) > 10)
    assert bands.share.min() >= 0.004
    assert bands.share.sum() == pytest.approx(1)
    counts = np.ones((2, 851), np.uint8)
    np.testing.assert_allclose(bands.counts(counts).sum(1), 851 - 12)


def test_noise_of_few_counts_is_one_region():
    rng = np.random.default_rng(0)
    share = rng.dirichlet(np.ones(60))
    counts = rng.poisson(share * 30, (4000, 60))
    assert len(Regions(counts, share, None, None, np.random.RandomState(0))) == 1


def test_regions_follow_phases_and_not_their_counts():
    rng = np.random.default_rng(0)
    shares = rng.dirichlet(np.ones(60), 3)
    phase = rng.choice(3, 4000, p=[0.6, 0.39, 0.01])
    counts = rng.poisson(shares[phase] * rng.lognormal(4, 0.5, (4000, 1)))
    share = counts.sum(0) / counts.sum()
    regions = Regions(counts, share, None, None, np.random.RandomState(0))
    labels = regions.labels(counts)
    assert len(regions) == 3
    for k in range(3):
        assert np.bincount(labels[phase == k]).max() > 0.97 * (phase == k).sum()
