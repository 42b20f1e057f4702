"""The classifier with scikit-learn's tools: seeds, pickles, partial fits, weights, searches, errors."""

import pickle

import joblib
import numpy as np
import pytest
import sklearn
import torch
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

SPACE_GROUPS = np.array([2, 14, 62, 225])
N_BINS = 64


@pytest.fixture(scope="module")
def fitted(data, small):
    X, y, _ = data
    return small(hierarchy="space_group").fit(X, y)


@pytest.mark.parametrize("how", ["pickle", "joblib"])
def test_pickle_and_clone(fitted, data, how, revive):
    X = data[0]
    again = pickle.loads(pickle.dumps(fitted)) if how == "pickle" else revive(fitted)
    np.testing.assert_array_equal(again.predict_proba(X), fitted.predict_proba(X))
    again.partial_fit(X, data[1])  # needs the state of the optimiser
    assert again.n_iter_ == fitted.n_iter_ + 1
    assert not hasattr(clone(fitted), "net_")
    assert clone(fitted).get_params() == fitted.get_params()


def test_reproducible_and_leaves_global_random_numbers_alone(data, small):
    X, y, _ = data
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002 - the legacy generator is what must stay as it was
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    first = small(modality_dropout=0.2).fit(X, y).predict_proba(X)
    assert torch.equal(torch.get_rng_state(), before[0])
    np.testing.assert_array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002
    torch.manual_seed(6)
    np.testing.assert_array_equal(small(modality_dropout=0.2).fit(X, y).predict_proba(X), first)
    other = small(modality_dropout=0.2, random_state=1).fit(X, y).predict_proba(X)
    assert np.abs(other - first).max() > 1e-3


def test_threads_do_not_disturb_one_another(data, small):
    X, y, _ = data
    expected = [small(random_state=seed, max_epochs=3).fit(X, y).predict_proba(X) for seed in range(4)]
    together = joblib.Parallel(n_jobs=4, backend="threading")(
        joblib.delayed(small(random_state=seed, max_epochs=3).fit)(X, y) for seed in range(4)
    )
    for model, proba in zip(together, expected, strict=True):
        np.testing.assert_allclose(model.predict_proba(X), proba, atol=1e-5)


def test_partial_fit_equals_training_in_one_go(data, small):
    X, y, _ = data
    params = {"schedule": "constant", "modality_dropout": 0.3, "hierarchy": "space_group"}
    together = small(max_epochs=3, **params).fit(X, y)
    steps = small(**params)
    for _ in range(3):
        steps.partial_fit(X, y, classes=np.unique(y))
    np.testing.assert_array_equal(steps.predict_proba(X), together.predict_proba(X))
    assert steps.loss_curve_ == together.loss_curve_
    assert steps.n_iter_ == 3
    resumed = small(max_epochs=2, **params).fit(X, y).partial_fit(X, y)
    np.testing.assert_array_equal(resumed.predict_proba(X), together.predict_proba(X))


def test_partial_fit_weighs_batches_that_lack_classes(small):
    X, y = overlapping()
    plain, weighted = (
        small(class_weight=w).partial_fit(X[y == 0], y[y == 0], classes=[0, 1]) for w in (None, {1: 50.0})
    )
    np.testing.assert_array_equal(weighted.predict_proba(X), plain.predict_proba(X))
    plain.partial_fit(X, y, sample_weight=np.where(y == 1, 50.0, 1.0))
    weighted.partial_fit(X, y)
    np.testing.assert_array_equal(weighted.predict_proba(X), plain.predict_proba(X))


def test_partial_fit_knows_classes_that_come_later(data, small):
    X, y, _ = data
    model = small().partial_fit(X[y < 50], y[y < 50], classes=SPACE_GROUPS)
    assert model.predict_proba(X).shape == (len(X), 4)
    model.partial_fit(X[y > 50], y[y > 50])
    with pytest.raises(ValueError, match=r"not among classes: \[230\]"):
        model.partial_fit(X, np.where(y == 2, 230, y))
    with pytest.raises(ValueError, match="not those of the first call"):
        model.partial_fit(X, y, classes=[2, 14])
    with pytest.raises(ValueError, match="classes must be given"):
        small().partial_fit(X, y)
    with pytest.raises(ValueError, match="balanced"):
        small(class_weight="balanced").partial_fit(X, y, classes=SPACE_GROUPS)


def overlapping(n=200):
    rng = np.random.default_rng(0)
    y = (np.arange(n) % 10 == 0).astype(int)
    return rng.normal(size=(n, 3)) + y[:, None], y


def test_class_weight_and_sample_weight_shift_the_answer(small):
    X, y = overlapping()
    plain = small().fit(X, y).predict(X).mean()
    balanced = small(class_weight="balanced").fit(X, y).predict(X).mean()
    assert balanced > plain + 0.04
    weight = np.where(y == 1, 9.0, 1.0)
    by_row = small().fit(X, y, sample_weight=weight).predict_proba(X)
    by_class = small(class_weight={0: 1.0, 1: 9.0}).fit(X, y).predict_proba(X)
    np.testing.assert_allclose(by_row, by_class)
    with pytest.raises(ValueError, match=r"not among the classes: \[7\]"):
        small(class_weight={7: 1.0}).fit(X, y)
    ignored = small().fit(X, y, sample_weight=(y == 0).astype(float))
    assert (ignored.predict(X) == 0).all()


def test_early_stopping_keeps_groups_apart_and_restores_the_best(data, small):
    X, y, groups = data
    noisy = np.random.default_rng(0).permutation(y)  # nothing to learn: validation gets worse
    model = small(
        early_stopping=True, validation_fraction=0.3, n_iter_no_change=3, max_epochs=60, label_smoothing=0.0
    )
    model.fit(X, noisy, groups=groups)
    kept = np.zeros(len(X), dtype=bool)
    kept[model.validation_indices_] = True
    assert 0.15 < kept.mean() < 0.45
    assert not set(groups[kept]) & set(groups[~kept])
    curve = model.validation_loss_curve_
    assert len(curve) == model.n_iter_ == 3 + 1 + int(np.argmin(curve))
    proba = model.predict_proba(X[kept])
    loss = -np.log(proba[np.arange(kept.sum()), np.searchsorted(model.classes_, noisy[kept])]).mean()
    assert loss == pytest.approx(min(curve), rel=1e-4)


def test_grid_search_over_network_and_features(data, small):
    X, y, groups = data
    features = ColumnTransformer(
        [
            ("chem", StandardScaler(), list(X.filter(like="formula__"))),
            ("diff", "passthrough", list(X)[:N_BINS]),
        ],
        verbose_feature_names_out=False,
    ).set_output(transform="pandas")
    search = GridSearchCV(
        make_pipeline(features, small(max_epochs=10)),
        {
            "fusionclassifier__modality_dropout": [0.0, 0.3],
            "columntransformer__diff": ["drop", "passthrough"],
        },
        cv=GroupKFold(2),
        error_score="raise",
    ).fit(X, y, groups=groups)
    assert search.best_score_ > 0.9
    blocks = search.best_estimator_[-1].blocks_
    assert blocks["formula"] == "dense"
    assert len(search.cv_results_["params"]) == 4


def test_cross_validate_routes_groups_to_early_stopping(data, small):
    X, y, groups = data
    with sklearn.config_context(enable_metadata_routing=True):
        model = small(early_stopping=True, validation_fraction=0.3).set_fit_request(groups=True)
        out = cross_validate(
            model,
            X,
            y,
            cv=GroupKFold(2),
            params={"groups": groups},
            return_estimator=True,
            return_indices=True,
        )
    for estimator, train in zip(out["estimator"], out["indices"]["train"], strict=True):
        mine = groups[train]
        kept = np.isin(np.arange(len(train)), estimator.validation_indices_)
        assert not set(mine[kept]) & set(mine[~kept])


def test_cross_validate_in_processes_gives_the_same(data, small):
    X, y, groups = data
    scores = [
        cross_validate(small(max_epochs=2), X, y, groups=groups, cv=GroupKFold(2), n_jobs=n)["test_score"]
        for n in (1, 2)
    ]
    np.testing.assert_allclose(scores[0], scores[1], atol=0.02)


def test_verbose_prints_an_epoch_a_line(data, capsys, small):
    X, y, _ = data
    small(max_epochs=2).fit(X, y)
    assert capsys.readouterr().out == ""
    small(max_epochs=2, verbose=1).fit(X, y)
    assert "train_loss" in capsys.readouterr().out


def test_bad_input(data, small):
    X, y, groups = data
    infinite = X.copy()
    infinite.iloc[7, 3] = np.inf
    with pytest.raises(ValueError, match=r"infinity.* in row 7, column 3 .'rings__q_0003'"):
        small().fit(infinite, y)
    with pytest.raises(ValueError, match="too large for float32 in row 0, column 0"):
        small().fit(X.astype(float) * 1e39, y)
    empty = X.copy()
    empty.iloc[[2, 9]] = np.nan
    with pytest.raises(ValueError, match=r"rows 2, 9: every block is missing \(rings, formula\)"):
        small().fit(empty, y)
    with pytest.raises(ValueError, match="minimum of 1 is required"):
        small().fit(X.iloc[:0], y[:0])
    with pytest.raises(ValueError, match="inconsistent"):
        small().fit(X, y, groups=groups[:-1])
    with pytest.raises(ValueError, match=r"must have shape \(120,\)"):
        small().fit(X, y, sample_weight=np.ones(3))
    with pytest.raises(ValueError, match=r"got -1\.0 in row 4"):
        small().fit(X, y, sample_weight=np.where(np.arange(120) == 4, -1.0, 1.0))
    with pytest.raises(ValueError, match="weights are zero"):
        small().fit(X, y, sample_weight=np.zeros(120))


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"branches": {"ring": "dense"}}, r"block 'ring'; blocks are \['rings', 'formula'\]"),
        ({"branches": {"rings": "lstm"}}, "'rings' must be one of"),
        ({"branches": {"formula": "conv2d"}}, "not named pixel_<row>_<column>"),
        ({"branches": {"rings": "drop", "formula": "drop"}}, "drops every block"),
        ({"branches": ["rings"]}, "None or a dict"),
        ({"hierarchy": "laue"}, "hierarchy must be one of"),
        ({"hierarchy_weights": {"point_group": 1.0}}, "needs hierarchy"),
        ({"hierarchy": "space_group", "hierarchy_weights": {"colour": 1.0}}, "keys among"),
        ({"schedule": "step"}, "schedule must be one of"),
        ({"dropout": 1.0}, "dropout == 1.0, must be < 1"),
        ({"block_loss": -1.0}, r"block_loss == -1\.0, must be >= 0"),
        ({"max_epochs": 0}, "max_epochs == 0, must be >= 1"),
        ({"learning_rate": 0.0}, "learning_rate == 0.0, must be > 0"),
        ({"validation_fraction": 0.9}, "validation_fraction == 0.9, must be <= 0.5"),
        ({"augment": {"colour": 1.0}}, "augment has unknown amounts"),
        ({"augment": -1.0}, "must be a non-negative number"),
        ({"device": "tpu"}, "device must be"),
    ],
)
def test_bad_parameters(data, params, message, small):
    X, y, _ = data
    with pytest.raises(ValueError, match=message):
        small(**params).fit(X, y)
