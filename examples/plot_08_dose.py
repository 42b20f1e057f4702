"""
How many electrons are enough?
==============================

A ring pattern of few electrons damages the specimen less and is recorded faster. How few are enough to name
the structure, and how many does the chemistry save? Which dose does a question about three phases need? This
example answers both with simulated patterns of the same crystals at several doses.
"""

# %%
# A pipeline
# ----------
# Search-match in a small library of 80 minerals, from a ring image and a composition on film and grid. A
# pipeline of `load_pretrained` is used in the same way.

import argparse
import time
import warnings
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
from sklearn.pipeline import make_pipeline

from xtalsk import (
    BrokenEntryWarning,
    DoseCurveDisplay,
    ElementFractions,
    FormulaConditions,
    LibraryMatch,
    RadialProfile,
    RingConditions,
    acquisition_curve,
    dose_curve,
    load_amcsd,
    make_features,
    make_library,
    plan_acquisition,
)
from xtalsk.model_selection import dose_to_reach, paired_differences

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--save", metavar="STEM", help="write STEM_curve.png, STEM_pixels.png, STEM_plan.png")
options = parser.parse_args() if "__file__" in globals() else parser.parse_args([])

start = time.perf_counter()
warnings.simplefilter("ignore", BrokenEntryWarning)  # entries of the database with overlapping atoms
warnings.filterwarnings("ignore", "RadialProfile")  # patterns without a visible ring
warnings.filterwarnings("ignore", "The number of unique classes|The least populated class", UserWarning)

minerals = load_amcsd()
titania = [np.flatnonzero(minerals.names == name)[0] for name in ("Anatase", "Rutile", "Brookite")]
chosen = minerals[np.unique([*titania, *range(0, len(minerals), len(minerals) // 80)])]
features = make_features(diffraction=("rings", RadialProfile()), fractions=("formula", ElementFractions()))
library = make_library(chosen, features, random_state=0)
pipeline = make_pipeline(features, LibraryMatch(all_missing="missing").fit(*library))
camera = {
    "rings": replace(RingConditions.typical(), image_size=128),
    "formula": replace(FormulaConditions.microscope(), counts=1e4),
}

# %%
# Accuracy against the dose
# -------------------------
# The same crystals are measured at each dose: grains, camera and composition stay, and only the counting
# noise changes. The bands are standard errors of five parts of the crystals.

table = dose_curve(
    {"both": pipeline}, chosen, electrons=[10, 30, 100, 300, 1e3, 1e4], conditions=camera, random_state=0
)
display = DoseCurveDisplay.from_results(table)

# %%
# Paired differences are sharper than the curves, because models are compared on the same specimens.

alone = "both (diffraction only)"
print(paired_differences(table, "both", alone, x="electrons").round(3).to_string(index=False))
fused, diffraction = (dose_to_reach(table, name, 0.8, x="electrons") for name in ("both", alone))
print(f"80% of the space groups: {fused:.0f} electrons with chemistry, {diffraction:.0f} without")

# %%
# Fewer pixels
# ------------
# A detector can be read faster if only some of its pixels are recorded: random ones, or every n-th line. The
# pixels between them are interpolated; without that, the centre of the rings is not found in thinned images.

thinned = acquisition_curve(
    {"both": pipeline},
    chosen,
    pixels=[1 / 64, 1 / 16, 1 / 4, 1],
    reconstruction="linear",
    electrons=1e4,
    conditions=camera,
    random_state=0,
)
part = thinned[thinned["model"] == alone]
pixels = DoseCurveDisplay.from_results(part, x="pixels")

# %%
# A plan for a question
# ---------------------
# Anatase, rutile or brookite? All are titania, so only diffraction can tell. `plan_acquisition` finds the
# fewest electrons with which 90% are right, at the lower end of the interval.

plan = plan_acquisition(
    pipeline,
    minerals[titania],
    target=0.9,
    electrons=[10, 30, 100, 300, 1e3, 3e3, 1e4],
    conditions=camera,
    n_specimens=60,
    random_state=0,
)
print(plan.summary())
drawing = plan.plot()
print(f"{time.perf_counter() - start:.0f} s")
if options.save:
    display.figure_.savefig(f"{options.save}_curve.png", dpi=200)
    pixels.figure_.savefig(f"{options.save}_pixels.png", dpi=200)
    drawing.figure_.savefig(f"{options.save}_plan.png", dpi=200)
plt.show()
