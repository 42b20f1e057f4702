"""
Diffraction and chemistry, apart and together
=============================================

Which crystal system, point group and space group does a specimen have? Ring patterns of polycrystals and
the formula that a spectrum gives each tell a part. Here both are simulated for measured mineral structures,
at the dose and with the errors of a microscope, and four models answer for compounds that they have never
seen:

* a network on both modalities, one on diffraction alone and one on chemistry alone;
* gradient-boosted trees on matminer's statistics of the formula.

Run it with ``--full`` to take all 9,273 structures and five folds instead of a part and three.
"""

# %%
# Specimens
# ---------
# A stratified part of the American Mineralogist Crystal Structure Database. Each specimen is a ring image of
# 100,000 electrons, off-centre, a little elliptic and half of them with a beam stop, and a formula with 10%
# error, without hydrogen and without traces below 1 at%.

import argparse
import time

import matplotlib.pyplot as plt
import numpy as np
from sklearn.model_selection import StratifiedGroupKFold, train_test_split
from sklearn.pipeline import make_pipeline

from xtalsk.baselines import make_baseline
from xtalsk.compose import make_features
from xtalsk.composition import CompositionStatistics, ElementFractions, ElementPresence, RankedElements
from xtalsk.datasets import load_amcsd, make_specimens
from xtalsk.diffraction import RadialProfile
from xtalsk.inspection import ComparisonDisplay
from xtalsk.model_selection import compare, paired_test
from xtalsk.neural import FusionClassifier
from xtalsk.simulation import RingConditions
from xtalsk.symmetry import crystal_system

parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
parser.add_argument("--full", action="store_true", help="all structures and five folds")
parser.add_argument("--save", metavar="STEM", help="write STEM.csv and STEM.png")
options = parser.parse_args() if "__file__" in globals() else parser.parse_args([])

start = time.perf_counter()
crystals = load_amcsd()
if not options.full:
    systems = crystal_system(crystals.space_groups)
    part, _ = train_test_split(np.arange(len(crystals)), train_size=900, stratify=systems, random_state=0)
    crystals = crystals[np.sort(part)]
X, y, groups = make_specimens(
    crystals,
    modalities=("rings", "formula"),
    conditions={"rings": RingConditions(image_size=256 if options.full else 128)},
    electrons=1e5,
    random_state=0,
    verbose=1,
)
print(f"{len(X)} specimens, {len(np.unique(y))} space groups, {len(np.unique(groups))} compounds")

# %%
# Models
# ------
# A block of features for each branch of the network. `compare` adds the model on diffraction alone and, when
# asked, the one on chemistry alone by leaving blocks out; it also adds the prior. With ``cache``, each image
# is reduced to its profile once, not for every model and fold.

profile = RadialProfile(n_bins=512, n_jobs=-1, cache=True)
features = make_features(
    diffraction=("rings", profile),
    fractions=("formula", ElementFractions()),
    presence=("formula", ElementPresence()),
    ranked=("formula", RankedElements()),
)
matminer = make_features(statistics=("formula", CompositionStatistics()))
models = {
    "fusion": make_pipeline(features, FusionClassifier(hierarchy="space_group", random_state=0)),
    "boosted matminer": make_pipeline(matminer, make_baseline("hist_gradient_boosting", random_state=0)),
}
if options.full:
    models["extra trees on profiles"] = make_pipeline(
        make_features(diffraction=("rings", profile)), make_baseline("extra_trees", random_state=0, n_jobs=-1)
    )

# %%
# Comparison on unseen compounds
# ------------------------------
# Specimens of nearly one composition, or of one mineral name, never stand on both sides of a split.

cv = StratifiedGroupKFold(5 if options.full else 3, shuffle=True, random_state=0)
table = compare(models, X, y, groups=groups, cv=cv, chemistry_only=True, verbose=1)
columns = ["crystal_system_accuracy", "point_group_accuracy", "space_group_accuracy", "space_group_top5"]
summary = table.groupby("model")[columns].mean().sort_values(columns[2], ascending=False)
print(summary.round(3).to_string())
test = paired_test(table, "fusion", "fusion (diffraction only)", "space_group_accuracy")
print(f"chemistry adds {100 * test.difference:.1f} points of space group (p = {test.pvalue:.2g})")
if options.save:
    table.to_csv(f"{options.save}.csv", index=False, float_format="%.5f")

# %%
# What the models see, and how often they are right
# -------------------------------------------------

figure, axes = plt.subplot_mosaic(
    [["image", "table"], ["profile", "table"]],
    figsize=(11, 4.6),
    width_ratios=[1, 1.9],
    height_ratios=[1.5, 1],
    layout="constrained",
)
shown = int(np.flatnonzero(groups == np.bincount(groups).argmax())[0])
image = X["rings"][shown]
reach = image.pixel_size * len(image.data) / 2
axes["image"].imshow(
    np.sqrt(image.data), cmap="magma", extent=[-reach, reach] * 2, vmax=np.quantile(image.data, 0.998) ** 0.5
)
axes["image"].set(title=f"{crystals.names[shown]}: {X['formula'][shown]}", ylabel="q (1/Å)")
profile = RadialProfile(n_bins=512).fit(X["rings"])
axes["profile"].plot(profile.q_, profile.transform(X["rings"][[shown]])[0], lw=0.9, color="#2171b5")
axes["profile"].set(xlabel="q (1/Å)", ylabel="√ intensity", yticks=[], xlim=(0, 1.25))
axes["profile"].spines[["top", "right"]].set_visible(False)
ComparisonDisplay.from_table(table, ax=axes["table"])
figure.suptitle(f"{len(X):,} specimens of compounds unseen in training", fontsize=12)
print(f"{time.perf_counter() - start:.0f} s")
if options.save:
    figure.savefig(f"{options.save}.png", dpi=110)
plt.show()
