"""Cells without lines, and images without rings: not measured, or told in a warning that names the row."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.pipeline import make_pipeline

from xtalsk.diffraction import IndexingScores, PeakHistogram, PowderProfile, RadialProfile, locate_peaks
from xtalsk.diffraction._functional import condition
from xtalsk.io import DiffractionImage, Profile
from xtalsk.utils import BrokenCellWarning

TWO_THETA = np.arange(10, 90, 0.02)
LINE = 1000 * np.exp(-(((TWO_THETA - 40) / 0.1) ** 2))
LINE_Q = 2 * np.sin(np.deg2rad(20)) / 1.5406
EMPTY = {
    "flat": np.full(TWO_THETA.size, 50.0),
    "flat thirds": np.full(TWO_THETA.size, 1 / 3),
    "flat and large": np.full(TWO_THETA.size, 1e6 + 0.3),
    "zeros": np.zeros(TWO_THETA.size),
    "negative": np.full(TWO_THETA.size, -3),
    "ramp": np.linspace(100, 500, TWO_THETA.size),
    "falling ramp": np.linspace(500, 0, TWO_THETA.size),
    "ramp of whole counts": np.linspace(100, 500, TWO_THETA.size).round(),
    "decay": 500 * np.exp(-TWO_THETA / 20) + 20,
    "saturated": np.minimum(1000 + LINE, 1000 + 1e-3),
    "clipped": np.where(TWO_THETA > 30, 255, 40 + 0.1 * LINE),
}


def scan(intensity):
    return Profile(intensity, two_theta=TWO_THETA, wavelength=1.5406)


@pytest.mark.parametrize("intensity", EMPTY.values(), ids=EMPTY)
@pytest.mark.parametrize("transformer", [PowderProfile(), PeakHistogram()], ids=["profile", "histogram"])
def test_scans_without_lines_count_as_not_measured(intensity, transformer):
    column = pd.Series([scan(50 + LINE), scan(intensity)], name="powder")
    with pytest.warns(BrokenCellWarning, match=r"1 of 2 .*\nrow 1 of column powder"):
        rows = transformer.fit_transform(column)
    assert np.isnan(rows[1]).all()
    assert np.nanmax(rows[0]) > 0


def test_a_flat_scan_has_no_lattice():
    lattice = make_pipeline(PowderProfile(), IndexingScores((0.05, 1.15)))
    with pytest.warns(BrokenCellWarning, match="holds one value, 50"):
        assert np.isnan(lattice.fit_transform([scan(EMPTY["flat"])])).all()


@pytest.mark.parametrize("offset", [0, -50, 1e6])
def test_one_line_on_any_offset(offset):
    profile = PowderProfile().fit([None])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        row = profile.transform([scan(LINE + offset)])[0]
    np.testing.assert_allclose(locate_peaks(profile.q_, row, width=0.0015)[0], [LINE_Q], atol=5e-4)


def test_noise_is_measured_and_has_hardly_any_lines():
    counts = np.random.default_rng(0).poisson(50, (10, TWO_THETA.size))
    marks = PeakHistogram().fit_transform([scan(c) for c in counts])
    assert marks.sum(1).mean() < 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rounding_is_not_blown_up(dtype):
    flat = torch.full((1, 512), 1 / 3, dtype=dtype) * (
        1 + torch.finfo(dtype).eps * torch.randn(512).to(dtype)
    )
    assert (condition(flat, 25.0, "linear") == 0).all()


@pytest.mark.parametrize("value", [0, 7, -5.0, 65535])
def test_blank_images_count_as_not_measured(value):
    cells = [DiffractionImage(np.full((64, 80), value), pixel_size=0.01), None]
    for transformer in (RadialProfile(64), PeakHistogram()):
        with pytest.warns(BrokenCellWarning, match="row 0 .*it is blank: it holds one value"):
            assert np.isnan(transformer.fit_transform(cells)).all()


def test_saturated_images_count_as_not_measured(draw_rings):
    image = np.minimum(draw_rings(electrons=1e6), 10)
    with pytest.warns(BrokenCellWarning, match=r"row 0 .*saturated: \d+% of its values"):
        assert np.isnan(RadialProfile(64, pixel_size=0.0155).fit_transform([image])).all()


def remarks(image, **params):
    cell = DiffractionImage(image, pixel_size=0.0155, center=params.pop("at", None))
    column = pd.Series([None, cell], name="rings")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        rows = RadialProfile(128, **params).fit_transform(column)
    assert rows.shape == (2, 128)
    return " | ".join(str(w.message) for w in caught)


@pytest.mark.parametrize("electrons", [1e5, 1e6, 1e7])
@pytest.mark.parametrize("stop", [None, (1, 2, 8, 5, 30)])
def test_rings_have_no_remarks(draw_rings, electrons, stop):
    assert remarks(draw_rings(electrons=electrons, stop=stop, center=(60.2, 67.0))) == ""


@pytest.mark.parametrize("background", [0.0, 1.0, 20.0])
def test_spots_in_place_of_rings_are_recognised(background):
    y, x = np.mgrid[:256, :256].astype(float)
    image = background * np.exp(-np.hypot(y - 130, x - 125) / 40) + 0.01
    for h in range(-6, 7):
        for k in range(-6, 7):
            row, column = 130 + 19 * h + 3 * k, 125 - 3 * h + 17 * k
            height = 100 * np.exp(-(h * h + k * k) / 12) * (0.3 + 0.7 * ((h + k) % 2 == 0))
            image += height * np.exp(-((y - row) ** 2 + (x - column) ** 2) / 8)
    counts = np.random.default_rng(0).poisson(20 * image)
    assert "row 1 of column rings: the image holds spots rather than rings" in remarks(counts)
    assert "`spots`" in remarks(counts)


def test_profiles_of_spots_are_computed():
    y, x = np.mgrid[:256, :256]
    image = sum(
        np.exp(-((y - 8 - 24 * i) ** 2 + (x - 8 - 24 * j) ** 2) / 6) for i in range(11) for j in range(11)
    )
    cell = DiffractionImage(1000 * image * np.exp(-np.hypot(y - 128, x - 128) / 80) + 5, pixel_size=0.01)
    with pytest.warns(UserWarning, match="spots rather than rings"):
        assert np.isfinite(RadialProfile(64, (0.1, 1.0)).fit_transform([cell])).any()


def test_pictures_of_specimens_are_recognised():
    y, x = np.mgrid[:256, :256]
    rng = np.random.default_rng(1)
    particles = np.full((256, 256), 50.0)
    for _ in range(40):
        row, column, radius = *rng.uniform(0, 256, 2), rng.uniform(4, 20)
        particles += rng.uniform(20, 200) * (np.hypot(y - row, x - column) < radius)
    told = remarks(rng.poisson(particles))
    assert "row 1 of column rings" in told
    assert "diffraction pattern" in told or "rather than rings" in told


def test_images_without_a_pattern_count_as_not_measured(draw_rings):
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:256, :256]
    fringes = 100 * (2 + np.cos(0.4 * x) + np.cos(0.35 * y + 0.1 * x))
    negative = draw_rings(electrons=1e6)
    negative = negative.max() - negative
    images = [draw_rings(electrons=1e6), rng.poisson(20, (256, 256)), rng.poisson(fringes), negative]
    column = pd.Series([DiffractionImage(image, pixel_size=0.0155) for image in images], name="rings")
    with pytest.warns(
        BrokenCellWarning, match=r"rows 1, 2, 3 of column rings: nothing to index.*not measured"
    ):
        rows = RadialProfile(64).fit_transform(column)
    assert np.isfinite(rows[0]).any()
    assert np.isnan(rows[1:]).all()


@pytest.mark.parametrize(
    "haloes", [((0.48, 0.16, 1.0), (0.85, 0.18, 0.35)), ((0.24, 0.08, 1.0), (0.46, 0.12, 0.15))]
)
def test_haloes_of_amorphous_films_are_named(haloes):
    y, x = np.mgrid[:256, :256]
    q = np.hypot(y - 126.3, x - 129.1) / 128
    image = 0.5 * np.exp(-q / 0.15) + sum(
        h * np.exp(-4 * np.log(2) * ((q - c) / w) ** 2) for c, w, h in haloes
    )
    cell = DiffractionImage(np.random.default_rng(0).poisson(200 * image), pixel_size=1 / 128)
    with pytest.warns(UserWarning, match="only broad haloes, as of an amorphous film"):
        assert np.isfinite(RadialProfile(128).fit_transform([cell])).any()


def test_far_centers_are_told(draw_rings):
    far = draw_rings(electrons=1e6, center=(64.0, 100.0))
    assert "set a larger max_offset" in remarks(far)
    assert remarks(far, max_offset=0.4) == ""
    outside = draw_rings(electrons=1e6, center=(64.0, 150.0))
    assert "center=(row, column)" in remarks(outside)
    assert "the centre lies outside the image" in remarks(outside, at=(64.0, 150.0))


def test_remarks_name_rows_with_jobs_and_cache(draw_rings):
    good = DiffractionImage(draw_rings(electrons=1e6), pixel_size=0.0155)
    noise = DiffractionImage(np.random.default_rng(0).poisson(20, (128, 128)), pixel_size=0.0155)
    for params in ({"n_jobs": 2}, {"cache": True}, {"cache": True}):
        with pytest.warns(UserWarning, match="row 2 of column"):
            RadialProfile(64, **params).fit_transform([good, None, noise, good])
