"""Peers of `PrototypeMatch` that are trained on simulated patterns: the network and trees on all blocks."""

import numpy as np
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline

from xtalsk import (
    ElementFractions,
    ElementPresence,
    FormulaConditions,
    FusionClassifier,
    IndexingScores,
    PowderProfile,
    RadialProfile,
    RankedElements,
    make_features,
    make_specimens,
)

PROFILES = {"powder": PowderProfile(), "rings": RadialProfile()}
FORMULA = FormulaConditions(relative_error=(0.0, 0.1), absolute_error=0.0, detection_limit=0.0, invisible=())


def two_blocks(modality):
    """Return the features that `PrototypeMatch` reads: profile and atomic fractions."""
    return make_features(
        diffraction=(modality, PROFILES[modality]), chemistry=("formula", ElementFractions())
    )


def all_blocks(modality, n_jobs=None):
    """Return the features of the network: profile, lattices and three blocks of chemistry."""
    profile = PROFILES[modality]
    return make_features(
        diffraction=(modality, profile),
        lattice=(modality, make_pipeline(profile, IndexingScores(n_jobs=n_jobs))),
        chemistry=("formula", ElementFractions()),
        presence=("formula", ElementPresence()),
        ranked=("formula", RankedElements()),
    )


def training_set(crystals, features, modality, conditions, n, random_state=0):
    """Return features and labels of ``n`` random crystals, with compositions of up to 10% error."""
    rows = np.random.default_rng(random_state).permutation(len(crystals))[:n]
    specimens, y, _ = make_specimens(
        crystals[rows],
        (modality, "formula"),
        conditions={modality: conditions, "formula": FORMULA},
        random_state=random_state,
    )
    return features.fit_transform(specimens), y


def make_network(max_epochs):
    """Return an untrained network."""
    return FusionClassifier(
        "space_group",
        max_epochs=max_epochs,
        early_stopping=False,
        modality_dropout=0.1,
        n_residual=2,
        label_smoothing=0.05,
        learning_rate=3e-3,
        weight_averaging=0.98,
        random_state=0,
    )


def make_trees():
    """Return untrained extra trees on all blocks."""
    trees = ExtraTreesClassifier(150, min_samples_leaf=2, max_features=0.1, random_state=0)
    return make_pipeline(SimpleImputer(strategy="constant", fill_value=-1.0, keep_empty_features=True), trees)
