"""Probabilities of phases and labels: the constants of `LibraryMatch`.

Crystals of different compounds are drawn from AMCSD. Each is simulated once, with harsh conditions (powders)
or as laboratories record it (rings), and compared with two libraries of AMCSD: one has the compound, the
other has no entry of it. A phase is right if it has the space group and the compound of the crystal; a label
is right if it is the space group. The constants give the smallest logarithmic loss, with fixed signs: a
higher similarity, a larger gap to other structures and a smaller misfit of the chemistry never make a phase
less probable.
"""

from itertools import product

import numpy as np
import pandas as pd
from _training import POWDER_GRID
from scipy.optimize import minimize
from scipy.special import log_expit, logsumexp
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
    simulate_formulas,
)
from xtalsk.library._constants import PHASE_LOGITS, PHASE_SHARPNESS, STRUCTURE_LOGITS
from xtalsk.library._probability import is_first, match_features
from xtalsk.metrics import top_k_accuracy
from xtalsk.simulation import FormulaConditions

CONDITIONS = {"powder": ("harsh", "typical"), "rings": ("measured", "microscope")}
"""Conditions of the profile, and of the composition in the fit."""

COMPOSITIONS = {
    "exact": FormulaConditions(relative_error=0.0, absolute_error=0.0, detection_limit=0.0),
    "typical": FormulaConditions.typical(),
    "microscope": FormulaConditions.microscope(),
}
PROFILES = {"powder": PowderProfile(**POWDER_GRID), "rings": RadialProfile(on_error="warn")}
KINDS = {"powder": ("powder", {}), "scaled_rings": ("rings", {}), "rings": ("rings", {"line_widths": None})}
"""Modality of the profiles and parameters of `LibraryMatch` of each kind."""

SIGNS = [(None, None), (0, None), (0, None), (None, 0)]  # intercept, similarity, gap, penalty


class Simulation:
    """Simulated measurements of different compounds, and libraries with and without them.

    Parameters
    ----------
    modality : {"powder", "rings"}
    crystals : CrystalSet
    n : int
        Number of compounds.
    seed : int
    """

    def __init__(self, modality, crystals, n, seed):
        features = make_features(
            diffraction=(modality, PROFILES[modality]),
            fractions=("formula", ElementFractions()),
            presence=("formula", ElementPresence()),
        )
        self.library = X, y, entries = make_library(crystals, features, random_state=0)
        position = pd.Series(np.arange(len(crystals)), index=crystals.ids)[entries["id"]].to_numpy()
        self.groups, rng = compound_groups(crystals)[position], np.random.default_rng(seed)
        compounds = rng.permutation(np.unique(self.groups))[:n]
        rows = np.array([rng.choice(np.flatnonzero(self.groups == compound)) for compound in compounds])
        chosen = crystals[position[rows]]
        conditions = {modality: CONDITIONS[modality][0]}
        specimens, *_ = make_specimens(chosen, modality, conditions=conditions, random_state=seed)
        self.measured = {}
        for kind, of_formula in {"none": None, **COMPOSITIONS}.items():
            cells = [None] * len(rows)
            if of_formula:
                cells = simulate_formulas(chosen, np.arange(len(rows)), of_formula, random_state=seed)
            table = specimens.assign(formula=pd.Series(cells, dtype=object))
            if kind != "none":
                table[modality] = None
            self.measured[kind] = features.transform(table)[X.columns]
        is_profile = X.columns.str.startswith("diffraction__")
        profiles = self.measured["none"].loc[:, is_profile]
        for kind in COMPOSITIONS:
            self.measured[kind].loc[:, is_profile] = profiles
        readable = profiles.notna().any(axis=1).to_numpy()
        self.measured = {kind: table[readable].to_numpy(np.float32) for kind, table in self.measured.items()}
        self.group, self.label = self.groups[rows][readable], y[rows][readable]
        self.is_even = np.arange(readable.sum()) // 2 % 2 == 0

    def matches(self, compositions, **params):
        """Yield `LibraryMatch`, rows, whether their compound is in the library, and the groups of entries.

        Only rows that have this composition are used.
        """
        (X, y, entries), rows = self.library, np.arange(len(self.group))
        has = np.ones(len(rows), dtype=bool)
        if compositions != "none":
            has = ~np.isnan(
                self.measured[compositions][:, len(X.filter(like="diffraction__").columns) :]
            ).all(1)
        for half in (0, 1):
            is_outside = rows % 2 == half
            keep = ~np.isin(self.groups, self.group[is_outside])
            match = LibraryMatch(all_missing="missing", **params).fit(X[keep], y[keep], entries[keep])
            yield match, rows[has], is_outside[has], self.groups[keep]


def collect(simulation, compositions, **params):
    """Return arrays of the best entries and of the similar structures of each measurement, by name."""
    parts = []
    for match, rows, is_outside, groups in simulation.matches(compositions, **params):
        X = simulation.measured[compositions][rows]
        matches = match._match(X)
        others = matches if compositions == "none" else match._similar_structures(X)
        labels, phases = match._labels[matches.entries], match._prepared().phases[matches.entries]
        fits = np.isfinite(matches.scores).any(axis=1)
        right = groups[matches.entries] == simulation.group[rows, None]
        right &= match.classes_[labels] == simulation.label[rows, None]
        best = match._labels[others.entries]
        part = {
            "features": match_features(matches, labels, match.sharpness),
            "scores": np.where(is_first(phases), matches.scores, -np.inf),
            "right": right,
            "of_structure": match_features(others, best, match.sharpness),
            "label_right": match.classes_[best[:, 0]] == simulation.label[rows],
            "is_outside": is_outside,
            "is_even": simulation.is_even[rows],
        }
        parts.append({name: values[fits] for name, values in part.items()})
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def fit_phases(table, has_chemistry):
    """Return the logit that the phase is in the library, and the factor on the scores of phases."""
    X = np.column_stack([np.ones(len(table["features"])), table["features"]])
    scores, right = table["scores"], table["right"] & np.isfinite(table["scores"])
    known = right.any(axis=1)

    def loss(c):
        z = c[4] * (scores - scores.max(axis=1, keepdims=True))
        share = logsumexp(np.where(right, z, -1e9), axis=1) - logsumexp(z, axis=1)
        logit = X @ c[:4]
        return -np.where(known, log_expit(logit) + share, log_expit(-logit)).mean()

    bounds = [*SIGNS[:3], SIGNS[3] if has_chemistry else (0, 0), (0.1, 10)]
    fits = [
        minimize(loss, [-5, 5, 5, -5.0 * has_chemistry, factor], bounds=bounds, method="L-BFGS-B")
        for factor in (0.7, 3.0)
    ]
    best = min(fits, key=lambda fit: fit.fun).x
    return tuple(best[:4].round(2).tolist()), round(best[4], 2)


def fit_structures(table, has_chemistry):
    """Return the logit that the label of the best structure is right if the phase is not in the library."""
    rows = table["is_outside"]
    X = np.column_stack([np.ones(rows.sum()), table["of_structure"][rows]])
    right = table["label_right"][rows]
    bounds = [*SIGNS[:3], SIGNS[3] if has_chemistry else (0, 0)]
    fit = minimize(
        lambda c: -np.where(right, log_expit(X @ c), log_expit(-X @ c)).mean(),
        [-5, 5, 5, -1.0 * has_chemistry],
        bounds=bounds,
        method="L-BFGS-B",
    )
    return tuple(fit.x.round(2).tolist())


def set_constants(kind, table, has_chemistry):
    """Fit the constants of a kind of profiles, and put them in the tables of `LibraryMatch`."""
    logit, factor = fit_phases(table, has_chemistry)
    PHASE_LOGITS[kind][has_chemistry], PHASE_SHARPNESS[kind][has_chemistry] = logit, factor
    STRUCTURE_LOGITS[kind][has_chemistry] = fit_structures(table, has_chemistry)


def figures(probability, right):
    """Return how good probabilities are."""
    bins = np.clip((probability * 10).astype(int), 0, 9)
    gap = np.abs(np.bincount(bins, right - probability, minlength=10)).sum() / len(right)
    return {
        "log loss": log_loss(right, probability, labels=[False, True]),
        "constant": log_loss(right, np.full(len(right), right.mean())),
        "ROC AUC": roc_auc_score(right, probability),
        "calibration error": gap,
    }


def judge(simulation, compositions, chosen=None, **params):
    """Return accuracies and figures of the probabilities of the chosen measurements."""
    parts = []
    for match, rows, is_outside, groups in simulation.matches(compositions, **params):
        kept = np.ones(len(rows), dtype=bool) if chosen is None else chosen[rows]
        rows, is_outside = rows[kept], is_outside[kept]
        X = simulation.measured[compositions][rows]
        proba, _, by_label = match._search(X)
        best = match._match(X)
        entry, label = best.entries[:, 0], simulation.label[rows]
        right = (groups[entry] == simulation.group[rows]) & (match.classes_[match._labels[entry]] == label)
        parts.append(
            pd.DataFrame(
                {
                    "outside": is_outside,
                    "phase": match._probability(X, best)[:, 0],
                    "phase right": right,
                    "label": by_label.max(axis=1),
                    "label right": match.classes_[by_label.argmax(axis=1)] == label,
                    "in five": [
                        top_k_accuracy([truth], row[None], match.classes_, k=5)
                        if np.isfinite(row).all()
                        else 0
                        for truth, row in zip(label, proba, strict=True)
                    ],
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def describe(table):
    """Return the figures of `judge` as rows: of phases and of labels."""
    rows = {}
    for target in ("phase", "label"):
        right, inside = table[f"{target} right"].to_numpy(), ~table["outside"]
        rows[target] = {
            "n": len(table),
            "right inside": right[inside].mean(),
            "outside": right[~inside].mean(),
        }
        rows[target] |= figures(table[target].to_numpy(), right)
    for part, of_part in (("right inside", ~table["outside"]), ("outside", table["outside"])):
        rows["label"][f"{part}, in five"] = table.loc[of_part, "in five"].mean()
    return rows


def main(kinds=tuple(KINDS), n=1000, seed=3):
    """Print the constants of `LibraryMatch`, and how good they are on rows that were not used in the fit."""
    crystals, simulations, rows = load_amcsd(), {}, {}
    for kind in kinds:
        modality, params = KINDS[kind]
        if modality not in simulations:
            simulations[modality] = Simulation(modality, crystals, n, seed)
        simulation = simulations[modality]
        for has_chemistry, compositions in ((False, "none"), (True, CONDITIONS[modality][1])):
            table = collect(simulation, compositions, **params)
            half = {name: values[table["is_even"]] for name, values in table.items()}
            set_constants(kind, half, has_chemistry)
            for target, row in describe(
                judge(simulation, compositions, ~simulation.is_even, **params)
            ).items():
                rows[kind, target, compositions] = row
            set_constants(kind, table, has_chemistry)
            print(kind, compositions, PHASE_LOGITS[kind][has_chemistry], end=" ")
            print(PHASE_SHARPNESS[kind][has_chemistry], STRUCTURE_LOGITS[kind][has_chemistry], flush=True)
    print(pd.DataFrame(rows).T.to_string(float_format="{:.3f}".format))


def structures(modalities=tuple(PROFILES), n=500, seed=11):
    """Print the accuracy in and out of the library, with and without similar structures of other elements."""
    rows = {}
    for modality in modalities:
        simulation = Simulation(modality, load_amcsd(), n, seed)
        for compositions, isostructural in product(simulation.measured, (False, True)):
            table = describe(judge(simulation, compositions, isostructural=isostructural))
            rows[modality, compositions, isostructural] = table["label"]
    print(pd.DataFrame(rows).T.to_string(float_format="{:.3f}".format))
