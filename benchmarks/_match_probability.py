"""Probabilities that search-match is right: the constants of `LibraryMatch`.

Crystals of different compounds are drawn from AMCSD. Each is simulated once, with harsh conditions (powders)
or as laboratories record it (rings), and compared with two libraries of AMCSD: one has the compound, the
other has no entry of it. An entry is right if it has the space group and the compound of the crystal; its
label is right if it has the space group. The constants give the smallest logarithmic loss, with fixed signs:
a higher similarity, a larger gap to other structures and a smaller misfit of the chemistry never make an
entry less probable.
"""

from itertools import product

import numpy as np
import pandas as pd
from _training import POWDER_GRID
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.metrics import log_loss, roc_auc_score

from xtalsk import (
    ElementFractions,
    ElementPresence,
    LibraryMatch,
    PowderProfile,
    RadialProfile,
    compound_groups,
    load_amcsd,
    make_features,
    make_library,
    make_specimens,
)
from xtalsk.library._probability import match_features

CONDITIONS = {"powder": ("harsh", "typical"), "rings": ("measured", "microscope")}
"""Conditions of the profile and of the formula."""

PROFILES = {"powder": PowderProfile(**POWDER_GRID), "rings": RadialProfile(on_error="warn")}
N_RANKS = 5  # entries of each row in the fit; the best one has half of the weight of the row
SIGNS = [(None, None), (0, None), (0, None), (None, 0)]  # intercept, similarity, gap, penalty


def make_tables(modality, crystals):
    """Return the library of all crystals and the features that made it."""
    features = make_features(
        diffraction=(modality, PROFILES[modality]),
        fractions=("formula", ElementFractions()),
        presence=("formula", ElementPresence()),
    )
    return make_library(crystals, features, random_state=0), features


def measure(modality, crystals, n, seed):
    """Return a table with a row for each of the best entries of each measurement."""
    (X, y, entries), features = make_tables(modality, crystals)
    position = pd.Series(np.arange(len(crystals)), index=crystals.ids)[entries["id"]].to_numpy()
    groups = compound_groups(crystals)[position]
    rng = np.random.default_rng(seed)
    compounds = rng.permutation(np.unique(groups))[:n]
    rows = np.array([rng.choice(np.flatnonzero(groups == compound)) for compound in compounds])
    specimens, *_ = make_specimens(
        crystals[position[rows]],
        (modality, "formula"),
        conditions=dict(zip((modality, "formula"), CONDITIONS[modality], strict=True)),
        random_state=seed,
    )
    measured = features.transform(specimens)
    tables = []
    for half in (0, 1):
        is_outside = np.arange(len(rows)) % 2 == half
        keep = ~np.isin(groups, groups[rows[is_outside]])
        match = LibraryMatch(all_missing="missing").fit(X[keep], y[keep], entries[keep])
        truth = pd.DataFrame({"group": groups[rows], "label": y[rows], "outside": is_outside})
        for chemistry in (False, True):
            part = measured.copy()
            if not chemistry:
                part.loc[:, ~part.columns.str.startswith("diffraction__")] = np.nan
            tables.append(compare(match, part, truth, groups[keep]).assign(chemistry=chemistry))
    return pd.concat(tables, ignore_index=True)


def compare(match, measured, truth, groups):
    """Return the features of the best entries of each measurement, and whether they are right."""
    profile = measured.filter(like="diffraction__").notna().any(axis=1).to_numpy()
    X = measured[profile].to_numpy(np.float32)
    matches = match._match(X)
    labels = match._labels[matches.entries]
    features = match_features(matches, labels, match.sharpness)[:, :N_RANKS]
    truth = truth[profile]
    right = groups[matches.entries] == truth["group"].to_numpy()[:, None]
    label_right = match.classes_[labels] == truth["label"].to_numpy()[:, None]
    right &= label_right
    row, rank = np.nonzero(np.isfinite(matches.scores[:, :N_RANKS]))
    table = pd.DataFrame(features[row, rank], columns=["similarity", "gap", "penalty"])
    table["row"], table["rank"] = np.flatnonzero(profile)[row], rank
    table["right"], table["outside"] = right[row, rank], truth["outside"].to_numpy()[row]
    table["label_right"] = label_right[row, rank]
    return table


def fit_logit(table):
    """Return intercept and slopes of the logistic function with the smallest loss."""
    X = np.column_stack([np.ones(len(table)), table[["similarity", "gap", "penalty"]]])
    target = table["right"].to_numpy(float)
    weight = np.where(table["rank"] == 0, 0.5, 0.5 / (N_RANKS - 1))
    weight /= weight.sum()

    def loss(c):
        z = X @ c
        return weight @ (np.logaddexp(0, z) - target * z), X.T @ (weight * (expit(z) - target))

    signs = [*SIGNS[:3], SIGNS[3] if table["chemistry"].any() else (0, 0)]
    return minimize(loss, np.zeros(4), jac=True, bounds=signs, method="L-BFGS-B").x


def probability(table, logit):
    return expit(logit[0] + table[["similarity", "gap", "penalty"]].to_numpy() @ np.array(logit[1:]))


def describe(table, logit):
    """Return figures of the best entries of rows that were not used in the fit."""
    best = table[table["rank"] == 0]
    p, right = probability(best, logit), best["right"].to_numpy()
    bins = np.clip((p * 10).astype(int), 0, 9)
    gap = np.abs(np.bincount(bins, right - p, minlength=10)).sum() / len(p)
    return {
        "n": len(best),
        "inside right": right[~best["outside"]].mean(),
        "log loss": log_loss(right, p),
        "constant": log_loss(right, np.full(len(right), right.mean())),
        "ROC AUC": roc_auc_score(right, p),
        "calibration error": gap,
        "outside: nothing fits": (p < 0.5)[best["outside"]].mean(),
        "right: nothing fits": (p < 0.5)[right].mean(),
    }


def main(modalities=tuple(PROFILES), n=1200, seed=3):
    """Print the constants `MATCH_LOGITS` and `LABEL_LOGITS` of search-match, and how good they are."""
    rows = {}
    for modality in modalities:
        table = measure(modality, load_amcsd(), n, seed)
        best = table[table["rank"] == 0]
        targets = {"phase": table, "label": best.assign(right=best["label_right"])}
        for (target, entries), chemistry in product(targets.items(), (False, True)):
            part = entries[entries["chemistry"] == chemistry]
            even = part["row"] // 2 % 2 == 0
            rows[modality, target, chemistry] = describe(part[~even], fit_logit(part[even]))
            rows[modality, target, chemistry]["constants"] = fit_logit(part).round(2).tolist()
    print(pd.DataFrame(rows).T.to_string(float_format="{:.3f}".format))
    for key, figures in rows.items():
        print(*key, figures["constants"])
