"""Stored streams: the same chunks and weights as without a disk, calls that go on, damaged files."""

import errno
import json

import joblib
import numpy as np
import pandas as pd
import pytest
import torch

from xtalsk import (
    ElementFractions,
    FusionClassifier,
    PowderConditions,
    PowderProfile,
    RankedElements,
    load_amcsd,
    make_features,
)
from xtalsk.io import BrokenFileError
from xtalsk.streaming import SpecimenStream, StoredStream, fit_stream, write_stream
from xtalsk.streaming import _stored as stored_module

parquet = pytest.importorskip("pyarrow.parquet")

FEATURES = make_features(
    diffraction=("powder", PowderProfile(n_bins=32, q_range=(0.05, 0.85))),
    fractions=("formula", ElementFractions()),
    ranked=("formula", RankedElements()),
)
CHUNK = 700  # 3 chunks are the sample of a network, and the last one is not full


def make_stream(random_state=0, **options):
    conditions = {"powder": PowderConditions(two_theta=(10, 60, 0.2))}
    options = {"conditions": conditions, "missing": {"powder": 0.3}, "chunk_size": CHUNK} | options
    return SpecimenStream(load_amcsd()[:30], FEATURES, random_state=random_state, device="cpu", **options)


def make_model():
    sizes = {"hidden_size": 8, "embedding_size": 8, "n_filters": 2, "batch_size": 512}
    return FusionClassifier(hierarchy="space_group", device="cpu", random_state=0, **sizes)


@pytest.fixture(scope="module")
def stream():
    return make_stream()


@pytest.fixture(scope="module")
def folder(stream, tmp_path_factory):
    """A stored stream of 4 chunks; tests that change files work on copies."""
    folder = tmp_path_factory.mktemp("stored") / "stream"
    write_stream(stream, folder, 4 * CHUNK)
    return folder


@pytest.fixture
def copied(folder, tmp_path):
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


def assert_equal_bits(first, second):
    np.testing.assert_array_equal(first.numpy().view(np.uint32), second.numpy().view(np.uint32))


def assert_equal_weights(first, second):
    weights = [model.net_.module_.state_dict() for model in (first, second)]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_chunks_are_those_of_the_stream(stream, folder):
    stored = StoredStream(folder, FEATURES, device="cpu")
    assert (stored.n_chunks, stored.n_specimens, stored.columns_) == (4, 4 * CHUNK, stream.columns_)
    assert stored.fingerprint_ == stream.fingerprint_
    np.testing.assert_array_equal(stored.classes_, stream.classes_)
    for k in range(4):
        (X, y), (expected, labels) = stored.chunk(k), stream.chunk(k)
        assert_equal_bits(X, expected)
        np.testing.assert_array_equal(y, labels)
    specimens = pd.DataFrame({"powder": [None], "formula": ["SiO2"]})
    pd.testing.assert_frame_equal(
        stored.features_.transform(specimens), stream.features_.transform(specimens)
    )
    with pytest.raises(IndexError, match="chunk 4 of a stream of 4"):
        stored.chunk(4)


def test_other_programs_read_one_table(stream, folder):
    table = pd.read_parquet(folder)
    assert list(table) == [*stream.feature_names_, "space_group"]
    X, y = zip(*(stream.chunk(k) for k in range(4)), strict=True)
    np.testing.assert_array_equal(table.iloc[:, :-1].to_numpy(), torch.cat(X).numpy())
    np.testing.assert_array_equal(table["space_group"], np.concatenate(y))


def test_training_gives_the_weights_of_the_stream(stream, folder, tmp_path):
    stored = StoredStream(folder, device="cpu")
    live = fit_stream(make_model(), stream, 4 * CHUNK, n_uses=2)
    assert_equal_weights(fit_stream(make_model(), stored, 4 * CHUNK, n_uses=2), live)

    class Stopped(Exception):
        pass

    def stop(trained, n_rendered):
        raise Stopped

    file = tmp_path / "checkpoint"  # begun on the stream, finished on the stored one
    options = {"checkpoint": file, "checkpoint_every": 2, "callback": stop}
    with pytest.raises(Stopped):
        fit_stream(make_model(), stream, 4 * CHUNK, n_uses=2, **options)
    assert_equal_weights(fit_stream(make_model(), stored, 4 * CHUNK, n_uses=2, checkpoint=file), live)
    with pytest.raises(ValueError, match="are 5 chunks, but the stream holds 4"):
        fit_stream(make_model(), stored, 4 * CHUNK + 1)


def test_partial_fit_sees_the_same_rows(stream, folder):
    stored, models = StoredStream(folder, device="cpu"), []
    for source in (stream, stored):
        model = make_model()
        for k in range(2):
            X, y = source.chunk(k)
            table = pd.DataFrame(X.numpy(), columns=source.feature_names_)
            model.partial_fit(table, y, classes=stream.classes_)
        models.append(model)
    assert_equal_weights(*models)


def test_a_call_goes_on_where_it_was(stream, copied):
    """Finished shards stay, missing and damaged ones are made again, and more can be added."""
    shards = sorted(copied.glob("*.parquet"))
    expected = [shard.read_bytes() for shard in shards]
    before = shards[0].stat().st_mtime_ns
    shards[1].unlink()
    data = bytearray(expected[2])
    data[len(data) // 2] ^= 1
    shards[2].write_bytes(data)
    with pytest.raises(ValueError, match=r"lacks 1 of 4 shards: chunk-0000001.parquet"):
        StoredStream(copied)
    with pytest.warns(UserWarning, match=r"damaged shards .* made again: chunk-0000002.parquet$"):
        stored = write_stream(stream, copied, 4 * CHUNK)
    assert [shard.read_bytes() for shard in shards] == expected
    assert shards[0].stat().st_mtime_ns == before
    assert write_stream(stream, copied, 1).n_chunks == stored.n_chunks == 4
    with joblib.parallel_config("threading"):  # each job reads the stream from the folder
        more = write_stream(stream, copied, 5 * CHUNK, n_jobs=2)
    assert more.n_chunks == 5
    assert shards[0].stat().st_mtime_ns == before
    assert_equal_bits(more.chunk(4)[0], stream.chunk(4)[0])
    assert {file.suffix for file in copied.iterdir()} == {".parquet", ".json"}


def test_damaged_shards_are_named(folder, copied):
    """Whatever byte is damaged, the answer is the right numbers or an error that names the file."""
    stored, shard = StoredStream(copied, device="cpu"), copied / "chunk-0000001.parquet"
    X, y = stored.chunk(1)
    data, rng, messages = shard.read_bytes(), np.random.default_rng(0), []
    places = [*rng.integers(0, len(data), 40), *rng.integers(len(data) - 9000, len(data), 160)]
    for place in places:
        damaged = bytearray(data)
        damaged[place] ^= 1 << int(rng.integers(8))
        shard.write_bytes(damaged)
        try:
            found, labels = stored.chunk(1)
            assert_equal_bits(found, X)
            np.testing.assert_array_equal(labels, y)
        except BrokenFileError as error:
            messages.append(str(error))
    assert len(messages) > 50
    assert all("chunk-0000001.parquet: expected a shard" in message for message in messages)
    for content in (b"", data[:-1000], b"PAR1", (folder / "chunk-0000002.parquet").read_bytes()):
        shard.write_bytes(content)
        with pytest.raises(BrokenFileError, match=r"chunk-0000001.parquet: expected a shard"):
            stored.chunk(1)
    shard.unlink()
    with pytest.raises(BrokenFileError, match=r"chunk-0000001.parquet: expected a shard"):
        stored.chunk(1)


def test_other_streams_and_folders_are_refused(stream, folder, copied, monkeypatch):
    with pytest.raises(ValueError, match=r"another stream: stream differ \(stream: random_state\)"):
        write_stream(make_stream(random_state=1), folder, CHUNK)
    with pytest.raises(ValueError, match=r"chunk_size differ|chunk_size, stream differ"):
        write_stream(make_stream(chunk_size=100), folder, CHUNK)
    with pytest.raises(ValueError, match="other features"):
        StoredStream(folder, make_features(fractions=("formula", ElementFractions())))
    manifest = copied / "_stream.json"
    changed = json.loads(manifest.read_text()) | {"n_chunks": 3}
    for content in (b"", b"[]", b"{}", b"\xff", json.dumps(changed).encode(), manifest.read_bytes()[:-9]):
        manifest.write_bytes(content)
        for use in (lambda: StoredStream(copied), lambda: write_stream(stream, copied, CHUNK)):
            with pytest.raises(BrokenFileError, match=r"_stream.json: expected the description"):
                use()
    manifest.unlink()
    with pytest.raises(ValueError, match=r"holds files, but no _stream.json"):
        write_stream(stream, copied, CHUNK)
    with pytest.raises(BrokenFileError, match="no such file"):
        StoredStream(copied)
    stored = stored_module._read_manifest(folder)
    monkeypatch.setattr(stored_module, "plan_of_stream", lambda s: stored["plan"] | {"code": "other"})
    with pytest.raises(ValueError, match="the code of xtalsk has changed"):
        write_stream(stream, folder, CHUNK)


def test_a_full_disk_leaves_the_finished_shards(stream, tmp_path, monkeypatch):
    from xtalsk.streaming import _shards

    def full(path):
        if "0000002" in str(path):
            raise OSError(errno.ENOSPC, "No space left on device")
        return opened(path)

    opened = _shards.open_new
    monkeypatch.setattr(_shards, "open_new", full)
    with pytest.raises(OSError, match=r"No space left .* the others stay.*chunk-0000002"):
        write_stream(stream, tmp_path, 4 * CHUNK)
    monkeypatch.setattr(_shards, "open_new", opened)
    assert len(list(tmp_path.glob("*.parquet"))) == 2
    assert write_stream(stream, tmp_path, 4 * CHUNK).n_chunks == 4
