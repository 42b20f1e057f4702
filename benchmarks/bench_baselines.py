"""Network and trees on the same features and folds, and the search for the settings of the trees.

``OMP_NUM_THREADS=1 python benchmarks/bench_baselines.py compare [--blocks all] [--cache FILE.npz]``
    Specimens of ``--n`` crystals are simulated: compositions under ``--chemistry`` conditions and, with
    ``--blocks all``, also harsh patterns of ``--modality``. The models see their features on the same folds,
    which keep compounds apart. The table has the shares of test crystals with the right answer, their
    standard errors, and the gain of the network over each other model, row by row; the errors
    take rows of one compound as one. ``--vote`` adds the vote of network and extra trees, whose weights are
    chosen on a validation part of each training part.

``OMP_NUM_THREADS=1 python benchmarks/bench_baselines.py search NAME [--blocks all] [--cache FILE.npz]``
    The training part of the first of these folds is split again by compound, four fifths to one fifth. Each
    setting of `GRIDS` is fitted on the first part and scored on the second. The test part is not used.
    ``--n-search`` uses fewer crystals of the training part.

``--cache`` is a file from ``_materials_project.py``; without it, the crystals are those of AMCSD. Specimens
and finished fits are stored in ``--work``; the same command continues an interrupted run.
"""

import argparse
import itertools
import tempfile
import time
import warnings
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
from _protocol_models import OfBlocks
from _protocols import Job, choose, harsh_conditions, make_splits, without_faults
from _training import make_blocks
from sklearn.base import clone
from train import MODEL

from xtalsk import (
    CompositionStatistics,
    CrystalSet,
    ElementFractions,
    ElementPresence,
    FusionClassifier,
    RankedElements,
    load_amcsd,
    make_baseline,
    make_features,
)
from xtalsk.metrics import level_probabilities
from xtalsk.symmetry import crystal_system

WORK = Path(tempfile.gettempdir()) / "xtalsk_bench_baselines"
SCORES = ["crystal system", "space group", "top 5"]
CHEMISTRY = {
    "fractions": ElementFractions(),
    "presence": ElementPresence(),
    "ranked": RankedElements(),
    "statistics": CompositionStatistics(),
}
NETWORK = MODEL | {"n_residual": 1, "weight_averaging": 0.99, "max_epochs": 14}
GRIDS = {
    "extra_trees": {
        "n_estimators": (100,),
        "min_samples_leaf": (1, 2),
        "max_features": ("sqrt", 0.1, 0.2, 0.3),
    },
    "xgboost": {"n_estimators": (30, 60), "learning_rate": (0.1, 0.2), "colsample_bytree": (0.1, 0.3)},
    "lightgbm": {"n_estimators": (60,), "learning_rate": (0.05, 0.1), "colsample_bytree": (0.1, 0.3)},
    "hist_gradient_boosting": {"max_iter": (30, 60), "learning_rate": (0.1, 0.2)},
}


def load_specimens(options):
    """Return the job with the specimens, their features, space groups and compounds, and the folds."""
    crystals = load_amcsd() if options.cache is None else CrystalSet.load(options.cache)
    crystals = choose(without_faults(crystals), options.n)
    conditions = {"formula": options.chemistry}
    features = make_features(**{name: ("formula", block) for name, block in CHEMISTRY.items()})
    parts = ["baselines", options.blocks, options.chemistry, len(crystals)]
    if options.blocks == "all":
        conditions = {options.modality: harsh_conditions(options.modality)} | conditions
        features = make_blocks(options.modality, True, statistics=True)
        parts.insert(2, options.modality)
    job = Job(options.work / "_".join(map(str, parts)))
    X, y, groups = job.specimens(crystals, features, conditions, n_replicas=options.n_replicas)
    return job, X, y, groups, make_splits(y, groups, X.index, folds_run=options.folds)


def block_names(X):
    """Return the names of the blocks of a table of features."""
    return list(dict.fromkeys(column.split("__")[0] for column in X.columns))


def make_models(X, n_jobs):
    """Return the models by name."""
    names = block_names(X)
    parts = {"": names}
    if set(names) - set(CHEMISTRY):
        parts[" (diffraction only)"] = [name for name in names if name not in CHEMISTRY]
        parts[" (chemistry only)"] = list(CHEMISTRY)
    models = {}
    for part, used in parts.items():
        # fractions above 0 say which elements are present: the network needs no second block of them
        of_network = [name for name in used if name != "presence"]
        models[f"network{part}"] = OfBlocks(FusionClassifier(**NETWORK), of_network)
        trees = {name: make_baseline(name, random_state=0, n_jobs=n_jobs) for name in GRIDS}
        models |= {f"{name}{part}": OfBlocks(model, used) for name, model in trees.items()}
    return models | {"prior": make_baseline("prior")}


def score_rows(proba, classes, y):
    """Return whether crystal system, space group and one of the first five are right, for each row."""
    systems, labels = level_probabilities(proba, classes, "crystal_system")
    best = classes[np.argsort(-proba, axis=1, kind="stable")[:, :5]]
    right = labels[systems.argmax(axis=1)] == crystal_system(y), best[:, 0] == y, (best == y[:, None]).any(1)
    return np.column_stack(right) & proba.any(axis=1, keepdims=True)


def predict(folder, model, X, y, split):
    """Return the probabilities of the test rows and the time in s; a finished fit is read from the folder."""
    (train, test), start = split, time.process_time()
    path = folder / f"{joblib.hash((model, split))}.npz"
    if not path.exists():
        fitted = clone(model).fit(X.iloc[train], y[train])
        classes = np.unique(y[train])
        proba = np.zeros((len(test), len(classes)), dtype=np.float32)
        known = np.searchsorted(classes, fitted.classes_)
        proba[:, known] = np.nan_to_num(fitted.predict_proba(X.iloc[test]))
        np.savez(path, proba=proba, seconds=time.process_time() - start)
    stored = np.load(path)
    return stored["proba"], float(stored["seconds"])


def choose_weight(folder, members, X, y, groups, train):
    """Return the weight of the second of two models in a vote, chosen on a validation part."""
    inner = [train[rows] for rows in make_splits(y[train], groups[train], X.index[train], folds_run=1)[0]]
    probas = [predict(folder, model, X, y, inner)[0] for model in members]
    rows = []
    for weight in np.arange(11) / 10:
        proba = np.average(probas, axis=0, weights=[1 - weight, weight])
        rows.append(score_rows(proba, np.unique(y[inner[0]]), y[inner[1]]).mean(axis=0))
        print(f"validation, weight {weight:.1f} of the trees:", rows[-1].round(3), flush=True)
    return np.mean(rows, axis=1).argmax() / 10


def run_fold(folder, models, X, y, groups, split, vote):
    """Return the scores of the test rows of one fold; ``vote`` adds that of network and extra trees.

    The vote is that of ``VotingClassifier(voting="soft", weights=[1 - weight, weight])``.
    """
    (train, test), classes = split, np.unique(y[split[0]])
    probas = {}
    for name, model in models.items():
        probas[name], seconds = predict(folder, model, X, y, split)
        scores = score_rows(probas[name], classes, y[test])
        print(f"{name}: {scores.mean(axis=0).round(3)}, {seconds:.0f} s", flush=True)
    if vote:
        members = "network", "extra_trees"
        weight = choose_weight(folder, [models[name] for name in members], X, y, groups, train)
        proba = np.average([probas[name] for name in members], axis=0, weights=[1 - weight, weight])
        probas["vote of network and extra_trees"] = proba
    scores = {name: score_rows(proba, classes, y[test]).astype(float) for name, proba in probas.items()}
    return pd.concat({name: pd.DataFrame(table, test, SCORES) for name, table in scores.items()}, axis=1)


def mean_and_error(scores, groups):
    """Return means over rows and their standard errors; rows of one compound are not independent."""
    mean = scores.mean()
    sums = (scores - mean).groupby(groups[scores.index]).sum()
    return mean, np.sqrt((sums**2).sum()) / len(scores)


def compare_models(folder, X, y, groups, splits, options):
    """Print the table of all models, and the gains of the network and of its vote with trees."""
    models = make_models(X, options.n_jobs)
    only = {*options.only, *("network", "extra_trees") * options.vote} if options.only else models
    chosen = {name: model for name, model in models.items() if name in only}
    tables = []
    for fold, split in splits.items():
        print(f"fold {fold}")
        tables.append(run_fold(folder, chosen, X, y, groups, split, options.vote))
    table = pd.concat(tables)
    names = table.columns.unique(0)
    for name in names:
        mean, error = mean_and_error(table[name], groups)
        print(f"{name}: " + ", ".join(f"{s} {mean[s]:.3f} ± {error[s]:.3f}" for s in SCORES))
    for first in [name for name in names if name == "network" or name.startswith("vote")]:
        for other in names.drop(first):
            mean, error = mean_and_error(100 * (table[first] - table[other]), groups)
            gains = ", ".join(f"{s} {mean[s]:+.1f} ± {error[s]:.1f}" for s in SCORES)
            print(f"{first} minus {other}, in points: {gains}")


def search(options, X, y, groups, train):
    """Print the scores of all settings of a baseline on a validation part of the training part."""
    crystals = np.random.default_rng(0).permutation(np.unique(X.index[train]))[: options.n_search]
    train = train[np.isin(X.index[train], crystals)]
    X, y, groups = X.iloc[train], y[train], groups[train]
    fitted, scored = make_splits(y, groups, X.index, folds_run=1)[0]
    print(f"{len(fitted)} rows for the fits, {len(scored)} for the scores")
    grid = GRIDS[options.baseline]
    for values in itertools.product(*grid.values()):
        setting, start = dict(zip(grid, values, strict=True)), time.process_time()
        baseline = make_baseline(options.baseline, random_state=0, n_jobs=options.n_jobs, **setting)
        model = OfBlocks(baseline, block_names(X)).fit(X.iloc[fitted], y[fitted])
        scores = score_rows(model.predict_proba(X.iloc[scored]), model.classes_, y[scored]).mean(axis=0)
        print(setting, *scores.round(3), f"{time.process_time() - start:.0f} s", flush=True)


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("compare", "search"):
        add = commands.add_parser(name).add_argument
        if name == "search":
            add("baseline", choices=tuple(GRIDS))
            add("--n-search", type=int, help="crystals of the training part; all by default")
        else:
            add("--only", nargs="+", help="models; all by default")
            add(
                "--vote", action="store_true", help="also network and extra trees with averaged probabilities"
            )
        add("--cache", help="CrystalSet of the Materials Project, .npz; AMCSD by default")
        add("--n", type=int, default=5000, help="crystals")
        add("--n-replicas", type=int, default=1, help="specimens of each crystal")
        add("--blocks", choices=("chemistry", "all"), default="chemistry")
        add("--modality", choices=("powder", "rings"), default="powder")
        add("--chemistry", choices=("ideal", "typical", "microscope"), default="typical")
        add("--folds", type=int, default=3, help="folds of five that are run")
        add("--n-jobs", type=int, default=1)
        add("--work", type=Path, default=WORK, help="folder of specimens and finished fits")
    return parser.parse_args()


def main():
    options = parse()
    warnings.filterwarnings("ignore", message="The least populated class")
    job, X, y, groups, splits = load_specimens(options)
    if options.command == "search":
        return search(options, X, y, groups, splits[0][0])
    return compare_models(job.folder, X, y, groups, splits, options)


if __name__ == "__main__":
    main()
