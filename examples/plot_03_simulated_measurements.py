"""
Simulated measurements, from ideal to harsh
===========================================

What a network should meet in training is the measurement, not the crystal: the same structure is recorded by
many instruments, from samples that are strained, textured, coarse or impure. Conditions say how a pattern is
recorded. Each of their fields is a number or a distribution, which is drawn anew for every pattern.
"""

# %%
# Conditions
# ----------
# Three presets lead from ideal to harsh. Printed, conditions are the text that makes them again, so that a
# data set can say how it was made.

import argparse
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import loguniform

from xtalsk.datasets import load_amcsd
from xtalsk.simulation import (
    PowderConditions,
    RingConditions,
    Sometimes,
    SpotConditions,
    compute_reflections,
    simulate_powder,
    simulate_rings,
    simulate_spots,
)

parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
parser.add_argument("--save", metavar="FILE", help="write the figure")
options = parser.parse_args() if "__file__" in globals() else parser.parse_args([])

mine = RingConditions(
    image_size=128,
    electrons=loguniform(1e3, 1e5),
    n_grains=Sometimes(0.5, (100, 2000), otherwise=np.inf),
)
print(mine)

# %%
# Reflections once, patterns often
# --------------------------------
# Structure factors are computed once (with ``memory=`` they stay on disk); every pattern then only moves,
# weights and broadens them. Rutile, three times under each preset:

crystals = load_amcsd()
rutile = crystals[np.flatnonzero((crystals.names == "Rutile") & (crystals.formulas == "TiO2"))[:1]]
electron = compute_reflections(rutile, "electron", d_min=0.7)
xray = compute_reflections(rutile, "xray", d_min=1.08, wavelength=PowderConditions().wavelength)

presets = ("ideal", "typical", "harsh")
figure, axes = plt.subplots(4, 3, figsize=(9.5, 11), height_ratios=(1, 1, 0.42, 0.42), layout="constrained")
for column, preset in enumerate(presets):
    ring = simulate_rings(electron, [0], getattr(RingConditions, preset)(), random_state=column + 4)[0]
    aligned = replace(getattr(SpotConditions, preset)(), zone_axis=(0, 0, 1))
    spot = simulate_spots(electron, [0], aligned, random_state=column)[0]
    for axis, image, name in zip(axes[:2, column], (ring, spot), ("rings", "spots along [001]"), strict=True):
        low, high = np.percentile(np.sqrt(image), [1, 99.7])
        axis.imshow(np.sqrt(image), cmap="gray_r", vmin=low, vmax=max(high, low + 1))
        axis.set(xticks=[], yticks=[], title=f"{name}, {preset}")
    conditions = replace(getattr(PowderConditions, preset)(), two_theta=(20, 80, 0.02))
    patterns = simulate_powder(xray, [0, 0], conditions, random_state=column)
    for axis, pattern in zip(axes[2:, column], patterns, strict=True):
        axis.plot(conditions.axis(), pattern, lw=0.7, color="black")
        axis.set(xlim=(20, 80), yticks=[])
        axis.spines[["top", "right"]].set_visible(False)
    axes[2, column].set_title(f"powder, {preset}")
    axes[2, column].set_xticklabels([])
    axes[3, column].set_xlabel("2θ / degrees")
axes[2, 0].set_ylabel("intensity")
axes[3, 0].set_ylabel("intensity")
if options.save:
    figure.savefig(options.save, dpi=110)
else:
    plt.show()
