"""Structure prediction of compounds that no library has: `PrototypeMatch` against its peers.

Run ``OMP_NUM_THREADS=1 python benchmarks/bench_prototypes.py FOLDER --cache FILE.npz`` with structures of the
Materials Project, see _materials_project.py. ``--n`` compounds are left out, with all structures of nearly
their composition (`compound_groups`). The others are the prototypes, the library of search-match and the
source of the training of the network and the trees. The patterns of one structure of each compound are
simulated. Compositions are exact, and with errors of 10% of each fraction.
``--spectra`` adds compositions from simulated X-ray spectra on a copper grid, instead of the formula.
``--amcsd`` takes the minerals of AMCSD instead, harsh patterns, and needs no folder. ``--modality rings``
takes ring images. ``--peers`` names the peers. ``--probability`` fits the constants of the probabilities.
The constants were tuned on ``--seed 1``; the tables are those of seed 0.
"""

import argparse
import time

import numpy as np
import pandas as pd
from _materials_project import load_materials_project
from _prototype_peers import (
    PROFILES,
    all_blocks,
    make_network,
    make_trees,
    training_set,
    two_blocks,
)
from bench_library import PLAIN
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.frozen import FrozenEstimator

from xtalsk import (
    EDSComposition,
    LibraryMatch,
    PrototypeBlend,
    PrototypeMatch,
    compound_groups,
    load_amcsd,
    make_features,
    make_library,
    make_specimens,
)
from xtalsk.crystals._faults import find_faults
from xtalsk.library._prototype_votes import candidate_shares
from xtalsk.metrics import level_probabilities, top_k_accuracy
from xtalsk.symmetry import to_level

PEERS = ("network", "trees", "library")


def held_out(crystals, n, seed):
    """Return the rows of one crystal of each of ``n`` compounds, and the rows of all other compounds."""
    groups = compound_groups(crystals)
    sound = np.setdiff1d(np.arange(len(crystals)), list(find_faults(crystals)))
    rng = np.random.default_rng(seed)
    order = rng.permutation(sound)
    first = np.sort(np.unique(groups[order], return_index=True)[1])[:n]
    rows = order[first]
    return rows, np.flatnonzero(~np.isin(groups, groups[rows]))


def with_errors(X, seed, error=0.1):
    """Return features with random relative errors of the atomic fractions."""
    X = X.copy()
    is_fraction = X.columns.str.startswith("chemistry__")
    factors = np.exp(error * np.random.default_rng(seed).standard_normal((len(X), is_fraction.sum())))
    X.loc[:, is_fraction] *= factors.astype(np.float32)
    return X


def scores(proba, classes, y):
    """Return accuracies: space group, space group in the first five, crystal system."""
    proba = np.nan_to_num(proba)
    systems, names = level_probabilities(proba, classes, "crystal_system")
    return {
        "space group": top_k_accuracy(y, proba, classes),
        "top 5": top_k_accuracy(y, proba, classes, k=5),
        "crystal system": np.mean(names[systems.argmax(1)] == np.asarray(to_level(y, "crystal_system"))),
    }


def atoms_without_hydrogen(crystals):
    """Return the number of atoms of each cell, without hydrogen."""
    weights = crystals.occupancies * (crystals.atomic_numbers > 1)
    return np.maximum(np.bincount(crystals.crystal_of_site, weights, len(crystals)), 1e-9)


def refined_cells(match, X, y, crystals):
    """Print how many cells are right to 1%, among the candidates of the right space group."""
    best = match.candidates(X, n=1)
    known = best["space_group"].to_numpy() == y[best["row"]]
    predicted = match.structures(X, n=1)
    volume, true = (of.volumes / atoms_without_hydrogen(of) for of in (predicted, crystals))
    rows = best["row"].to_numpy()
    right = np.abs(np.cbrt(volume / true[rows]) - 1) < 0.01
    print(
        f"best candidate: space group right {known.mean():.3f}; of these, mean edge within 1%: "
        f"{right[known].mean():.3f} of {known.sum()}; possible distances {best['is_possible'].mean():.3f}"
    )


def spectra_composition(crystals, X, seed):
    """Return features whose atomic fractions are those of simulated X-ray spectra on a grid."""
    specimens, _, _ = make_specimens(crystals, ("eds",), conditions="typical", random_state=seed)
    fractions = make_features(chemistry=("eds", EDSComposition(on_error="warn"))).fit_transform(specimens)
    out = X.copy()
    out.loc[:, X.columns.str.startswith("chemistry__")] = 0.0
    out.loc[:, X.columns.str.startswith(("presence__", "ranked__"))] = np.nan
    shared = [name for name in fractions.columns if name in out.columns]
    out[shared] = fractions[shared].to_numpy()
    return out


def add_peers(models, options, crystals, features, conditions):
    """Add the peers that ``options.peers`` names to the models, and blends with the trained ones."""
    if {"network", "trees"} & set(options.peers):
        train = training_set(crystals, features, options.modality, conditions, options.n_train)
    trained = {"network": make_network(options.max_epochs), "trees": make_trees()}
    match = FrozenEstimator(models["PrototypeMatch"])
    for name in [name for name in trained if name in options.peers]:
        models[name] = trained[name].fit(*train)
        models[f"blend with {name}"] = PrototypeBlend(FrozenEstimator(models[name]), match).fit(*train)
    if "library" in options.peers:
        X, y, _ = make_library(crystals, two_blocks(options.modality), random_state=0)
        models["LibraryMatch"] = OfColumns(LibraryMatch(modality=options.modality)).fit(X, y)
        models["plain cosine"] = OfColumns(LibraryMatch(**PLAIN, line_widths=None)).fit(X, y)


class OfColumns:
    """A classifier that reads the columns of its training."""

    def __init__(self, classifier):
        self.classifier = classifier

    def fit(self, X, y):
        """Fit the classifier."""
        self.columns = list(X.columns)
        self.classes_ = self.classifier.fit(X, y).classes_
        return self

    def predict_proba(self, X):
        """Return the probabilities of the classes."""
        return self.classifier.predict_proba(X[self.columns])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", help="tables of the Materials Project")
    parser.add_argument("--cache", help="file of the structures")
    parser.add_argument("--amcsd", action="store_true", help="minerals of AMCSD instead")
    parser.add_argument("--modality", choices=PROFILES, default="powder")
    parser.add_argument("--conditions", help="default: typical, and harsh for minerals")
    parser.add_argument("--n", type=int, default=200, help="compounds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--spectra", action="store_true", help="compositions from spectra, too")
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=PEERS)
    parser.add_argument("--n-train", type=int, default=5000, help="specimens that network and trees see")
    parser.add_argument("--max-epochs", type=int, default=10)
    parser.add_argument("--probability", action="store_true", help="fit the probabilities, on seed 1")
    options = parser.parse_args()
    crystals = load_amcsd() if options.amcsd else load_materials_project(options.folder, cache=options.cache)
    rows, others = held_out(crystals, options.n, options.seed)
    trained = {"network", "trees"} & set(options.peers)
    features = all_blocks(options.modality) if trained else two_blocks(options.modality)
    conditions = options.conditions or ("harsh" if options.amcsd else "typical")
    specimens, y, _ = make_specimens(
        crystals[rows], (options.modality,), conditions=conditions, random_state=options.seed
    )
    X = features.fit_transform(specimens.assign(formula=crystals.formulas[rows]))
    queries = {"exact": X, "10% error": with_errors(X, options.seed)}
    if options.spectra:
        queries["spectra"] = spectra_composition(crystals[rows], X, options.seed)
    start = time.process_time()
    match = PrototypeMatch(crystals[others], modality=options.modality).fit(X)
    models = {"PrototypeMatch": match}
    print(f"{len(rows)} compounds, {len(others)} prototypes, fitted in {time.process_time() - start:.1f} s")
    if options.probability:
        fit_probability(match, queries, y)
        return
    add_peers(models, options, crystals[others], features, conditions)
    table = {}
    for name, model in models.items():
        for kind, query in queries.items():
            start = time.process_time()
            proba = model.predict_proba(query)
            spent = time.process_time() - start
            table[name, kind] = scores(proba, model.classes_, y) | {"compounds/s of a core": len(y) / spent}
    print(pd.DataFrame(table).T.round(3).to_string(), flush=True)
    refined_cells(match, X, y, crystals[rows])
    proba = match.predict_proba(X)
    right = pd.Series(match.classes_[proba.argmax(axis=1)] == y)
    groups = pd.cut(proba.max(axis=1), [0, 0.2, 0.4, 0.6, 0.8, 0.9, 1])
    by_group = pd.DataFrame({"probability": proba.max(axis=1), "right": right}).groupby(groups, observed=True)
    print(by_group.mean().round(3).assign(n=by_group.size()).to_string())


def fit_probability(match, queries, y):
    """Print the logits that make the probability of the true space group largest."""
    groups, prior = match.prototypes_.space_groups, dict(zip(match.classes_, match.prior_, strict=True))
    records = []
    for query in queries.values():
        for found, number in zip(match._search(match._check_rows(query, "missing")), y, strict=True):
            if found is not None:
                votes = candidate_shares(found, match.modality_)[groups[found.rows] == number].sum()
                best = found.similarity[0], found.chemistry[0]
                records.append((*best, votes, prior.get(number, 0)))
    similarity, chemistry, votes, prior = np.array(records).T

    def loss(logits):
        right = expit(logits[0] + logits[1] * similarity + logits[2] * chemistry)
        return -np.log(right * votes + (1 - right) * prior + 1e-6).mean()

    print("logits", minimize(loss, np.zeros(3)).x.round(2))


if __name__ == "__main__":
    main()
