"""Parts of the analysis of energy-loss spectra: background, linear model, templates and compiled loops."""

import numpy as np
import pytest

from xtalsk.spectra.eels._background import background_columns, envelope
from xtalsk.spectra.eels._bins import bin_spectrum
from xtalsk.spectra.eels._constants import HATS, SHIFTS
from xtalsk.spectra.eels._model import LinearModel, fine_structure
from xtalsk.spectra.eels._templates import make_templates, strengths
from xtalsk.utils._formula import SYMBOLS


def test_curves_below_and_through_a_spectrum():
    energy = np.arange(200.0, 900.0, 1.0)
    smooth = 1e5 * (energy / 200) ** -3.0
    counts = smooth + 5e3 * (energy > 532) * (532 / energy) ** 3
    bins = bin_spectrum(energy, counts + np.random.default_rng(0).normal(0, 20, energy.size))
    back, through = (curve * bins.scale / np.interp(bins.energy, energy, smooth) for curve in envelope(bins))
    np.testing.assert_allclose(back[bins.energy < 500], 1, atol=0.03)
    assert (
        np.diff(back * np.interp(bins.energy, energy, smooth)) < 0
    ).all()  # the curve cannot follow an edge
    assert back[bins.energy > 560].mean() <= through[bins.energy > 560].mean() + 0.05


def ridge_regression(columns, sizes, data):
    """Coefficients and covariance of columns whose coefficients have normal priors."""
    covariance = np.linalg.inv(columns @ columns.T + np.diag(sizes**-2.0))
    return covariance @ (columns @ data), covariance


@pytest.fixture
def regression():
    """A model of two columns of the background and three of elements, and the same in units of the errors."""
    rng = np.random.default_rng(0)
    columns, data, error = rng.normal(size=(5, 40)), rng.normal(size=40), rng.uniform(0.5, 2, 40)
    error[7] = np.inf
    columns[3, :12], columns[3, 20:], columns[4, :25] = 0, 0, 0
    sizes, candidates = np.array([1e3, 0.5, 0.1, 0.4, 2.0]), rng.normal(size=(6, 40))
    candidates[3:, :18] = 0
    first = np.array([0, 0, 0, 18, 18, 18])
    model = LinearModel(data, error, candidates, first, columns[:2], sizes[:2])
    model.add(columns[2:3], sizes[2:3])
    model.add(columns[3:], sizes[3:])
    return model, columns / error, sizes, data / error, candidates / error


def test_terms_with_priors_are_ridge_regression(regression):
    model, columns, sizes, data, candidates = regression
    coefficients, covariance = ridge_regression(columns, sizes, data)
    np.testing.assert_allclose(model.coefficients(), coefficients[2:], rtol=1e-5)
    np.testing.assert_allclose(model.covariance(), covariance[2:, 2:], rtol=1e-5)
    total, background = model.curves()
    np.testing.assert_allclose(total, coefficients @ columns, rtol=1e-5, atol=1e-8)
    np.testing.assert_allclose(background, coefficients[:2] @ columns[:2], rtol=1e-5, atol=1e-8)
    amplitude, precision, chi2 = model.scores()
    for i, candidate in enumerate(candidates):
        wider = np.concatenate([columns, candidate[None]])
        solution, covariance = ridge_regression(wider, np.append(sizes, np.inf), data)
        assert amplitude[i] == pytest.approx(solution[-1], rel=1e-5)
        assert precision[i] == pytest.approx(1 / covariance[-1, -1], rel=1e-5)
        after = ((data - solution @ wider) ** 2).sum() + (solution[:-1] ** 2 / sizes**2).sum()
        assert chi2 - amplitude[i] ** 2 * precision[i] == pytest.approx(after, rel=1e-5)


def test_a_model_without_some_of_its_columns(regression):
    model, columns, sizes, data, candidates = regression
    part = [0, 1, 2, 4]
    coefficients, covariance = ridge_regression(columns[part], sizes[part], data)
    expected = coefficients[2] / np.sqrt(covariance[2, 2])
    assert model.alone(slice(0, 2)) == pytest.approx(expected, rel=1e-5)
    significance = model.score_candidates(slice(2, 5), slice(1, 3))
    products, with_data = model.residual_products(candidates[[1, 3]] / model._inverse_error.clip(1e-9))
    model.remove(slice(1, 3))
    amplitude, precision, _ = model.scores()
    np.testing.assert_allclose(significance, (amplitude * np.sqrt(precision))[2:5], rtol=1e-5)
    project = np.eye(40) - columns.T @ ridge_regression(columns, sizes, data)[1] @ columns
    np.testing.assert_allclose(products, candidates[[1, 3]] @ project @ candidates[[1, 3]].T, rtol=1e-5)
    np.testing.assert_allclose(with_data, candidates[[1, 3]] @ project @ data, rtol=1e-5)
    model.scale_sizes(slice(0, 1), 3.0)
    coefficients, _ = ridge_regression(columns[:3], sizes[:3] * [1, 1, 3], data)
    np.testing.assert_allclose(model.coefficients(), coefficients[2:], rtol=1e-5)


def test_hats_of_the_fine_structure_are_interpolated():
    """Whole numbers above the onset lie on the places of hats, the last one included."""
    above = np.arange(-40.0, 260.0)
    columns, sizes = fine_structure(above, np.ones_like(above), 0.0, 0.0)
    expected = np.stack([np.interp(above, HATS, row, left=0, right=0) for row in np.eye(len(HATS))])
    np.testing.assert_allclose(columns, expected, atol=1e-12)
    assert len(sizes) == len(HATS)


def test_templates_of_some_elements_are_those_of_all():
    energy, width = np.arange(400.0, 900.0, 1.0), np.ones(500)
    whole = make_templates(energy, width, 1.0)
    allowed = np.zeros(99, dtype=bool)
    allowed[[8, 26]] = True
    part = make_templates(energy, width, 1.0, allowed)
    assert set(part.z) == {8, 26}
    assert (np.diff(whole.onset) >= 0).all()
    rows = np.flatnonzero(np.isin(whole.z, part.z))
    np.testing.assert_array_equal(part.smooth, whole.smooth[rows])
    np.testing.assert_allclose(strengths(part, 80.0, 5.0, 9.0), strengths(whole, 80.0, 5.0, 9.0)[rows])
    for pose, first in zip(whole.poses, whole.first, strict=True):
        assert np.abs(pose[:first]).max(initial=0) < 1e-12


def test_background_columns_span_power_laws():
    energy = np.arange(100.0, 1000.0, 2.0)
    back = energy**-3.1
    columns, sizes = background_columns(energy, back, back)
    free = columns[sizes > 100]
    target = energy**-2.4
    fitted = np.linalg.lstsq((free / target).T, np.ones(len(target)), rcond=None)[0] @ free
    np.testing.assert_allclose(fitted / target, 1, atol=2e-3)


def test_templates_rise_at_their_onsets():
    energy = np.arange(400.0, 900.0, 1.0)
    t = make_templates(energy, np.ones(500), 1.0)
    names = [f"{SYMBOLS[z - 1]} {family}" for z, family in zip(t.z, t.family, strict=True)]
    assert "O K" in names
    assert "Si K" not in names
    row = names.index("O K")
    for shift in (0, 5, 10):
        template = t.smooth[row, shift]
        assert abs(energy[np.diff(template).argmax()] - 532 - SHIFTS[shift]) <= 1
    ratio = strengths(t, 300.0, 10.0, 40.0)
    assert ((ratio > 0.3) & (ratio < 3)).all()
    np.testing.assert_allclose(strengths(t, 200.0, 10.0, 20.0), 1)
