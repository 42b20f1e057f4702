"""Chemistry alone: the network and trees on the same folds, and the search for the settings of the trees.

``OMP_NUM_THREADS=1 python benchmarks/bench_baselines.py compare [--cache FILE.npz]``
    Compositions of ``--n`` crystals are simulated under ``--chemistry`` conditions. The models see them on
    the same folds, which keep compounds apart. The table has means and standard errors over the folds, and
    the gain of the network over each other model, fold by fold.

``OMP_NUM_THREADS=1 python benchmarks/bench_baselines.py search extra_trees [--cache FILE.npz]``
    The training part of the first of these folds is split again by compound, four fifths to one fifth. Each
    setting of `GRIDS` is fitted on the first part and scored on the second. The test part is not used.

``--cache`` is a file from ``_materials_project.py``; without it, the crystals are those of AMCSD.
"""

import argparse
import itertools
import time
import warnings

import numpy as np
import pandas as pd
from _protocols import SHOWN, choose, make_splits, without_faults
from sklearn.pipeline import make_pipeline

from xtalsk import (
    CompositionStatistics,
    CrystalSet,
    ElementFractions,
    ElementPresence,
    FusionClassifier,
    RankedElements,
    compare,
    compound_groups,
    load_amcsd,
    make_baseline,
    make_features,
    make_specimens,
    paired_test,
)

BLOCKS = {
    "fractions": ElementFractions(),
    "presence": ElementPresence(),
    "ranked": RankedElements(),
    "statistics": CompositionStatistics(),
}
NETWORK = {
    "hierarchy": "space_group",
    "batch_size": 256,
    "learning_rate": 3e-3,
    "weight_averaging": 0.99,
    "random_state": 0,
}
GRIDS = {
    "extra_trees": {"min_samples_leaf": (1, 2, 4), "max_features": ("sqrt", 0.3)},
    "lightgbm": {"n_estimators": (60, 120), "learning_rate": (0.05, 0.1), "colsample_bytree": (0.1, 0.3)},
    "xgboost": {"n_estimators": (30, 60), "learning_rate": (0.1, 0.2), "colsample_bytree": (0.1, 0.3)},
    "hist_gradient_boosting": {"max_iter": (30, 60), "learning_rate": (0.1, 0.2)},
}


def chemistry(*names):
    """Return the transformer of some blocks of chemistry."""
    return make_features(**{name: ("formula", BLOCKS[name]) for name in names})


def make_models(n_jobs):
    """Return the models by name."""
    dense = FusionClassifier(**NETWORK, branches={"fractions": "dense", "presence": "dense"})
    chosen = {"extra_trees": {"max_features": 0.3}, "lightgbm": {}}
    trees = {k: make_baseline(k, random_state=0, n_jobs=n_jobs, **v) for k, v in chosen.items()}
    return {
        "network": make_pipeline(chemistry("fractions", "ranked", "statistics"), FusionClassifier(**NETWORK)),
        "network, dense layers": make_pipeline(chemistry("fractions", "presence", "ranked"), dense),
        **{name: make_pipeline(chemistry("fractions", "statistics"), model) for name, model in trees.items()},
    }


def compare_models(X, y, groups, splits, options):
    """Print the table of all models, and the gains of the network."""
    chosen = {k: m for k, m in make_models(options.n_jobs).items() if not options.only or k in options.only}
    table = compare(chosen, X, y, groups=groups, cv=splits, hierarchy="space_group", verbose=1)
    columns = [*SHOWN[:3], "fit_time"]
    by_model = table.groupby("model")[columns]
    print(pd.concat({"mean": by_model.mean(), "error": by_model.sem()}, axis=1).round(3).to_string())
    for other in set(chosen) - {"network"} if len(splits) > 1 and "network" in chosen else ():
        test = paired_test(table, "network", other, "space_group_accuracy")
        gain = f"{100 * test.difference:+.1f} points of space group, p = {test.pvalue:.2g}"
        print(f"network minus {other}: {gain}")


def search(name, X, y, groups, train, n_jobs):
    """Print the scores of all settings of a baseline on a validation part of the training part."""
    inner = make_splits(y[train], groups[train], np.arange(len(train)), folds_run=1)[0]
    features, rows = chemistry("fractions", "statistics").fit_transform(X.iloc[train]), []
    for values in itertools.product(*GRIDS[name].values()):
        setting, start = dict(zip(GRIDS[name], values, strict=True)), time.process_time()
        model = make_baseline(name, random_state=0, n_jobs=n_jobs, **setting)
        scores = compare({"m": model}, features, y[train], cv=[inner], hierarchy="space_group").iloc[0]
        rows.append({**setting, **scores[list(SHOWN[:3])], "seconds": time.process_time() - start})
        print(pd.DataFrame(rows[-1:]).round(3).to_string(index=False, header=len(rows) == 1), flush=True)


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("compare", "search"):
        add = commands.add_parser(name).add_argument
        if name == "search":
            add("baseline", choices=tuple(GRIDS))
        else:
            add("--only", nargs="+", help="models; all by default")
        add("--cache", help="CrystalSet of the Materials Project, .npz; AMCSD by default")
        add("--n", type=int, default=5000, help="crystals")
        add("--chemistry", choices=("ideal", "typical", "microscope"), default="typical")
        add("--folds", type=int, default=3, help="folds of five that are run")
        add("--n-jobs", type=int, default=1)
    return parser.parse_args()


def main():
    options = parse()
    crystals = load_amcsd() if options.cache is None else CrystalSet.load(options.cache)
    crystals = choose(without_faults(crystals), options.n)
    X, y, _ = make_specimens(
        crystals, ("formula",), conditions={"formula": options.chemistry}, random_state=0
    )
    is_measured = X["formula"].notna().to_numpy()
    X, y, groups = X[is_measured], y[is_measured], compound_groups(crystals)[is_measured]
    warnings.filterwarnings("ignore", message="The least populated class")
    splits = make_splits(y, groups, np.arange(len(y)), folds_run=options.folds)
    if options.command == "search":
        return search(options.baseline, X, y, groups, splits[0][0], options.n_jobs)
    return compare_models(X, y, groups, list(splits.values()), options)


if __name__ == "__main__":
    main()
