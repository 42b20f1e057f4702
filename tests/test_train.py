"""The command that trains the published pipelines, on a handful of crystals."""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import xtalsk
from xtalsk import PowderConditions, Profile, load_amcsd
from xtalsk.library._prototype_table import PrototypeTable
from xtalsk.utils import BrokenCellWarning, NotMeasuredWarning

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def train(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import train

    crystals = load_amcsd()[:40]
    monkeypatch.setattr(train, "load_amcsd", lambda: crystals)
    monkeypatch.setattr(train, "load_experimental", lambda: crystals[:1])
    packaged = crystals, PrototypeTable(crystals)
    monkeypatch.setattr("xtalsk.library._prototype_match.packaged", lambda: packaged)
    compounds = pd.DataFrame({"formula": ["PbS", "CsCl"], "space_group": [225, 221]})
    for place in ("train.load_compounds", "xtalsk.datasets._compounds.load_compounds"):
        monkeypatch.setattr(place, lambda: compounds)
    lab = PowderConditions(two_theta=(10, 80, 0.1), peak_counts=1e3)
    monkeypatch.setattr(train, "powder_conditions", lambda: ([lab], [1.0]))
    monkeypatch.setitem(train.MODEL, "hidden_size", 16)
    monkeypatch.setitem(train.MODEL, "n_filters", 4)
    yield train
    for name in ("train", "_training", "_materials_project"):
        sys.modules.pop(name, None)


@pytest.mark.filterwarnings("ignore:The number of unique classes:UserWarning")
def test_a_pipeline_is_trained_and_answers_whatever_was_measured(train, tmp_path, monkeypatch):
    out = tmp_path / "powder.xtalsk"
    arguments = ["--modality", "powder", "--chemistry", "--out", str(out), "--n-random", "0"]
    arguments += ["--n-substituted", "30", "--n-specimens", "128", "--n-uses", "2"]
    arguments += ["--chunk-size", "64", "--device", "cpu"]
    train.main(arguments)
    written = out.stat().st_mtime_ns
    train.main(arguments)  # takes the finished training up, and ends at once
    assert out.stat().st_mtime_ns > written
    card = json.loads(out.with_suffix(".json").read_text())
    assert card["n_specimens"] == 128
    assert card["crystals"] == {"amcsd": 40, "experimental": 1, "substituted": 30}
    assert "PowderConditions(" in card["conditions"]["powder"][0]["conditions"]

    pipeline = xtalsk.load(out)
    axis = np.arange(10, 80, 0.02)
    scan = Profile(20 + 900 * np.exp(-(((axis - 28.5) / 0.1) ** 2)), two_theta=axis)
    file = tmp_path / "scan.xy"
    np.savetxt(file, np.column_stack([axis, scan.intensity]))
    both = pd.DataFrame({"powder": [scan, str(file), None, None], "formula": ["NaCl", None, "PbS", None]})
    with pytest.warns(NotMeasuredWarning, match="row 3") as warned:
        proba = pipeline.predict_proba(both)
    with pytest.warns(NotMeasuredWarning, match="row 3"):
        assert pipeline.predict(both)[3] == 0
    np.testing.assert_allclose(proba[:3].sum(1), 1, rtol=1e-5)
    assert np.isnan(proba[3]).all()
    assert {record.category for record in warned} == {NotMeasuredWarning}
    alone = pipeline.predict_proba(both[["powder"]][:2])
    np.testing.assert_allclose(alone[1], proba[1], atol=1e-5)
    assert not np.allclose(alone[0], proba[0])
    absent = pd.DataFrame({"powder": [str(file), str(tmp_path / "absent.xy")]})
    with pytest.warns(BrokenCellWarning, match="absent.xy"), pytest.warns(NotMeasuredWarning, match="row 1"):
        broken = pipeline.predict_proba(absent)
    assert np.isnan(broken).all(axis=1).tolist() == [False, True]
    for column in ("Powder", "image", "eds"):
        with pytest.raises(ValueError, match=rf"unknown columns \['{column}'\]; known columns are"):
            pipeline.predict(both.assign(**{column: None}))
    best = pipeline[-1].candidates(pipeline[:-1].transform(both[2:3]), n=1)
    assert best["formula"].tolist() == ["PbS"]

    models = tmp_path / "models"
    models.mkdir()
    monkeypatch.setattr("xtalsk.pretrained._load.MODELS", models)
    train.main(["--modality", "powder", "--out", str(out), "--pack"])
    packed, card = xtalsk.load_pretrained("powder", return_card=True)
    np.testing.assert_array_equal(packed.predict_proba(both[:2]), pipeline.predict_proba(both[:2]))
    assert card["training"]["n_specimens"] == 128
    assert "## Limits" in card.to_markdown()

    train.main(
        [*arguments, "--start", "powder", "--learning-rate", "1e-9", "--out", str(tmp_path / "more.xtalsk")]
    )
    former, fitted = (train.network_of(str(path)) for path in (out, tmp_path / "more.xtalsk"))
    state = former.net_.all_weights()[-1].state_dict()
    for name, value in fitted.net_.all_weights()[-1].state_dict().items():
        if name.endswith("weight"):
            np.testing.assert_allclose(value, state[name], atol=1e-5)
    assert json.loads((tmp_path / "more.json").read_text())["start"] == "powder"
