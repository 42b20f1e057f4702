"""The compiled loops agree with the batched tensors, and results do not depend on batches or threads."""

import numpy as np
import pytest
import torch

from xtalsk.diffraction import RadialProfile
from xtalsk.diffraction._functional import (
    bin_edges,
    radial_mean,
    radial_mean_of_tensors,
    snip,
    snip_of_tensors,
)
from xtalsk.diffraction._geometry import (
    _reject_defects,
    find_geometry,
    find_geometry_of_tensors,
    reject_defects,
)
from xtalsk.io import DiffractionImage

STOP = (1, 2, 8, 5, 30)
PIXEL = 0.0155


@pytest.fixture(scope="module", params=["plain", "stop", "gaps", "wide"])
def images(request, draw_rings):
    """Four images (n, h, w) with their valid pixels: with a beam stop, gaps, hot pixels, another shape."""
    rng = np.random.default_rng(5)
    size = (90, 301) if request.param == "wide" else 128
    stop = STOP if request.param == "stop" else None
    middle = (np.array([90, 301]) - 1) / 2 if request.param == "wide" else np.array([63.5, 63.5])
    drawn = np.stack(
        [
            draw_rings(
                size=size,
                electrons=e,
                center=middle + rng.uniform(-6, 6, 2),
                ellipticity=(0.01, -0.008),
                stop=stop,
                seed=i,
            )
            for i, e in enumerate((1e4, 1e5, 1e6, 1e7))
        ]
    )
    valid = np.ones(drawn.shape, dtype=bool)
    if request.param == "gaps":
        valid[:, 40:46] = valid[1:, :, 90:93] = False
        valid[2] &= rng.uniform(size=valid.shape[1:]) > 0.2
        drawn[:, 20, 30] = 60000
        drawn[3, 100, 100] = 0
    return torch.from_numpy(drawn), torch.from_numpy(valid)


@pytest.mark.parametrize("ellipticity", [True, False])
@pytest.mark.parametrize("is_known", [True, False])
def test_geometries_agree(images, ellipticity, is_known):
    center = torch.full((4, 2), torch.nan)
    if is_known:
        center[:] = (torch.tensor(images[0].shape[1:]) - 1) / 2 + 3.3
    fast = find_geometry(*images, center, ellipticity)
    plain = find_geometry_of_tensors(*images, center, ellipticity, 0.2)
    torch.testing.assert_close(fast.center, plain.center, atol=1e-3, rtol=0)
    torch.testing.assert_close(fast.ellipticity, plain.ellipticity, atol=1e-4, rtol=0)
    assert (fast.valid != plain.valid).float().mean() < 1e-3


def test_defects_agree(images):
    assert torch.equal(reject_defects(*images), _reject_defects(*images))


@pytest.mark.parametrize("n_bins", [50, 512])
def test_radial_means_agree(images, n_bins):
    geometry = find_geometry(*images)
    edges = bin_edges(n_bins, (0.0, 1.5), "cpu")
    pixel_size = torch.tensor([0.0155, 0.01, 0.02, 0.0051])
    fast = radial_mean(images[0], geometry, pixel_size, edges)
    plain = radial_mean_of_tensors(images[0], geometry, pixel_size, edges)
    torch.testing.assert_close(fast, plain, rtol=2e-5, atol=1e-6 * float(images[0].max()), equal_nan=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_backgrounds_agree(dtype):
    rng = np.random.default_rng(0)
    profiles = torch.from_numpy(rng.poisson(30, (6, 200)) + 100 * np.exp(-np.arange(200) / 40)).to(dtype)
    profiles[1, :30] = profiles[2, 150:] = profiles[3, 60:70] = profiles[3, 120] = profiles[4] = torch.nan
    for width in (0.5, 10, 25.6, 500):
        torch.testing.assert_close(
            snip(profiles, width), snip_of_tensors(profiles, width), rtol=1e-4, atol=1e-3, equal_nan=True
        )


def test_batches_and_threads_do_not_matter(images):
    cells = [
        DiffractionImage(np.where(valid, image, np.nan), pixel_size=PIXEL)
        for image, valid in zip(*(values.numpy() for values in images), strict=True)
    ]
    transformer = RadialProfile(128).fit([None])
    alone = np.concatenate([transformer.transform([cell]) for cell in cells])
    n_threads = torch.get_num_threads()
    try:
        for n in (1, 3):
            torch.set_num_threads(n)
            np.testing.assert_array_equal(transformer.transform(cells), alone)
            assert torch.get_num_threads() == n
    finally:
        torch.set_num_threads(n_threads)
