"""Calibrated probabilities and conformal sets of a published pipeline: subcommands of bench_trust.py.

``errors MODEL MODALITY NEW --measured FOLDER`` prints calibration errors before and after, ``coverage`` the
coverage and size of conformal sets, ``answers`` how often `predict_at` answers at which level and is right,
and ``calibrate MODEL MODALITY NEW OUT`` writes the calibrated pipeline.
MODEL is a file, or a name of `load_pretrained`. NEW is a file of `CrystalSet.save` with crystals that were
not in the training, or ``fold0`` for the fold of AMCSD that the training left out. FOLDER has ``xrd`` and
``electron``.

The calibration set is simulated: compounds of AMCSD, which are in the training and in the library of the
pipeline, and as many new ones that are in neither. Each crystal gives three specimens: diffraction alone,
diffraction with a formula, and a formula alone. No measured pattern calibrates.

Half of the compounds calibrate, the other half validates, and so do measured patterns. "Perfect" is the error
that perfectly calibrated probabilities show with as few specimens: its mean and its 95th percentile.
"""

import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
from _measured import checked, minerals, powders
from _training import held_out
from bench_electrons import on_grid, read_images
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import roc_auc_score

from xtalsk import (
    CrystalSet,
    compound_groups,
    load,
    load_amcsd,
    load_pretrained,
    make_specimens,
    save,
)
from xtalsk.calibration import ConformalSets, SymmetryCalibration, calibrate_pipeline, predict_at
from xtalsk.calibration._specimens import answers, block_modalities, split_pipeline
from xtalsk.metrics import expected_calibration_error, level_probabilities
from xtalsk.symmetry import crystal_system, to_level

LEVELS = ("crystal_system", "point_group", "space_group")
CONDITIONS = {
    "powder": {"powder": "harsh", "formula": "typical"},
    "rings": {"rings": "measured", "formula": "microscope"},
    "spots": {"spots": "harsh", "formula": "microscope"},
}
ZONES = 8
N_BINS = (15, 5)
SYSTEMS = tuple(dict.fromkeys(crystal_system(np.arange(1, 231)).tolist()))


@dataclass
class Answers:
    """Probabilities of specimens, their labels, groups of modalities, and compounds.

    Parameters
    ----------
    proba : ndarray of shape (n, n_classes)
    y : ndarray of int, shape (n,)
    modalities : ndarray of str, shape (n,)
    compounds : ndarray of int, shape (n,)
    is_new : ndarray of bool, shape (n,)
        Whether the compound is in neither the training nor the library.
    no_match : ndarray of float, shape (n,)
        Probability that no entry of the library was measured; NaN without a library or a profile.
    """

    proba: np.ndarray
    y: np.ndarray
    modalities: np.ndarray
    compounds: np.ndarray
    is_new: np.ndarray
    no_match: np.ndarray

    def of(self, rows):
        """Return some of the specimens."""
        return Answers(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))

    def table(self):
        """Return features in which `Remembered` finds the row: one column for each modality."""
        present = [group.split(" + ") for group in self.modalities]
        names = dict.fromkeys(name for group in present for name in group)
        rows = np.arange(len(present), dtype=float)
        return pd.DataFrame(
            {f"{name}__row": np.where([name in group for group in present], rows, np.nan) for name in names}
        )


class Remembered(ClassifierMixin, BaseEstimator):
    """A classifier that knows its answers: the features are the number of the row."""

    def __init__(self, proba=None, classes=None):
        self.proba, self.classes_ = proba, classes

    def fit(self, X, y):
        return self

    def __sklearn_is_fitted__(self):
        return True

    def predict_proba(self, X):
        return self.proba[np.nanmax(X.to_numpy(), axis=1).astype(int)]


def joined(parts):
    """Return several `Answers` as one."""
    fields = Answers.__dataclass_fields__
    return Answers(*(np.concatenate([getattr(part, name) for part in parts]) for name in fields))


def answered(pipeline, X, y, compounds=None, is_new=None):
    """Return the `Answers` of a pipeline; specimens without answer or with a label it lacks are left out."""
    steps, classifier = split_pipeline(pipeline)
    no_match = np.full(len(y), np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # rows without a ring or a line
        features = steps.transform(X)
        proba, modalities = answers(classifier, features, block_modalities(steps))
        if hasattr(classifier, "no_match_probability"):
            no_match = classifier.no_match_probability(features)
    kept = np.isfinite(proba).all(axis=1) & np.isin(y, pipeline.classes_)
    if not kept.all():
        print(f"{(~kept).sum()} of {len(kept)} specimens left out: no answer, or a label the pipeline lacks")
    compounds = np.arange(len(y)) if compounds is None else compounds
    is_new = np.zeros(len(y), dtype=bool) if is_new is None else is_new
    return Answers(proba, np.asarray(y), modalities, compounds, is_new, no_match).of(kept)


def measured_sets(modality, folder):
    """Return the measured specimens of a modality and their space groups, by name."""
    folder, sets = Path(folder), {}
    if modality == "powder":
        sets["301 minerals"] = minerals(folder / "xrd")[:2]
        sets["69 minerals, formula"] = checked(folder / "xrd")[:2]
        sets["16 powders, formula"] = powders(folder / "xrd")[:2]
        for name in ("69 minerals", "16 powders"):
            X, y = sets[f"{name}, formula"]
            sets[name] = X.drop(columns="formula"), y
    elif modality == "rings":
        table = read_images(folder / "electron")
        X, y = table[["cell"]].set_axis(["rings"], axis=1), table["space_group"].to_numpy()
        formulas = {"": None, ", formula": list(table["formula"])}
        formulas[", formula with film and grid"] = [on_grid(formula) for formula in table["formula"]]
        for name, column in formulas.items():
            sets[f"12 images{name}"] = X.assign(formula=pd.Series(column, index=X.index, dtype=object)), y
    return sets


def compounds_of(crystals, n, rng):
    """Return one crystal of each of ``n`` compounds."""
    order = rng.permutation(len(crystals))
    _, first = np.unique(compound_groups(crystals)[order], return_index=True)
    return crystals[np.sort(rng.permutation(order[first])[:n])]


def new_crystals(path):
    """Return the crystals of a file, or those of a held-out fold of AMCSD (``fold0``), and the known ones."""
    known = load_amcsd()
    if str(path).startswith("fold"):
        is_new = held_out(known, int(str(path)[4:]))
        return known[np.flatnonzero(is_new)], known[np.flatnonzero(~is_new)]
    new = CrystalSet.load(path)
    groups = compound_groups(CrystalSet.concatenate([known, new]))
    return new[np.flatnonzero(~np.isin(groups[len(known) :], groups[: len(known)]))], known


def simulate(modality, new, n, seed=0, batch=64):
    """Simulate ``n`` new and ``n`` known compounds, each with diffraction, a formula, and both.

    Returns
    -------
    X : DataFrame
        Specimens.
    y, compounds : ndarray of int
    is_new : ndarray of bool
    """
    parts, rng = [], np.random.default_rng(seed)
    for is_new, crystals in zip((True, False), new_crystals(new), strict=True):
        crystals = compounds_of(crystals, n, rng)
        for first in range(0, len(crystals), batch):
            X, y, compounds = make_specimens(
                crystals[first : first + batch],
                (modality, "formula"),
                conditions=CONDITIONS[modality],
                n_zones=ZONES if modality == "spots" else 1,
                random_state=seed + first,
            )
            diffraction = [name for name in X.columns if name != "formula"]
            for row, zones in enumerate(rng.choice([1, 2, 4, 8], len(X))):
                X.loc[row, diffraction[zones:]] = None
            for absent in (["formula"], [], diffraction):
                part = X.assign(**{name: pd.Series([None] * len(X), dtype=object) for name in absent})
                parts.append((part, y, compounds + first + is_new * 10**6, np.full(len(y), is_new)))
    X, *rest = zip(*parts, strict=True)
    return pd.concat(X, ignore_index=True), *(np.concatenate(part) for part in rest)


def perfect_error(confidence, n_bins, rng, n_draws=1000):
    """Return the calibration errors of draws in which each answer is right as often as it says."""
    bins = np.clip(np.ceil(confidence * n_bins) - 1, 0, n_bins - 1).astype(int)
    right = rng.random((n_draws, len(confidence))) < confidence
    gaps = np.stack([np.bincount(bins, row - confidence, n_bins) for row in right])
    return np.abs(gaps).sum(axis=1) / len(confidence)


def level_row(y, proba, classes, level, rng):
    """Return accuracy, confidence and calibration errors of one level."""
    summed, labels = level_probabilities(proba, classes, level)
    truth, confidence = to_level(y, level), summed.max(axis=1)
    row = {
        "n": len(y),
        "accuracy": np.mean(labels[summed.argmax(axis=1)] == truth),
        "confidence": confidence.mean(),
    }
    for n_bins in N_BINS:
        error = [expected_calibration_error(truth, summed, labels, n_bins=n_bins)]
        for _ in range(500 if n_bins == N_BINS[0] else 0):
            drawn = rng.integers(0, len(y), len(y))
            error.append(expected_calibration_error(truth[drawn], summed[drawn], labels, n_bins=n_bins))
        row[f"ECE {n_bins} bins"] = error[0]
        if len(error) > 1:
            row["5% to 95%"] = "{:.3f}-{:.3f}".format(*np.quantile(error[1:], [0.05, 0.95]))
        perfect = perfect_error(confidence, n_bins, rng)
        row[f"perfect {n_bins}"] = f"{perfect.mean():.3f} (<{np.quantile(perfect, 0.95):.3f})"
    return row


def fit_calibration(specimens, classes, **params):
    """Return a `SymmetryCalibration` that was fitted on answers."""
    model = FrozenEstimator(Remembered(specimens.proba, classes))
    return SymmetryCalibration(model, **params).fit(specimens.table(), specimens.y)


def apply_calibration(model, specimens):
    """Return the calibrated probabilities of other answers."""
    model.estimator_ = FrozenEstimator(Remembered(specimens.proba, model.classes_))
    return model.predict_proba(specimens.table())


KINDS = {
    "one temperature": {"levels": ("space_group",), "by_confidence": False},
    "one of each level": {"by_confidence": False},
    "by confidence": {},
}
"""Kinds of calibration that are compared: parameters of `SymmetryCalibration`."""


def half_of(specimens, seed=0):
    """Return which specimens are of a random half of the compounds."""
    compounds = np.unique(specimens.compounds)
    chosen = np.random.default_rng(seed).permutation(compounds)[: len(compounds) // 2]
    return np.isin(specimens.compounds, chosen)


def test_sets(simulated, is_test, measured):
    """Return the specimens that validate, by name: the simulated ones of each group, and measured ones."""
    sets = {}
    for group in dict.fromkeys(simulated.modalities):
        for name, chosen in (("all", True), ("new", simulated.is_new), ("known", ~simulated.is_new)):
            sets[f"{group}, {name}"] = simulated.of(is_test & (simulated.modalities == group) & chosen)
    return sets | measured


def compare_errors(classes, simulated, measured):
    """Print the calibration errors of simulated and measured specimens, before and after.

    Parameters
    ----------
    classes : ndarray of shape (n_classes,)
    simulated : Answers
    measured : dict of {str: Answers}
    """
    first = half_of(simulated)
    sets, train = test_sets(simulated, ~first, measured), simulated.of(first)
    rows, rng = {}, np.random.default_rng(0)
    calibrations = {kind: fit_calibration(train, classes, **params) for kind, params in KINDS.items()}
    for name, part in sets.items():
        kinds = {"none": part.proba}
        kinds |= {kind: apply_calibration(model, part) for kind, model in calibrations.items()}
        for level in LEVELS:
            for kind, proba in kinds.items():
                rows[name, level, kind] = level_row(part.y, proba, classes, level, rng)
    print(pd.DataFrame(rows).T.to_string(float_format="{:.3f}".format))
    for group, levels in calibrations["by confidence"].temperatures_.items():
        print(group, {level: tuple(round(t, 2) for t in pair) for level, pair in levels.items()})


def coverage_row(model, specimens):
    """Return coverage and size of the sets of specimens."""
    model.estimator_ = FrozenEstimator(Remembered(specimens.proba, model.estimator_.classes_))
    sets, truth = model.predict_set(specimens.table()), to_level(specimens.y, model.level)
    inside = sets[np.arange(len(truth)), np.searchsorted(model.labels_, truth)]
    size, systems = sets.sum(axis=1), crystal_system(specimens.y)
    row = {"n": len(truth), "coverage": inside.mean(), "size": size.mean(), "median": np.median(size)}
    return row | {system[:4]: inside[systems == system].mean() for system in SYSTEMS if system in systems}


def compare_coverage(classes, simulated, measured, confidence=0.9):
    """Print coverage and size of conformal sets, by modality and crystal system.

    Sets are calibrated with new and known compounds, and with new ones only.
    """
    first, rows = half_of(simulated), {}
    temperatures = fit_calibration(simulated.of(first), classes)
    sets = {"train": simulated.of(first), **test_sets(simulated, ~first, measured)}
    sets = {name: replace(part, proba=apply_calibration(temperatures, part)) for name, part in sets.items()}
    train = sets.pop("train")
    for level in LEVELS:
        for kind, balanced, chosen in (
            ("not balanced", False, train),
            ("balanced", True, train),
            ("balanced, new only", True, train.of(train.is_new)),
        ):
            estimator = FrozenEstimator(Remembered(chosen.proba, classes))
            model = ConformalSets(estimator, level=level, confidence=confidence, balanced=balanced)
            model.fit(chosen.table(), chosen.y)
            for name, part in sets.items():
                rows[level, kind, name] = coverage_row(model, part)
    print(pd.DataFrame(rows).T.to_string(float_format="{:.3f}".format))


def compare_answers(classes, simulated, measured, confidence=0.9):
    """Print how often `predict_at` answers, at which levels, and how many answers are right.

    Then follows how well the probability that nothing of the library was measured tells new compounds.
    """
    first, rows = half_of(simulated), {}
    model = fit_calibration(simulated.of(first), classes)
    for name, part in test_sets(simulated, ~first, measured).items():
        model.estimator_ = FrozenEstimator(Remembered(part.proba, classes))
        table = predict_at(model, part.table(), confidence)
        given = table["level"].notna().to_numpy()
        right = [
            level is not None and to_level(int(y), level) == label
            for y, level, label in zip(part.y, table["level"], table["label"], strict=True)
        ]
        is_leaf, right = (table["level"] == "space_group").to_numpy(), pd.Series(right, dtype=float)
        rows[name] = {
            "n": len(given),
            "answered": given.mean(),
            "right": right[given].mean(),
            "probability": table["probability"][given].mean(),
            "space group": is_leaf.mean(),
            "right space group": right[is_leaf].mean(),
        }
    print(pd.DataFrame(rows).T.to_string(float_format="{:.3f}".format))
    for group in np.unique(simulated.modalities):
        part = simulated.of((simulated.modalities == group) & np.isfinite(simulated.no_match))
        if len(part.y):
            two = np.stack([1 - part.no_match, part.no_match], axis=1)
            error = expected_calibration_error(part.is_new, two, [False, True], n_bins=N_BINS[1])
            area = roc_auc_score(part.is_new, part.no_match)
            print(f"none of the library, {group}: ROC AUC {area:.3f}, calibration error {error:.3f}")


def read_pipeline(model):
    """Return the pipeline of a file, or the one that comes with xtalsk under this name."""
    if str(model).endswith(".joblib"):
        return joblib.load(model)
    return load(model) if Path(model).exists() else load_pretrained(model)


def write_calibrated(pipeline, X, y, out):
    """Calibrate a pipeline with all specimens, and write it."""
    kept = np.isin(y, pipeline.classes_)
    calibrated = calibrate_pipeline(pipeline, X[kept], y[kept])
    if str(out).endswith(".joblib"):
        joblib.dump(calibrated, out, compress=3)
    else:
        save(calibrated, out)
    print(f"{out}: {calibrated[-1].n_specimens_}")


def run(options):
    """Run one of the subcommands."""
    pipeline = read_pipeline(options.model)
    X, y, compounds, is_new = simulate(options.modality, options.new, options.n, options.seed)
    simulated = answered(pipeline, X, y, compounds, is_new)
    measured = measured_sets(options.modality, options.measured) if options.measured else {}
    measured = {name: answered(pipeline, *specimens) for name, specimens in measured.items()}
    if options.command in ("answers", "coverage"):
        compare = compare_answers if options.command == "answers" else compare_coverage
        return compare(pipeline.classes_, simulated, measured, options.confidence)
    compare_errors(pipeline.classes_, simulated, measured)
    if options.command == "calibrate":
        write_calibrated(pipeline, X, y, options.out)


def add_commands(subparsers):
    """Add the subcommands to those of bench_trust.py."""
    for command in ("errors", "coverage", "answers", "calibrate"):
        parser = subparsers.add_parser(command, help=f"see _trust.py: {command}")
        parser.add_argument("model")
        parser.add_argument("modality", choices=list(CONDITIONS))
        parser.add_argument("new")
        if command == "calibrate":
            parser.add_argument("out")
        parser.add_argument("--measured", help="folder of measured specimens")
        parser.add_argument("--n", type=int, default=800, help="new compounds, and known ones")
        parser.add_argument("--confidence", type=float, default=0.9)
        parser.add_argument("--seed", type=int, default=0)
        parser.set_defaults(run=run)
