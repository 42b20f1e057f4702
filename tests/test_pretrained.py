"""The pipelines of the package load and answer for measured and simulated specimens."""

import subprocess
import sys
from pathlib import Path

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
    load_pretrained,
    simulate_rings,
    simulate_spots,
)
from xtalsk.pretrained import ModelCard, _load
from xtalsk.symmetry import crystal_system
from xtalsk.utils import BrokenCellWarning, NotMeasuredWarning, _cell_transformer

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
    pipeline = load_pretrained("powder")
    probability = pipeline.predict_proba(X)
    assert np.mean(pipeline.classes_[probability.argmax(1)] == space_groups) > 0.5
    first_five = pipeline.classes_[np.argsort(-probability, axis=1)[:, :5]]
    assert np.mean((first_five == space_groups[:, None]).any(1)) > 0.7


def test_powder_pipeline_reads_files_and_formulas():
    pipeline = load_pretrained("powder")
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
    pipeline = load_pretrained("rings")
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
    pipeline = load_pretrained("spots")
    probability = pipeline.predict_proba(X)
    assert (crystal_system(pipeline.classes_[probability.argmax(1)]) == "cubic").mean() >= 0.8
    turned = X[X.columns[::-1]].set_axis(X.columns, axis=1)
    np.testing.assert_allclose(pipeline.predict_proba(turned), probability, atol=1e-5)
    one = pipeline.predict(pd.DataFrame({"spots": X["spots_1"], "formula": ["Au"] * 6}))
    assert (crystal_system(one) == "cubic").mean() >= 0.5


NAMES = ("powder", "rings", "spots")
COLUMNS = {"powder": "powder", "rings": "rings", "spots": "spots_1"}


def test_unknown_names_are_answered_with_the_known():
    for name in ("Powder", "eds", "../powder", None):
        with pytest.raises(ValueError, match=r"known are \['powder', 'rings', 'spots'\]"):
            load_pretrained(name)


@pytest.mark.parametrize("name", NAMES)
def test_cards(name):
    pipeline, card = load_pretrained(name, return_card=True)
    assert isinstance(card, ModelCard)
    assert (_load.MODELS / f"{name}.xtalsk").stat().st_size <= 20e6
    for section in ("Columns", "Data", "Conditions", "Splits", "Scores", "Limits", "Licences", "Versions"):
        assert f"## {section}\n\n" in card.to_markdown()
    assert card["training"]["n_specimens"] > 1e5
    assert card["versions"]["torch"]
    assert {"n", "space group", "command"} <= set(card["scores"][0]) | {"n"}
    known = pipeline[0].columns
    assert "formula" in card["columns"]
    assert "formula" in known
    assert COLUMNS[name] in known


@pytest.mark.parametrize("name", NAMES)
def test_misspelt_columns_are_an_error(name):
    pipeline = load_pretrained(name)
    with pytest.raises(
        ValueError, match=r"unknown columns \['Formula'\]; known columns are \[.*'formula'\]; perhaps"
    ):
        pipeline.predict(pd.DataFrame({COLUMNS[name]: [None], "Formula": ["NaCl"]}))


def test_uncalibrated_and_unreadable_cells_are_named_and_not_answered(tmp_path):
    image = np.random.default_rng(0).poisson(10, (64, 64)).astype(float)
    np.save(tmp_path / "image.npy", image)
    rings = pd.DataFrame({"rings": pd.Series([image, str(tmp_path / "absent.tif")], dtype=object)})
    (tmp_path / "words.xy").write_text("no numbers here\n")
    powder = pd.DataFrame({"powder": [str(tmp_path / "words.xy"), str(tmp_path / "absent.xy")]})
    for name, X, reason in (("rings", rings, "pixel_size"), ("powder", powder, "words.xy")):
        pipeline = load_pretrained(name)
        with pytest.warns(BrokenCellWarning) as broken, pytest.warns(NotMeasuredWarning, match="rows 0, 1"):
            proba = pipeline.predict_proba(X)
        assert np.isnan(proba).all()
        message = next(str(record.message) for record in broken if record.category is BrokenCellWarning)
        assert reason in message
        for row in (0, 1):
            assert f"row {row} of column {name}" in message


def test_a_first_answer_needs_no_compiled_loops_and_is_the_same(minerals, monkeypatch):
    pipeline, (X, _) = load_pretrained("powder"), minerals
    X = X[:3].assign(formula=["SiO2", None, "Al2O3"])
    compiled = pipeline[:-1].transform(X)
    probability = pipeline[-1].predict_proba(compiled)
    rooms = "diffraction._functional", "diffraction._plausibility", "diffraction.indexing._functional"
    for room in (*rooms, "library._profiles", "library._chemistry"):
        monkeypatch.setattr(f"xtalsk.{room}.is_compiled_or_worth_it", lambda module, n_rows: False)
    _cell_transformer._cache.clear()
    np.testing.assert_allclose(pipeline[:-1].transform(X), compiled, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(pipeline.predict_proba(X), probability, atol=1e-3)


FIRST_ANSWER = """
import sys, pandas as pd
from xtalsk import load_pretrained
answer = load_pretrained("powder").predict(pd.DataFrame({"powder": [sys.argv[1]]}))
print(answer[0], *sorted({"matplotlib", "pymatgen", "matminer", "torch._dynamo"} & set(sys.modules)))
"""


def test_the_first_answer_imports_no_more_than_it_needs():
    scan = str(DATA / "xrd" / "powders" / "Sn" / "data.csv")
    command = [sys.executable, "-c", FIRST_ANSWER, scan]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.split() == ["141"]
