"""From crystals to a comparison, as in the README, on a small part of the data."""

import pickle

import joblib
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold, cross_validate
from sklearn.pipeline import make_pipeline

from xtalsk import (
    ElementPresence,
    FusionClassifier,
    RadialProfile,
    RankedElements,
    RingConditions,
    compare,
    load_amcsd,
    make_baseline,
    make_features,
    make_specimens,
    paired_test,
)

CV = StratifiedGroupKFold(2, shuffle=True, random_state=0)


@pytest.fixture(scope="module")
def specimens():
    """Sixty crystals of three space groups that are easy to tell apart."""
    crystals = load_amcsd()
    chosen = np.concatenate(
        [np.flatnonzero((crystals.space_groups == n) & (crystals.volumes < 300))[:20] for n in (225, 62, 166)]
    )
    return make_specimens(
        crystals[chosen],
        n_replicas=2,
        missing=0.15,
        conditions={"rings": RingConditions(image_size=64)},
        random_state=0,
    )


@pytest.fixture(scope="module")
def pipeline():
    features = make_features(
        diffraction=("rings", RadialProfile(n_bins=64, q_range=(0.1, 1.0))),
        presence=("formula", ElementPresence()),
        ranked=("formula", RankedElements()),
    )
    network = FusionClassifier(
        hierarchy="space_group",
        max_epochs=12,
        batch_size=16,
        hidden_size=64,
        embedding_size=32,
        random_state=0,
    )
    return make_pipeline(features, network)


@pytest.fixture(scope="module")
def fitted(pipeline, specimens):
    X, y, _ = specimens
    return clone(pipeline).fit(X, y)


def test_the_network_learns_and_answers_with_one_modality(fitted, specimens):
    X, y, _ = specimens
    assert fitted.score(X, y) > 0.8
    both = X.notna().all(axis=1)
    for column in X:
        alone = X[both].copy()
        alone[column] = None
        assert np.mean(fitted.predict(alone) == y[both]) > 0.55  # three classes of equal size


def test_features_are_named_and_missing_rows_are_nan(fitted, specimens):
    X, _, _ = specimens
    table = fitted[0].transform(X)
    blocks = table.columns.str.split("__").str[0]
    assert list(dict.fromkeys(blocks)) == ["diffraction", "presence", "ranked"]
    assert (table.dtypes == np.float32).all()
    np.testing.assert_array_equal(table.loc[:, blocks == "diffraction"].isna().all(axis=1), X["rings"].isna())
    assert fitted[-1].blocks_ == {"diffraction": "conv1d", "presence": "elements", "ranked": "dense"}


def test_grid_search_over_features_and_network(pipeline, specimens):
    X, y, groups = specimens
    X = X.dropna().reset_index(drop=True)
    rows = specimens[0].notna().all(axis=1).to_numpy()
    search = GridSearchCV(
        pipeline,
        {
            "columntransformer__diffraction": ["drop", RadialProfile(48, (0.1, 1.0))],
            "fusionclassifier__modality_dropout": [0.0, 0.3],
        },
        cv=CV,
        error_score="raise",
    ).fit(X, y[rows], groups=groups[rows])
    assert len(search.cv_results_["params"]) == 4
    assert search.best_score_ > 0.5
    assert (search.predict(X) == y[rows]).mean() > 0.6


def test_pickle_clone_and_backends(pipeline, fitted, specimens):
    X, y, groups = specimens
    restored = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_allclose(restored.predict_proba(X[:5]), fitted.predict_proba(X[:5]), atol=1e-6)
    assert not hasattr(clone(fitted)[-1], "classes_")
    scores = []
    for backend in ("loky", "threading"):
        with joblib.parallel_backend(backend, n_jobs=2):
            result = cross_validate(pipeline, X, y, groups=groups, cv=CV, error_score="raise")
        scores.append(result["test_score"])
    np.testing.assert_allclose(scores[0], scores[1], atol=0.1)


def test_comparison_holds_its_references(pipeline, specimens):
    X, y, groups = specimens
    models = {"fusion": pipeline, "trees": make_pipeline(pipeline[0], make_baseline("extra_trees"))}
    table = compare(models, X, y, groups=groups, cv=CV, chemistry_only=True)
    assert set(table["model"]) == {
        "fusion", "fusion (diffraction only)", "fusion (chemistry only)",
        "trees", "trees (diffraction only)", "trees (chemistry only)", "prior",
    }  # fmt: skip
    assert len(table) == 7 * 2
    means = table.groupby("model")["space_group_accuracy"].mean()
    assert (means.drop("prior") > means["prior"]).all()
    assert paired_test(table, "fusion", "prior", "space_group_accuracy").difference > 0


def test_errors_name_row_column_and_expectation(fitted, specimens):
    X, _, _ = specimens
    for column, cell, message in (
        ("formula", "Qq2O3", "row 1 of column formula.*unknown element 'Qq'"),
        ("rings", np.ones((64, 64)), "row 1 of column rings.*no calibration"),
        ("rings", np.full((64, 64), np.nan), "row 1 of column rings.*all NaN"),
        ("rings", np.ones(5), "row 1 of column rings.*2-D"),
    ):
        broken = X[:3].copy()
        broken.at[1, column] = cell
        with pytest.raises(ValueError, match=message):
            fitted.predict(broken)
    empty = X[:3].copy()
    empty.loc[1] = None
    with pytest.raises(ValueError, match="every block is missing"):
        fitted.predict(empty)
    with pytest.raises(ValueError, match="rings"):
        fitted.predict(X.drop(columns="rings"))
