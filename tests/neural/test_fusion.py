"""What the classifier learns: blocks, missing modalities, levels, labels."""

import gemmi
import numpy as np
import pandas as pd
import pytest
import torch

from xtalsk.symmetry import LEVELS, to_level

N_BINS = 64


@pytest.fixture(scope="module")
def fitted(data, small):
    X, y, _ = data
    return small(hierarchy="space_group").fit(X, y)


def without(X, block):
    """The table with a block that was not measured in any row."""
    X = X.copy()
    X.loc[:, X.columns.str.startswith(block)] = np.nan
    return X


def test_learns_and_generalises(fitted, make_data):
    X, y, _ = make_data(seed=1)
    assert fitted.score(X, y) > 0.95
    assert fitted.blocks_ == {"rings": "conv1d", "formula": "dense"}
    assert fitted.n_iter_ == len(fitted.loss_curve_) == 8
    assert fitted.loss_curve_[-1] < fitted.loss_curve_[0]


def test_modality_dropout_teaches_to_answer_from_one_block(data, small, make_data):
    X, y, _ = data
    model = small(modality_dropout=0.5, max_epochs=15).fit(X, y)
    test, truth, _ = make_data(seed=1)
    for block in ("rings", "formula"):
        assert model.score(without(test, block), truth) > 0.9


def test_missing_rows_in_training_and_prediction(data, small, make_data):
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


def test_gaps_within_blocks(data, small):
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


def test_images_and_overridden_branches(small):
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


def test_dropped_block_is_not_used(data, small):
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


def test_hierarchy_needs_space_groups(data, small):
    X, y, _ = data
    with pytest.raises(ValueError, match=r"integers from 1 to 230, got .*231.* at position 0"):
        small(hierarchy="space_group").fit(X, np.where(y == 2, 231, y))
    with pytest.raises(ValueError, match="integers from 1 to 230"):
        small(hierarchy="space_group").fit(X, to_level(y, "crystal_system"))
    with pytest.raises(ValueError, match="levels need hierarchy"):
        small(max_epochs=1).fit(X, y).predict_level(X, "point_group")


def test_coarse_weights_alone_do_not_tell_space_groups_apart(small):
    rng = np.random.default_rng(0)
    y = np.array([221, 225, 2, 14])[np.arange(80) % 4]
    X = rng.normal(size=(80, 4)) + 4 * np.eye(4)[np.arange(80) % 4]
    model = small(hierarchy="space_group", hierarchy_weights={"crystal_system": 1.0}, max_epochs=20).fit(X, y)
    assert (model.predict_level(X, "crystal_system") == to_level(y, "crystal_system")).mean() > 0.95
    cubic = model.predict_proba(X[y == 225])[:, model.classes_ >= 221]
    assert cubic.sum(axis=1).mean() > 0.9
    assert cubic[:, 1].mean() < 0.8  # nothing but chance says 225 rather than 221


def test_string_labels(data, small):
    X, y, _ = data
    labels = to_level(y, "crystal_system")
    model = small().fit(X, labels)
    assert set(model.predict(X)) <= set(labels)
    assert model.score(X, labels) > 0.95
    assert list(model.classes_) == sorted(set(labels))


def test_single_class_is_learnt_as_certain(data, small):
    X, _, _ = data
    model = small(max_epochs=1).fit(X, np.full(len(X), 7))
    assert (model.predict(X) == 7).all()
    np.testing.assert_array_equal(model.predict_proba(X), np.ones((len(X), 1)))


def test_huge_values_give_no_nan(data, small):
    X, y, _ = data
    X = X.astype(np.float64)
    X.iloc[0] = 1e38
    X.iloc[1, :N_BINS] *= 1e36
    X.iloc[2, :N_BINS] *= -1e36
    model = small(max_epochs=2).fit(X, y)
    assert np.isfinite(model.predict_proba(X)).all()
    assert np.isfinite(model.loss_curve_).all()


def test_block_loss_adds_the_loss_of_each_block_where_it_was_measured(data, small):
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


def test_augmentation_changes_profiles_only(data, small):
    X, y, _ = data
    with_, without_ = (small(augment=a).fit(X, y).predict_proba(X) for a in (1.0, None))
    assert np.abs(with_ - without_).max() > 1e-4
    chemistry = X.filter(like="formula__")
    with_, without_ = (small(augment=a).fit(chemistry, y).predict_proba(chemistry) for a in (1.0, None))
    np.testing.assert_array_equal(with_, without_)


def test_profiles_vote_where_they_were_measured(data, small):
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


def test_profiles_have_no_vote_where_elements_were_measured(data, small):
    X, y, _ = data
    symbols = [element.name.lower() for element in map(gemmi.Element, range(1, 99))]
    fractions = pd.DataFrame(0.0, index=X.index, columns=[f"fractions__{symbol}" for symbol in symbols])
    fractions.iloc[np.arange(len(y)), 20 + np.unique(y, return_inverse=True)[1]] = 1.0
    X = pd.concat([X.filter(like="rings__"), fractions], axis=1)
    model, joint = (small(profile_vote=vote, random_state=0).fit(X, y) for vote in (True, False))
    assert model.blocks_ == {"rings": "conv1d", "fractions": "elements"}
    both = X[X.filter(like="rings__").notna().any(axis=1)]
    np.testing.assert_allclose(model.predict_proba(both), joint.predict_proba(both), atol=1e-6)
    alone = both.copy()
    alone[fractions.columns] = np.nan
    assert np.abs(model.predict_proba(alone) - joint.predict_proba(alone)).max() > 1e-3
