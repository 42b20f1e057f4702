"""Threads and forked processes: random numbers and the threads of torch."""

import multiprocessing
import os
import subprocess
import sys
import threading

import joblib
import numpy as np
import pytest
import torch

FORKED = """
import os, sys
import numpy as np, torch
from xtalsk import FusionClassifier

torch.set_num_threads(2)
rng = np.random.default_rng(0)
X, y = rng.normal(size=(2000, 300)), np.arange(2000) % 4
model = FusionClassifier(max_epochs=1, hidden_size=512, device="cpu", random_state=0).fit(X, y)
expected = model.predict_proba(X)
{answer}
"""
WITH_OS_FORK = """
child = os.fork()
if not child:
    os._exit(0 if np.allclose(model.predict_proba(X), expected, atol=1e-5) else 3)
assert torch.get_num_threads() == 2
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
WITH_JOBLIB = """
import joblib
answers = joblib.Parallel(n_jobs=2, backend="multiprocessing")(
    joblib.delayed(model.predict_proba)(X) for _ in range(2)
)
assert all(np.allclose(answer, expected, atol=1e-5) for answer in answers)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.parametrize("answer", [WITH_OS_FORK, WITH_JOBLIB])
def test_a_forked_process_predicts_after_torch_has_used_two_threads(answer):
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    code = FORKED.format(answer=answer)
    # a shell ends the whole group of processes if they hang
    command = ["timeout", "--kill-after=1", "100", sys.executable, "-W", "ignore", "-c", code]
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_other_processes_keep_their_threads():
    before = torch.get_num_threads()
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        pool.apply(os.getpid)
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(
    "params",
    [
        {"modality_dropout": 0.3, "weight_averaging": 0.9},
        {"mixup": 0.4, "sampling": "balanced"},
        {"augment": {"impurity": 0.2, "peak_dropout": 0.2, "shot_noise": 0.1, "masks": 0.1, "shift": 1.0}},
    ],
)
def test_random_numbers_of_another_thread_do_not_disturb_a_fit(data, tiny, params):
    X, y, _ = data
    expected = tiny(**params).fit(X, y)
    done = threading.Event()

    def draw():
        while not done.is_set():
            torch.manual_seed(1)
            torch.rand(10)
            torch.nn.Linear(3, 3)

    thread = threading.Thread(target=draw)
    thread.start()
    try:
        fitted = [tiny(**params).fit(X, y) for _ in range(2)]
    finally:
        done.set()
        thread.join()
    for model in fitted:
        assert model.loss_curve_ == expected.loss_curve_
        np.testing.assert_array_equal(model.predict_proba(X), expected.predict_proba(X))


def test_fits_in_threads_at_the_same_time_are_those_of_one_thread(data, tiny):
    X, y, _ = data
    expected = [tiny(random_state=seed).fit(X, y).predict_proba(X) for seed in range(3)]
    models = joblib.Parallel(n_jobs=3, backend="threading")(
        joblib.delayed(tiny(random_state=seed).fit)(X, y) for seed in range(3)
    )
    for model, proba in zip(models, expected, strict=True):
        np.testing.assert_array_equal(model.predict_proba(X), proba)


@pytest.mark.parametrize(
    "params",
    [{"mixup": 0.4}, {"augment": {"impurity": 0.2, "peak_dropout": 0.2, "shot_noise": 0.1, "masks": 0.1}}],
)
def test_a_fit_does_not_use_the_global_random_numbers(data, tiny, params):
    X, y, _ = data
    before = torch.get_rng_state()
    tiny(sampling="balanced", **params).fit(X, y)
    assert torch.equal(torch.get_rng_state(), before)
