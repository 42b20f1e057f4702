"""Work that joblib spreads over the processes of a dask cluster, one of which is killed on the way."""

import os
import signal
import threading
import time
from contextlib import contextmanager

import joblib
import numpy as np
import pytest
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import make_pipeline

from xtalsk import (
    ElementFractions,
    PowderConditions,
    PowderProfile,
    RadialProfile,
    RingConditions,
    load_amcsd,
    make_features,
    map_structures,
)
from xtalsk.crystals._faults import find_faults
from xtalsk.datasets import load_cif_tree, make_specimens
from xtalsk.mapping._jobs import Shared
from xtalsk.streaming import SpecimenStream, write_stream

distributed = pytest.importorskip("distributed")
SMALL = {"rings": RingConditions(image_size=64), "powder": PowderConditions(two_theta=(10, 80, 0.1))}
PIXEL_SIZE = 2 * SMALL["rings"].q_max / 64
FEATURES = make_features(
    diffraction=("powder", PowderProfile(n_bins=64)), fractions=("formula", ElementFractions())
)


@pytest.fixture(scope="module")
def crystals():
    crystals = load_amcsd()[::30]
    return crystals[np.setdiff1d(np.arange(len(crystals)), list(find_faults(crystals)))]


@pytest.fixture(scope="module")
def client():
    """A cluster of two processes of one thread each; a killed one is started again."""
    environment = {"OMP_NUM_THREADS": "1"}
    options = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "dashboard_address": None}
    with (
        distributed.LocalCluster(silence_logs=50, env=environment, **options) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@contextmanager
def killed_midway(client):
    """Kill one process of a cluster when some tasks are finished and it works on another."""
    pids, killed = client.run(os.getpid), []

    def kill():
        seen, end = set(), time.monotonic() + 60
        while time.monotonic() < end and not killed:
            tasks = client.processing()
            current = {task for of_worker in tasks.values() for task in of_worker}
            seen |= current
            busy = [worker for worker, of_worker in tasks.items() if of_worker]
            if seen - current and busy:  # some are finished, others are not
                os.kill(pids[busy[0]], signal.SIGKILL)
                killed.append(pids[busy[0]])
            time.sleep(0.01)

    thread = threading.Thread(target=kill)
    thread.start()
    yield
    thread.join()
    assert killed
    assert killed[0] not in client.run(os.getpid).values()


def assert_equal_specimens(first, second):
    (X, *labels), (Y, *others) = first, second
    assert list(X) == list(Y)
    assert X.attrs == Y.attrs
    for mine, theirs in zip(labels, others, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    for name in X:
        for cell, other in zip(X[name], Y[name], strict=True):
            assert repr(cell) == repr(other)
            np.testing.assert_array_equal(getattr(cell, "data", None), getattr(other, "data", None))


def test_specimens_do_not_depend_on_workers(crystals, client):
    options = {"modalities": ("rings", "formula"), "conditions": SMALL, "n_replicas": 2}
    options |= {"missing": 0.2, "random_state": 0}
    alone = make_specimens(crystals, n_jobs=1, **options)
    with joblib.parallel_config("dask"), killed_midway(client):
        spread = make_specimens(crystals, n_jobs=-1, **options)
    assert_equal_specimens(spread, alone)
    _, y, groups = alone
    one_sequence = make_specimens(crystals, **options)
    np.testing.assert_array_equal(y, one_sequence[1])
    np.testing.assert_array_equal(groups, one_sequence[2])
    with joblib.parallel_config("threading"):
        assert_equal_specimens(make_specimens(crystals, n_jobs=2, **options), alone)


def test_stored_streams_do_not_depend_on_workers(crystals, client, tmp_path):
    stream = SpecimenStream(
        crystals,
        FEATURES,
        conditions={"powder": SMALL["powder"]},
        chunk_size=256,
        random_state=0,
        device="cpu",
    )
    alone = write_stream(stream, tmp_path / "alone", 2048)
    with joblib.parallel_config("dask"), killed_midway(client):
        spread = write_stream(stream, tmp_path / "spread", 2048, n_jobs=-1)
    assert spread.n_chunks == alone.n_chunks == 8
    for first, second in zip(
        *(sorted((tmp_path / name).glob("*.parquet")) for name in ("alone", "spread")), strict=True
    ):
        assert first.read_bytes() == second.read_bytes()


def test_trees_of_cif_files_do_not_depend_on_workers(client, tmp_path):
    for number in range(6):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / f"{number}.cif").write_text(copper(3 + number / 10))
    alone = load_cif_tree(tmp_path, cache=False).crystals
    with joblib.parallel_config("dask"):
        spread = load_cif_tree(tmp_path, cache=False, n_jobs=-1).crystals
    assert spread.ids.tolist() == alone.ids.tolist() == [f"{n}/{n}.cif" for n in range(6)]
    np.testing.assert_array_equal(spread.lattices, alone.lattices)


def copper(length):
    cell = " ".join(f"_cell_length_{axis} {length}" for axis in "abc")
    angles = " ".join(f"_cell_angle_{angle} 90" for angle in ("alpha", "beta", "gamma"))
    sites = "loop_ _atom_site_label _atom_site_fract_x _atom_site_fract_y _atom_site_fract_z Cu 0 0 0"
    return f"data_cu {cell} {angles} _space_group_IT_number 225 {sites}"


def test_searches_do_not_depend_on_workers(crystals, client):
    X, y, _ = make_specimens(crystals[:60], "formula", n_replicas=2, random_state=0)
    system = (y > 194).astype(int)
    features = make_features(fractions=("formula", ElementFractions()))
    pipeline = make_pipeline(features, ExtraTreesClassifier(10, random_state=0))
    grid = {"extratreesclassifier__max_features": [0.2, 1.0]}

    def search(n_jobs):
        found = GridSearchCV(pipeline, grid, cv=3, n_jobs=n_jobs).fit(X, system)
        scores = cross_validate(pipeline, X, system, cv=3, n_jobs=n_jobs)
        return found.cv_results_["mean_test_score"].tolist(), scores["test_score"].tolist()

    alone = search(None)
    with joblib.parallel_config("dask", scatter=[X]):
        assert search(-1) == alone


def test_maps_do_not_depend_on_workers(crystals, client, monkeypatch):
    """What all chunks need is packed once for the cluster, not once for each of the 6 chunks."""
    X, y, _ = make_specimens(crystals[:60], "rings", conditions=SMALL, random_state=0)
    profile = make_features(diffraction=("rings", RadialProfile(n_bins=32)))
    pipeline = make_pipeline(profile, ExtraTreesClassifier(10, random_state=0)).fit(X, y)
    scan = np.stack([image.data for image in X["rings"][:24]]).reshape(4, 6, 64, 64)
    options = {"pixel_size": PIXEL_SIZE, "chunk_size": 4}
    alone = map_structures(pipeline, scan, **options)
    pack, n_packed = Shared.__getstate__, []
    monkeypatch.setattr(Shared, "__getstate__", lambda self: n_packed.append(self) or pack(self))
    with joblib.parallel_config("dask"):
        spread = map_structures(pipeline, scan, n_jobs=-1, **options)
    np.testing.assert_array_equal(spread.code, alone.code)
    np.testing.assert_array_equal(spread.confidence, alone.confidence)
    assert len(n_packed) == 1
