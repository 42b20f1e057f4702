"""Reasons for a wrong space group of a measured pattern, from the known structures that resemble it.

A pattern is compared with the ideal patterns of a library, as it is and after small shifts and stretches. The
reason is the first of these that applies:

``range``      the scan is shorter than 30 degrees or has fewer than three lines;
``shift``      a structure of the labelled space group fits, but only after a shift or stretch;
``impurity``   its lines are there and hold most of the intensity, but strong lines remain;
``texture``    its lines are there and no others, with other intensities;
``width``      its lines are there and no others, much broader than usual;
``model``      a structure of the labelled space group fits well: the error is that of the model;
``label``      no structure of the labelled space group fits, but one of another space group fits closely;
``unseen``     no structure of the labelled space group in the library has these lines.

The thresholds make these reasons guesses: if the axes of a cell differ from the library's by unequal amounts,
the pattern counts as unseen; and many structures seem to fit a pattern of few lines. How the thresholds were
chosen is not recorded.
"""

import warnings
from dataclasses import dataclass, replace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from scipy.ndimage import gaussian_filter1d

from xtalsk import PowderConditions, PowderProfile, Profile, compute_reflections, simulate_powder
from xtalsk.crystals._faults import find_faults
from xtalsk.diffraction import locate_peaks
from xtalsk.symmetry import LEVELS, to_level

KINDS = {
    "impurity": "strong lines remain",
    "texture": "same lines, other intensities",
    "width": "same lines, but broader",
    "shift": "fits after a shift",
    "range": "too few lines or degrees",
    "label": "another space group fits",
    "unseen": "no structure fits",
    "model": "labelled structure fits",
}
FITS, FITS_CLOSELY = 0.75, 0.9  # cosine
ALL_THERE, LEFT_OVER, MOST = 0.2, 0.2, 0.5  # shares of the intensity
BROAD = 0.006  # 1/Å, standard deviation
TOLERANCE = 0.003  # 1/Å between a measured and a calculated line
SHORTEST, FEWEST = 30.0, 3  # degrees and lines
STRETCHES = np.arange(-0.015, 0.016, 0.0025)
SHIFTS = np.arange(-0.2, 0.21, 0.1)  # degrees
_SEEN = PowderProfile(1024, (0.1, 0.9), smoothing=0.0015).fit([None])


def comparable(profiles):
    """Subtract the median from square-root profiles; 0 where nothing was measured."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a row without any value
        level = np.nanmedian(profiles, axis=1, keepdims=True)
    return np.nan_to_num(np.clip(profiles - level, 0, None))


class Library:
    """Ideal patterns of known crystals.

    Parameters
    ----------
    crystals : CrystalSet
    """

    def __init__(self, crystals):
        self.crystals = crystals[np.setdiff1d(np.arange(len(crystals)), list(find_faults(crystals)))]
        conditions = replace(PowderConditions.ideal(), two_theta=(5.0, 90.0, 0.02), w=0.015)
        lines = compute_reflections(
            self.crystals, "xray", conditions.d_min(), wavelength=conditions.wavelength
        )
        axis, parts = conditions.axis(), []
        self.q = _SEEN.q_
        for rows in np.array_split(np.arange(len(lines)), max(1, len(lines) // 500)):
            counts = simulate_powder(lines, rows, conditions, random_state=0)
            cells = [Profile(c, two_theta=axis, wavelength=conditions.wavelength) for c in counts]
            parts.append(comparable(_SEEN.transform(cells)))
        self.profiles = torch.from_numpy(np.concatenate(parts))
        self.space_groups = self.crystals.space_groups.astype(int)

    def views(self, cell):
        """Shift and stretch a scan in all combinations, the unchanged scan first.

        Returns
        -------
        profiles : ndarray of shape (n_views, n_bins)
        seen : ndarray of bool, shape (n_bins,)
            Whether a bin was measured.
        moves : list of (float, float)
            Stretch (a fraction) and shift (in degrees) of each profile.
        """
        moves = [(s, z) for s in STRETCHES for z in SHIFTS if abs(s) > 1e-9 or abs(z) > 1e-9]
        moves = [(0.0, 0.0), *moves]
        theta = np.radians(np.asarray(cell.two_theta, dtype=float) / 2)
        q = [2 * np.sin(theta + np.radians(z / 2)) / cell.wavelength * (1 + s) for s, z in moves]
        profiles = _SEEN.transform([Profile(cell.intensity, q=axis) for axis in q])
        return comparable(profiles), np.isfinite(profiles[0]), moves

    def cosines(self, views, seen):
        """Return the cosine of every library pattern with every view, over the measured bins.

        The shape is (n_crystals, n_views).
        """
        known = self.profiles[:, torch.from_numpy(seen)]
        measured = torch.from_numpy(views[:, seen])
        # a pattern with almost no intensity in the measured range gets a low cosine
        least = 0.1 * self.profiles.norm(dim=1).clamp_min(1e-9)
        known = known / known.norm(dim=1).maximum(least)[:, None]
        return (known @ (measured / measured.norm(dim=1, keepdim=True).clamp_min(1e-9)).T).numpy()


@dataclass
class Evidence:
    """Agreement of a pattern with the structures of the labelled and of the predicted space group.

    ``fit_*`` are cosines after the best shift and stretch. ``true_unmoved`` is the cosine without them, and
    ``fit_blurred`` is the cosine of broadened patterns. ``extra`` is the share of the measured intensity in
    lines that the best structure of the label lacks. ``absent`` is the share of the intensity of this
    structure in lines that were not measured. ``*_row`` are rows of the library, -1 if it has no such
    structure. ``span`` and ``shift`` are in degrees, ``stretch`` is a fraction.
    """

    fit_true: float
    true_unmoved: float
    fit_blurred: float
    fit_predicted: float
    fit_any: float
    any_space_group: int
    extra: float
    absent: float
    span: float
    n_lines: int
    stretch: float
    shift: float
    true_row: int
    predicted_row: int

    def kind(self):
        """Return the first kind that applies."""
        if self.span < SHORTEST or self.n_lines < FEWEST:
            return "range"
        lines_match = self.absent < ALL_THERE and self.extra <= LEFT_OVER
        if self.fit_true >= FITS:
            if self.true_unmoved < min(FITS, self.fit_true - 0.05):
                return "shift"
            if LEFT_OVER < self.extra < MOST:
                return "impurity"
            return "texture" if lines_match and self.fit_true < 0.85 else "model"
        if lines_match:
            return "width" if self.fit_blurred > max(0.85, self.fit_true + 0.15) else "texture"
        if self.fit_any > FITS_CLOSELY:
            return "label"
        return "impurity" if self.absent < ALL_THERE and self.extra < MOST else "unseen"


def _share_unmatched(lines, others):
    """Return the share of the intensity of lines (positions, square roots) that is far from all others."""
    (at, height), (other, _) = lines, others
    if not len(at):
        return 1.0
    away = np.abs(at[:, None] - other).min(axis=1, initial=np.inf) > TOLERANCE
    return float((height**2)[away].sum() / (height**2).sum())


def gather_evidence(library, cell, label, predicted):
    """Compare a scan with the structures of two space groups.

    Parameters
    ----------
    library : Library
    cell : Profile
        Against 2θ.
    label, predicted : int
        Space groups.

    Returns
    -------
    Evidence
    """
    views, seen, moves = library.views(cell)
    cosines = library.cosines(views, seen)
    best = cosines.max(axis=1)

    def best_of(number):
        rows = np.flatnonzero(library.space_groups == number)
        return int(rows[best[rows].argmax()]) if len(rows) else -1

    true, wrong, any_row = best_of(label), best_of(predicted), int(best.argmax())
    view = int(cosines[true].argmax()) if true >= 0 else 0
    lines = locate_peaks(library.q, np.where(seen, views[view], np.nan), width=0.001)
    extra, absent, blurred = 1.0, 1.0, 0.0
    if true >= 0:
        pair = [views[view], library.profiles[true].numpy() * seen]
        pair = gaussian_filter1d(pair, BROAD / np.diff(library.q).mean())
        blurred = float(pair[0] @ pair[1] / max(np.prod(np.linalg.norm(pair, axis=1)), 1e-12))
        known = np.where(seen, library.profiles[true].numpy(), np.nan)
        known = locate_peaks(library.q, known, width=0.001)
        extra, absent = _share_unmatched(lines, known), _share_unmatched(known, lines)
    of_label = library.space_groups == label
    return Evidence(
        fit_true=float(best[true]) if true >= 0 else 0.0,
        true_unmoved=float(cosines[of_label, 0].max(initial=0)),
        fit_blurred=blurred,
        fit_predicted=float(best[wrong]) if wrong >= 0 else 0.0,
        fit_any=float(best[any_row]),
        any_space_group=int(library.space_groups[any_row]),
        extra=extra,
        absent=absent,
        span=float(np.ptp(cell.two_theta)),
        n_lines=len(lines[0]),
        stretch=float(moves[view][0]),
        shift=float(moves[view][1]),
        true_row=true,
        predicted_row=wrong,
    )


def explain_misses(predictions, sets, library):
    """Return a reason for each wrong space group.

    Parameters
    ----------
    predictions : DataFrame
        Columns ``set``, ``name``, ``row``, ``label`` and ``predicted``, of one model.
    sets : dict of str to (X, y, names)
    library : Library

    Returns
    -------
    DataFrame
        The misses, with the columns of `Evidence`, ``kind``, and ``agreement``: the finest level of symmetry
        at which label and prediction are equal.
    """
    rows = []
    wrong = predictions[predictions["label"] != predictions["predicted"]]
    for miss in wrong.to_dict("records"):
        cell = sets[miss["set"]][0]["powder"].iloc[miss["row"]]
        evidence = gather_evidence(library, cell, miss["label"], miss["predicted"])
        pair = [miss["label"], miss["predicted"]]
        equal = [level for level in LEVELS if len(set(to_level(pair, level))) == 1]
        agreement = equal[-1] if equal else "none"
        rows.append({**miss, "kind": evidence.kind(), "agreement": agreement, **vars(evidence)})
    return pd.DataFrame(rows, columns=None if rows else [*predictions.columns, "kind", "agreement"])


def _curve(ax, q, profile, level, colour, label):
    top = profile / max(profile.max(), 1e-9)
    ax.plot(q, level + 0.9 * top, color=colour, lw=0.9)
    box = {"fc": "w", "ec": "none", "alpha": 0.75, "pad": 1}
    across = ax.get_yaxis_transform()
    ax.text(
        0.995, level + 0.97, label, transform=across, ha="right", va="top", fontsize=7.5, c=colour, bbox=box
    )


def _panel(ax, miss, cell, library):
    """Draw the measured pattern between the best structures of the label (above) and of the prediction."""
    views, seen, moves = library.views(cell)
    view = moves.index((miss["stretch"], miss["shift"]))
    crystals = library.crystals
    for key, fit, level, colour in (
        ("true_row", "fit_true", 2, "tab:green"),
        ("predicted_row", "fit_predicted", 0, "tab:red"),
    ):
        number = miss["label" if key == "true_row" else "predicted"]
        role = "label" if key == "true_row" else "predicted"
        if miss[key] < 0:
            note = f"{role} {number}: not in the library"
            ax.text(0.5, level + 0.4, note, transform=ax.get_yaxis_transform(), ha="center", color=colour)
            continue
        row = miss[key]
        title = (crystals.names[row] or crystals.formulas[row])[:28]
        shown = np.where(seen, library.profiles[row].numpy(), 0)
        _curve(ax, library.q, shown, level, colour, f"{role} {number}: {title}, {miss[fit]:.2f}")
    _curve(ax, library.q, views[view], 1, "k", "measured")
    change = f", shifted {miss['shift']:+.1f}°, stretched {100 * miss['stretch']:+.2f}%" if view else ""
    ax.set_title(
        f"{miss['name'][:21]}{change}, answer at {miss['probability']:.2f}", fontsize=8.5, loc="left"
    )
    ax.set(yticks=[], xlim=(library.q[seen][0], library.q[seen][-1]), ylim=(-0.05, 3.05))
    ax.tick_params(labelsize=7)


def draw_misses(misses, sets, library, path, n_examples=3):
    """Draw examples of each kind, one row for each kind; the most probable predictions come first.

    Parameters
    ----------
    misses : DataFrame
        As from `explain_misses`.
    sets, library
    path : path-like
    n_examples : int
    """
    kinds = [kind for kind in KINDS if (misses["kind"] == kind).any()]
    if not kinds:
        return
    fig, axes = plt.subplots(
        len(kinds), n_examples, figsize=(5.2 * n_examples, 2.5 * len(kinds)), squeeze=False,
        layout="constrained",
    )  # fmt: skip
    for line, kind in zip(axes, kinds, strict=True):
        part = misses[misses["kind"] == kind]
        chosen = part.sort_values("probability", ascending=False).groupby("label", sort=False).head(1)
        chosen = pd.concat([chosen, part.drop(chosen.index)]).head(n_examples)
        for ax, miss in zip(line, chosen.to_dict("records"), strict=False):
            _panel(ax, miss, sets[miss["set"]][0]["powder"].iloc[miss["row"]], library)
        for ax in line[len(chosen) :]:
            ax.set_axis_off()
        line[0].set_ylabel(f"{kind} ({len(part)})\n{KINDS[kind]}", fontsize=10)
    fig.supxlabel(
        "q = 1/d (1/Å); square roots of the intensity. Above and below: the most similar structures of the "
        "labelled and of the predicted space group, with their cosines.\nThe measured pattern is shifted and "
        "stretched to fit the upper one. Titles give the probability of the answer.",
        fontsize=9,
    )
    fig.savefig(path, dpi=100)
    plt.close(fig)
