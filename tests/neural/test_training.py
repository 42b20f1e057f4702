"""Options of the training: mixup, sampling, dropout of blocks, augmentation, residual blocks, precision."""

import copy

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from torch import nn

from xtalsk.neural import _module
from xtalsk.neural._batches import Batches, Rows
from xtalsk.neural._disturbances import stretch
from xtalsk.neural._mixing import draw_mix, dropout_events, mix_rows

N_BINS = 64
SPACE_GROUPS = np.array([2, 14, 62, 225])
AMOUNTS = {
    "shot_noise": 0.1,
    "peak_dropout": 0.1,
    "impurity": 0.2,
    "masks": 0.2,
    "shift": 1.0,
    "broaden": 1.0,
}
EVERYTHING = {
    "hierarchy": "space_group",
    "augment": {**AMOUNTS, "noise": 0.05, "stretch": 0.02},
    "mixup": 0.3,
    "sampling": 0.5,
    "weight_averaging": 0.9,
    "modality_dropout": (0.1, 0.4),
}


@pytest.fixture(scope="module")
def fitted(incomplete_data, tiny):
    return tiny(max_epochs=6, augment=None).fit(*incomplete_data)


def test_rows_are_mixed_with_rows_that_have_the_same_blocks():
    torch.manual_seed(0)
    present = torch.tensor([[True, True], [True, False], [True, True], [False, True]]).repeat(500, 1)
    share, partner = draw_mix(present, 0.5)
    assert sorted(partner.tolist()) == list(range(2000))
    mixed = share < 1
    assert torch.equal(present[mixed], present[partner[mixed]])
    assert mixed.float().mean() > 0.99
    assert (partner[mixed] != torch.arange(2000)[mixed]).all()
    assert share.mean() == pytest.approx(0.5, abs=0.03)
    assert share.var() == pytest.approx(1 / 8, abs=0.01)  # of a beta distribution with parameters 0.5
    lone, _ = draw_mix(torch.eye(3, dtype=torch.bool), 0.5)
    assert lone.tolist() == [1, 1, 1]


def test_mixed_rows():
    values = torch.tensor([[0.0, 1.0], [10.0, 3.0]])
    mixed = mix_rows(values, torch.tensor([0.25, 1.0]), torch.tensor([1, 0]))
    torch.testing.assert_close(mixed, torch.tensor([[7.5, 2.5], [10.0, 3.0]]))


def test_network_mixes_embeddings(fitted, incomplete_data, monkeypatch):
    X = torch.from_numpy(incomplete_data[0].iloc[:5].to_numpy())
    swap = torch.tensor([1, 2, 3, 4, 0])
    module = copy.deepcopy(fitted.net_.module_)
    module.drops_blocks, module.mixup = False, 0.5
    for layer in module.modules():
        layer.p = 0.0 if isinstance(layer, nn.Dropout) else getattr(layer, "p", None)
    monkeypatch.setattr(_module, "draw_mix", lambda present, alpha: (torch.zeros(5), swap))
    scores, alone, _, share, partner = module.train()(X)
    assert torch.equal(share, torch.zeros(5))
    assert torch.equal(partner, swap)
    module.mixup = 0.0
    expected, expected_alone, _ = module(X)
    torch.testing.assert_close(scores, expected[swap], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(alone[0], expected_alone[0][swap], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("hierarchy", [None, "space_group"])
def test_mixed_loss_is_the_mix_of_losses_at_every_level(incomplete_data, hierarchy, tiny):
    X, y = incomplete_data
    net = tiny(max_epochs=1, hierarchy=hierarchy, mixup=0.4, block_loss=0.5).fit(X, y).net_
    torch.manual_seed(0)
    scores, alone = torch.randn(4, 4), [torch.randn(4, 4)] * 2
    present = torch.tensor([[True, True], [True, True], [True, False], [True, False]])
    target, weight = torch.tensor([0, 1, 2, 3]), torch.tensor([1.0, 2.0, 1.0, 0.5])
    share, partner = torch.tensor([0.3, 0.6, 1.0, 0.8]), torch.tensor([1, 0, 3, 2])
    loss = net.get_loss((scores, alone, present, share, partner), (target, weight), training=True)
    expected = 0.0
    for row in range(4):
        pairs = (row, share[row]), (int(partner[row]), 1 - share[row])
        for of, part in pairs:
            one = (target[[of]], weight[[of]] * part)
            expected += net.criterion_(scores[[row]], *one) / 4
            for i in range(2):
                expected += 0.5 * present[row, i] * net.criterion_(alone[i][[row]], *one) / 4
    torch.testing.assert_close(loss, expected)


def test_mixup_changes_training(fitted, incomplete_data, tiny):
    X, y = incomplete_data
    mixed = tiny(max_epochs=6, augment=None, mixup=0.4).fit(X, y)
    assert np.abs(mixed.predict_proba(X) - fitted.predict_proba(X)).max() > 1e-3
    assert mixed.score(X, y) > 0.8


@pytest.mark.parametrize("power", [0.5, 1.0])
def test_rows_are_drawn_by_a_power_of_the_class_frequency(power):
    target = np.repeat([0, 1, 2], [6000, 3000, 1000])
    rows = Rows(np.zeros((10000, 1), np.float32), target, index=np.arange(10000)[::-1].copy(), sampling=power)
    torch.manual_seed(0)
    batches = [t for _, (t, _) in Batches(rows, 256, shuffle=True)]
    assert len(batches) == len(Batches(rows, 256)) == 40
    share = np.bincount(torch.cat(batches)) / 10000
    expected = np.array([0.6, 0.3, 0.1]) ** (1 - power)
    np.testing.assert_allclose(share, expected / expected.sum(), atol=0.02)
    in_order = torch.cat([t for _, (t, _) in Batches(rows, 256)])
    np.testing.assert_array_equal(in_order, target[::-1])


def test_sampling_shifts_the_answer_to_rare_classes(tiny):
    rng = np.random.default_rng(0)
    y = (np.arange(200) % 10 == 0).astype(int)
    X = rng.normal(size=(200, 3)) + y[:, None]
    params = {"max_epochs": 8, "random_state": 0}
    plain, balanced, again = (tiny(sampling=s, **params).fit(X, y) for s in (None, "balanced", 1.0))
    assert balanced.predict(X).mean() > plain.predict(X).mean() + 0.04
    np.testing.assert_array_equal(balanced.predict_proba(X), again.predict_proba(X))
    assert balanced.net_.n_steps_ == plain.net_.n_steps_ == 8 * 13
    zero = tiny(sampling=0.0, **params).fit(X, y)
    np.testing.assert_array_equal(plain.predict_proba(X), zero.predict_proba(X))
    part = tiny(sampling="balanced").partial_fit(X, y, classes=[0, 1])
    assert (
        np.abs(part.predict_proba(X) - tiny().partial_fit(X, y, classes=[0, 1]).predict_proba(X)).max() > 1e-3
    )


def test_modality_dropout_changes_in_the_course_of_fit(incomplete_data, record, tiny):
    X, y = incomplete_data
    seen = record(_module, "choose_kept")
    model = tiny(modality_dropout=(0.5, 0.1)).fit(X, y)
    course = np.array([p.tolist() for _, p, _ in seen])
    expected = 0.5 - 0.4 * np.arange(18) / 18
    np.testing.assert_allclose(course, np.column_stack([expected, expected]), atol=1e-6)
    seen.clear()
    model.partial_fit(X, y)
    np.testing.assert_allclose([p.tolist() for _, p, _ in seen], 0.1, atol=1e-6)


def test_modality_dropout_by_block(incomplete_data, tiny):
    X, y = incomplete_data
    probability, members = dropout_events({"formula": 0.7, "rings": (0.0, 0.2)}, ["rings", "formula"])
    np.testing.assert_array_equal(members, np.eye(2))
    np.testing.assert_allclose(probability, [[0.0, 0.7], [0.2, 0.7]])
    np.testing.assert_allclose(dropout_events({"formula": 0.7}, ["rings", "formula"])[0][0], [0, 0.7])
    same = [
        tiny(modality_dropout=d).fit(X, y).predict_proba(X)
        for d in (0.3, (0.3, 0.3), {"rings": 0.3, "formula": 0.3}, {"formula": 0.3})
    ]
    np.testing.assert_array_equal(same[0], same[1])
    np.testing.assert_array_equal(same[0], same[2])
    assert np.abs(same[0] - same[3]).max() > 1e-4
    with pytest.raises(ValueError, match=r"modality_dropout: no column belongs to block 'ring'; blocks are"):
        tiny(modality_dropout={("rings", "ring"): 0.3}).fit(X, y)
    tiny(modality_dropout={"formula": 0.3}, branches={"formula": "drop"}, max_epochs=1).fit(X[:5], y[:5])


def test_prediction_averages_over_scales(fitted, incomplete_data, revive):
    X = incomplete_data[0]
    plain = fitted.predict_proba(X)
    several = revive(fitted).set_params(n_test_time_scales=3)
    proba = several.predict_proba(X)
    profiles = torch.from_numpy(X.to_numpy()[:, :N_BINS])
    logs = []
    for scale in (0.998, 1.0, 1.002):
        x, seen = stretch(profiles.nan_to_num(), ~profiles.isnan(), torch.full((len(X), 1), scale))
        moved = X.copy()
        moved.iloc[:, :N_BINS] = torch.where(seen, x, torch.nan).numpy()
        logs.append(np.log(fitted.predict_proba(moved)))
    expected = np.exp(np.mean(logs, axis=0))
    np.testing.assert_allclose(proba, expected / expected.sum(1, keepdims=True), atol=1e-5)
    assert np.abs(proba - plain).max() > 1e-5
    np.testing.assert_array_equal(several.predict_proba(X), proba)
    np.testing.assert_allclose(several.predict_proba(X[::-1])[::-1], proba, atol=1e-6)
    np.testing.assert_array_equal(several.set_params(n_test_time_scales=1).predict_proba(X), plain)
    with pytest.raises(ValueError, match="n_test_time_scales == -1"):
        several.set_params(n_test_time_scales=-1).predict_proba(X)


def test_a_failed_first_call_leaves_no_network(incomplete_data, tiny):
    X, y = incomplete_data
    model = tiny()
    with pytest.raises(ValueError, match="sample_weight must be finite"):
        model.partial_fit(X, y, classes=SPACE_GROUPS, sample_weight=np.full(len(y), -1.0))
    assert not hasattr(model, "net_")


@pytest.mark.parametrize("amount", AMOUNTS)
def test_each_disturbance_changes_training(fitted, incomplete_data, amount, tiny):
    X, y = incomplete_data
    model = tiny(max_epochs=6, augment={amount: AMOUNTS[amount]}).fit(X, y)
    assert np.abs(model.predict_proba(X) - fitted.predict_proba(X)).max() > 1e-4


def test_networks_trained_with_masks_know_where_profiles_end(incomplete_data, tiny):
    X, y = incomplete_data
    model = tiny(max_epochs=12, augment={"masks": 0.6}).fit(X, y)
    assert model.net_.module_.branches[0][0].has_gaps
    cut = X[X.notna().all(axis=1)].copy()
    cut.iloc[:, 36:N_BINS] = np.nan
    assert (model.predict(cut) == y[cut.index]).mean() > 0.7  # 0.56 without masks


def test_residual_blocks_and_precision_of_convolutions(incomplete_data, tiny):
    plain, deep = (
        tiny(max_epochs=1, n_residual=n, precision="bfloat16").fit(*incomplete_data) for n in (0, 1)
    )
    layers = [[m for m in fit.net_.module_.modules() if isinstance(m, nn.Conv1d)] for fit in (plain, deep)]
    assert len(layers[1]) == len(layers[0]) + 2
    branch, seen = deep.net_.module_.branches[0][0], []
    layers[1][1].register_forward_hook(lambda module, given, result: seen.append(result.dtype))
    profiles = torch.rand(4, N_BINS)
    for training in (True, False):
        assert branch.train(training)(profiles).dtype == torch.float32
    assert seen == [torch.bfloat16, torch.float32]


@pytest.mark.parametrize(
    "grid",
    [
        {"augment": [None, AMOUNTS]},
        {"mixup": [0.0, 0.3], "sampling": [None, "balanced"]},
        {"weight_averaging": [None, 0.9], "n_test_time_scales": [0, 3]},
        {"modality_dropout": [0.2, (0.4, 0.0), {"formula": 0.5}, {("formula", "rings"): 0.2}]},
        {"n_residual": [0, 2], "precision": ["float32", "bfloat16"]},
    ],
)
def test_grid_search_over_training(incomplete_data, grid, tiny):
    model = tiny(max_epochs=1, hierarchy="space_group")
    search = GridSearchCV(model, grid, cv=2, error_score="raise", refit=False).fit(*incomplete_data)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert clone(tiny(**EVERYTHING)).get_params() == tiny(**EVERYTHING).get_params()


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"mixup": -0.1}, "mixup == -0.1, must be >= 0"),
        ({"sampling": "uniform"}, "sampling must be None, 'balanced' or a number from 0 to 1"),
        ({"sampling": 1.5}, "sampling must be None"),
        ({"sampling": [1]}, "sampling must be None"),
        ({"weight_averaging": 1.0}, "weight_averaging == 1.0, must be < 1"),
        ({"n_residual": -1}, "n_residual == -1, must be >= 0"),
        ({"precision": "float16"}, "precision must be one of"),
        ({"n_test_time_scales": -1}, "n_test_time_scales == -1, must be >= 0"),
        ({"modality_dropout": 1.0}, "modality_dropout must be a probability"),
        ({"modality_dropout": (0.1, 0.2, 0.3)}, "modality_dropout must be a probability"),
        ({"modality_dropout": {"rings": -1}}, "modality_dropout of block 'rings' must be a probability"),
        ({"modality_dropout": {("rings", "rings"): 0.1}}, "must hold two or more different blocks"),
        ({"augment": {"masks": 1.0}}, "augment: masks must be at most 0.9"),
    ],
)
def test_bad_parameters_of_training(incomplete_data, params, message, tiny):
    with pytest.raises(ValueError, match=message):
        tiny(**params).fit(*incomplete_data)
