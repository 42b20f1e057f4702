"""Structure prediction of compounds that no library has: `PrototypeMatch` against search-match.

Run ``OMP_NUM_THREADS=1 python benchmarks/bench_prototypes.py FOLDER --cache FILE.npz`` with structures of the
Materials Project, see _materials_project.py. ``--n`` compounds are left out, with all structures of nearly
their composition (`compound_groups`). The others are the prototypes, and the library of the
peers. The patterns of one structure of each compound are simulated. Compositions are exact, and with errors
of 10% of each fraction.
``--amcsd`` takes the minerals of AMCSD instead, harsh patterns, and needs no folder. ``--modality rings``
takes ring images. The constants were tuned on ``--seed 1``; the tables are those of seed 0.
"""

import argparse
import time

import numpy as np
import pandas as pd
from _materials_project import load_materials_project
from bench_library import PLAIN

from xtalsk import (
    ElementFractions,
    LibraryMatch,
    PowderProfile,
    PrototypeMatch,
    RadialProfile,
    compound_groups,
    load_amcsd,
    make_features,
    make_library,
    make_specimens,
)
from xtalsk.crystals._faults import find_faults
from xtalsk.metrics import level_probabilities, top_k_accuracy
from xtalsk.symmetry import to_level

PROFILES = {"powder": PowderProfile(), "rings": RadialProfile()}


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


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", help="tables of the Materials Project")
    parser.add_argument("--cache", help="file of the structures")
    parser.add_argument("--amcsd", action="store_true", help="minerals of AMCSD instead")
    parser.add_argument("--modality", choices=PROFILES, default="powder")
    parser.add_argument("--conditions", help="default: typical, and harsh for minerals")
    parser.add_argument("--n", type=int, default=200, help="compounds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-peers", action="store_true")
    options = parser.parse_args()
    source = options.folder, options.cache
    crystals = load_amcsd() if options.amcsd else load_materials_project(source[0], cache=source[1])
    rows, others = held_out(crystals, options.n, options.seed)
    features = make_features(
        diffraction=(options.modality, PROFILES[options.modality]), chemistry=("formula", ElementFractions())
    )
    conditions = options.conditions or ("harsh" if options.amcsd else "typical")
    specimens, y, _ = make_specimens(
        crystals[rows], (options.modality,), conditions=conditions, random_state=options.seed
    )
    X = features.fit_transform(specimens.assign(formula=crystals.formulas[rows]))
    queries = {"exact": X, "10% error": with_errors(X, options.seed)}
    start = time.process_time()
    match = PrototypeMatch(crystals[others], modality=options.modality).fit(X)
    models = {"PrototypeMatch": match}
    print(f"{len(rows)} compounds, {len(others)} prototypes, fitted in {time.process_time() - start:.1f} s")
    if not options.no_peers:
        library = make_library(crystals[others], features, random_state=0)
        models["LibraryMatch"] = LibraryMatch(modality=options.modality).fit(*library)
        models["plain cosine"] = LibraryMatch(**PLAIN, line_widths=None).fit(*library)
    table = {}
    for name, model in models.items():
        for kind, query in queries.items():
            start = time.process_time()
            proba = model.predict_proba(query)
            spent = time.process_time() - start
            table[name, kind] = scores(proba, model.classes_, y) | {"compounds/s of a core": len(y) / spent}
    print(pd.DataFrame(table).T.round(3).to_string())
    refined_cells(match, X, y, crystals[rows])
    similarity = match.similarity(X)
    right = pd.Series(match.predict(X) == y)
    groups = right.groupby(pd.cut(similarity, [-1, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1]), observed=False)
    print(
        "by similarity\n", groups.mean().round(3).to_frame("space group").assign(n=groups.size()).to_string()
    )


if __name__ == "__main__":
    main()
