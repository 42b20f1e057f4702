"""Measured powder patterns compared with patterns calculated from the labelled crystal structures.

Run ``python benchmarks/bench_powders.py FOLDER [--figure FILE.png] [--csv FILE.csv]``. FOLDER holds a folder
for each material, with the measured pattern (``.csv``: 2θ in degrees for Cu Kα, intensity) and the structure
(``.cif``).

The calculated curve is the forward model of `xtalsk.simulation.powder` without noise. Only scale, background,
zero shift and width are fitted. The other columns of the table show what would improve the match: another
cell; with that cell also texture, intensities that change with angle, or a lower symmetry of the cell; or
another phase of AMCSD.
"""

import argparse
import textwrap
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from scipy.ndimage import minimum_filter1d, uniform_filter1d
from scipy.optimize import least_squares
from scipy.signal import find_peaks

from xtalsk import load_amcsd
from xtalsk.crystals import BrokenEntryWarning, CrystalSet
from xtalsk.io import read_profile
from xtalsk.simulation import PowderConditions, Reflections, compute_reflections
from xtalsk.simulation._chunks import columns_on
from xtalsk.simulation._line_profiles import broaden, deposit, gather_lines
from xtalsk.simulation.powder._lines import line_widths, lorentz_polarisation, powder_lines
from xtalsk.simulation.powder._simulate import draw_powder, line_profiles
from xtalsk.simulation.reflections._strain import STRAIN_COLUMNS, draw_strains, strain_tensors
from xtalsk.simulation.reflections._texture import LOW_INDEX_PLANES, PLANE_COLUMNS

WAVELENGTHS = PowderConditions.wavelength, PowderConditions.ka2_wavelength
STEP, MARGIN = 0.01, 1.0  # degrees: step of the calculated axis, and its margin beyond the measured axis
BACKGROUND_ORDER = 6
WIDTHS = ("zero_shift", "w", "crystallite_size", "microstrain")  # the last three are fitted as logarithms
LOWEST = np.array([-0.6, np.log(0.02), np.log(8), np.log(1e-5)])
HIGHEST = np.array([0.6, np.log(3), np.log(2e4), np.log(0.05)])
STEPS = np.array([0.003, 0.02, 0.05, 0.05])  # steps of the numerical derivatives


class Model:
    """Calculated pattern of one crystal on a measured axis.

    Parameters
    ----------
    crystal : CrystalSet
        One crystal.
    two_theta : ndarray of shape (n_points,)
        In degrees.
    ka2 : float
        Intensity of Kα2 relative to Kα1; 0 without Kα2.
    """

    def __init__(self, crystal, two_theta, ka2):
        ends = max(two_theta[0] - MARGIN, 0.5), min(two_theta[-1] + MARGIN, 178)
        self.conditions = replace(PowderConditions.ideal(), two_theta=(*ends, STEP), ka2=ka2)
        self.crystal, self.two_theta, self.ka2 = crystal, two_theta, ka2
        d_min = 0.95 * self.conditions.d_min()
        self.lines = compute_reflections(
            crystal, "xray", d_min, wavelength=WAVELENGTHS[0], dtype=torch.float64
        )
        rng = np.random.RandomState(0)
        ideal = draw_powder(self.conditions, self.lines, np.zeros(1, int), rng)
        self.ideal = {name: values.to_numpy(float) for name, values in ideal.items()}
        _, size, basis = np.linalg.svd(draw_strains(self.lines, np.zeros(12, int), np.ones(12), rng))
        self.strains = basis[: (size > 1e-6 * size[0]).sum()]  # strains that keep the symmetry

    def _lines(self, parameters):
        n = max(np.size(value) for value in parameters.values())
        values = {k: np.broadcast_to(parameters.get(k, v), n).astype(float) for k, v in self.ideal.items()}
        rows, column = np.zeros(n, int), columns_on(values, self.lines.q)
        lines = powder_lines(self.lines, rows, values, column, self.conditions, torch.Generator())
        return rows, column, lines

    def positions(self, parameters):
        """Return the angles, the relative intensities and the widths of the lines of one pattern."""
        _, column, (_, angle, weight) = self._lines(parameters)
        return angle.numpy(), weight.numpy(), line_widths(angle, column, WAVELENGTHS[0])[0][0].numpy()

    def __call__(self, parameters):
        """Return patterns of shape (n, n_points) for parameters of shape (n,) or ()."""
        rows, column, lines = self._lines(parameters)
        axis = torch.from_numpy(self.conditions.axis())
        curves = line_profiles(self.lines, rows, lines, column, axis, self.conditions)
        return np.array([np.interp(self.two_theta, axis, curve) for curve in curves.numpy()])


@dataclass
class Fit:
    """Model fitted to a measured pattern; ``values`` are the variables of the optimiser."""

    model: Model
    values: np.ndarray
    parameters: dict
    curve: np.ndarray
    background: np.ndarray
    rwp: float
    r_expected: float
    cosine: float

    @property
    def fwhm(self):
        """Full width at half maximum of the strongest line in degrees."""
        _, weight, fwhm = self.model.positions(self.parameters)
        return float(fwhm[weight.argmax()])

    def axes(self):
        """Return the changes of the axes of the cell in percent."""
        strain = strain_tensors(np.array([[self.parameters[name] for name in STRAIN_COLUMNS]]))[0]
        before = self.model.lines.lattices[0]
        return 100 * (np.linalg.norm(before + before @ strain, axis=1) / np.linalg.norm(before, axis=1) - 1)


def as_parameters(values, model, cell, plane, fade):
    """Convert variables of the optimiser, of shape (..., n), to parameters of the forward model."""
    zero, gauss, size, strain, *more = np.moveaxis(values, -1, 0)
    parameters = dict(zip(WIDTHS, (zero, np.exp(2 * gauss), np.exp(size), np.exp(strain)), strict=True))
    if cell:
        strains = np.tensordot(model.strains.T, 0.01 * np.array(more[: len(model.strains)]), 1)
        parameters |= dict(zip(STRAIN_COLUMNS, strains, strict=True))
    if plane is not None:
        parameters |= dict(zip(PLANE_COLUMNS, plane, strict=True)) | {"march_parameter": np.exp(more[-1])}
    if fade:
        parameters["b_shift"] = more[-1]
    return parameters


def scaled(curve, background, intensity, deviation):
    """Fit a curve, with a scale of at least 0, and a background; return their sum and the background."""
    columns = np.column_stack([curve, background]) / deviation[:, None]
    share = np.linalg.lstsq(columns, intensity / deviation, rcond=None)[0]
    if share[0] < 0:
        share = np.r_[0, np.linalg.lstsq(columns[:, 1:], intensity / deviation, rcond=None)[0]]
    return share[0] * curve + background @ share[1:], background @ share[1:]


def fit(model, intensity, start=None, *, cell=False, plane=None, fade=False):
    """Fit zero shift and widths, and optionally the cell, the texture of a plane or a loss with angle.

    Scale and background are linear; they are fitted for each set of the other parameters. The variances are
    those of Poisson counts of the mean of measured and calculated intensity. With the measured intensity
    alone, a few calculated lines that were not measured would outweigh all others.
    """
    scale = np.linspace(-1, 1, len(model.two_theta))
    polynomials = np.polynomial.chebyshev.chebvander(scale, BACKGROUND_ORDER)
    n_cell, n_more = cell * len(model.strains), int(plane is not None or fade)
    edges = np.r_[np.full(n_cell, 8.0), np.full(n_more, 8.0 if fade else np.log(5))]
    low, high = np.r_[LOWEST, -edges] - 1e-9, np.r_[HIGHEST, edges] + 1e-9
    steps = np.r_[STEPS, np.full(n_cell, 0.01), np.full(n_more, 0.02)]

    def residuals(values):
        curves = model(as_parameters(values, model, cell, plane, fade))
        sums = (scaled(curve, polynomials, intensity, deviation)[0] for curve in curves)
        return np.array([(curve - intensity) / deviation for curve in sums])

    def derivatives(values):
        side = np.where(values + steps > high, -steps, steps)
        around = residuals(np.vstack([values, values + np.diag(side)]))
        return ((around[1:] - around[0]) / side[:, None]).T

    if start is None:
        deviation = np.full(len(intensity), np.sqrt(intensity.mean()))
        gauss, zero = np.meshgrid(np.log([0.05, 0.1, 0.2, 0.5, 1.5]), np.arange(-0.3, 0.31, 0.1))
        grid = np.array([zero, gauss, 0 * zero + np.log(800), 0 * zero + np.log(5e-4)]).reshape(4, -1).T
        grid = np.pad(grid, ((0, 0), (0, len(edges))))
        values = grid[(residuals(grid) ** 2).sum(1).argmin()]
    else:
        values = np.r_[start.values, np.zeros(len(low) - len(start.values))]
        deviation = np.sqrt(np.maximum((start.curve + intensity) / 2, 1))
    options = {"bounds": (low, high), "x_scale": 10 * steps, "ftol": 1e-5, "max_nfev": 20}
    for _ in range(3):
        values = least_squares(lambda v: residuals(v)[0], values, derivatives, **options).x
        parameters = as_parameters(values, model, cell, plane, fade)
        curve, below = scaled(model(parameters)[0], polynomials, intensity, deviation)
        deviation = np.sqrt(np.maximum((curve + intensity) / 2, 1))
    percent = np.linalg.norm(intensity / deviation) / 100
    rwp = np.linalg.norm((curve - intensity) / deviation) / percent
    expected = np.sqrt(len(intensity)) / percent
    a, b = curve - below, intensity - below
    cosine = float(a @ b / max(np.linalg.norm(a) * np.linalg.norm(b), 1e-30))
    return Fit(model, values, parameters, curve, below, rwp, expected, cosine)


def lower_symmetry(start, intensity):
    """Fit a cell of any shape: lines that coincide by symmetry may split."""
    crystal = replace(start.model.crystal, rotation_sets=[np.eye(3)[None]], rotation_index=[0])
    model = Model(crystal, start.model.two_theta, start.model.ka2)
    strain = 100 * model.strains @ np.array([start.parameters[name] for name in STRAIN_COLUMNS])
    rng = np.random.RandomState(0)  # the symmetric cell itself is a saddle point
    starts = [np.r_[start.values[:4], strain + rng.normal(0, 0.3, len(strain))] for _ in range(3)]
    fits = [fit(model, intensity, replace(start, values=values), cell=True) for values in starts]
    return min(fits, key=lambda f: f.rwp)


def extra_lines(cell_fit, intensity):
    """Return the angles of measured lines far from all calculated lines, the strongest first."""
    angle, weight, _ = cell_fit.model.positions(cell_fit.parameters)
    axis, fwhm = cell_fit.model.two_theta, cell_fit.fwhm
    step = np.diff(axis).mean()
    net = uniform_filter1d(intensity - cell_fit.background, max(1, int(fwhm / step / 3)))
    least = max(0.02 * net.max(), 5 * np.sqrt(np.median(np.diff(intensity) ** 2) / 0.9))
    peaks, shape = find_peaks(net, prominence=least, distance=max(1, int(fwhm / step)))
    away = np.abs(axis[peaks, None] - angle[weight > 1e-3]).min(1) > max(0.2, 1.5 * fwhm)
    return axis[peaks[away]][np.argsort(-shape["prominences"][away])]


@dataclass
class Library:
    """Crystals, their lines for Cu Kα, and an axis in degrees of 2θ."""

    crystals: CrystalSet
    lines: Reflections
    axis: np.ndarray

    @classmethod
    def load(cls):
        """Load AMCSD for 5 to 90 degrees."""
        crystals = load_amcsd()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", BrokenEntryWarning)
            lines = compute_reflections(crystals, "xray", 1.08, wavelength=WAVELENGTHS[0])
        return cls(crystals, lines, np.arange(5, 90, 0.03))

    def patterns(self, rows, fwhm, ka2):
        """Return patterns of one line width in degrees, of shape (n, n_points)."""
        pattern, chosen = gather_lines(self.lines, rows)
        step, sticks = self.axis[1] - self.axis[0], 0
        for wavelength, share in zip(WAVELENGTHS, (1, ka2), strict=True):
            theta = torch.asin((self.lines.q[chosen] * (wavelength / 2)).clamp(max=1))
            weight = share * self.lines.intensity[chosen] * self.lines.multiplicity[chosen]
            weight = weight * lorentz_polarisation(theta, torch.zeros_like(theta))
            place = (torch.rad2deg(2 * theta) - self.axis[0]) / step
            sticks = sticks + deposit(pattern, place, weight, (len(rows), len(self.axis)))
        return broaden(sticks, torch.full((len(rows),), fwhm / step), torch.full((len(rows),), 0.5))

    def nearest(self, two_theta, net, fwhm, ka2, n=8):
        """Return the rows of the ``n`` compounds of highest cosine, after small shifts and stretches."""
        sine, views = np.sin(np.radians(self.axis / 2)), []
        for stretch in np.arange(-0.0175, 0.018, 0.0025):
            angle = 2 * np.degrees(np.arcsin(np.clip(sine * (1 + stretch), 0, 1)))
            views += [np.interp(angle + shift, two_theta, net, 0, 0) for shift in np.arange(-0.2, 0.21, 0.05)]
        views = np.array(views, dtype=np.float32)
        views = torch.from_numpy(views / np.linalg.norm(views, axis=1, keepdims=True))
        outside = torch.from_numpy((self.axis < two_theta[0]) | (self.axis > two_theta[-1]))
        best = []
        for rows in np.array_split(np.arange(len(self.lines)), len(self.lines) // 500):
            known = self.patterns(rows, fwhm, ka2)
            # a pattern with little intensity in the measured range gets a low cosine
            least = 0.05 * known.norm(dim=1).clamp_min(1e-9)
            known[:, outside] = 0
            best.append((known @ views.T).amax(1) / known.norm(dim=1).maximum(least))
        compounds = {}
        for row in torch.argsort(-torch.cat(best)).tolist()[:200]:
            compounds.setdefault((self.crystals.formulas[row], self.crystals.space_groups[row]), row)
        return list(compounds.values())[:n]


def best_phase(library, plain, intensity):
    """Fit the cells of similar library crystals; return the row of the best one and its fit."""
    two_theta, ka2 = plain.model.two_theta, plain.model.ka2
    width = int(6 / np.diff(two_theta).mean())
    smooth = uniform_filter1d(intensity, 5)
    net = smooth - uniform_filter1d(minimum_filter1d(smooth, width), width)
    fits = {}
    for row in library.nearest(two_theta, net, np.clip(plain.fwhm, 0.1, 1), ka2):
        model = Model(library.crystals[row], two_theta, ka2)
        fits[row] = fit(model, intensity, fit(model, intensity), cell=True)
    return max(fits.items(), key=lambda item: item[1].cosine)


def examine(folder, library):
    """Return the row of the table, and the data of the figure, of one material."""
    crystal = CrystalSet.from_cifs(sorted(folder.glob("*.cif")))[0]
    scan = read_profile(next(folder.glob("*.csv")))
    y, pairs = scan.intensity.astype(float), []
    for ka2 in (0.5, 0.0):
        plain = fit(Model(crystal, scan.two_theta, ka2), y)
        pairs.append((plain, fit(plain.model, y, plain, cell=True)))
    plain, cell = min(pairs, key=lambda pair: pair[1].rwp)
    textures = {tuple(p): fit(plain.model, y, cell, cell=True, plane=p) for p in LOW_INDEX_PLANES.tolist()}
    plane = min(textures, key=lambda p: textures[p].rwp)
    fits = {"cell": cell, "texture": textures[plane], "fade": fit(plain.model, y, cell, cell=True, fade=True)}
    fits["broken"] = lower_symmetry(cell, y)
    other, fits["other"] = best_phase(library, plain, y)
    known = library.crystals
    row = {"formula": crystal.formulas[0], "space_group": int(crystal.space_groups[0])}
    row |= {
        "radiation": "Cu Kα1" + "+Kα2" * (plain.model.ka2 > 0),
        "zero_shift": plain.parameters["zero_shift"],
    }
    row |= {name: getattr(plain, name) for name in ("fwhm", "rwp", "r_expected", "cosine")}
    row |= {f"{name}_{what}": getattr(f, what) for name, f in fits.items() for what in ("rwp", "cosine")}
    for name in ("cell", "broken"):
        row[f"{name}_axes"] = " ".join(f"{change:+.2f}" for change in fits[name].axes())
    row["texture_plane"], row["texture_r"] = (
        "{}{}{}".format(*plane),
        textures[plane].parameters["march_parameter"],
    )
    row["fade_b"] = fits["fade"].parameters["b_shift"]
    row["other_phase"] = f"{known.names[other]} {known.formulas[other]}, {known.space_groups[other]}".strip()
    row["other_id"] = known.ids[other]
    row["extra_lines"] = " ".join(f"{angle:.2f}" for angle in extra_lines(cell, y)[:6])
    row["explanation"] = explain(row)
    return row, (plain, y, fits["other"] if other_is_better(row) else None)


def other_is_better(row):
    """Return whether another phase fits so much better that the label is in doubt."""
    return row["other_cosine"] > row["cell_cosine"] + 0.01 and row["other_rwp"] < 0.9 * row["cell_rwp"]


def explain(row):
    """Return a sentence on what would improve the match."""

    def helps(name, before):
        better, gain = row[name + "rwp"] / row[before + "rwp"], row[name + "cosine"] - row[before + "cosine"]
        return better < 0.95 and gain > (0.005 if better > 0.8 else 0)

    if other_is_better(row):
        return (
            f"other phase: {row['other_phase']} (AMCSD {row['other_id']}): cosine {row['other_cosine']:.3f}; "
            f"labelled phase with fitted cell: {row['cell_cosine']:.3f}"
        )
    if row["fwhm"] > 3:
        return f"a halo, not lines (FWHM {row['fwhm']:.1f}°): any phase with this distance fits"
    reasons = []
    if helps("cell_", ""):
        reasons.append(f"axes off by {row['cell_axes']} %: Rwp {row['rwp']:.0f} → {row['cell_rwp']:.0f}")
    changes = {
        "texture_": f"texture of {row['texture_plane']}, r = {row['texture_r']:.2f}",
        "fade_": f"intensity changes with angle as with B = {row['fade_b']:+.1f} Å²",
        "broken_": f"symmetry of the cell broken, axes {row['broken_axes']} %",
    }
    for name in sorted((k for k in changes if helps(k, "cell_")), key=lambda k: row[k + "rwp"])[:2]:
        reasons.append(f"{changes[name]}: Rwp {row['cell_rwp']:.0f} → {row[name + 'rwp']:.0f}")
    return "; ".join(reasons + [f"foreign lines at {row['extra_lines']}°"] * bool(row["extra_lines"]))


def draw(ax, below, name, row, shown):
    """Draw one panel, in square roots: measured points, calculated curve, marks of the lines, difference."""
    plain, intensity, other = shown
    x, top = plain.model.two_theta, np.sqrt(intensity.max())
    measured, curve = np.sqrt(intensity) / top, np.sqrt(plain.curve.clip(0)) / top
    ax.plot(x, measured, ".", color="0.5", ms=3, label="measured")
    ax.plot(x, curve, color="tab:red", lw=1.1, label="calculated from the CIF")
    below.plot(x, measured - curve, color="tab:blue", lw=0.7, label="difference")
    for phase, level, colour, label in (
        (plain, -0.07, "k", "lines of the CIF"),
        (other, -0.16, "tab:green", "lines of a phase that fits better"),
    ):
        if phase is not None:
            angle, weight, _ = phase.model.positions(phase.parameters)
            angle = angle[(weight > 2e-3) & (angle > x[0]) & (angle < x[-1])]
            ax.plot(angle, np.full(len(angle), level), "|", color=colour, ms=6, mew=0.9, label=label)
    ax.set(xlim=(x[0], x[-1]), ylim=(-0.22, 1.3), yticks=[])
    below.set(ylim=(-0.25, 0.25), yticks=[0])
    ax.tick_params(labelbottom=False)
    good, fair = row["cosine"] > 0.97 and row["rwp"] < 30, row["cosine"] > 0.9
    colour = "darkgreen" if good else "darkorange" if fair else "firebrick"
    ax.set_title(f"{name}: {row['formula']}, {row['space_group']}", loc="left", fontsize=14, weight="bold")
    figures = f"Rwp {row['rwp']:.0f} %, cos {row['cosine']:.3f}"
    ax.set_title(figures, loc="right", fontsize=14, color=colour, weight="bold")
    note = textwrap.fill(row["explanation"] or "as calculated", 62)
    ax.text(0.99, 0.97, note, transform=ax.transAxes, ha="right", va="top", fontsize=11)


def gallery(table, shown, path):
    """Draw all materials in one figure."""
    n_rows = -(-(len(table) + 1) // 3)
    fig = plt.figure(figsize=(22, 4.2 * n_rows), layout="constrained")
    panels, handles = fig.subfigures(n_rows, 3).flat, {}
    for name, panel in zip(table.index, panels, strict=False):
        ax, below = panel.subplots(2, 1, sharex=True, height_ratios=(5, 1))
        draw(ax, below, name, table.loc[name], shown[name])
        handles |= {h.get_label(): h for h in ax.lines + below.lines}
    next(panels).legend(handles.values(), handles, loc="center", fontsize=14, markerscale=2)
    fig.supxlabel("2θ / degrees", fontsize=14)
    fig.supylabel("square root of the intensity", fontsize=14)
    fig.savefig(path, dpi=90)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--figure", help="file for the figure of all patterns")
    parser.add_argument("--csv", help="file for the whole table")
    arguments = parser.parse_args()
    library, rows, shown = Library.load(), {}, {}
    for folder in sorted(path for path in arguments.folder.iterdir() if path.is_dir()):
        rows[folder.name], shown[folder.name] = examine(folder, library)
    table = pd.DataFrame(rows).T.infer_objects()
    print(table.loc[:, "formula":"cosine"].round(3).to_string())
    for name, row in rows.items():
        print(f"{name}: {row['explanation'] or 'as calculated'}")
    if arguments.csv:
        table.round(4).to_csv(arguments.csv, index_label="material")
    if arguments.figure:
        gallery(table, shown, arguments.figure)


if __name__ == "__main__":
    main()
