"""
Structure of a new compound
===========================

A chemist has made a compound that is in no library. The powder pattern is measured and the formula is known.
`PrototypeMatch` puts the elements into known structures of the same stoichiometry, refines their cells, and
compares the patterns. The result is a crystal structure that other programs can refine.
"""

# %%
# The measurement
# ---------------
# The specimen is strontium palladate, Sr2PdO3, whose structure was published. The example forgets it: all
# structures that hold both strontium and palladium are left out of the prototypes. The pattern is simulated,
# with the width of lines, the background and the noise of a typical diffractometer.

import argparse
import itertools
import tempfile
import time
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from pymatgen.core import Structure
from pymatgen.symmetry.groups import SpaceGroup

from xtalsk import (
    ElementFractions,
    PowderConditions,
    PowderProfile,
    Profile,
    PrototypeMatch,
    compute_reflections,
    load_prototypes,
    make_features,
    simulate_powder,
)

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--save", metavar="STEM", help="write STEM_fits.png and STEM_cells.png")
options = parser.parse_args() if "__file__" in globals() else parser.parse_args([])

start = time.perf_counter()
WAVELENGTH = 1.5406  # Å, copper
AXIS = (10, 80, 0.02)  # first and last angle, and step, in degrees
crystals = load_prototypes()
contains = {
    z: np.bincount(crystals.crystal_of_site, crystals.atomic_numbers == z, len(crystals)) > 0
    for z in (38, 46)
}
is_forgotten = contains[38] & contains[46]
truth = crystals[crystals.ids == "amcsd:16015"]
conditions = replace(PowderConditions.typical(), hump=0.0)  # nothing amorphous
reflections = compute_reflections(truth, "xray", d_min=0.9, wavelength=WAVELENGTH)
counts = simulate_powder(reflections, conditions=conditions, two_theta=AXIS, random_state=0)[0].astype(float)
two_theta = AXIS[0] + AXIS[2] * np.arange(len(counts))
specimen = pd.DataFrame(
    {"powder": [Profile(counts, two_theta=two_theta, wavelength=WAVELENGTH)], "formula": ["Sr2PdO3"]}
)

# %%
# Candidates
# ----------
# No training is needed. The best prototype of each space group is listed: its formula, the space group, the
# refined cell, the similarity of the patterns, and the probability of the candidate. ``contact`` is the
# shortest distance over the sum of the covalent radii: below 0.6, the structure is impossible.

features = make_features(
    diffraction=("powder", PowderProfile(wavelength=WAVELENGTH)), fractions=("formula", ElementFractions())
)
X = features.fit_transform(specimen)
match = PrototypeMatch(crystals[~is_forgotten]).fit(X)
table = match.candidates(X, n=30)
best = table.drop_duplicates("space_group").head(3)
columns = ["prototype", "space_group", "a", "b", "c", "similarity", "probability", "contact"]
print(best[columns].round(3).to_string(index=False))
predicted = match.structures(X, n=30)[best["rank"].to_numpy() - 1]


def title(i):
    """Describe candidate ``i``: prototype, space group, edges of the cell."""
    symbol = SpaceGroup.from_int_number(int(best["space_group"].iloc[i])).symbol.replace("_1", "₁")
    edges = ", ".join(f"{best[edge].iloc[i]:.3f}" for edge in "abc")
    return f"{best['prototype'].iloc[i]} type, {symbol}, {edges} Å"


# %%
# Fits
# ----
# Black dots are the measured pattern, coloured lines the patterns of the three structures. The square roots
# of the counts show weak lines too. Scale, background, width of lines and zero shift are fitted, but no
# atoms. Ticks are the positions of lines, and the grey curves are the differences. The first structure
# explains all lines. The others miss strong lines and have lines that were not measured.

COLOURS = ["#0072b2", "#d55e00", "#009e73"]
SMALL = {"fontsize": 9, "color": "0.4", "ha": "right"}


def fit_pattern(crystal):
    """Return the computed pattern that fits the counts best, and the angles of its lines."""
    lines = compute_reflections(crystal, "xray", d_min=0.9, wavelength=WAVELENGTH)
    background = np.polynomial.legendre.legvander(np.linspace(-1, 1, len(counts)), 7)
    weights = 1 / np.sqrt(counts + 1)
    fits = []
    for size, shift in itertools.product((200, 400, 800, 1600), np.linspace(-0.12, 0.12, 13)):
        conditions = PowderConditions(
            two_theta=AXIS, w=0.004, crystallite_size=size, zero_shift=shift, background=0, peak_counts=1e6
        )
        pattern = simulate_powder(lines, conditions=conditions, random_state=0)[0] / 1e6
        parts = np.column_stack([pattern, background])
        factors = np.linalg.lstsq(parts * weights[:, None], counts * weights, rcond=None)[0]
        curve = np.maximum(parts @ factors, 0)
        fits.append((np.sum(((curve - counts) * weights) ** 2), curve, shift))
    _, curve, shift = min(fits, key=lambda fit: fit[0])
    angles = 2 * np.rad2deg(np.arcsin(np.minimum(lines.q.numpy() * WAVELENGTH / 2, 1))) + shift
    return curve, angles


figure, panels = plt.subplots(3, 1, figsize=(9, 7.5), sharex=True, sharey=True, layout="constrained")
top = np.sqrt(counts.max())
for i, (panel, colour) in enumerate(zip(panels, COLOURS, strict=True)):
    row, (curve, angles) = best.iloc[i], fit_pattern(predicted[i])
    panel.plot(two_theta, np.sqrt(counts), ".", ms=2, color="0.2", label="measured")
    panel.plot(two_theta, np.sqrt(curve), lw=1.1, color=colour, label="computed")
    panel.vlines(angles, -0.1 * top, -0.04 * top, color=colour, lw=0.7)
    panel.plot(two_theta, np.sqrt(counts) - np.sqrt(curve) - 0.35 * top, lw=0.6, color="0.5")
    panel.annotate("difference", (AXIS[1], -0.35 * top), (0, -14), textcoords="offset points", **SMALL)
    panel.set_title(f"{i + 1}. {title(i)}, similarity {row['similarity']:.2f}", loc="left", color=colour)
    panel.spines[["top", "right"]].set_visible(False)
    panel.set_yticks([0, 25, 50, 75])
panels[0].legend(frameon=False, loc="upper right", markerscale=4)
panels[1].set_ylabel("square root of counts")
panels[-1].set(xlabel="2θ (degrees)", xlim=AXIS[:2], ylim=(-0.62 * top, 1.05 * top))
if options.save:
    figure.savefig(f"{options.save}_fits.png", dpi=120)

# %%
# The files
# ---------
# The crystals are written as CIF files, with symmetry operations and the asymmetric unit, and pymatgen reads
# them back. The shortest distances are those of bonds between metals and oxygen.

with tempfile.TemporaryDirectory() as folder:
    paths = predicted.to_cifs(folder)
    print(paths[0].read_text())
    structures = [Structure.from_file(path) for path in paths]
for i, structure in enumerate(structures):
    assert structure.matches(predicted.to_pymatgen(i))
    distances = structure.distance_matrix + 99 * np.eye(len(structure))
    print(f"{title(i)}: shortest distance {distances.min():.2f} Å")

# %%
# The structures
# --------------
# The view is along the shortest axis. Lines join palladium to its oxygen. The first prediction is the
# published
# structure: squares of oxygen around palladium share corners and form chains.


def draw_cell(panel, structure):
    """Draw the atoms of a cell, and those on its faces, along the shortest axis."""
    shortest = int(np.argmin(structure.lattice.abc))
    axes = sorted({0, 1, 2} - {shortest}, key=lambda k: structure.lattice.abc[k])
    edges = np.array(structure.lattice.abc)[axes]
    steps = [np.eye(3, dtype=int)[axes].T @ step for step in itertools.product((-1, 0, 1), repeat=2)]
    places = [(s.specie.symbol, s.frac_coords % 1 + step) for s in structure for step in steps]
    places = [p for p in places if np.all((p[1][axes] > -0.01) & (p[1][axes] < 1.01))]
    for symbol, place in places:
        colour, size = STYLE[symbol]
        panel.scatter(*(place[axes] * edges), s=size, color=colour, edgecolor="0.2", lw=0.6, zorder=3)
        if symbol == "Pd":
            for other, end in places:
                step = end - place
                step[shortest] -= np.round(step[shortest])
                distance = np.linalg.norm(structure.lattice.get_cartesian_coords(step))
                if other == "O" and distance < 2.4:
                    panel.plot(*(np.array([place, end])[:, axes] * edges).T, color="0.4", lw=1.5, zorder=2)
    panel.add_patch(plt.Rectangle((0, 0), *edges, fill=False, lw=0.8, color="0.6", zorder=1))
    panel.set_aspect("equal")
    panel.margins(0.12)
    panel.axis("off")


STYLE = {"Sr": ("#8fbc8f", 170), "Pd": ("#4a5a8a", 110), "O": ("#e0503a", 60)}
figure, panels = plt.subplots(1, 4, figsize=(11, 4.6), layout="constrained")
names = ["published: Immm", *(f"{i + 1}. {best['prototype'].iloc[i]} type" for i in range(3))]
for panel, structure, name in zip(panels, [truth.to_pymatgen(0), *structures], names, strict=True):
    draw_cell(panel, structure)
    panel.set_title(name, fontsize=11, color=["black", *COLOURS][names.index(name)])
marks = [panels[0].scatter([], [], s=STYLE[s][1], color=STYLE[s][0], edgecolor="0.2", lw=0.6) for s in STYLE]
figure.legend(marks, STYLE, loc="outside lower center", ncols=3, frameon=False)
print(f"{time.perf_counter() - start:.0f} s")
if options.save:
    figure.savefig(f"{options.save}_cells.png", dpi=120)
plt.show()
