"""Data in: readers of measured files and manifests.

``python benchmarks/bench_io.py open FOLDER`` opens every file of a folder of measured data and structures,
and lists those that do not open.

``python benchmarks/bench_io.py readers [--tests FOLDER]`` compares readers of powder files with rietx itself,
and times a manifest of 10,000 rows and the memory of images that are read on use.

``python benchmarks/bench_io.py fuzz [--tests FOLDER] [--inputs N]`` reads damaged and hostile files, counts
clear errors, and prints the slowest files and the memory of the processes.

``python benchmarks/bench_io.py crystals [--n 500000]`` saves, loads and slices a `CrystalSet` of n
structures, copies of AMCSD, beside pickle.

``python benchmarks/bench_io.py streams [--rows N ...]`` writes, reads and trains on stored streams of random
features, and prints rates and the largest memory.

``python benchmarks/bench_io.py parallel [--cifs FOLDER]`` compares one process with two, for simulation and
for CIF files.

``python benchmarks/bench_io.py cifs [--cifs FOLDER]`` compares the reading of CIF files with pymatgen.

``python benchmarks/bench_io.py optimade [--n 10000]`` fetches entries of an OPTIMADE server on this machine
behind a fault injector, is killed halfway and goes on, and compares the answer with an undisturbed one.
"""

import argparse
import logging
import os
import pickle
import resource
import shutil
import tempfile
import time
import warnings
from collections import Counter, defaultdict
from pathlib import Path

import _damaged_files
import _many_rows
import _open_database
import numpy as np
import pandas as pd

from xtalsk.crystals import CrystalSet
from xtalsk.datasets import load_amcsd
from xtalsk.diffraction import RadialProfile
from xtalsk.io import (
    BrokenFileError,
    _reader_process,
    read_image,
    read_profile,
    read_scan,
    read_specimens,
    read_spectrum,
)

TESTS = Path(__file__).parents[1] / "tests" / "data"


def opener(path, folder):
    """Return the name of the reader of a file of the folder, and a function that reads it; or None."""
    place, suffix = path.relative_to(folder).parts[0], path.suffix
    if suffix == ".md":
        return None
    if place == "structures":
        if suffix == ".gz":
            return "CrystalSet.from_cifs", lambda: CrystalSet.from_cifs(list(pd.read_csv(path).cif[:50]))
        if suffix == ".npz":
            return "CrystalSet.load", lambda: CrystalSet.load(path)
    if suffix == ".cif":
        return "CrystalSet.from_cifs", lambda: CrystalSet.from_cifs([path])
    if path.name == "manifest.csv":
        return "read_specimens", lambda: open_manifest(path)
    if path.name == "Al_radial_profile.csv":  # intensity against the radius in pixels
        return "pandas.read_csv", lambda: pd.read_csv(path)
    if path.name == "austenite_scan_2x2.hspy":
        return "read_scan", lambda: read_scan(path)
    if place == "electron":
        frame = 0 if "5_patterns" in path.name else None
        return "read_image", lambda: read_image(path, frame=frame)
    if place in ("eds", "tem"):
        return "read_spectrum", lambda: read_spectrum(path)
    scan = 0 if path.name.startswith("minerals") else None
    return "read_profile", lambda: read_profile(path, wavelength=1.5406, scan=scan)


def open_manifest(path):
    """Read the table of measured electron diffraction; each row that names files by ``*`` becomes several."""
    table = pd.read_csv(path)
    found = [
        [str(file.relative_to(path.parent)) for file in sorted(path.parent.glob(name))] for name in table.file
    ]
    table = table.assign(file=found).explode("file")
    table["file"] = table.file.replace(r"(.*5_patterns.*)", r"\1#2", regex=True)
    table["file"] = table.file.replace(r"(.*2x2.*)", r"\1#1,0", regex=True)
    table = table[~table.file.str.endswith(".csv")].reset_index(drop=True)
    columns = {"file": "rings", "pixel_size_inv_angstrom": "pixel_size", "beam_energy_kV": "beam_energy"}
    specimens = read_specimens(
        table,
        columns=columns | {"formula": None},
        target="space_group",
        folder=path.parent,
        check_files=True,
        on_error="raise",
    )
    return specimens.X


def open_all(folder):
    """Print how many files each reader opened, and what did not open."""
    counts, failures = Counter(), []
    for path in sorted(folder.rglob("*")):
        found = opener(path, folder) if path.is_file() else None
        if found is None:
            continue
        name, read = found
        try:
            read()
            counts[name] += 1
        except Exception as error:  # every failure is listed
            failures.append(f"{path.relative_to(folder)}: {type(error).__name__}: {str(error)[:200]}")
    print(pd.Series(counts, name="files").to_string())
    print(f"{len(failures)} do not open", *failures, sep="\n")


def median_ms(functions, n_rounds=15):
    """Return the median time of each function in ms; the calls are interleaved."""
    times = defaultdict(list)
    for _ in range(n_rounds):
        for name, function in functions.items():
            started = time.perf_counter()
            function()
            times[name].append(1e3 * (time.perf_counter() - started))
    return {name: float(np.median(values)) for name, values in times.items()}


def compare_readers(tests):
    """Print the times of reading, beside rietx in this process, and whether the numbers agree."""
    from rietx.io.readers import read_pattern

    rows = []
    for path in sorted((tests / "formats").iterdir()):
        if path.suffix == ".md":
            continue
        times = median_ms({"ms": lambda p=path: read_profile(p), "rietx ms": lambda p=path: read_pattern(p)})
        ours, theirs = read_profile(path), read_pattern(path)
        difference = np.abs(ours.intensity - theirs.intensity).max() / ours.intensity.max()
        rows.append({"file": path.name, "points": ours.intensity.size, **times, "difference": difference})
    print(pd.DataFrame(rows).round(3).to_string(index=False))


def time_manifest(folder, n_rows=10_000):
    """Print the time of a manifest, and the memory of images that are read in portions."""
    np.save(folder / "image.npy", np.random.default_rng(0).poisson(20, (512, 512)).astype(np.float32))
    lines = ["image.npy,0.01,Au,225"] * n_rows
    lines[::100] = ["absent.npy,0.01,Au,225"] * len(lines[::100])
    (folder / "m.csv").write_text("rings,pixel_size,formula,space_group\n" + "\n".join(lines))
    started = time.process_time()
    specimens = read_specimens(folder / "m.csv", target="space_group")
    seconds = time.process_time() - started
    print(
        f"manifest: {n_rows / seconds:,.0f} rows/s, {len(specimens.X)} good, {len(specimens.broken)} broken"
    )
    few = specimens.X.rings.iloc[:1000]
    profile = RadialProfile(64).fit(few)
    profile.transform(few.iloc[:130])
    before = memory()
    profile.transform(few)
    print(f"1,000 images of 1 MB: {memory() - before:.0f} MB more at the peak")


def memory(who=resource.RUSAGE_SELF):
    """Return the largest memory of this process so far, or of its children that ended, in MB."""
    return resource.getrusage(who).ru_maxrss / 1024


def readers_for(name):
    """Return the readers that are tried on a file of a name."""
    if name.startswith("manifest"):
        return [read_specimens]
    by_suffix = {".msa": [read_spectrum], ".npy": [read_image], ".npz": [read_image, read_profile]}
    by_suffix |= {suffix: [read_image] for suffix in (".png", ".tif", ".jpg", ".hspy")}
    return by_suffix.get(Path(name).suffix, [read_profile, read_spectrum])


def damaged(files, n_inputs, random_state=0):
    """Yield name and content of damaged files: mutated, also within archives, cut, or of a wrong suffix."""
    random = np.random.default_rng(random_state)
    names = sorted(files)
    for number in range(n_inputs):
        name = names[number % len(names)]
        content, kind = files[name], random.integers(0, 10)
        if kind == 0:
            suffix = _damaged_files.SUFFIXES[random.integers(0, len(_damaged_files.SUFFIXES))]
            yield f"wrong{suffix}", content
        elif kind == 1:
            yield name, content[: random.integers(0, len(content))]
        elif kind in (2, 3) and content.startswith(b"PK"):
            yield name, _damaged_files.repack(content, random)
        else:
            yield name, _damaged_files.mutate(content, random)


def fuzz(tests, folder, n_inputs):
    """Print how readers answer damaged files."""
    marker = folder / "code_ran"
    files = _damaged_files.small_files(tests)
    for name in ("rings.npy", "rings.png"):  # the manifest names them
        (folder / name).write_bytes(files[name])
    tried = folder / "tried"
    tried.mkdir()
    answers, slow, wrong = Counter(), [], []
    hostile = _damaged_files.bombs(marker)
    mutated = damaged(files, n_inputs - len(hostile))
    started = time.perf_counter()
    for name, content in (*hostile.items(), *mutated):
        path = (folder if name.startswith("manifest") else tried) / name
        path.write_bytes(content)
        for read in readers_for(name):
            begun = time.perf_counter()
            answers[answer(read, path, wrong)] += 1
            slow.append((time.perf_counter() - begun, name, read.__name__))
        path.unlink()
    seconds = time.perf_counter() - started
    print(f"{n_inputs} inputs, {sum(answers.values())} readings in {seconds:.0f} s: {dict(answers)}")
    print("slowest:", [f"{name} {read} {s:.2f} s" for s, name, read in sorted(slow)[:-6:-1]])
    print(
        f"memory: {memory():.0f} MB; {children():.0f} MB in the process of readers; "
        f"code ran: {marker.exists()}"
    )
    print(*wrong[:20], sep="\n")


def answer(read, path, wrong):
    """Return "read", "clear error" or "other", and note what is wrong about the others."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            read(path)
        except BrokenFileError as error:
            if str(error).startswith(f"{path.name}"):
                return "clear error"
            wrong.append(f"{path.name}: no name: {error}")
        except Exception as error:  # an answer that this benchmark looks for
            wrong.append(f"{path.name}: {type(error).__name__}: {error}")
        else:
            return "read"
    return "other"


def children():
    """Return the largest memory of the processes of readers, in MB."""
    _reader_process._reader.stop()
    return memory(resource.RUSAGE_CHILDREN)


def time_crystals(folder, n):
    """Print the times of files and slices of a large set of crystals, and the memory of a mapped one."""
    amcsd = load_amcsd()
    crystals = CrystalSet.concatenate([amcsd] * -(-n // len(amcsd)))[:n]
    rows, path, pickled = {}, folder / "crystals", folder / "crystals.pkl"
    steps = {
        "save(compressed=False)": lambda: crystals.save(path, compressed=False),
        "load(mmap=True)": lambda: CrystalSet.load(path, mmap=True),
        "load()": lambda: CrystalSet.load(path),
        "slice [1000:n - 1000]": lambda: crystals[1000 : n - 1000],
        "pickle.dump": lambda: pickled.write_bytes(pickle.dumps(crystals, protocol=5)),
        "pickle.load": lambda: pickle.loads(pickled.read_bytes()),
    }
    for name, step in steps.items():
        started = time.perf_counter(), time.process_time()
        result = step()
        seconds = time.perf_counter() - started[0], time.process_time() - started[1]
        rows[name] = dict(zip(("s by the clock", "s of one core"), seconds, strict=True))
        if name.startswith("slice"):
            print(
                "a slice shares the coordinates:", np.shares_memory(result.frac_coords, crystals.frac_coords)
            )
    print(f"{n} crystals, {len(crystals.atomic_numbers)} sites, {path.stat().st_size / 1e6:.0f} MB")
    print(pd.DataFrame(rows).T.round(4).to_string())


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    sections = parser.add_subparsers(dest="section", required=True)
    sections.add_parser("open").add_argument("folder", type=Path)
    sections.add_parser("readers").add_argument("--tests", type=Path, default=TESTS)
    fuzzed = sections.add_parser("fuzz")
    fuzzed.add_argument("--tests", type=Path, default=TESTS)
    fuzzed.add_argument("--inputs", type=int, default=10_000)
    sections.add_parser("crystals").add_argument("--n", type=int, default=500_000)
    streams = sections.add_parser("streams")
    streams.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000])
    for name in ("parallel", "cifs"):
        sections.add_parser(name).add_argument("--cifs", type=Path, default=TESTS / "cif")
    sections.add_parser("optimade").add_argument("--n", type=int, default=10_000)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    try:
        if options.section == "open":
            open_all(options.folder)
        elif options.section == "readers":
            compare_readers(options.tests)
            time_manifest(folder)
        elif options.section == "crystals":
            time_crystals(folder, options.n)
        elif options.section == "streams":
            _many_rows.compare_streams(folder, options.rows)
        elif options.section == "optimade":
            _open_database.compare_downloads(folder, options.n)
        elif options.section == "parallel":
            _many_rows.compare_jobs(folder, options.cifs)
        elif options.section == "cifs":
            _many_rows.compare_cifs(folder, options.cifs)
        else:
            fuzz(options.tests, folder, options.inputs)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    warnings.simplefilter("ignore")
    logging.disable()  # tifffile logs what is wrong with a file
    main()
