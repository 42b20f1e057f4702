"""The map of the fused layer."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from xtalsk import EmbeddingDisplay, FusionClassifier

Y = np.repeat([14, 62, 225], 20)
X = np.eye(3)[np.repeat([0, 1, 2], 20)] + np.random.default_rng(0).normal(size=(60, 3)) / 8


@pytest.fixture(scope="module")
def network():
    options = {
        "max_epochs": 20,
        "hidden_size": 16,
        "random_state": 0,
        "device": "cpu",
        "all_missing": "missing",
    }
    return FusionClassifier("space_group", **options).fit(X, Y)


def test_the_layer_decides_the_classes(network):
    layer = network.embed(X)
    assert layer.shape == (60, 16)
    assert LogisticRegression().fit(layer, Y).score(layer, Y) == 1
    last = network.net_.all_weights()[-1].head[3]  # the scores are linear in the fused layer
    scores = layer @ last.weight.detach().numpy().T + last.bias.detach().numpy()
    np.testing.assert_array_equal(network.classes_[scores.argmax(axis=1)], network.predict(X))


@pytest.mark.filterwarnings("ignore:.*these rows get no answer")
def test_rows_without_measurement_are_left_out(network):
    with_gap = X.copy()
    with_gap[3] = np.nan
    assert np.isnan(network.embed(with_gap)).all(axis=1).tolist() == [i == 3 for i in range(60)]
    display = EmbeddingDisplay.from_estimator(network, with_gap, Y, random_state=0)
    assert len(display.table) == 59


@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_classes_lie_apart(network, method):
    display = EmbeddingDisplay.from_estimator(network, X, Y, method=method, random_state=0)
    places = display.table[["x", "y"]].to_numpy()
    centres = display.table.groupby("label")[["x", "y"]].mean()
    nearest = centres.index[np.linalg.norm(places[:, None] - centres.to_numpy(), axis=2).argmin(axis=1)]
    assert (nearest == display.table["label"]).mean() > 0.95
    assert [t.get_text() for t in display.ax_.get_legend().get_texts()] == [
        "monoclinic",
        "orthorhombic",
        "cubic",
    ]


def test_models_without_a_network_are_refused(network):
    trees = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, Y)
    with pytest.raises(ValueError, match=r"must be a FusionClassifier .* got LogisticRegression"):
        EmbeddingDisplay.from_estimator(trees, X, Y)
    with pytest.raises(ValueError, match="four or more measured"):
        EmbeddingDisplay.from_estimator(network, X[:3], Y[:3])
    assert EmbeddingDisplay.from_estimator(make_pipeline("passthrough", network), X, Y, method="pca").ax_
