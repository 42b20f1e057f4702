"""The training and the benchmark of the spots pipeline, on a handful of crystals."""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import xtalsk
from xtalsk import CrystalSet, SpotConditions, compound_groups, load_amcsd, make_specimens
from xtalsk.io import DiffractionImage
from xtalsk.streaming import SpecimenStream

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
CAMERA = SpotConditions(image_size=64, q_max=0.9)


@pytest.fixture(scope="module")
def scripts():
    """The scripts, with few crystals, a small camera and a small network."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        import bench_spots
        import train

        crystals = load_amcsd()[:40]
        for module in (train, bench_spots):
            patch.setattr(module, "load_amcsd", lambda: crystals)
        patch.setattr(train, "load_experimental", lambda: crystals[:1])
        compounds = pd.DataFrame({"formula": ["PbS", "CsCl"], "space_group": [225, 221]})
        patch.setattr(train, "load_compounds", lambda: compounds)
        patch.setattr(train, "spot_conditions", lambda: ([CAMERA], [1.0]))
        patch.setattr(SpecimenStream.sample, "__defaults__", (64,))
        for name, value in (("hidden_size", 16), ("n_filters", 4), ("embedding_size", 16)):
            patch.setitem(train.SPOT_MODEL, name, value)
        yield train, bench_spots
    for name in ("train", "bench_spots", "_training", "_materials_project"):
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def trained(scripts, tmp_path_factory):
    out = tmp_path_factory.mktemp("training") / "spots.xtalsk"
    arguments = [
        "--modality",
        "spots",
        "--chemistry",
        "--out",
        str(out),
        "--n-random",
        "0",
        "--n-substituted",
        "0",
        "--device",
        "cpu",
    ]
    arguments += ["--n-specimens", "128", "--n-uses", "2", "--chunk-size", "64", "--exclude-fold", "1"]
    scripts[0].main(arguments)
    return xtalsk.load(out), json.loads(out.with_suffix(".json").read_text())


pytestmark = pytest.mark.filterwarnings(
    "ignore:The number of unique classes:UserWarning", "ignore:The least populated class:UserWarning"
)


def test_compounds_of_the_fold_are_in_no_source(scripts):
    train, _ = scripts
    from _training import held_out, without_fold

    crystals = load_amcsd()[:40]
    out = held_out(crystals, 1)
    groups = compound_groups(crystals)
    assert 4 <= out.sum() <= 16
    assert not set(groups[out]) & set(groups[~out])
    again = crystals[np.flatnonzero(out)[:1]]
    others = CrystalSet.concatenate([again, crystals[np.flatnonzero(~out)[:2]]])
    kept = without_fold({"amcsd": crystals, "other": others}, 1)
    assert kept["amcsd"].ids.tolist() == crystals.ids[~out].tolist()
    assert kept["other"].ids.tolist() == crystals.ids[~out][:2].tolist()
    loaded, weights, counts = train.load_crystals(None, None, 0, train.system_shares("spots"), 1)
    assert counts == {"amcsd": (~out).sum(), "experimental": (~out)[0]}
    assert len(weights) == len(loaded) == sum(counts.values())


def test_a_pipeline_of_spots_takes_one_pattern_or_eight(trained):
    pipeline, card = trained
    assert card["n_specimens"] == 128
    assert "no compound of fold 1" in card["held_out"]
    assert card["zone_shares"] == {"1": 0.3, "2": 0.2, "4": 0.25, "8": 0.25}
    assert "SpotConditions(" in card["conditions"]["spots"][0]["conditions"]
    assert list(pipeline[-1].blocks_) == [
        "lattice",
        "profile",
        "polar",
        "fractions",
        "presence",
        "ranked",
        "statistics",
    ]
    X, _, _ = make_specimens(
        load_amcsd()[:3], ("spots", "formula"), conditions={"spots": CAMERA}, n_zones=8, random_state=0
    )
    proba = pipeline.predict_proba(X)
    np.testing.assert_allclose(proba.sum(1), 1, rtol=1e-5)
    order = ["formula", *(f"spots_{k}" for k in (5, 1, 8, 2, 7, 3, 6, 4))]
    turned = X.set_axis([f"spots_{order.index(c)}" if c != "formula" else c for c in X], axis=1)
    np.testing.assert_allclose(pipeline.predict_proba(turned), proba, atol=1e-5)
    alone = pipeline.predict_proba(pd.DataFrame({"spots": X["spots_1"]}))
    np.testing.assert_allclose(alone.sum(1), 1, rtol=1e-5)
    assert np.abs(alone - proba).max() > 1e-4


def test_scores_of_unseen_compounds(scripts, trained):
    _, bench = scripts
    crystals = bench.unseen(1, 6, seed=0)
    table, y = bench.simulate(trained[0][:-1], crystals, CAMERA, 0, batch=4)
    assert y.tolist() == crystals.space_groups.tolist()
    one = bench.with_zones(table, 1, formula=False)
    assert one.filter(regex="lattice_1__").notna().any(axis=None)
    assert one.filter(regex="_[2-8]__|fractions|presence|ranked").isna().all(axis=None)
    X, labels = bench.forest_sample("spots", 1, 64, 0, 1)
    forests = {True: bench.fit_forest(X, labels, 4, 0, 1)}
    scores = bench.compare(trained[0][-1], table, y, forests).set_index("model")
    assert len(scores) == 1 + 4 + 2 * 5
    assert "forest, 8 patterns + formula" in scores.index
    assert scores.loc["most frequent labels", "space group"] == pytest.approx(
        pd.Series(y).value_counts(normalize=True).max(), abs=1e-3
    )


def test_measured_frames_of_one_crystal_are_zones(scripts, trained, tmp_path):
    _, bench = scripts
    images, _, _ = make_specimens(
        load_amcsd()[:1], "spots", conditions={"spots": CAMERA}, n_zones=2, random_state=0
    )
    (tmp_path / "spots").mkdir()
    for k, cell in enumerate(images.iloc[0]):
        np.savez(tmp_path / "spots" / f"x_{k}.npz", image=cell.data)
    (tmp_path / "manifest.csv").write_text(
        "file,kind,formula,space_group,pixel_size_inv_angstrom,how sure\n"
        "spots/x_*.npz,frames,NaCl,225,0.028125,sure\nrings/y.npz,rings,NaCl,225,0.01,sure\n"
    )
    frames = bench.read_frames(tmp_path)
    assert frames["frame"].tolist() == ["x_0 0", "x_1 0"]
    assert isinstance(frames["cell"][0], DiffractionImage)
    answers = bench.judge(trained[0], frames)
    assert answers["case"].unique().tolist() == ["x_0 0", "x_1 0", "x: 2 together"]
    assert answers["formula"].tolist() == ["", "NaCl"] * 3
    assert answers["rank"].between(1, 230).all()
    assert answers["system"].eq("cubic").all()


def test_a_measured_frame_without_spots_has_no_answer(scripts, trained):
    _, bench = scripts
    blank = DiffractionImage(np.zeros((32, 32)), 0.05)
    row = {
        "frame": "x_0 0",
        "specimen": "x",
        "cell": blank,
        "formula": "NaCl",
        "truth": 225,
        "how sure": "sure",
    }
    answers = bench.judge(trained[0], pd.DataFrame([row]))
    assert answers["formula"].tolist() == ["", "NaCl"]
    assert answers["answer"][0] == "none: no spots"
