"""Accuracy of the crystal system of unseen minerals, with and without figures of merit of lattices.

Run ``python benchmarks/bench_lattice.py [--crystals N] [--conditions ideal harsh] [--modality powder]
[--measured FOLDER]``. Trees are trained on simulated patterns of a part of AMCSD and tested on the rest;
compounds and minerals are kept apart. The features are the profile, the figures of `IndexingScores`, or both.

For ideal patterns, the script also prints the share of crystals for which the volume of the best cell of the
true lattice type is correct. ``--measured`` (a folder as in bench_powders.py) prints the volumes for measured
powders instead.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.impute import SimpleImputer
from sklearn.model_selection import GroupShuffleSplit
from sklearn.pipeline import make_pipeline

from xtalsk import IndexingScores, PowderProfile, RadialProfile, load_amcsd, make_specimens
from xtalsk.crystals import CrystalSet
from xtalsk.crystals._faults import find_faults
from xtalsk.diffraction.indexing._functional import lattice_figures
from xtalsk.io import read_profile
from xtalsk.symmetry import bravais_lattice, crystal_system

TYPES = {
    "cP": "cubic_p",
    "cI": "cubic_i",
    "cF": "cubic_f",
    "tP": "tetragonal_p",
    "tI": "tetragonal_i",
    "hP": "hexagonal_p",
    "hR": "hexagonal_r",
    "oP": "orthorhombic_p",
    "oS": "orthorhombic_c",
    "oI": "orthorhombic_i",
    "oF": "orthorhombic_f",
    "mP": "monoclinic_p",
    "mS": "monoclinic_c",
}
PROFILES = {"powder": PowderProfile, "rings": RadialProfile}


def is_volume(volume, true, lattice):
    """Return whether volumes agree to 1%; a rhombohedral cell may have rhombohedral axes."""
    ratio = np.asarray(volume) / true
    return (abs(ratio - 1) < 0.01) | ((lattice == "hR") & (abs(ratio / 3 - 1) < 0.01))


def accuracies(blocks, y, groups, n_splits, seed):
    """Return the accuracies of the crystal system in each split, for each block of features."""
    out = {}
    for name, X in blocks.items():
        share = 0.2 if X.shape[1] < 300 else "sqrt"
        model = make_pipeline(
            SimpleImputer(strategy="constant", fill_value=0, keep_empty_features=True),
            ExtraTreesClassifier(300, max_features=share, n_jobs=-1, random_state=seed),
        )
        splits = GroupShuffleSplit(n_splits, test_size=0.25, random_state=seed).split(X, y, groups)
        out[name] = [model.fit(X[train], y[train]).score(X[test], y[test]) for train, test in splits]
    return out


def volumes(figures, crystals, largest):
    """Return, by lattice type, the share of crystals whose best cell of that type has the true volume."""
    lattice, true = bravais_lattice(crystals.space_groups), abs(np.linalg.det(crystals.lattices))
    rows = []
    for name, column in TYPES.items():
        of_type = (lattice == name) & (true < largest)
        if not of_type.any():
            continue
        volume = np.exp(figures.loc[of_type, f"{column}_log_volume"].to_numpy(dtype=float))
        merits = figures.filter(like="log_m20")[of_type]
        rows.append(
            {
                "lattice": name,
                "n": of_type.sum(),
                "volume within 1%": is_volume(volume, true[of_type], name).mean(),
                "M20 in the top 3": (merits.rank(axis=1, ascending=False)[f"{column}_log_m20"] <= 3).mean(),
            }
        )
    return pd.DataFrame(rows).set_index("lattice")


def speeds(lattice, profiles, n_rounds=5, n=256):
    """Compare the compiled loops with batched tensors on one thread; medians of interleaved rounds."""
    profiles = torch.from_numpy(profiles[:n])
    rates = {True: [], False: []}
    for compiled in [True, False] * (n_rounds + 1):
        start = time.process_time()
        for chunk in profiles.split(32):
            lattice_figures(chunk, *lattice._axis(), n_threads=1, compiled=compiled)
        rates[compiled].append(len(profiles) / (time.process_time() - start))
    compiled, batched = (np.median(rates[c][1:]) for c in (True, False))  # the first round compiles
    return f"{compiled:.0f}, batched tensors {batched:.0f}, ratio {compiled / batched:.1f}"


def simulated(crystals, conditions, args):
    """Return the blocks of features of simulated patterns; print the speed of `IndexingScores`."""
    X, y, groups = make_specimens(crystals, args.modality, conditions=conditions, random_state=args.seed)
    profile = PROFILES[args.modality]().set_output(transform="pandas").fit(X[args.modality])
    profiles = profile.transform(X[args.modality])
    lattice = IndexingScores(n_jobs=args.n_jobs).set_output(transform="pandas").fit(profiles)
    print(f"{conditions}: patterns/s of one core, compiled {speeds(lattice, profiles.to_numpy())}")
    figures = lattice.transform(profiles)
    both = np.hstack([profiles, figures])
    return {"profile": profiles.to_numpy(), "lattice": figures.to_numpy(), "both": both}, figures, y, groups


def measured(folder):
    """Compare the volumes of the cells of measured patterns with those of their structures."""
    rows = []
    lattice = make_pipeline(PowderProfile(), IndexingScores()).set_output(transform="pandas")
    for path in sorted(Path(folder).iterdir()):
        crystal = CrystalSet.from_cifs([str(next(path.glob("*.cif")))])
        figures = lattice.fit_transform([read_profile(next(path.glob("*.csv")), wavelength=1.5406)])
        name = bravais_lattice(int(crystal.space_groups[0]))
        if name not in TYPES:
            continue
        scores = figures.iloc[0]
        volume = float(np.exp(scores[f"{TYPES[name]}_log_volume"]))
        true = float(abs(np.linalg.det(crystal.lattices[0])))
        evidence = scores.filter(like="_evidence")
        rows.append(
            {
                "material": path.name,
                "lattice": name,
                "volume / true volume": volume / true,
                "explained": scores[f"{TYPES[name]}_explained"],
                "lines": scores["lines"],
                "best type": evidence.idxmax().removesuffix("_evidence"),
            }
        )
    return pd.DataFrame(rows).set_index("material")


def main():
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--crystals", type=int, default=2500)
    parser.add_argument("--conditions", nargs="+", default=["ideal", "harsh"])
    parser.add_argument("--modality", choices=PROFILES, default="powder")
    parser.add_argument("--measured", metavar="FOLDER")
    parser.add_argument("--largest", type=float, default=800, help="largest volume in the table, Å³")
    parser.add_argument("--splits", type=int, default=3)
    parser.add_argument("--n-jobs", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.measured:
        print(measured(args.measured).round(3).to_string())
        return
    crystals = load_amcsd()
    chosen = np.random.RandomState(args.seed).permutation(len(crystals))[: args.crystals]
    crystals = crystals[np.setdiff1d(chosen, list(find_faults(crystals)))]
    table = {}
    for conditions in args.conditions:
        blocks, figures, y, groups = simulated(crystals, conditions, args)
        if conditions == "ideal":
            print(volumes(figures, crystals, args.largest).round(2).to_string())
        for name, scores in accuracies(blocks, crystal_system(y), groups, args.splits, args.seed).items():
            table[conditions, name] = {"accuracy": np.mean(scores), "deviation": np.std(scores)}
            print(f"{conditions}, {name}: {np.mean(scores):.3f}", flush=True)
    print(pd.DataFrame(table).T.round(3).to_string())


if __name__ == "__main__":
    main()
