"""What crystals with substituted elements are worth in training, for compounds that the network has not seen.

``OMP_NUM_THREADS=1 python benchmarks/bench_substituted.py [FOLDER --cache FILE.npz]``

Harsh powder patterns and compositions with errors are simulated for ``--n`` minerals of AMCSD, or structures
of the Materials Project (tables ``mp_*.csv.gz`` in FOLDER). Networks are trained on four fifths of the
compounds and tested on the other fifth. Each network learns from three specimens of each crystal

- of these crystals alone;
- and from as many specimens of these crystals with strained cells;
- or from as many of `substitute_elements` of these crystals, each with other elements.

A substituted crystal may have the formula of a compound of the test, whose own structure is in no training.

All have as many updates of their weights; the first and the last are also trained twice as long.
"""

import argparse

import numpy as np
import pandas as pd
from _materials_project import load_materials_project
from _protocols import SHOWN, choose, make_splits, without_faults
from _training import make_blocks
from bench_compounds import NETWORK, only

from xtalsk import FusionClassifier, load_amcsd, make_specimens, substitute_elements
from xtalsk.metrics import level_scores

NO_OTHER = 1e-3  # distance of elements at which none is replaced


def features_of(crystals, seed, n_replicas=1):
    """Return the features and the space groups of specimens of crystals."""
    conditions = {"powder": "harsh", "formula": "typical"}
    X, y, groups = make_specimens(
        crystals,
        tuple(conditions),
        conditions=conditions,
        n_replicas=n_replicas,
        random_state=seed,
        verbose=1,
    )
    return make_blocks("powder", True, statistics=True).fit_transform(X), np.asarray(y), groups


def with_others(table, y, crystals, n_replicas, **params):
    """Return features and labels, and as many of crystals with other elements."""
    parts = [
        features_of(substitute_elements(crystals, random_state=seed, **params), 100 + seed)[:2]
        for seed in range(n_replicas)
    ]
    tables, labels = zip((table, y), *parts, strict=True)
    return pd.concat(tables, ignore_index=True), np.concatenate(labels)


def scores_of(network, table, y):
    """Return crystal system / space group / top 5 by both, by diffraction and by chemistry."""
    row = {}
    for kind in ("both", "diffraction", "chemistry"):
        proba = network.predict_proba(table if kind == "both" else only(table, kind))
        scores = level_scores(y, proba, network.classes_, hierarchy="space_group")
        row[kind] = " / ".join(f"{scores[metric]:.3f}" for metric in SHOWN[:3])
    return row


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", help="tables of the Materials Project")
    parser.add_argument("--cache", metavar="NPZ", help="cache of the Materials Project crystals")
    parser.add_argument("--n", type=int, default=5000, help="structures")
    parser.add_argument("--n-replicas", type=int, default=3, help="specimens of each")
    parser.add_argument("--epochs", type=int, default=7, help="epochs with substituted crystals")
    parser.add_argument("--seed", type=int, default=0, help="of the network")
    options = parser.parse_args()
    known = load_materials_project(options.folder, cache=options.cache) if options.folder else load_amcsd()
    crystals = choose(without_faults(known), options.n)
    table, y, groups = features_of(crystals, 0, options.n_replicas)
    train, test = make_splits(y, groups, np.arange(len(y)), folds_run=1)[0]
    sources = crystals[np.unique(train // options.n_replicas)]
    own = table.iloc[train], y[train]
    print(f"{len(sources)} crystals in training, {len(test)} specimens of other compounds in the test")
    cells = with_others(*own, sources, options.n_replicas, distance=NO_OTHER)
    elements = with_others(*own, sources, options.n_replicas)
    runs = {
        "these crystals": (own, 1),
        "these crystals, twice as long": (own, 2),
        "these, and with other cells": (cells, 1),
        "these, and with other elements": (elements, 1),
        "these, and with other elements, twice as long": (elements, 2),
    }
    rows = {}
    for name, (data, factor) in runs.items():
        n_epochs = factor * options.epochs * (2 if data is own else 1)
        network = FusionClassifier(**NETWORK | {"random_state": options.seed}, max_epochs=n_epochs).fit(*data)
        rows[name] = scores_of(network, table.iloc[test], y[test])
        print(name, rows[name], flush=True)
    print(pd.DataFrame(rows).T.to_string())


if __name__ == "__main__":
    main()
