"""Specimens, models and resumable folds of the protocols of `bench_accuracy`."""

import re
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from _peers import ParkNet, TenPeaks
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, clone
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from tqdm import tqdm

from xtalsk import (
    CompositionStatistics,
    ElementFractions,
    ElementPresence,
    FusionClassifier,
    IndexingScores,
    LibraryMatch,
    PowderConditions,
    PowderProfile,
    RadialProfile,
    RankedElements,
    RingConditions,
    compare,
    compound_groups,
    make_baseline,
    make_features,
    make_specimens,
)
from xtalsk.crystals._faults import find_faults
from xtalsk.utils import CellTransformer

SHOWN = ("crystal_system_accuracy", "space_group_accuracy", "space_group_top5", "extinction_group_accuracy")
Q_RANGE = {"rings": (0.05, 1.25), "powder": (0.1, 0.9)}
N_BINS = {"rings": 512, "powder": 1024}
IDEAL = "ideal_"
_CHUNK = 512  # crystals per batch; only the profiles of a batch are kept, not its images


class Reduced(CellTransformer):
    """Features that an earlier run of a stateless transformer computed; a cell holds an array of them.

    Parameters
    ----------
    names : tuple of str
        Names of the features.
    first : int, default=0
        Index of the first feature in a cell.
    on_error : {"raise", "warn"}, default="raise"

    Examples
    --------
    >>> cells = [np.arange(2.0), None]
    >>> Reduced(("q_0000", "q_0001")).fit_transform(cells).tolist()
    [[0.0, 1.0], [nan, nan]]
    """

    def __init__(self, names, *, first=0, on_error="raise"):
        self.names = names
        self.first = first
        self.on_error = on_error

    def _check_cell(self, cell):
        last = self.first + len(self.names)
        if np.ndim(cell) != 1 or len(cell) < last:
            raise ValueError(f"expected {last} features, got an array of shape {np.shape(cell)}")
        return cell[self.first : last]

    def _features(self, cells):
        return np.stack(cells).astype(np.float32)

    def _feature_names(self):
        return list(self.names)


class OnIdeal(ClassifierMixin, MetaEstimatorMixin, BaseEstimator):
    """Model that is fitted on ideal specimens, one of each crystal, and predicts recorded specimens.

    This imitates a search-match program, whose library holds calculated patterns and exact formulas. `fit`
    uses the columns ``ideal_<column>`` in place of ``<column>``.

    Parameters
    ----------
    model : classifier
        Its input is a table of specimens.
    """

    def __init__(self, model):
        self.model = model

    def fit(self, X, y):
        """Fit the model on the ideal columns of specimens."""
        ideal = X[[name for name in X if name.startswith(IDEAL)]]
        ideal = ideal.rename(columns=lambda name: name.removeprefix(IDEAL))
        # specimens of one crystal share the ideal cell
        _, first = np.unique([id(cell) for cell in ideal.iloc[:, 0]], return_index=True)
        first = np.sort(first)
        self.model_ = clone(self.model).fit(ideal.iloc[first], np.asarray(y)[first])
        self.classes_ = self.model_.classes_
        return self

    def predict_proba(self, X):
        """Return the probabilities of the labels of recorded specimens."""
        return self.model_.predict_proba(X)

    def predict(self, X):
        """Return the most probable label of each recorded specimen."""
        return self.model_.predict(X)


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


def ideal_of(conditions):
    """Return ideal conditions with the same camera or axis."""
    ideal = type(conditions).ideal()
    if isinstance(conditions, RingConditions):
        return replace(ideal, image_size=conditions.image_size, q_max=conditions.q_max)
    return replace(ideal, two_theta=conditions.two_theta)


def reduced_specimens(
    crystals, modality, conditions, *, n_replicas=1, random_state=0, n_jobs=None, lattices=False
):
    """Simulate specimens in batches, and return their profiles and formulas.

    Parameters
    ----------
    crystals : CrystalSet
        Crystals without faults.
    modality : {"rings", "powder"}
    conditions : RingConditions or PowderConditions
    n_replicas : int
        Specimens of each crystal.
    random_state : int
    n_jobs : int or None
    lattices : bool
        Whether to append the figures of merit of lattices to each profile.

    Returns
    -------
    features : ndarray of float32, shape (n_crystals * n_replicas, n_bins) or (..., n_bins + n_figures)
    formulas : ndarray of str
        With errors of measurement; empty if no element was detected.
    """
    profile = reducer(modality, n_jobs).fit([None])
    figures = IndexingScores(Q_RANGE[modality], n_jobs=n_jobs).fit(np.full((1, N_BINS[modality]), np.nan))
    features, formulas = [], []
    for start in tqdm(range(0, len(crystals), _CHUNK), desc="specimens", unit="batch"):
        X, _, _ = make_specimens(
            crystals[start : start + _CHUNK],
            (modality, "formula"),
            conditions={modality: conditions},
            n_replicas=n_replicas,
            random_state=random_state + start,
        )
        profiles = profile.transform(X[[modality]])
        features.append(np.hstack([profiles, figures.transform(profiles)]) if lattices else profiles)
        formulas += [formula or "" for formula in X["formula"]]
    return np.concatenate(features), np.array(formulas, dtype=str)


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
        Folder of the specimens and folds. A second run with the same folder continues the first one.
    modality : {"rings", "powder"}
    """

    def __init__(self, folder, modality):
        self.folder, self.modality = Path(folder), modality
        self.folder.mkdir(parents=True, exist_ok=True)

    def specimens(self, crystals, conditions, *, n_replicas, random_state, n_jobs=None):
        """Read or simulate the specimens: X (profiles and formulas), y, groups, crystal of each row."""
        path = self.folder / "specimens.npz"
        if not path.exists():
            features, formulas = reduced_specimens(
                crystals, self.modality, conditions, n_replicas=n_replicas, random_state=random_state,
                n_jobs=n_jobs, lattices=True,
            )  # fmt: skip
            ideal, _ = reduced_specimens(crystals, self.modality, ideal_of(conditions), n_jobs=n_jobs)
            arrays = {"features": features, "formulas": formulas, "ideal": ideal}
            np.savez(path, ids=crystals.ids.astype(str), **arrays)
        with np.load(path) as archive:
            features, formulas, ideal, ids = (archive[k] for k in ("features", "formulas", "ideal", "ids"))
        if ids.tolist() != crystals.ids.tolist():
            raise ValueError(f"{path} holds specimens of other crystals; remove it or give another folder")
        rows = np.repeat(np.arange(len(crystals)), n_replicas)
        columns = {self.modality: list(features), "formula": [formula or None for formula in formulas]}
        ideal_cells = list(ideal)
        columns |= {f"{IDEAL}{self.modality}": [ideal_cells[row] for row in rows]}
        columns |= {f"{IDEAL}formula": list(crystals.formulas[rows])}
        X = pd.DataFrame({name: pd.Series(cells, dtype=object) for name, cells in columns.items()})
        return X, crystals.space_groups[rows].astype(int), compound_groups(crystals)[rows], rows

    def run(self, models, X, y, groups, splits, *, verbose=1):
        """Score models on folds with `compare`. Each result has its own file; finished ones are read from it.

        Parameters
        ----------
        models : dict of str to classifier
        X, y, groups
            As from `specimens`.
        splits : dict of int to (train rows, test rows)

        Returns
        -------
        DataFrame
            As from `compare`.
        """
        tables = []
        for fold, split in splits.items():
            for name, model in models.items():
                path = self.folder / f"{re.sub('[^a-z0-9]+', '_', name.lower())}_fold{fold}.csv"
                if not path.exists():
                    start = time.perf_counter()
                    table = compare(
                        {name: model},
                        X,
                        y,
                        groups=groups,
                        cv=[split],
                        hierarchy="space_group",
                        chemistry_only=True,
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
    first = np.r_[True, rows[1:] != rows[:-1]]
    tested = first if only is None else first & only
    folds = enumerate(cv.split(np.zeros(len(y)), y, rows if random_split else groups))
    splits = {fold: (train, test[tested[test]]) for fold, (train, test) in folds}
    return {fold: split for fold, split in splits.items() if fold < (folds_run or n_folds)}


def feature_blocks(modality, profile, lattice=None):
    """Return the features of each kind of model: fused network, diffraction alone, lattices and so on."""
    profiles, fractions = (modality, profile), ("formula", ElementFractions())
    lattices = {} if lattice is None else {"lattice": (modality, lattice)}
    return {
        "fused": make_features(
            diffraction=profiles,
            **lattices,
            fractions=fractions,
            presence=("formula", ElementPresence()),
            ranked=("formula", RankedElements()),
        ),
        "diffraction": make_features(diffraction=profiles),
        "lattices": make_features(**(lattices or {"diffraction": profiles})),
        "match": make_features(diffraction=profiles, fractions=fractions),
        "statistics": make_features(statistics=("formula", CompositionStatistics())),
    }


def make_peers(modality, profile, *, park_epochs=None, n_trees=300, n_jobs=2):
    """Return the published methods by name; see `_peers`."""
    features = feature_blocks(modality, profile)["diffraction"]
    trees = make_baseline("extra_trees", n_estimators=n_trees, random_state=0, n_jobs=n_jobs)
    # ring images have wider lines than powder patterns
    peaks = TenPeaks(Q_RANGE[modality], width=0.004 if modality == "rings" else 0.0015)
    chosen = {} if park_epochs is None else {"max_epochs": park_epochs}
    return {
        "extra trees on profiles": make_pipeline(features, trees),
        "extra trees on ten peaks (Suzuki)": make_pipeline(features, peaks, trees),
        "convolutional net (Park)": make_pipeline(features, ParkNet(random_state=0, **chosen)),
    }


def make_models(modality, profile, lattice, *, epochs=None, **options):
    """Return all models of the comparison by name.

    Parameters
    ----------
    modality : {"rings", "powder"}
    profile : transformer
        From the column of the modality to profiles.
    lattice : transformer
        From the same column to figures of merit of lattices.
    epochs : int or None
        Epochs of the fused network; None for its default.
    **options
        Options of `make_peers`.

    Returns
    -------
    dict of str to classifier
        Models of specimens. `compare` adds the models on one modality.
    """
    features = feature_blocks(modality, profile, lattice)
    chosen = {} if epochs is None else {"max_epochs": epochs}
    network = FusionClassifier(
        hierarchy="space_group", n_residual=2, weight_averaging=0.998, precision="bfloat16", random_state=0,
        **chosen,
    )  # fmt: skip
    trees = make_baseline("extra_trees", random_state=0, n_jobs=2)
    boosted = make_baseline("hist_gradient_boosting", random_state=0)
    return {
        "fusion": make_pipeline(features["fused"], network),
        "search-match": OnIdeal(make_pipeline(features["match"], LibraryMatch())),
        "boosted matminer": make_pipeline(features["statistics"], boosted),
        "extra trees on lattices": make_pipeline(features["lattices"], trees),
        **make_peers(modality, profile, **options),
    }


def chosen_of(models, only):
    """Return the models whose names begin with one of the words, or all models without words."""
    kept = {k: m for k, m in models.items() if not only or any(k.startswith(word) for word in only)}
    if not kept:
        raise ValueError(f"--only {only} names no model of {list(models)}")
    return kept


def summarise(table, metrics=SHOWN):
    """Return means and standard deviations over the folds as text, sorted by accuracy of space groups."""
    means = table.groupby("model")[list(metrics)].mean().sort_values("space_group_accuracy", ascending=False)
    spread = table.groupby("model")[list(metrics)].std().loc[means.index]
    shown = means.map("{:.3f}".format)
    if spread.notna().all(axis=None):
        shown = shown + " ± " + spread.map("{:.3f}".format)
    return shown.rename(columns=lambda c: c.removesuffix("_accuracy").replace("_", " "))
