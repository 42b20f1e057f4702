import numpy as np
import pandas as pd
import pytest
import torch

from xtalsk.diffraction import PowderProfile
from xtalsk.diffraction._functional import (
    bin_mean,
    bin_mean_of_tensors,
    fill_gaps,
    snip,
    two_theta_to_q,
)
from xtalsk.io import Profile

CU = 1.5406


def scan(positions, step=0.02, start=10.0, stop=90.0, width=0.1, background=50.0):
    two_theta = np.arange(start, stop, step)
    counts = background + sum(1000 * np.exp(-(((two_theta - p) / width) ** 2)) for p in positions)
    return Profile(counts, two_theta=two_theta, wavelength=CU)


def test_bragg_of_silicon():
    """Si (a = 5.43102 Å): 111, 220 and 311 at 28.443°, 47.304° and 56.124° of Cu Kα1."""
    q = two_theta_to_q(np.array([28.443, 47.304, 56.124]), CU).numpy()
    np.testing.assert_allclose(q, np.sqrt([3, 8, 11]) / 5.43102, rtol=5e-5)


def test_lines_stand_at_q_whatever_the_wavelength():
    q = np.array([0.3189, 0.5208, 0.6107])
    profiles = []
    for wavelength in (0.7107, 1.5406):
        two_theta = 2 * np.rad2deg(np.arcsin(q * wavelength / 2))
        profiles.append(Profile(**{**vars(scan(two_theta)), "wavelength": wavelength}))
    transformer = PowderProfile(2048, scale="linear").fit([None])
    for row in transformer.transform(profiles):
        for value in q:
            near = np.abs(transformer.q_ - value) < 0.004
            assert np.average(transformer.q_[near], weights=row[near]) == pytest.approx(value, abs=2e-4)


@pytest.mark.parametrize("n_bins", [37, 200, 5000])
def test_area_is_kept_at_any_bin_width(n_bins):
    q = torch.linspace(0, 1, 1001, dtype=torch.float64)[None]
    intensity = torch.exp(-(((q - 0.412) / 0.004) ** 2)) + 0.1 * q
    edges = torch.linspace(0, 1, n_bins + 1, dtype=torch.float64)
    area = bin_mean(q, intensity, edges).sum() / n_bins
    assert float(area) == pytest.approx(float(torch.trapezoid(intensity, q)), rel=1e-12)


def test_narrow_bins_interpolate():
    q = torch.arange(0, 1.01, 0.1, dtype=torch.float64)[None]
    edges = torch.linspace(0, 1, 1001, dtype=torch.float64)
    middle = (edges[1:] + edges[:-1]) / 2
    torch.testing.assert_close(bin_mean(q, 3 * q + 1, edges)[0], 3 * middle + 1)


def test_unmeasured_bins_are_missing():
    q = np.linspace(0.2, 0.8, 601)
    intensity = 1 + 1e-3 * np.random.default_rng(0).normal(size=601)
    intensity[200:250] = np.nan
    holed = Profile(np.delete(intensity, slice(400, 450)), q=np.delete(q, slice(400, 450)))
    transformer = PowderProfile(100, (0.0, 1.0), background=None).fit([None])
    row = transformer.transform([holed])[0]
    measured = transformer.q_[np.isfinite(row)]
    for low, high in ((0, 0.2), (0.41, 0.44), (0.61, 0.64), (0.8, 1)):
        assert not ((measured > low) & (measured < high)).any()
    assert len(measured) == 50
    np.testing.assert_allclose(row[np.isfinite(row)], 1, atol=0.01)


def test_background_goes_and_peaks_stay():
    two_theta = np.arange(10, 90, 0.02)
    peaks = sum(1000 * np.exp(-(((two_theta - p) / 0.15) ** 2)) for p in (20, 35, 36, 70))
    sloping = 2000 * np.exp(-two_theta / 20) + 300
    bare, covered = PowderProfile(scale="linear").fit_transform(
        [Profile(i, two_theta=two_theta, wavelength=CU) for i in (peaks, peaks + sloping)]
    )
    np.testing.assert_allclose(np.nan_to_num(covered), np.nan_to_num(bare), atol=0.05 * np.nanmax(bare))


def test_snip_follows_a_smooth_background():
    x = torch.arange(400.0)
    background = 5 + 100 * torch.exp(-x / 100)
    peak = 80 * torch.exp(-(((x - 200) / 5) ** 2))
    estimate = snip((background + peak)[None], 25)[0]
    assert float((estimate - background).abs()[20:380].max()) < 1.5


def test_fill_gaps():
    nan = torch.nan
    filled = fill_gaps(torch.tensor([[nan, 1.0, nan, nan, 4.0, nan], [nan, nan, 7.0, nan, nan, nan]]))
    torch.testing.assert_close(filled, torch.tensor([[1.0, 1.0, 2.0, 3.0, 4.0, 4.0], [7.0] * 6]))


@pytest.mark.parametrize("background", ["snip", None])
@pytest.mark.parametrize(("scale", "curve"), [("sqrt", np.sqrt), ("log", np.log1p), ("linear", np.asarray)])
def test_scale_is_what_the_documentation_says(scale, curve, background):
    cell = [scan([20, 40, 60])]
    linear = PowderProfile(256, scale="linear", background=background).fit_transform(cell)
    assert np.nanmean(linear) == pytest.approx(1, rel=1e-5)
    scaled = PowderProfile(256, scale=scale, background=background).fit_transform(cell)
    np.testing.assert_allclose(scaled, curve(linear), rtol=1e-5)


def test_exposure_does_not_matter_and_negative_values_are_allowed():
    cell = scan([20, 40, 60])
    cells = [
        cell,
        Profile(50 * cell.intensity, two_theta=cell.two_theta, wavelength=CU),
        Profile(cell.intensity - 60, two_theta=cell.two_theta, wavelength=CU),
    ]
    first, brighter, lower = PowderProfile().fit_transform(cells)
    np.testing.assert_allclose(brighter, first, atol=1e-4)
    np.testing.assert_allclose(lower, first, atol=1e-2)
    raised = PowderProfile(background=None).fit_transform(cells)
    assert np.nanmin(raised[2]) == 0


def test_smoothing_widens_peaks_and_keeps_their_area():
    cell = [scan([40])]
    sharp, smooth = (
        PowderProfile(scale="linear", background=None, smoothing=s).fit_transform(cell)[0] for s in (0, 0.005)
    )
    assert np.nanmax(smooth) < 0.6 * np.nanmax(sharp)
    assert np.nansum(smooth) == pytest.approx(np.nansum(sharp), rel=1e-3)


def test_errors_name_row_column_and_remedy():
    cell = scan([30])
    without = Profile(cell.intensity, two_theta=cell.two_theta)
    column = pd.Series([None, cell, without], name="powder")
    with pytest.raises(ValueError, match=r"row 2 of column powder.*wavelength"):
        PowderProfile().fit_transform(column)
    profiles = PowderProfile(wavelength=CU).fit_transform(column)
    np.testing.assert_allclose(profiles[2], profiles[1])
    assert np.isnan(profiles[0]).all()
    with pytest.raises(ValueError, match=r"row 0.*ndarray.*axis"):
        PowderProfile().fit_transform([np.ones(100)])
    with pytest.raises(ValueError, match="outside q_range"):
        PowderProfile(q_range=(2.0, 3.0)).fit_transform([cell])


@pytest.mark.parametrize(
    "params", [{"wavelength": -1.0}, {"smoothing": -1}, {"n_bins": 0}, {"scale": "x"}], ids=str
)
def test_wrong_parameters_are_refused_in_fit(params):
    with pytest.raises(ValueError, match=next(iter(params))):
        PowderProfile(**params).fit([None])


def test_measured_powders_are_read(measured_data):
    paths = sorted(measured_data.glob("xrd/powders/*/*.csv"))
    assert len(paths) == 6
    transformer = PowderProfile(wavelength=1.5418).fit([None])
    rows = transformer.transform(paths)
    assert (np.isfinite(rows).sum(axis=1) > 300).all()
    alumina = rows[[p.parent.name for p in paths].index("Al2O3")]
    # corundum, a = 4.759 Å, c = 12.993 Å: 012, 104, 110, 113
    for q in (0.2873, 0.3920, 0.4203, 0.4795):
        near = np.abs(transformer.q_ - q) < 0.006
        assert alumina[near].max() > 2 * np.nanmedian(alumina)


@pytest.mark.parametrize("n_bins", [20, 700])
def test_compiled_means_of_bins_agree(n_bins):
    """Uneven steps, gaps, NaN, and bins beyond both ends; also after NaN the same bins are missing."""
    rng = np.random.default_rng(0)
    q = torch.from_numpy(np.sort(rng.uniform(0.1, 0.9, size=(4, 500)), axis=1))
    q[1, 250:] += 0.3
    intensity = torch.from_numpy(rng.uniform(size=(4, 500)))
    intensity[2, 100:140] = intensity[3, -1] = torch.nan
    edges = torch.linspace(0, 1.1, n_bins + 1, dtype=torch.float64)
    means = bin_mean(q, intensity, edges)
    assert means.isnan().any()
    assert not means.isnan().all(1).any()
    torch.testing.assert_close(means, bin_mean_of_tensors(q, intensity, edges), equal_nan=True)
