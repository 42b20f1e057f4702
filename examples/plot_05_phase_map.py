"""
Phase map of a scan
===================

A microscope scans a thin specimen of two phases, nickel oxide and rutile, with a boundary between them. A
part of the carbon film is bare. Each position gets a diffraction pattern of 300 electrons and an X-ray
spectrum of 100 counts. Where is which phase? This example maps the scan from the patterns alone, from the
spectra alone, and from both together, and compares the maps with the truth.
"""

# %%
# The scan
# --------
# The patterns are those of fine grains: spotty rings, the background of the specimen and the haloes of the
# carbon film. The spectra have the lines of the specimen, the film and the copper grid. The boundary is
# sharper than a step of the scan. Here, a scan in memory is an array of shape (rows, columns, pixels,
# pixels). `map_structures` also takes files, dask arrays and HyperSpy signals, and reads them in parts.

import argparse
import time
import warnings
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
from sklearn.pipeline import make_pipeline

from xtalsk import (
    BrokenEntryWarning,
    EDSComposition,
    EDSConditions,
    ElementFractions,
    LibraryMatch,
    RadialProfile,
    RingConditions,
    Scan,
    ScanAxis,
    SpecimenColumns,
    StructureMap,
    StructureMapDisplay,
    compute_reflections,
    load_amcsd,
    make_features,
    make_library,
    map_structures,
    simulate_eds,
    simulate_rings,
)
from xtalsk.spectra import map_compositions

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--electrons", type=float, default=300, help="in a pattern")
parser.add_argument("--counts", type=float, default=100, help="of X-rays in a spectrum")
parser.add_argument("--save", metavar="STEM", help="write STEM_maps.png, STEM_fused.png")
options = parser.parse_args() if "__file__" in globals() else parser.parse_args([])

start = time.perf_counter()
rng = np.random.default_rng(0)
n, size, q_max = 40, 128, 1.0
rows, columns = np.indices((n, n))
truth = (columns + 4 * np.sin(rows / 6) > n / 2).astype(int)  # 0: nickel oxide, 1: rutile
truth[(rows > 0.7 * n) & (columns < 0.35 * n)] = 2  # bare film

crystals = load_amcsd()
phases = [
    crystals[np.flatnonzero((crystals.formulas == formula) & (crystals.space_groups == number))[:1]]
    for formula, number in (("NiO", 225), ("TiO2", 136))
]
conditions = RingConditions(
    image_size=size, q_max=q_max, off_center=0.0, n_grains=200, background=0.6, support=0.5, detector="ideal"
)
film = replace(conditions, background=1.0, support=1.0)
rates = []
for phase, of_phase in zip([*phases, phases[0]], [conditions, conditions, film], strict=True):
    lines = compute_reflections(phase, "electron", d_min=0.68)
    rates.append(simulate_rings(lines, [0] * 32, of_phase, electrons=1e6, random_state=0))
rates = np.array(rates, dtype=np.float32)
rates /= rates.sum(axis=(2, 3), keepdims=True)
patterns = rng.poisson(options.electrons * rates[truth, rng.integers(0, 32, truth.shape)]).astype(np.uint16)
axes = [ScanAxis("y", n, 2.0, units="nm"), ScanAxis("x", n, 2.0, units="nm")]
scan = Scan(patterns, axes, pixel_size=2 * q_max / size)

# %%
# The spectra are counted channel by channel, too. `map_compositions` finds the elements in sums of pixels and
# then fits each pixel.

of_spectra = replace(EDSConditions.ideal(), counts=1e6)
spectra = simulate_eds(["Ni3O3C3Cu", "Ti2O4C3Cu", "C9Cu"], conditions=of_spectra, random_state=0)
spectra = spectra / spectra.sum(axis=1, keepdims=True)
counts = rng.poisson(options.counts * spectra[truth])
compositions = map_compositions(
    EDSComposition(thickness_nm=50), counts, energy=of_spectra.axis(), beam_energy=200, random_state=0
)
print(f"elements in the spectra: {', '.join(compositions.elements)}")

# %%
# The pipeline
# ------------
# Search-match in a small library: the two phases and 60 other structures, such as a laboratory that knows its
# materials would use. A trained pipeline is used in the same way.

chosen = np.unique([np.flatnonzero(crystals.ids == phase.ids[0])[0] for phase in phases])
others = np.arange(0, len(crystals), len(crystals) // 60)
features = make_features(diffraction=("rings", RadialProfile()), fractions=("formula", ElementFractions()))
with warnings.catch_warnings():
    warnings.simplefilter("ignore", BrokenEntryWarning)  # entries of the database with overlapping atoms
    warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)  # of a small library
    library = make_library(crystals[np.unique([*chosen, *others])], features, random_state=0)
    search = LibraryMatch().fit(*library)
pipeline = make_pipeline(SpecimenColumns(["rings", "formula"]), features, search)

# %%
# Three maps
# ----------
# The geometry of the patterns is found once, on means of parts of the scan. Each position is identified
# alone. ``min_confidence`` decides what is not indexed.

maps = {
    "diffraction": map_structures(pipeline, scan),
    "chemistry": map_structures(pipeline, None, compositions),
    "fused": map_structures(pipeline, scan, compositions),
}
numbers = np.array([225, 136, 0])[truth]  # 0: not indexed
for name, found in maps.items():
    print(f"{name}: {np.mean(found.label == numbers):.1%} of the positions are right; {found}")

# %%
# Truth and maps side by side
# ---------------------------
# Colours are phases, and light colours are unsure: blue is nickel oxide, orange is rutile, and brown is any
# other phase. Grey positions are not indexed.

known = StructureMap.from_codes(
    np.where(truth < 2, 1 - truth, -1), np.ones((n, n)), labels=[136, 225], axes=axes, level="space_group"
)
figure, panels = plt.subplots(1, 4, figsize=(11, 3.2), layout="constrained")
for panel, (name, found) in zip(panels, {"truth": known, **maps}.items(), strict=True):
    StructureMapDisplay.from_map(found, labels=[225, 136], ax=panel)
    panel.set_title(name if name == "truth" else f"{name}: {np.mean(found.label == numbers):.0%}")

# %%
# The fused map with its legend and the surest pattern of each phase. Single patterns of 300 electrons show
# hardly a ring. ``average=1.0`` would average each pattern with its neighbours, and ``group=20`` would
# identify the means of twenty groups of alike patterns.

display = maps["fused"].plot(labels=[225, 136], n_examples=2)
print(f"{time.perf_counter() - start:.0f} s")
if options.save:
    figure.savefig(f"{options.save}_maps.png", dpi=130)
    display.figure_.savefig(f"{options.save}_fused.png", dpi=130)
plt.show()
