"""Protocol C of `bench_accuracy`: computed structures whose compounds are in no training."""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
from _protocol_models import q_range_of
from _protocols import SHOWN, Job, make_splits, without_faults
from _training import make_blocks
from bench_compounds import DIFFRACTION, only
from sklearn.frozen import FrozenEstimator
from tqdm import tqdm
from train import MODEL

from xtalsk import (
    CrystalSet,
    FusionClassifier,
    PowderConditions,
    PrototypeBlend,
    PrototypeMatch,
    RingConditions,
    make_baseline,
    mcnemar_test,
    substitute_elements,
)
from xtalsk.metrics import level_scores

EPOCHS = 6  # fixed beforehand
CHEMISTRY_EPOCHS = 20  # of a network on chemistry alone, chosen of 8 and 20 on the next fold
CHEMISTRY = ("fractions", "statistics")  # blocks of the trees on chemistry
FEW_TREES = 5  # trees in memory: each has a number for each label at each node, 0.6 GB for 170,000 rows
KINDS = {"": None, " (diffraction only)": "diffraction", " (chemistry only)": "chemistry"}


def conditions_of(options):
    """Return the conditions of the specimens by column."""
    kind = RingConditions if options.modality == "rings" else PowderConditions
    pattern = getattr(kind, options.conditions)()
    if options.modality == "rings":
        pattern = replace(pattern, image_size=options.size)
    return {options.modality: pattern, "formula": options.chemistry}


@dataclass
class Fold:
    """Models of one fold and their answers; each answer is stored, and read by a later run.

    Parameters
    ----------
    folder : Path
        Folder of the protocol; specimens and answers of the fold have folders in it.
    number : int
        Number of the fold.
    table, y : DataFrame and ndarray
        Features and space groups of all specimens; the index is the number of the crystal.
    train, test : ndarray of int
        Rows of these.
    crystals : CrystalSet
        Those of the specimens.
    features : ColumnTransformer
    options : Namespace
    """

    folder: Path
    number: int
    table: pd.DataFrame
    y: np.ndarray
    train: np.ndarray
    test: np.ndarray
    crystals: CrystalSet
    features: object
    options: object

    def __post_init__(self):
        self.stored = self.folder / f"fold{self.number}"
        self.stored.mkdir(parents=True, exist_ok=True)
        self.own = self.table.iloc[self.train], self.y[self.train]
        self.seen, self.truth = self.table.iloc[self.test], self.y[self.test]
        self.sources = self.crystals[np.unique(self.table.index[self.train])]

    def answers(self):
        """Return the probabilities of all models with their classes, by name."""
        makers = {f"network{name}": (self._network, kind) for name, kind in KINDS.items()}
        makers["network on chemistry alone"] = self._chemistry, None
        makers["fusion"] = self._fusion, None
        makers["extra trees on all blocks"] = self._trees, "all"
        makers["extra trees on chemistry"] = self._trees, "chemistry"
        makers["extra trees on chemistry, with substituted"] = self._trees, "substituted"
        makers["prior"] = self._prior, None
        return {name: self._stored(name, *maker) for name, maker in makers.items()}

    def _stored(self, name, make, kind):
        path = self.stored / f"{name.replace(' ', '_')}.npz"
        if not path.exists():
            proba, classes = make(kind) if kind else make()
            np.savez_compressed(path, proba=proba.astype(np.float32), classes=classes)
            scores = level_scores(self.truth, proba, classes, hierarchy="space_group")
            print(
                f"fold {self.number}, {name}:", *(f"{scores[metric]:.3f}" for metric in SHOWN[:3]), flush=True
            )
        with np.load(path) as stored:
            return stored["proba"], stored["classes"]

    @cached_property
    def with_substituted(self):
        """Features and space groups of the training crystals, and of `substitute_elements` of them."""
        tables, labels = [self.own[0]], [self.own[1]]
        for seed in range(self.options.n_replicas):
            others = substitute_elements(self.sources, random_state=seed)
            job = Job(self.folder / f"substituted_fold{self.number}_{seed}")
            X, y, _ = job.specimens(others, self.features, conditions_of(self.options), n_replicas=1)
            tables.append(X)
            labels.append(y)
        return pd.concat(tables, ignore_index=True), np.concatenate(labels)

    @cached_property
    def trained(self):
        """The network."""
        path = self.stored / "network.joblib"
        if not path.exists():
            network = FusionClassifier(**MODEL, max_epochs=self.options.epochs or EPOCHS, verbose=1)
            joblib.dump(network.fit(*self.with_substituted), path)
        return joblib.load(path)

    def _network(self, kind=None):
        rows = only(self.seen, kind) if kind else self.seen
        return self.trained.predict_proba(rows), self.trained.classes_

    def _chemistry(self):
        X, y = self.own
        X = X.loc[:, ~X.columns.str.startswith(DIFFRACTION)]
        measured = X.notna().any(axis=1).to_numpy()
        epochs = self.options.epochs or CHEMISTRY_EPOCHS
        network = FusionClassifier(**MODEL | {"weight_averaging": 0.99}, max_epochs=epochs, verbose=1)
        network.fit(X[measured], y[measured])
        return network.predict_proba(self.seen[X.columns]), network.classes_

    def _fusion(self):
        match = PrototypeMatch(
            self.sources,
            modality=self.options.modality,
            q_range=q_range_of(self.features),
            all_missing="missing",
        )
        blend = PrototypeBlend(FrozenEstimator(self.trained), match, all_missing="missing").fit(*self.own)
        return blend.predict_proba(self.seen), blend.classes_

    def _trees(self, kind):
        X, y = self.with_substituted if kind == "substituted" else self.own
        if kind == "all":  # of few replicas: time and memory grow faster than those of the network
            n_rows = self.options.peer_replicas * len(self.sources)
            X, y = X.iloc[:n_rows], y[:n_rows]
        else:
            X = X[[name for name in X.columns if name.split("__")[0] in CHEMISTRY]]
        n = self.options.n_trees
        sizes = [min(FEW_TREES, n - first) for first in range(0, n, FEW_TREES)]
        proba = 0.0
        for seed, size in enumerate(tqdm(sizes, desc=f"trees, {kind}")):
            trees = make_baseline(
                "extra_trees", n_estimators=size, random_state=seed, n_jobs=self.options.n_jobs
            )
            proba = proba + size / n * trees.fit(X, y).predict_proba(self.seen[X.columns])
        return proba, trees.classes_

    def _prior(self):
        prior = make_baseline("prior").fit(*self.own)
        return prior.predict_proba(self.seen), prior.classes_


def cross_validate(options, folder, crystals, tested):
    """Return the scores of every fold, and for each model which rows of the test it has right.

    Parameters
    ----------
    options : Namespace
    folder : Path
        Specimens and answers are stored here, and read by a later run.
    crystals : CrystalSet
    tested : ndarray of str
        Ids of the crystals for the test.
    """
    crystals = without_faults(crystals)
    features = make_blocks(options.modality, True, statistics=True)
    sizes = {"n_replicas": options.n_replicas, "n_jobs": options.n_jobs}
    table, y, groups = Job(folder).specimens(crystals, features, conditions_of(options), **sizes)
    splits = make_splits(
        y,
        groups,
        table.index,
        n_folds=options.n_folds,
        folds_run=options.folds_run,
        only=np.isin(crystals.ids.astype(str), tested)[table.index],
    )
    print(f"{len(table)} specimens, {len(set(y))} space groups, {len(set(groups))} compounds")

    scores, right = [], {}
    for fold, (train, test) in splits.items():
        answers = Fold(folder, fold, table, y, train, test, crystals, features, options).answers()
        for name, (proba, classes) in answers.items():
            scores.append(
                {"model": name, "fold": fold} | level_scores(y[test], proba, classes, hierarchy="space_group")
            )
            right.setdefault(name, []).append(classes[proba.argmax(axis=1)] == y[test])
    return pd.DataFrame(scores), {name: np.concatenate(parts) for name, parts in right.items()}


def print_mcnemar(right, model="fusion"):
    """Print McNemar's test of the space groups of one model and of each other model."""
    for name, it in right.items():
        if name != model:
            test = mcnemar_test(None, right[model], it)
            print(
                f"{model} and {name}: only the first is right for {test.only_a} of {len(it)}, "
                f"only the second for {test.only_b}, p = {test.pvalue:.2g}"
            )


def run(options, computed, minerals, folder):
    """Print McNemar's tests and return the scores of all folds; ``computed`` are for the test."""
    crystals = CrystalSet.concatenate([minerals, computed])
    table, right = cross_validate(options, folder, crystals, computed.ids.astype(str))
    print_mcnemar(right)
    return table
