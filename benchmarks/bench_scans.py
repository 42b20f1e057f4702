"""Maps of scans: speed, memory, accuracy against dose, mixtures, and measured scans.

- ``python benchmarks/bench_scans.py speed --model rings`` writes a scan of 256 x 256 patterns of 128 x
  128 pixels (uint16, 2 GB) and maps it: seconds, processor time and largest memory of all processes together,
  patterns per second. The peer in the same run is pyFAI's azimuthal integration and the plain cosine with the
  same library, one pattern after another, on a part of the scan.
- ``... dose`` prints the accuracy of maps of six phases against the electrons of a pattern: single patterns,
  averages over neighbours, groups of alike patterns; grains of two sizes.
- ``... mixtures`` prints how often two phases are found in patterns of one and of two.
- ``... measured FOLDER --model rings`` maps the ``.hspy`` scans of a folder.

Processor time depends less on what else the machine does than seconds.
"""

import argparse
import tempfile
import threading
import time
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import torch
from _models import read_model
from scipy.ndimage import gaussian_filter
from sklearn.pipeline import make_pipeline

from xtalsk import (
    DiffractionImage,
    LibraryMatch,
    RadialProfile,
    RingConditions,
    RingGeometry,
    Sometimes,
    compute_reflections,
    load_amcsd,
    make_features,
    make_library,
    map_structures,
    simulate_rings,
)
from xtalsk.diffraction._functional import condition
from xtalsk.mapping._candidates import best_entries, find_second_phases
from xtalsk.mapping._constants import MIXED_GAIN, MIXED_SHARE

SIZE, Q_MAX = 128, 1.0
PIXEL_SIZE = 2 * Q_MAX / SIZE
CONDITIONS = RingConditions(
    image_size=SIZE,
    q_max=Q_MAX,
    off_center=0.0,
    ring_width=(0.015, 0.03),
    n_grains=300,
    background=(0.3, 0.7),
    support=(0.0, 0.5),
    direct_beam=0.1,
    detector="ideal",
)
EDGES = np.linspace(0.05, 1.25, 513)


class Memory:
    """Largest memory of this process and its children together, in GB, while the context is open."""

    def __enter__(self):
        self.peak, self._ends = 0.0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def _watch(self):
        own = psutil.Process()
        while not self._ends.wait(0.5):
            total = 0
            for process in (own, *own.children(recursive=True)):
                try:
                    total += process.memory_full_info().pss  # shared pages count once
                except psutil.Error:
                    continue
            self.peak = max(self.peak, total / 1e9)

    def __exit__(self, *_):
        self._ends.set()
        self._thread.join()


def processor_time():
    """Return the processor seconds of this process and its children."""
    own = psutil.Process()
    total = 0.0
    for process in (own, *own.children(recursive=True)):
        try:
            times = process.cpu_times()
        except psutil.Error:
            continue
        total += times.user + times.system
    return total


def rates_of(crystals, rows, conditions=CONDITIONS, random_state=0):
    """Return mean images of crystals with sum 1, float64 (n, SIZE, SIZE)."""
    lines = compute_reflections(crystals, "electron", 0.67 / conditions.q_max)
    images = simulate_rings(lines, rows, conditions, electrons=1e6, random_state=random_state).astype(float)
    return images / images.sum((1, 2), keepdims=True)


def count_electrons(rates, n, electrons, rng):
    """Return n images (n, SIZE, SIZE) of Poisson counts of one mean image, uint16."""
    cumulative = np.cumsum(rates.ravel())
    numbers = rng.poisson(electrons, n)
    places = np.searchsorted(cumulative, rng.random(numbers.sum()) * cumulative[-1])
    image = np.repeat(np.arange(n), numbers)
    counts = np.bincount(image * rates.size + places, minlength=n * rates.size)
    return counts.reshape(n, *rates.shape).astype(np.uint16)


def write_scan(path, shape, rates, electrons, seed=0):
    """Write a scan in which each of the mean images fills a tile; return the number of each position."""
    rng = np.random.default_rng(seed)
    side = int(np.ceil(np.sqrt(len(rates))))
    rows, columns = np.indices(shape)
    number = (rows * side // shape[0] * side + columns * side // shape[1]) % len(rates)
    scan = np.lib.format.open_memmap(path, "w+", np.uint16, (*shape, SIZE, SIZE))
    flat, numbers = scan.reshape(-1, SIZE, SIZE), number.ravel()
    for k in np.unique(numbers):
        places = np.flatnonzero(numbers == k)
        flat[places] = count_electrons(rates[k], len(places), electrons, rng)
    scan.flush()
    return number


def peer_seconds(images, library):
    """Return processor seconds for one pattern of pyFAI's integration and the plain cosine."""
    from pyFAI.integrator.azimuthal import AzimuthalIntegrator

    centre = SIZE / 2 * 1e-4
    integrator = AzimuthalIntegrator(
        dist=1.0, poni1=centre, poni2=centre, pixel1=1e-4, pixel2=1e-4, wavelength=1e-10
    )
    library = np.nan_to_num(library - np.nanmean(library, axis=1, keepdims=True))
    library /= np.maximum(np.linalg.norm(library, axis=1, keepdims=True), 1e-9)
    q = (EDGES[1:] + EDGES[:-1]) / 2

    def search(image):
        profile = integrator.integrate1d(
            image.astype(np.float32), len(q), unit="r_mm", method=("no", "csr", "cython")
        )
        radius, intensity = profile.radial / 0.1 * PIXEL_SIZE, profile.intensity
        values = np.interp(q, radius, intensity, left=0, right=0)[None].astype(np.float32)
        values = condition(torch.from_numpy(values), 25.0, "sqrt").numpy()
        return (library @ (values - values.mean())[0]).argmax()

    search(images[0])
    start = time.process_time()
    for image in images:
        search(image)
    return (time.process_time() - start) / len(images)


def run_speed(options):
    """Write a scan and map it."""
    pipeline = read_model(options.model)
    crystals = load_amcsd()
    rng = np.random.default_rng(1)
    chosen = np.sort(rng.choice(len(crystals), options.n_phases, replace=False))
    rates = rates_of(crystals[chosen], None)
    shape = options.positions, options.positions
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        path = Path(folder, "scan.npy")
        number = write_scan(path, shape, rates, options.electrons)
        truth = crystals.space_groups[chosen][number]
        scan = np.load(path, mmap_mode="r")
        warm = map_structures(pipeline, scan[:4, :4], pixel_size=PIXEL_SIZE, n_jobs=options.n_jobs)
        print(f"ready, {warm}", flush=True)
        before, start = processor_time(), time.perf_counter()
        with Memory() as memory:
            found = map_structures(
                pipeline,
                path,
                pixel_size=PIXEL_SIZE,
                n_jobs=options.n_jobs,
                min_confidence=0.0,
                verbose=1,
                average=options.average,
                group=options.group,
                random_state=0,
            )
        seconds, busy = time.perf_counter() - start, processor_time() - before
        library = getattr(pipeline[-1], "library_", pipeline[-1])
        library = getattr(library, "estimator_", getattr(library, "estimator", library))
        packed = library._library[next(iter(library._grids))].astype(np.float32)
        peer = peer_seconds([scan[i, i] for i in range(0, shape[0], max(1, shape[0] // 64))], packed)
    n = found.status.size
    print(f"{shape} positions, {options.electrons:g} electrons, n_jobs={options.n_jobs}: {found}")
    print(f"{seconds:.0f} s, {busy:.0f} s of processor time, {n / seconds:.0f} patterns/s")
    print(f"largest memory {memory.peak:.2f} GB (pages of the file included)")
    print(f"processor time for a pattern: {1e3 * busy / n:.2f} ms, pyFAI and cosine {1e3 * peer:.2f} ms")
    print(f"space group right: {(found.best_label == truth).mean():.3f}")


def grains(shape, size, n_phases, rng):
    """Return a map of grains: the phases of blobs of about ``size`` positions in diameter."""
    noise = [gaussian_filter(rng.normal(size=shape), size / 2.5, mode="wrap") for _ in range(n_phases)]
    return np.argmax(noise, axis=0)


def small_pipeline(crystals, **parameters):
    """Return a pipeline of search-match in a few crystals."""
    features = make_features(diffraction=("rings", RadialProfile(**parameters)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make_pipeline(features, LibraryMatch().fit(*make_library(crystals, features, random_state=0)))


def run_dose(options):
    """Print the accuracy of maps of six phases against the dose."""
    crystals = load_amcsd()
    rng = np.random.default_rng(0)
    names = [("Fe", 229), ("Fe3O4", 227), ("NiO", 225), ("TiO2", 136), ("SiO2", 152), ("CaCO3", 167)]
    rows = [np.flatnonzero((crystals.formulas == f) & (crystals.space_groups == g))[0] for f, g in names]
    others = rng.choice(len(crystals), options.n_phases, replace=False)
    pipeline = small_pipeline(crystals[np.unique([*rows, *others])])
    rates = rates_of(crystals[np.array(rows)], None)
    ways = {"single": {}, "average 1": {"average": 1.0}, "average 2": {"average": 2.0}}
    ways |= {f"{n} groups": {"group": n} for n in (6, 24)}
    table = []
    for size in (16, 5):
        phase = grains((48, 48), size, len(rows), rng)
        for electrons in (30, 100, 300, 1000, 10000):
            counts = rng.poisson(electrons * rates[phase]).astype(np.uint16)
            row = {"grain": size, "electrons": electrons}
            for name, way in ways.items():
                found = map_structures(
                    pipeline, counts, pixel_size=PIXEL_SIZE, min_confidence=0.0, random_state=0, **way
                )
                row[name] = (found.best_label == np.array([g for _, g in names])[phase]).mean()
            table.append(row)
            print(row, flush=True)
    print(pd.DataFrame(table).round(3).to_string(index=False))


def run_mixtures(options):
    """Print how often two phases are found in patterns of one and of two phases."""
    rng = np.random.default_rng(0)
    crystals = load_amcsd()
    crystals = crystals[np.sort(rng.choice(len(crystals), 40, replace=False))]
    middle = RingGeometry(((SIZE - 1) / 2, (SIZE - 1) / 2))
    pipeline = small_pipeline(crystals, geometry=middle)
    library = pipeline[-1]
    texture = Sometimes(0.3, (0.5, 1.0), otherwise=1.0)
    pure = rates_of(crystals, np.repeat(np.arange(40), 4), replace(CONDITIONS, march_parameter=texture))
    first = np.arange(len(pure))
    second = rng.permutation(len(pure))
    differs = crystals.space_groups[first // 4] != crystals.space_groups[second // 4]
    table = []
    for electrons in (1e3, 1e4, 1e5):
        for share in (0.0, 0.1, 0.3, 0.5):
            images = rng.poisson(electrons * ((1 - share) * pure + share * pure[second]))
            column = pd.Series([DiffractionImage(i, pixel_size=PIXEL_SIZE) for i in images], dtype=object)
            features = pipeline[:-1].transform(pd.DataFrame({"rings": column}))
            candidates = best_entries(library, features, library._labels, 20)
            place, amount, gain = find_second_phases(library, features, candidates)
            found = (gain > MIXED_GAIN) & (amount > MIXED_SHARE)
            pair = candidates["entry"][first, 0], candidates["entry"][first, place]
            right = (pair[0] == first // 4) & (pair[1] == second // 4)
            right |= (pair[1] == first // 4) & (pair[0] == second // 4)
            rows = differs | (share == 0)
            table.append(
                {
                    "electrons": electrons,
                    "share": share,
                    "found": found[rows].mean(),
                    "both right": (found & right)[rows].mean(),
                    "98% of gains": np.quantile(gain[rows], 0.98),
                }
            )
    print(pd.DataFrame(table).round(2).to_string(index=False))


def run_measured(options):
    """Map the scans of a folder."""
    pipeline = read_model(options.model)
    for path in sorted(Path(options.source).glob("*.hspy")):
        for column in options.columns:
            found = map_structures(pipeline, path, column=column, min_confidence=0.0)
            print(f"\n{path.name}: {found}")
            print(
                found.to_frame()[["label", "confidence", "reason", "second_label", "is_mixture"]].to_string()
            )
            for position in np.ndindex(found.shape) if len(found.entries) else ():
                best = found.candidates_at(position)
                print(
                    position,
                    best[["formula", "label", "similarity", "probability"]].round(2).to_dict("records"),
                )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["speed", "dose", "mixtures", "measured"])
    parser.add_argument("source", nargs="?", help="folder of measured scans")
    parser.add_argument("--model", help="a trained pipeline")
    parser.add_argument("--positions", type=int, default=256, help="along each axis of the scan")
    parser.add_argument("--electrons", type=float, default=1000)
    parser.add_argument("--n-phases", type=int, default=256)
    parser.add_argument("--n-jobs", type=int, default=2)
    parser.add_argument("--average", type=float)
    parser.add_argument("--group", type=int)
    parser.add_argument("--folder", help="where the scan is written")
    parser.add_argument(
        "--columns", nargs="+", default=[None], help="columns of the pipeline for measured scans"
    )
    options = parser.parse_args()
    {"speed": run_speed, "dose": run_dose, "mixtures": run_mixtures, "measured": run_measured}[options.what](
        options
    )


if __name__ == "__main__":
    main()
