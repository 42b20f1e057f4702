"""Compiled loops of the analysis of X-ray spectra, against plain NumPy and against `xtalsk.physics`."""

import numpy as np
import pytest
import torch
from scipy.ndimage import uniform_filter1d
from scipy.sparse import csr_matrix
from scipy.special import ndtr

from xtalsk.physics import _emission_kernels
from xtalsk.physics._bremsstrahlung import continuum
from xtalsk.physics._depth import matrix_terms
from xtalsk.physics._xray_detector import SILICON_KA, escape_share, line_tail, line_width
from xtalsk.physics._xray_lines import FAMILIES, xray_lines
from xtalsk.physics._xray_yields import line_tables, line_yields
from xtalsk.spectra.eds import (
    _axis_kernels,
    _library_kernels,
    _nonnegative_kernels,
    _row_kernels,
    _search_kernels,
)
from xtalsk.spectra.eds._axis import BinnedSpectrum
from xtalsk.spectra.eds._bins import make_bins
from xtalsk.spectra.eds._candidates import largest_significance
from xtalsk.spectra.eds._columns import (
    N_GROUPS,
    detected_counts,
    deviation_columns,
    element_columns,
    group_counts,
    line_table,
    matrix_means,
    summed_lines,
    typical_columns,
    typical_mass,
)
from xtalsk.spectra.eds._constants import (
    BEND_ENERGIES,
    BLUR_CUT,
    BOUND_SIGMAS,
    CANDIDATE_BACKGROUND_ERROR,
    CANDIDATE_LINE_ERROR,
    K_SLACK,
    LEAST_GROUP_INFORMATION,
    LEAST_TAIL_REACH,
    LEAST_VARIANCE,
    LINE_ERROR,
    LINE_RATIO_ERRORS,
    LINE_REACH,
    NEAR_CUT,
    NEAR_ERROR,
    NEAR_WIDTHS,
    NOISE_VARIANCE,
    POSITION_ERROR,
    SLACK,
    SOFT_ENERGY,
    SOFT_FACTOR,
    SOFT_RATIO_FACTOR,
    SOFT_SLACK,
    SUM_ERROR,
    TAIL_LENGTHS,
    TAIL_REACH,
    WIDTH_ERROR,
)
from xtalsk.spectra.eds._estimate import Estimate
from xtalsk.spectra.eds._instrument import corrected_axis, instrument_columns, slope_columns
from xtalsk.spectra.eds._library import absorption, make_library
from xtalsk.spectra.eds._nonnegative import minimise
from xtalsk.spectra.eds._rows import dense_rows, multiply, rows_of
from xtalsk.spectra.eds._setting import Setting

BULK = Setting(beam_energy=15e3, takeoff_angle=35.0, thickness=np.inf, window="polymer", lowest=180.0)
FILM = Setting(beam_energy=200e3, takeoff_angle=20.0, thickness=5e-5, window="none", lowest=180.0)
BINS = make_bins(10.0, 20e3, 180.0)
ELEMENTS = np.array([6, 8, 14, 26, 38, 56, 79])


def specimen():
    mass = np.zeros(98)
    mass[ELEMENTS - 1] = [0.02, 0.3, 0.2, 0.18, 0.1, 0.1, 0.1]
    return mass


def tensors(setting):
    return (
        torch.tensor([v], dtype=torch.float64)
        for v in (setting.beam_energy, setting.takeoff_angle, setting.thickness)
    )


@pytest.mark.parametrize("setting", [BULK, FILM])
def test_lines_are_those_of_the_physics(setting):
    table, mass = line_table(BINS, setting), specimen()
    index = torch.from_numpy(table.index)
    yields = line_yields(torch.from_numpy(mass[None]), index, torch.zeros_like(index), *tensors(setting))
    expected = yields.numpy() * absorption(BINS, setting.window)[0][table.index]
    is_own = np.isin(xray_lines().z[table.index], ELEMENTS)
    found = detected_counts(table, ELEMENTS, mass, setting)
    assert (expected[is_own] > 0).all()
    np.testing.assert_allclose(found[is_own], expected[is_own], rtol=1e-9)
    assert (found[~is_own] == 0).all()


def test_lines_above_the_beam_energy_are_not_emitted():
    low = Setting(beam_energy=5e3, takeoff_angle=35.0, thickness=np.inf, window="none", lowest=180.0)
    table, out = line_table(BINS, BULK), np.ones(len(line_table(BINS, BULK).index))
    mass = specimen()
    _emission_kernels.emitted_counts(table, np.array([26]), mass, *low.numbers(), matrix_means(mass), out)
    own = slice(table.starts[26], table.starts[27])
    np.testing.assert_array_equal(out[own] == 0, table.edge[own] >= 5.0)
    assert (table.edge[own] >= 5.0).any()


@pytest.mark.parametrize("setting", [BULK, FILM])
def test_the_background_is_that_of_the_physics(setting):
    mass, attenuation = specimen(), absorption(BINS, setting.window)[2]
    expected = continuum(
        torch.from_numpy(mass[None]),
        torch.from_numpy(BINS.middles),
        torch.from_numpy(attenuation.T.copy()),
        *tensors(setting),
    )[0].numpy()
    found = np.empty(len(BINS))
    _emission_kernels.continuum(
        BINS.middles, attenuation, mass, *setting.numbers(), matrix_means(mass), found
    )
    np.testing.assert_allclose(found / found.max(), expected / expected.max(), rtol=1e-9, atol=1e-15)


def test_means_of_the_matrix_are_those_of_the_physics():
    expected = [float(term) for term in matrix_terms(torch.from_numpy(specimen()[None]))]
    np.testing.assert_allclose(matrix_means(specimen()), expected, rtol=1e-12)


def test_sparse_rows():
    rng = np.random.default_rng(0)
    dense = rng.uniform(size=(30, 50)) * (rng.uniform(size=(30, 50)) < 0.6)
    dense[[0, 7, 29]] = 0
    rows, vector, weights = rows_of(csr_matrix(dense)), rng.normal(size=50), rng.uniform(size=50)
    np.testing.assert_allclose(multiply(rows, vector), dense @ vector)
    np.testing.assert_array_equal(dense_rows(rows, np.array([3, 7, 29]), 50), dense[[3, 7, 29]])
    amount, information = np.empty((2, 30))
    _row_kernels.weigh(rows, vector, weights, amount, information)
    np.testing.assert_allclose(amount, dense @ (vector * weights))
    np.testing.assert_allclose(information, dense**2 @ weights)


def dense(rows, bins):
    return dense_rows(rows, np.arange(len(rows.starts) - 1), len(bins))


def test_normal_distribution_and_exponential_function():
    x = np.linspace(-12, 12, 4001)
    np.testing.assert_allclose([_library_kernels.normal_below(v) for v in x], ndtr(x), atol=2e-15)
    np.testing.assert_allclose([_library_kernels.exponential(v) for v in x], np.exp(x), rtol=1e-13)


@pytest.mark.parametrize("channel_width", [10.0, 120.0])
def test_profiles_of_lines(channel_width):
    bins, tables = make_bins(channel_width, 20e3, 200.0), line_tables()
    profiles = dense(make_library(bins, 140, "none").profiles, bins)

    def peak(energy):
        sigma = line_width(torch.tensor(energy, dtype=torch.float64), torch.tensor(140.0)).item()
        share, slope = line_tail(energy)
        x = (bins.edges - energy) / sigma
        tail = np.exp(np.minimum(0.5 / slope**2 + x / slope, 50)) * ndtr(-x - 1 / slope)
        low, high = energy - LINE_REACH * sigma * max(slope, LEAST_TAIL_REACH), energy + LINE_REACH * sigma
        is_near = (bins.edges[1:] > low) & (bins.edges[:-1] < high)
        return is_near * np.diff(ndtr(x) + share / (1 + share) * tail)

    escape = escape_share(tables["energy"], tables["attenuation"][13]).numpy()
    for line in range(0, len(profiles), 67):
        energy = tables["energy"][line].item()
        expected = (1 - escape[line]) * peak(energy)
        if escape[line] > 0:
            expected = expected + escape[line] * peak(energy - SILICON_KA)
        np.testing.assert_allclose(profiles[line], expected, rtol=1e-9, atol=1e-14)


def test_sums_of_lines():
    profiles, rng = make_library(BINS, 130, "none").profiles, np.random.default_rng(0)
    index, row = rng.choice(len(profiles.starts) - 1, 80, replace=False), np.sort(rng.integers(0, 30, 80))
    counts = rng.uniform(size=80)
    expected = np.zeros((32, len(BINS)))
    np.add.at(expected, row, counts[:, None] * dense(profiles, BINS)[index])
    rows = summed_lines(profiles, index, counts, row, 32, len(BINS))
    np.testing.assert_allclose(dense(rows, BINS), expected, atol=1e-15)
    assert (rows.values != 0).all()


def test_matrices_of_bins():
    distance = BINS.middles - BINS.middles[:, None]
    kernel = np.exp(-0.5 * (distance / BINS.sigma[:, None]) ** 2)
    blur = np.where(kernel > BLUR_CUT, kernel, 0) * BINS.widths / (kernel @ BINS.widths)[:, None]
    np.testing.assert_allclose(dense(BINS.blur, BINS), blur, atol=1e-14)
    near = np.exp(-0.5 * (distance / (NEAR_WIDTHS * BINS.sigma)) ** 2)
    height = BINS.widths[:, None] / (np.sqrt(2 * np.pi) * BINS.sigma)
    np.testing.assert_allclose(dense(BINS.near, BINS), np.where(near > NEAR_CUT, near, 0) * height)
    for length, rows in zip(TAIL_LENGTHS, BINS.tails, strict=True):
        is_within = (distance > 0) & (distance < TAIL_REACH * length)
        tail = np.where(is_within, np.exp(-distance.clip(0) / length), 0) * BINS.widths[:, None] / length
        np.testing.assert_allclose(dense(rows, BINS), tail - np.diag(tail.sum(0)), atol=1e-14)


def test_largest_significance_is_that_of_the_lowest_bound():
    fit = estimate()
    spectrum = BinnedSpectrum(fit.curve, BINS.middles, BULK, 130.0)
    spectrum.bins, spectrum.counts, spectrum.measured = BINS, fit.curve, np.arange(len(BINS)) % 10 > 0
    typical = typical_columns(BINS, 130, BULK)
    families, net = dense(typical.families, BINS), fit.curve - fit.background
    variance = spectrum.smooth().clip(1) + (CANDIDATE_LINE_ERROR * net) ** 2
    weights = spectrum.measured / (variance + (CANDIDATE_BACKGROUND_ERROR * fit.background) ** 2)
    information = (families**2 @ weights).reshape(-1, len(FAMILIES))
    amount = (families @ (weights * net)).reshape(information.shape)
    is_soft, is_visible = typical.is_soft.reshape(information.shape), information > 0
    safe = np.where(is_visible, information, 1)
    slack = np.where(is_soft, SOFT_SLACK, SLACK)
    slack[:, 0] = K_SLACK
    bounds = (amount / safe).clip(0) * slack + BOUND_SIGMAS / np.sqrt(safe)
    has_hard = (is_visible & ~is_soft).any(1, keepdims=True)
    bounds = np.where(is_visible & ~(is_soft & has_hard), bounds, np.inf).min(1)
    expected = np.where(np.isfinite(bounds), bounds, 0) * np.sqrt(information.max(1))
    found = largest_significance(spectrum, BULK, fit.background)
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    assert (found > 0).sum() > 50


@pytest.mark.parametrize("shift", [0.0, -37.0, 80.0])
def test_counts_in_bins(shift):
    rng = np.random.default_rng(0)
    energy = np.arange(-95.0, 19_000, 10) + rng.uniform(-2, 2, 1910)
    counts, found = rng.poisson(20, len(energy)).astype(float), np.empty(len(BINS))
    _axis_kernels.rebin(counts, energy, shift, BINS.edges, found)
    between = (energy[1:] + energy[:-1]) / 2
    ends = np.concatenate([[2 * energy[0] - between[0]], between, [2 * energy[-1] - between[-1]]]) + shift
    expected = np.diff(np.interp(BINS.edges, ends, np.concatenate([[0], np.cumsum(counts)])))
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_moving_average_and_lower_envelope():
    values = np.random.default_rng(0).uniform(0, 100, 60)
    found = np.empty(60)
    _axis_kernels.smooth(values, found)
    np.testing.assert_allclose(found, uniform_filter1d(values, 5))
    level, expected = np.array([values, values[::-1]]), values.copy()
    _axis_kernels.snip(level)
    for k in range(14, 0, -1):
        expected[k:-k] = np.minimum(expected[k:-k], (expected[: -2 * k] + expected[2 * k :]) / 2)
    np.testing.assert_allclose(level, [expected, expected[::-1]])


def estimate():
    lines = dense_rows(typical_columns(BINS, 130, BULK).elements, ELEMENTS, len(BINS)).sum(0)
    lines *= 1e5 / lines.sum()
    background = 500 * np.exp(-BINS.middles / 5000)
    return Estimate(lines + background, background, lines, 0.01 * lines[::-1])


def test_weights_hold_all_errors_of_the_model():
    fit = estimate()
    spectrum = BinnedSpectrum(fit.curve, BINS.middles, BULK, 130.0)
    spectrum.bins, spectrum.measured = BINS, np.arange(len(BINS)) % 10 > 0
    widths = BINS.widths
    # the mean of differences over unequal distances, as the neighbours give it
    padded = np.concatenate([fit.lines[:1] / widths[:1], fit.lines / widths, fit.lines[-1:] / widths[-1:]])
    slope = (padded[2:] - padded[:-2]) / BINS.distances
    padded = np.concatenate([slope[:1], slope, slope[-1:]])
    bend = (padded[2:] - padded[:-2]) / BINS.distances
    shift, broadening = -slope * widths, bend * widths * NOISE_VARIANCE / 2
    np.testing.assert_allclose(slope_columns(fit.lines, BINS), [shift, broadening], rtol=1e-9, atol=1e-9)
    near = dense_rows(BINS.near, np.arange(len(BINS)), len(BINS)) @ fit.lines
    variance = fit.curve.clip(LEAST_VARIANCE)
    for error, part in (
        (LINE_ERROR, fit.lines),
        (POSITION_ERROR, shift),
        (WIDTH_ERROR, broadening),
        (NEAR_ERROR, near),
        (BINS.background_error, fit.curve - fit.lines),
        (SUM_ERROR, fit.sums),
    ):
        variance = variance + (error * part) ** 2
    np.testing.assert_allclose(fit.weights(spectrum), spectrum.measured / variance, rtol=1e-9)


def test_instrument_columns():
    fit = estimate()
    columns = instrument_columns(fit.lines, BINS)
    shift, broadening = slope_columns(fit.lines, BINS)
    np.testing.assert_allclose(columns[:8], shift * BINS.axis_errors)
    np.testing.assert_allclose(columns[8], broadening)
    for column, tail in zip(columns[9:11], BINS.tails, strict=True):
        np.testing.assert_allclose(column, dense_rows(tail, np.arange(len(BINS)), len(BINS)) @ fit.lines)
    shelf = BINS.widths * (fit.lines / BINS.middles)[::-1].cumsum()[::-1]
    np.testing.assert_allclose(columns[11], shelf)


@pytest.mark.parametrize("n_xrays", [1, 2, 3])
def test_correction_of_the_axis(n_xrays):
    energy = n_xrays * np.concatenate([[-100.0], BEND_ENERGIES, np.linspace(9e3, 2e4, 5)])
    energy = np.sort(np.concatenate([energy, energy[1:] - 7]))
    amplitudes = np.random.default_rng(0).normal(size=8) * [10, 0.01, *[3] * 6]
    own = energy / n_xrays
    shift = amplitudes[0] + amplitudes[1] * own + np.interp(own, BEND_ENERGIES, amplitudes[2:])
    np.testing.assert_allclose(corrected_axis(energy, amplitudes, n_xrays), energy + n_xrays * shift)


def test_columns_of_elements_and_of_groups():
    library, weights = make_library(BINS, 130, "polymer"), 1 / estimate().curve
    columns, line_counts = element_columns(library, BULK, ELEMENTS, typical_mass())
    typical = typical_columns(BINS, 130, BULK)
    np.testing.assert_allclose(columns, dense_rows(typical.elements, ELEMENTS, len(BINS)), rtol=1e-9)
    rows = (ELEMENTS[:, None] * N_GROUPS + np.arange(N_GROUPS)).ravel()
    groups = dense_rows(typical.groups, rows, len(BINS))
    counts = group_counts(library, BULK, ELEMENTS, line_counts)
    np.testing.assert_allclose(counts.ravel(), groups.sum(1), rtol=1e-9)

    amplitudes = np.array([1e2, 1e3, 1e5, 0, 1e5, 3e4, 1e5]) / columns.sum(1).max()
    energy = groups @ BINS.middles / groups.sum(1).clip(1e-300)
    errors = np.tile(LINE_RATIO_ERRORS, len(ELEMENTS)) * np.where(energy < SOFT_ENERGY, SOFT_RATIO_FACTOR, 1)
    errors *= np.repeat(amplitudes, N_GROUPS)
    is_visible = (errors**2 * (groups**2 @ weights) > LEAST_GROUP_INFORMATION).reshape(-1, N_GROUPS)
    for visible, error in zip(is_visible, errors.reshape(-1, N_GROUPS), strict=True):
        if visible.any():
            visible[np.where(visible, error, np.inf).argmin()] = False
    is_visible = is_visible.ravel()
    assert is_visible.sum() > 3
    found, precision, places = deviation_columns(library, BULK, ELEMENTS, line_counts, amplitudes, weights)
    np.testing.assert_array_equal(places, rows[is_visible])
    np.testing.assert_allclose(found, groups[is_visible], rtol=1e-9, atol=1e-12 * found.max())
    np.testing.assert_allclose(precision, errors[is_visible] ** -2)


@pytest.mark.parametrize("seed", range(20))
def test_pivoting_finds_the_solution_from_any_start(seed):
    rng = np.random.default_rng(seed)
    n = rng.integers(1, 40)
    places = rng.uniform(0, 100, n)
    columns = np.exp(-0.5 * ((np.arange(100) - places[:, None]) / rng.choice([2.0, 10.0])) ** 2)
    gram = columns @ columns.T + 1e-3 * np.eye(n)
    target = columns @ rng.normal(1, 3, 100)
    usable = rng.uniform(size=n) < 0.8
    kept = np.flatnonzero(usable)
    expected, found = np.zeros(n), np.empty(n)
    if len(kept):
        expected[kept] = minimise(gram[np.ix_(kept, kept)], target[kept])
    for passive in (np.ones(n, bool), np.zeros(n, bool), rng.uniform(size=n) < 0.5):
        assert _nonnegative_kernels.minimise(gram, target, usable, passive, 1e-13, found)
        np.testing.assert_allclose(found, expected, atol=1e-9 * max(expected.max(), 1))
        np.testing.assert_array_equal(passive, found > 0)


def test_pivoting_reports_a_matrix_that_is_not_positive_definite():
    gram, passive, out = np.array([[1.0, 2.0], [2.0, 1.0]]), np.ones(2, bool), np.empty(2)
    assert not _nonnegative_kernels.minimise(gram, np.ones(2), np.ones(2, bool), passive, 1e-13, out)


def test_matching_pursuit_of_elements():
    rng = np.random.default_rng(0)
    n, n_shifts, n_bins, n_soft = 12, 5, 80, 20
    hard, soft = rng.uniform(size=(n, n_bins)), rng.uniform(size=(n, n_soft))
    hard[:3], soft[3:6] = 0, 0
    weights, net = rng.uniform(size=(2, n_shifts, n_bins))
    costs = rng.uniform(0, 30, (n_shifts, n))
    costs[2] = 1e6
    taken = rng.uniform(size=costs.shape) < 0.2
    taken[2] = False
    columns = np.vstack([hard, np.pad(soft, ((0, 0), (0, n_bins - n_soft)))])
    target, information = (weights * net) @ columns.T, weights @ (columns**2).T

    amplitudes = (target / np.where(information > 0, information, np.inf)).clip(0)
    (a, b), (t_a, t_b), (g_a, g_b) = (np.split(x, 2, axis=1) for x in (amplitudes, target, information))
    b = np.where(g_a > 0, np.clip(b, a / SOFT_FACTOR, a * SOFT_FACTOR), b)
    explained = a * (2 * t_a - a * g_a) + b * (2 * t_b - b * g_b) - np.where(taken, 0, costs)
    best, shifts = explained.argmax(1), np.arange(n_shifts)
    is_better = explained[shifts, best] > 0
    expected = net - is_better[:, None] * (
        a[shifts, best, None] * columns[best] + b[shifts, best, None] * columns[n + best]
    )
    expected_taken = taken.copy()
    expected_taken[shifts, best] |= is_better

    weighted, scores = weights * net, np.zeros(n_shifts)
    n_better = _search_kernels.take_best(
        target, information, costs, hard, soft, weights, weighted, scores, taken
    )
    assert n_better == is_better.sum() < n_shifts
    np.testing.assert_allclose(weighted, weights * expected, atol=1e-12)
    np.testing.assert_allclose(scores, np.where(is_better, explained[shifts, best], 0))
    np.testing.assert_array_equal(taken, expected_taken)
