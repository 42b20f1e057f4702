"""Search-match against AMCSD on measured patterns of minerals.

Run ``python benchmarks/bench_library.py FILE`` with an ``.npz`` file of measured patterns as in
bench_measured.py. "Plain cosine" ranks the library patterns by the cosine of the square roots of intensities.
The parameters of `LibraryMatch` were chosen on the even rows of 301 minerals of RRUFF.

``--simulated N`` also matches N simulated harsh patterns, with and without chemistry, against three
libraries: with the entry of the crystal, without this entry, and without any entry of the compound.

``python benchmarks/bench_library.py rings`` matches 600 simulated ring images, of different compounds and as
laboratories record them, with AMCSD: without chemistry, and with compositions as in a microscope.

``python benchmarks/bench_library.py probability`` fits the constants of the probabilities of phases and
labels, and ``python benchmarks/bench_library.py structures`` measures the search for similar structures of
other elements, in and out of the library, see _match_probability.py.

``python benchmarks/bench_library.py size [--n 100000] [--modality rings]`` measures a library of n entries:
time of `extend`, `save` and `load`, memory, patterns per second beside NumPy, and whether the best entries
are those of a comparison with all in single precision, see _library_size.py.
"""

import argparse
import time

import numpy as np
import pandas as pd
from _library_size import main as measure_size
from _match_probability import main as fit_probability
from _match_probability import structures
from bench_measured import measured_specimens

from xtalsk import (
    ElementFractions,
    ElementPresence,
    LibraryMatch,
    PowderProfile,
    RadialProfile,
    compound_groups,
    load_amcsd,
    make_features,
    make_library,
    make_specimens,
)
from xtalsk.metrics import level_probabilities, top_k_accuracy
from xtalsk.symmetry import to_level

FEATURES = {"diffraction": ("powder", PowderProfile(n_bins=1024, q_range=(0.1, 0.9)))}
CHEMISTRY = {"chemistry": ("formula", ElementFractions())}
PLAIN = {
    "power": 1,
    "baseline": None,
    "smoothing": 0,
    "local_mean": 0,
    "max_stretch": 0,
    "max_shift": 0,
    "chemistry_weight": 0,
    "n_best": 1,
}


def join_family(systems):
    """Return crystal families: trigonal and hexagonal belong to one."""
    return np.where(np.isin(systems, ["trigonal", "hexagonal"]), "hexagonal", systems)


def scores(model, X, y):
    """Return accuracies in percent: space group, space group in the first five, crystal system, family."""
    proba = model.predict_proba(X)
    systems, names = level_probabilities(proba, model.classes_, "crystal_system")
    truth = np.asarray(to_level(y, "crystal_system"))
    families = join_family(names)
    summed = {f: systems[:, families == f].sum(1) for f in np.unique(families)}
    family = pd.DataFrame(summed).idxmax(axis=1).to_numpy()
    return {
        "space group": 100 * top_k_accuracy(y, proba, model.classes_),
        "top 5": 100 * top_k_accuracy(y, proba, model.classes_, k=5),
        "crystal system": 100 * np.mean(names[systems.argmax(1)] == truth),
        "family": 100 * np.mean(family == join_family(truth)),
    }


def speed(model, X, n=1204):
    """Return the number of patterns per second."""
    X = pd.concat([X] * -(-n // len(X)))[:n]
    start = time.perf_counter()
    model.predict_proba(X)
    return n / (time.perf_counter() - start)


def measured(path, library, features):
    """Print the accuracy on measured patterns, and the accuracy by similarity of the best entry."""
    specimens, y = measured_specimens(path)
    X = features.transform(specimens)
    even = np.arange(len(y)) % 2 == 0
    rows = {}
    models = {"plain cosine": PLAIN, "no local mean": {"local_mean": 0}, "LibraryMatch": {}}
    for name, params in models.items():
        model = LibraryMatch(**params).fit(*library)
        for part, chosen in (("all", even | ~even), ("even", even), ("odd", ~even)):
            rows[name, part] = scores(model, X[chosen], y[chosen])
        rows[name, "all"]["patterns/s"] = speed(model, X)
    print(f"{len(y)} measured patterns against {len(library[1])}")
    print(pd.DataFrame(rows).T.round(1).fillna("").to_string())
    correct = pd.Series(model.predict(X) == y)
    groups = correct.groupby(
        pd.cut(model.similarity(X), [0, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 1]), observed=False
    )
    print("\nby similarity\n", (100 * groups.mean()).round(1).to_frame("space group").assign(n=groups.size()))


def simulated(n, crystals, conditions):
    """Print the accuracy on simulated patterns, with and without chemistry and the local mean."""
    features = make_features(**FEATURES, **CHEMISTRY)
    X, y, entries = make_library(crystals, features, random_state=0)
    specimens, _, groups = make_specimens(
        crystals, ("powder", "formula"), conditions=conditions, random_state=7
    )
    specimens = specimens[specimens["formula"].notna()]
    rows = np.sort(np.random.default_rng(0).choice(specimens.index, n, replace=False))
    queries = features.transform(specimens.loc[rows])
    table = {}
    for content in ("entry known", "entry unknown", "compound unknown"):
        for blocks, params in (
            (["diffraction", "chemistry"], {}),
            (["diffraction"], {}),
            (["diffraction"], {"local_mean": 0}),
            (["chemistry"], {}),
        ):
            accuracies = []
            for k in range(4):
                part = np.arange(n) % 4 == k
                drop = (
                    np.isin(groups, groups[rows[part]])
                    if content == "compound unknown"
                    else np.zeros(len(y), bool)
                )
                if content == "entry unknown":
                    drop[rows[part]] = True
                columns = [c for c in X if c.split("__")[0] in blocks]
                model = LibraryMatch(**params).fit(X.loc[~drop, columns], y[~drop], entries[~drop])
                accuracies.append(scores(model, queries.loc[part, columns], y[rows[part]]))
            name = " + ".join(blocks) + (", no local mean" if params else "")
            table[content, name] = pd.DataFrame(accuracies).mean()
    print(f"\n{n} simulated {conditions} patterns")
    print(pd.DataFrame(table).T.round(1).to_string())


def rings(n, crystals, seed=2):
    """Print the accuracy on simulated ring images whose compounds are all in the library."""
    features = make_features(
        diffraction=("rings", RadialProfile(on_error="warn")),
        fractions=("formula", ElementFractions()),
        presence=("formula", ElementPresence()),
    )
    start = time.perf_counter()
    X, y, entries = make_library(crystals, features, random_state=0)
    print(f"{len(y)} entries in {time.perf_counter() - start:.1f} s")
    position = pd.Series(np.arange(len(crystals)), index=crystals.ids)[entries["id"]].to_numpy()
    groups, rng = compound_groups(crystals)[position], np.random.default_rng(seed)
    drawn = rng.permutation(np.unique(groups))[:n]
    rows = np.array([rng.choice(position[groups == group]) for group in drawn])
    conditions = {"rings": "measured", "formula": "microscope"}
    specimens, labels, _ = make_specimens(
        crystals[rows], ("rings", "formula"), conditions=conditions, random_state=seed
    )
    measured = features.transform(specimens)[X.columns]
    is_profile = measured.columns.str.startswith("diffraction__")
    readable = measured.loc[:, is_profile].notna().any(axis=1).to_numpy()
    measured, labels = measured[readable], labels[readable]
    models = {"plain cosine": PLAIN | {"line_widths": None}, "one width": {"line_widths": None}}
    models |= {"no scale search": {"max_scale_error": 0}, "LibraryMatch": {}}
    table = {}
    for name, params in models.items():
        model = LibraryMatch(**params, all_missing="missing").fit(X, y, entries)
        for chemistry in (False, True):
            part = measured.copy()
            if not chemistry:
                part.loc[:, ~is_profile] = np.nan
            key = name, "composition" if chemistry else "alone"
            table[key] = scores(model, part, labels) | {"patterns/s": speed(model, part)}
    print(f"{len(labels)} simulated images\n" + pd.DataFrame(table).T.round(1).to_string())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", help="a .npz file, 'rings', 'probability', 'structures' or 'size'")
    parser.add_argument("--simulated", type=int, default=0, metavar="N", help="number of simulated patterns")
    parser.add_argument(
        "--conditions", choices=("typical", "harsh"), default="harsh", help="of the simulated patterns"
    )
    parser.add_argument("--n", type=int, default=100_000, help="number of entries for 'size'")
    parser.add_argument("--modality", choices=("powder", "rings"), default="powder", help="for 'size'")
    options = parser.parse_args()
    if options.file == "size":
        measure_size(options.modality, options.n)
        return
    if options.file == "probability":
        fit_probability()
        return
    if options.file == "structures":
        structures()
        return
    crystals = load_amcsd()
    if options.file == "rings":
        rings(600, crystals)
        return
    features = make_features(**FEATURES)
    measured(options.file, make_library(crystals, features, random_state=0), features)
    if options.simulated:
        simulated(options.simulated, crystals, options.conditions)


if __name__ == "__main__":
    main()
