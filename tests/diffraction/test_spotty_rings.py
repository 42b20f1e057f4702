"""Rings of few grains: statistics along rings, and their centre."""

import numpy as np
import pandas as pd
import pytest
import torch

from xtalsk import make_features
from xtalsk.diffraction import RadialProfile
from xtalsk.diffraction import _radial as radial
from xtalsk.diffraction._geometry import Geometry, find_geometry
from xtalsk.diffraction._ring_center import ring_center
from xtalsk.diffraction._sectors import N_SECTORS, sector_means_of_tensors
from xtalsk.io import DiffractionImage

PIXEL = 0.01
EDGES = torch.linspace(0.05, 1.25, 121, dtype=torch.float64)


@pytest.fixture(scope="module")
def spotty():
    """Even rings at 0.3 and 0.7 1/Å, a ring of six spots at 0.5, a halo, and the centre."""
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:192, :192].astype(float)
    y, x = y - 99.3, x - 90.8
    q = np.hypot(y, x) * PIXEL
    image = 400 * np.exp(-q / 0.15) + sum(60 * np.exp(-0.5 * ((q - c) / 0.012) ** 2) for c in (0.3, 0.7))
    for phi in 0.3 + np.pi / 3 * np.arange(6):
        image += 3000 * np.exp(-0.5 * ((y - 50 * np.sin(phi)) ** 2 + (x - 50 * np.cos(phi)) ** 2) / 1.5**2)
    return rng.poisson(image).astype(np.float32), (99.3, 90.8)


def heights(statistic, image):
    profile = RadialProfile(240, statistic=statistic, scale="linear")
    values = profile.fit_transform([DiffractionImage(image, pixel_size=PIXEL)])[0]
    return [np.nanmax(values[np.abs(profile.q_ - place) < 0.02]) for place in (0.3, 0.5, 0.7)]


def test_median_leaves_out_spots_and_spots_leave_out_rings(spotty):
    mean, median, spots = (heights(statistic, spotty[0]) for statistic in ("mean", "median", "spots"))
    assert mean[1] > mean[0]
    assert median[1] < 0.2 * min(median[0], median[2])
    assert spots[1] > 5 * max(spots[0], spots[2])


def test_sector_means_agree_with_plain_ones(spotty):
    """Against means over pixels by NumPy, and the tensor path against the compiled loops."""
    image = torch.from_numpy(spotty[0])[None]
    valid = torch.ones_like(image, dtype=torch.bool)
    valid[0, 60:90, 20:40] = False
    geometry = Geometry(torch.tensor([spotty[1]]), torch.tensor([[0.01, -0.006]]), valid)
    size = torch.tensor([PIXEL])
    from xtalsk.diffraction._compiled_radial import sector_means

    compiled = sector_means(image, geometry, size, EDGES)
    plain = sector_means_of_tensors(image, geometry, size, EDGES)
    assert compiled.shape == (1, N_SECTORS, 120)
    torch.testing.assert_close(compiled, plain, rtol=2e-3, atol=2e-2, equal_nan=True)
    y, x = np.mgrid[:192, :192] - np.array(spotty[1])[:, None, None]
    phi = np.arctan2(y, x)
    stretch = 1 + 0.01 * np.cos(2 * phi) - 0.006 * np.sin(2 * phi)
    q = np.hypot(y, x) * PIXEL / stretch
    quarter = (q > 0.28) & (q < 0.32) & (x > 0) & (y > 0) & valid[0].numpy()
    bins = ((EDGES[:-1] > 0.275) & (EDGES[1:] < 0.325)).numpy()
    first = N_SECTORS // 4  # sectors begin at -90 degrees
    means = compiled[0, first : 2 * first].numpy()[:, bins]
    assert np.nanmean(means) == pytest.approx(spotty[0][quarter].mean(), rel=0.05)


def test_center_of_spotty_rings(spotty):
    image = torch.from_numpy(spotty[0])[None]
    found = find_geometry(image, torch.ones_like(image, dtype=torch.bool)).center[0].numpy()
    np.testing.assert_allclose(found, spotty[1], atol=0.5)
    root, valid = image[:, ::2, ::2].sqrt(), torch.ones(1, 96, 96)
    wrong = torch.tensor([[58.0, 30.0]])
    better = ring_center(root, valid, wrong, 0.2, 0.7)[0].numpy()
    np.testing.assert_allclose(better, np.array(spotty[1]) / 2, atol=1.5)
    right = torch.tensor([[49.65, 45.4]])
    assert torch.equal(ring_center(root, valid, right, 0.2, 0.7), right)  # no other one is clearly better


def test_statistics_of_one_image_share_its_geometry(spotty, monkeypatch):
    calls = []
    work = radial.find_geometry
    monkeypatch.setattr(radial, "find_geometry", lambda *args: calls.append(1) or work(*args))
    X = pd.DataFrame({"rings": pd.Series([DiffractionImage(spotty[0], pixel_size=PIXEL)], dtype=object)})
    names = ("mean", "median", "spots")
    blocks = {name: ("rings", RadialProfile(64, statistic=name)) for name in names}
    together = make_features(**blocks).fit_transform(X).to_numpy()
    n_together = len(calls)
    alone = [RadialProfile(64, statistic=name).fit_transform(X["rings"]) for name in names]
    assert len(calls) - n_together == 3 * n_together
    np.testing.assert_allclose(together, np.concatenate(alone, axis=1), atol=1e-6)
    functions = [RadialProfile(64, statistic=name).fit([None])._batched(PIXEL) for name in names]
    calls.clear()
    images = torch.from_numpy(spotty[0])[None]
    streamed = torch.cat([function(images) for function in functions], 1)
    assert len(calls) == 1
    np.testing.assert_allclose(streamed.numpy(), together, atol=2e-3)


def test_unknown_statistic():
    with pytest.raises(ValueError, match="statistic must be one of"):
        RadialProfile(statistic="mode").fit([None])
