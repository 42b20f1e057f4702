"""Stored streams of many rows, and work in two processes: sections of `bench_io.py`."""

import os
import resource
import shutil
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import torch

from xtalsk import ElementFractions, FusionClassifier, load_amcsd, make_features
from xtalsk.datasets import load_cif_tree, make_specimens
from xtalsk.streaming import StoredStream, fit_stream, write_stream
from xtalsk.streaming._sample import Sampled, fitted
from xtalsk.utils._fingerprint import fingerprint

N_FEATURES = 256
N_FILES = 2048
FEATURES = make_features(fractions=("formula", ElementFractions()))  # only for the description of the stream


class RandomStream(Sampled):
    """Chunks of random features, which cost nothing to make."""

    chunk_size, device, columns_ = 2048, torch.device("cpu"), ["formula"]
    classes_ = np.arange(1, 231)
    _modules = ()

    def __init__(self):
        self.feature_names_ = np.array([f"random__{j}" for j in range(N_FEATURES)], dtype=object)
        self.features_ = fitted(FEATURES, self.columns_)
        self._content = {"features": fingerprint([list(FEATURES.transformers), self.feature_names_])}

    def chunk(self, k):
        rng = np.random.default_rng(k)
        X = rng.standard_normal((self.chunk_size, N_FEATURES), dtype=np.float32)
        return torch.from_numpy(X), rng.integers(1, 231, self.chunk_size)


def peak():
    """Return the largest memory of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(n_rows, folder):
    """Return rates and largest memory of writing, reading and training, as a dict."""
    torch.set_num_threads(1)
    row, marks = {"rows": n_rows}, [time.perf_counter()]
    stored = write_stream(RandomStream(), folder, n_rows)
    marks.append(time.perf_counter())
    row |= {
        "MB on disk": sum(file.stat().st_size for file in Path(folder).iterdir()) / 1e6,
        "MB write": peak(),
    }
    for k in range(stored.n_chunks):
        stored.chunk(k)
    marks.append(time.perf_counter())
    row["MB read"] = peak()
    model = FusionClassifier(hierarchy="space_group", hidden_size=32, device="cpu", random_state=0)
    fit_stream(model, StoredStream(folder, device="cpu"), stored.n_specimens)
    marks.append(time.perf_counter())
    row["MB train"] = peak()
    rates = stored.n_specimens / np.diff(marks)
    return row | dict(zip(("written/s", "read/s", "trained/s"), rates, strict=True))


def compare_streams(folder, numbers):
    """Print a table of rates and of the largest memory; each number of rows has a process of its own."""
    rows = []
    for n_rows in numbers:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            rows.append(pool.submit(measure, n_rows, str(folder / str(n_rows))).result())
        shutil.rmtree(folder / str(n_rows))
    print(f"{N_FEATURES} random features, chunks of {RandomStream.chunk_size}, {load()}")
    print(pd.DataFrame(rows).round().astype(int).to_string(index=False))


def compare_jobs(folder, cifs, n_rounds=5, n_replicas=4):
    """Print the times of one and of two processes, for simulation and for CIF files; medians of rounds.

    Other processes that share the cores lower the speed-up. With two free cores it is at least the CPU time
    of one job, divided by that of this process and half of that of the workers.
    """
    crystals, options = load_amcsd()[::9], {"random_state": 0, "n_replicas": n_replicas}
    copy_cifs(cifs, folder)
    work = {
        name: lambda n, name=name: make_specimens(crystals, name, n_jobs=n, **options)
        for name in ("rings", "powder")
    }
    numbers = dict.fromkeys(work, n_replicas * len(crystals)) | {"CIF files": N_FILES}
    work["CIF files"] = lambda n: load_cif_tree(folder, cache=False, n_jobs=n)
    rows = []
    for name, function in work.items():
        rounds = {1: [], 2: []}
        for _ in range(n_rounds + 1):  # the first round starts the processes
            for n_jobs, measured in rounds.items():
                before = clocks()
                function(n_jobs)
                measured.append(np.subtract(clocks(), before))
        one, two = (np.median(measured[1:], axis=0) for measured in rounds.values())
        rows.append({"work": name, "number": numbers[name], "1 job s": one[0], "2 jobs s": two[0]})
        rows[-1] |= {"speed-up": one[0] / two[0], "1 job CPU s": one[1], "2 jobs CPU s": two[1]}
        rows[-1] |= {"of the workers": two[2], "speed-up of free cores": one[1] / (two[1] + two[2] / 2)}
    print(load(), pd.DataFrame(rows).round(2).to_string(index=False), sep="\n")


def copy_cifs(cifs, folder):
    """Write `N_FILES` copies of the CIF files below ``cifs`` to subfolders of a folder."""
    texts = [path.read_bytes() for path in sorted(cifs.rglob("*.cif"))]
    for number in range(N_FILES):
        (folder / str(number // 256)).mkdir(exist_ok=True)
        (folder / str(number // 256) / f"{number}.cif").write_bytes(texts[number % len(texts)])


def read_with_pymatgen(paths):
    """Return how many of the CIF files pymatgen reads."""
    from pymatgen.io.cif import CifParser

    n_read = 0
    for path in paths:
        try:
            n_read += len(CifParser(path).parse_structures(primitive=False)) > 0
        except Exception:  # it raises many kinds of errors
            continue
    return n_read


def compare_cifs(folder, cifs, n_rounds=3, n_files=100):
    """Print files a second of processor time, beside pymatgen on some of the same files; medians."""
    copy_cifs(cifs, folder)
    some = sorted(folder.rglob("*.cif"))
    some = some[:: len(some) // n_files][:n_files]
    rates, n_read = {"xtalsk": [], "pymatgen": []}, {}
    for _ in range(n_rounds + 1):  # the first round loads and compiles
        started = time.process_time()
        n_read["xtalsk"] = len(load_cif_tree(folder, cache=False).crystals)
        rates["xtalsk"].append(N_FILES / (time.process_time() - started))
        started = time.process_time()
        n_read["pymatgen"] = read_with_pymatgen(some)
        rates["pymatgen"].append(len(some) / (time.process_time() - started))
    own, peer = (np.median(rate[1:]) for rate in rates.values())
    print(f"CIF files a second of a core: {own:,.0f}, pymatgen {peer:.1f}; {own / peer:.0f} times as fast")
    print(f"read: {n_read['xtalsk']} crystals of {N_FILES}; pymatgen {n_read['pymatgen']} of {len(some)}")


def clocks():
    """Return the time, and the CPU time of this process and of its workers, in s."""
    workers = [child.cpu_times() for child in psutil.Process().children(recursive=True)]
    return time.perf_counter(), time.process_time(), sum(times.user + times.system for times in workers)


def load():
    """Return how busy the machine is, in words."""
    return f"{os.cpu_count()} cores, {os.getloadavg()[0]:.1f} processes running or waiting"
