"""Accuracy on measured powder patterns of minerals of models trained on simulated patterns of AMCSD.

Run ``python benchmarks/bench_measured.py FILE`` with an ``.npz`` file of measured patterns: ``intensity`` of
shape (n, n_points), ``two_theta`` (start, step, count in degrees), ``space_group`` (n,); Cu Kα. The measured
patterns are used for this test only. The training set holds the minerals, as the library of search-match
does. So the benchmark measures the step from simulated to measured patterns.
"""

import argparse

import numpy as np
import pandas as pd
from sklearn.pipeline import make_pipeline

from xtalsk import (
    FusionClassifier,
    PowderProfile,
    Profile,
    load_amcsd,
    make_baseline,
    make_features,
    make_specimens,
)
from xtalsk.metrics import level_scores


def measured_specimens(path):
    """Read measured patterns as a table of specimens, and their space groups."""
    with np.load(path) as archive:
        start, step, count = archive["two_theta"]
        axis = start + step * np.arange(int(count))
        cells = [Profile(i, two_theta=axis, wavelength=1.5406) for i in archive["intensity"].astype(float)]
        return pd.DataFrame({"powder": pd.Series(cells, dtype=object)}), archive["space_group"].astype(int)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file")
    parser.add_argument("--conditions", nargs="+", default=["ideal", "typical", "harsh"])
    parser.add_argument("--n-replicas", type=int, default=1, help="training patterns of each structure")
    options = parser.parse_args()
    X_measured, y_measured = measured_specimens(options.file)
    features = make_features(diffraction=("powder", PowderProfile(n_bins=1024, q_range=(0.1, 0.9))))
    models = {
        "network": FusionClassifier(hierarchy="space_group", augment=0.5, random_state=0),
        "extra trees": make_baseline("extra_trees", random_state=0, n_jobs=-1),
        "prior": make_baseline("prior"),
    }
    rows = {}
    for conditions in options.conditions:
        X, y, _ = make_specimens(
            load_amcsd(), "powder", conditions=conditions, n_replicas=options.n_replicas, random_state=0,
            verbose=1,
        )  # fmt: skip
        for name, model in models.items():
            fitted = make_pipeline(features, model).fit(X, y)
            rows[conditions, name] = level_scores(
                y_measured, fitted.predict_proba(X_measured), fitted.classes_, hierarchy="space_group"
            )
            print(conditions, name, rows[conditions, name], flush=True)
    columns = ["crystal_system_accuracy", "space_group_accuracy", "space_group_top5"]
    print(f"{len(X_measured)} measured patterns; trained on {options.n_replicas} for each AMCSD structure")
    print(pd.DataFrame(rows).T[columns].round(3).to_string())


if __name__ == "__main__":
    main()
