"""Profiles with a known geometry: of a calibration, or of a scan."""

import pickle
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.base import clone

from xtalsk.diffraction import RadialProfile, RingGeometry
from xtalsk.diffraction import _geometry as geometry_module
from xtalsk.io import DiffractionImage

PIXEL = 0.0155
STOP = (1, 2, 8, 5, 30)


@pytest.fixture(scope="module")
def scan(draw_rings):
    shape = {"center": (60.3, 66.8), "ellipticity": (0.012, -0.006), "stop": STOP, "beam": 0}
    images = [draw_rings(electrons=1e6, seed=seed, **shape) for seed in range(5)]
    return [DiffractionImage(image, pixel_size=PIXEL) for image in images]


def test_geometry_of_a_scan(scan):
    found = RadialProfile().fit([None]).geometry_of([*scan, None])
    np.testing.assert_allclose(found.center, (60.3, 66.8), atol=0.03)
    np.testing.assert_allclose(found.ellipticity, (0.012, -0.006), atol=0.001)
    assert found.mask.shape == (128, 128)
    assert 0.01 < found.mask.mean() < 0.1
    one = RadialProfile().fit([None]).geometry_of(scan, max_images=1)
    np.testing.assert_allclose(one.center, found.center, atol=0.03)


def test_own_geometry_gives_the_same_profile(scan):
    plain = RadialProfile(256).fit([None])
    for cell in scan[:2]:
        known = clone(plain).set_params(geometry=plain.geometry_of([cell])).fit([None])
        expected = plain.transform([cell])
        np.testing.assert_allclose(known.transform([cell]), expected, atol=1e-4 * np.nanmax(expected))


def test_nothing_is_searched(scan, monkeypatch):
    known = RadialProfile(128, geometry=RingGeometry((60.3, 66.8), (0.012, -0.006))).fit([None])
    monkeypatch.setattr(geometry_module, "find_geometry", None)
    monkeypatch.setattr("xtalsk.diffraction._radial.find_geometry", None)
    assert np.isfinite(known.transform(scan)).any(axis=1).all()


def test_missing_pixels_and_masks_are_left_out(draw_rings):
    image = draw_rings(electrons=1e6, center=(61, 66))
    spoilt, mask = image.copy(), np.zeros(image.shape, dtype=bool)
    spoilt[:, 80:90] = 1e4
    mask[:, 80:90] = True
    missing = DiffractionImage(np.where(mask, np.nan, image), pixel_size=PIXEL)
    spoilt = DiffractionImage(spoilt, pixel_size=PIXEL)
    by_nan = RadialProfile(128, geometry=RingGeometry((61, 66))).fit_transform([missing])
    by_mask = RadialProfile(128, geometry=RingGeometry((61, 66)), mask=mask).fit_transform([spoilt])
    own_mask = RadialProfile(128, geometry=RingGeometry((61, 66), mask=mask)).fit_transform([spoilt])
    np.testing.assert_allclose(by_nan, by_mask, atol=1e-4)
    np.testing.assert_array_equal(by_mask, own_mask)


def test_any_object_with_a_center_serves(scan):
    expected = RadialProfile(64, geometry=RingGeometry((60.3, 66.8))).fit_transform(scan)
    plain = SimpleNamespace(center=np.array([60.3, 66.8]))
    np.testing.assert_array_equal(RadialProfile(64, geometry=plain).fit_transform(scan), expected)
    copied = pickle.loads(pickle.dumps(clone(RadialProfile(64, geometry=RingGeometry((60.3, 66.8))))))
    np.testing.assert_array_equal(copied.fit_transform(scan), expected)


def test_streams_use_the_geometry(scan):
    import torch

    known = RadialProfile(64, geometry=RingGeometry((60.3, 66.8))).fit([None])
    images = torch.from_numpy(np.stack([cell.data for cell in scan]))
    features = known._batched(PIXEL)(images).numpy()
    np.testing.assert_allclose(features, known.transform(scan), atol=1e-4 * np.nanmax(features))


def test_what_is_wrong_is_named(scan, draw_rings):
    for values in ((1,), (np.nan, 2), "ab"):
        with pytest.raises(ValueError, match="center must be two"):
            RingGeometry(values)
    with pytest.raises(ValueError, match="ellipticity must stay below"):
        RingGeometry((1, 2), (0.4, 0.3))
    with pytest.raises(ValueError, match="mask must be a 2-D array"):
        RingGeometry((1, 2), mask=[True])
    with pytest.raises(ValueError, match="geometry must be a RingGeometry"):
        RadialProfile(geometry="found").fit([None])
    with pytest.raises(ValueError, match=r"geometry\.mask has shape"):
        RadialProfile(geometry=RingGeometry((1, 2), mask=np.zeros((3, 3)))).fit_transform(scan)
    with pytest.warns(UserWarning, match="lies outside the image"):
        RadialProfile(64, geometry=RingGeometry((200, 60))).fit_transform(scan)
    other = DiffractionImage(draw_rings(size=96), pixel_size=PIXEL)
    with pytest.raises(ValueError, match="one shape"):
        RadialProfile().fit([None]).geometry_of([scan[0], other])
    with pytest.raises(ValueError, match="no image"):
        RadialProfile().fit([None]).geometry_of([None])
