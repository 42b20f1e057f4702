"""The central halo of ring images: saturation, penumbra, flank, direct beam."""

import numpy as np
import pandas as pd
import pytest
import torch

from xtalsk import make_features
from xtalsk.diffraction import RadialProfile, RingGeometry
from xtalsk.diffraction._halo import (
    find_bloom,
    find_saturated,
    find_saturated_of_tensors,
    hide_flank,
    hide_halo,
    hide_halo_of_tensors,
)
from xtalsk.io import DiffractionImage

SIZE, PIXEL = 256, 0.008
RINGS = ((0.32, 1.0), (0.45, 0.8), (0.62, 0.6), (0.8, 0.4))


def draw_halo(*, center=(126.4, 130.1), stop=None, rim=6.0, limit=None, bloom=False, seed=0):
    """Rings on a steep halo, as counts; ``stop`` is the radius of a disc with an arm, ``rim`` its penumbra.

    ``limit`` is the count at which pixels saturate.
    """
    y, x = np.mgrid[:SIZE, :SIZE].astype(float)
    y, x = y - center[0], x - center[1]
    q = np.hypot(y, x) * PIXEL
    image = 4e4 * np.exp(-q / 0.05) + 2e3 * np.exp(-q / 0.3)
    image += sum(900 * s * np.exp(-0.5 * ((q - q0) / 0.012) ** 2) for q0, s in RINGS)
    if stop is not None:
        edge = np.minimum(np.hypot(y, x) - stop, np.where(x > 0, np.abs(y) - 5, np.inf))
        image *= np.clip(edge / rim, 0.01, 1)
    image = np.random.default_rng(seed).poisson(image).astype(np.float32)
    if bloom:
        image[40:220, int(center[1]) - 1 : int(center[1]) + 2] = 1e9
    return image if limit is None else np.minimum(image, limit)


def transform(image, **params):
    profile = RadialProfile(512, **params)
    return profile.fit_transform([DiffractionImage(image, pixel_size=PIXEL)])[0], profile.q_


def is_measured_at(profile, q, places):
    return np.isfinite(np.interp(places, q, profile))


CASES = {
    "penumbra": {"stop": 12},
    "saturation": {"limit": 5000},
    "both": {"stop": 8, "limit": 4000},
    "beam": {},
    "bloom": {"limit": 6000, "bloom": True},
}


@pytest.mark.parametrize("case", CASES)
def test_only_rings_are_left(case):
    """The halo exceeds all rings; after the transform, the highest values are those of the rings."""
    profile, q = transform(draw_halo(**CASES[case]))
    near = np.min([np.abs(q - place) for place, _ in RINGS], axis=0)
    inside = near < 0.03
    assert is_measured_at(profile, q, [place for place, _ in RINGS]).all()
    assert np.nanmax(profile[~inside & (near > 0.045)]) < 0.35 * np.nanmax(profile[inside])
    kept, _ = transform(draw_halo(**CASES[case]), halo=None)
    if case in ("penumbra", "both", "saturation"):
        assert np.nanmax(kept[q < 0.25]) > np.nanmax(kept[inside])  # without it, the halo is the highest peak


def test_bins_before_the_halo_are_missing():
    profile, q = transform(draw_halo(stop=12))
    first = q[np.flatnonzero(np.isfinite(profile))[0]]
    assert 12 * PIXEL < first < 0.25
    assert np.isfinite(profile[q > first]).all()


def test_rings_without_halo_keep_all_bins(draw_rings):
    """A dark middle is no beam stop, if all between the rings is dark as well."""
    image = draw_rings(background=0, beam=0, electrons=1e6)
    profile = RadialProfile(256).fit_transform([DiffractionImage(image, pixel_size=0.0155)])[0]
    assert np.isfinite(profile).all()


def test_first_ring_at_the_edge_of_the_range_stays():
    """Bins below ``q_range`` say whether the halo was measured, not the first bin of the range."""
    image = draw_halo(stop=6, rim=2.0)
    for low in (0.3, 0.31):
        profile, q = transform(image, q_range=(low, 1.0))
        assert np.isfinite(profile).all()
        assert abs(q[np.nanargmax(profile)] - 0.32) < 0.01


def test_known_geometry_gives_the_same():
    image = draw_halo(stop=8, limit=4000)
    found = RadialProfile().fit([None]).geometry_of([DiffractionImage(image, pixel_size=PIXEL)])
    expected, _ = transform(image)
    known, _ = transform(image, geometry=RingGeometry(found.center, found.ellipticity, found.mask))
    np.testing.assert_allclose(known, expected, atol=0.02)


def test_blocks_with_and_without_halo_do_not_share_a_geometry():
    """Saturated pixels determine the geometry unless the halo is hidden."""
    image = DiffractionImage(draw_halo(limit=6000, bloom=True), pixel_size=PIXEL)
    X = pd.DataFrame({"rings": pd.Series([image], dtype=object)})
    blocks = {"hidden": ("rings", RadialProfile(64)), "kept": ("rings", RadialProfile(64, halo=None))}
    together = make_features(**blocks).fit_transform(X).to_numpy()
    alone = [profile.fit_transform(X["rings"]) for _, profile in blocks.values()]
    np.testing.assert_allclose(together, np.concatenate(alone, axis=1), atol=1e-6)


def test_saturation_is_an_area():
    rng = np.random.default_rng(0)
    few = rng.poisson(0.3, (1, 64, 64)).astype(np.float32)  # many pixels share the highest count
    few = np.minimum(few, 2)
    area = rng.poisson(50, (1, 64, 64)).astype(np.float32)
    area[0, 20:26, 30:37] = 255
    images = torch.from_numpy(np.concatenate([few, area]))
    valid = torch.ones_like(images, dtype=torch.bool)
    valid[1, 20, 30] = False
    saturated = find_saturated(images, valid)
    assert not saturated[0].any()
    assert saturated[1].sum() == 6 * 7 - 1
    assert torch.equal(saturated, find_saturated_of_tensors(images, valid))
    bloom = find_bloom(saturated, torch.tensor([[32.0, 32.0], [50.0, 33.0]]))
    assert bloom[1, 22, 33]
    assert not bloom[1, 22, 36]
    assert not find_bloom(saturated, torch.tensor([[32.0, 32.0], [50.0, 10.0]]))[1].any()


def test_profiles_of_a_batch_are_hidden_one_by_one():
    q = np.arange(400) * 0.003
    rise = np.exp(-q / 0.1) * np.clip((q - 0.02) / 0.1, 0, 1)
    fall = np.exp(-q / 0.1)
    line = np.exp(-0.5 * ((q - 0.3) / 0.01) ** 2)
    profiles = torch.from_numpy(np.stack([rise + 0.2 * line, fall + 0.2 * line, line]).astype(np.float32))
    hidden = hide_halo(profiles, None, 0.003)
    n_hidden = hidden.isnan().sum(1).tolist()
    assert 35 <= n_hidden[0] <= 50
    assert n_hidden[1:] == [0, 0]
    for row in range(3):
        torch.testing.assert_close(
            hide_halo(profiles[row : row + 1], None, 0.003)[0], hidden[row], equal_nan=True
        )
    share = torch.zeros_like(profiles)
    share[:, :30] = 0.5
    assert (hide_halo(profiles, share, 0.003).isnan().sum(1) >= 30).all()


def test_flank_ends_where_a_line_begins():
    q = np.arange(400) * 0.003
    flank = np.exp(-q / 0.01)
    line = np.exp(-0.5 * ((q - 0.3) / 0.01) ** 2)
    profiles = torch.from_numpy(np.stack([flank + line, line]).astype(np.float32))
    hidden = hide_flank(profiles, 0.003).isnan().sum(1).tolist()
    assert 10 <= hidden[0] <= 40
    assert hidden[1] == 0


def test_ends_of_haloes_agree():
    rng, bins = np.random.default_rng(0), torch.arange(540.0)
    for k in range(60):
        profile = rng.uniform(1, 20) * torch.exp(-bins / 60) * (1 - torch.exp(-bins / rng.uniform(3, 20)))
        profile += 0.5 * torch.exp(-(((bins - rng.uniform(5, 150)) / 9) ** 2)) + 0.01 * torch.randn(540)
        profile[: rng.integers(0, 60)] = torch.nan
        saturated = (1 - bins / rng.uniform(20, 300)).clamp_min(0)[None] if k % 2 else None
        fast, plain = (f(profile[None], saturated, 0.0023) for f in (hide_halo, hide_halo_of_tensors))
        assert torch.equal(fast.isnan(), plain.isnan())
