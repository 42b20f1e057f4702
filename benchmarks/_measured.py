"""Measured powder patterns, which are not used for training, and the accuracy of models on them."""

import re
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from _misses import Library, draw_misses, explain_misses
from _models import read_model
from _protocol_models import chosen_of, make_peers
from _protocols import Q_RANGE, choose, feature_blocks, reducer
from bench_measured import measured_specimens
from sklearn.pipeline import make_pipeline

from xtalsk import (
    LibraryMatch,
    Profile,
    load_amcsd,
    load_experimental,
    make_library,
    make_specimens,
    mcnemar_test,
    read_profile,
)
from xtalsk.crystals import CrystalSet
from xtalsk.metrics import level_probabilities, top_k_accuracy
from xtalsk.symmetry import LEVELS as SYMMETRY_LEVELS
from xtalsk.symmetry import to_level

WAVELENGTH = 1.5406
SHORTEST = 15.0  # degrees; shorter scans are windows around one line
LEVELS = ("crystal_family", "crystal_system", "extinction_group", "space_group")
# Space group and formula of the sample where the CIF file holds another phase (bench_powders.py; README.md).
CORRECTED = {"Tb2BaCoO5": (71, "Tb2BaCoO5"), "Mn2O3": (206, "Mn2O3"), "C": (194, "C")}
LEFT_OUT = ("Ti-bcc",)  # a halo of an amorphous metal
HITS = {"crystal system": "system_right", "space group": "space_group_right", "top 5": "in_top5"}
CHANCE = 0.05  # p-value from which a difference counts as chance
FOLDERS = {"Fm-3m": 225, "I4Imcm": 140, "P21a": 14, "P3m1": 164, "P61mmc": 194, "Pc": 7, "pm-3m": 221}


def as_specimens(cells, formulas):
    """Return a table of specimens from scans and formulas (None where unknown)."""
    columns = {"powder": list(cells), "formula": list(formulas)}
    return pd.DataFrame({name: pd.Series(cells, dtype=object) for name, cells in columns.items()})


def minerals(folder):
    """Read 301 minerals (RRUFF): specimens, space groups and names."""
    X, y = measured_specimens(folder / "minerals.npz")
    return as_specimens(X["powder"], [None] * len(X)), y, [f"mineral {i}" for i in range(len(X))]


def checked(folder):
    """Read 69 minerals (RRUFF) with formulas and checked labels: specimens, space groups and names."""
    with np.load(folder / "minerals_with_formula.npz") as archive:
        start, step, count = archive["two_theta"]
        axis = start + step * np.arange(int(count))
        counts = np.where(archive["intensity"] < 0, np.nan, archive["intensity"])  # -1: not measured
        cells = [Profile(row, two_theta=axis, wavelength=WAVELENGTH) for row in counts]
        formulas, y = archive["formula"].astype(str), archive["space_group"].astype(int)
    return as_specimens(cells, formulas), y, formulas.tolist()


def powders(folder):
    """Read the powders and the CIF files of their structures: specimens, space groups and names."""
    cells, formulas, numbers, names = [], [], [], []
    for path in sorted(p for p in (folder / "powders").iterdir() if p.is_dir()):
        if path.name in LEFT_OUT:
            continue
        crystal = CrystalSet.from_cifs(sorted(path.glob("*.cif")))
        label = int(crystal.space_groups[0]), crystal.formulas[0]
        number, formula = CORRECTED.get(path.name, label)
        scan = read_profile(next(path.glob("*.csv")), wavelength=WAVELENGTH)
        cells.append(scan)
        formulas.append(formula)
        numbers.append(number)
        names.append(path.name)
    return as_specimens(cells, formulas), np.array(numbers), names


def read_film(path):
    """Read a scan in which counts or the space before them (``14.168110228``) may be missing."""
    text = re.sub(r"^(\s*\d+\.\d{4})(\d+)\s*$", r"\1 \2", path.read_text(), flags=re.MULTILINE)
    lines = [line.split()[:2] for line in text.splitlines()]
    two_theta, intensity = np.array([line for line in lines if len(line) == 2], dtype=float).T
    return Profile(intensity, two_theta=two_theta, wavelength=WAVELENGTH)


def films(folder):
    """Read textured films of halide perovskites: specimens, space groups by folder, and names."""
    cells, numbers, names = [], [], []
    for path in sorted((folder / "thin_films").glob("*/*.xy")):
        if path.parent.name not in FOLDERS:
            raise ValueError(f"{path.parent.name} is no known folder of films, expected {sorted(FOLDERS)}")
        scan = read_film(path)
        if np.ptp(scan.two_theta) < SHORTEST:
            continue
        cells.append(scan)
        numbers.append(FOLDERS[path.parent.name])
        names.append(f"{path.parent.name}/{path.stem}")
    return as_specimens(cells, [None] * len(cells)), np.array(numbers), names


SETS = {"minerals": minerals, "checked minerals": checked, "powders": powders, "films": films}


def read_sets(folder):
    """Read all sets of measured patterns, as a dict by name; those with formulas also without them.

    The odd rows of the minerals are a set of their own, because the parameters of search-match were chosen on
    the even rows.
    """
    sets = {name: read(Path(folder)) for name, read in SETS.items()}
    X, y, names = sets["minerals"]
    sets["minerals, odd rows"] = X[1::2].reset_index(drop=True), y[1::2], names[1::2]
    for kind in ("powders", "checked minerals"):
        X, y, names = sets[kind]
        sets[f"{kind} with formula"] = (X, y, names)
        sets[kind] = (X.assign(formula=pd.Series([None] * len(X), dtype=object)), y, names)
    return sets


def measured_scores(y, proba, classes):
    """Return the accuracy at each level, and the share of patterns whose space group is in the first five."""
    scores = {}
    for level in LEVELS:
        summed, labels = level_probabilities(proba, classes, level)
        scores[level] = top_k_accuracy(to_level(y, level), summed, labels)
    scores["top 5"] = top_k_accuracy(y, proba, classes, k=5)
    return scores


def judge(name, model, sets):
    """Return the scores of one model on all sets, and its predictions for every pattern.

    Parameters
    ----------
    name : str
    model : fitted classifier of specimens
    sets : dict
        As from `read_sets`.

    Returns
    -------
    scores, predictions : DataFrame
    """
    scores, predictions = [], []
    for kind, (X, y, names) in sets.items():
        proba, classes = model.predict_proba(X), model.classes_
        best = np.where(np.isnan(proba[:, :1]), 0, classes[np.argsort(-proba, axis=1)[:, :5]])  # 0: no answer
        right = {}
        for level in ("crystal_family", "crystal_system"):
            summed, labels = level_probabilities(proba, classes, level)
            right[level] = (labels[summed.argmax(axis=1)] == to_level(y, level)) & (best[:, 0] > 0)
        scores.append({"model": name, "set": kind, "n": len(y), **measured_scores(y, proba, classes)})
        predictions.append(
            pd.DataFrame(
                {
                    "model": name,
                    "set": kind,
                    "name": names,
                    "row": range(len(y)),
                    "label": y,
                    "predicted": best[:, 0],
                    "top5": [" ".join(map(str, row)) for row in best],
                    "in_top5": (best == y[:, None]).any(axis=1),
                    "family_right": right["crystal_family"],
                    "system_right": right["crystal_system"],
                    "space_group_right": best[:, 0] == y,
                    "probability": proba.max(axis=1),
                }
            )
        )
    return pd.DataFrame(scores), pd.concat(predictions, ignore_index=True)


def compare_hits(predictions):
    """Test each model against the first one on each set: McNemar's test of `HITS`.

    Parameters
    ----------
    predictions : DataFrame
        As from `judge`, of all models.

    Returns
    -------
    DataFrame
        One row for each set, model and score: the number of patterns that only this model (``only_it``) or
        only the first (``only_first``) has right, the difference in points, the p-value and the ``verdict``.
    """
    names, rows = predictions["model"].unique(), []
    for kind, part in predictions.groupby("set", sort=False):
        for name in names[1:]:
            for score, column in HITS.items():
                it, first = (part.loc[part["model"] == model, column] for model in (name, names[0]))
                test = mcnemar_test(None, it, first)
                verdict = "chance" if test.pvalue >= CHANCE else "better" if test.difference > 0 else "worse"
                rows.append([kind, name, score, *test, verdict])
    columns = ["set", "model", "score", "only_it", "only_first", "points", "pvalue", "verdict"]
    return pd.DataFrame(rows, columns=columns).assign(points=lambda table: 100 * table["points"])


def train_peers(options):
    """Fit search-match on ideal powder patterns of minerals, and the published methods on harsh ones."""
    crystals, profile = choose(load_amcsd(), options.n), reducer("powder", options.n_jobs)
    settings = {"park_epochs": options.park_epochs, "n_trees": options.n_trees, "n_jobs": options.n_jobs}
    features = feature_blocks("powder", profile)["diffraction"]
    peers = make_peers("powder", Q_RANGE["powder"], **settings)
    peers = {name: make_pipeline(features, model) for name, model in peers.items()}
    peers = chosen_of({"search-match": None, **peers}, options.only)
    if "search-match" in peers:
        del peers["search-match"]
        features = feature_blocks("powder", profile)["match"]
        X, y, entries = make_library(crystals, features, random_state=0, verbose=1)
        yield "search-match", make_pipeline(features, LibraryMatch().fit(X, y, entries))
    X, y, _ = make_specimens(
        crystals, "powder", conditions="harsh", n_replicas=options.n_replicas, random_state=0, verbose=1
    )
    for name, model in peers.items():
        yield name, model.fit(X, y)


def models_of(options):
    """Yield the name and the fitted model of each file, then of each published method."""
    stems = [path.stem for path in options.models]
    for path in options.models:
        yield path.stem if stems.count(path.stem) == 1 else str(path), read_model(path)
    if options.peers:
        yield from train_peers(options)


def report(scores, predictions):
    """Print the scores, the tests of their differences, and the predictions for each powder."""
    shown = scores.set_index(["set", "model"]).sort_index(level="set", sort_remaining=False)
    print(shown.round(3).rename(columns=lambda c: c.replace("_", " ")).to_string())
    tests = compare_hits(predictions)
    if len(tests):
        cells = [
            f"{t.points:+.1f} ({t.only_it} : {t.only_first}), p = {t.pvalue:.2g}, {t.verdict}"
            for t in tests.itertuples()
        ]
        print(
            f"\npoints against {predictions['model'][0]} (patterns that only this model has right : only the "
            "first), McNemar's test; of 20 tests, one has p < 0.05 by chance:"
        )
        shown = tests.assign(cell=cells).pivot_table("cell", ["set", "model"], "score", "first", sort=False)
        print(shown.rename_axis(columns=None).to_string() + "\n")
    of_powders = predictions[predictions["set"].str.startswith("powders")]
    for (kind, name), part in of_powders.groupby(["set", "model"], sort=False):
        families, listed = part["family_right"].sum(), part["in_top5"].sum()
        print(f"{kind}, {name}: family correct {families} of {len(part)}, space group in five {listed}")
    powders = predictions[predictions["set"] == "powders with formula"]
    if len(powders):
        entries = powders["predicted"].astype(str) + np.where(powders["in_top5"], " *", "")
        wide = pd.crosstab([powders["name"], powders["label"]], powders["model"], entries, aggfunc="first")
        print("predicted space groups, with formula (* the correct one is in the first five):")
        print(wide.to_string())


def run(options, results):
    """Run protocol b: score the models, explain the misses of one model and draw examples.

    Parameters
    ----------
    options : argparse.Namespace
        ``folder``, ``models``, ``peers``, ``explain``, ``save`` and the options of the published methods.
    results : Path
        Folder of the tables and the figure if ``save`` is set. Otherwise they are written to ``work``.
    """
    if not options.models and not options.peers:
        raise SystemExit("there is no model: give --models FILE... or --peers")
    sets = read_sets(options.folder)
    scores, predictions = [], []
    for name, model in models_of(options):
        part, answers = judge(name, model, sets)
        scores.append(part)
        predictions.append(answers)
        print(part.round(3).to_string(index=False, header=len(scores) == 1), flush=True)
    scores = pd.concat(scores, ignore_index=True)
    predictions = pd.concat(predictions, ignore_index=True)
    report(scores, predictions)
    chosen = options.explain or scores["model"][0]
    if chosen not in set(predictions["model"]):
        raise SystemExit(f"no model {chosen!r} to explain, only {list(scores['model'].unique())}")
    repeated = predictions["set"].str.endswith(("with formula", "odd rows"))
    explained = predictions[(predictions["model"] == chosen) & ~repeated]
    library = Library(CrystalSet.concatenate([load_amcsd(), load_experimental()]))
    misses = explain_misses(explained, sets, library)
    print(f"why {chosen} misses the space group:")
    print(pd.crosstab(misses["set"], misses["kind"]).to_string())
    print("the finest level at which answer and label agree, and the labels that are in the first five:")
    table = pd.crosstab(misses["set"], misses["agreement"])
    table = table[[level for level in ("none", *SYMMETRY_LEVELS) if level in table]]
    print(table.assign(in_top5=misses.groupby("set")["in_top5"].sum()).to_string())
    folder = results if options.save else options.work
    folder.mkdir(parents=True, exist_ok=True)
    scores.to_csv(folder / "measured.csv", index=False, float_format="%.5f")
    predictions.to_csv(folder / "measured_patterns.csv", index=False, float_format="%.4f")
    misses.to_csv(folder / "misses.csv", index=False, float_format="%.3f")
    mpl.use("Agg")
    draw_misses(misses, sets, library, folder / "misses.png")
    print(f"tables and examples are in {folder}")
