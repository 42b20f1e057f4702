"""Speed of the published pipelines from raw cells to the answer, of their network, and of a first answer.

Run ``python benchmarks/bench_pipeline.py``. The cells are simulated under the harsh preset, each with its
formula. The script prints

- rows per second of each pipeline, and the share of each step;
- rows per second of the network of the powder pipeline: prediction beside its module as it was trained, and
  training beside a bare loop of torch with the same module, loss and optimiser;
- the seconds from the start of a fresh process to its first answer, beside the imports of other packages.

Both sides of a ratio run alternately in one process. Times are medians. On a machine that others use, too,
``--threads 1 --processor-time`` gives the rates of one core.
"""

import argparse
import copy
import os
import subprocess
import sys
import tempfile
import time
import warnings
from contextlib import contextmanager

import numpy as np
import pandas as pd
import torch
from sklearn.base import clone
from train import network_of

from xtalsk import (
    ElementFractions,
    ElementPresence,
    FusionClassifier,
    IndexingScores,
    LibraryMatch,
    PowderProfile,
    PrototypeMatch,
    RadialProfile,
    RankedElements,
    load_amcsd,
    load_pretrained,
    make_specimens,
)
from xtalsk.neural import learn_chunk, start_stream

STEPS = {
    "profile": (RadialProfile, PowderProfile),
    "indexing": (IndexingScores,),
    "chemistry": (ElementFractions, ElementPresence, RankedElements),
    "network": (FusionClassifier,),
    "search-match": (LibraryMatch,),
    "prototypes": (PrototypeMatch,),
}
"""Classes of the steps of a pipeline; the rest of the time counts as "other"."""

METHODS = ("transform", "predict_proba", "_search")

LIBRARIES = "import joblib, pandas, torch, sklearn.pipeline, scipy.signal, numba, skorch"

FIRST_ANSWER = """
import pandas as pd
from xtalsk import load_pretrained
pipeline = load_pretrained({name!r})
pipeline.predict(pd.read_pickle({cells!r}))
"""


clocks = [time.perf_counter]


def clock():
    """Return seconds: elapsed, or of the processor with ``--processor-time``."""
    return clocks[-1]()


@contextmanager
def stopwatch():
    """Measure the seconds in each step, without those in steps that it calls, in the dict it yields."""
    seconds, running, originals = dict.fromkeys(STEPS, 0.0), [], []

    def timed(step, method):
        def call(*args, **kwargs):
            start = clock()
            running.append(0.0)
            try:
                return method(*args, **kwargs)
            finally:
                inner, total = running.pop(), clock() - start
                seconds[step] += total - inner
                if running:
                    running[-1] += total

        return call

    for step, classes in STEPS.items():
        for cls in classes:
            for name in METHODS:
                if hasattr(cls, name):
                    originals.append((cls, name, vars(cls).get(name)))
                    setattr(cls, name, timed(step, getattr(cls, name)))
    try:
        yield seconds
    finally:
        for cls, name, own in originals:
            delattr(cls, name) if own is None else setattr(cls, name, own)


def specimens(modality, n, seed):
    """Return n harsh cells of a modality with their formulas."""
    crystals = load_amcsd()
    chosen = np.random.default_rng(seed).choice(len(crystals), n, replace=False)
    X, _, _ = make_specimens(
        crystals[np.sort(chosen)], (modality, "formula"), conditions="harsh", random_state=seed
    )
    return X.sample(frac=1.0, random_state=seed, ignore_index=True)


def raw_to_answer(pipeline, X, n_parts):
    """Print rows per second of a pipeline and the share of each step.

    Each repeat has cells of its own, because profiles of cells that were seen before are cached.
    """
    size = len(X) // (n_parts + 1)
    parts = [X.iloc[i * size : (i + 1) * size] for i in range(n_parts + 1)]
    pipeline.predict(parts[0])
    totals, shares = [], []
    for part in parts[1:]:
        with stopwatch() as seconds:
            start = clock()
            pipeline.predict(part)
            totals.append(clock() - start)
        shares.append([*seconds.values(), totals[-1] - sum(seconds.values())])
    shares = np.array(shares) / np.array(totals)[:, None]
    print(f"  {size / np.median(totals):.0f} rows/s, {size} rows a call")
    for step, share in zip([*STEPS, "other"], np.median(shares, axis=0), strict=True):
        print(f"    {step:<14} {100 * share:5.1f}%  {1e6 * share * np.median(totals) / size:8.0f} µs a row")
    single = []
    for i in range(len(parts[0])):
        start = clock()
        pipeline.predict(parts[0].iloc[i : i + 1])
        single.append(clock() - start)
        if i == 19:
            break
    print(f"  one row a call: {1e3 * np.median(single):.0f} ms")


def compete(works, repeats):
    """Run functions alternately; return the median seconds of each and the median ratio to the last."""
    seconds = {name: [] for name in works}
    for _ in range(repeats + 1):
        for name, work in works.items():
            start = clock()
            work()
            seconds[name].append(clock() - start)
    times = np.array([s[1:] for s in seconds.values()])  # the first round warms up
    return np.median(times, axis=1), np.median(times[-1] / times, axis=1)


def print_competition(title, works, n, repeats):
    """Print rows per second of each function, and the ratio to the last one."""
    seconds, ratios = compete(works, repeats)
    print(title)
    for name, t, ratio in zip(works, seconds, ratios, strict=True):
        print(f"    {name:<44} {n / t:7.0f} rows/s   {ratio:.2f}")


def predict_speed(network, X, repeats):
    """Compare prediction with the module as it was trained, in the batches of 1,024 of earlier versions."""
    module = network.net_.all_weights()[-1].eval()
    rows = torch.from_numpy(X)

    @torch.no_grad()
    def bare(size):
        return torch.cat([module(part) for part in rows.split(size)]).softmax(1).numpy()

    n_weights = sum(p.numel() for p in module.parameters())
    print(f"  {n_weights / 1e6:.1f} million weights, {X.shape[1]} columns, {X.shape[0]} rows")
    difference = np.abs(network.predict_proba(X) - bare(128)).max()
    works = {
        "FusionClassifier.predict_proba": lambda: network.predict_proba(X),
        "module as trained, batches of 128": lambda: bare(128),
        "module as trained, batches of 1,024": lambda: bare(1024),
    }
    print_competition(f"  prediction (largest difference {difference:.0e})", works, len(X), repeats)


def bare_training(network, X, target, size):
    """Return a function that trains the module of a network in a plain loop of torch."""
    net = copy.deepcopy(network.net_)
    module, optimizer = net.module_.train(), net.optimizer_
    weight = torch.ones(len(X))

    def train():
        for rows in torch.randperm(len(X)).split(size):
            optimizer.zero_grad()
            loss = net.get_loss(module(X[rows]), (target[rows], weight[rows]), training=True)
            loss.backward()
            optimizer.step()

    return train


def train_speed(network, X, repeats):
    """Compare the training on chunks with a bare loop of torch, in both precisions."""
    y = np.resize(network.classes_, len(X))
    target, rows = torch.from_numpy(np.searchsorted(network.classes_, y)), torch.from_numpy(X)
    data = pd.DataFrame(X, columns=network.feature_names_in_)
    for precision in ("bfloat16", "float32"):
        model = clone(network).set_params(precision=precision, device="cpu")
        model = start_stream(model, data, y, network.classes_)
        works = {
            "learn_chunk": lambda model=model: learn_chunk(model, rows, y, 1e-3),
            "bare loop of torch": bare_training(model, rows, target, model.batch_size),
        }
        print_competition(f"  training, {precision}, batches of {model.batch_size}", works, len(X), repeats)


def run_fresh(code, cache):
    """Return the seconds of a fresh process: elapsed, and of the processor."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": cache}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed package has its byte code
    before, start = os.times(), time.perf_counter()
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], env=environment, check=True)
    elapsed, after = time.perf_counter() - start, os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return elapsed, cpu


def cold_start(name, X, repeats):
    """Print the time from the start of a process to its first answer."""
    with tempfile.TemporaryDirectory() as folder:
        cells = os.path.join(folder, "cells.pkl")
        X.iloc[:1].to_pickle(cells)
        answer = FIRST_ANSWER.format(name=name, cells=cells)
        first = run_fresh(answer, folder)
        runs = [(run_fresh(answer, folder), run_fresh(LIBRARIES, folder)) for _ in range(repeats)]
    own, floor = np.median(runs, axis=0)
    print(f"    {'first process after installation':<44} {first[0]:6.1f} s  {first[1]:6.1f} s of processor")
    for name, (elapsed, cpu) in {"a later process": own, "imports of other packages alone": floor}.items():
        print(f"    {name:<44} {elapsed:6.1f} s  {cpu:6.1f} s of processor")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=256, help="rows a call")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--processor-time", action="store_true", help="for a machine that others use, too")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    if options.processor_time:
        clocks.append(time.process_time)
    torch.set_num_threads(options.threads)
    for modality in ("powder", "rings"):
        X = specimens(modality, options.n * (options.repeats + 1), seed=0)
        pipeline = load_pretrained(modality)
        print(f"{modality}, raw cells to answer, {options.threads} threads")
        raw_to_answer(pipeline, X, options.repeats)
        print("  first answer of a fresh process, one row")
        cold_start(modality, X, 3)
        if modality == "powder":
            features = np.asarray(pipeline[:-1].transform(X.iloc[: options.n]), dtype=np.float32)
            network = network_of(modality)
            print("network of this pipeline")
            predict_speed(network, np.resize(features, (2048, features.shape[1])), options.repeats)
            train_speed(network, np.resize(features, (2048, features.shape[1])), options.repeats)


if __name__ == "__main__":
    main()
