"""Speed, memory and exactness of `LibraryMatch` with a library of any size, for bench_library.py.

The library is AMCSD and, until it has the number of entries asked for, copies of it: each with lines that
are shifted by up to 6% and with other elements in place of those above fluorine.
"""

import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from xtalsk import (
    ElementFractions,
    LibraryMatch,
    PowderProfile,
    RadialProfile,
    load_amcsd,
    make_features,
    make_library,
    make_specimens,
)
from xtalsk.library._profiles import subtract_local_mean
from xtalsk.library._scaled import _at_widths, to_intensity

PROFILES = {"powder": PowderProfile(n_bins=1024, q_range=(0.1, 0.9)), "rings": RadialProfile(on_error="warn")}
CONDITIONS = {
    "powder": {"powder": "typical", "formula": "typical"},
    "rings": {"rings": "measured", "formula": "microscope"},
}
RIGID = {"max_shift": 0, "max_stretch": 0, "isostructural": False}
HEAVIEST_KEPT = 9


def make_copy(X, entries, number, rng):
    """Return the rows of a library with lines at other places and other elements, and their entries."""
    is_profile = X.columns.str.startswith("profile__")
    profiles = X.loc[:, is_profile].to_numpy()
    first, n_bins = int(X.columns[is_profile][0][-4:]), profiles.shape[1]
    stretch = rng.uniform(0.94, 1.06, (len(X), 1))
    place = ((np.arange(n_bins) + first + 0.5) * stretch - first - 0.5).clip(0, n_bins - 1.001)
    below, rows = place.astype(int), np.arange(len(X))[:, None]
    part = (place - below).astype(np.float32)
    shifted = profiles[rows, below] * (1 - part) + profiles[rows, below + 1] * part
    columns = np.arange((~is_profile).sum())
    columns[HEAVIEST_KEPT:] = rng.permutation(columns[HEAVIEST_KEPT:])
    values = np.concatenate([shifted, X.loc[:, ~is_profile].to_numpy()[:, columns]], axis=1)
    out = pd.DataFrame(values, columns=[*X.columns[is_profile], *X.columns[~is_profile]])[X.columns]
    out.attrs = X.attrs
    return out, entries.assign(id=entries["id"] + f"-{number}", mineral=entries["mineral"] + f" {number}")


def build(modality, n, folder, n_rows):
    """Write a library of n entries and measured rows to a folder."""
    crystals = load_amcsd()
    features = make_features(
        profile=(modality, PROFILES[modality]), chemistry=("formula", ElementFractions())
    )
    X, y, entries = make_library(crystals, features, random_state=0)
    rng, begun = np.random.default_rng(0), time.process_time()
    match, number = LibraryMatch().fit(X[:n], y[:n], entries[:n]), 0
    match.predict(X[:1])
    while len(match.entries_) < n:
        number += 1
        rows, more = make_copy(X, entries, number, rng)
        left = n - len(match.entries_)
        match.extend(rows[:left], y[:left], more[:left])
    print(f"{n} entries by fit and {number} x extend: {time.process_time() - begun:.1f} s of one core")
    begun = time.process_time()
    match.save(folder / "library")
    size = (folder / "library").stat().st_size / 1e6
    print(f"saved in {time.process_time() - begun:.1f} s of one core, {size:.0f} MB")
    chosen = np.sort(rng.choice(len(crystals), n_rows, replace=False))
    specimens, _, _ = make_specimens(
        crystals[chosen], (modality, "formula"), conditions=CONDITIONS[modality], random_state=1
    )
    measured = features.transform(specimens)
    readable = measured.filter(like="profile__").notna().any(axis=1)
    measured[readable].to_pickle(folder / "measured.pkl")


def memory(field="VmRSS"):
    """Return the memory of this process in MB: now, or with "VmHWM" the largest since `forget_peak`."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))


def forget_peak():
    """Let the largest memory of this process begin at that of now."""
    Path("/proc/self/clear_refs").write_text("5")


def speeds(functions, n_rows, n_rounds=3):
    """Return patterns per second: of two cores by the clock, and of one core by processor time (medians)."""
    clock, processor = ({name: [] for name in functions} for _ in range(2))
    for _ in range(n_rounds):
        for name, function in functions.items():
            start = time.perf_counter(), time.process_time()
            function()
            clock[name].append(n_rows / (time.perf_counter() - start[0]))
            processor[name].append(n_rows / (time.process_time() - start[1]))
    table = {"patterns/s, two threads": clock, "patterns/s of a core": processor}
    return pd.DataFrame({key: {name: np.median(v) for name, v in of.items()} for key, of in table.items()})


def full_scores(match, rows, profiles, library):
    """Return the scores of all entries in single precision, (n_rows, n_entries): cosine less chemistry."""
    penalty = match._penalty(rows)[0].numpy()
    return match.sharpness * (profiles @ library.T) - penalty


def unit_profiles(match, X):
    """Return emphasised profiles of length 1 without a share of their local mean, float32."""
    block = next(block for block in match._used if match.blocks_[block.name] == "profile")
    profiles = match._emphasise(np.ascontiguousarray(X[:, block.columns]))
    profiles = subtract_local_mean(profiles, match.local_mean)
    return (profiles / profiles.norm(dim=1, keepdim=True).clamp_min(1e-9)).numpy()


def measure(folder):
    """Print memory, speed and agreement of a library in a file."""
    torch.set_num_threads(2)
    measured = pd.read_pickle(folder / "measured.pkl")
    alone = measured.copy()
    alone.loc[:, alone.columns.str.startswith("chemistry__")] = np.nan
    small = LibraryMatch().fit(measured[:50], np.arange(50) + 1)
    small.predict(measured[:20])  # loads and compiles everything
    forget_peak()
    before = memory()
    begun = time.perf_counter(), time.process_time()
    match = LibraryMatch.load(folder / "library")
    seconds = time.perf_counter() - begun[0], time.process_time() - begun[1]
    print(f"loaded, mapped: {seconds[0]:.2f} s by the clock, {seconds[1]:.2f} s of one core")
    match.predict(measured[:64])
    match.predict(alone[:64])
    now, peak = memory() - before, memory("VmHWM") - before
    print(
        f"memory of {len(match.entries_)} entries after two searches: {now:.0f} MB; at the peak {peak:.0f} MB"
    )
    functions = {}
    for name, rows in (("composition", measured), ("alone", alone)):
        for iso in (True, False):
            model = LibraryMatch.load(folder / "library").set_params(isostructural=iso)
            model.predict(rows[:8])
            functions[f"{name}, isostructural={iso}"] = lambda model=model, rows=rows: model.predict(rows)
    if match._grids:
        print(speeds(functions, len(measured)).round(0).to_string())
        return
    profiles = unit_profiles(match, alone.to_numpy(np.float32))
    library = match._library["profile"].astype(np.float32)
    library /= np.linalg.norm(library, axis=1, keepdims=True).clip(1e-9)
    functions["NumPy: cosine with all, float32"] = lambda: (profiles @ library.T).argmax(axis=1)
    with_composition = measured.to_numpy(np.float32)
    functions["NumPy: with composition"] = lambda: full_scores(match, with_composition, profiles, library)
    print(speeds(functions, len(measured)).round(0).to_string())


def parts_of_library(modality, n):
    """Yield the features of the n entries that `build` made, some thousand at a time."""
    features = make_features(
        profile=(modality, PROFILES[modality]), chemistry=("formula", ElementFractions())
    )
    X, _, entries = make_library(load_amcsd(), features, random_state=0)
    rng, number, part = np.random.default_rng(0), 0, X
    while n > 0:
        yield part[:n]
        n, number = n - len(part), number + 1
        part = make_copy(X, entries, number, rng)[0]


def similarity_of_rings(match, rows, modality, n):
    """Return the similarity of all entries, (n_rows, n): the second stage, of profiles never rounded."""
    block, library = match._prepared().profiles[0]
    grid, similarity, first = library.grid, [], 0
    stage = library.compare(to_intensity(torch.from_numpy(rows[:, block.columns]), grid.scale))
    for part in parts_of_library(modality, n):
        profiles = torch.from_numpy(part.to_numpy(np.float32)[:, block.columns])
        for begin in range(0, len(part), 1024):
            lines = _at_widths(to_intensity(profiles[begin : begin + 1024], grid.scale), grid, library.widths)
            lines = torch.stack(lines, 1).nan_to_num(-128).numpy()
            nearest = stage.nearest[:, first : first + len(lines)].long()
            entries = torch.arange(len(lines)).expand(len(rows), -1)
            similarity.append(library._refine(stage.profiles, lines, entries, nearest)[0].numpy())
            first += len(lines)
    return np.concatenate(similarity, axis=1)


def check_hits(modality, n, folder, n_rows):
    """Print whether the best entries are those of float32 profiles that were never rounded, all compared."""
    measured = pd.read_pickle(folder / "measured.pkl")[:n_rows]
    match, rows = LibraryMatch.load(folder / "library"), measured.to_numpy(np.float32)
    if modality == "rings":
        cosines = similarity_of_rings(match, rows, modality, n)
    else:
        match.set_params(**RIGID)
        profiles = unit_profiles(match, rows)
        parts = parts_of_library(modality, n)
        cosines = [profiles @ unit_profiles(match, part.to_numpy(np.float32)).T for part in parts]
        cosines = np.concatenate(cosines, axis=1)
    out = {}
    for name in ("composition", "alone"):
        table = measured.copy()
        if name == "alone":
            table.loc[:, table.columns.str.startswith("chemistry__")] = np.nan
        scores = match.sharpness * cosines - match._penalty(table.to_numpy(np.float32))[0].numpy()
        answered = np.isfinite(scores.max(axis=1))
        found = match._match(table.to_numpy(np.float32)[answered]).entries[:, 0]
        best = scores[answered].argmax(axis=1)
        lost = scores[answered].max(axis=1) - scores[answered][np.arange(len(found)), found]
        out[name] = {"rows": len(found), "same best entry": np.mean(found == best)}
        out[name]["largest loss of score"] = lost.max()
    print(pd.DataFrame(out).T.to_string())


def main(modality, n):
    """Build a library and measure it in a process of its own."""
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        build(modality, n, folder, 300 if modality == "powder" else 100)
        subprocess.run([sys.executable, __file__, str(folder)], check=True)
        check_hits(modality, n, folder, 300 if modality == "powder" else 60)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    measure(Path(sys.argv[1]))
