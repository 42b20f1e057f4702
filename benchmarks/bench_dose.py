"""What dose, speed and sampling cost.

- ``python benchmarks/bench_dose.py electrons`` answers how many electrons fusion saves, and below which dose
  chemistry carries the answer.
- ``... split`` divides a fixed dose between the pattern and the X-ray spectrum.
- ``... pixels``, ``... positions``: how far pixels and positions of a scan can be thinned.
- ``... scan`` widens the step of powder scans and shortens them.
- ``... training``: networks trained at one dose and used at another, and a network trained across doses.

Each prints a sentence with its numbers and draws one figure, RESULTS/dose_COMMAND.png, with its table
dose_COMMAND.csv beside it.

By default a published pipeline is scored: known compounds (it was trained on all of AMCSD, and its library
holds them), new patterns. ``training``, and ``--new`` elsewhere, train small networks here without the
compounds of one grouped fold of AMCSD, and score crystals of this fold: new compounds.
"""

import argparse
import time
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from _models import read_model
from _training import held_out
from scipy.interpolate import RegularGridInterpolator
from scipy.stats import loguniform
from sklearn.pipeline import make_pipeline

from xtalsk import (
    DoseCurveDisplay,
    ElementFractions,
    ElementPresence,
    FormulaConditions,
    FusionClassifier,
    PowderConditions,
    RadialProfile,
    RankedElements,
    RingConditions,
    acquisition_curve,
    dose_curve,
    load_amcsd,
    make_features,
    make_specimens,
)
from xtalsk.model_selection import dose_to_reach, paired_differences
from xtalsk.model_selection._constants import ELECTRONS_PER_COUNT

ELECTRONS = [10, 30, 100, 300, 1e3, 1e4, 1e6]
ELECTRONS_PER_SCATTERED = 3.0  # beam electrons for one in the pattern: a third is scattered
METRIC = "space_group_accuracy"


def camera(electrons=1e5):
    """Return conditions of ring images of 128 x 128 pixels and of compositions on film and grid."""
    rings = replace(RingConditions.typical(), image_size=128, electrons=electrons)
    return {"rings": rings, "formula": replace(FormulaConditions.microscope(), counts=1e4)}


def chosen_crystals(options):
    """Return the crystals to score: of all of AMCSD, or of fold 0."""
    crystals = load_amcsd()
    rows = np.flatnonzero(held_out(crystals, 0)) if options.new else np.arange(len(crystals))
    return crystals[np.sort(np.random.RandomState(0).choice(rows, options.n, replace=False))]


def train(electrons, options):
    """Return a network on rings and compositions, trained without the compounds of fold 0."""
    crystals = load_amcsd()
    rows = np.flatnonzero(~held_out(crystals, 0))
    rows = np.random.RandomState(1).choice(rows, options.n_train, replace=False)
    features = make_features(
        diffraction=("rings", RadialProfile(n_bins=256, on_error="warn")),
        fractions=("formula", ElementFractions(on_error="warn")),
        presence=("formula", ElementPresence(on_error="warn")),
        ranked=("formula", RankedElements(on_error="warn")),
    )
    network = FusionClassifier(
        hierarchy="space_group", max_epochs=options.epochs, modality_dropout=0.2, random_state=0
    )
    X, y, groups = make_specimens(
        crystals[np.sort(rows)], ("rings", "formula"), conditions=camera(electrons), random_state=1
    )
    return make_pipeline(features, network).fit(X, y, fusionclassifier__groups=groups)


def the_models(options):
    """Return the models to score: the published pipeline, or a network trained without the compounds."""
    return {"fused": train(loguniform(10, 1e6), options) if options.new else read_model(options.model)}


def kind(options):
    return "new compounds" if options.new else "known compounds, new patterns"


def curve(options, models, **arguments):
    return dose_curve(
        models, chosen_crystals(options), conditions=camera(), random_state=0, n_replicas=1, **arguments
    )


def mean_of(table, model, x):
    """Return the mean of the folds by level."""
    return table[table["model"] == model].groupby(x)[METRIC].mean()


def electrons(options):
    """Compare diffraction, chemistry and both at several doses."""
    table = curve(options, the_models(options), electrons=ELECTRONS)
    diffraction, chemistry = "fused (diffraction only)", "fused (chemistry only)"
    best = mean_of(table, diffraction, "electrons").max()
    for level in np.unique(np.round(best * np.array([0.5, 0.75, 0.9]), 2)):
        fused, alone = (dose_to_reach(table, m, level, METRIC, x="electrons") for m in ("fused", diffraction))
        print(f"accuracy {level:.2f}: {fused:.0f} electrons fused, {alone:.0f} with diffraction only")
    floor = mean_of(table, chemistry, "electrons").iloc[0]
    crossing = dose_to_reach(table, diffraction, floor, METRIC, x="electrons")
    print(paired_differences(table, "fused", diffraction, METRIC, x="electrons").round(3).to_string())
    print(
        f"Below {crossing:.0f} electrons chemistry carries the answer (alone {floor:.2f} right), "
        f"{kind(options)}."
    )
    return table, {"x": "electrons"}


def split(options):
    """Divide a fixed dose of the beam between the pattern and the spectrum; below 1 count there is none."""
    grid = curve(
        options, the_models(options), electrons=[10, 100, 1e3, 1e4, 1e6], counts=[1, 10, 100, 1e3, 1e4]
    )
    fused = grid[grid["model"] == "fused"].pivot_table(METRIC, "electrons", "counts")
    alone = mean_of(grid, "fused (diffraction only)", "electrons")
    axes = np.log(fused.index), np.log(fused.columns)
    accuracy = RegularGridInterpolator(axes, fused.to_numpy())
    rows = []
    for dose in (1e4, 1e6, 1e7, 1e8, 1e9):
        for share in np.logspace(-4, 0, 17):  # for the pattern
            e = np.log(np.clip(share * dose / ELECTRONS_PER_SCATTERED, *fused.index[[0, -1]]))
            c = (1 - share) * dose / ELECTRONS_PER_COUNT
            if c >= 1:
                value = accuracy((e, np.log(min(c, fused.columns[-1]))))
            else:
                value = np.interp(e, axes[0], alone)
            name = f"{dose:.0e} electrons".replace("+0", "")
            rows.append({"model": name, "share": share, "fold": 0, METRIC: float(value)})
    table = pd.DataFrame(rows)
    print(fused.round(3).to_string())
    for _, best in table.loc[table.groupby("model")[METRIC].idxmax()].iterrows():
        print(f"{best['model']}: best with {best['share']:.1%} for the pattern, {best[METRIC]:.2f}")
    return table, {"x": "share"}


def pixels(options):
    """Leave out pixels of each image."""
    table = acquisition_curve(
        the_models(options),
        chosen_crystals(options),
        pixels=[1 / 64, 1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1],
        reconstruction=options.reconstruction,
        chemistry_only=False,
        conditions=camera(1e4),
        random_state=0,
    )
    _print_costs(table, "pixels")
    return table, {"x": "pixels"}


def _print_costs(table, x, sampling="random"):
    """Print what half, a quarter and an eighth cost."""
    for name in ("fused", "fused (diffraction only)"):
        part = table[(table["model"] == name)]
        print(part.pivot_table(METRIC, x, "sampling").round(3).to_string())
        means = part[part["sampling"] == sampling].groupby(x)[METRIC].mean()
        shares = ", ".join(f"1/{n} {means[1 / n]:.2f}" for n in (2, 4, 8))
        print(f"{name}: with all {x} {means[1]:.2f} of the space groups are right; {shares} ({sampling}).")


def positions(options):
    """Leave out positions of maps of grains of 6 x 6 steps."""
    table = acquisition_curve(
        the_models(options),
        chosen_crystals(options)[:: max(1, options.n // 100)],
        positions=[1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1],
        grain_size=6.0,
        n_replicas=4,
        cv=4,
        chemistry_only=False,
        conditions=camera(1e4),
        random_state=0,
    )
    _print_costs(table, "positions")
    return table, {"x": "positions"}


def scan(options):
    """Widen the step of powder scans, with the published pipeline of powders."""
    conditions = replace(PowderConditions.typical(), two_theta=(5.0, 90.0, 0.02))
    table = acquisition_curve(
        {"fused": read_model("powder")},
        chosen_crystals(options),
        step=[0.02, 0.04, 0.08, 0.16, 0.32, 0.64],
        conditions={"powder": conditions},
        random_state=0,
    )
    part = mean_of(table, "fused (diffraction only)", "step")
    print(table.pivot_table(METRIC, "step", "model").round(3).to_string())
    widest = part.index[part >= part.iloc[0] - 0.02 - 1e-9].max()
    print(f"A step of {widest:g}° costs at most 0.02 of the {part.iloc[0]:.2f} with 0.02° (powders alone).")
    return table, {"x": "step"}


def training(options):
    """Train networks at one dose each, and across doses; use them at all doses."""
    options.new = True
    doses = {"trained at 100": 100, "trained at 1e6": 1e6, "trained across": loguniform(10, 1e6)}
    models = {name: train(dose, options) for name, dose in doses.items()}
    table = curve(options, models, electrons=ELECTRONS, chemistry_only=False)
    table = table[table["model"].isin(models)]
    print(table.pivot_table(METRIC, "electrons", "model").round(3).to_string())
    for one in list(models)[:2]:
        print(paired_differences(table, "trained across", one, METRIC, x="electrons").round(3).to_string())
    return table, {"x": "electrons"}


COMMANDS = {f.__name__: f for f in (electrons, split, pixels, positions, scan, training)}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("--model", default="rings", help="name of load_pretrained, or a file")
    parser.add_argument("--new", action="store_true", help="train here, score compounds that were left out")
    parser.add_argument("--n", type=int, default=300, help="crystals to score")
    parser.add_argument("--n-train", type=int, default=2000, help="crystals to train on")
    parser.add_argument("--reconstruction", choices=["nearest", "linear", "biharmonic"], help="of pixels")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--results", default=str(Path(__file__).parent / "results"))
    options = parser.parse_args()
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        table, drawing = COMMANDS[options.command](options)
    path = Path(options.results) / f"dose_{options.command}{'_new' * options.new}"
    scores = [c for c in table if c.endswith("_accuracy") and "balanced" not in c]
    levels = [c for c in table if table.columns.get_loc(c) <= table.columns.get_loc("fold")]
    table[levels + scores].round(4).to_csv(path.with_suffix(".csv"), index=False)
    display = DoseCurveDisplay.from_results(table, metric=METRIC, **drawing)
    if options.command == "split":
        display.ax_.set(xscale="log", xlabel="share of the beam electrons for the pattern")
    display.figure_.savefig(path.with_suffix(".png"), dpi=200)
    print(f"{time.perf_counter() - start:.0f} s, {time.process_time():.0f} s of processor time")


if __name__ == "__main__":
    main()
