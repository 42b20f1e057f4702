"""Pairs of space groups that are hard to tell apart, on measured and on simulated powder patterns.

``python benchmarks/bench_pairs.py FOLDER --crystals FILE.npz --models powder``

FOLDER holds ``minerals.npz``, see `bench_measured`. FILE holds crystals; ``_materials_project.py FOLDER
--cache FILE`` writes one. Of each space group of `PAIRS`, ``--n-each`` crystals of different formulas are
drawn, or all if there are fewer. Their patterns are simulated under harsh conditions. The models get them
alone and with the formula. If a model was trained on these crystals, its scores are optimistic.

For each set of patterns, the command prints the confusions of `PAIRS` and the pairs that are confused most
often (`xtalsk.metrics.confused_pairs`). Where the accuracy of two is low and the separation is high, the
model prefers the space group that was more frequent in its training. The command takes two minutes on one
core.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from _measured import minerals
from _models import read_model
from _protocols import harsh_conditions, without_faults
from sklearn.metrics import roc_auc_score

from xtalsk import CrystalSet, make_specimens
from xtalsk.metrics import confused_pairs, level_scores
from xtalsk.symmetry import space_group_symbol

PAIRS = (
    (14, 15), (11, 14), (2, 11), (2, 14), (12, 15), (5, 12), (62, 63), (61, 62), (33, 62), (225, 227),
)  # fmt: skip

LEAST = 1e-9  # probability that is added before the logarithm


def balanced(crystals, n_each, seed=0):
    """Return up to ``n_each`` random crystals of each space group of `PAIRS`, each with another formula."""
    order = np.random.default_rng(seed).permutation(len(crystals))
    table = pd.DataFrame({"number": crystals.space_groups, "formula": crystals.formulas}).iloc[order]
    table = table[table["number"].isin(np.unique(PAIRS))].drop_duplicates()
    return crystals[np.sort(table.groupby("number").head(n_each).index)]


def read_specimens(options):
    """Return (X, y) of the measured minerals and of simulated powders, by name."""
    X, y, _ = minerals(options.folder)
    crystals = balanced(without_faults(CrystalSet.load(options.crystals)), options.n_each)
    conditions = {"powder": harsh_conditions("powder"), "formula": "typical"}
    simulated, numbers, _ = make_specimens(
        crystals, tuple(conditions), conditions=conditions, random_state=0, verbose=1
    )
    return {
        "measured minerals": (X, y),
        "simulated, alone": (simulated.assign(formula=None), numbers),
        "simulated, with formula": (simulated, numbers),
    }


def separations(y, proba, classes):
    """Return for each pair of `PAIRS` how well the ratio of both probabilities tells its specimens apart.

    This is the area under the ROC curve: 1 if one threshold separates them, 0.5 for chance. It does not
    depend on how frequent the space groups are in the training. It is NaN if a space group has no specimens.
    """
    logarithms = pd.DataFrame(np.log(proba + LEAST), columns=classes).reindex(
        columns=np.unique(PAIRS), fill_value=np.log(LEAST)
    )
    areas = []
    for a, b in PAIRS:
        members = (y == a) | (y == b)
        ratio = (logarithms[b] - logarithms[a])[members]
        areas.append(roc_auc_score(y[members] == b, ratio) if len(set(y[members])) == 2 else np.nan)
    return areas


def name_pairs(table):
    """Return the table with symbols in place of the space-group numbers of its index."""
    symbols = [" / ".join(f"{space_group_symbol(n)} ({n})" for n in pair) for pair in table.index]
    return table.set_axis(pd.Index(symbols, name="first / second"))


def report(title, y, proba, classes, n):
    """Print the confusions of one model on one set of specimens, and return those of `PAIRS`."""
    scores = level_scores(y, proba, classes, hierarchy="space_group")
    print(f"\n{title}: {len(y)} patterns, space group {scores['space_group_accuracy']:.3f}")
    given = name_pairs(confused_pairs(y, proba, classes, pairs=PAIRS))
    given = given.assign(separation=separations(y, proba, classes))
    print(given.round(2).to_string())
    print(name_pairs(confused_pairs(y, proba, classes, n=n)).round(2).to_string(), flush=True)
    return given


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--crystals", type=Path, required=True, help="file of CrystalSet.save")
    parser.add_argument("--models", nargs="+", default=["powder"], help="names or files of fitted pipelines")
    parser.add_argument("--n-each", type=int, default=50, help="crystals of each space group")
    parser.add_argument("--n", type=int, default=10, help="number of the most confused pairs")
    parser.add_argument("--save", type=Path, metavar="FILE", help="CSV file of the confusions of PAIRS")
    options = parser.parse_args()
    specimens, tables = read_specimens(options), {}
    for model in options.models:
        pipeline = read_model(model)
        for name, (X, y) in specimens.items():
            proba = pipeline.predict_proba(X)
            tables[model, name] = report(f"{model}, {name}", y, proba, pipeline.classes_, options.n)
    if options.save:
        pd.concat(tables, names=["model", "specimens"]).to_csv(options.save, float_format="%.4f")


if __name__ == "__main__":
    main()
