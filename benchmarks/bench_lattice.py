"""Accuracy of the crystal system of unseen minerals, with and without figures of merit of lattices.

Run ``python benchmarks/bench_lattice.py [--crystals N] [--conditions ideal harsh] [--modality powder]
[--options triclinic=False deep=True] [--measured FOLDER] [--triclinic [FILE ...]]``. Trees are trained on
simulated patterns of a part of AMCSD and tested on the rest; compounds and minerals are kept apart. The
features are the profile, the figures of `IndexingScores`, or both.

For ideal patterns, the script also prints the share of crystals for which the volume of the best cell of the
true lattice type is correct. ``--measured`` (a folder as in bench_powders.py) prints the volumes for measured
powders instead. ``--triclinic`` prints instead the share of triclinic cells that are found: of random Niggli
cells, of AMCSD and of further files of structures; from the exact positions of the 20 lowest lines and from
ideal patterns. The volume must be that of the primitive cell, within 1%.
"""

import argparse
import ast
import time
from pathlib import Path

import numpy as np
import pandas as pd
import spglib
import torch
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.impute import SimpleImputer
from sklearn.model_selection import GroupShuffleSplit
from sklearn.pipeline import make_pipeline

from xtalsk import IndexingScores, PowderProfile, RadialProfile, load_amcsd, make_specimens
from xtalsk.crystals import CrystalSet
from xtalsk.crystals._faults import find_faults
from xtalsk.diffraction.indexing import _twin
from xtalsk.diffraction.indexing._functional import lattice_figures
from xtalsk.diffraction.indexing._search import make_lines
from xtalsk.diffraction.indexing._tables import FAMILIES
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
    "aP": "triclinic_p",
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
        if not of_type.any() or f"{column}_log_volume" not in figures:
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
            lattice_figures(
                chunk, *lattice._axis(), n_threads=1, compiled=compiled, options=lattice._options()
            )
        rates[compiled].append(len(profiles) / (time.process_time() - start))
    compiled, batched = (np.median(rates[c][1:]) for c in (True, False))  # the first round compiles
    return f"{compiled:.0f}, batched tensors {batched:.0f}, ratio {compiled / batched:.1f}"


def simulated(crystals, conditions, args):
    """Return the blocks of features of simulated patterns; print the speed of `IndexingScores`."""
    X, y, groups = make_specimens(crystals, args.modality, conditions=conditions, random_state=args.seed)
    profile = PROFILES[args.modality]().set_output(transform="pandas").fit(X[args.modality])
    profiles = profile.transform(X[args.modality])
    lattice = IndexingScores(n_jobs=args.n_jobs, **args.options).set_output(transform="pandas").fit(profiles)
    print(f"{conditions}: patterns/s of one core, compiled {speeds(lattice, profiles.to_numpy())}")
    figures = lattice.transform(profiles)
    both = np.hstack([profiles, figures])
    return {"profile": profiles.to_numpy(), "lattice": figures.to_numpy(), "both": both}, figures, y, groups


def measured(folder, options):
    """Compare the volumes of the cells of measured patterns with those of their structures."""
    rows = []
    lattice = make_pipeline(PowderProfile(), IndexingScores(**options)).set_output(transform="pandas")
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


def random_cells(n, largest, rng):
    """Return n random Niggli cells, (n, 3, 3), of axes from 3.5 to 12 Å and angles from 60° to 120°."""
    cells = []
    while len(cells) < n:
        lengths, cosines = rng.uniform(3.5, 12, 3), np.cos(np.radians(rng.uniform(60, 120, 3)))
        metric = np.eye(3)
        metric[[1, 0, 0], [2, 2, 1]] = metric[[2, 2, 1], [1, 0, 0]] = cosines
        metric *= np.outer(lengths, lengths)
        if np.linalg.det(metric) > 0 and 60 < np.sqrt(np.linalg.det(metric)) < largest:
            cells.append(spglib.niggli_reduce(np.linalg.cholesky(metric)))
    return np.array(cells)


def primitive_cell(crystals, row):
    """Return the primitive cell of a structure; its own one if spglib finds none."""
    atoms = slice(crystals.offsets[row], crystals.offsets[row + 1])
    cell = crystals.lattices[row], crystals.frac_coords[atoms] % 1, crystals.atomic_numbers[atoms]
    found = spglib.find_primitive(cell, symprec=0.01)
    return crystals.lattices[row] if found is None else found[0]


def lattice_lines(cell, last):
    """Return the distinct q of a lattice up to ``last``, in 1/Å."""
    h = np.stack(np.meshgrid(*[np.arange(-14, 15)] * 3), -1).reshape(-1, 3)
    q = np.sort(np.linalg.norm(h[h.any(axis=1)] @ np.linalg.inv(cell).T, axis=1))
    return q[(q < last) & (np.diff(q, prepend=0) > 1e-4)]


def random_patterns(cells, axis, n_bins, rng):
    """Return patterns of cells with intensities of random structures (Wilson), for profiles of a scan."""
    q = axis[0] + axis[1] * np.arange(n_bins)
    profiles = []
    for cell in cells:
        lines = lattice_lines(cell, q[-1])
        heights = rng.exponential(size=len(lines)) * np.exp(-2 * lines**2) / lines**2
        near = np.exp(-0.5 * ((q[:, np.newaxis] - lines) / 0.0011) ** 2)
        profiles.append(np.sqrt(near @ heights + 1e-6))
    return np.array([x / x.max() for x in profiles], dtype=np.float32)


def of_lines(cells, lattice):
    """Return the volume of the triclinic cell from the exact positions of the 20 lowest lines."""
    step = lattice._axis()[1]
    q = torch.tensor(np.array([lattice_lines(cell, 5.0)[:20] for cell in cells]), dtype=torch.float32)
    lines = make_lines(q, torch.ones_like(q), torch.zeros(len(q), 1), step, with_table=False)
    fits = _twin.index_patterns(lines, step, step, 1, lattice._options())[FAMILIES.index("triclinic")]
    return np.exp(fits.figures[:, 0, -1])


def of_patterns(profiles, lattice):
    """Return the volume of the triclinic cell, and whether it has the highest evidence, from patterns."""
    figures = pd.DataFrame(lattice.transform(profiles), columns=lattice.get_feature_names_out())
    is_best = figures.filter(like="_evidence").idxmax(axis=1) == "triclinic_p_evidence"
    return np.exp(figures["triclinic_p_log_volume"].to_numpy(dtype=float)), is_best.to_numpy()


def triclinic(files, largest, options, n=200):
    """Return the share of triclinic cells that are found, by their source."""
    lattice = IndexingScores((0.05, 1.15), **options).fit(np.zeros((1, 1024)))
    rng = np.random.default_rng(0)
    cells = random_cells(n, largest, rng)
    sources = {"random Niggli cells": (cells, random_patterns(cells, lattice._axis(), 1024, rng))}
    for name in ["AMCSD", *files]:
        crystals = load_amcsd() if name == "AMCSD" else CrystalSet.load(name)
        sizes = abs(np.linalg.det(crystals.lattices))
        rows = np.flatnonzero((bravais_lattice(crystals.space_groups) == "aP") & (sizes < largest))
        rows = np.random.RandomState(0).permutation(rows)[:n]
        X, _, _ = make_specimens(
            crystals[rows], "powder", conditions="ideal", random_state=0, on_error="raise"
        )
        cells = np.array([primitive_cell(crystals, row) for row in rows])
        sources[Path(name).name] = (cells, PowderProfile().fit_transform(X["powder"]))
    table = {}
    for name, (cells, profiles) in sources.items():
        true = abs(np.linalg.det(cells))
        volume, is_best = of_patterns(profiles, lattice)
        is_right = abs(volume / true - 1) < 0.01
        table[name] = {
            "n": len(cells),
            "median volume": np.median(true),
            "exact lines": (abs(of_lines(cells, lattice) / true - 1) < 0.01).mean(),
            "ideal patterns": is_right.mean(),
            "and highest evidence": (is_right & is_best).mean(),
        }
    return pd.DataFrame(table).T


def main():
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--crystals", type=int, default=2500)
    parser.add_argument("--conditions", nargs="+", default=["ideal", "harsh"])
    parser.add_argument("--modality", choices=PROFILES, default="powder")
    parser.add_argument("--measured", metavar="FOLDER")
    parser.add_argument("--triclinic", metavar="FILE", nargs="*")
    parser.add_argument("--options", metavar="NAME=VALUE", nargs="*", default=[])
    parser.add_argument("--largest", type=float, default=800, help="largest volume in the table, Å³")
    parser.add_argument("--splits", type=int, default=3)
    parser.add_argument("--n-jobs", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    args.options = {k: ast.literal_eval(v) for k, v in (option.split("=") for option in args.options)}
    torch.set_num_threads(1)
    if args.measured:
        print(measured(args.measured, args.options).round(3).to_string())
        return
    if args.triclinic is not None:
        print(triclinic(args.triclinic, args.largest, args.options).round(3).to_string())
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
