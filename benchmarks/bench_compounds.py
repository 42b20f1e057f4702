"""What a list of known compounds adds to a network, for compounds that the network has not seen.

``OMP_NUM_THREADS=1 python benchmarks/bench_compounds.py FOLDER [--cache FILE.npz]``
    Powder patterns and compositions with errors are simulated for ``--n`` structures of the Materials Project
    (tables ``mp_*.csv.gz`` in FOLDER). A network is trained on four fifths of the compounds. The table has
    its answers for the other fifth, by diffraction, chemistry and both, those of the list alone, and those
    of `CompoundBlend`; and the same for compounds that are not in the list. A compound is in the list if an
    entry of its space group has its composition to within 5% of the atoms other than hydrogen.
    The last lines are the answers with a list from which the compounds of the test were taken out.

``--prototypes`` adds `PrototypeBlend` with all structures of the tables but the compounds of the test, and
`CompoundBlend` around it; for one specimen of each structure.
``--fit`` also fits the constants of `CompoundBlend` by likelihood.
"""

import argparse

import numpy as np
from _materials_project import load_materials_project
from _protocols import SHOWN, choose, make_splits, without_faults
from _training import POWDER_GRID, make_blocks
from scipy.optimize import minimize
from scipy.spatial.distance import cdist
from sklearn.frozen import FrozenEstimator

from xtalsk import (
    CompoundBlend,
    FusionClassifier,
    PrototypeBlend,
    PrototypeMatch,
    compound_groups,
    load_compounds,
    make_specimens,
)
from xtalsk.library._compound_list import join_list
from xtalsk.metrics import level_scores
from xtalsk.simulation.spectra._formulas import atomic_fractions

NETWORK = {
    "hierarchy": "space_group",
    "n_residual": 1,
    "embedding_size": 192,
    "hidden_size": 384,
    "modality_dropout": 0.1,
    "dropout": 0.1,
    "label_smoothing": 0.05,
    "batch_size": 256,
    "learning_rate": 3e-3,
    "weight_averaging": 0.99,
    "precision": "bfloat16",
    "all_missing": "missing",
    "random_state": 0,
}
DIFFRACTION = ("diffraction", "lattice", "spots")
NEAR = 0.05  # share of the atoms by which compositions of one compound may differ


def is_listed(formulas, groups, compounds):
    """Return for each formula whether the list has a similar composition, and one of its space group."""
    fractions, known = (atomic_fractions(list(texts))[:, 1:] for texts in (formulas, compounds["formula"]))
    fractions, known = (
        part / np.maximum(part.sum(axis=1, keepdims=True), 1e-9) for part in (fractions, known)
    )
    same = compounds["space_group"].to_numpy()[None] == np.asarray(groups)[:, None]
    near = np.concatenate(
        [cdist(part, known, "cityblock") / 2 < NEAR for part in np.array_split(fractions, 50)]
    )
    return near, (near & same).any(axis=1)


def only(table, kind):
    """Return the features with the columns of diffraction or of chemistry alone."""
    is_diffraction = table.columns.str.startswith(DIFFRACTION)
    hidden = table.copy()
    hidden.loc[:, is_diffraction if kind == "chemistry" else ~is_diffraction] = np.nan
    return hidden


def show(name, y, proba, classes, parts):
    """Print the scores of one model on all specimens and on parts of them."""
    for part, rows in parts.items():
        scores = level_scores(y[rows], proba[rows], classes, hierarchy="space_group")
        figures = " / ".join(f"{scores[metric]:.3f}" for metric in SHOWN[:3])
        print(f"{name:42s} {part:10s} n = {rows.sum():5d}  {figures}", flush=True)


def fit(blend, table, y):
    """Print constants of `CompoundBlend` that make the answers most likely."""
    rows, compositions = blend._measured(table)
    parts = [blend._of_classes(blend.estimator_, table)[rows], blend._without_chemistry(table.iloc[rows])]
    parts += blend._look_up(compositions)
    places = np.arange(len(rows)), np.searchsorted(blend.classes_, y[rows])

    def loss(values):
        proba = join_list(*parts, blend.prior_, values[:2], values[2:])[0]
        return -np.log(np.maximum(proba[places], 1e-9)).mean()

    result = minimize(loss, [1, 3, 0.7, 0.7], method="Nelder-Mead", options={"maxiter": 500})
    print(f"fitted: logit {result.x[:2].round(2)}, powers {result.x[2:].round(2)}, loss {result.fun:.3f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("--cache", metavar="NPZ", help="cache of the Materials Project crystals")
    parser.add_argument("--n", type=int, default=5000, help="structures")
    parser.add_argument("--n-replicas", type=int, default=3, help="specimens of each")
    parser.add_argument("--epochs", type=int, default=14)
    parser.add_argument("--fit", action="store_true")
    parser.add_argument("--prototypes", action="store_true")
    options = parser.parse_args()
    known = without_faults(load_materials_project(options.folder, cache=options.cache))
    crystals = choose(known, options.n)
    conditions = {"powder": "harsh", "formula": "typical"}
    X, y, groups = make_specimens(
        crystals,
        ("powder", "formula"),
        conditions=conditions,
        n_replicas=options.n_replicas,
        random_state=0,
    )
    table = make_blocks("powder", True, statistics=True).fit_transform(X)
    crystal = np.repeat(np.arange(len(crystals)), options.n_replicas)
    train, test = make_splits(y, groups, np.arange(len(y)), folds_run=1)[0]
    network = FusionClassifier(**NETWORK, max_epochs=options.epochs).fit(table.iloc[train], y[train])
    seen, truth = table.iloc[test], y[test]
    compounds, crystal = load_compounds(), crystal[test]
    tested, place = np.unique(crystal, return_inverse=True)
    near, listed = is_listed(crystals.formulas[tested], crystals.space_groups[tested], compounds)
    listed = listed[place]
    parts = {"all": np.ones(len(test), dtype=bool), "listed": listed, "unlisted": ~listed}
    for kind in ("diffraction", "chemistry", "both"):
        show(
            f"network, {kind}",
            truth,
            network.predict_proba(only(seen, kind) if kind != "both" else seen),
            network.classes_,
            parts,
        )
    for name, entries in (
        ("list", compounds),
        ("list without the test", compounds[~near.any(axis=0)]),
    ):
        blend = CompoundBlend(FrozenEstimator(network), entries, all_missing="missing")
        blend.fit(table.iloc[train], y[train])
        by_list, rows = np.tile(blend.prior_, (len(test), 1)), blend._measured(seen)
        by_list[rows[0]] += 1e3 * blend._look_up(rows[1])[0]
        show(f"{name}, alone", truth, by_list / by_list.sum(axis=1, keepdims=True), blend.classes_, parts)
        show(f"CompoundBlend, {name}", truth, blend.predict_proba(seen), blend.classes_, parts)
        if options.fit:
            fit(blend, seen, truth)
    if options.prototypes:
        of_known = compound_groups(known)
        in_test = np.isin(of_known, of_known[np.isin(known.ids, crystals.ids[tested])])
        settings = {"modality": "powder", "q_range": POWDER_GRID["q_range"], "all_missing": "missing"}
        match = PrototypeMatch(known[np.flatnonzero(~in_test)], **settings)
        with_votes = PrototypeBlend(FrozenEstimator(network), match, all_missing="missing")
        with_votes.fit(table.iloc[train], y[train])
        first = np.unique(crystal, return_index=True)[1]
        seen, truth, parts = seen.iloc[first], truth[first], {k: rows[first] for k, rows in parts.items()}
        show("network", truth, network.predict_proba(seen), network.classes_, parts)
        show("PrototypeBlend", truth, with_votes.predict_proba(seen), with_votes.classes_, parts)
        blend = CompoundBlend(FrozenEstimator(with_votes), all_missing="missing")
        blend.fit(table.iloc[train], y[train])
        show("CompoundBlend of PrototypeBlend", truth, blend.predict_proba(seen), blend.classes_, parts)


if __name__ == "__main__":
    main()
