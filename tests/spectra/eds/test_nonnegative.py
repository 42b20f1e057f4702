"""Least squares with non-negative and free amplitudes, against direct solutions by SciPy."""

import numpy as np
import pytest
from scipy.optimize import lsq_linear, nnls

from xtalsk.spectra.eds._nonnegative import NonnegativeSystem

N_BINS = 200


def lines(rng, n, width):
    """Return Gaussians at random positions. Wide ones overlap."""
    places = rng.uniform(0, N_BINS, n)
    return np.exp(-0.5 * ((np.arange(N_BINS) - places[:, None]) / width) ** 2)


def problem(seed, n=30, width=3.0):
    rng = np.random.default_rng(seed)
    columns = lines(rng, n, width)
    truth = np.where(rng.uniform(size=n) < 0.5, rng.uniform(1, 100, n), 0)
    counts = truth @ columns + rng.normal(0, 2, N_BINS)
    return columns, counts, rng.uniform(0.5, 2, N_BINS)


def system(columns, counts, weights, free=None, precision=(), expected=(), **kwargs):
    free = np.empty((0, N_BINS)) if free is None else free
    precision, expected = np.asarray(precision, dtype=float), np.asarray(expected, dtype=float)
    both = np.concatenate([columns, free])
    return NonnegativeSystem(both, len(columns), precision, expected, counts.astype(float), weights, **kwargs)


def misfit(columns, counts, weights, x):
    return (weights * (counts - x @ columns) ** 2).sum()


@pytest.mark.parametrize("seed", range(10))
def test_well_conditioned_problems(seed):
    columns, counts, weights = problem(seed, n=15)
    expected = nnls((columns * np.sqrt(weights)).T, counts * np.sqrt(weights))[0]
    found = system(columns, counts, weights).solve()
    assert (found >= 0).all()
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=0.02)


@pytest.mark.parametrize("width", [10.0, 30.0])
@pytest.mark.parametrize("seed", range(5))
def test_near_parallel_columns(seed, width):
    """The fit is determined, its amplitudes are not."""
    columns, counts, weights = problem(seed, n=60, width=width)
    best = nnls((columns * np.sqrt(weights)).T, counts * np.sqrt(weights), maxiter=6000)[1] ** 2
    found = system(columns, counts, weights).solve()
    assert (found >= 0).all()
    assert best * (1 - 1e-9) <= misfit(columns, counts, weights, found) < 1.02 * best + 1e-6


def test_columns_that_are_equal_or_empty():
    columns, counts, weights = problem(0, n=10)
    columns[3], columns[4] = columns[2], 0
    found = system(columns, counts, weights).solve()
    assert np.isfinite(found).all()
    assert (found >= 0).all()
    best = nnls((columns * np.sqrt(weights)).T, counts * np.sqrt(weights))[1] ** 2
    assert misfit(columns, counts, weights, found) < 1.01 * best + 1e-6


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("width", [3.0, 10.0])
def test_free_columns_with_priors(seed, width):
    """A prior acts as one more measurement of an amplitude."""
    columns, counts, weights = problem(seed, n=20, width=width)
    rng = np.random.default_rng(seed + 100)
    free, expected = lines(rng, 4, 20.0), rng.normal(0, 30, 4)
    precision = rng.uniform(0.01, 10, 4)
    counts = counts - 20 * free[0]
    rows = np.vstack([np.vstack([columns, free]).T * np.sqrt(weights)[:, None], np.zeros((4, 24))])
    rows[N_BINS:, 20:] = np.diag(np.sqrt(precision))
    target = np.concatenate([counts * np.sqrt(weights), expected * np.sqrt(precision)])
    bounds = np.where(np.arange(24) < 20, 0, -np.inf)
    best = lsq_linear(rows, target, (bounds, np.inf), tol=1e-12, max_iter=1000)
    found = system(columns, counts, weights, free, precision, expected).solve()
    assert (found[:20] >= 0).all()
    assert (found[20:] < 0).any()
    assert ((rows @ found - target) ** 2).sum() < 2.002 * best.cost + 1e-6
    if width < 5:
        np.testing.assert_allclose(found, best.x, rtol=0.01, atol=0.1)


def test_a_strong_prior_holds_and_a_weak_one_does_not():
    columns, counts, weights = problem(0, n=5)
    free = np.ones((1, N_BINS))
    strong, weak = (
        system(columns, counts + 50, weights, free, [precision], [7.0]).solve()[-1]
        for precision in (1e9, 1e-9)
    )
    assert strong == pytest.approx(7, abs=1e-3)
    assert weak == pytest.approx(50, abs=2)


def test_some_columns_only():
    columns, counts, weights = problem(1, n=20)
    whole = system(columns, counts, weights)
    keep = np.arange(20) % 3 > 0
    found = whole.solve(keep)
    assert (found[~keep] == 0).all()
    np.testing.assert_allclose(
        found[keep], system(columns[keep], counts, weights).solve(), rtol=1e-5, atol=1e-4
    )


def test_bins_without_weight_do_not_count():
    columns, counts, weights = problem(2, n=10)
    weights[50:80] = 0
    spoilt = counts.copy()
    spoilt[50:80] = 1e6
    np.testing.assert_allclose(
        system(columns, spoilt, weights).solve(),
        system(columns, counts, weights).solve(),
        rtol=1e-6,
        atol=1e-6,
    )


def test_spreads_are_those_of_repeated_measurements():
    rng = np.random.default_rng(0)
    columns = lines(rng, 6, 8.0)
    free = np.ones((1, N_BINS))
    rates = np.full(6, 200.0) @ columns + 30
    measured = []
    for _ in range(300):
        linear = system(columns, rng.poisson(rates), 1 / rates, free, [1e-6], [0.0])
        measured.append(linear.solve())
    spreads = linear.spreads(measured[-1])
    np.testing.assert_allclose(np.std(measured, axis=0)[:6], spreads, rtol=0.2)
    np.testing.assert_allclose(linear.curve(measured[-1]), measured[-1][:6] @ columns + measured[-1][6])
    without = measured[-1].copy()
    without[2] = 0
    spreads = linear.spreads(without)
    assert np.isinf(spreads[2])
    assert np.isfinite(np.delete(spreads, 2)).all()


def test_penalty_on_differences():
    columns, counts, weights = problem(3, n=8)
    differences = np.diff(np.eye(8), axis=0)
    stiff = system(columns, counts, weights, penalty=1e9 * differences.T @ differences)
    assert np.ptp(stiff.solve()) < 0.05 * np.ptp(system(columns, counts, weights).solve())


@pytest.mark.parametrize("limit", [np.inf, 1.0])
def test_pruning_leaves_out_what_is_not_significant(limit):
    """It repeats what `solve` and `spreads` give one after the other."""
    columns, counts, weights = problem(4, n=25, width=6.0)
    free = np.ones((1, N_BINS))
    linear = system(columns, counts, weights, free, [1.0], [0.0])
    keep, significance, n, threshold = np.ones(25, bool), np.zeros(20), 20, 8.0
    amplitudes, spreads = linear.prune(linear.solve(), keep, significance, threshold, limit)

    plain, expected, expected_significance = (
        system(columns, counts, weights, free, [1.0], [0.0]),
        keep | True,
        {},
    )
    while True:
        solution = plain.solve(expected)
        current = (solution[:25] / plain.spreads(solution))[:n]
        used = np.flatnonzero(expected[:n])
        expected_significance |= dict(zip(used, current[used], strict=True))
        weak = used[current[used] < threshold]
        if not len(weak):
            break
        expected[weak[current[weak] < limit]] = False
        expected[weak[np.argmin(current[weak])]] = False
    assert 0 < expected[:n].sum() < n
    np.testing.assert_array_equal(keep, expected)
    np.testing.assert_allclose(amplitudes, solution, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(spreads, plain.spreads(solution), rtol=1e-6)
    np.testing.assert_allclose(significance, [expected_significance[k] for k in range(n)], rtol=1e-6)
