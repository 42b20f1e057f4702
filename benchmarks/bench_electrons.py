"""Measured electron ring images: the rank of the correct space group, alone and with compositions.

``python benchmarks/bench_electrons.py FOLDER --models rings`` reads ``FOLDER/manifest.csv`` (columns
``file, kind, formula, space_group, pixel_size_inv_angstrom, how sure``) and the images it names. Each image
gets three answers: alone, with its formula, and with the composition of a specimen on a carbon film and a
copper grid (50 at% specimen, 30 at% carbon, 20 at% copper). The table has the rank of the space group in the
pipeline, in search-match and in the network, and the phase that search-match puts first.

Peers in the same run: pyFAI's azimuthal integration with our centre, followed by the plain cosine with an
ideal library; and a search by hand: peaks of the same profile, compared with the line lists of all phases.

``--speed N`` prints the images per second of the pipeline, from arrays to answers, on N simulated images.
The images are for validation: no parameter was tuned on their names.
"""

import argparse
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from _models import read_model
from pyFAI.integrator.azimuthal import AzimuthalIntegrator
from scipy.signal import find_peaks

from xtalsk import (
    DiffractionImage,
    RadialProfile,
    RingConditions,
    compute_reflections,
    load_amcsd,
    simulate_rings,
)
from xtalsk.diffraction._functional import condition
from xtalsk.utils._formula import SYMBOLS, parse_formula

SUPPORT = {"C": 30.0, "Cu": 20.0}
"""Atomic percent of film and grid in the third composition."""

EQUIVALENT = {99: (99, 221, 38, 160)}
"""Space groups that the rings of an image cannot tell apart: those of BaTiO3."""

BINS = 512
EDGES = np.linspace(0.05, 1.25, BINS + 1)


def revolve(path):
    """Return the image that has a radial profile: a table of radius in pixels and intensity."""
    radius, intensity = np.loadtxt(path, delimiter=",", skiprows=1).T
    n = len(radius)
    y, x = np.mgrid[-n : n + 1, -n : n + 1]
    return np.interp(np.hypot(y, x), radius, intensity, right=np.nan).astype(np.float32)


def read_images(folder):
    """Return the ring images of the manifest as a table with their cells and their correct answers."""
    table = pd.read_csv(folder / "manifest.csv")
    table = table[table["file"].str.startswith("rings/")].reset_index(drop=True)
    cells = []
    for file, size in zip(table["file"], table["pixel_size_inv_angstrom"], strict=True):
        path = folder / file
        image = revolve(path) if path.suffix == ".csv" else np.load(path)["image"]
        cells.append(DiffractionImage(image, pixel_size=float(size)))
    table["cell"] = cells
    table["name"] = [Path(file).stem for file in table["file"]]
    table["sure"] = ~table["how sure"].str.contains("doubtful")
    table["formula"] = table["formula"].str.replace("-like", "").str.replace("?", "")
    table["answers"] = [EQUIVALENT.get(number, (number,)) for number in table["space_group"]]
    return table


def on_grid(formula):
    """Return the formula, in atomic percent, of a specimen with the elements of film and grid."""
    fractions = (100 - sum(SUPPORT.values())) * parse_formula(formula)
    amounts = {SYMBOLS[z]: fractions[z] for z in np.flatnonzero(fractions)}
    for symbol, percent in SUPPORT.items():
        amounts[symbol] = amounts.get(symbol, 0) + percent
    return "".join(f"{symbol}{amount:.2f}" for symbol, amount in amounts.items())


def rank_of(proba, classes, answers):
    """Return the rank of the first of the correct labels, counted from 1."""
    order = classes[np.argsort(-proba, kind="stable")]
    return int(np.flatnonzero(np.isin(order, answers))[0]) + 1


def judge(pipeline, table):
    """Return the ranks of the correct space groups in a published pipeline and its parts."""
    features, blend = pipeline[:-1], pipeline[-1]
    parts = {"blend": blend, "search": blend.library_, "network": blend.classifier_}
    kinds = {
        "alone": [None] * len(table),
        "formula": list(table["formula"]),
        "grid": [on_grid(formula) for formula in table["formula"]],
    }
    ranks = table[["name", "space_group", "sure"]].copy()
    for kind, formulas in kinds.items():
        X = pd.DataFrame({"rings": table["cell"], "formula": pd.Series(formulas, dtype=object)})
        row = features.transform(X)
        for name, part in parts.items():
            proba = part.predict_proba(row)
            ranks[f"{kind} {name}"] = [
                rank_of(p, part.classes_, answers) if np.isfinite(p).all() else -1
                for p, answers in zip(proba, table["answers"], strict=True)
            ]
        best = blend.candidates(row, n=1).set_index("row")
        ranks[f"{kind} phase"] = best["formula"].reindex(range(len(table))).to_numpy()
    return ranks


def integrate(cell):
    """Integrate an image with pyFAI around our centre; return its profile on `EDGES`, NaN if not covered."""
    row, column = RadialProfile().fit([None]).find_geometry([cell])[1].center[0].tolist()
    integrator = AzimuthalIntegrator(
        dist=1.0, poni1=row * 1e-4, poni2=column * 1e-4, pixel1=1e-4, pixel2=1e-4, wavelength=1e-10
    )
    image = np.nan_to_num(cell.data, nan=-1e9).astype(np.float32)
    reach = (EDGES[0] / cell.pixel_size * 0.1, EDGES[-1] / cell.pixel_size * 0.1)
    result = integrator.integrate1d(
        image,
        BINS,
        radial_range=reach,
        unit="r_mm",
        method=("no", "csr", "cython"),
        dummy=-1e9,
        delta_dummy=1,
    )
    return np.where(result.count > 0, result.intensity, np.nan)


def peers(table, crystals):
    """Return the ranks of pyFAI with plain cosine, and of the search by hand."""
    import torch

    lines = compute_reflections(crystals, "electron", d_min=1 / EDGES[-1])
    owner = np.repeat(np.arange(len(crystals)), np.diff(lines.offsets))
    q, strength = lines.q.numpy(), (lines.intensity * lines.multiplicity / lines.q).numpy()
    bins = np.digitize(q, EDGES) - 1
    inside = (bins >= 0) & (bins < BINS)
    library = np.zeros((len(crystals), BINS), np.float32)
    np.add.at(library, (owner[inside], bins[inside]), strength[inside])
    kernel = np.exp(-0.5 * (np.arange(-6, 7) * (EDGES[1] - EDGES[0]) / (0.008 / 2.355)) ** 2)
    library = np.sqrt(np.apply_along_axis(np.convolve, 1, library, kernel, "same"))
    classes = np.unique(crystals.space_groups)
    ranks = {"pyFAI + cosine": [], "by hand": []}
    for cell, answers in zip(table["cell"], table["answers"], strict=True):
        profile = integrate(cell)
        width = 0.06 / (EDGES[1] - EDGES[0])
        values = condition(torch.from_numpy(profile.astype(np.float32))[None], width)[0].numpy()
        x = np.nan_to_num(values)
        measured = np.isfinite(values).astype(np.float32)
        norm = np.sqrt((library**2 @ measured) * (x @ x))
        cosine = library @ x / np.maximum(norm, 1e-12)
        peaks = find_peaks(x, prominence=0.15 * x.max())[0]
        places = (EDGES[peaks] + EDGES[peaks + 1]) / 2
        for name, score in (
            ("pyFAI + cosine", cosine),
            ("by hand", _match_lines(places, x[peaks], q, strength, lines)),
        ):
            best = np.array([score[crystals.space_groups == c].max() for c in classes])
            ranks[name].append(rank_of(best, classes, answers))
    return pd.DataFrame(ranks)


def _match_lines(places, heights, q, strength, lines, tolerance=0.015, n_lines=8):
    """Share of peaks that strong lines explain, less the share of strong lines without a peak, by crystal."""
    scores = np.full(len(lines.ids), -1.0)
    for row, (first, last) in enumerate(zip(lines.offsets[:-1], lines.offsets[1:], strict=True)):
        position, amount = q[first:last], strength[first:last]
        inside = (position > EDGES[0]) & (position < places.max(initial=0) * 1.02)
        position, amount = position[inside], amount[inside]
        strong = position[np.argsort(-amount)[:n_lines]]
        if len(strong) and len(places):
            near = np.abs(places[:, None] / strong - 1) < tolerance
            scores[row] = heights[near.any(1)].sum() / heights.sum() - 0.5 * (~near.any(0)).mean()
    return scores


def speed(pipeline, n):
    """Print the images per second of the pipeline on simulated images, from arrays to answers."""
    crystals = load_amcsd()[:: max(1, 9000 // n)]
    lines = compute_reflections(crystals, "electron", d_min=0.65)
    conditions = RingConditions.measured()
    rows = np.flatnonzero(np.diff(lines.offsets) > 0)[:n]
    images = simulate_rings(lines, rows, conditions, random_state=0)
    size = 2 * conditions.q_max / conditions.image_size
    cells = [DiffractionImage(image, pixel_size=size) for image in images]
    X = pd.DataFrame({"rings": pd.Series(cells, dtype=object), "formula": crystals.formulas[rows]})
    pipeline.predict_proba(X[:20])  # loops are compiled, look-up tables are made
    cells = [DiffractionImage(image, pixel_size=size) for image in images]  # nothing is cached
    X["rings"] = pd.Series(cells, dtype=object)
    start, cpu = time.perf_counter(), time.process_time()
    pipeline.predict_proba(X)
    wall, cpu = time.perf_counter() - start, time.process_time() - cpu
    rates = f"{len(X) / wall:.0f}/s, {len(X) / cpu:.0f}/s of processor time"
    print(f"{len(X)} images of {images.shape[1]}²: {rates}")


def summarise(ranks, peer_ranks):
    """Print how many images are right and in the first five, of the sure ones and of all."""
    table = pd.concat([ranks.drop(columns=["name", "space_group"]), peer_ranks], axis=1)
    rows = {}
    for column in table.columns:
        if column == "sure" or column.endswith("phase"):
            continue
        values, sure = table[column], table["sure"]
        rows[column] = {
            "sure, first": f"{(values[sure] == 1).sum()} of {sure.sum()}",
            "sure, in five": ((values[sure] >= 1) & (values[sure] <= 5)).sum(),
            "all, first": f"{(values == 1).sum()} of {len(values)}",
            "all, in five": ((values >= 1) & (values <= 5)).sum(),
        }
    print(pd.DataFrame(rows).T.to_string())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--models", nargs="+", type=Path, default=[])
    parser.add_argument("--speed", type=int, default=0, metavar="N", help="simulated images for the speed")
    options = parser.parse_args()
    table = read_images(options.folder)
    crystals = load_amcsd()
    peer_ranks = peers(table, crystals)
    for path in options.models:
        pipeline = read_model(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # remarks on centres and spots
            ranks = judge(pipeline, table)
        print(path.name)
        print(pd.concat([ranks, peer_ranks], axis=1).to_string(index=False))
        summarise(ranks, peer_ranks)
        if options.speed:
            speed(pipeline, options.speed)


if __name__ == "__main__":
    main()
