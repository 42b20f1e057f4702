"""Download of an open database over a poor connection: a section of `bench_io.py`.

``python benchmarks/_open_database.py URL FOLDER`` fetches a database, and prints why requests were repeated.
"""

import json
import logging
import signal
import subprocess
import sys
import time
import warnings
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from xtalsk.crystals import CrystalSet
from xtalsk.datasets import fetch_optimade, load_amcsd

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "datasets"))

from _optimade_server import FAULTS, Server, entry_of, write_database

MOST_SITES = 40  # larger cells only make the pages longer
FAULT_SHARE = 0.6
PAGE_SIZE = 200


def write_entries(path, n):
    """Write n entries: structures of AMCSD, then the same with other cells; 1 of 500 lacks a position."""
    amcsd = load_amcsd()
    real = amcsd[np.flatnonzero(np.diff(amcsd.offsets) <= MOST_SITES)]
    sets = []
    for number in range(-(-n // len(real))):
        ids = np.array([f"{name}-{number}" for name in real.ids])
        sets.append(replace(real, lattices=real.lattices * (1 + 0.03 * number), ids=ids))
    crystals = CrystalSet.concatenate(sets)[:n]
    entries = [entry_of(crystals, i) for i in range(n)]
    for entry in entries[::500]:
        entry["attributes"]["cartesian_site_positions"].pop()
    write_database(path, entries)


def fetch(url, folder, **options):
    """Fetch the whole database."""
    patience = {"max_wait": 0.1, "max_attempts": 40, "timeout": 30.0}
    return fetch_optimade(url, data_home=folder, page_size=PAGE_SIZE, n_jobs=2, **patience, **options)


def fetch_elsewhere(server, folder, log, stop_at=None):
    """Fetch in a process of its own, which is killed when it has stored ``stop_at`` entries.

    Returns the number of entries that are stored then.
    """
    with log.open("a") as output:
        command = [sys.executable, "-u", __file__, server.url, folder]
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.DEVNULL)
    n_entries = 0
    while process.poll() is None:
        time.sleep(0.05)
        for state in folder.glob("optimade/*/state.json"):
            n_entries = json.loads(state.read_text())["n_entries"]
        if stop_at is not None and n_entries >= stop_at:
            process.send_signal(signal.SIGKILL)
            process.wait()
            return n_entries
    if process.returncode:
        raise RuntimeError(f"the download ended with {process.returncode}")
    return n_entries


def is_same(one, other):
    """Return whether two answers have the same crystals, provenance and broken entries."""
    crystals = (one.crystals, other.crystals)
    columns = ("ids", "lattices", "offsets", "atomic_numbers", "frac_coords", "occupancies", "space_groups")
    provenance = (answer.provenance.drop(columns="database") for answer in (one, other))
    return (
        all(np.array_equal(*(getattr(c, name) for c in crystals)) for name in columns)
        and pd.DataFrame.equals(*provenance)
        and one.broken.equals(other.broken)
    )


def compare_downloads(folder, n):
    """Print how a disturbed download, killed halfway, compares with an undisturbed one."""
    data, log, faults = (folder / name for name in ("entries.jsonl", "retries.txt", "faults.txt"))
    write_entries(data, n)
    quiet = Server(data, 0, subprocess.DEVNULL)
    begun = time.perf_counter()
    undisturbed = fetch(quiet.url, folder / "undisturbed")
    seconds = [time.perf_counter() - begun]
    quiet.stop()
    with faults.open("w") as output:
        poor = Server(data, FAULT_SHARE, output)
    begun = time.perf_counter()
    n_stored = fetch_elsewhere(poor, folder / "disturbed", log, stop_at=n // 2)
    fetch_elsewhere(poor, folder / "disturbed", log)
    seconds.append(time.perf_counter() - begun)
    poor.stop()
    disturbed = fetch(poor.url, folder / "disturbed", download_if_missing=False)
    n_good, n_broken = len(disturbed.crystals), len(disturbed.broken)
    injected = Counter(line for line in faults.read_text().splitlines() if line in FAULTS)
    n_retries = len(log.read_text().splitlines())
    print(f"{n} entries, {PAGE_SIZE} a page: {n_good} crystals and {n_broken} broken entries arrived")
    print(f"complete: {n_good + n_broken == n}; as undisturbed: {is_same(disturbed, undisturbed)}")
    print(f"killed with {n_stored} entries stored; {sum(injected.values())} faults: {dict(injected)}")
    print(f"{n_retries} requests were repeated; {seconds[1]:.0f} s, undisturbed {seconds[0]:.0f} s")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    logging.disable()
    fetch(*sys.argv[1:], verbose=2)
