"""Tests of the spots of single-crystal patterns: positions, centre, lattice, rotation, shared work."""

import numpy as np
import pandas as pd
import pytest
import torch
from skimage.feature import peak_local_max

from xtalsk.compose import make_features
from xtalsk.diffraction import PolarImage, RingGeometry, SpotLattice, SpotProfile, locate_spots
from xtalsk.diffraction.spots import _transformer
from xtalsk.io import DiffractionImage
from xtalsk.utils import BrokenCellWarning

PIXEL = 0.01
CENTER = (62.3, 66.1)


def make_pattern(turn=0.0, *, a=11.0, b=14.0, angle=80.0, electrons=200, stop=0, seed=0):
    """Counts of a lattice of spots about `CENTER`, and the positions of the spots without the beam."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:128, :128]
    h, k = (n.ravel() for n in np.mgrid[-4:5, -4:5])
    turns = np.radians([turn, turn + angle])
    columns = CENTER[1] + h * a * np.cos(turns[0]) + k * b * np.cos(turns[1])
    rows = CENTER[0] + h * a * np.sin(turns[0]) + k * b * np.sin(turns[1])
    weights = np.exp(-((rows - CENTER[0]) ** 2 + (columns - CENTER[1]) ** 2) / 40**2)
    radius = np.hypot(y - CENTER[0], x - CENTER[1])
    rates = 3 * np.exp(-radius / 25)
    for row, column, weight in zip(rows, columns, weights, strict=True):
        rates += electrons * weight * np.exp(-((y - row) ** 2 + (x - column) ** 2) / (2 * 1.3**2))
    rates[radius < stop] = 0
    inside = (abs(rows - 63.5) < 60) & (abs(columns - 63.5) < 60) & ((h != 0) | (k != 0))
    return rng.poisson(rates).astype(float), np.stack([rows, columns], axis=1)[inside]


def distances(a, b):
    return np.hypot(*(a[:, None] - b[None]).T).T


def figures(image, **options):
    lattice = SpotLattice(pixel_size=PIXEL, **options).fit([None])
    return dict(zip(lattice.get_feature_names_out(), lattice.transform([image])[0].tolist(), strict=True))


def test_all_spots_are_found_and_no_others():
    image, true = make_pattern()
    between = distances(locate_spots(image)[:, :2], true)
    assert between.min(axis=1).max() < 0.7
    assert (between.min(axis=0) < 0.5).mean() > 0.95
    assert np.median(between.min(axis=1)) < 0.1


def test_spots_agree_with_scikit_image():
    image, _ = make_pattern()
    spots = locate_spots(image)
    strong = spots[spots[:, 2] > 500, :2]
    peaks = peak_local_max(image, min_distance=2, threshold_abs=25).astype(float)
    assert len(strong) > 20
    assert distances(strong, peaks).min(axis=1).max() < 2.5
    bright = peak_local_max(image, min_distance=4, threshold_abs=60).astype(float)
    bright = bright[np.hypot(*(bright - CENTER).T) > 6]
    assert distances(bright, spots[:, :2]).min(axis=1).max() < 2.5


def test_few_electrons_give_no_false_spots():
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:128, :128]
    background = np.exp(-np.hypot(y - 64, x - 64) / 30)
    noise = [rng.poisson(background * n / background.sum()).astype(float) for n in (300, 3000, 30000)]
    assert sum(len(locate_spots(image, center=(64, 64))) for image in noise) <= 2


def test_hot_pixels_are_left_out():
    image, true = make_pattern()
    rng = np.random.default_rng(1)
    hot = rng.integers(5, 123, (6, 2))
    hot = hot[distances(hot.astype(float), np.vstack([true, CENTER])).min(axis=1) > 4]
    assert len(hot)
    image[tuple(hot.T)] = 500
    assert distances(locate_spots(image)[:, :2], hot.astype(float)).min() > 2


def test_bright_line_is_no_row_of_spots():
    image, true = make_pattern()
    image[:, 30] += np.random.default_rng(0).poisson(30, 128)
    spots = locate_spots(image)[:, :2]
    false = spots[distances(spots, true).min(axis=1) > 2]
    assert (abs(false[:, 1] - 30) < 2).sum() <= 5


@pytest.mark.parametrize("stop", [0, 8])
def test_center_is_found_with_and_without_beam_stop(stop):
    image, _ = make_pattern(stop=stop)
    spots = _transformer.locate(image.astype(np.float32), PIXEL)
    assert np.hypot(*(spots.center - CENTER)) < 0.5
    assert np.hypot(*spots.q.T).min() > 0.08


@pytest.mark.parametrize("angle", [80.0, 90.0])
def test_lattice(angle):
    values = figures(make_pattern(turn=17, angle=angle)[0])
    assert np.exp(values["log_a"]) == pytest.approx(0.11, rel=0.01)
    assert np.exp(values["log_b"]) == pytest.approx(0.14, rel=0.01)
    assert values["angle"] == pytest.approx(angle, abs=1)
    assert values["indexed_spots"] > 0.9
    assert values["turn_2"] > 0.8
    assert (values["rectangular"] < 0.03) == (angle == 90)


def test_square_lattice_has_four_fold_positions():
    square, oblique = (figures(make_pattern(a=12, b=12, angle=angle)[0]) for angle in (90, 80))
    assert square["turn_4"] > 0.8 > 0.5 > oblique["turn_4"]
    assert square["mirror"] > 0.8
    assert square["square"] < 0.03 < oblique["square"]


@pytest.mark.parametrize("turn", [20, 51, 133])
def test_features_do_not_depend_on_the_rotation(turn):
    images = [make_pattern(t, electrons=5000)[0] for t in (0, turn)]
    upright, turned = (figures(image, center="find") for image in images)
    for name, tolerance in {"log_a": 0.01, "log_b": 0.01, "angle": 0.5, "log_area": 0.01}.items():
        assert upright[name] == pytest.approx(turned[name], abs=tolerance), name
    polar = PolarImage(24, 8, q_range=(0.05, 0.5), pixel_size=PIXEL).fit([None]).transform(images)
    assert np.corrcoef(polar)[0, 1] > 0.97
    profile = SpotProfile(64, (0.1, 0.45), pixel_size=PIXEL).fit([None]).transform(images)
    assert np.corrcoef(profile)[0, 1] > 0.97


def test_few_spots_give_nan_and_their_number():
    y, x = np.mgrid[:64, :64]
    image = 500 * np.exp(-((y - 20) ** 2 + (x - 40) ** 2) / 4.0)
    values = figures(DiffractionImage(image, PIXEL, center=(32, 32)))
    assert values["n_spots"] == 1
    assert np.isnan([values[name] for name in ("log_a", "turn_2", "laue_radius", "score")]).all()
    assert np.exp(values["log_q_1"]) == pytest.approx(PIXEL * np.hypot(12, 8), rel=0.01)


def test_image_without_spots_is_not_measured():
    y, x = np.mgrid[:64, :64]
    smooth = np.random.default_rng(0).poisson(50 * np.exp(-np.hypot(y - 32, x - 32) / 20)).astype(float)
    for transformer in (SpotLattice, SpotProfile, PolarImage):
        with pytest.warns(BrokenCellWarning, match="no spots"):
            assert np.isnan(transformer(pixel_size=PIXEL).fit([None]).transform([smooth])).all()


def test_stream_and_cells_give_the_same_features():
    images = np.stack([make_pattern(turn, seed=turn)[0] for turn in range(3)]).astype(np.float32)
    for transformer in (SpotLattice(), SpotProfile(), PolarImage()):
        transformer.set_params(pixel_size=PIXEL).fit([None])
        of_stream = transformer._batched(PIXEL)(torch.from_numpy(images))
        np.testing.assert_allclose(of_stream, transformer.transform(list(images)), rtol=1e-5, atol=1e-6)


def test_transformers_of_one_column_search_once(monkeypatch):
    calls = []
    locate = _transformer.locate
    monkeypatch.setattr(_transformer, "locate", lambda *a: calls.append(0) or locate(*a))
    blocks = {"lattice": SpotLattice(), "profile": SpotProfile(), "polar": PolarImage()}
    blocks = {name: ("spots", transformer) for name, transformer in blocks.items()}
    image = DiffractionImage(make_pattern()[0], PIXEL)
    specimens = pd.DataFrame({"spots": pd.Series([image], dtype=object)})
    table = make_features(**blocks).fit_transform(specimens)
    assert table.notna().any(axis=None)
    assert len(calls) == 1


def test_known_geometry_is_used():
    image, _ = make_pattern()
    geometry = RingGeometry((62.3, 66.1), mask=np.mgrid[:128, :128][0] < 40)
    spots = SpotLattice(pixel_size=PIXEL, geometry=geometry)._locate_image(
        image.astype(np.float32), PIXEL, None
    )
    np.testing.assert_allclose(spots.center, geometry.center)
    assert spots.positions[:, 0].min() > 39
