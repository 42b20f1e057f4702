"""Small data sets and small networks."""

import io

import joblib
import numpy as np
import pandas as pd
import pytest

from xtalsk.neural import FusionClassifier

SPACE_GROUPS = np.array([2, 14, 62, 225])
N_BINS = 64


def _table(profile, chemistry):
    names = [f"rings__q_{i:04}" for i in range(N_BINS)] + [f"formula__x{i}" for i in range(6)]
    return pd.DataFrame(np.hstack([profile, chemistry]).astype(np.float32), columns=names)


def _make_data(n=120, seed=0):
    rng = np.random.default_rng(seed)
    code = np.arange(n) % 4
    lines = 8 + 14 * code + rng.integers(-1, 2, n)
    profile = 100 * np.exp(-0.5 * ((np.arange(N_BINS) - lines[:, None]) / 1.5) ** 2)
    profile += rng.normal(scale=5, size=profile.shape)
    chemistry = rng.normal(size=(n, 6))
    chemistry[np.arange(n), code] += 4
    return _table(profile, chemistry), SPACE_GROUPS[code], np.arange(n) // 6


def _make_incomplete_data(n=96, seed=0):
    rng = np.random.default_rng(seed)
    code = np.arange(n) % 4
    lines = 8 + 14 * code + rng.integers(-1, 2, n)
    profile = 3 * np.exp(-0.5 * ((np.arange(N_BINS) - lines[:, None]) / 2) ** 2)
    profile += rng.uniform(0, 0.2, size=profile.shape)
    chemistry = rng.normal(size=(n, 6))
    chemistry[np.arange(n), code] += 4
    profile[5::12], chemistry[10::12] = np.nan, np.nan
    return _table(profile, chemistry), SPACE_GROUPS[code]


def _small(**params):
    sizes = {"max_epochs": 8, "batch_size": 16, "hidden_size": 32, "embedding_size": 16, "n_filters": 8}
    return FusionClassifier(**{**sizes, "dropout": 0.2, "random_state": 0, "device": "cpu", **params})


def _tiny(**params):
    return _small(**{"max_epochs": 3, "hidden_size": 16, "embedding_size": 8, "n_filters": 4, **params})


def _revive(model):
    stream = io.BytesIO()
    joblib.dump(model, stream)
    stream.seek(0)
    return joblib.load(stream)


@pytest.fixture(scope="session")
def make_data():
    """Make profiles with a line that depends on the class, chemistry that does so too, labels and groups."""
    return _make_data


@pytest.fixture(scope="session")
def make_incomplete_data():
    """Make square roots of profiles and chemistry, one of which some rows lack, and labels."""
    return _make_incomplete_data


@pytest.fixture(scope="session")
def small():
    """Make a network that trains in a fraction of a second."""
    return _small


@pytest.fixture(scope="session")
def tiny():
    """Make a network that is smaller still."""
    return _tiny


@pytest.fixture(scope="session")
def revive():
    """Return a model that was written to a file and read again."""
    return _revive


@pytest.fixture(scope="session")
def data():
    return _make_data()


@pytest.fixture(scope="session")
def incomplete_data():
    return _make_incomplete_data()


@pytest.fixture
def record(monkeypatch):
    """Let a function append its arguments to a list, which is returned."""

    def wrap(owner, name):
        original, calls = getattr(owner, name), []

        def recorded(*args, **kwargs):
            calls.append(args)
            return original(*args, **kwargs)

        monkeypatch.setattr(owner, name, recorded)
        return calls

    return wrap
