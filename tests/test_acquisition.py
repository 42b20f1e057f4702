"""Accuracy against the share of a measurement that is recorded."""

import numpy as np
import pytest
from sklearn.pipeline import make_pipeline

from xtalsk import (
    DiffractionImage,
    PowderConditions,
    PowderProfile,
    Profile,
    RadialProfile,
    RingConditions,
    acquisition_curve,
    dose_curve,
    load_amcsd,
    make_baseline,
    make_features,
    make_specimens,
)
from xtalsk.model_selection import _rendering
from xtalsk.model_selection._thinning import GrainMap, fill, recorded_places, thin_images, thin_scan

pytestmark = [
    pytest.mark.filterwarnings("ignore:The least populated class"),
    pytest.mark.filterwarnings("ignore:RadialProfile"),
    pytest.mark.filterwarnings("ignore:1 of 24 entries were left out"),
]
CAMERA = {"rings": RingConditions(image_size=48, off_center=0.0, detector="ideal")}
SCAN = {"powder": PowderConditions(two_theta=(10.0, 80.0, 0.1))}
RINGS = make_features(diffraction=("rings", RadialProfile(n_bins=48)))
POWDER = make_features(diffraction=("powder", PowderProfile(n_bins=64)))


def trees(features):
    return make_pipeline(features, make_baseline("extra_trees", n_estimators=30, random_state=0))


@pytest.fixture(scope="module")
def crystals():
    minerals = load_amcsd()
    chosen = [np.flatnonzero(minerals.space_groups == number)[:8] for number in (225, 167, 62)]
    return minerals[np.concatenate(chosen)]


def test_recorded_places_are_nested_fractions_or_lines():
    quarter, half = (recorded_places((20, 30), f, "random", 0) for f in (0.25, 0.5))
    assert (quarter.sum(), half.sum()) == (150, 300)
    assert not (quarter & ~half).any()
    lines = recorded_places((12, 5), 1 / 3, "lines", 0)
    assert lines.all(axis=1).sum() == 4
    assert lines.any(axis=1).sum() == 4


@pytest.mark.parametrize("reconstruction", ["linear", "biharmonic"])
def test_a_ramp_is_reconstructed(reconstruction):
    if reconstruction == "biharmonic":
        pytest.importorskip("skimage")
    rows, columns = np.indices((16, 16), dtype=float)
    ramp = np.stack([rows + 2 * columns, 3 - rows], axis=-1)
    recorded = recorded_places((16, 16), 0.5, "random", 0)
    recorded[[0, 0, -1, -1], [0, -1, 0, -1]] = True
    filled = fill(ramp, recorded, reconstruction)
    np.testing.assert_allclose(filled, ramp, atol=1e-6 if reconstruction == "linear" else 0.5)


def test_the_nearest_place_fills_or_nothing_does():
    values = np.arange(4.0).reshape(1, 4, 1)
    recorded = np.array([[True, False, False, True]])
    assert fill(values, recorded, "nearest").ravel().tolist() == [0, 0, 3, 3]
    assert np.isnan(fill(values, recorded, None).ravel()[1:3]).all()


def test_images_keep_their_calibration_and_lose_pixels():
    images = [DiffractionImage(np.full((8, 8), 5), pixel_size=0.1, center=(3.0, 4.0))]
    (thin,) = thin_images(images, 0.25, "random", None, 0)
    assert np.isfinite(thin.data).sum() == 16
    assert (thin.pixel_size, thin.center) == (0.1, (3.0, 4.0))


def test_scans_lose_points_or_their_end():
    scan = Profile(np.arange(11), two_theta=np.linspace(10, 20, 11), wavelength=1.5406)
    wide, short = thin_scan(scan, step=2.0), thin_scan(scan, two_theta_max=15.0)
    assert wide.two_theta.tolist() == [10, 12, 14, 16, 18, 20]
    assert wide.intensity.tolist() == [0, 2, 4, 6, 8, 10]
    assert short.two_theta[-1] == 15
    with pytest.raises(ValueError, match="must be a multiple of the step of the scan"):
        thin_scan(scan, step=1.5)


def test_a_map_has_grains_and_its_unmeasured_positions_take_their_neighbours():
    grains = GrainMap(np.repeat([3, 7], 4), grain_size=6, seed=0)
    assert np.unique(grains.specimen).tolist() == list(range(8))
    proba = np.repeat(np.eye(2), 4, axis=0)
    whole, y = grains.fill(proba, np.repeat([62, 225], 4), 1, "random", "nearest")
    assert (np.array([62, 225])[whole.argmax(axis=1)] == y).all()
    half, _ = grains.fill(proba, np.repeat([62, 225], 4), 0.5, "random", "nearest")
    assert 0.8 < np.mean(half.argmax(axis=1) == whole.argmax(axis=1)) < 1


def test_pixels_of_the_whole_image_give_the_score_of_the_dose_curve(crystals):
    options = {"conditions": CAMERA, "cv": 2, "random_state": 0}
    dose = dose_curve(trees(RINGS), crystals, electrons=1e6, retrain=True, **options)
    again = acquisition_curve(
        trees(RINGS), crystals, pixels=[1], sampling="random", electrons=1e6, retrain=True, **options
    )
    for metric in ("space_group_top5", "crystal_system_calibration_error"):
        expected = dose.loc[dose["model"] == "model", metric].tolist()
        assert again.loc[again["model"] == "model", metric].tolist() == expected


def test_shorter_and_coarser_scans_know_less(crystals):
    X, y, _ = make_specimens(crystals, "powder", conditions=SCAN, random_state=1)
    known = trees(POWDER).fit(X, y)
    options = {"conditions": SCAN, "cv": 2, "random_state": 0}
    ends = acquisition_curve(known, crystals, two_theta_max=[12, 80], **options)
    means = ends.pivot_table("space_group_accuracy", "two_theta_max", "model")["model"]
    assert means[80] > means[12] + 0.2
    steps = acquisition_curve(known, crystals, step=[0.1, 10], **options)
    means = steps.pivot_table("space_group_accuracy", "step", "model")["model"]
    assert means[0.1] > means[10] + 0.2


def test_positions_are_scored_on_the_whole_map(crystals):
    table = acquisition_curve(
        trees(RINGS), crystals, positions=[1 / 9, 1], grain_size=5, conditions=CAMERA, cv=2, random_state=0
    )
    means = table.pivot_table("space_group_accuracy", "positions", "model")
    assert means.loc[1 / 9, "model"] < means.loc[1, "model"]
    assert means.loc[1 / 9, "prior"] == pytest.approx(means.loc[1, "prior"])


@pytest.mark.parametrize(
    ("features", "arguments", "message"),
    [
        (RINGS, {}, "expected one of .* got none"),
        (RINGS, {"pixels": [0.5], "positions": [0.5]}, "expected one of"),
        (RINGS, {"pixels": [0, 1]}, "fractions that increase, above 0 and at most 1"),
        (RINGS, {"pixels": [1, 0.5]}, "fractions that increase"),
        (RINGS, {"positions": [2.0]}, "fractions that increase"),
        (RINGS, {"pixels": [0.75]}, "with sampling 'lines' must be 1/n"),
        (RINGS, {"pixels": [0.5], "sampling": "spiral"}, "sampling must be one of"),
        (RINGS, {"pixels": [0.5], "reconstruction": "magic"}, "reconstruction must be one of"),
        (RINGS, {"pixels": [0.5], "electrons": [1, 2]}, "electrons must be one dose here"),
        (RINGS, {"positions": [0.5], "grain_size": 0.5}, "grain_size"),
        (RINGS, {"step": [0.1]}, r"changes the columns \['powder'\]"),
        (POWDER, {"pixels": [0.5]}, r"the model 'model' uses \['powder'\]"),
        (POWDER, {"step": [0.15]}, "must be a multiple of the step"),
        (POWDER, {"step": [100.0]}, "step must leave 2 points"),
        (POWDER, {"two_theta_max": [20, 200]}, "two_theta_max must be within the scan, 10 to 80 degrees"),
        (POWDER, {"two_theta_max": [5, 20]}, "two_theta_max must be within"),
    ],
)
def test_bad_levels_are_errors_before_any_work(features, arguments, message, crystals, monkeypatch):
    monkeypatch.setattr(_rendering, "make_specimens", None)
    with pytest.raises(ValueError, match=message):
        acquisition_curve(trees(features), crystals, conditions=CAMERA | SCAN, **arguments)
