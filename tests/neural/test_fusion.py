"""The classifier as users meet it: blocks, missing modalities, levels, sklearn's tools."""

import io
import pickle

import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn
import torch
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from xtalsk.neural import FusionClassifier
from xtalsk.symmetry import LEVELS, to_level

SPACE_GROUPS = np.array([2, 14, 62, 225])
N_BINS = 64


def make_data(n=120, seed=0):
    """Profiles with a line that tells the class, and chemistry that tells it too."""
    rng = np.random.default_rng(seed)
    code = np.arange(n) % 4
    lines = 8 + 14 * code + rng.integers(-1, 2, n)
    profile = 100 * np.exp(-0.5 * ((np.arange(N_BINS) - lines[:, None]) / 1.5) ** 2)
    profile += rng.normal(scale=5, size=profile.shape)
    chemistry = rng.normal(size=(n, 6))
    chemistry[np.arange(n), code] += 4
    names = [f"rings__q_{i:04}" for i in range(N_BINS)] + [f"formula__x{i}" for i in range(6)]
    X = pd.DataFrame(np.hstack([profile, chemistry]).astype(np.float32), columns=names)
    return X, SPACE_GROUPS[code], np.arange(n) // 6


def small(**params):
    """A network that trains in a fraction of a second."""
    defaults = {"max_epochs": 8, "batch_size": 16, "hidden_size": 32, "embedding_size": 16}
    return FusionClassifier(
        **{**defaults, "n_filters": 8, "dropout": 0.2, "random_state": 0, "device": "cpu", **params}
    )


@pytest.fixture(scope="module")
def data():
    return make_data()


@pytest.fixture(scope="module")
def fitted(data):
    X, y, _ = data
    return small(hierarchy="space_group").fit(X, y)


def without(X, block):
    """The table with a block that was not measured in any row."""
    X = X.copy()
    X.loc[:, X.columns.str.startswith(block)] = np.nan
    return X


def test_learns_and_generalises(fitted):
    X, y, _ = make_data(seed=1)
    assert fitted.score(X, y) > 0.95
    assert fitted.blocks_ == {"rings": "conv1d", "formula": "dense"}
    assert fitted.n_iter_ == len(fitted.loss_curve_) == 8
    assert fitted.loss_curve_[-1] < fitted.loss_curve_[0]


def test_modality_dropout_teaches_to_answer_from_one_block(data):
    X, y, _ = data
    model = small(modality_dropout=0.5, max_epochs=15).fit(X, y)
    test, truth, _ = make_data(seed=1)
    for block in ("rings", "formula"):
        assert model.score(without(test, block), truth) > 0.9


def test_missing_rows_in_training_and_prediction(data):
    X, y, _ = data
    X = X.copy()
    X.loc[::3, X.columns.str.startswith("rings")] = np.nan
    X.loc[1::3, X.columns.str.startswith("formula")] = np.nan
    model = small(max_epochs=15).fit(X, y)
    assert model.score(X, y) > 0.95
    full, truth, _ = make_data(seed=1)
    assert model.score(without(full, "rings"), truth) > 0.9
    assert np.isfinite(model.predict_proba(without(full, "formula"))).all()


def test_missing_block_contributes_nothing(fitted, data):
    X = data[0].iloc[:5]
    one_by_one = np.vstack([fitted.predict_proba(without(X, "rings").iloc[[i]]) for i in range(5)])
    mixed = pd.concat([without(X, "rings"), X])
    np.testing.assert_allclose(fitted.predict_proba(mixed)[:5], one_by_one, atol=1e-6)
    np.testing.assert_allclose(fitted.predict_proba(mixed)[5:], fitted.predict_proba(X), atol=1e-6)


def test_gaps_within_blocks(data):
    X, y, _ = data
    rng = np.random.default_rng(0)
    gappy = X.mask(rng.uniform(size=X.shape) < 0.2)
    model = small(max_epochs=15).fit(gappy, y)
    assert model.score(gappy, y) > 0.9
    assert model.net_.module_.branches[0][0].has_gaps
    assert len(model.net_.module_.branches[1][0].gaps) == 6


def test_a_gap_counts_as_the_mean_where_training_had_none(fitted, data):
    X = data[0].iloc[:4].copy()
    filled = X.copy()
    X["formula__x0"] = np.nan
    filled["formula__x0"] = data[0]["formula__x0"].mean()
    np.testing.assert_allclose(fitted.predict_proba(X), fitted.predict_proba(filled), atol=1e-6)


def test_dose_does_not_matter(fitted, data):
    X = data[0].copy()
    expected = fitted.predict_proba(X)
    X.loc[:, X.columns.str.startswith("rings")] *= 1000
    np.testing.assert_allclose(fitted.predict_proba(X), expected, atol=1e-4)


def test_images_and_overridden_branches():
    rng = np.random.default_rng(0)
    y = np.arange(60) % 2
    image = rng.normal(size=(60, 12, 10))
    image[y == 1, 3:5, 3:5] += 6
    names = [f"spots__pixel_{r:03}_{c:03}" for r in range(12) for c in range(10)]
    X = pd.DataFrame(image.reshape(60, -1), columns=names)
    model = small(max_epochs=15).fit(X, y)
    assert model.blocks_ == {"spots": "conv2d"}
    assert model.score(X, y) == 1.0
    assert small(branches={"spots": "dense"}).fit(X, y).blocks_ == {"spots": "dense"}
    unnamed = small(branches={"features": "conv1d"}, max_epochs=1).fit(X.to_numpy(), y)
    assert unnamed.blocks_ == {"features": "conv1d"}


def test_dropped_block_is_not_used(data):
    X, y, _ = data
    model = small(branches={"formula": "drop"}).fit(X, y)
    assert model.blocks_ == {"rings": "conv1d"}
    np.testing.assert_array_equal(model.predict_proba(without(X, "formula")), model.predict_proba(X))
    with pytest.raises(ValueError, match=r"rows 0, 1.*every block is missing \(rings\)"):
        model.predict(without(X, "rings"))


def test_levels_are_sums_of_space_groups(fitted, data):
    X, y, _ = data
    proba = fitted.predict_proba(X)
    assert proba.sum(axis=1) == pytest.approx(1)
    for level in LEVELS:
        coarse = fitted.predict_level_proba(X, level)
        of_class = to_level(fitted.classes_, level)
        for column, label in enumerate(fitted.level_classes_[level]):
            np.testing.assert_allclose(coarse[:, column], proba[:, of_class == label].sum(axis=1))
    assert (fitted.predict_level(X, "crystal_system") == to_level(y, "crystal_system")).mean() > 0.95


def test_hierarchy_needs_space_groups(data):
    X, y, _ = data
    with pytest.raises(ValueError, match=r"integers from 1 to 230, got .*231.* at position 0"):
        small(hierarchy="space_group").fit(X, np.where(y == 2, 231, y))
    with pytest.raises(ValueError, match="integers from 1 to 230"):
        small(hierarchy="space_group").fit(X, to_level(y, "crystal_system"))
    with pytest.raises(ValueError, match="levels need hierarchy"):
        small(max_epochs=1).fit(X, y).predict_level(X, "point_group")


def test_coarse_weights_alone_do_not_tell_space_groups_apart():
    rng = np.random.default_rng(0)
    y = np.array([221, 225, 2, 14])[np.arange(80) % 4]
    X = rng.normal(size=(80, 4)) + 4 * np.eye(4)[np.arange(80) % 4]
    model = small(hierarchy="space_group", hierarchy_weights={"crystal_system": 1.0}, max_epochs=20).fit(X, y)
    assert (model.predict_level(X, "crystal_system") == to_level(y, "crystal_system")).mean() > 0.95
    cubic = model.predict_proba(X[y == 225])[:, model.classes_ >= 221]
    assert cubic.sum(axis=1).mean() > 0.9
    assert cubic[:, 1].mean() < 0.8  # nothing but chance says 225 rather than 221


def test_string_labels(data):
    X, y, _ = data
    labels = to_level(y, "crystal_system")
    model = small().fit(X, labels)
    assert set(model.predict(X)) <= set(labels)
    assert model.score(X, labels) > 0.95
    assert list(model.classes_) == sorted(set(labels))


def test_single_class_is_learnt_as_certain(data):
    X, _, _ = data
    model = small(max_epochs=1).fit(X, np.full(len(X), 7))
    assert (model.predict(X) == 7).all()
    np.testing.assert_array_equal(model.predict_proba(X), np.ones((len(X), 1)))


def test_reproducible_and_leaves_global_random_numbers_alone(data):
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


def test_threads_do_not_disturb_one_another(data):
    X, y, _ = data
    expected = [small(random_state=seed, max_epochs=3).fit(X, y).predict_proba(X) for seed in range(4)]
    together = joblib.Parallel(n_jobs=4, backend="threading")(
        joblib.delayed(small(random_state=seed, max_epochs=3).fit)(X, y) for seed in range(4)
    )
    for model, proba in zip(together, expected, strict=True):
        np.testing.assert_allclose(model.predict_proba(X), proba, atol=1e-5)


@pytest.mark.parametrize("how", ["pickle", "joblib"])
def test_pickle_and_clone(fitted, data, how):
    X = data[0]
    if how == "pickle":
        again = pickle.loads(pickle.dumps(fitted))
    else:
        stream = io.BytesIO()
        joblib.dump(fitted, stream)
        stream.seek(0)
        again = joblib.load(stream)
    np.testing.assert_array_equal(again.predict_proba(X), fitted.predict_proba(X))
    again.partial_fit(X, data[1])  # the optimiser came along
    assert again.n_iter_ == fitted.n_iter_ + 1
    assert not hasattr(clone(fitted), "net_")
    assert clone(fitted).get_params() == fitted.get_params()


def test_partial_fit_equals_training_in_one_go(data):
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


def test_partial_fit_weighs_batches_that_lack_classes():
    X, y = overlapping()
    plain, weighted = (
        small(class_weight=w).partial_fit(X[y == 0], y[y == 0], classes=[0, 1]) for w in (None, {1: 50.0})
    )
    np.testing.assert_array_equal(weighted.predict_proba(X), plain.predict_proba(X))
    plain.partial_fit(X, y, sample_weight=np.where(y == 1, 50.0, 1.0))
    weighted.partial_fit(X, y)
    np.testing.assert_array_equal(weighted.predict_proba(X), plain.predict_proba(X))


def test_partial_fit_knows_classes_that_come_later(data):
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


def test_class_weight_and_sample_weight_shift_the_answer():
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


def test_early_stopping_keeps_groups_apart_and_restores_the_best(data):
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


def test_block_loss_adds_the_loss_of_each_block_where_it_was_measured(data):
    X, y, _ = data
    net = small(block_loss=0.5, max_epochs=1, label_smoothing=0.0).fit(X, y).net_
    assert len(net.module_.block_heads) == 2
    torch.manual_seed(0)
    target, weight = torch.tensor([0, 1, 2]), torch.tensor([1.0, 2.0, 1.0])
    present = torch.tensor([[True, True], [True, False], [False, True]])
    joint, first, second = torch.randn(3, 3, 4)
    loss = net.get_loss((joint, [first, second], present), (target, weight), training=True)
    each = [torch.nn.functional.cross_entropy(s, target, reduction="none") for s in (joint, first, second)]
    expected = (weight * (each[0] + 0.5 * each[1] * present[:, 0] + 0.5 * each[2] * present[:, 1])).mean()
    torch.testing.assert_close(loss, expected)
    assert net.get_loss(joint, (target, weight)) == pytest.approx((weight * each[0]).mean().item())


def test_augmentation_changes_profiles_only(data):
    X, y, _ = data
    with_, without_ = (small(augment=a).fit(X, y).predict_proba(X) for a in (1.0, None))
    assert np.abs(with_ - without_).max() > 1e-4
    chemistry = X.filter(like="formula__")
    with_, without_ = (small(augment=a).fit(chemistry, y).predict_proba(chemistry) for a in (1.0, None))
    np.testing.assert_array_equal(with_, without_)


def test_grid_search_over_network_and_features(data):
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


def test_cross_validate_routes_groups_to_early_stopping(data):
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


def test_cross_validate_in_processes_gives_the_same(data):
    X, y, groups = data
    scores = [
        cross_validate(small(max_epochs=2), X, y, groups=groups, cv=GroupKFold(2), n_jobs=n)["test_score"]
        for n in (1, 2)
    ]
    np.testing.assert_allclose(scores[0], scores[1], atol=0.02)


def test_verbose_prints_an_epoch_a_line(data, capsys):
    X, y, _ = data
    small(max_epochs=2).fit(X, y)
    assert capsys.readouterr().out == ""
    small(max_epochs=2, verbose=1).fit(X, y)
    assert "train_loss" in capsys.readouterr().out


def test_huge_values_give_no_nan(data):
    X, y, _ = data
    X = X.astype(np.float64)
    X.iloc[0] = 1e38
    X.iloc[1, :N_BINS] *= 1e36
    X.iloc[2, :N_BINS] *= -1e36
    model = small(max_epochs=2).fit(X, y)
    assert np.isfinite(model.predict_proba(X)).all()
    assert np.isfinite(model.loss_curve_).all()


def test_bad_input(data):
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
        ({"branches": {"formula": "conv2d"}}, "not the pixels of one image"),
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
        ({"augment": {"colour": 1.0}}, "augment has no"),
        ({"augment": -1.0}, "must be a non-negative number"),
        ({"device": "tpu"}, "device must be"),
    ],
)
def test_bad_parameters(data, params, message):
    X, y, _ = data
    with pytest.raises(ValueError, match=message):
        small(**params).fit(X, y)


def test_profiles_vote_where_they_were_measured(data):
    X, y, _ = data
    model = small(profile_vote=True, random_state=0).fit(X, y)
    joint = small(profile_vote=False, random_state=0).fit(X, y)
    profile = [c for c in X if model.blocks_[c.split("__")[0]] == "conv1d"]
    unmeasured = X.copy()
    unmeasured[profile] = np.nan
    np.testing.assert_allclose(model.predict_proba(unmeasured), joint.predict_proba(unmeasured), atol=1e-6)
    module = model.net_.module_.eval()
    with torch.no_grad():
        values = torch.from_numpy(X.to_numpy(np.float32))
        place = list(model.blocks_).index(profile[0].split("__")[0])
        embedding = module.branches[place](values[:, getattr(module, f"columns_{place}")])
        alone = torch.softmax(module.block_heads[place](embedding), dim=1).numpy()
    mean = np.sqrt(alone * joint.predict_proba(X))
    expected = mean / mean.sum(axis=1, keepdims=True)
    measured = X[profile].notna().any(axis=1).to_numpy()
    np.testing.assert_allclose(model.predict_proba(X)[measured], expected[measured], atol=1e-4)
