"""Compiled loops of the analysis of energy-loss spectra against the same with NumPy, SciPy and torch."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.optimize import nnls
from scipy.signal import savgol_filter
from scipy.stats import norm

from xtalsk.physics._eels_cross_sections import cross_sections
from xtalsk.physics._eels_edges import ABOVE, edge_table
from xtalsk.physics._eels_shapes import family_heights, interpolate_curves
from xtalsk.spectra.eels._bin_kernels import (
    nonnegative_solution,
    segment_medians,
    smallest_step,
    third_differences,
)
from xtalsk.spectra.eels._bins import _smooth
from xtalsk.spectra.eels._constants import SHIFTS
from xtalsk.spectra.eels._edge_kernels import best_poses, element_gains, expected_shifts
from xtalsk.spectra.eels._product_kernels import occupied_bins, products_with_poses, weighted_squares
from xtalsk.spectra.eels._templates import make_templates, strengths
from xtalsk.utils._formula import SYMBOLS


def test_best_poses_have_the_largest_gain_or_the_expected_shift():
    """The compiled loop against the same with arrays."""
    rng = np.random.default_rng(0)
    shifts, n, chi2, n_bins = np.array([-4.0, 0.0, 4.0]), 60, 400.0, 300.0
    has_lines = rng.random(n) < 0.5
    starts = np.concatenate([[0], np.cumsum(np.where(has_lines, 6, 3))])
    of = np.repeat(np.arange(n), np.diff(starts))
    place = np.arange(len(of)) - starts[of]
    lines_only, shift = place > 2, place % 3
    amplitude, precision = rng.normal(size=len(of)) * 8, rng.uniform(0.2, 1, len(of))
    centre, spread = rng.normal(size=n), rng.uniform(1, 5, n)
    best, gain = best_poses(
        starts, shift, shifts, lines_only, amplitude, precision, chi2, n_bins, centre, spread, (2.0, 2.0, 9.0)
    )
    square, distance = amplitude**2 * precision, np.abs(shifts[shift] - centre[of]) / spread[of]
    fall = np.sign(amplitude) * n_bins * np.log1p(square / np.maximum(chi2 - square, n_bins))
    gains = np.where(distance > 2, -np.inf, fall - distance**2 - 2 * lines_only)
    parts = [slice(*ends) for ends in pairwise(starts)]
    strongest = np.array([part.start + gains[part].argmax() for part in parts])
    usual = np.where(lines_only, np.inf, distance)
    expected = np.array([part.start + usual[part].argmin() for part in parts])
    wanted = np.where(gains[strongest] > 9, strongest, expected)
    assert 10 < (gains[strongest] > 9).sum() < 50
    np.testing.assert_array_equal(best, wanted)
    np.testing.assert_allclose(gain, gains[wanted], rtol=1e-12)


def test_medians_steps_and_differences_are_those_of_numpy():
    values = np.random.default_rng(0).normal(size=101)
    expected = [np.median(part) for part in np.array_split(values, 7)]
    np.testing.assert_allclose(segment_medians(values, 7), expected)
    for window in (9, 15):
        np.testing.assert_allclose(_smooth(values, window), savgol_filter(values, window, 3), atol=1e-12)
    ordered = np.sort(np.round(values, 1))
    assert smallest_step(ordered) == np.diff(np.unique(ordered)).min()
    height, squares = third_differences(values, 4)
    means = values[:100].reshape(25, 4).mean(1)
    np.testing.assert_allclose(height, np.convolve(means, np.full(4, 0.25), mode="valid"))
    np.testing.assert_array_equal(squares, np.diff(means, 3) ** 2 / 20 * 4)  # zeros stay zeros


@pytest.mark.parametrize("seed", range(6))
def test_nonnegative_least_squares_are_those_of_scipy(seed):
    """Columns like those of the envelope, one of them twice; the search begins at zero or elsewhere."""
    rng = np.random.default_rng(seed)
    columns = np.exp(-np.linspace(0, 1, 40) * np.geomspace(0.1, 20, 9)[:, None])
    columns[4] = columns[3]
    data = rng.normal(size=9) @ columns + 0.1 * rng.normal(size=40)
    start = np.abs(rng.normal(size=9)) if seed % 2 else np.zeros(9)
    solution = nonnegative_solution(columns @ columns.T, columns @ data, start)
    assert (solution >= 0).all()
    np.testing.assert_allclose(solution @ columns, nnls(columns.T, data)[0] @ columns, atol=1e-8)


def test_products_leave_out_zeros():
    """The compiled products against matrix products, for odd numbers of poses and columns."""
    rng = np.random.default_rng(0)
    poses, columns, weight = rng.normal(size=(7, 50)), rng.normal(size=(6, 50)), rng.random(50)
    first = np.array([0, 3, 3, 10, 20, 49, 30])
    for pose, start in zip(poses, first, strict=True):
        pose[:start] = 0
    columns[0, :20], columns[1, 30:], columns[2] = 0, 0, 0
    columns[3, :10], columns[3, 12:] = 0, 0
    starts, stops = occupied_bins(columns)
    assert starts[:4].tolist() == [20, 0, 0, 10]
    assert stops[:4].tolist() == [50, 30, 0, 12]
    for k in (1, 4, 6):
        expected = columns[:k] @ poses.T
        np.testing.assert_allclose(products_with_poses(poses, first, columns[:k]), expected, atol=1e-12)
    np.testing.assert_allclose(weighted_squares(poses, first, weight), poses**2 @ weight)


def test_gains_of_elements_add_up_over_their_families():
    """The compiled loop against sums over the families of each element."""
    rng = np.random.default_rng(0)
    z = rng.integers(3, 15, 40)
    members = np.argsort(z, kind="stable")
    groups = np.append(np.unique(z[members], return_index=True)[1], len(z))
    amplitude, precision = rng.normal(size=40) * 4 + 3, rng.uniform(0.5, 4, 40)
    significance, uncertainty = amplitude * np.sqrt(precision), rng.uniform(0.1, 0.8, 40)
    gain = np.sign(significance) * significance**2
    gains, leads = element_gains(
        groups, members, gain, significance, amplitude, precision, uncertainty, (20.0, 4.0, 4.0, 0.3)
    )
    assert 2 < np.count_nonzero(gains) < len(gains)
    for number, found, lead in zip(np.unique(z), gains, leads, strict=True):
        rows = np.flatnonzero(z == number)
        best, others = rows[gain[rows].argmax()], rows[rows != rows[gain[rows].argmax()]]
        share = 0.3 * (1 - uncertainty[others]) / (1 - uncertainty[best])
        expected = share * amplitude[best] * np.sqrt(precision[others])
        missing = np.maximum(expected - np.maximum(significance[others], 0), 0)
        total = gain[best] + gain[others][gain[others] > 4].sum() - (missing**2).sum()
        is_found = gain[best] >= 20 and significance[best] >= 4 and total > 20
        assert lead == best
        assert found == pytest.approx(total if is_found else 0)


def test_shifts_to_expect_are_weighted_means():
    onset, known, shift = np.array([200.0, 500.0, 900.0]), np.array([210.0, 880.0]), np.array([4.0, -2.0])
    centre, spread = expected_shifts(onset, known, shift, (1.0, 1.5), 3.0, 300.0)
    weights = 1 / (9 * (1 + ((onset[:, None] - known) / 300) ** 2))
    total = weights.sum(1) + 1.5**-2
    np.testing.assert_allclose(centre, (weights @ shift + 1.5**-2) / total)
    np.testing.assert_allclose(spread, np.sqrt(1 / total + 4.5))
    centre, spread = expected_shifts(onset, known[:0], shift[:0], (1.0, 1.5), 3.0, 300.0)
    np.testing.assert_allclose([centre, spread], [np.ones(3), np.full(3, np.sqrt(1.5**2 + 4.5))])


@pytest.mark.parametrize(
    "beam", [(200.0, 10.0, 20.0), (80.0, 20.0, 5.0), (60.0, 1e-3, 2.0), (300.0, 30.0, 90.0)]
)
def test_strengths_are_ratios_of_cross_sections(beam):
    """The compiled integral against the tensors of the simulation."""
    energy = np.arange(60.0, 2000.0, 4.0)
    t = make_templates(energy, np.full(energy.size, 4.0), 1.0)
    curves = []
    for values in (beam, (200.0, 10.0, 20.0)):
        tensors = (torch.full((len(t),), value, dtype=torch.float64) for value in values)
        curves.append(cross_sections(torch.as_tensor(t.row), *tensors).numpy())
    place = np.searchsorted(ABOVE, 25.0)
    expected = curves[0][:, place] / curves[1][:, place]
    np.testing.assert_allclose(strengths(t, *beam), expected, rtol=1e-10)


def test_templates_are_interpolated_cross_sections_with_blurred_onsets():
    """The compiled loop against the same with arrays, for an edge with a white line and one without."""
    energy, width, n = np.arange(250.0, 1000.0, 1.5), np.full(500, 1.5), len(SHIFTS)
    t, table = make_templates(energy, width, 1.0), edge_table()
    blur = np.hypot(1.0 / 2.3548, width / 3.46)

    def edge(curve, above, sigma):
        values = interpolate_curves(curve.expand(n, -1), torch.from_numpy(np.maximum(above, 0))).numpy()
        return values * norm.cdf(above / sigma)

    for symbol, family in (("O", "K"), ("Ti", "L23")):
        place = np.flatnonzero((t.z == SYMBOLS.index(symbol) + 1) & (t.family == family))[0]
        rows = np.flatnonzero((table.z == t.z[place]) & (table.family == family))
        beam = (torch.full((len(rows),), value, dtype=torch.float64) for value in (200.0, 10.0, 20.0))
        curves = cross_sections(torch.as_tensor(rows), *beam)
        area = table.line_area[rows] * family_heights(curves, torch.as_tensor(rows)).numpy()
        sharp, broad, replica, smooth = np.zeros((4, n, len(energy)))
        for row, curve, size in zip(rows, curves, area, strict=True):
            above, wide = energy - table.onset[row] - SHIFTS[:, None], np.hypot(blur, 6.0)
            smooth += edge(curve, above, blur)
            replica += edge(curve, above - 20, wide) + size * norm.pdf(above - 21.5, scale=wide)
            half = np.hypot(1.0, 1.18 * blur)
            sharp += size * (above > -8) * half / np.pi / ((above - 1.5) ** 2 + half**2)
            broad += size * norm.pdf(above - 1.5, scale=np.hypot(8 / 2.3548, blur))
        smooth += 0.35 * replica
        poses = (
            t.poses[t.starts[place] : t.starts[place + 1]]
            * t.unit[t.starts[place] : t.starts[place + 1], None]
        )
        expected = np.concatenate([smooth + sharp, broad] if area.any() else [smooth + sharp])
        scale = expected.max()
        np.testing.assert_allclose(poses, expected, rtol=1e-9, atol=1e-12 * scale)
        np.testing.assert_allclose(t.smooth[place], smooth, rtol=1e-9, atol=1e-12 * scale)
        np.testing.assert_allclose(t.replica[place], replica, rtol=1e-9, atol=1e-12 * scale)
