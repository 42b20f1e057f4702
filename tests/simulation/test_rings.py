"""Ring images."""

from dataclasses import replace

import numpy as np
import pytest

from xtalsk.simulation import Detector, RingConditions, compute_reflections, simulate_powder, simulate_rings

IDEAL = RingConditions.ideal()


def radius_of(values, row, size):
    y, x = np.indices((size, size))
    return np.hypot(y - values.center_row[row], x - values.center_column[row])


def test_wrong_radiation(gold_xray, gold_electron):
    with pytest.raises(ValueError, match="need X-ray reflections"):
        simulate_powder(gold_electron)
    with pytest.raises(ValueError, match="need electron reflections"):
        simulate_rings(gold_xray)


def test_ring_radii_and_strengths(gold_electron):
    """The intensity summed around a ring is proportional to p |F|² d."""
    images, values = simulate_rings(
        gold_electron, None, replace(IDEAL, ring_width=0.006), electrons=1e8, random_state=0,
        return_conditions=True,
    )  # fmt: skip
    radius = radius_of(values, 0, 256) * 2 / 256
    measured, expected = [], []
    for q, f2, p in zip(gold_electron.q, gold_electron.intensity, gold_electron.multiplicity, strict=True):
        if q > 0.95:  # later rings leave the image
            continue
        near = np.abs(radius - float(q)) < 0.012
        np.testing.assert_allclose(np.average(radius[near], weights=images[0][near]), q, atol=5e-4)
        measured.append(images[0][near].sum())
        expected.append(float(p * f2 / q))
    assert len(measured) == 5
    np.testing.assert_allclose(np.array(measured) / measured[0], np.array(expected) / expected[0], rtol=0.01)


@pytest.mark.parametrize("electrons", [1e3, 1e5])
def test_dose_is_poisson(gold_electron, electrons):
    conditions = replace(IDEAL, image_size=64, ring_width=0.02, detector=Detector(blur=1))
    images = simulate_rings(
        gold_electron, np.zeros(200, int), conditions, electrons=electrons, random_state=0
    )
    totals = images.sum((1, 2), dtype=float)
    assert abs(totals.mean() - electrons) < 5 * np.sqrt(electrons / 200)
    pixel = images.reshape(200, -1).astype(float)
    bright = pixel.mean(0) > pixel.mean()
    np.testing.assert_allclose(pixel[:, bright].var(0).mean(), pixel[:, bright].mean(), rtol=0.05)


def test_single_precision_agrees_with_double(gold):
    """Counts of a smooth image in both precisions differ by no more than counting noise."""
    import torch

    conditions = replace(IDEAL, image_size=64, ring_width=0.02, background=0.3)
    both = [
        simulate_rings(
            compute_reflections(gold, "electron", 0.7, dtype=dtype),
            None,
            conditions,
            electrons=1e9,
            random_state=0,
        )
        for dtype in (torch.float32, torch.float64)
    ]
    single, double = (image[0].astype(float) for image in both)
    assert np.abs(single - double).max() < 6 * np.sqrt(double.max()) + 1e-3 * double.max()


@pytest.mark.parametrize("n_grains", [np.inf, 300.0])
def test_background_has_its_share(gold_electron, n_grains):
    """Within q_max the image is a mixture of the rings and the diffuse scattering."""

    def image(background):
        conditions = replace(IDEAL, background=background, background_decay=0.3, n_grains=n_grains)
        images, values = simulate_rings(
            gold_electron,
            np.zeros(20, int),
            conditions,
            electrons=1e7,
            random_state=0,
            return_conditions=True,
        )
        mean = images.mean(0) * (radius_of(values, 0, 256) < 128)
        return mean / mean.sum()

    mixed, rings_only, diffuse_only = image(0.4), image(0.0), image(1.0)
    share = ((mixed - rings_only) * (diffuse_only - rings_only)).sum() / (
        (diffuse_only - rings_only) ** 2
    ).sum()
    assert abs(share - 0.4) < (0.01 if np.isinf(n_grains) else 0.06)


def test_beam_stop_and_random_center(gold_electron):
    conditions = RingConditions(
        image_size=128, electrons=1e6, beam_stop=1.0, direct_beam=1.0, off_center=0.08
    )
    images, values = simulate_rings(
        gold_electron, np.zeros(20, int), conditions, random_state=3, return_conditions=True
    )
    assert (np.abs(values.center_row - 63.5) <= 0.08 * 128).all()
    assert values.center_row.std() > 3
    for row, image in enumerate(images):
        assert image[radius_of(values, row, 128) < 2.5].max() == 0
    bare = simulate_rings(gold_electron, None, replace(conditions, beam_stop=0.0), random_state=3)[0]
    assert bare.max() > 1000


def test_direct_beam_carries_its_electrons(gold_electron):
    conditions = replace(IDEAL, image_size=128, direct_beam=0.5, beam_width=0.02)
    images, values = simulate_rings(gold_electron, None, conditions, random_state=0, return_conditions=True)
    inside = radius_of(values, 0, 128) < 8
    assert abs(images[0][inside].sum() / 0.5e5 - 1) < 0.03
    assert abs(images[0][~inside].sum() / 1e5 - 1) < 0.03


def test_ellipse(gold_electron):
    conditions = replace(IDEAL, q_max=0.6, ellipticity=0.1, ring_width=0.006, detector=Detector(blur=0.5))
    images, values = simulate_rings(
        gold_electron, None, conditions, electrons=1e8, random_state=0, return_conditions=True
    )
    y, x = np.indices((256, 256)) - 127.5
    azimuth = values.ellipse_azimuth[0]
    first = float(gold_electron.q[0]) / (1.2 / 256)
    lengths = []
    for angle in (azimuth, azimuth + np.pi / 2):
        along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
        wedge = (np.abs(across) < 4) & (along > 0.9 * first) & (along < 1.08 * first)
        weights = images[0][wedge].astype(float) ** 2
        lengths.append(np.average(along[wedge], weights=weights))
    np.testing.assert_allclose(lengths[0] / lengths[1], 1.1, rtol=0.01)


def test_corners_belong_to_the_same_image(gold_electron):
    """For any centre and ellipse, no pixel gets its value from the profile of another image."""
    conditions = replace(
        IDEAL, image_size=64, off_center=0.25, ellipticity=1.0, background=1.0, background_decay=0.05
    )
    images, values = simulate_rings(
        gold_electron, np.zeros(64, int), conditions, random_state=0, return_conditions=True
    )
    for row, image in enumerate(images):
        far = radius_of(values, row, 64) > 40
        assert image[far].max(initial=0) <= 5


def test_detector_may_be_named(gold_electron):
    conditions = RingConditions(image_size=32, detector="harsh")
    assert conditions.detector == Detector.harsh()
    with pytest.raises(ValueError, match="detector must be a Detector or one of"):
        RingConditions(detector="rough")


def first_ring(gold_electron, image, values, size=256):
    """Counts of the first ring in 36 sectors, by azimuth."""
    y, x = np.indices((size, size))
    y, x = y - values.center_row[0], x - values.center_column[0]
    on = np.abs(np.hypot(x, y) * 2 / size - float(gold_electron.q[0])) < 0.025
    sector = (np.degrees(np.arctan2(y, x)) % 360 / 10).astype(int)
    return np.bincount(sector[on], weights=image[on], minlength=36)


def test_few_grains_make_spotty_rings(gold_electron):
    roughness = {}
    for n_grains in (100, 3000, np.inf):
        images, values = simulate_rings(
            gold_electron, None, replace(IDEAL, n_grains=n_grains), electrons=1e7, random_state=1,
            return_conditions=True,
        )  # fmt: skip
        sectors = first_ring(gold_electron, images[0], values)
        roughness[n_grains] = sectors.std() / sectors.mean()
        assert abs(images.sum() / 1e7 - 1) < 0.01
    # 111 of gold: 8 members, excited for a share of 1 / (t q) of the orientations, exponential grains
    expected = np.sqrt(2 / (100 * 8 / (100 * float(gold_electron.q[0])) / 36))
    assert 0.6 < roughness[100] / expected < 1.5
    assert roughness[3000] < 0.4 * roughness[100]
    assert roughness[np.inf] < 0.1


def test_grains_and_smooth_rings_share_the_electrons_alike(gold_electron):
    """With thousands of grains each ring keeps its share of the intensity."""
    q = gold_electron.q.numpy()
    sums = []
    for n_grains in (4000, np.inf):
        images, values = simulate_rings(
            gold_electron, np.zeros(10, int), replace(IDEAL, n_grains=n_grains, thickness_angstrom=300.0),
            electrons=1e6, random_state=1, return_conditions=True,
        )  # fmt: skip
        radius = radius_of(values, 0, 256) * 2 / 256
        mean = images.mean(0)
        sums.append([mean[np.abs(radius - line) < 0.02].sum() for line in q[q < 0.9]])
    np.testing.assert_allclose(sums[0], sums[1], rtol=0.08)


def test_texture_makes_arcs_of_the_pole_density(gold_electron):
    """Plates of gold on 111 tilted by 90°: the 111 arcs lie along the fibre axis."""
    from xtalsk.simulation.reflections import _texture

    conditions = replace(IDEAL, march_parameter=0.6, texture_tilt=90.0)
    for seed in range(40):
        images, values = simulate_rings(
            gold_electron, None, conditions, electrons=1e8, random_state=seed, return_conditions=True
        )
        if values[["texture_h", "texture_k", "texture_l"]].to_numpy().tolist() == [[1, 1, 1]]:
            break
    sectors = first_ring(gold_electron, images[0], values)
    chi = np.radians(np.arange(36) * 10 + 5) - values.texture_azimuth[0]
    grid = np.linspace(0, 2 * np.pi, 721)[:-1]
    import torch

    density = []
    for c in np.cos(chi):  # mean of the March function about the plane normal, over the eight members
        total = 0
        for alpha in np.arccos([1, 1 / 3, 1 / 3, 1 / 3]):
            cosine = np.cos(alpha) * c + np.sin(alpha) * np.sqrt(1 - c * c) * np.cos(grid)
            total += _texture.march(torch.from_numpy(cosine), torch.tensor(0.6)).mean()
        density.append(float(total) / 4)
    density = np.array(density)
    assert density.max() > 1.5 * density.min()
    np.testing.assert_allclose(sectors / sectors.mean(), density / density.mean(), rtol=0.08)


def test_camera_length_is_off(gold_electron):
    images, values = simulate_rings(
        gold_electron, None, replace(IDEAL, calibration=0.05), electrons=1e8, random_state=0,
        return_conditions=True,
    )  # fmt: skip
    radius = radius_of(values, 0, 256) * 2 / 256
    near = np.abs(radius - 1.05 * float(gold_electron.q[0])) < 0.012
    place = np.average(radius[near], weights=images[0][near])
    np.testing.assert_allclose(place, 1.05 * float(gold_electron.q[0]), atol=5e-4)


def test_detector(gold_electron):
    def record(**fields):
        conditions = replace(IDEAL, image_size=64, ring_width=0.03, detector=Detector(blur=0, **fields))
        return simulate_rings(gold_electron, np.zeros(20, int), conditions, random_state=0).astype(float)

    assert record(saturation=30).max() == 30
    assert abs(record(gain=7.0).sum() / record().sum() - 7) < 0.05
    assert abs(record(offset=100.0).min() - 100) < 1
    noise = record(offset=100.0, read_noise=5.0)[:, :3, :3].std()
    assert 4.5 < noise < 6.5
    dead = record(dead_pixels=0.2, offset=50.0) == 0
    assert abs(dead.mean() - 0.2) < 0.02
    hot = record(hot_pixels=0.01)
    assert 0.003 < (hot[:, :8, :8] > 40).mean() < 0.03


def test_random_state_and_presets(gold_electron, gold_xray):
    for render, lines in ((simulate_rings, gold_electron), (simulate_powder, gold_xray)):
        for preset in ("ideal", "typical", "harsh"):
            first, again, other = (render(lines, np.zeros(3, int), preset, random_state=s) for s in (7, 7, 8))
            np.testing.assert_array_equal(first, again)
            assert (first != other).any()
            assert (first[0] != first[1]).any()


def test_global_random_state_is_unchanged(gold_electron):
    import torch

    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    simulate_rings(gold_electron, None, "harsh", random_state=0)
    assert (torch.rand(3) == expected).all()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"image_size": 16}, "at least 32"),
        ({"q_max": 2.0}, "reflections reach"),
        ({"q_max": 0}, "positive number of 1/Å"),
        ({"q_max": 0.2, "image_size": 64}, "crystal 0 .* has no ring"),
        ({"electrons": -5}, "electrons must be above 0"),
        ({"electrons": 0}, "electrons must be above 0"),
        ({"beam_energy": 0}, "beam_energy must be a positive"),
        ({"beam_stop": 2}, "beam_stop must be from 0 to 1"),
        ({"off_center": 0.5}, "from 0 to 0.25"),
        ({"background": 1.5}, "background must be from 0 to 1"),
        ({"ring_width": 0}, "ring_width must be above 0"),
        ({"march_parameter": 0.05}, "march_parameter must be from 0.1 to 3"),
        ({"eta": "wide"}, "eta must be a number, an ordered pair"),
    ],
)
def test_ring_arguments(gold_electron, fields, message):
    with pytest.raises(ValueError, match=message):
        simulate_rings(gold_electron, None, RingConditions(**fields))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rows": [1]}, "rows must be from 0 to 0"),
        ({"rows": []}, "non-empty"),
        ({"conditions": "rough"}, "conditions must be a RingConditions or one of"),
    ],
)
def test_arguments(gold_electron, arguments, message):
    with pytest.raises(ValueError, match=message):
        simulate_rings(gold_electron, **arguments)
