"""How far simulated powder patterns still look different from measured ones.

Run ``python benchmarks/bench_gap.py FILE`` with an ``.npz`` of measured patterns: ``intensity`` of shape
(n, n_points), ``two_theta`` (start, step, count in degrees), ``space_group`` (n,); Cu Kα. Trees learn to tell
them from crystals of AMCSD that are simulated under a preset: the area under the ROC curve is 0.5 if they
cannot, 1 if it is plain. They look at what a network is given (`PowderProfile`), or at numbers that say how
the raw pattern looks. Crystals are drawn with the space groups of the measured patterns, and a space group is
either learned from or judged by, never both: what is told apart is the look of the measurement, not which
minerals were measured. The last table sets one effect of the harsh preset after another to its ideal value;
an area above that of the preset says that the effect is needed. The measured patterns are for this test only.
"""

import argparse
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd
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
EDGES = (5, 8, 12, 18, 25, 32, 40, 50, 60, 70, 80, 90)  # of regions of 2θ in degrees
WINDOW = 40  # points: what is narrower than a line and wide enough for statistics
QUIET = 0.4  # share of the windows, those of the lowest mean, that is taken as free of lines
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
"""Fields that take their ideal value together; the others do so one at a time."""


def measured_patterns(path):
    """Patterns of shape (n, n_points), their axis (start, stop, step) and space groups."""
    with np.load(path) as archive:
        start, step, count = archive["two_theta"]
        axis = (float(start), float(start + step * (count - 1)), float(step))
        return archive["intensity"].astype(np.float32), axis, archive["space_group"].astype(int)


def matched_crystals(space_groups, copies, rng):
    """Crystals of AMCSD without faults, ``copies`` of the space group of each measured pattern."""
    crystals = load_amcsd()
    usable = np.setdiff1d(np.arange(len(crystals)), list(find_faults(crystals)))
    rows = []
    for group, count in zip(*np.unique(space_groups, return_counts=True), strict=True):
        members = usable[crystals.space_groups[usable] == group]
        if len(members):
            rounds = -(-count * copies // len(members))
            rows.append(np.concatenate([rng.permutation(members) for _ in range(rounds)])[: count * copies])
    return crystals[np.concatenate(rows)]


def simulated_patterns(lines, conditions, axis, seed):
    return simulate_powder(lines, conditions=conditions, two_theta=axis, random_state=seed).astype(np.float32)


def what_a_network_sees(patterns, axis):
    """Features of `PowderProfile`, a column for each bin that was measured, named by its angle."""
    two_theta = axis[0] + axis[2] * np.arange(patterns.shape[1])
    cells = [Profile(pattern, two_theta=two_theta, wavelength=WAVELENGTH) for pattern in patterns]
    block = PowderProfile().fit([None])
    angles = 2 * np.degrees(np.arcsin(np.minimum(block.q_ * WAVELENGTH / 2, 1)))
    frame = pd.DataFrame(block.transform(cells), columns=[f"{angle:.3f}" for angle in angles])
    return frame.dropna(axis=1, how="all")


def appearance(patterns, axis):
    """Numbers that say how raw patterns look, the strongest point of each being 1000."""
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
    """Noise between the lines: its distribution, correlation and wander."""
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
    """Level, noise and lines in ten regions of the angle."""
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
    """Return number, widths, asymmetry and surroundings of the lines of one pattern."""
    smooth = np.convolve(row, np.full(5, 0.2), "same")
    peaks, _ = find_peaks(smooth, prominence=6 * sigma / np.sqrt(5), distance=5)
    names = ("width", "width_spread", "tenth_to_half", "asymmetry", "beside", "far")
    found = {"n_lines": np.log1p(len(peaks))} | dict.fromkeys(names, np.nan)
    strong = peaks[np.argsort(-smooth[peaks])[:10]]
    found["second"] = np.log(smooth[strong[1]] / smooth[strong[0]]) if len(strong) > 1 else np.nan
    found["fifth"] = np.log(smooth[strong[4]] / smooth[strong[0]]) if len(strong) > 4 else np.nan
    strong = strong[smooth[strong] > 25 * sigma / np.sqrt(5)]
    if not len(strong):
        return found
    half, _, left, right = peak_widths(smooth, strong, rel_height=0.5)
    tenth, _, _, _ = peak_widths(smooth, strong, rel_height=0.8)
    best = strong[0]
    found["width"] = np.log(np.median(half) * step)
    found["width_spread"] = np.log(half).std() if len(strong) > 2 else np.nan
    found["tenth_to_half"] = np.log(np.median(tenth / half))
    found["asymmetry"] = np.median(np.log((strong - left + 0.5) / (right - strong + 0.5)))
    for name, inner, outer in (("beside", 2, 4), ("far", 6, 12)):
        reach = [int(r * half[0]) for r in (inner, outer)]
        sides = [smooth[max(best - reach[1], 0) : max(best - reach[0], 0)], smooth[best:][slice(*reach)]]
        found[name] = (
            np.log1p(np.percentile(np.concatenate(sides), 15) / sigma) if sum(map(len, sides)) else np.nan
        )
    return found


VIEWS = {"features": what_a_network_sees, "appearance": appearance}


class Gauge:
    """Tells measured from simulated patterns in one view.

    Parameters
    ----------
    view : {"features", "appearance"}
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
        """Learn on four fifths of the space groups and judge on the fifth, five times."""
        X = pd.concat([self.measured, self.view(simulated, self.axis)], ignore_index=True).astype(np.float32)
        y = np.repeat([1, 0], [len(self.measured), len(simulated)])
        split = StratifiedGroupKFold(5, shuffle=True, random_state=0)
        self.folds_ = []
        for learned, judged in split.split(X, y, np.concatenate([self.groups, groups])):
            model = clone(self.model).fit(X.iloc[learned], y[learned])
            self.folds_.append((model, X.iloc[judged], y[judged]))
        self.areas_ = np.array([_area(*fold) for fold in self.folds_])
        return self

    def __str__(self):
        return f"{self.areas_.mean():.3f} ± {self.areas_.std():.3f}"

    def importances(self, regions=None):
        """How much of the area is lost when columns are shuffled, each or those of one region together."""
        names = self.measured.columns
        rng = np.random.RandomState(0)
        found = {}
        for region, columns in (regions or {name: [name] for name in names}).items():
            losses = []
            for (model, X, y), area in zip(self.folds_, self.areas_, strict=True):
                shuffled = X.copy()
                shuffled[columns] = X[columns].to_numpy()[rng.permutation(len(X))]
                losses.append(area - _area(model, shuffled, y))
            found[region] = np.mean(losses)
        return pd.Series(found).sort_values(ascending=False)

    def regions(self):
        """Columns of the features by region of 2θ."""
        angles = self.measured.columns.astype(float).to_numpy()
        inside = {f"{a} to {b} degrees": (angles >= a) & (angles < b) for a, b in pairwise(EDGES)}
        return {name: self.measured.columns[chosen] for name, chosen in inside.items()}


def _area(model, X, y):
    return roc_auc_score(y, model.predict_proba(X)[:, 1])


def ablations(conditions):
    """Conditions with one effect after another set to its ideal value, by name."""
    ideal = PowderConditions.ideal()
    grouped = {field: name for name, members in TOGETHER.items() for field in members}
    changes = {}
    for field in conditions.draw(1, 0).columns:
        if getattr(conditions, field) != getattr(ideal, field):
            changes.setdefault(grouped.get(field, field), {})[field] = getattr(ideal, field)
    if "counts" in changes and conditions.background:  # the background keeps its share
        changes["counts"]["background"] = 0.05 * ideal.peak_counts
    return {f"harsh, ideal {name}": replace(conditions, **change) for name, change in changes.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file")
    parser.add_argument(
        "--rows", choices=("all", "even", "odd"), default="all", help="of the measured patterns"
    )
    parser.add_argument("--copies", type=int, default=2, help="simulated patterns for each measured one")
    parser.add_argument("--no-ablations", action="store_true", help="presets and importances only")
    parser.add_argument("--csv", help="where to write the table")
    args = parser.parse_args()
    patterns, axis, space_groups = measured_patterns(args.file)
    some = {"all": slice(None), "even": slice(0, None, 2), "odd": slice(1, None, 2)}[args.rows]
    patterns, space_groups = patterns[some], space_groups[some]
    crystals = matched_crystals(space_groups, args.copies, np.random.RandomState(0))
    reach = PowderConditions(two_theta=axis).d_min()
    lines = compute_reflections(crystals, "xray", d_min=reach, wavelength=WAVELENGTH)
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
                print(f"\n{view}: area {gauge}, lost when shuffled")
                print(gauge.importances(regions).head(12).round(3).to_string())
    table = pd.DataFrame(table).T
    print(table.round(3).to_string())
    if args.csv:
        table.to_csv(args.csv)


if __name__ == "__main__":
    main()
