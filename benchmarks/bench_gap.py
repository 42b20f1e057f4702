"""Remaining differences between simulated and measured powder patterns or ring images.

Run ``python benchmarks/bench_gap.py FILE`` with an ``.npz`` file of measured patterns: ``intensity`` of shape
(n, n_points), ``two_theta`` (start, step, count in degrees), ``space_group`` (n,); Cu Kα.

Trees are trained to distinguish these patterns from simulated patterns of AMCSD crystals under a preset. The
result is the area under the ROC curve: 0.5 if they cannot distinguish them, 1 if they always can. There are
two sets of features: the input of a network (`PowderProfile`), and numbers that describe the raw pattern.

The crystals have the space groups of the measured patterns. A space group is either in the training part or
in the test part of a fold, never in both. So the trees can only learn how measured patterns look, not which
minerals were measured.

The last table sets one effect of the harsh preset at a time to its ideal value. If the area rises, the preset
needs the effect. The measured patterns are used for this test only.

Run ``python benchmarks/bench_gap.py FOLDER`` with a folder of measured ring images: ``manifest.csv`` with the
columns ``file``, ``formula`` and ``space_group``. Images of one specimen are named ``rings/NAME_1.npz``,
``rings/NAME_2.npz``, ...; a file has ``image`` and ``pixel_size`` in 1/Å. Each simulated image has the phase,
the pixel size and the masked pixels of a measured one. Trees are trained without one specimen and its phase.
The result is the share of the simulated images of this phase that look less measured than the measured image,
averaged over the specimens; the interval is from bootstrap samples of the specimens. See ``_ring_gap.py`` for
the features.
"""

import argparse
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
from _ring_gap import compare_presets
from scipy.signal import find_peaks, peak_widths
from sklearn.base import clone
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold
from tqdm import tqdm

from xtalsk import PowderProfile, Profile, load_amcsd
from xtalsk.crystals._faults import find_faults
from xtalsk.simulation import PowderConditions, compute_reflections, simulate_powder

WAVELENGTH = 1.5406
EDGES = (5, 8, 12, 18, 25, 32, 40, 50, 60, 70, 80, 90)  # edges of the regions of 2θ in degrees
WINDOW = 40  # points; narrower than a line and wide enough for statistics
QUIET = 0.4  # share of the windows that count as free of lines: those of lowest mean
TOGETHER = {
    "counts": ("peak_counts", "line_counts"),
    "background": (
        "background",
        "air",
        "hump",
        "hump_position",
        "hump_width",
        "low_angle_scatter",
        "waviness",
    ),
    "width": ("u", "v", "w", "crystallite_size", "microstrain"),
    "shift": ("zero_shift", "displacement"),
}
"""Fields that get their ideal values together. The other fields get them one at a time."""


def measured_patterns(path):
    """Read patterns of shape (n, n_points), their axis (start, stop, step) and space groups."""
    with np.load(path) as archive:
        start, step, count = archive["two_theta"]
        axis = (float(start), float(start + step * (count - 1)), float(step))
        return archive["intensity"].astype(np.float32), axis, archive["space_group"].astype(int)


def matched_crystals(space_groups, copies, rng):
    """Return AMCSD crystals without faults: for each measured pattern, ``copies`` of its space group."""
    crystals = load_amcsd()
    faultless = np.setdiff1d(np.arange(len(crystals)), list(find_faults(crystals)))
    rows = []
    for group, count in zip(*np.unique(space_groups, return_counts=True), strict=True):
        members = faultless[crystals.space_groups[faultless] == group]
        if len(members):
            rounds = -(-count * copies // len(members))
            rows.append(np.concatenate([rng.permutation(members) for _ in range(rounds)])[: count * copies])
    return crystals[np.concatenate(rows)]


def simulated_patterns(lines, conditions, axis, seed):
    return simulate_powder(lines, conditions=conditions, two_theta=axis, random_state=seed).astype(np.float32)


def network_input(patterns, axis):
    """Return features of `PowderProfile`: one column for each measured bin, named by its angle in degrees."""
    two_theta = axis[0] + axis[2] * np.arange(patterns.shape[1])
    cells = [Profile(pattern, two_theta=two_theta, wavelength=WAVELENGTH) for pattern in patterns]
    block = PowderProfile().fit([None])
    angles = 2 * np.degrees(np.arcsin(np.minimum(block.q_ * WAVELENGTH / 2, 1)))
    frame = pd.DataFrame(block.transform(cells), columns=[f"{angle:.3f}" for angle in angles])
    return frame.dropna(axis=1, how="all")


def appearance(patterns, axis):
    """Return numbers that describe raw patterns, scaled so that the strongest point of each is 1000."""
    x = patterns * (1000 / patterns.max(1, keepdims=True))
    n, n_points = x.shape
    windows = x[:, : n_points // WINDOW * WINDOW].reshape(n, -1, WINDOW)
    means = windows.mean(2)
    order = np.argsort(means, axis=1)[:, : int(QUIET * means.shape[1])]
    quiet = np.take_along_axis(windows, order[:, :, None], axis=1)
    sigma = np.sqrt((np.diff(quiet, 2, axis=2) ** 2).mean((1, 2)) / 6) + 1e-3
    columns = {
        "noise": np.log(sigma),
        "zeros": (x == 0).mean(1),
        "distinct_values": np.array([len(np.unique(row)) for row in patterns]),
        "level_median": np.median(x, 1) / sigma,
        "level_mean": np.log(x.mean(1)),
        "share_above_half": np.log((x > 500).sum(1)),
        "share_above_4_sigma": (x > (np.median(x, 1) + 4 * sigma)[:, None]).mean(1),
    }
    columns |= _quiet_numbers(quiet, means, order, sigma)
    columns |= _region_numbers(x, windows, sigma, axis)
    columns |= _end_numbers(x, sigma)
    lines = pd.DataFrame([_line_numbers(*row, axis[2]) for row in zip(x, sigma, strict=True)])
    return pd.concat([pd.DataFrame(columns), lines], axis=1)


def _quiet_numbers(quiet, means, order, sigma):
    """Return the distribution, the correlation and the drift of the noise between the lines."""
    n = len(quiet)
    columns = {"quiet_mean": quiet.mean((1, 2)) / sigma, "quiet_zeros": (quiet == 0).mean((1, 2))}
    for percent in (5, 25, 75, 95, 99.5):
        columns[f"quiet_{percent:g}%"] = np.percentile(quiet.reshape(n, -1), percent, axis=1) / sigma
    rest = quiet - quiet.mean(2, keepdims=True)
    power = (rest**2).mean((1, 2)) + 1e-9
    columns["quiet_spread"] = np.sqrt(power) / sigma
    columns["quiet_skewness"] = (rest**3).mean((1, 2)) / power**1.5
    for lag in (1, 2, 4, 10, 20):
        columns[f"noise_lag_{lag}"] = (rest[:, :, lag:] * rest[:, :, :-lag]).mean((1, 2)) / power
    quiet_means = np.take_along_axis(means, order, axis=1)
    columns["wander"] = quiet_means.std(1) * np.sqrt(WINDOW) / sigma
    columns["lowest_window"] = quiet_means[:, 0] / sigma
    ranks = order / means.shape[1]
    for name, low, high in (("low", 0, 0.2), ("middle", 0.2, 0.6), ("high", 0.6, 1)):
        columns[f"quiet_share_{name}_angles"] = ((ranks >= low) & (ranks < high)).mean(1)
    return columns


def _region_numbers(x, windows, sigma, axis):
    """Return the level, the noise and the lines in each region of the angle."""
    columns = {}
    angle = axis[0] + axis[2] * WINDOW * (np.arange(windows.shape[1]) + 0.5)
    for low, high in pairwise(EDGES):
        part = windows[:, (angle >= low) & (angle < high)]
        if not part.shape[1]:
            continue
        name = f"{low}_to_{high}"
        low_half = np.sort(part.mean(2), 1)[:, : max(1, part.shape[1] // 3)]
        columns[f"level_{name}"] = low_half.mean(1) / sigma
        jumps = np.median(np.diff(part, 2, axis=2) ** 2, axis=(1, 2))
        columns[f"noise_{name}"] = np.log((jumps + 1) / (sigma**2 + 1))
        columns[f"strongest_{name}"] = np.log(part.max((1, 2)) + 1)
        columns[f"mean_{name}"] = np.log(part.mean((1, 2)) + 0.1) - np.log(sigma + 0.1)
    return columns


def _end_numbers(x, sigma):
    columns = {"first": x[:, 0] / sigma, "last": x[:, -1] / sigma}
    for name, part in (
        ("after_first", x[:, 1:4]),
        ("near_first", x[:, 4:20]),
        ("near_last", x[:, -20:-4]),
        ("before_last", x[:, -4:-1]),
    ):
        columns[name] = part.mean(1) / sigma
    return columns


def _line_numbers(row, sigma, step):
    """Return the number, widths, asymmetry and surroundings of the lines of one pattern."""
    smooth = np.convolve(row, np.full(5, 0.2), "same")
    peaks, _ = find_peaks(smooth, prominence=6 * sigma / np.sqrt(5), distance=5)
    names = ("width", "width_spread", "tenth_to_half", "asymmetry", "beside", "far")
    numbers = {"n_lines": np.log1p(len(peaks))} | dict.fromkeys(names, np.nan)
    strong = peaks[np.argsort(-smooth[peaks])[:10]]
    numbers["second"] = np.log(smooth[strong[1]] / smooth[strong[0]]) if len(strong) > 1 else np.nan
    numbers["fifth"] = np.log(smooth[strong[4]] / smooth[strong[0]]) if len(strong) > 4 else np.nan
    strong = strong[smooth[strong] > 25 * sigma / np.sqrt(5)]
    if not len(strong):
        return numbers
    half, _, left, right = peak_widths(smooth, strong, rel_height=0.5)
    tenth, _, _, _ = peak_widths(smooth, strong, rel_height=0.8)
    best = strong[0]
    numbers["width"] = np.log(np.median(half) * step)
    numbers["width_spread"] = np.log(half).std() if len(strong) > 2 else np.nan
    numbers["tenth_to_half"] = np.log(np.median(tenth / half))
    numbers["asymmetry"] = np.median(np.log((strong - left + 0.5) / (right - strong + 0.5)))
    for name, inner, outer in (("beside", 2, 4), ("far", 6, 12)):
        reach = [int(r * half[0]) for r in (inner, outer)]
        sides = [smooth[max(best - reach[1], 0) : max(best - reach[0], 0)], smooth[best:][slice(*reach)]]
        numbers[name] = (
            np.log1p(np.percentile(np.concatenate(sides), 15) / sigma) if sum(map(len, sides)) else np.nan
        )
    return numbers


VIEWS = {"features": network_input, "appearance": appearance}


class Gauge:
    """Trees that distinguish measured from simulated patterns by one set of features.

    Parameters
    ----------
    view : {"features", "appearance"}
        Set of features.
    measured : ndarray of shape (n, n_points)
    axis : (start, stop, step)
    groups : ndarray of shape (n,)
        Space groups of the measured patterns.
    """

    def __init__(self, view, measured, axis, groups):
        self.view, self.axis, self.groups = VIEWS[view], axis, groups
        self.measured = self.view(measured, axis)
        self.model = ExtraTreesClassifier(300, min_samples_leaf=2, random_state=0)

    def fit(self, simulated, groups):
        """Train on four fifths of the space groups and test on the others, five times."""
        X = pd.concat([self.measured, self.view(simulated, self.axis)], ignore_index=True).astype(np.float32)
        y = np.repeat([1, 0], [len(self.measured), len(simulated)])
        split = StratifiedGroupKFold(5, shuffle=True, random_state=0)
        self.folds_ = []
        for train, test in split.split(X, y, np.concatenate([self.groups, groups])):
            model = clone(self.model).fit(X.iloc[train], y[train])
            self.folds_.append((model, X.iloc[test], y[test]))
        self.areas_ = np.array([_area(*fold) for fold in self.folds_])
        return self

    def __str__(self):
        return f"{self.areas_.mean():.3f} ± {self.areas_.std():.3f}"

    def importances(self, regions=None):
        """Return the loss of area after shuffling each column, or all columns of one region together."""
        names = self.measured.columns
        rng = np.random.RandomState(0)
        importances = {}
        for region, columns in (regions or {name: [name] for name in names}).items():
            losses = []
            for (model, X, y), area in zip(self.folds_, self.areas_, strict=True):
                shuffled = X.copy()
                shuffled[columns] = X[columns].to_numpy()[rng.permutation(len(X))]
                losses.append(area - _area(model, shuffled, y))
            importances[region] = np.mean(losses)
        return pd.Series(importances).sort_values(ascending=False)

    def regions(self):
        """Return the columns of the features by region of 2θ."""
        angles = self.measured.columns.astype(float).to_numpy()
        inside = {f"{a} to {b} degrees": (angles >= a) & (angles < b) for a, b in pairwise(EDGES)}
        return {name: self.measured.columns[chosen] for name, chosen in inside.items()}


def _area(model, X, y):
    return roc_auc_score(y, model.predict_proba(X)[:, 1])


def ablations(conditions):
    """Return conditions by name, each with one effect set to its ideal value."""
    ideal = PowderConditions.ideal()
    grouped = {field: name for name, members in TOGETHER.items() for field in members}
    changes = {}
    for field in conditions.draw(1, 0).columns:
        if getattr(conditions, field) != getattr(ideal, field):
            changes.setdefault(grouped.get(field, field), {})[field] = getattr(ideal, field)
    if "counts" in changes and conditions.background:  # keep the share of the background
        changes["counts"]["background"] = 0.05 * ideal.peak_counts
    return {f"harsh, ideal {name}": replace(conditions, **change) for name, change in changes.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", help="file of powder patterns or folder of ring images")
    parser.add_argument(
        "--rows", choices=("all", "even", "odd"), default="all", help="rows of the measured patterns"
    )
    parser.add_argument("--copies", type=int, default=2, help="simulated ones for each measured one")
    parser.add_argument("--no-ablations", action="store_true", help="presets and importances only")
    parser.add_argument("--csv", help="file for the table")
    parser.add_argument("--presets", nargs="+", default=["typical", "harsh", "measured"], help="of images")
    args = parser.parse_args()
    if Path(args.file).is_dir():
        compare_presets(args.file, args.presets, args.copies)
        return
    patterns, axis, space_groups = measured_patterns(args.file)
    rows = {"all": slice(None), "even": slice(0, None, 2), "odd": slice(1, None, 2)}[args.rows]
    patterns, space_groups = patterns[rows], space_groups[rows]
    crystals = matched_crystals(space_groups, args.copies, np.random.RandomState(0))
    d_min = PowderConditions(two_theta=axis).d_min()
    lines = compute_reflections(crystals, "xray", d_min=d_min, wavelength=WAVELENGTH)
    gauges = {view: Gauge(view, patterns, axis, space_groups) for view in VIEWS}
    harsh = PowderConditions.harsh()
    variants = {"harsh": harsh, "typical": PowderConditions.typical(), "ideal": PowderConditions.ideal()}
    variants |= {} if args.no_ablations else ablations(harsh)
    print(f"{len(patterns)} measured patterns, {len(crystals)} simulated ones")
    table = {}
    for name, conditions in tqdm(variants.items()):
        simulated = simulated_patterns(lines, conditions, axis, 1)
        for view, gauge in gauges.items():
            gauge.fit(simulated, crystals.space_groups)
            row = table.setdefault(name, {})
            row[view], row[f"{view} ±"] = gauge.areas_.mean(), gauge.areas_.std()
            if name == "harsh":
                regions = gauge.regions() if view == "features" else None
                print(f"\n{view}: area {gauge}, loss of area after shuffling")
                print(gauge.importances(regions).head(12).round(3).to_string())
    table = pd.DataFrame(table).T
    print(table.round(3).to_string())
    if args.csv:
        table.to_csv(args.csv)


if __name__ == "__main__":
    main()
