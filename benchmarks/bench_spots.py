"""Spot patterns: accuracy of a published pipeline on compounds it has not seen, and measured frames.

``python benchmarks/bench_spots.py spots`` simulates harsh spot patterns (`SpotConditions.harsh`, any
direction of the beam) of the fold of AMCSD that the training left out (``train.py --exclude-fold``). It
prints the accuracy of crystal system, point group and space group, and how often the space group is among the
first five, from 1, 2, 4 and 8 patterns of a crystal, with and without its formula. The formula is measured
with the errors of `FormulaConditions.typical`. The shares of the labels are those of AMCSD entries: about 31%
cubic and 12 to 16% monoclinic.

Peers in the same run: the most frequent labels, the formula alone, and random forests of scikit-learn on the
same features. A forest reads the mean and the largest value of each feature over the patterns. It is trained
on ``--n-forest`` specimens from the same stream as the network.

``--measured FOLDER`` prints the answer, its probability and the rank of the truth for the measured frames
that ``FOLDER/manifest.csv`` lists under ``spots/``, single and, for several frames of one crystal, together.
The frames are for validation: no parameter was tuned on them.
"""

import argparse
import time
import warnings
from dataclasses import replace
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import train
from _models import read_model
from _training import ZONES, held_out
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline

from xtalsk import SpotConditions, load_amcsd, make_specimens, read_image
from xtalsk.crystals import BrokenEntryWarning
from xtalsk.metrics import level_scores
from xtalsk.symmetry import to_level

COUNTS = (1, 2, 4, 8)
SCORES = {
    "crystal_system_accuracy": "crystal system",
    "point_group_accuracy": "point group",
    "space_group_accuracy": "space group",
    "space_group_top5": "first five",
}


def unseen(fold, n, seed):
    """Return ``n`` random crystals of a fold of AMCSD, or all if ``n`` is 0."""
    crystals = load_amcsd()
    rows = np.flatnonzero(held_out(crystals, fold))
    if n and n < len(rows):
        rows = np.sort(np.random.default_rng(seed).choice(rows, n, replace=False))
    return crystals[rows]


def simulate(features, crystals, conditions, seed, batch=64):
    """Simulate patterns of eight zones of each crystal and its formula; return the features and the labels.

    Only the features of a batch of specimens are kept, not its images.
    """
    parts, labels = [], []
    for first in range(0, len(crystals), batch):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", BrokenEntryWarning)
            X, y, _ = make_specimens(
                crystals[first : first + batch],
                ("spots", "formula"),
                conditions={"spots": conditions},
                n_zones=len(ZONES),
                random_state=seed + first,
            )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # images without spots, centres
            parts.append(features.transform(X))
        labels.append(y)
    return pd.concat(parts, ignore_index=True), np.concatenate(labels)


def with_zones(table, n, formula):
    """Return features with the first ``n`` zones only, and with or without those of the formula."""
    table = table.copy()
    zone = table.columns.str.extract(r"_(\d+)__", expand=False).astype(float).to_numpy()
    table.loc[:, zone > n] = np.nan
    if not formula:
        table.loc[:, np.isnan(zone)] = np.nan
    return table


def summary_of_zones(table):
    """Return mean and largest value of each feature over the zones, and the features of the formula."""
    zone = table.columns.str.extract(r"_(\d+)__", expand=False)
    values = table.to_numpy()
    zones = np.stack([values[:, zone == str(k)] for k in range(1, len(ZONES) + 1)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # nothing was measured
        parts = [np.nanmean(zones, axis=0), np.nanmax(zones, axis=0), values[:, zone.isna()]]
    return np.hstack(parts).astype(np.float32)


def forest_sample(modality, fold, n, seed, n_jobs):
    """Return features and labels of ``n`` specimens of the stream of the training, from AMCSD only."""
    crystals, weights, _ = train.load_crystals(None, None, 0, train.system_shares(modality), fold)
    size = min(n, 512)
    options = argparse.Namespace(chunk_size=size, device="cpu", seed=seed)
    stream = train.make_stream(modality, True, crystals, weights, options)
    chunks = joblib.Parallel(n_jobs)(joblib.delayed(_chunk)(stream, k) for k in range(-(-n // size)))
    X, y = zip(*chunks, strict=True)
    return pd.DataFrame(np.concatenate(X), columns=stream.feature_names_), np.concatenate(y)


def _chunk(stream, k):
    """Return a chunk of a stream as arrays."""
    X, y = stream.chunk(k)
    return X.numpy(), y


def fit_forest(X, y, n_trees, seed, n_jobs):
    """Return a random forest on the summary of zones, and the summary's columns that have values."""
    forest = RandomForestClassifier(n_trees, min_samples_leaf=2, random_state=seed, n_jobs=n_jobs)
    imputer = SimpleImputer(strategy="constant", fill_value=-1.0, keep_empty_features=True)
    return make_pipeline(imputer, forest).fit(summary_of_zones(X), y)


def score(name, y, proba, classes):
    """Return a row of the table of scores."""
    scores = level_scores(y, proba, classes, hierarchy="space_group")
    return {"model": name} | {shown: round(scores[key], 3) for key, shown in SCORES.items()}


def compare(model, table, y, forests):
    """Return the scores of the network and of its peers on features of eight zones."""
    rows = []
    prior = pd.Series(y).value_counts(normalize=True)
    classes = np.sort(prior.index.to_numpy())
    rows.append(score("most frequent labels", y, np.tile(prior[classes], (len(y), 1)), classes))
    for formula in (False, True):
        kind = " + formula" if formula else ""
        for n in (*COUNTS, *((0,) if formula else ())):
            X = with_zones(table, n, formula)
            name = f"{n} patterns{kind}" if n else "formula alone"
            rows.append(score(f"network, {name}", y, model.predict_proba(X), model.classes_))
            if formula in forests:
                forest = forests[formula]
                rows.append(
                    score(f"forest, {name}", y, forest.predict_proba(summary_of_zones(X)), forest.classes_)
                )
    return pd.DataFrame(rows)


def read_frames(folder):
    """Return the measured frames of the manifest: name of the specimen, label, frame and image of each."""
    table = pd.read_csv(folder / "manifest.csv")
    table = table[table["file"].str.startswith("spots/")]
    frames = []
    for entry in table.to_dict("records"):
        for path in sorted(folder.glob(entry["file"])):
            pixel_size = entry["pixel_size_inv_angstrom"]
            for frame, image in enumerate(_images(path, float(pixel_size))):
                specimen = Path(entry["file"]).stem.replace("*", "").strip("_")
                frames.append(
                    {"specimen": specimen, "formula": entry["formula"], "truth": int(entry["space_group"]),
                     "how sure": entry["how sure"], "frame": f"{path.stem} {frame}", "cell": image}
                )  # fmt: skip
    return pd.DataFrame(frames)


def _images(path, pixel_size):
    """Yield the images of a file: one, or those of a stack or of a scan."""
    from hyperspy.api import load

    if path.suffix != ".hspy":
        yield read_image(path, pixel_size)
        return
    shape = load(path, lazy=True).data.shape[:-2]
    for place in np.ndindex(shape):
        yield read_image(path, pixel_size, frame=place if len(place) > 1 else place[0])


def judge(pipeline, frames):
    """Return the answer for each measured frame, and for all frames of a specimen together."""
    cases = [(row["frame"], [row["cell"]], row) for row in frames.to_dict("records")]
    for name, group in frames.groupby("specimen", sort=False):
        if len(group) > 1:
            cells = list(group["cell"])[: len(ZONES)]
            cases.append((f"{name}: {len(cells)} together", cells, dict(group.iloc[0])))
    classes, rows = pipeline[-1].classes_, []
    for name, cells, row in cases:
        X = pd.DataFrame({column: [cell] for column, cell in zip(ZONES, cells, strict=False)}, dtype=object)
        for formula in (None, row["formula"]):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)
                proba = pipeline.predict_proba(X.assign(formula=formula))[0]
            rows.append({"case": name, "how sure": row["how sure"]} | _answer(proba, classes, row, formula))
    return pd.DataFrame(rows)


def _answer(proba, classes, row, formula):
    """Return the columns of the table of measured frames for one answer."""
    if np.isnan(proba).all():
        return {"formula": formula or "", "truth": row["truth"], "answer": "none: no spots"}
    order = np.argsort(-proba, kind="stable")
    systems = to_level(classes, "crystal_system")
    totals = pd.Series(proba).groupby(systems).sum().sort_values(ascending=False)
    truth = to_level(np.array([row["truth"]]), "crystal_system")[0]
    rank = np.flatnonzero(classes[order] == row["truth"])
    return {
        "formula": formula or "",
        "truth": row["truth"],
        "answer": int(classes[order[0]]),
        "p": round(float(proba[order[0]]), 2),
        "rank": int(rank[0]) + 1 if len(rank) else -1,
        "system": truth,
        "answer's system": totals.index[0],
        "p system": round(float(totals.iloc[0]), 2),
        "rank system": list(totals.index).index(truth) + 1,
    }


def parse_options():
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, help="spots, or a file of train.py")
    parser.add_argument("--fold", type=int, default=0, help="fold of AMCSD that the training left out")
    parser.add_argument("--n-crystals", type=int, default=0, help="random crystals of the fold; 0 for all")
    parser.add_argument("--image-size", type=int, default=256)
    parser.add_argument("--n-forest", type=int, default=10_240, help="specimens for the forests; 0 for none")
    parser.add_argument("--n-trees", type=int, default=300)
    parser.add_argument("--measured", type=Path, metavar="FOLDER")
    parser.add_argument("--n-jobs", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main():
    options = parse_options()
    pipeline = read_model(options.model)
    pd.set_option("display.width", 200, "display.max_rows", 200, "display.max_columns", 20)
    if options.measured is not None:
        print(judge(pipeline, read_frames(options.measured)).to_string(index=False))
    crystals = unseen(options.fold, options.n_crystals, options.seed)
    conditions = replace(SpotConditions.harsh(), image_size=options.image_size)
    start = time.process_time()
    table, y = simulate(pipeline[:-1], crystals, conditions, options.seed)
    seconds = time.process_time() - start
    print(f"{len(y)} unseen crystals, {8 * len(y)} patterns of {options.image_size}² in {seconds:.0f} s of "
          "processor time, simulated and reduced")  # fmt: skip
    forests = {}
    if options.n_forest:
        X, labels = forest_sample("spots", options.fold, options.n_forest, options.seed, options.n_jobs)
        for formula in (False, True):
            forests[formula] = fit_forest(
                with_zones(X, len(ZONES), formula), labels, options.n_trees, options.seed, options.n_jobs
            )
    print(compare(pipeline[-1], table, y, forests).to_string(index=False))


if __name__ == "__main__":
    main()
