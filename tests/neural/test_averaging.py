"""Averaged weights: what they are, and where they are used."""

import pickle

import numpy as np
import pytest
import torch
from torch import nn

from xtalsk.neural._averaging import average_weights
from xtalsk.neural._net import FusionNet


@pytest.fixture(scope="module")
def fitted(incomplete_data, tiny):
    return tiny(max_epochs=6, augment=None).fit(*incomplete_data)


def weights_of(module):
    return [value.clone() for value in module.state_dict().values()]


def test_average_of_weights_and_statistics():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    average, expected = average_weights(module, 0.5), None
    for step in range(1, 15):
        with torch.no_grad():
            for p in module.parameters():
                p.add_(torch.randn_like(p))
        module.train()(torch.randn(6, 3))
        average.update_parameters(module)
        now = module[0].weight.detach().clone(), module[1].running_var.clone()
        keep = min(0.5, (step - 1) / (step + 8))
        expected = [keep * e + (1 - keep) * v for e, v in zip(expected or now, now, strict=True)]
    torch.testing.assert_close(average.module[0].weight, expected[0])
    torch.testing.assert_close(average.module[1].running_var, expected[1])
    assert average.module[1].num_batches_tracked == 14
    assert not torch.allclose(average.module[0].weight, module[0].weight, atol=0.1)
    assert not average.module.training


def test_averaged_weights_predict_and_do_not_disturb_training(incomplete_data, fitted, monkeypatch, tiny):
    X, y = incomplete_data
    seen = []
    original = FusionNet.train_step
    monkeypatch.setattr(
        FusionNet,
        "train_step",
        lambda net, *a, **k: (original(net, *a, **k), seen.append(weights_of(net.module_)))[0],
    )
    model = tiny(max_epochs=6, augment=None, weight_averaging=0.8).fit(X, y)
    assert model.net_.average_.n_averaged == len(seen) == 6 * 6
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
        tiny(max_epochs=6, augment=None, weight_averaging=0.0).fit(X, y).predict_proba(X),
        fitted.predict_proba(X),
        atol=1e-6,
    )


def test_early_stopping_validates_and_restores_the_average(incomplete_data, tiny):
    X, _ = incomplete_data
    noise = np.random.default_rng(0).permutation(
        incomplete_data[1]
    )  # nothing to learn: validation gets worse
    model = tiny(
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


def test_a_compact_network_predicts_the_same_and_is_smaller(incomplete_data, tiny, revive):
    model = tiny(max_epochs=2, weight_averaging=0.9).fit(*incomplete_data)
    before, size = model.predict_proba(incomplete_data[0]), len(pickle.dumps(model))
    model.net_.compact()
    np.testing.assert_array_equal(model.predict_proba(incomplete_data[0]), before)
    assert len(pickle.dumps(model)) < 0.6 * size
    again = revive(model).partial_fit(*incomplete_data)
    assert not np.array_equal(again.predict_proba(incomplete_data[0]), before)


def test_columns_without_training_values_are_ignored_by_averaged_weights(incomplete_data, tiny):
    X, y = incomplete_data
    X = X.assign(formula__x0=np.nan, formula__x1=1.0)
    model = tiny(weight_averaging=0.9).fit(X, y)
    np.testing.assert_allclose(
        model.predict_proba(X.assign(formula__x0=7.0)), model.predict_proba(X), atol=0.1
    )
