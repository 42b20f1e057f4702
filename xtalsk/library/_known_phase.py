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

_LOWEST_D = 0.5  # Å; rings of smaller spacing are weak
_FEWEST_RINGS = 3


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
    is_sure : bool
        Whether the rings fit. If they do not, `calibrate_image` warned and said why.
    image : DiffractionImage
        The image with its pixel size and with the centre that was found.
    """

    pixel_size: float
    uncertainty: float
    rings: pd.DataFrame = field(repr=False)
    correlation: float
    rival: float = field(repr=False)
    is_sure: bool
    image: DiffractionImage = field(repr=False)


def calibrate_image(image, crystal, *, pixel_size_range=None):
    """Find the pixel size of an image of rings of a known phase, such as gold or aluminium.

    The square root of the profile of the image is compared with the lines of the phase at all pixel sizes.
    The best one is then refined on the radii of single rings. Radii are taken as proportional to q, which
    is right within 0.1% below q = 1 1/Å at 75 keV or more.

    Parameters
    ----------
    image : DiffractionImage, ndarray of shape (n_rows, n_columns), HyperSpy signal or path
        Its own pixel size, if any, is not used; its centre is.
    crystal : CrystalSet of one crystal, pymatgen Structure, or str
        The known phase. A str is the path to a CIF file, or a formula, for which the first AMCSD entry of
        each space group is tried. Cells at other temperatures differ by up to 1%: a structure is better.
    pixel_size_range : (float, float) or None, default=None
        Lowest and highest pixel size in 1/Å. None: the first line of the phase lies between 0.06 and 0.8 of
        the distance from the middle of the image to its farthest edge.

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
        are left over, or another pixel size that fits nearly as well.

    Examples
    --------
    >>> import numpy as np
    >>> from pymatgen.core import Lattice, Structure
    >>> from xtalsk.library import calibrate_image
    >>> gold = Structure.from_spacegroup("Fm-3m", Lattice.cubic(4.078), ["Au"], [[0, 0, 0]])
    >>> y, x = np.mgrid[:256, :256]
    >>> q = 0.0075 * np.hypot(y - 125.0, x - 129.0)
    >>> lines = np.sqrt([3, 4, 8, 11, 12]) / 4.078
    >>> rings = sum(np.exp(-(((q - line) / 0.012) ** 2)) / line**2 for line in lines)
    >>> calibration = calibrate_image(rings + np.exp(-q / 0.1), gold)
    >>> round(calibration.pixel_size, 5), len(calibration.rings), calibration.is_sure
    (0.0075, 5, True)
    """
    cell = check_image(image, pixel_size=1.0)
    edge = max(cell.data.shape) / 2
    tables = [_lines(entry) for entry in _crystals(crystal)]
    best = None
    for q, strength, hkl in tables:
        fit = _fit(cell, q, strength, _check_range(pixel_size_range, q[0], edge), edge)
        if best is None or fit[1] > best[0][1]:
            best = fit, (q, strength, hkl)
    (size, correlation, rival, rival_correlation), (q, strength, hkl) = best
    profile, center = _profile(cell, size)
    size, rings, shares = _refine(*profile, size, q, strength)
    rings = rings.join(pd.DataFrame(hkl, columns=["h", "k", "l"]), on="line")
    rings = rings[["h", "k", "l", "q", "radius", "residual"]].reset_index(drop=True)
    spread = np.sqrt((rings.residual**2).sum() / max(len(rings) - 1, 1))
    problem = _problem(rings, spread, shares, correlation, rival, rival_correlation)
    if problem:
        warnings.warn(f"calibrate_image: the rings do not fit the phase well: {problem}", stacklevel=2)
    return ImageCalibration(
        pixel_size=float(size),
        uncertainty=float(size * np.hypot(CALIBRATION_ERROR, spread / np.sqrt(max(len(rings), 1)))),
        rings=rings,
        correlation=float(correlation),
        rival=float(rival),
        is_sure=not problem,
        image=DiffractionImage(cell.data, pixel_size=float(size), center=center),
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
