"""Specimens and resumable folds of the protocols of `bench_accuracy`."""

import re
import time
from dataclasses import replace
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.model_selection import StratifiedGroupKFold
from tqdm import tqdm

from xtalsk import (
    ElementFractions,
    PowderConditions,
    PowderProfile,
    RadialProfile,
    RingConditions,
    compare,
    compound_groups,
    make_features,
    make_specimens,
)
from xtalsk.crystals._faults import find_faults

SHOWN = ("crystal_system_accuracy", "space_group_accuracy", "space_group_top5", "extinction_group_accuracy")
Q_RANGE = {"rings": (0.05, 1.25), "powder": (0.1, 0.9)}
N_BINS = {"rings": 512, "powder": 1024}
_CHUNK = 512  # crystals per batch; only the features of a batch are kept, not its images


def choose(crystals, n, seed=0):
    """Return ``n`` random crystals in their original order, or all if ``n`` is None."""
    if n is None or n >= len(crystals):
        return crystals
    return crystals[np.sort(np.random.RandomState(seed).choice(len(crystals), n, replace=False))]


def reducer(modality, n_jobs=None):
    """Return the transformer from images or scans to profiles."""
    if modality == "powder":
        return PowderProfile(N_BINS[modality], Q_RANGE[modality], n_jobs=n_jobs)
    return RadialProfile(N_BINS[modality], Q_RANGE[modality], n_jobs=n_jobs)


def harsh_conditions(modality, size=256, electrons=1e5):
    """Return the harsh conditions of a modality; ``size`` in pixels and ``electrons`` apply to images."""
    if modality == "powder":
        return PowderConditions.harsh()
    return replace(RingConditions.harsh(), image_size=size, electrons=electrons)


def write_replica(path, crystals, features, conditions, first_seed):
    """Simulate one specimen of each crystal in batches, and write the features to a file.

    Parameters
    ----------
    path : Path
        File of an array of float32, shape (n_crystals, n_features).
    crystals : CrystalSet
        Crystals without faults.
    features : ColumnTransformer
    conditions : dict
        Conditions by column, see `make_specimens`.
    first_seed : int
        The seed of a batch is this number plus the number of its first crystal.
    """
    batches = []
    for start in tqdm(range(0, len(crystals), _CHUNK), desc=path.stem, unit="batch"):
        X, _, _ = make_specimens(
            crystals[start : start + _CHUNK],
            tuple(conditions),
            conditions=conditions,
            random_state=first_seed + start,
        )
        batches.append(features.fit_transform(X).to_numpy(np.float32))
    part = path.with_suffix(".part.npy")
    np.save(part, np.concatenate(batches))
    part.replace(path)


def without_faults(crystals):
    """Return the crystals without those that have impossible structures; print the number of these."""
    faults = find_faults(crystals)
    if faults:
        print(f"{len(faults)} crystals with impossible structures are left out")
    return crystals[np.setdiff1d(np.arange(len(crystals)), list(faults))]


class Job:
    """Specimens and finished folds of one protocol, stored in a folder.

    Parameters
    ----------
    folder : Path
        Folder of the specimens. A second run with the same folder continues the first one.
    """

    def __init__(self, folder):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)

    def specimens(self, crystals, features, conditions, *, n_replicas, n_jobs=None):
        """Read or simulate specimens of each crystal.

        Parameters
        ----------
        crystals : CrystalSet
        features : ColumnTransformer
        conditions : dict
        n_replicas : int
            Specimens of each crystal; each replica has its own file.
        n_jobs : int or None
            Replicas that are simulated at once.

        Returns
        -------
        X : DataFrame of float32, shape (n_replicas * n_crystals, n_features)
            First one specimen of each crystal, then the next replica. The index is the number of the crystal.
        y : ndarray of int
            Space groups.
        groups : ndarray of int
            Compounds.
        """
        ids, path = crystals.ids.astype(str), self.folder / "ids.npy"
        if not path.exists():
            np.save(path, ids)
        if np.load(path).tolist() != ids.tolist():
            raise ValueError(
                f"{self.folder} holds specimens of other crystals; remove it or give another folder"
            )
        paths = [self.folder / f"replica_{k:02}.npy" for k in range(n_replicas)]
        joblib.Parallel(n_jobs)(
            joblib.delayed(write_replica)(path, crystals, features, conditions, k * len(crystals))
            for k, path in enumerate(paths)
            if not path.exists()
        )
        empty = pd.DataFrame({name: pd.Series([None], dtype=object) for name in conditions})
        names = clone(features).fit(empty).get_feature_names_out()
        rows = np.tile(np.arange(len(crystals)), n_replicas)
        table = np.concatenate([np.load(path, mmap_mode="r") for path in paths])
        X = pd.DataFrame(table, columns=names, index=rows, copy=False)
        return X, crystals.space_groups[rows].astype(int), compound_groups(crystals)[rows]

    def run(self, models, X, y, groups, splits, *, results="results", verbose=1):
        """Score models on folds with `compare`. Each result has its own file; finished ones are read from it.

        Parameters
        ----------
        models : dict of str to classifier
        X, y, groups
            As from `specimens`.
        splits : dict of int to (train rows, test rows)
        results : str
            Folder of the results, inside that of the specimens.

        Returns
        -------
        DataFrame
            As from `compare`.
        """
        tables = []
        (self.folder / results).mkdir(exist_ok=True)
        for fold, split in splits.items():
            for name, model in models.items():
                file = f"{re.sub('[^a-z0-9]+', '_', name.lower()).strip('_')}_fold{fold}.csv"
                path = self.folder / results / file
                if not path.exists():
                    start = time.perf_counter()
                    table = compare(
                        {name: model}, X, y, groups=groups, cv=[split], hierarchy="space_group"
                    ).assign(fold=fold)
                    table.to_csv(path, index=False, float_format="%.5f")
                    if verbose:
                        scores = ", ".join(
                            f"{key.removesuffix('_accuracy')} {table[key][0]:.3f}" for key in SHOWN
                        )
                        print(
                            f"fold {fold}, {name}: {scores} ({time.perf_counter() - start:.0f} s)", flush=True
                        )
                tables.append(pd.read_csv(path))
        return pd.concat(tables).drop_duplicates(["model", "fold"]).reset_index(drop=True)


def make_splits(y, groups, rows, *, n_folds=5, folds_run=None, random_split=False, only=None, seed=0):
    """Return the folds: the rows for training, and the rows for the test, one for each crystal.

    Parameters
    ----------
    y, groups, rows : ndarray of shape (n_specimens,)
        Labels, compounds and crystals of the specimens.
    n_folds : int
    folds_run : int or None
        Number of folds to keep, from the first.
    random_split : bool
        Whether a compound may be in both parts, as in most publications. A crystal never is.
    only : ndarray of bool or None
        Specimens for the test; None for all.
    seed : int

    Returns
    -------
    dict of int to (ndarray, ndarray)
    """
    cv = StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed)
    first = np.zeros(len(y), dtype=bool)
    first[np.unique(rows, return_index=True)[1]] = True
    tested = first if only is None else first & only
    folds = enumerate(cv.split(np.zeros(len(y)), y, rows if random_split else groups))
    splits = {fold: (train, test[tested[test]]) for fold, (train, test) in folds}
    return {fold: split for fold, split in splits.items() if fold < (folds_run or n_folds)}


def feature_blocks(modality, profile):
    """Return the features of search-match, and those of the published methods."""
    return {
        "match": make_features(diffraction=(modality, profile), fractions=("formula", ElementFractions())),
        "diffraction": make_features(diffraction=(modality, profile)),
    }


def summarise(table, metrics=SHOWN):
    """Return means and standard deviations over the folds as text, sorted by accuracy of space groups."""
    means = table.groupby("model")[list(metrics)].mean().sort_values("space_group_accuracy", ascending=False)
    spread = table.groupby("model")[list(metrics)].std().loc[means.index]
    shown = means.map("{:.3f}".format)
    if spread.notna().all(axis=None):
        shown = shown + " ± " + spread.map("{:.3f}".format)
    return shown.rename(columns=lambda c: c.removesuffix("_accuracy").replace("_", " "))
