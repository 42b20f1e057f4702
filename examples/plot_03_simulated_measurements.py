"""
Simulated measurements, from ideal to harsh
===========================================

A network must be trained on patterns that look like measured ones. Instruments differ, and samples are
strained, textured, coarse or impure. *Conditions* describe how a pattern is recorded. Each field is a number
or a distribution; each pattern gets its own value from the distribution.
"""

# %%
# Conditions
# ----------
# The presets are ideal, typical and harsh, and for images measured: pictures as laboratories share them.
# Fields can also be set one by one. The printed text of conditions is Python code that creates them again, so
# it documents a data set.

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

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--save", metavar="FILE", help="write the figure")
options = parser.parse_args() if "__file__" in globals() else parser.parse_args([])

conditions = RingConditions(
    image_size=128,
    electrons=loguniform(1e3, 1e5),
    n_grains=Sometimes(0.5, (100, 2000), otherwise=np.inf),
)
print(conditions)

# %%
# Reflections once, patterns often
# --------------------------------
# `compute_reflections` computes the structure factors once; ``memory=`` caches them on disk. Each simulation
# then only shifts, weights and broadens the lines. The figure shows rutile under each preset: a ring image, a
# spot image and two powder patterns. The images show the square root of the intensity.

crystals = load_amcsd()
rutile = crystals[np.flatnonzero((crystals.names == "Rutile") & (crystals.formulas == "TiO2"))[:1]]
electron = compute_reflections(rutile, "electron", d_min=0.7)
xray = compute_reflections(rutile, "xray", d_min=1.08, wavelength=PowderConditions().wavelength)

presets = ("ideal", "typical", "harsh", "measured")
figure, axes = plt.subplots(4, 4, figsize=(12.5, 11), height_ratios=(1, 1, 0.42, 0.42), layout="constrained")
for column, preset in enumerate(presets):
    ring = simulate_rings(electron, [0], getattr(RingConditions, preset)(), random_state=column + 4)[0]
    aligned = replace(getattr(SpotConditions, preset)(), zone_axis=(0, 0, 1))
    spot = simulate_spots(electron, [0], aligned, random_state=column)[0]
    for axis, image, name in zip(axes[:2, column], (ring, spot), ("rings", "spots along [001]"), strict=True):
        low, high = np.percentile(np.sqrt(image), [1, 99.7])
        axis.imshow(np.sqrt(image), cmap="gray_r", vmin=low, vmax=max(high, low + 1))
        axis.set(xticks=[], yticks=[], title=f"{name}, {preset}")
    if preset == "measured":  # of images only
        for axis in axes[2:, column]:
            axis.axis("off")
        continue
    conditions = replace(getattr(PowderConditions, preset)(), two_theta=(20, 80, 0.02))
    patterns = simulate_powder(xray, [0, 0], conditions, random_state=column)
    for axis, pattern in zip(axes[2:, column], patterns, strict=True):
        axis.plot(conditions.axis(), pattern, lw=0.7, color="black")
        axis.set(xlim=(20, 80), yticks=[])
        axis.spines[["top", "right"]].set_visible(False)
    axes[2, column].set_title(f"powder, {preset}")
    axes[2, column].set_xticklabels([])
    axes[3, column].set_xlabel("2θ (degrees)")
for row, kind in enumerate((RingConditions, SpotConditions)):
    axes[row, 0].set_ylabel(f"edge of the image: {kind().q_max:.1f} Å⁻¹")
axes[2, 0].set_ylabel("intensity")
axes[3, 0].set_ylabel("intensity")
if options.save:
    figure.savefig(options.save, dpi=110)
else:
    plt.show()
