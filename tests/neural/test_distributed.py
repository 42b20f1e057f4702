"""Training in two processes; ``python test_distributed.py RANK FOLDER`` is one of them."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import distributed

from xtalsk import FusionClassifier
from xtalsk.neural import learn_chunk, start_stream

RNG = np.random.default_rng(0)
Y = np.arange(101) % 3
X = RNG.normal(size=(101, 40)).astype(np.float32) + np.eye(3, 40, dtype=np.float32)[Y]
OPTIONS = {"hidden_size": 16, "batch_size": 32, "dropout": 0.0, "modality_dropout": 0.0, "random_state": 0}


def fit():
    return FusionClassifier(max_epochs=3, device="cpu", **OPTIONS).fit(X, Y)


def fit_chunks():
    model = start_stream(FusionClassifier(device="cpu", **OPTIONS), X, Y, [0, 1, 2])
    for _ in range(3):
        learn_chunk(model, torch.from_numpy(X), Y, 1e-3)
    return model


def weights_of(model):
    return np.concatenate([w.detach().numpy().ravel() for w in model.net_.module_.state_dict().values()])


def train(rank, folder):
    torch.set_num_threads(1)
    meeting = f"file://{folder}/meeting"
    distributed.init_process_group("gloo", init_method=meeting, rank=int(rank), world_size=2)
    for train_model in (fit, fit_chunks):
        np.save(f"{folder}/{train_model.__name__}_{rank}.npy", weights_of(train_model()))
    distributed.destroy_process_group()


@pytest.mark.skipif(not distributed.is_gloo_available(), reason="torch was built without gloo")
def test_two_processes_train_the_network_of_one(tmp_path):
    processes = [subprocess.Popen([sys.executable, __file__, str(rank), tmp_path]) for rank in range(2)]
    assert [process.wait(timeout=300) for process in processes] == [0, 0]
    for train_model in (fit, fit_chunks):
        first, second = (np.load(tmp_path / f"{train_model.__name__}_{rank}.npy") for rank in range(2))
        np.testing.assert_array_equal(first, second)
        np.testing.assert_allclose(first, weights_of(train_model()), atol=2e-5)


if __name__ == "__main__":
    train(*sys.argv[1:])
