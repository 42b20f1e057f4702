"""Numbers that describe ring images, and trees that distinguish measured images from simulated ones."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from pymatgen.core import Composition
from scipy.ndimage import uniform_filter
from sklearn.ensemble import ExtraTreesClassifier
from tqdm import tqdm

from xtalsk import DiffractionImage, RadialProfile, load_amcsd
from xtalsk.simulation import RingConditions, compute_reflections, simulate_rings

SIZE = 256  # rows and columns of the images that are compared
RINGS = 24  # annuli of the azimuthal statistics
SECTORS = 36
SAMPLES = 20_000  # bootstrap samples of the specimens


def measured_images(folder):
    """Read the ring images of a folder with a manifest, reduced to `SIZE`.

    Returns
    -------
    DataFrame
        Columns ``image`` (float32, NaN where masked), ``pixel_size`` in 1/Å, ``formula``, ``space_group`` and
        ``specimen``.
    """
    folder = Path(folder)
    table = pd.read_csv(folder / "manifest.csv")
    table = table[table["file"].str.match(r"rings/.*\.npz$")].reset_index(drop=True)
    images, pixel_sizes = [], []
    for name in table["file"]:
        with np.load(folder / name) as archive:
            image, pixel_size = archive["image"].astype(np.float32), float(archive["pixel_size"])
        image, factor = reduced(image)
        images.append(image)
        pixel_sizes.append(pixel_size * factor)
    specimen = table["file"].str.replace(r"_\d\.npz$|\.npz$", "", regex=True)
    return table[["formula", "space_group"]].assign(image=images, pixel_size=pixel_sizes, specimen=specimen)


def reduced(image):
    """Cut an image to a square about its middle and reduce it to `SIZE` rows; also return the factor."""
    side = min(image.shape)
    top, left = ((length - side) // 2 for length in image.shape)
    image = image[top : top + side, left : left + side]
    edges = np.linspace(0, side, SIZE + 1)
    known = np.isfinite(image)
    whole = (image[known] % 1 == 0).all()
    means = _block_sums(np.where(known, image, 0), edges) / np.maximum(_block_sums(known, edges), 1e-9)
    means[_block_sums(known, edges) < 0.5 * (side / SIZE) ** 2] = np.nan
    return (np.round(means) if whole else means).astype(np.float32), side / SIZE


def _block_sums(image, edges):
    """Sum pixels between fractional edges along both axes."""
    for _ in range(2):
        sums = np.concatenate([np.zeros((1, image.shape[1])), np.cumsum(image, 0, dtype=float)])
        low = np.minimum(edges.astype(int), len(image))
        high = np.minimum(low + 1, len(image))
        at_edges = sums[low] + (edges - low)[:, None] * (sums[high] - sums[low])
        image = np.diff(at_edges, axis=0).T
    return image


def simulated_images(measured, preset, copies, seed):
    """Simulate ``copies`` images of the phase of each measured image, with its pixel size and masked pixels.

    Returns a DataFrame with the columns of `measured_images`.
    """
    crystals = load_amcsd()
    formulas = np.array([Composition(f).reduced_formula for f in crystals.formulas])
    parts = []
    for k, row in measured.iterrows():
        formula = Composition(row.formula.rstrip("?").replace("-like", "")).reduced_formula
        rows = np.flatnonzero((formulas == formula) & (crystals.space_groups == row.space_group))
        if not len(rows):
            rows = np.flatnonzero(formulas == formula)
        q_max = row.pixel_size * SIZE / 2
        lines = compute_reflections(crystals[rows[:1]], "electron", d_min=0.7 / q_max)
        conditions = getattr(RingConditions, preset)()
        conditions = replace(conditions, image_size=SIZE, q_max=q_max)
        images = simulate_rings(lines, np.zeros(copies, int), conditions, random_state=seed + 1000 * k)
        images = images.astype(np.float32)
        images[:, np.isnan(row.image)] = np.nan
        for image in images:
            parts.append(row.to_dict() | {"image": image})
    return pd.DataFrame(parts)


def features(table):
    """Return the numbers of each image: radial profile, azimuthal statistics and grey values."""
    finder = RadialProfile(on_error="warn").fit([None])
    rows, cells = [], []
    for image, pixel_size in zip(table["image"], table["pixel_size"], strict=True):
        cells.append(DiffractionImage(image, pixel_size=pixel_size))
        _, geometry = finder.find_geometry(cells[-1:])
        center = geometry.center[0].numpy().astype(float)
        rows.append(
            _grey_values(image)
            | _azimuthal(image, center)
            | _noise(image)
            | {"off_center": np.hypot(*(center - (SIZE - 1) / 2)) / SIZE}
        )
    profiles = RadialProfile(n_bins=32, q_range=(0.05, 0.95), on_error="warn").fit_transform(
        pd.Series(cells, dtype=object)
    )
    names = [f"profile_{q:.2f}" for q in np.linspace(0.05, 0.95, 32)]
    return pd.concat([pd.DataFrame(rows), pd.DataFrame(np.asarray(profiles), columns=names)], axis=1)


def _grey_values(image):
    """Return the histogram of grey values between the 1st and the 99.5th percentile, and clipped shares."""
    values = image[np.isfinite(image)]
    low, high = np.percentile(values, [1, 99.5])
    scaled = (values - low) / max(high - low, 1e-9)
    numbers = {f"grey_{p}": np.percentile(scaled, p) for p in (5, 10, 25, 50, 75, 90, 95, 99)}
    numbers["at_highest"] = np.log10((values == values.max()).mean())
    numbers["at_lowest"] = np.log10((values == values.min()).mean())
    numbers["n_levels"] = np.log10(len(np.unique(values)))
    numbers["tail"] = np.log10(max((values.max() - low) / max(high - low, 1e-9), 1e-3))
    return numbers


def _noise(image):
    """Return the noise of neighbouring pixels relative to the contrast, and its correlation."""
    filled = np.where(np.isfinite(image), image, np.nanmedian(image))
    rest = filled - uniform_filter(filled, 3)
    smooth = uniform_filter(filled, 9)
    spread = np.subtract(*np.percentile(filled, [99, 1])) + 1e-9
    numbers = {"noise": np.log10(np.median(np.abs(rest)) / spread + 1e-4)}
    for name, low, high in (("dark", 10, 30), ("bright", 80, 95)):
        inside = (smooth >= np.percentile(smooth, low)) & (smooth <= np.percentile(smooth, high))
        numbers[f"noise_{name}"] = np.log10(rest[inside].std() / spread + 1e-4)
    power = (rest**2).mean() + 1e-9
    numbers["noise_next"] = (rest[:, 1:] * rest[:, :-1]).mean() / power
    numbers["noise_second"] = (rest[:, 2:] * rest[:, :-2]).mean() / power
    return numbers


def _azimuthal(image, center):
    """Return mean, spread and peakedness of sectors of annuli, relative to the contrast of the image."""
    row, column = np.indices(image.shape)
    radius = np.hypot(row - center[0], column - center[1])
    ring = (radius * (RINGS / (SIZE / 2))).astype(int)
    sector = ((np.arctan2(row - center[0], column - center[1]) / (2 * np.pi) + 0.5) * SECTORS).astype(int)
    sector = np.minimum(sector, SECTORS - 1)
    use = np.isfinite(image) & (ring < RINGS)
    index = ring[use] * SECTORS + sector[use]
    number = np.bincount(index, minlength=RINGS * SECTORS)
    low, high = np.percentile(image[use], [1, 99.5])
    scaled = (image[use] - low) / max(high - low, 1e-9)
    means = np.bincount(index, scaled, RINGS * SECTORS) / np.maximum(number, 1)
    means = np.where(number > 0, means, np.nan).reshape(RINGS, SECTORS)
    numbers = {}
    for k, line in enumerate(means):
        line = line[np.isfinite(line)]
        if len(line) < SECTORS // 3:
            line = np.full(3, np.nan)
        middle = np.median(line)
        numbers[f"mean_{k}"] = middle
        numbers[f"spread_{k}"] = np.subtract(*np.percentile(line, [75, 25])) / (abs(middle) + 0.05)
        numbers[f"highest_{k}"] = (line.max() - middle) / (abs(middle) + 0.05)
        numbers[f"lowest_{k}"] = (line.min() - middle) / (abs(middle) + 0.05)
    return numbers


def gauge(measured, simulated, specimens, specimens_simulated):
    """Train trees without one specimen and its phase, and rank its images among simulated ones of its phase.

    Returns
    -------
    Series
        For each specimen, the share of simulated images that look less measured than the measured ones.
    loss : Series
        Importance of the columns, mean over specimens.
    """
    X = pd.concat([measured, simulated], ignore_index=True).astype(np.float32)
    y = np.repeat([1, 0], [len(measured), len(simulated)])
    groups = np.concatenate([specimens, specimens_simulated])
    areas, importances = {}, []
    for specimen in np.unique(specimens):
        test = groups == specimen
        model = ExtraTreesClassifier(500, min_samples_leaf=2, class_weight="balanced", random_state=0)
        model.fit(X[~test].fillna(-1), y[~test])
        score = model.predict_proba(X[test].fillna(-1))[:, 1]
        real, other = score[y[test] == 1], score[y[test] == 0]
        areas[specimen] = ((other < real[:, None]) + 0.5 * (other == real[:, None])).mean()
        importances.append(model.feature_importances_)
    return pd.Series(areas), pd.Series(np.mean(importances, 0), X.columns).sort_values(ascending=False)


def interval(areas):
    """Return the mean and its 90% interval over bootstrap samples of the specimens."""
    rng = np.random.RandomState(0)
    means = areas.to_numpy()[rng.randint(len(areas), size=(SAMPLES, len(areas)))].mean(1)
    return areas.mean(), *np.percentile(means, [5, 95])


def compare_presets(folder, presets, copies):
    """Print how well trees distinguish the measured images of a folder from simulated ones."""
    torch.set_num_threads(1)
    measured = measured_images(folder)
    own = features(measured)
    print(f"{len(measured)} measured images of {measured.specimen.nunique()} specimens, {copies} copies each")
    table = {}
    for preset in tqdm(presets):
        simulated = simulated_images(measured, preset, copies, 1)
        areas, importances = gauge(own, features(simulated), measured.specimen, simulated.specimen)
        table[preset] = areas
        print(f"\n{preset}: area {{:.3f}} ({{:.3f}} to {{:.3f}}); columns".format(*interval(areas)))
        print(importances.head(12).round(3).to_string())
    print(pd.DataFrame(table).round(2).to_string())
