"""
Composition from spectra
========================

An X-ray spectrum (EDS) or an energy-loss spectrum (EELS) shows which elements a specimen contains, and how
much of each. `EDSComposition` and `EELSComposition` need neither a list of elements nor standards. They
return a table of atomic fractions, which is the input of the chemical blocks of a model.

The options ``--xrays FILE`` and ``--losses FILE`` show your own spectra. Without them, the example shows
measured spectra from the folder in the environment variable ``XTALSK_SHARED_DATA``, or else simulated
spectra.
"""

# %%
# Spectra
# -------
# A cell is a path to a file or a `Spectrum`. Here, the true composition is known: the specimen is a simulated
# mineral, or a glass that is a standard.

import argparse
import os
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from pymatgen.core import Composition
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline

from xtalsk.baselines import make_baseline
from xtalsk.compose import make_features
from xtalsk.composition import ElementFractions, ElementPresence, RankedElements
from xtalsk.datasets import load_amcsd, make_specimens
from xtalsk.inspection import ComparisonDisplay
from xtalsk.io import Spectrum
from xtalsk.model_selection import compare
from xtalsk.simulation import EDSConditions, EELSConditions, FormulaConditions, simulate_eds, simulate_eels
from xtalsk.spectra import EDSComposition, EELSComposition, SpectrumBins
from xtalsk.symmetry import crystal_system

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--xrays", metavar="FILE", help="a measured X-ray spectrum")
parser.add_argument("--losses", metavar="FILE", help="a measured energy-loss spectrum")
parser.add_argument(
    "--save", metavar="STEM", help="write STEM_xrays.png, STEM_losses.png and STEM_models.png"
)
options = parser.parse_args() if "__file__" in globals() else parser.parse_args([])
shared = Path(os.environ.get("XTALSK_SHARED_DATA", "no folder"))
SYMBOLS = ElementFractions().fit(["O"]).get_feature_names_out()
COLOURS = plt.get_cmap("tab10").colors
start = time.perf_counter()


def fractions_of(formula):
    """Compute atomic fractions, by symbol, of all elements but hydrogen."""
    row = ElementFractions().fit_transform([formula])[0]
    row[0] = 0
    return {SYMBOLS[i].capitalize(): row[i] / row.sum() for i in np.flatnonzero(row)}


def xray_spectrum():
    """Return cell, title, and the composition where it is known."""
    if options.xrays:
        return options.xrays, Path(options.xrays).name, {}
    glass = shared / "eds" / "k412" / "III-E K412[0][4].msa"
    if glass.exists():
        certified = {"O": 59.4, "Si": 16.8, "Mg": 10.7, "Ca": 6.0, "Al": 4.0, "Fe": 3.1}
        known = {name: value / sum(certified.values()) for name, value in certified.items()}
        return str(glass), "Glass K412, measured at 20 kV", known
    conditions = EDSConditions(
        beam_energy=15, takeoff_angle=35, thickness_nm=np.inf, window=1, counts=2e6, copper=0, carbon=0.01
    )
    formula = "NaCa2Mg3Fe2TiAl3Si6O24"
    counts = simulate_eds([formula], conditions=conditions, random_state=0)[0]
    cell = Spectrum(counts, conditions.axis(), beam_energy=15, takeoff_angle=35)
    return cell, "Amphibole (kaersutite), simulated at 15 kV", fractions_of(formula)


cell, title, known = xray_spectrum()
fit = EDSComposition(exclude=("C",)).analyse(cell)  # carbon is the coating
fractions, deviations = fit.fractions, fit.uncertainty
shown = [z for z in fit.atomic_numbers if np.isnan(fractions[z - 1]) or fractions[z - 1] > 0]
print(title, {SYMBOLS[z - 1].capitalize(): round(float(fractions[z - 1]), 3) for z in shown})

# %%
# Elements of the X-ray spectrum
# ------------------------------
# `analyse` returns the fitted curve, its background and the lines of each element. The carbon of the coating
# is fitted but is not part of the composition, so it has no bar.


def place_labels(ax, labels, gap=3):
    """Write labels above points (x, y, text, colour), and lift each one until it covers no other label."""
    ax.figure.canvas.draw()
    boxes = []
    for x, y, text, colour in sorted(labels, key=lambda label: label[0]):
        style = {"ha": "center", "va": "bottom", "color": colour, "fontweight": "bold", "fontsize": 12}
        note = ax.annotate(text, (x, y), (0, 3), textcoords="offset points", **style)
        note.set_in_layout(False)
        lift = 3
        while any(note.get_window_extent().padded(gap).overlaps(box) for box in boxes) and lift < 150:
            lift += 4
            note.set_position((0, lift))
        boxes.append(note.get_window_extent())


def draw_xrays(ax):
    """Draw counts, fit and background, and fill the lines of each element."""
    kev, per_ev = fit.energy / 1e3, 1 / fit.width
    background = fit.background * per_ev
    ax.plot(kev, fit.counts * per_ev, ".", ms=3.5, color="0.55", label="recorded", zorder=3)
    ax.plot(kev, fit.curve * per_ev, lw=1, color="black", label="fit", zorder=4)
    ax.plot(kev, background, lw=1.2, ls="--", color="0.25", label="background", zorder=4)
    labels, highest = [], 0.0
    for colour, z in zip(np.resize(COLOURS, (len(shown), 3)), shown, strict=True):
        lines = fit.lines[list(fit.atomic_numbers).index(z)] * per_ev
        top = np.clip(background + lines, None, np.maximum(fit.curve * per_ev, background))
        ax.fill_between(kev, background, top, color=colour, alpha=0.55, lw=0)
        peak = lines.argmax()
        labels.append((kev[peak], (background + lines)[peak], SYMBOLS[z - 1].capitalize(), colour))
        highest = max(highest, kev[lines > 0.02 * background].max(initial=1))
    ax.set(yscale="log", xlabel="energy (keV)", ylabel="counts per eV", title=title)
    right = kev <= min(highest * 1.05, kev[-1])
    ax.set_xlim(min(kev[0], 0.15), kev[right][-1])
    ax.set_ylim(0.5 * np.percentile((fit.curve * per_ev)[right], 2), 4 * (fit.curve * per_ev).max())
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False, loc="upper right")
    place_labels(ax, labels)
    return {text: colour for *_, text, colour in labels}


def draw_bars(ax, colours):
    """Draw atomic percent with standard deviations, and the known composition."""
    bars = sorted((z for z in shown if fractions[z - 1] > 0), key=lambda z: fractions[z - 1])
    names = [SYMBOLS[z - 1].capitalize() for z in bars]
    percent, errors = (100 * np.array([values[z - 1] for z in bars]) for values in (fractions, deviations))
    ax.barh(names, percent, xerr=errors, color=[colours[n] for n in names], alpha=0.7, capsize=3)
    for row, (value, error) in enumerate(zip(percent, errors, strict=True)):
        ax.text(value + error + 2.5, row, f"{value:.1f} ± {error:.1f}", va="center", fontsize=9)
    if known:
        points = [(100 * known[n], row) for row, n in enumerate(names) if n in known]
        ax.plot(*zip(*points, strict=True), "D", color="black", ms=5, mfc="white", label="known", zorder=5)
        ax.legend(frameon=False, loc="lower right")
    ax.set(xlabel="atomic %", xlim=(0, 1.35 * (percent + errors).max()))
    ax.tick_params(axis="y", length=0)
    ax.spines[["top", "right"]].set_visible(False)


figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4.6), width_ratios=[2.5, 1], layout="constrained")
draw_bars(right, draw_xrays(left))
if options.save:
    figure.savefig(f"{options.save}_xrays.png", dpi=110)

# %%
# Energy losses
# -------------
# Edges lie on a steep background. The upper panel shows the recorded spectrum and the fit, the lower panel
# both without the background.


def loss_spectrum():
    """Return cell and title."""
    if options.losses:
        return options.losses, Path(options.losses).name
    titanate = shared / "tem" / "EELS_STO.dm3"
    if titanate.exists():
        return str(titanate), "Strontium titanate, measured (Sr has no edge in the window)"
    conditions = EELSConditions(
        energy=(350, 1050, 0.5), beam_energy=200, convergence_angle=10, collection_angle=20, counts=1e8
    )
    counts = simulate_eels(["LaFeO3"], conditions=conditions, random_state=0)[0]
    cell = Spectrum(counts, conditions.axis(), beam_energy=200, convergence_angle=10, collection_angle=20)
    return cell, "LaFeO$_3$, simulated at 200 kV"


cell, title = loss_spectrum()
losses = EELSComposition().analyse(cell)
print(losses)
amounts = {
    name: 100 * np.array([losses.fractions[i], losses.uncertainty[i]])
    for name in losses.elements
    for i in np.flatnonzero(name.lower() == SYMBOLS)
}
parts = ", ".join(f"{name} {value:.0f} ± {error:.0f}" for name, (value, error) in amounts.items())
figure, axes = plt.subplots(2, 1, figsize=(9, 5.6), sharex=True, height_ratios=[1, 1.3], layout="constrained")
axes[0].plot(losses.energy, losses.counts, ".", ms=3, color="0.55", label="recorded")
axes[0].plot(losses.energy, losses.curve, lw=1, color="black", label="fit")
axes[0].plot(losses.energy, losses.background, lw=1.2, ls="--", color="0.25", label="background")
axes[0].set(yscale="log", ylabel="counts", title=f"{title}\n{parts} atomic %")
signal = losses.curve - losses.background
axes[1].plot(losses.energy, losses.counts - losses.background, ".", ms=3, color="0.55")
axes[1].plot(losses.energy, signal, lw=1, color="black")
axes[1].axhline(0, color="0.25", lw=1.2, ls="--")
axes[1].set(xlabel="energy loss (eV)", ylabel="counts above background")
axes[1].set_ylim(-0.15 * signal.max(), 1.3 * signal.max())
onsets = [onset for _, onset, _ in losses.edges]
labels = []
for (name, onset, _), end in zip(losses.edges, [*onsets[1:], np.inf], strict=False):
    colour = COLOURS[losses.elements.index(name.split()[0]) % len(COLOURS)]
    own = (losses.energy > onset - 6) & (losses.energy < end)
    near = own & (losses.energy < onset + 40)
    axes[0].axvline(onset, color=colour, lw=1.2)
    axes[1].fill_between(losses.energy, 0, signal, where=own, color=colour, alpha=0.5, lw=0)
    labels.append((losses.energy[near][signal[near].argmax()], signal[near].max(), name, colour))
for axis in axes:
    axis.spines[["top", "right"]].set_visible(False)
axes[0].legend(frameon=False, loc="upper right")
place_labels(axes[1], labels)
if options.save:
    figure.savefig(f"{options.save}_losses.png", dpi=110)

# %%
# Composition or counts?
# ----------------------
# The task is to classify minerals as cubic, orthorhombic or monoclinic. The input of a classifier is either
# the composition or the counts in bins. Both are blocks of features. The test compounds are not in the
# training part. With ``cache=True``, `EDSComposition` analyses each spectrum once for all models and folds.

crystals = load_amcsd()
systems = crystal_system(crystals.space_groups)
rng = np.random.default_rng(0)
classes = ("cubic", "orthorhombic", "monoclinic")
part = np.concatenate([rng.choice(np.flatnonzero(systems == name), 80, replace=False) for name in classes])
exact = FormulaConditions(relative_error=0, absolute_error=0, detection_limit=0)
X, y, groups = make_specimens(
    crystals[np.sort(part)], ("eds", "formula"), conditions={"formula": exact}, counts=1e5, random_state=0
)
composition = EDSComposition(exclude=("Cu", "C"), cache=True, n_jobs=2)
presence = ("eds", make_pipeline(composition, ElementPresence()))
ranked = ("eds", make_pipeline(composition, RankedElements()))
features = {
    "presence": make_features(presence=presence),
    "ranked": make_features(ranked=ranked),
    "presence and ranked": make_features(presence=presence, ranked=ranked),
    "counts in bins": make_features(bins=("eds", SpectrumBins(n_bins=256))),
}
models = {
    name: make_pipeline(block, make_baseline("extra_trees", random_state=0))
    for name, block in features.items()
}
cv = StratifiedGroupKFold(5, shuffle=True, random_state=0)
table = compare(models, X, crystal_system(y), groups=groups, cv=cv, verbose=1)
print(table.groupby("model")["label_accuracy"].mean().round(3).to_string())

# %%
# The detector does not record X-rays of hydrogen to boron. Carbon and copper also come from the grid. So the
# fractions are those of the other elements. False silicon comes from the detector itself. The lines of
# titanium hide nitrogen, and those of vanadium can hide oxygen.

measured = composition.fit_transform(X["eds"])
truth = ElementFractions().fit_transform(X["formula"])
truth = np.where(np.isnan(measured), 0, truth)
truth = truth / truth.sum(1, keepdims=True).clip(1e-9)
figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4.6), width_ratios=[1, 1.4], layout="constrained")
either = (measured > 0) | (truth > 0)
left.plot([0, 100], [0, 100], color="0.7", lw=1)
left.plot(100 * truth[either], 100 * np.nan_to_num(measured)[either], ".", ms=5, alpha=0.5, color="#2171b5")
error = np.abs(np.nan_to_num(measured) - truth)[truth > 0].mean()
left.set(xlabel="in the structure (atomic %)", ylabel="from the spectrum (atomic %)", aspect="equal")
left.set_title(f"{len(X)} minerals: mean error {100 * error:.1f} atomic %", fontsize=11)
missed = zip(*np.nonzero((truth > 0.3) & ~(measured > 0)), strict=True)
missed = {
    f"{SYMBOLS[column].capitalize()} in {Composition(X['formula'][row]).reduced_formula}"
    for row, column in missed
}
left.text(53, -1, "\n".join(sorted(missed)), fontsize=9)
left.spines[["top", "right"]].set_visible(False)
ComparisonDisplay.from_table(table, ax=right)
right.set_title("Classification as cubic, orthorhombic or monoclinic", fontsize=11)
print(f"{time.perf_counter() - start:.0f} s")
if options.save:
    figure.savefig(f"{options.save}_models.png", dpi=110)
else:
    plt.show()
