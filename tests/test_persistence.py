"""Files of fitted estimators: what comes back, what is refused, and that nothing in a file is executed."""

import io
import json
import sys
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.ensemble import GradientBoostingClassifier, VotingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.tree import DecisionTreeClassifier

import xtalsk
from xtalsk import (
    ElementFractions,
    ElementPresence,
    FusionClassifier,
    LibraryBlend,
    LibraryMatch,
    ModelFileError,
    PowderProfile,
    VersionWarning,
    load_amcsd,
    make_baseline,
    make_features,
    make_library,
    make_specimens,
)
from xtalsk.baselines import BASELINES
from xtalsk.persistence import _file
from xtalsk.utils._container import read_container, write_container

X_TABLE = np.random.default_rng(0).normal(size=(60, 8)).astype(np.float32)
Y_TABLE = np.repeat([62, 225, 152], 20)


sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
from _hostile_files import hostile_schemas, rewrite  # noqa: E402

sys.path.pop(0)


@pytest.fixture(scope="module")
def specimens():
    return make_specimens(load_amcsd()[:60:3], ("powder", "formula"), random_state=0)[:2]


@pytest.fixture(scope="module")
def blend(specimens):
    """A pipeline of a network and a library."""
    X, y = specimens
    features = make_features(
        diffraction=("powder", PowderProfile(n_bins=128)), fractions=("formula", ElementFractions())
    )
    table = features.fit_transform(X)
    network = FusionClassifier(
        hierarchy="space_group", max_epochs=2, hidden_size=16, n_filters=4, random_state=0, device="cpu"
    ).fit(table, y)
    library = LibraryMatch().fit(*make_library(load_amcsd()[:60:3], features))
    parts = FrozenEstimator(network), FrozenEstimator(library)
    return make_pipeline(features, LibraryBlend(*parts).fit(table, y))


@pytest.fixture(scope="module")
def file(blend, tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "blend.xtalsk"
    xtalsk.save(blend, path)
    return path


def small_network(**params):
    return FusionClassifier(
        max_epochs=2, hidden_size=8, embedding_size=8, random_state=0, device="cpu", **params
    )


def test_a_pipeline_predicts_the_same_to_the_last_bit(blend, file, specimens):
    X, _ = specimens
    loaded = xtalsk.load(file)
    np.testing.assert_array_equal(loaded.predict_proba(X), blend.predict_proba(X))
    table = blend[:-1].transform(X)
    pd.testing.assert_frame_equal(loaded[-1].candidates(table), blend[-1].candidates(table))
    assert loaded[-1].classifier_ is loaded[-1].classifier  # as before: one frozen network, not two


def test_the_estimator_that_is_saved_does_not_change(blend, file, specimens):
    assert isinstance(blend[-1].library_.estimator, LibraryMatch)
    assert isinstance(blend[-1].classifier_.estimator.net_.module_, torch.nn.Module)


@pytest.mark.parametrize("name", BASELINES)
def test_baselines(name, tmp_path):
    if name in ("lightgbm", "xgboost"):
        pytest.importorskip(name, reason="pip install xtalsk[boosting]")
    few = {} if name == "prior" else {"max_iter" if name.startswith("hist") else "n_estimators": 3}
    X = X_TABLE.copy()
    X[::7, 3] = np.nan
    model = make_pipeline(StandardScaler(), make_baseline(name, random_state=0, **few)).fit(X, Y_TABLE)
    xtalsk.save(model, tmp_path / "model")
    trusted = [name] if name in ("lightgbm", "xgboost") else []
    if trusted:  # their own parsers do not check the trees
        with pytest.raises(ModelFileError, match=f"models of {name}, which reads its trees without checking"):
            xtalsk.load(tmp_path / "model")
    loaded = xtalsk.load(tmp_path / "model", trusted=trusted)
    np.testing.assert_array_equal(loaded.predict_proba(X), model.predict_proba(X))
    with pytest.raises(ValueError, match="trusted must be a list of"):
        xtalsk.load(tmp_path / "model", trusted=["pickle"])


def test_training_goes_on_as_without_a_file(tmp_path):
    model = small_network(weight_averaging=0.9).partial_fit(X_TABLE, Y_TABLE, classes=np.unique(Y_TABLE))
    xtalsk.save(model, tmp_path / "model")
    loaded = xtalsk.load(tmp_path / "model").partial_fit(X_TABLE, Y_TABLE)
    model.partial_fit(X_TABLE, Y_TABLE)
    np.testing.assert_array_equal(loaded.predict_proba(X_TABLE), model.predict_proba(X_TABLE))
    assert loaded.loss_curve_ == model.loss_curve_


def test_dicts_with_tuples_as_keys(tmp_path):
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(40, 4)), columns=["a__0", "b__0", "c__0", "c__1"])
    y = np.repeat([62, 225], 20)
    dropout = {("a", "b"): (0.0, 0.3), "c": 0.2}
    model = FusionClassifier(modality_dropout=dropout, max_epochs=1, random_state=0).fit(X, y)
    xtalsk.save(model, tmp_path / "model.xtalsk")
    loaded = xtalsk.load(tmp_path / "model.xtalsk")
    assert loaded.modality_dropout == model.modality_dropout == dropout
    np.testing.assert_array_equal(loaded.predict_proba(X), model.predict_proba(X))
    np.testing.assert_array_equal(
        loaded.partial_fit(X, y).predict_proba(X), model.partial_fit(X, y).predict_proba(X)
    )


def test_parameters_that_an_old_estimator_lacks_are_written(tmp_path):
    model = small_network().fit(X_TABLE, Y_TABLE)
    del model.pool  # the class has another value than the constructor
    xtalsk.save(model, tmp_path / "model")
    assert vars(xtalsk.load(tmp_path / "model"))["pool"] is None


def test_unknown_objects_are_refused_by_name(tmp_path):
    own = FunctionTransformer(test_unknown_objects_are_refused_by_name).fit(X_TABLE)
    with pytest.raises(TypeError, match="test_unknown_objects_are_refused_by_name"):
        xtalsk.save(own, tmp_path / "model")
    assert not any(tmp_path.iterdir())
    xtalsk.save(FunctionTransformer(np.log1p).fit(X_TABLE), tmp_path / "model")
    assert xtalsk.load(tmp_path / "model").func is np.log1p
    with pytest.raises(TypeError, match="got dict"):
        xtalsk.save({}, tmp_path / "model")
    networks = VotingClassifier([("a", small_network())]).fit(X_TABLE, Y_TABLE)
    with pytest.raises(TypeError, match="cannot hold this estimator"):
        xtalsk.save(networks, tmp_path / "model")
    with pytest.raises(NotFittedError):
        xtalsk.save(small_network(), tmp_path / "model")


def test_damaged_files_are_errors(file, tmp_path):
    data, rng = file.read_bytes(), np.random.default_rng(0)
    damaged = tmp_path / "damaged"
    cuts = [0, 1, 13, 14, 40, 53, *rng.integers(54, len(data), 20), len(data) - 1]
    for cut in cuts:
        damaged.write_bytes(data[:cut])
        with pytest.raises(ModelFileError, match="damaged"):
            xtalsk.load(damaged)
    for place in [*range(0, 60, 7), *rng.integers(0, len(data), 20)]:
        altered = bytearray(data)
        altered[place] ^= 1 << int(rng.integers(8))
        damaged.write_bytes(altered)
        with pytest.raises(ModelFileError, match="damaged"):
            xtalsk.load(damaged)
    with pytest.raises(FileNotFoundError, match="absent"):
        xtalsk.load(tmp_path / "absent")
    with pytest.raises(ModelFileError, match="regular file"):
        xtalsk.load(tmp_path)


def test_versions(file, tmp_path):
    versions = read_container(file)[0]["versions"]
    assert {"xtalsk", "python", "scikit-learn", "numpy", "torch", "skops"} <= set(versions)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        xtalsk.load(file)
    rewrite(
        file,
        tmp_path / "old",
        versions=versions | {"scikit-learn": "1.2.3", "numpy": versions["numpy"] + "9"},
    )
    with pytest.warns(VersionWarning, match=r"old was written with scikit-learn 1\.2\.3 \(here 1\."):
        xtalsk.load(tmp_path / "old")
    rewrite(file, tmp_path / "new", format=99, versions=versions | {"xtalsk": "7.0"})
    with pytest.raises(
        ModelFileError, match=rf"xtalsk 7\.0 .* format 99; this is xtalsk {xtalsk.__version__}"
    ):
        xtalsk.load(tmp_path / "new")
    rewrite(file, tmp_path / "other", kind="something else")
    with pytest.raises(ModelFileError, match="does not hold an estimator"):
        xtalsk.load(tmp_path / "other")


def test_hostile_files_run_nothing(tmp_path, monkeypatch):
    file, canary = tmp_path / "model", tmp_path / "canary"
    monkeypatch.setattr("os.fsync", lambda file: None)  # slow
    xtalsk.save(StandardScaler().fit(X_TABLE), file)
    command = f"touch {canary}"
    protocol = json.loads(
        zipfile.ZipFile(io.BytesIO(read_container(file)[1]["content"].numpy().tobytes())).read("schema.json")
    )["protocol"]
    for schema, name in hostile_schemas(command):
        for old in range(protocol + 1):
            rewrite(file, tmp_path / "hostile", schema | {"protocol": old})
            with pytest.raises(ModelFileError, match=name):
                xtalsk.load(tmp_path / "hostile")
    assert not canary.exists()


def test_parts_are_checked(file, tmp_path):
    values, tensors = read_container(file)
    weights = next(name for name in tensors if name.endswith("head.0.bias"))
    library = next(name for name in tensors if "/profiles/" in name)
    packed = {"dtype": "|i1", "shape": [10**6, 10**6]}
    for change, entries in [
        ({weights: tensors[weights][:-1].clone()}, {}),
        ({library: tensors[library][:-1].clone()}, {}),
        ({}, {weights: packed}),
        ({}, {library: {"dtype": "|O", "shape": [1]}}),
        ({}, {"absent": packed}),
    ]:
        write_container(tmp_path / "wrong", values | {"packed": values["packed"] | entries}, tensors | change)
        with pytest.raises(ModelFileError, match="cannot be loaded"):
            xtalsk.load(tmp_path / "wrong")


@pytest.mark.parametrize(("column", "number"), [("feature", 10**6), ("left_child", -2)])
@pytest.mark.parametrize("model", [DecisionTreeClassifier(), GradientBoostingClassifier(n_estimators=2)])
def test_nodes_of_trees_are_checked(model, column, number, tmp_path):
    model.fit(X_TABLE, Y_TABLE)
    tree = model.tree_ if hasattr(model, "tree_") else model.estimators_[1, 2].tree_
    state = tree.__getstate__()
    state["nodes"] = state["nodes"].copy()
    state["nodes"][column][0] = number
    tree.__setstate__(state)
    xtalsk.save(model, tmp_path / "model")
    with pytest.raises(ModelFileError, match="a tree has branches"):
        xtalsk.load(tmp_path / "model")


def test_categories_of_trees_are_checked(tmp_path):
    model = make_baseline("hist_gradient_boosting", max_iter=2).fit(X_TABLE, Y_TABLE)
    tree = model._predictors[0][0]
    tree.nodes["is_categorical"][0], tree.raw_left_cat_bitsets = 1, np.zeros((1, 0), np.uint32)
    xtalsk.save(model, tmp_path / "model")
    with pytest.raises(ModelFileError, match="categories that do not exist"):
        xtalsk.load(tmp_path / "model")


@pytest.mark.parametrize("name", ["extra_trees", "hist_gradient_boosting"])
def test_trees_that_would_read_foreign_memory_are_refused(name, tmp_path):
    few = {"max_iter" if name.startswith("hist") else "n_estimators": 2}
    model = make_baseline(name, random_state=0, **few).fit(X_TABLE, Y_TABLE)
    narrow = make_baseline(name, random_state=0, **few).fit(X_TABLE[:, :4], Y_TABLE)
    if name == "extra_trees":
        narrow.estimators_[1] = model.estimators_[1]
    else:
        narrow._predictors[0] = model._predictors[0]
        narrow._predictors[0][0].nodes["feature_idx"][0] = 10**6
    xtalsk.save(narrow, tmp_path / "model")
    with pytest.raises(ModelFileError, match="a tree"):
        xtalsk.load(tmp_path / "model")


def test_a_failed_write_leaves_the_old_file(file, tmp_path, monkeypatch):
    path = tmp_path / "model"
    path.write_bytes(file.read_bytes())

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        xtalsk.save(small_network().fit(X_TABLE, Y_TABLE), path)
    monkeypatch.undo()
    assert path.read_bytes() == file.read_bytes()
    assert list(tmp_path.iterdir()) == [path]


def test_library_of_prototypes(specimens, tmp_path):
    X, _ = specimens
    features = make_features(
        diffraction=("powder", PowderProfile()), fractions=("formula", ElementFractions())
    )
    table = features.fit_transform(X)
    known = load_amcsd()[:300:3]
    match = xtalsk.PrototypeMatch(known).fit(table)
    xtalsk.save(match, tmp_path / "model")
    loaded = xtalsk.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.predict_proba(table), match.predict_proba(table))
    assert loaded.prototypes_.ids.tolist() == known.ids.tolist()


def test_tensors_that_share_memory_are_written(tmp_path):
    weights = torch.arange(4.0)
    write_container(tmp_path / "file", {}, {"a": weights, "b": weights, "c": torch.ones(0)})
    assert read_container(tmp_path / "file")[1]["b"].tolist() == [0, 1, 2, 3]


def test_presence_alone_needs_no_network(tmp_path):
    X = pd.DataFrame({"formula": ["NaCl", "SiO2", None]})
    features = make_features(presence=("formula", ElementPresence())).fit(X)
    xtalsk.save(features, tmp_path / "model")
    pd.testing.assert_frame_equal(xtalsk.load(tmp_path / "model").transform(X), features.transform(X))
    assert _file._KIND in read_container(tmp_path / "model")[0]["kind"]


def test_parameters_that_the_file_lacks_get_their_defaults(tmp_path):
    scaler = StandardScaler().fit([[0.0], [1.0]])
    del scaler.copy  # as if another version of scikit-learn had not known it
    xtalsk.save(scaler, tmp_path / "scaler.xtalsk")
    loaded = xtalsk.load(tmp_path / "scaler.xtalsk")
    assert loaded.get_params() == StandardScaler().get_params()
    assert loaded.transform([[0.5]]) == 0
