"""Streams of spot patterns of several zones, and chunks that other processes render."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.pipeline import make_pipeline

from xtalsk import (
    ElementFractions,
    FusionClassifier,
    RadialProfile,
    SpecimenColumns,
    SpotConditions,
    load_amcsd,
    make_features,
    make_specimens,
)
from xtalsk.streaming import SpecimenStream, _instruments, fit_stream

ZONES = ["spots_1", "spots_2", "spots_3"]
CONDITIONS = SpotConditions(image_size=48, q_max=0.8, calibration=(-0.05, 0.05))
N_BINS = 40


@pytest.fixture(scope="module")
def crystals():
    return load_amcsd()[:20]


@pytest.fixture(autouse=True)
def _small_sample(monkeypatch):
    monkeypatch.setattr(SpecimenStream.sample, "__defaults__", (32,))


def make_stream(crystals, columns=ZONES, **options):
    profile = RadialProfile(N_BINS, q_range=(0.1, 0.8), statistic="spots", on_error="warn")
    features = make_features(profile=(columns, profile), fractions=("formula", ElementFractions()))
    options = {"conditions": {"spots": [CONDITIONS, "ideal"]}, "shares": {"spots": [1, 0]}} | options
    return SpecimenStream(crystals, features, **{"chunk_size": 32, "random_state": 0, **options})


def zones_measured(stream, X):
    columns = [[n.startswith(f"profile_{k}__") for n in stream.feature_names_] for k in (1, 2, 3)]
    return np.stack([~np.isnan(X.numpy()[:, c]).all(axis=1) for c in columns], axis=1)


def test_specimens_have_the_numbers_of_zones_that_are_asked_for(crystals):
    stream = make_stream(crystals, missing={"spots": 0.25})
    measured = zones_measured(stream, stream.chunk(0)[0])
    assert set(measured.sum(1)) == {0, 1, 2, 3}
    assert (np.diff(measured.astype(int), axis=1) <= 0).all()  # the first columns hold the zones
    pair = make_stream(crystals, zones={2: 1.0}, chunk_size=16)
    assert zones_measured(pair, pair.chunk(0)[0]).sum(1).tolist() == [2] * 16
    single = make_stream(crystals, "spots", chunk_size=4)
    assert not single.chunk(0)[0][:, :N_BINS].isnan().all(1).any()


def test_unmeasured_zones_are_not_rendered(crystals, monkeypatch):
    stream, sizes = make_stream(crystals), []
    render = _instruments._spots.render_spots
    monkeypatch.setattr(_instruments._spots, "render_spots", lambda *a: sizes.append(len(a[1])) or render(*a))
    measured = zones_measured(stream, stream.chunk(0)[0])
    assert sum(sizes) == measured.sum()


def test_zones_of_a_specimen_share_the_microscope(crystals, monkeypatch):
    stream, values = make_stream(crystals, chunk_size=8), []
    render = _instruments._spots.render_spots
    monkeypatch.setattr(
        _instruments._spots, "render_spots", lambda *a: values.append((a[1], a[2])) or render(*a)
    )
    instrument = stream._settings["spots"][0][0]
    rows = np.arange(4)
    batches = instrument.render_zones(
        stream._reflections[instrument.lines()], rows, np.array([3, 1, 2, 3]), np.random.RandomState(0)
    )
    order = [(zone, specimens.tolist()) for zone, specimens, _ in batches]
    assert order == [(0, [0, 1, 2, 3]), (1, [0, 2, 3]), (2, [0, 3])]
    first, second = values[0][1], values[1][1]
    for name in ("calibration", "ellipticity", "strain"):
        assert first[name][[0, 2, 3]].tolist() == second[name].tolist()
    assert (first["turn_x"][[0, 2, 3]] != second["turn_x"]).all()
    assert values[1][0].tolist() == [0, 2, 3]


def test_features_of_zones_are_those_of_specimens(crystals):
    clean = SpotConditions(image_size=64, zone_axis=(0, 0, 1), mistilt=0, beam_stop=0, electrons=1e8)
    stream = make_stream(crystals[:1], conditions={"spots": clean}, shares=None, chunk_size=4)
    X = stream.chunk(0)[0].numpy()
    cells, _, _ = make_specimens(crystals[:1], ("spots",), conditions={"spots": clean}, random_state=1)
    columns = SpecimenColumns([*ZONES, "formula"])
    expected = stream.features_.transform(columns.transform(cells))
    profile = [name.startswith("profile_1__") for name in stream.feature_names_]
    both = np.stack([X[0, profile], expected.to_numpy()[0, profile]])
    assert np.corrcoef(both[:, ~np.isnan(both).any(0)])[0, 1] > 0.7


def test_chunks_are_repeatable_and_settings_have_a_fingerprint(crystals):
    first, second = make_stream(crystals), make_stream(crystals)
    assert first.fingerprint_ == second.fingerprint_
    np.testing.assert_array_equal(first.chunk(3)[0].numpy(), second.chunk(3)[0].numpy())
    assert make_stream(crystals, zones={3: 1}).fingerprint_ != first.fingerprint_


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"zones": {4: 1}}, "zones must be a dict from a number of zones, 1 to 3"),
        ({"zones": {1: 0}}, "shares of zones"),
        ({"zones": [1, 2]}, "zones must be a dict"),
        ({"missing": {"spots_1": 0.1}}, "missing must give"),
        ({"conditions": {"spots_1": "harsh"}}, r"name \['spots_1'\]"),
    ],
)
def test_wrong_settings_are_named(crystals, options, message):
    features = make_features(profile=(ZONES, RadialProfile(N_BINS)))
    with pytest.raises(ValueError, match=message):
        SpecimenStream(crystals, features, **options)


def test_zones_need_spots(crystals):
    features = make_features(fractions=("formula", ElementFractions()))
    with pytest.raises(ValueError, match="zones needs features of spots"):
        SpecimenStream(crystals, features, zones={1: 1})
    rings = make_features(profile=(["rings_1", "rings_2"], RadialProfile(N_BINS)))
    with pytest.raises(ValueError, match=r"features use the columns \['rings_1', 'rings_2'\]"):
        SpecimenStream(crystals, rings)


def test_other_processes_render_the_same_training(crystals, tmp_path):
    stream = make_stream(crystals, chunk_size=16, missing={"spots": 0.1, "formula": 0.3})
    model = FusionClassifier(
        hierarchy="space_group", hidden_size=8, embedding_size=8, n_filters=2, batch_size=32, random_state=0
    )
    X, _ = stream.chunk(7)
    X = pd.DataFrame(X.numpy(), columns=stream.feature_names_)
    expected = fit_stream(model, stream, 4 * 16, n_uses=2)
    assert expected.blocks_ == {"profile": "conv1d", "fractions": "elements"}
    options = {"n_uses": 2, "checkpoint": tmp_path / "training", "checkpoint_every": 2}

    def stop(_, n_rendered):
        if n_rendered == 2 * 16:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_stream(model, stream, 4 * 16, **options, callback=stop)
    trained = fit_stream(model, stream, 4 * 16, **options, n_jobs=2)
    assert trained.loss_curve_ == pytest.approx(expected.loss_curve_, abs=1e-6)
    np.testing.assert_allclose(trained.predict_proba(X), expected.predict_proba(X), atol=1e-6)
    with pytest.raises(ValueError, match="n_jobs"):
        fit_stream(model, stream, 16, n_jobs=0)
    stream.device = torch.device("cuda")
    with pytest.raises(ValueError, match="n_jobs=2 needs a stream with device='cpu'"):
        fit_stream(model, stream, 16, n_jobs=2)


def test_a_pipeline_of_several_zones_takes_one(crystals):
    stream = make_stream(crystals)
    model = FusionClassifier(hierarchy="space_group", hidden_size=8, n_filters=2, random_state=0)
    trained = fit_stream(model, stream, 32)
    pipeline = make_pipeline(SpecimenColumns(stream.columns_), stream.features_, trained)
    X, _, _ = make_specimens(crystals[:3], "spots", conditions={"spots": CONDITIONS}, random_state=0)
    assert list(X) == ["spots"]
    alone = pipeline.predict_proba(X)
    np.testing.assert_allclose(
        pipeline.predict_proba(X.rename(columns={"spots": "spots_2"})), alone, atol=1e-6
    )
