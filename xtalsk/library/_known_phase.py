"""Calibration of an image of rings: the pixel size that puts its rings where a known phase has them."""

import os
import warnings
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy.ndimage import gaussian_filter1d

from xtalsk.crystals import CrystalSet
from xtalsk.diffraction._checks import check_image
from xtalsk.diffraction._constants import (
    CALIBRATION_ERROR,
    CALIBRATION_LINE_SHARE,
    CALIBRATION_LINES,
    CALIBRATION_RADII,
    CALIBRATION_RESIDUAL,
    CALIBRATION_RIVAL,
    CALIBRATION_SHARE,
    CALIBRATION_STEP,
    CALIBRATION_TOLERANCES,
    CALIBRATION_WIDTHS,
)
from xtalsk.diffraction._peak_search import locate_peaks
from xtalsk.diffraction._radial import RadialProfile
from xtalsk.io import DiffractionImage
from xtalsk.library._constants import ROUGH_SCALE
from xtalsk.symmetry import crystal_system, to_level

_LOWEST_D = 0.5  # Å; rings of smaller spacing are weak
_FEWEST_RINGS = 3
_UNKNOWN = 1e9  # 1/Å for each pixel: the image has no calibration


@dataclass(frozen=True)
class ImageCalibration:
    """Pixel size of an image of rings, from a known phase: see `calibrate_image`.

    Parameters
    ----------
    pixel_size : float
        In 1/Å.
    uncertainty : float
        Standard deviation of the pixel size in 1/Å, from the residuals of the rings and an error of 0.1% of
        their places. An error of the cell of the phase is not part of it.
    rings : DataFrame
        One row for each ring that was used: ``h``, ``k``, ``l`` of its strongest reflection, ``q`` in 1/Å,
        ``radius`` in pixels, and ``residual``, the relative difference between radius and q.
    correlation : float
        Correlation of the profile with the lines of the phase at this pixel size.
    rival : float
        Next best pixel size in 1/Å, by the correlation.
    confirmed : {"phase", "lattice type", "nothing"}
        What the rings and the scale confirm. "lattice type": the rings fit a cubic phase at this pixel size,
        but any other cubic phase of this lattice type fits as well at another pixel size, and no rough scale
        was given. "phase": the rings fit, and either the phase is not cubic, so that they confirm the
        ratios of its axes, or the pixel size agrees with the rough scale. "nothing": the rings or the scale
        do not fit.
    is_sure : bool
        Whether ``confirmed`` is "phase". If not, `calibrate_image` warned and said why.
    image : DiffractionImage
        The image with its pixel size and with the centre that was found.
    """

    pixel_size: float
    uncertainty: float
    rings: pd.DataFrame = field(repr=False)
    correlation: float
    rival: float = field(repr=False)
    confirmed: str
    is_sure: bool
    image: DiffractionImage = field(repr=False)


def calibrate_image(image, crystal, *, pixel_size_range=None):
    """Find the pixel size of an image of rings of a known phase, such as gold or aluminium.

    The square root of the profile of the image is compared with the lines of the phase at all pixel sizes.
    The best one is then refined on the radii of single rings. Radii are taken as proportional to q, which
    is right within 0.1% below q = 1 1/Å at 75 keV or more.

    The positions of the rings of all cubic phases of one lattice type are the same up to a scale: aluminium
    fits an image of gold. Which of them it is, only the scale tells. It need not be exact: give the pixel
    size from the camera length with the image, or a narrow ``pixel_size_range``.

    Parameters
    ----------
    image : DiffractionImage, ndarray of shape (n_rows, n_columns), HyperSpy signal or path
        Its own pixel size, if any, does not change the result. It is the rough scale that confirms the phase,
        if both agree within 5%. Its centre is used.
    crystal : CrystalSet of one crystal, pymatgen Structure, or str
        The known phase. A str is the path to a CIF file, or a formula, for which the first AMCSD entry of
        each space group is tried. Cells at other temperatures differ by up to 1%: a structure is better.
    pixel_size_range : (float, float) or None, default=None
        Lowest and highest pixel size in 1/Å. None: the first line of the phase lies between 0.06 and 0.8 of
        the distance from the middle of the image to its farthest edge. A range within 5% of its middle is a
        rough scale.

    Returns
    -------
    ImageCalibration

    Raises
    ------
    ValueError
        If the image holds no rings, if no crystal has this formula, or if a parameter is invalid.

    Warns
    -----
    UserWarning
        If the rings do not fit the phase: fewer than three of them, residuals above 1%, rings or lines that
        are left over, or another pixel size that fits nearly as well. If the result does not agree with the
        pixel size of the image. If the phase is cubic and no rough scale is known.

    Examples
    --------
    >>> import numpy as np
    >>> from pymatgen.core import Lattice, Structure
    >>> from xtalsk import DiffractionImage
    >>> from xtalsk.library import calibrate_image
    >>> gold = Structure.from_spacegroup("Fm-3m", Lattice.cubic(4.078), ["Au"], [[0, 0, 0]])
    >>> y, x = np.mgrid[:256, :256]
    >>> q = 0.0075 * np.hypot(y - 125.0, x - 129.0)
    >>> lines = np.sqrt([3, 4, 8, 11, 12]) / 4.078
    >>> rings = sum(np.exp(-(((q - line) / 0.012) ** 2)) / line**2 for line in lines)
    >>> image = DiffractionImage(rings + np.exp(-q / 0.1), pixel_size=0.0077)  # from the camera length
    >>> calibration = calibrate_image(image, gold)
    >>> round(calibration.pixel_size, 5), len(calibration.rings), calibration.is_sure
    (0.0075, 5, True)
    """
    cell, rough = _with_rough_scale(image, pixel_size_range)
    edge = max(cell.data.shape) / 2
    best = None
    for entry in _crystals(crystal):
        q, strength, hkl = _lines(entry)
        fit = _fit(cell, q, strength, _check_range(pixel_size_range, q[0], edge), edge)
        if best is None or fit[1] > best[0][1]:
            best = fit, (q, strength, hkl), int(entry.space_groups[0])
    (size, correlation, rival, rival_correlation), (q, strength, hkl), space_group = best
    profile, center = _profile(cell, size)
    size, rings, shares = _refine(*profile, size, q, strength)
    rings = rings.join(pd.DataFrame(hkl, columns=["h", "k", "l"]), on="line")
    rings = rings[["h", "k", "l", "q", "radius", "residual"]].reset_index(drop=True)
    spread = np.sqrt((rings.residual**2).sum() / max(len(rings) - 1, 1))
    problem = _problem(rings, spread, shares, correlation, rival, rival_correlation)
    confirmed, warning = _confirm(problem, size, rough, space_group)
    if warning:
        warnings.warn(f"calibrate_image: {warning}", stacklevel=2)
    return ImageCalibration(
        pixel_size=float(size),
        uncertainty=float(size * np.hypot(CALIBRATION_ERROR, spread / np.sqrt(max(len(rings), 1)))),
        rings=rings,
        correlation=float(correlation),
        rival=float(rival),
        confirmed=confirmed,
        is_sure=confirmed == "phase",
        image=DiffractionImage(cell.data, pixel_size=float(size), center=center),
    )


def _with_rough_scale(image, pixel_size_range):
    """Return an image with a pixel size, and the rough pixel size that is known of it, or None."""
    cell = check_image(image, pixel_size=_UNKNOWN)
    rough = cell.pixel_size if cell.pixel_size != _UNKNOWN else None
    if pixel_size_range is not None:
        low, high = _check_range(pixel_size_range, 0, 0)
        middle = np.sqrt(low * high)
        if rough is None and high <= middle * (1 + ROUGH_SCALE):
            rough = middle
    return DiffractionImage(cell.data, pixel_size=1.0, center=cell.center), rough


def _confirm(problem, size, rough, space_group):
    """Return what a calibration confirms, and a warning or an empty string."""
    if problem:
        return "nothing", f"the rings do not fit the phase well: {problem}"
    if rough is not None:
        if abs(size / rough - 1) <= ROUGH_SCALE:
            return "phase", ""
        return "nothing", (
            f"the rings fit the phase at {size:.4g} 1/Å for each pixel, but the image is said to have "
            f"{rough:.4g}: the phase or this number is wrong"
        )
    if crystal_system([space_group])[0] != "cubic":
        return "phase", ""
    lattice = to_level([space_group], "bravais_lattice")[0]
    return "lattice type", (
        f"the rings confirm the lattice type alone ({lattice}), because those of any such phase fit at some "
        f"pixel size; if the phase is not certain, give the rough pixel size of the camera length, as "
        f"DiffractionImage(data, pixel_size=...) or as a narrow pixel_size_range"
    )


def _crystals(crystal):
    """Return the crystals, each a `CrystalSet` of one, that a known phase may be."""
    if isinstance(crystal, str | os.PathLike) and os.fspath(crystal).lower().endswith((".cif", ".mcif")):
        crystal = CrystalSet.from_cifs([crystal], on_error="raise")
    if isinstance(crystal, str):
        return _entries_of(crystal)
    if not isinstance(crystal, CrystalSet):
        crystal = CrystalSet.from_pymatgen([crystal])
    if len(crystal) != 1:
        raise ValueError(f"expected one known phase, got a set of {len(crystal)} crystals")
    return [crystal]


def _entries_of(formula):
    """Return the first AMCSD entry of each space group that has a formula."""
    from pymatgen.core import Composition

    from xtalsk.datasets import load_amcsd

    known = load_amcsd()
    wanted = Composition(formula)
    elements = {element.symbol for element in wanted.elements}
    entries = {}
    for i, text in enumerate(known.formulas):
        if int(known.space_groups[i]) in entries or not all(symbol in text for symbol in elements):
            continue
        if Composition(text).reduced_composition.almost_equals(wanted.reduced_composition, rtol=0.01):
            entries[int(known.space_groups[i])] = known[i : i + 1]
    if not entries:
        raise ValueError(
            f"AMCSD has no crystal of formula {formula!r}: give a pymatgen Structure or a CIF file"
        )
    return list(entries.values())


def _lines(crystal):
    """Positions (n,) in 1/Å, intensities (n,) and indices (n, 3) of the rings of a crystal."""
    from xtalsk.simulation import compute_reflections

    table = compute_reflections(crystal, "electron", d_min=_LOWEST_D, on_error="raise")
    q = table.q.numpy().astype(float)
    strength = (table.multiplicity * table.intensity).numpy().astype(float) / q
    order = np.argsort(q)
    return q[order], strength[order] / strength.max(), table.hkl.numpy()[order]


def _check_range(pixel_size_range, first_line, edge):
    """Return the lowest and the highest pixel size in 1/Å."""
    if pixel_size_range is None:
        return tuple(first_line / (share * edge) for share in CALIBRATION_RADII[::-1])
    try:
        low, high = (float(size) for size in pixel_size_range)
    except (TypeError, ValueError):
        low, high = 0.0, 0.0
    if not 0 < low < high < np.inf:
        raise ValueError(
            f"pixel_size_range must be two increasing, positive numbers in 1/Å, got {pixel_size_range!r}"
        )
    return low, high


def _profile(cell, pixel_size):
    """Return radii in pixels and profile of an image, both (n_bins,), and the centre that was found."""
    edge = max(cell.data.shape) / 2 * pixel_size
    transformer = RadialProfile(1024, (0.05 * edge, 1.3 * edge), on_error="raise").fit([None])
    cell = DiffractionImage(cell.data, pixel_size=pixel_size, center=cell.center)
    profile = transformer.transform([cell])[0]
    if not (np.nan_to_num(profile) > 0).any():
        raise ValueError("the image holds no rings: it cannot be calibrated")
    center = transformer.find_geometry([cell])[1].center[0].tolist()
    return (transformer.q_ / pixel_size, profile), tuple(center)


def _fit(cell, q, strength, limits, edge):
    """Best pixel size and its correlation, and the next best ones more than a twentieth away."""
    (radius, profile), _ = _profile(cell, 1 / edge)
    measured = np.isfinite(profile)
    sizes = np.geomspace(*limits, int(np.log(limits[1] / limits[0]) / CALIBRATION_STEP) + 2)
    edges = np.append(radius - (radius[1] - radius[0]) / 2, radius[-1])
    correlation = np.full(len(sizes), -1.0)
    for width in CALIBRATION_WIDTHS:
        sigma = width * edge / (radius[1] - radius[0])
        target = _centred(gaussian_filter1d(np.where(measured, profile, 0), sigma / 2)[measured])
        for i, size in enumerate(sizes):
            lines = np.histogram(q / size, edges, weights=strength)[0]
            model = _centred(np.sqrt(gaussian_filter1d(lines, sigma))[measured])
            correlation[i] = max(correlation[i], target @ model)
    top = correlation.argmax()
    others = abs(np.log(sizes / sizes[top])) > 0.05
    rival = np.where(others, correlation, -1).argmax()
    return sizes[top], correlation[top], sizes[rival], correlation[rival]


def _centred(values):
    """Return values (n,) with mean 0 and norm 1; zeros if they are constant."""
    values = values - values.mean()
    return values / max(np.linalg.norm(values), 1e-30)


def _refine(radius, profile, size, q, strength):
    """Refine a pixel size on the radii of single rings.

    Returns
    -------
    size : float
    rings : DataFrame
        ``line`` (row of ``q``), ``q``, ``radius`` and ``residual``.
    shares : (float, float)
        Of the heights of the peaks that have a line, and of the amplitudes of the lines that have a peak.
    """
    peaks, height = locate_peaks(radius * size, profile, min_height=0.08)
    peaks = peaks / size
    for tolerance in CALIBRATION_TOLERANCES:
        lines, position = _merged(q, strength, 0.5 * CALIBRATION_TOLERANCES[0])
        distance = abs(np.log(peaks[:, None] * size / position)) if len(peaks) else np.zeros((0, len(lines)))
        nearest = distance.argmin(1) if len(peaks) else np.zeros(0, int)
        near = distance[np.arange(len(peaks)), nearest] < tolerance
        # of several peaks near one line, the nearest is the ring
        near &= np.array([distance[i, k] == distance[:, k].min() for i, k in enumerate(nearest)], dtype=bool)
        if near.sum() < 2:
            break
        r, known = peaks[near], position[nearest[near]]
        size = (
            float(np.median(known / r)) if tolerance > CALIBRATION_TOLERANCES[-1] else (known @ r) / (r @ r)
        )
    rings = pd.DataFrame({"line": lines[nearest[near]], "q": position[nearest[near]], "radius": peaks[near]})
    rings["residual"] = rings.radius * size / rings.q - 1
    inside = (position > size * radius[np.isfinite(profile)][0]) & (position < size * radius[-1] / 1.3)
    expected = np.sqrt(strength[lines]) * inside
    found = expected[np.isin(np.arange(len(lines)), nearest[near])].sum()
    return size, rings, (height[near].sum() / max(height.sum(), 1e-30), found / max(expected.sum(), 1e-30))


def _merged(q, strength, tolerance):
    """Join lines closer than a relative ``tolerance``: rows of the strongest ones, and mean positions."""
    keep = strength > CALIBRATION_LINES
    rows = np.flatnonzero(keep)
    group = np.cumsum(np.diff(np.log(q[rows]), prepend=np.log(q[rows][0])) > tolerance)
    weight = np.bincount(group, strength[rows])
    position = np.bincount(group, strength[rows] * q[rows]) / weight
    strongest = [rows[group == g][strength[rows][group == g].argmax()] for g in range(group[-1] + 1)]
    return np.array(strongest), position


def _problem(rings, spread, shares, correlation, rival, rival_correlation):
    """Return why a calibration is not sure, or an empty string."""
    problems = []
    if len(rings) < _FEWEST_RINGS:
        problems.append(f"only {len(rings)} of them were used")
    if spread > CALIBRATION_RESIDUAL:
        problems.append(f"their residuals are {spread:.1%}")
    if shares[0] < CALIBRATION_SHARE:
        problems.append(f"{1 - shares[0]:.0%} of the heights of the rings belong to no line of the phase")
    if shares[1] < CALIBRATION_LINE_SHARE:
        problems.append(f"{1 - shares[1]:.0%} of the amplitudes of the lines of the phase were not found")
    if rival_correlation > CALIBRATION_RIVAL * correlation:
        problems.append(f"a pixel size of {rival:.4g} 1/Å fits nearly as well; give pixel_size_range")
    return "; ".join(problems)
