"""Layers in the layout of the processor, and folded layers: the results are those of torch's own layers."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from xtalsk.neural import _net
from xtalsk.neural._branches import Residual
from xtalsk.neural._layers import BatchNorm1d, Conv1d, FoldedConvolution, fold

N_BINS = 64


def make_layers(conv, norm):
    torch.manual_seed(0)
    return nn.Sequential(
        conv(2, 8, 7, stride=2, padding=3, bias=False), norm(8), nn.ReLU(), conv(8, 4, 5, padding=2), norm(4)
    )


@pytest.fixture
def pair():
    """Make the same layers of torch and of this package."""
    plain, own = make_layers(nn.Conv1d, nn.BatchNorm1d), make_layers(Conv1d, BatchNorm1d)
    own.load_state_dict(plain.state_dict())
    return plain, own


def random_statistics(module):
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.5, 2.0)
            nn.init.uniform_(layer.weight, 0.5, 2.0)
            nn.init.normal_(layer.bias)
    return module.eval()


@pytest.fixture(scope="module")
def fitted(incomplete_data, tiny):
    return tiny(n_residual=1, weight_averaging=0.9, augment={"masks": 0.3}).fit(*incomplete_data)


@pytest.mark.parametrize("n_bins", [1, 33, N_BINS])
def test_layers_train_like_those_of_torch(pair, n_bins):
    x = torch.randn(6, 2, n_bins)
    results = []
    for layers in pair:
        out = layers(x)
        out.square().mean().backward()
        results.append((out, *(p.grad for p in layers.parameters()), *layers.buffers()))
    for expected, value in zip(*results, strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-5)


def test_layers_predict_like_those_of_torch_without_onednn(pair, monkeypatch):
    x = torch.randn(6, 2, N_BINS)
    plain, own = pair[0].eval(), pair[1].eval()
    torch.testing.assert_close(own(x), plain(x), rtol=1e-4, atol=1e-5)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert torch.equal(own(x), plain(x))


def test_folded_layers_are_the_same_function():
    torch.manual_seed(1)
    profiles = nn.Sequential(*make_layers(Conv1d, BatchNorm1d), nn.ReLU(), Residual(4, 5), nn.Flatten())
    old_profiles = make_layers(nn.Conv1d, nn.BatchNorm1d)  # as in the first pickles
    images = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU())
    for layers, x in (
        (profiles, torch.randn(5, 2, N_BINS)),
        (old_profiles, torch.randn(5, 2, N_BINS)),
        (images, torch.randn(5, 2, 8, 12)),
    ):
        random_statistics(layers)
        before = copy.deepcopy(layers.state_dict())
        with torch.no_grad():
            folded = fold(layers)
            torch.testing.assert_close(folded(x), layers(x), rtol=1e-4, atol=1e-5)
        assert not any(isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d) for m in folded.modules())
        assert not any(isinstance(m, FoldedConvolution) for m in layers.modules())
        assert all(map(torch.equal, layers.state_dict().values(), before.values()))


def test_fast_prediction_is_that_of_the_trained_module(fitted, incomplete_data, monkeypatch):
    X = incomplete_data[0].copy()
    X.iloc[::5, 40:50] = np.nan  # a part of the profile
    fast = fitted.predict_proba(X)
    with torch.no_grad():
        scores = fitted.net_.all_weights()[-1](torch.from_numpy(X.to_numpy()))
    np.testing.assert_allclose(fast, scores.softmax(1), atol=1e-5)
    for name, value in {"FEW_ROWS": 10_000, "PREDICT_ROWS": {"cpu": 7}}.items():
        monkeypatch.setattr(_net, name, value)
        np.testing.assert_allclose(fitted.predict_proba(X), fast, atol=1e-5)
    one_by_one = np.vstack([fitted.predict_proba(X[i : i + 1]) for i in range(len(X))])
    np.testing.assert_allclose(one_by_one, fast, atol=1e-5)


def test_prediction_follows_the_training(incomplete_data, tiny):
    X, y = incomplete_data
    model = tiny(max_epochs=1).fit(X, y)
    before = model.predict_proba(X)
    model.partial_fit(X, y)
    after = model.predict_proba(X)
    assert np.abs(after - before).max() > 1e-4
    with torch.no_grad():
        expected = model.net_.module_.eval()(torch.from_numpy(X.to_numpy())).softmax(1)
    np.testing.assert_allclose(after, expected, atol=1e-5)


def test_threads_do_not_matter(fitted, incomplete_data):
    X, n_threads = incomplete_data[0], torch.get_num_threads()
    try:
        results = []
        for n in (1, 2):
            torch.set_num_threads(n)
            results.append(fitted.predict_proba(X))
    finally:
        torch.set_num_threads(n_threads)
    np.testing.assert_allclose(*results, atol=1e-5)
