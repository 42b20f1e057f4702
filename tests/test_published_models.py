"""The pipelines in benchmarks/models load and answer for measured and simulated specimens."""

from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest

from xtalsk import (
    DiffractionImage,
    Profile,
    RingConditions,
    SpotConditions,
    compute_reflections,
    load_amcsd,
    simulate_rings,
    simulate_spots,
)
from xtalsk.symmetry import crystal_system

MODELS = Path(__file__).parents[1] / "benchmarks" / "models"
DATA = Path(__file__).parent / "data"


@pytest.fixture(scope="module")
def minerals():
    """Measured powders of 21 minerals and their space groups."""
    with np.load(DATA / "xrd" / "minerals.npz") as archive:
        start, step, count = archive["two_theta"]
        two_theta = start + step * np.arange(int(count))
        scans = [
            Profile(intensity.astype(float), two_theta=two_theta, wavelength=1.5406)
            for intensity in archive["intensity"]
        ]
        return pd.DataFrame({"powder": pd.Series(scans, dtype=object)}), archive["space_group"].astype(int)


def test_powder_pipeline_names_measured_minerals(minerals):
    X, space_groups = minerals
    pipeline = joblib.load(MODELS / "powder_chemistry.joblib")
    probability = pipeline.predict_proba(X)
    assert np.mean(pipeline.classes_[probability.argmax(1)] == space_groups) > 0.5
    first_five = pipeline.classes_[np.argsort(-probability, axis=1)[:, :5]]
    assert np.mean((first_five == space_groups[:, None]).any(1)) > 0.7


def test_powder_pipeline_reads_files_and_formulas():
    pipeline = joblib.load(MODELS / "powder_chemistry.joblib")
    scans = [str(DATA / "xrd" / "powders" / name / "data.csv") for name in ("RuO2", "Sn", "PbSO4")]
    X = pd.DataFrame({"powder": scans, "formula": ["RuO2", None, "PbSO4"]})
    assert pipeline.predict(X).tolist() == [136, 141, 62]
    candidates = pipeline[-1].candidates(pipeline[:-1].transform(X), n=1)
    assert len(candidates) == 3


def test_rings_pipeline_names_gold():
    crystals = load_amcsd()
    gold = crystals[np.flatnonzero(crystals.formulas == "Au")[:1]]
    reflections = compute_reflections(gold, "electron", 0.7)
    conditions = RingConditions(image_size=256)
    images = simulate_rings(reflections, [0] * 4, conditions, random_state=0)
    cells = [DiffractionImage(image, pixel_size=2 * conditions.q_max / 256) for image in images]
    pipeline = joblib.load(MODELS / "rings_chemistry.joblib")
    X = pd.DataFrame({"rings": pd.Series(cells, dtype=object), "formula": ["Au"] * 4})
    assert (pipeline.predict(X) == 225).mean() >= 0.75


def test_spots_pipeline_names_the_system_of_gold_from_any_number_of_patterns():
    crystals = load_amcsd()
    gold = crystals[np.flatnonzero(crystals.formulas == "Au")[:1]]
    reflections = compute_reflections(gold, "electron", 0.7)
    conditions = SpotConditions(image_size=160, zone_axis="low_index", electrons=1e5)
    images = simulate_spots(reflections, [0] * 6, conditions, n_zones=4, random_state=0)
    cells = [[DiffractionImage(i, pixel_size=2 * conditions.q_max / 160) for i in zones] for zones in images]
    X = pd.DataFrame(cells, columns=[f"spots_{k}" for k in range(1, 5)])
    pipeline = joblib.load(MODELS / "spots_chemistry.joblib")
    probability = pipeline.predict_proba(X)
    assert (crystal_system(pipeline.classes_[probability.argmax(1)]) == "cubic").mean() >= 0.8
    turned = X[X.columns[::-1]].set_axis(X.columns, axis=1)
    np.testing.assert_allclose(pipeline.predict_proba(turned), probability, atol=1e-5)
    one = pipeline.predict(pd.DataFrame({"spots": X["spots_1"], "formula": ["Au"] * 6}))
    assert (crystal_system(one) == "cubic").mean() >= 0.5
