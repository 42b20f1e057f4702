"""Effect of each training-time function of the network on unseen compounds.

``python benchmarks/bench_ablation.py`` trains on typical powder patterns and on formulas with errors of
measurement, of a part of AMCSD. It tests on compounds that are in no training part, under typical and under
harsh conditions. The step from typical to harsh imitates the step from simulation to measurement. Each
setting changes one function.
"""

import argparse

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold
from tqdm import tqdm

from xtalsk import (
    ElementFractions,
    FusionClassifier,
    PowderProfile,
    RankedElements,
    load_amcsd,
    make_features,
    make_specimens,
)
from xtalsk.metrics import level_scores

PLAIN = {"noise": 0.05, "background": 0.3, "stretch": 0.05, "jitter": 0.3}
SETTINGS = {
    "as it is": {},
    "no disturbance": {"augment": None},
    **{f"without {name}": {"augment": {**PLAIN, name: 0.0}} for name in PLAIN},
    "counting noise (shot_noise 0.3)": {"augment": {**PLAIN, "shot_noise": 0.3}},
    "foreign phase (impurity 0.2)": {"augment": {**PLAIN, "impurity": 0.2}},
    "broaden 2": {"augment": {**PLAIN, "broaden": 2.0}},
    "peak dropout 0.1": {"augment": {**PLAIN, "peak_dropout": 0.1}},
    "masks 0.3": {"augment": {**PLAIN, "masks": 0.3}},
    "shift 1": {"augment": {**PLAIN, "shift": 1.0}},
    "mixup 0.2": {"mixup": 0.2},
    "sampling 0.5": {"sampling": 0.5},
    "weight averaging 0.98": {"weight_averaging": 0.98},
    "no label smoothing": {"label_smoothing": 0.0},
    "space group only": {"hierarchy_weights": {"space_group": 1.0}},
    "no channel dropout": {"modality_dropout": 0.0},
    "channel dropout 0.5 to 0": {"modality_dropout": (0.5, 0.0)},
    "five scales in prediction": {"n_test_time_scales": 5},
    "two residual blocks": {"n_residual": 2},
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=1500, help="number of crystals")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--folds-run", type=int, default=2, help="number of folds to run, of three")
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--save", metavar="CSV")
    options = parser.parse_args()
    crystals = load_amcsd()
    crystals = crystals[np.sort(np.random.default_rng(0).choice(len(crystals), options.n, replace=False))]
    features = make_features(
        diffraction=("powder", PowderProfile(n_bins=512, q_range=(0.06, 0.92))),
        fractions=("formula", ElementFractions()),
        ranked=("formula", RankedElements()),
    )
    tables = {}
    for conditions in ("typical", "harsh"):
        X, y, groups = make_specimens(
            crystals, ("powder", "formula"), conditions=conditions, random_state=0, verbose=1
        )
        tables[conditions] = features.fit_transform(X)
    folds = list(StratifiedGroupKFold(3, shuffle=True, random_state=0).split(X, y, groups))
    rows = []
    for name, params in tqdm(SETTINGS.items(), desc="settings"):
        for fold, (train, test) in enumerate(folds[: options.folds_run]):
            model = FusionClassifier(
                "space_group", max_epochs=options.epochs, precision=options.precision, random_state=0
            ).set_params(**params)
            model.fit(tables["typical"].iloc[train], y[train])
            for conditions, table in tables.items():
                for seen, part in (("both", table), ("diffraction", hide_chemistry(table))):
                    scores = level_scores(
                        y[test], model.predict_proba(part.iloc[test]), model.classes_, hierarchy="space_group"
                    )
                    rows.append(
                        {"setting": name, "fold": fold, "conditions": conditions, "seen": seen} | scores
                    )
    scores = pd.DataFrame(rows)
    if options.save:
        scores.to_csv(options.save, index=False, float_format="%.5f")
    columns = scores[["setting", "conditions", "seen", "crystal_system_accuracy", "space_group_accuracy"]]
    means = columns.pivot_table(index="setting", columns=["conditions", "seen"], sort=False)
    print((100 * means).round(1).to_string())


def hide_chemistry(table):
    """Return the features of the same specimens without their formulas."""
    hidden = table.copy()
    hidden.loc[:, ~hidden.columns.str.startswith("diffraction")] = np.nan
    return hidden


if __name__ == "__main__":
    main()
