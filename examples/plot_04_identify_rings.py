"""
Identification of a ring pattern
================================

A microscopist has a ring pattern of a powder on a carbon film, and perhaps a composition from the X-ray
spectrum. Which phase is it? This example simulates such an image, with the beam stop, the halo and the broad
lines of measured ones, and compares it with a library of mineral structures: first the image alone, then
with the composition.

``--image FILE`` also identifies a measured image. ``--pixel-size`` is its calibration in 1/Å, for a file that
has none, and ``--composition`` that of the specimen. Where there is no command line, the environment variable
``XTALSK_RING_IMAGE`` names the file, which then needs its own calibration.
"""

# %%
# The image
# ---------
# The specimen is nickel oxide. `RingConditions.measured` describes the images that laboratories share: any
# camera, any grains, and a camera length that is wrong by up to 5%. Here the image has a beam stop, and the
# carbon film scatters a part of the background.

import argparse
import os
import time
import warnings
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
from sklearn.pipeline import make_pipeline

from xtalsk import (
    BrokenEntryWarning,
    DiffractionImage,
    ElementFractions,
    IdentificationDisplay,
    LibraryMatch,
    RadialProfile,
    RingConditions,
    SpecimenColumns,
    compute_reflections,
    load_amcsd,
    make_features,
    make_library,
    read_image,
    simulate_rings,
)

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--image", metavar="FILE", default=os.environ.get("XTALSK_RING_IMAGE"))
parser.add_argument("--pixel-size", type=float, metavar="Q", help="1/Å per pixel of the image")
parser.add_argument("--composition", help="of the specimen in the image, such as Ni25O25C30Cu20")
parser.add_argument("--save", metavar="STEM", help="write STEM_alone.png, STEM_composition.png and so on")
options = parser.parse_args() if "__file__" in globals() else parser.parse_args([])

start = time.perf_counter()
crystals = load_amcsd()
oxide = crystals[np.flatnonzero(crystals.formulas == "NiO")[:1]]
conditions = replace(
    RingConditions.measured(), image_size=512, q_max=1.0, beam_stop=1.0, support=(0.3, 0.6), glass=0.0
)
reflections = compute_reflections(oxide, "electron", d_min=0.7)
image = DiffractionImage(
    simulate_rings(reflections, [0], conditions, random_state=2)[0],
    pixel_size=2 * conditions.q_max / conditions.image_size,
)

# %%
# The pipeline
# ------------
# The library holds one ideal pattern and the exact composition of each of 9,273 structures; it takes a few
# seconds. `LibraryMatch` compares a measured profile with all of them, at several line widths and scales. No
# training is needed.

features = make_features(diffraction=("rings", RadialProfile()), fractions=("formula", ElementFractions()))
with warnings.catch_warnings():
    warnings.simplefilter("ignore", BrokenEntryWarning)  # entries of the database with overlapping atoms
    library = make_library(crystals, features, random_state=0)
columns = SpecimenColumns(["rings", "formula"])
pipeline = make_pipeline(columns, features, LibraryMatch().fit(*library))

# %%
# The image alone
# ---------------
# The cross is the direct beam that was found, and the blue pixels are not used. The right half of the image
# has the rings of the best candidate. The rows below the profile have the lines of three candidates. Crystals
# of the rock-salt type with nearly the same cell have the same lines. The probability p of each is therefore
# low, but they share their symmetry, so that the space group is probable.


def show(specimen, name):
    """Identify a specimen, draw it, and print the best candidates."""
    display = IdentificationDisplay.from_estimator(pipeline, specimen, crystals=crystals)
    shown = ["formula", "mineral", "label", "similarity", "probability", "scale"]
    print(f"{name}:\n{display.candidates[shown].round(3).to_string(index=False)}")
    if options.save:
        display.figure_.savefig(f"{options.save}_{name}.png", dpi=150)


show(image, "alone")

# %%
# With the composition
# --------------------
# An X-ray spectrum of the same specimen has the copper of the grid and the carbon of the film as well.
# `LibraryMatch` allows for both.

show({"rings": image, "formula": "Ni25O25C30Cu20"}, "composition")

# %%
# A measured image
# ----------------
# It can be any file that `read_image` can read. ``width="column"`` would make a figure for one column of a
# journal.

if options.image:
    measured = read_image(options.image, pixel_size=options.pixel_size)
    show({"rings": measured, "formula": options.composition}, "measured")
print(f"{time.perf_counter() - start:.0f} s")
plt.show()
