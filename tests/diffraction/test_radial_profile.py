import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone

from xtalsk.diffraction import RadialProfile
from xtalsk.diffraction._geometry import find_geometry
from xtalsk.io import DiffractionImage
from xtalsk.utils import BrokenCellWarning

PIXEL = 0.0155
RINGS = (0.20, 0.32, 0.38, 0.52, 0.61, 0.75, 0.9)


def center_errors(draw_rings, size, electrons, stop, ellipticity=0.0, n=12):
    rng = np.random.default_rng(3)
    images, centers, shapes = [], [], []
    for seed in range(n):
        center = (size - 1) / 2 + rng.uniform(-0.1, 0.1, 2) * size
        blocked = (*rng.normal(0, 2, 2), rng.uniform(5, 9), rng.uniform(3, 6), rng.uniform(0, 360))
        shape = rng.normal(0, 1, 2) * ellipticity
        q = np.sort(rng.uniform(0.12, 1.0, rng.integers(4, 15)))
        images.append(
            draw_rings(
                [(x, rng.uniform(0.05, 1)) for x in q],
                size=size,
                pixel_size=PIXEL * 128 / size,
                center=center,
                electrons=electrons,
                ellipticity=shape,
                stop=blocked if stop else None,
                beam=0 if stop else 0.3,
                seed=seed,
            )
        )
        centers.append(center)
        shapes.append(shape)
    images = torch.from_numpy(np.array(images))
    geometry = find_geometry(images, torch.ones_like(images, dtype=torch.bool), ellipticity=bool(ellipticity))
    error = np.hypot(*(geometry.center.numpy() - np.array(centers)).T)
    return error, np.abs(geometry.ellipticity.numpy() - np.array(shapes)).max(axis=1), geometry


@pytest.mark.parametrize(
    ("electrons", "median", "worst"), [(1e4, 0.08, 0.5), (1e5, 0.03, 0.15), (1e6, 0.015, 0.06)]
)
@pytest.mark.parametrize("stop", [False, True])
def test_center_is_found_to_a_small_part_of_a_pixel(draw_rings, electrons, median, worst, stop):
    error, _, _ = center_errors(draw_rings, 128, electrons, stop)
    assert np.median(error) < median
    assert error.max() < worst


def test_center_of_larger_images(draw_rings):
    error, _, _ = center_errors(draw_rings, 256, 1e5, stop=True, n=4)
    assert error.max() < 0.3


@pytest.mark.parametrize("stop", [False, True])
def test_ellipticity_is_found(draw_rings, stop):
    error, shape_error, _ = center_errors(draw_rings, 128, 1e5, stop, ellipticity=0.015)
    assert error.max() < 0.15
    assert np.median(shape_error) < 0.0015


def test_beam_stop_is_masked_and_rings_are_not(draw_rings):
    stop = (1, 2, 8, 5, 30)
    image = draw_rings(stop=stop, beam=0, electrons=1e6)
    clear = draw_rings(stop=None, beam=0, electrons=1e6)
    shadowed = torch.from_numpy(image)[None]
    valid = find_geometry(shadowed, torch.ones_like(shadowed, dtype=torch.bool)).valid[0].numpy()
    dark = image < 0.2 * clear
    assert valid[dark].mean() < 0.1
    assert 0.9 < valid[~dark].mean() < 1
    whole = torch.from_numpy(clear)[None]
    assert find_geometry(whole, torch.ones_like(whole, dtype=torch.bool)).valid.numpy().mean() > 0.99


def test_peaks_stand_where_the_rings_are(draw_rings):
    transformer = RadialProfile(n_bins=512, scale="linear").fit([None])
    image = draw_rings(electrons=1e6, center=(60.3, 68.8), ellipticity=(0.02, -0.01))
    profile = transformer.transform([DiffractionImage(image, pixel_size=PIXEL)])[0]
    for q in RINGS:
        near = np.abs(transformer.q_ - q) < 0.008
        weight = profile[near] - profile[near].min()
        assert np.average(transformer.q_[near], weights=weight) == pytest.approx(q, abs=0.0015)


def test_against_pyfai(draw_rings):
    pytest.importorskip("pyFAI")
    from pyFAI.integrator.azimuthal import AzimuthalIntegrator

    center = (61.3, 66.1)
    image = draw_rings(electrons=1e6, center=center, beam=0)
    # a camera so long that 2θ is the radius: radius in mm = 1000 mm x tan 2θ
    integrator = AzimuthalIntegrator(
        dist=1.0, poni1=(center[0] + 0.5) * 1e-6, poni2=(center[1] + 0.5) * 1e-6, pixel1=1e-6, pixel2=1e-6
    )
    radius, expected = integrator.integrate1d(
        image,
        60,
        radial_range=(0, 60e-3),
        unit="r_mm",
        method=("bbox", "histogram", "cython"),
        correctSolidAngle=False,
    )[:2]
    transformer = RadialProfile(60, (0.0, 0.6), background=None, scale="linear", ellipticity=None).fit([None])
    ours = transformer.transform([DiffractionImage(image, pixel_size=0.01, center=center)])[0]
    assert radius * 1e3 == pytest.approx(np.arange(60) + 0.5)
    np.testing.assert_allclose(
        ours[3:-1] / ours[3:-1].mean(), expected[3:-1] / expected[3:-1].mean(), rtol=0.06
    )


def test_flat_image_gives_a_flat_profile():
    transformer = RadialProfile(300, (0.0, 0.5), background=None, scale="linear", center="image").fit([None])
    image = 7000 + np.indices((64, 80)).sum(0) % 2  # a blank image counts as not measured
    profile = transformer.transform([DiffractionImage(image, pixel_size=0.01)])[0]
    np.testing.assert_allclose(profile[np.isfinite(profile)], 1, rtol=2e-4)
    assert np.isfinite(profile[:240]).all()
    assert np.isnan(profile[-4:]).all()


def test_dose_and_dark_level_do_not_matter(draw_rings):
    image = draw_rings(electrons=1e7)
    images = [image, 37.0 * image, image - 100.0]
    profiles = RadialProfile(256).fit_transform([DiffractionImage(i, pixel_size=PIXEL) for i in images])
    np.testing.assert_allclose(profiles[1], profiles[0], atol=0.02)
    np.testing.assert_allclose(profiles[2], profiles[0], atol=0.02)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.float64])
def test_number_types(draw_rings, dtype):
    image = draw_rings(electrons=2e4, beam=0)
    expected = RadialProfile(64).fit_transform([DiffractionImage(image, pixel_size=PIXEL)])
    profile = RadialProfile(64).fit_transform([DiffractionImage(image.astype(dtype), pixel_size=PIXEL)])
    np.testing.assert_allclose(profile, expected, rtol=1e-5)


def test_mixed_shapes_and_pixel_sizes_keep_their_rows(draw_rings):
    cells = [
        DiffractionImage(draw_rings(size=128, electrons=1e6), pixel_size=PIXEL),
        None,
        DiffractionImage(draw_rings(size=(96, 112), pixel_size=0.02, electrons=1e6), pixel_size=0.02),
        DiffractionImage(draw_rings(size=128, pixel_size=0.012, electrons=1e6), pixel_size=0.012),
    ]
    together = RadialProfile(128, (0.1, 1.2)).fit_transform(pd.Series(cells, name="rings"))
    assert np.isnan(together[1]).all()
    for row in (0, 2, 3):
        alone = RadialProfile(128, (0.1, 1.2)).fit_transform([cells[row]])[0]
        np.testing.assert_allclose(together[row], alone, atol=1e-3)
        assert np.argmax(np.nan_to_num(together[row])) == pytest.approx(25, abs=1)
    np.testing.assert_allclose(
        RadialProfile(128, (0.1, 1.2), n_jobs=2).fit_transform(cells), together, atol=1e-3
    )


def test_known_center_is_taken(draw_rings):
    image = draw_rings(electrons=1e6, center=(60.3, 68.8))
    cells = [DiffractionImage(image, pixel_size=PIXEL, center=c) for c in ((60.3, 68.8), (66.0, 60.0))]
    right, wrong = RadialProfile(128, scale="linear").fit_transform(cells)
    searched = RadialProfile(128, scale="linear", center="find").fit_transform(cells)
    np.testing.assert_allclose(searched[0], searched[1])
    np.testing.assert_allclose(right, searched[0], atol=0.3)
    assert np.nanmax(np.abs(right - wrong)) > 3


def test_mask_leaves_pixels_out(draw_rings):
    image = draw_rings(electrons=1e6, center=(61, 66))
    spoilt, mask = image.copy(), np.zeros(image.shape, dtype=bool)
    spoilt[:, 80:90] = 1e4
    mask[:, 80:90] = True
    clean = RadialProfile(128, center="find").fit_transform([DiffractionImage(image, pixel_size=PIXEL)])
    masked = RadialProfile(128, mask=mask).fit_transform([DiffractionImage(spoilt, pixel_size=PIXEL)])
    missing = RadialProfile(128).fit_transform(
        [DiffractionImage(np.where(mask, np.nan, image), pixel_size=PIXEL)]
    )
    np.testing.assert_allclose(masked, missing)
    np.testing.assert_allclose(masked, clean, atol=0.3)


def test_hot_and_dead_pixels_do_not_show(draw_rings):
    image = draw_rings(electrons=1e7)
    spoilt = image.copy()
    rng = np.random.default_rng(0)
    spoilt[tuple(rng.integers(2, 126, (2, 30)))] = 60000
    spoilt[tuple(rng.integers(2, 126, (2, 30)))] = 0
    clean, corrected = RadialProfile(128).fit_transform(
        [DiffractionImage(i, pixel_size=PIXEL) for i in (image, spoilt)]
    )
    np.testing.assert_allclose(corrected, clean, atol=0.1)


@pytest.mark.parametrize(
    "image",
    [
        np.random.default_rng(0).poisson(0.01, (64, 64)),
        np.random.default_rng(0).uniform(size=(64, 64)) * 1e12,
        np.where(np.arange(4096).reshape(64, 64) < 4000, np.nan, 1.0),
    ],
    ids=["empty", "huge", "mostly missing"],
)
def test_patterns_without_rings_stay_finite_or_missing(image):
    profile = RadialProfile(64).fit_transform([DiffractionImage(image, pixel_size=0.02)])
    assert not np.isinf(profile).any()
    assert profile.dtype == np.float32


def test_errors_name_row_column_and_remedy(draw_rings):
    image = draw_rings()
    column = pd.Series([DiffractionImage(image, pixel_size=PIXEL), image], name="rings")
    with pytest.raises(ValueError, match=r"row 1 of column rings.*no calibration.*pixel_size"):
        RadialProfile().fit(column).transform(column)
    with pytest.warns(BrokenCellWarning, match="row 1"):
        out = RadialProfile(on_error="warn").fit_transform(column)
    assert np.isnan(out[1]).all()
    assert np.isfinite(RadialProfile(pixel_size=PIXEL).fit_transform(column)).any(axis=1).all()
    with pytest.raises(ValueError, match="below q_range"):
        RadialProfile(pixel_size=1e-5).fit_transform([image])
    with pytest.raises(ValueError, match="mask has shape"):
        RadialProfile(pixel_size=PIXEL, mask=np.zeros((3, 3))).fit_transform([image])
    with pytest.raises(ValueError, match=r"row 0.*16 x 16"):
        RadialProfile(pixel_size=PIXEL).fit_transform([np.ones((4, 4))])
    with pytest.raises(ValueError, match=r"row 0.*got int"):
        RadialProfile(pixel_size=PIXEL).fit_transform([3])


@pytest.mark.parametrize(
    "params",
    [
        {"n_bins": 2},
        {"q_range": (1, 0.5)},
        {"q_range": 3},
        {"center": "cell"},
        {"scale": "cube"},
        {"background": "poly"},
        {"background_width": 0},
        {"pixel_size": -1.0},
        {"ellipticity": True},
        {"on_error": "pass"},
        {"mask": np.zeros(3)},
    ],
    ids=str,
)
def test_wrong_parameters_are_refused_in_fit(params):
    with pytest.raises(ValueError, match=next(iter(params))):
        RadialProfile(**params).fit([None])


def test_names_and_bins():
    transformer = RadialProfile(10, (0.0, 1.0)).fit([None])
    assert transformer.get_feature_names_out()[[0, 9]].tolist() == ["q_0000", "q_0009"]
    np.testing.assert_allclose(transformer.q_, np.arange(0.05, 1, 0.1))


def test_names_count_bins_from_zero():
    """So that q is the number of the bin times its width, to half a bin, wherever the axis begins."""
    profile = RadialProfile(512, (0.05, 1.25)).fit([None])
    numbers = np.array([int(name[2:]) for name in profile.get_feature_names_out()])
    np.testing.assert_allclose((numbers + 0.5) * 1.2 / 512, profile.q_, atol=0.6 / 512)


def test_cache_reduces_each_image_once(monkeypatch):
    rng = np.random.default_rng(0)
    cells = [DiffractionImage(rng.poisson(5, (64, 64)), pixel_size=0.02) for _ in range(4)]
    plain = RadialProfile(32).fit_transform(cells)
    calls = []
    work = RadialProfile._features
    monkeypatch.setattr(RadialProfile, "_features", lambda self, c: calls.append(len(c)) or work(self, c))
    cached = RadialProfile(32, cache=True)
    np.testing.assert_allclose(cached.fit_transform([*cells[:3], None])[:3], plain[:3], atol=1e-4)
    np.testing.assert_allclose(clone(cached).fit_transform(cells[::-1]), plain[::-1], atol=1e-4)
    assert calls == [3, 1]
    RadialProfile(32, scale="log", cache=True).fit_transform(cells)
    assert calls == [3, 1, 4]
