"""What the classifier does in training beyond plain steps, and what a stream and a checkpoint need."""

import copy
import io
import pickle

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from torch import nn

from xtalsk.neural import FusionClassifier, _module
from xtalsk.neural._augment import stretch
from xtalsk.neural._averaging import WeightAverage
from xtalsk.neural._batches import Batches, Rows
from xtalsk.neural._mixing import draw_mix, dropout_range, mix_rows
from xtalsk.neural._net import FusionNet, schedule_factor

SPACE_GROUPS = np.array([2, 14, 62, 225])
N_BINS = 64
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


def make_data(n=96, seed=0):
    """Profiles with a line that tells the class, and chemistry that tells it too; some rows lack one."""
    rng = np.random.default_rng(seed)
    code = np.arange(n) % 4
    profile = 3 * np.exp(
        -0.5 * ((np.arange(N_BINS) - (8 + 14 * code + rng.integers(-1, 2, n))[:, None]) / 2) ** 2
    )
    profile += rng.uniform(0, 0.2, size=profile.shape)
    chemistry = rng.normal(size=(n, 6))
    chemistry[np.arange(n), code] += 4
    profile[5::12], chemistry[10::12] = np.nan, np.nan
    names = [f"rings__q_{i:04}" for i in range(N_BINS)] + [f"formula__x{i}" for i in range(6)]
    X = pd.DataFrame(np.hstack([profile, chemistry]).astype(np.float32), columns=names)
    return X, SPACE_GROUPS[code]


def small(**params):
    defaults = {"max_epochs": 3, "batch_size": 16, "hidden_size": 16, "embedding_size": 8, "n_filters": 4}
    return FusionClassifier(**{**defaults, "random_state": 0, "device": "cpu", **params})


@pytest.fixture(scope="module")
def data():
    return make_data()


@pytest.fixture(scope="module")
def fitted(data):
    return small(max_epochs=6, augment=None).fit(*data)


def revive(model):
    stream = io.BytesIO()
    joblib.dump(model, stream)
    stream.seek(0)
    return joblib.load(stream)


def weights_of(module):
    return [value.clone() for value in module.state_dict().values()]


def record(monkeypatch, owner, name, seen):
    """Let a function also append its arguments to a list."""
    original = getattr(owner, name)

    def noted(*args, **kwargs):
        seen.append(args)
        return original(*args, **kwargs)

    monkeypatch.setattr(owner, name, noted)


# mixup


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


def test_network_mixes_embeddings(fitted, data, monkeypatch):
    X = torch.from_numpy(data[0].iloc[:5].to_numpy())
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
def test_mixed_loss_is_the_mix_of_losses_at_every_level(data, hierarchy):
    X, y = data
    net = small(max_epochs=1, hierarchy=hierarchy, mixup=0.4, block_loss=0.5).fit(X, y).net_
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


def test_mixup_changes_training(fitted, data):
    X, y = data
    mixed = small(max_epochs=6, augment=None, mixup=0.4).fit(X, y)
    assert np.abs(mixed.predict_proba(X) - fitted.predict_proba(X)).max() > 1e-3
    assert mixed.score(X, y) > 0.8


# sampling


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


def test_sampling_shifts_the_answer_to_rare_classes():
    rng = np.random.default_rng(0)
    y = (np.arange(200) % 10 == 0).astype(int)
    X = rng.normal(size=(200, 3)) + y[:, None]
    params = {"max_epochs": 8, "random_state": 0}
    plain, balanced, again = (small(sampling=s, **params).fit(X, y) for s in (None, "balanced", 1.0))
    assert balanced.predict(X).mean() > plain.predict(X).mean() + 0.04
    np.testing.assert_array_equal(balanced.predict_proba(X), again.predict_proba(X))
    assert balanced.net_.n_steps_ == plain.net_.n_steps_ == 8 * 13
    zero = small(sampling=0.0, **params).fit(X, y)
    np.testing.assert_array_equal(plain.predict_proba(X), zero.predict_proba(X))
    part = small(sampling="balanced").partial_fit(X, y, classes=[0, 1])
    assert (
        np.abs(part.predict_proba(X) - small().partial_fit(X, y, classes=[0, 1]).predict_proba(X)).max()
        > 1e-3
    )


# averaged weights


def test_average_of_weights_and_statistics():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    average, expected = WeightAverage(module, 0.5), None
    for step in range(1, 15):
        with torch.no_grad():
            for p in module.parameters():
                p.add_(torch.randn_like(p))
        module.train()(torch.randn(6, 3))
        average.update(module)
        now = module[0].weight.detach().clone(), module[1].running_var.clone()
        keep = min(0.5, (step - 1) / (step + 8))
        expected = [keep * e + (1 - keep) * v for e, v in zip(expected or now, now, strict=True)]
    torch.testing.assert_close(average.module[0].weight, expected[0])
    torch.testing.assert_close(average.module[1].running_var, expected[1])
    assert average.module[1].num_batches_tracked == 14
    assert not torch.allclose(average.module[0].weight, module[0].weight, atol=0.1)
    assert not average.module.training


def test_averaged_weights_predict_and_do_not_disturb_training(data, fitted, monkeypatch):
    X, y = data
    seen = []
    record(monkeypatch, WeightAverage, "update", trail := [])
    original = FusionNet.train_step
    monkeypatch.setattr(
        FusionNet,
        "train_step",
        lambda net, *a, **k: (original(net, *a, **k), seen.append(weights_of(net.module_)))[0],
    )
    model = small(max_epochs=6, augment=None, weight_averaging=0.8).fit(X, y)
    assert len(trail) == len(seen) == 6 * 6
    expected = seen[0]
    for step, raw in enumerate(seen):
        keep = min(0.8, step / (step + 9))
        expected = [
            keep * e + (1 - keep) * r if r.is_floating_point() else r
            for e, r in zip(expected, raw, strict=True)
        ]
    torch.testing.assert_close(weights_of(model.net_.average_.module), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(weights_of(model.net_.module_), weights_of(fitted.net_.module_))
    values = torch.from_numpy(X.to_numpy())
    with torch.no_grad():
        by_hand = torch.softmax(model.net_.average_.module(values), 1)
    np.testing.assert_allclose(model.predict_proba(X), by_hand, atol=1e-5)
    assert np.abs(model.predict_proba(X) - fitted.predict_proba(X)).max() > 1e-3
    np.testing.assert_allclose(
        small(max_epochs=6, augment=None, weight_averaging=0.0).fit(X, y).predict_proba(X),
        fitted.predict_proba(X),
        atol=1e-6,
    )


def test_early_stopping_validates_and_restores_the_average(data):
    X, _ = data
    noise = np.random.default_rng(0).permutation(data[1])  # nothing to learn: validation gets worse
    model = small(
        early_stopping=True,
        validation_fraction=0.3,
        n_iter_no_change=2,
        max_epochs=60,
        label_smoothing=0.0,
        learning_rate=0.02,
        schedule="constant",
        weight_averaging=0.9,
    ).fit(X, noise)
    curve = model.validation_loss_curve_
    assert len(curve) == 2 + 1 + int(np.argmin(curve)) < 60
    kept = model.validation_indices_
    proba = model.predict_proba(X.iloc[kept])
    loss = -np.log(proba[np.arange(len(kept)), np.searchsorted(model.classes_, noise[kept])]).mean()
    assert loss == pytest.approx(min(curve), rel=1e-4)


# dropping blocks


def test_modality_dropout_changes_in_the_course_of_fit(data, monkeypatch):
    X, y = data
    record(monkeypatch, _module, "choose_kept", seen := [])
    model = small(modality_dropout=(0.5, 0.1)).fit(X, y)
    course = np.array([p.tolist() for _, p in seen])
    expected = 0.5 - 0.4 * np.arange(18) / 18
    np.testing.assert_allclose(course, np.column_stack([expected, expected]), atol=1e-6)
    seen.clear()
    model.partial_fit(X, y)
    np.testing.assert_allclose([p.tolist() for _, p in seen], 0.1, atol=1e-6)


def test_modality_dropout_by_block(data):
    X, y = data
    probability = dropout_range({"formula": 0.7, "rings": (0.0, 0.2)}, ["rings", "formula"])
    np.testing.assert_allclose(probability, [[0.0, 0.7], [0.2, 0.7]])
    np.testing.assert_allclose(dropout_range({"formula": 0.7}, ["rings", "formula"])[0], [0, 0.7])
    same = [
        small(modality_dropout=d).fit(X, y).predict_proba(X)
        for d in (0.3, (0.3, 0.3), {"rings": 0.3, "formula": 0.3}, {"formula": 0.3})
    ]
    np.testing.assert_array_equal(same[0], same[1])
    np.testing.assert_array_equal(same[0], same[2])
    assert np.abs(same[0] - same[3]).max() > 1e-4
    with pytest.raises(ValueError, match=r"modality_dropout: no column belongs to block 'ring'; blocks are"):
        small(modality_dropout={"ring": 0.3}).fit(X, y)
    small(modality_dropout={"formula": 0.3}, branches={"formula": "drop"}, max_epochs=1).fit(X[:5], y[:5])


# prediction at several scales


def test_prediction_averages_over_scales(fitted, data):
    X = data[0]
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


# streams and checkpoints


def make_batches(n, seed=0):
    X, y = make_data(16 * n, seed)
    tensors = (
        torch.from_numpy(X.to_numpy()),
        torch.from_numpy(np.searchsorted(SPACE_GROUPS, y)),
        torch.ones(16 * n),
    )
    return list(zip(*(t.split(16) for t in tensors), strict=True))


def streamed(data, **params):
    return small(**params)._start_stream(*data, SPACE_GROUPS)


def test_partial_fit_resumes_bit_for_bit(data):
    X, y = data
    straight = small(**EVERYTHING)
    for _ in range(4):
        straight.partial_fit(X, y, classes=SPACE_GROUPS)
    resumed = small(**EVERYTHING)
    for _ in range(4):
        resumed = revive(resumed.partial_fit(X, y, classes=SPACE_GROUPS))
    np.testing.assert_array_equal(resumed.predict_proba(X), straight.predict_proba(X))
    assert resumed.loss_curve_ == straight.loss_curve_
    assert resumed.net_.average_.n_steps == resumed.net_.n_steps_ == 24
    for module, other in zip(resumed.net_.all_weights(), straight.net_.all_weights(), strict=True):
        assert all(map(torch.equal, weights_of(module), weights_of(other)))


def test_a_stream_resumes_bit_for_bit_however_it_is_cut(data):
    X, _ = data
    batches = make_batches(12)
    straight = streamed(data, **EVERYTHING)
    straight._learn_batches(batches, n_steps=12)
    resumed = streamed(data, **EVERYTHING)
    with torch.random.fork_rng():
        for i, part in enumerate((batches[:5], batches[5:6], batches[6:])):
            torch.manual_seed(i)  # does not matter
            resumed._learn_batches(iter(part), n_steps=12)
            resumed = revive(resumed)
    np.testing.assert_array_equal(resumed.predict_proba(X), straight.predict_proba(X))
    assert resumed.n_iter_ == len(resumed.loss_curve_) == 3
    weighted = np.dot(resumed.loss_curve_, [5, 1, 6]) / 12
    assert weighted == pytest.approx(straight.loss_curve_[0], rel=1e-6)


def test_a_stream_learns_without_touching_numpy(data, monkeypatch):
    model = streamed(data)
    monkeypatch.setattr(torch, "from_numpy", None)
    monkeypatch.setattr(Rows, "batch", None)
    state = torch.get_rng_state()
    losses = [model._learn_batches(part) for part in [make_stream_part(seed) for seed in range(8)]]
    assert torch.equal(torch.get_rng_state(), state)
    monkeypatch.undo()
    assert losses[-1] < losses[0]
    X, y = make_data(seed=9)
    assert model.score(X, y) > 0.8


def make_stream_part(seed):
    generator = torch.Generator().manual_seed(seed)
    for _ in range(12):
        target = torch.randint(4, (16,), generator=generator)
        bins = torch.arange(N_BINS)
        profile = 3 * torch.exp(-0.5 * ((bins - 8 - 14 * target[:, None]) / 2) ** 2)
        chemistry = torch.randn(16, 6, generator=generator) + 4 * nn.functional.one_hot(target, 6)
        yield torch.cat([profile, chemistry], 1), target, torch.ones(16)


def test_learning_rates_of_a_stream(data, monkeypatch):
    batches = make_batches(4)
    seen = []
    record(monkeypatch, FusionNet, "set_step", seen)

    def rates(**kwargs):
        seen.clear()
        model = streamed(data, learning_rate=0.01, schedule="one_cycle")
        model._learn_batches(batches[:2], **kwargs)
        model._learn_batches(batches[2:], **kwargs)
        return [rate for _, rate, _ in seen], [progress for *_, progress in seen]

    assert rates() == ([0.01] * 4, [1.0] * 4)
    planned, progress = rates(n_steps=8)
    assert progress == [0, 0.125, 0.25, 0.375]
    assert planned == pytest.approx([0.01 * schedule_factor("one_cycle", p) for p in progress])
    assert rates(n_steps=4, learning_rates=lambda step: 0.001 * step)[0] == pytest.approx(
        [0, 0.001, 0.002, 0.003]
    )
    assert rates(learning_rates=[0.1, 0.2])[0] == [0.1, 0.2, 0.1, 0.2]
    with pytest.raises(ValueError, match="learning_rates must hold a rate for each batch"):
        rates(learning_rates=[0.1])
    with pytest.raises(ValueError, match="no batch"):
        streamed(data)._learn_batches([])


def test_weights_of_a_stream(data):
    X, target, weight = make_batches(1)[0]
    nothing = streamed(data, weight_decay=0.0)
    before = weights_of(nothing.net_.module_)
    assert nothing._learn_batches([(X, target, 0 * weight)]) == 0
    after = nothing.net_.module_.state_dict()
    for (name, new), old in zip(after.items(), before, strict=True):
        assert "running" in name or "num_batches" in name or torch.equal(new, old)


def test_each_step_of_a_stream_draws_anew(data):
    model, batch = streamed(data), make_batches(1)
    losses = [model._learn_batches(batch, learning_rates=[0.0]) for _ in range(3)]
    assert len(set(losses)) == 3
    still = streamed(data, augment=None, dropout=0.0, modality_dropout=0.0)
    losses = [still._learn_batches(batch, learning_rates=[0.0]) for _ in range(3)]
    assert losses == pytest.approx([losses[0]] * 3, rel=1e-5)


def test_a_chunk_of_a_stream_is_learnt_in_batches(data, monkeypatch):
    X, y = data
    values = torch.from_numpy(X.to_numpy())
    record(monkeypatch, FusionNet, "train_step", seen := [])
    model = streamed(data, batch_size=40, class_weight={62: 3.0})
    loss = model._learn(values, y, 0.01)
    assert [len(batch[0]) for _, batch in seen] == [40, 40, 16]
    assert model.loss_curve_ == [loss]
    drawn, all_ = (v[:, -1].nan_to_num() for v in (torch.cat([batch[0] for _, batch in seen]), values))
    assert not torch.equal(drawn, all_)
    assert torch.equal(drawn.sort()[0], all_.sort()[0])
    model._learn(values, y, 0.01)
    again = torch.cat([batch[0][:, -1] for _, batch in seen[3:]]).nan_to_num()
    assert not torch.equal(again, drawn)
    for _, (_, (target, weight)) in seen:
        assert torch.equal(weight, torch.where(target == 2, 3.0, 1.0))
    with pytest.raises(ValueError, match=r"not among classes: \[230\]"):
        model._learn(values, np.full(len(y), 230), 0.01)
    with pytest.raises(ValueError, match="balanced"):
        streamed(data, class_weight="balanced")


# all together


def test_a_failed_first_call_leaves_no_network(data):
    X, y = data
    model = small()
    with pytest.raises(ValueError, match="sample_weight must be finite"):
        model.partial_fit(X, y, classes=SPACE_GROUPS, sample_weight=np.full(len(y), -1.0))
    assert not hasattr(model, "net_")


@pytest.mark.parametrize("amount", AMOUNTS)
def test_each_disturbance_changes_training(fitted, data, amount):
    X, y = data
    model = small(max_epochs=6, augment={amount: AMOUNTS[amount]}).fit(X, y)
    assert np.abs(model.predict_proba(X) - fitted.predict_proba(X)).max() > 1e-4


def test_networks_trained_with_masks_know_where_profiles_end(data):
    X, y = data
    model = small(max_epochs=12, augment={"masks": 0.6}).fit(X, y)
    assert model.net_.module_.branches[0][0].has_gaps
    cut = X[X.notna().all(axis=1)].copy()
    cut.iloc[:, 36:N_BINS] = np.nan
    assert (model.predict(cut) == y[cut.index]).mean() > 0.7  # 0.56 without masks


def test_a_compact_network_predicts_the_same_and_is_smaller(data):
    model = small(max_epochs=2, weight_averaging=0.9).fit(*data)
    before, size = model.predict_proba(data[0]), len(pickle.dumps(model))
    model.net_.compact()
    np.testing.assert_array_equal(model.predict_proba(data[0]), before)
    assert len(pickle.dumps(model)) < 0.6 * size
    again = revive(model).partial_fit(*data)
    assert not np.array_equal(again.predict_proba(data[0]), before)


def test_residual_blocks_and_precision_of_convolutions(data):
    plain, deep = (small(max_epochs=1, n_residual=n, precision="bfloat16").fit(*data) for n in (0, 1))
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
        {"modality_dropout": [0.2, (0.4, 0.0), {"formula": 0.5}]},
        {"n_residual": [0, 2], "precision": ["float32", "bfloat16"]},
    ],
)
def test_grid_search_over_training(data, grid):
    model = small(max_epochs=1, hierarchy="space_group")
    search = GridSearchCV(model, grid, cv=2, error_score="raise", refit=False).fit(*data)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert clone(small(**EVERYTHING)).get_params() == small(**EVERYTHING).get_params()


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
        ({"augment": {"masks": 1.0}}, "augment: masks must be at most 0.9"),
    ],
)
def test_bad_parameters_of_training(data, params, message):
    with pytest.raises(ValueError, match=message):
        small(**params).fit(*data)
