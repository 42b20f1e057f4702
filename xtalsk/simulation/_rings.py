"""Ring images of polycrystals under an electron beam."""

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from xtalsk.simulation._profiles import (
    broaden,
    check_rows,
    deposit,
    draw,
    gather_lines,
    make_generators,
    to_counts,
)

_PIXELS_PER_CHUNK = 16 * 128 * 128
_POINTS_PER_PIXEL = 4


def rings(
    reflections,
    rows=None,
    *,
    size=256,
    q_max=1.0,
    electrons=1e5,
    ring_width=(0.006, 0.015),
    eta=(0.2, 0.6),
    blur=(0.8, 1.6),
    background=(0.2, 0.6),
    direct_beam=(0.02, 0.2),
    beam_stop=0.5,
    off_center=0.05,
    ellipticity=(0.0, 0.02),
    random_state=None,
    return_conditions=False,
    verbose=0,
):
    """Render diffraction images of randomly oriented grains, one square image a pattern.

    The intensity along a ring is proportional to p |F|² d² per unit length (kinematic scattering by thin
    grains, p the multiplicity) [1]_. To the rings are added diffuse scattering that falls off with q and the
    direct beam; then come the beam stop and Poisson counts. A pair ``(low, high)`` is drawn uniformly for
    each pattern.

    Parameters
    ----------
    reflections : Reflections
        Of electrons, to 1 / d_min of at least ``q_max``. Corners beyond 1 / d_min hold no rings.
    rows : array-like of int or None
        The crystal of each pattern, repeats allowed; by default each crystal once.
    size : int
        Rows and columns of the image, at least 32.
    q_max : float
        q = 1/d in 1/Å from the middle of the image to the middle of its edge.
    electrons : float or (low, high)
        Expected electrons in the rings and the diffuse scattering of the whole image, without a beam stop.
        The direct beam comes on top.
    ring_width : float or (low, high)
        Full width at half maximum of the rings in 1/Å, from grain size and beam convergence.
    eta : float or (low, high)
        Lorentzian share of the shape of the rings.
    blur : float or (low, high)
        Full width of the detector's point spread in pixels, added to the ring width in quadrature.
    background : float or (low, high)
        Share of the electrons that is diffuse, 0 to 1.
    direct_beam : float or (low, high)
        Electrons of the direct beam that reach the detector, relative to ``electrons``.
    beam_stop : float
        Share of the images with a beam stop, 0 to 1: an opaque disc on an arm, a little off the beam.
    off_center : float
        Largest distance of the beam from the middle of the image along rows and columns, as a share of the
        width, 0 to 0.25.
    ellipticity : float or (low, high)
        Ratio of the axes of the rings minus one, at a random azimuth.
    random_state : int, RandomState or None
    return_conditions : bool
        Whether to return what was drawn too.
    verbose : int
        Above 0 shows a progress bar.

    Returns
    -------
    images : ndarray of unsigned int, shape (n_patterns, size, size)
        Electron counts. A pixel is ``2 * q_max / size`` wide.
    conditions : DataFrame of n_patterns rows
        Only with ``return_conditions=True``; ``center_row`` and ``center_column`` say where the beam is, in
        pixels from the middle of the first pixel.

    Raises
    ------
    ValueError
        If the reflections do not reach ``q_max``, a crystal has no ring in range, or an argument is out of
        range.

    References
    ----------
    .. [1] B. K. Vainshtein, Structure Analysis by Electron Diffraction (1964), chapter 3.

    Examples
    --------
    >>> from pymatgen.core import Lattice, Structure
    >>> from xtalsk.crystals import CrystalSet
    >>> from xtalsk.simulation import reflections, rings
    >>> gold = Structure.from_spacegroup("Fm-3m", Lattice.cubic(4.078), ["Au"], [[0, 0, 0]])
    >>> r = reflections(CrystalSet.from_pymatgen([gold]), "electron", d_min=0.7)
    >>> images = rings(r, size=128, electrons=1e5, direct_beam=0, beam_stop=0, random_state=0)
    >>> images.shape, bool(abs(images.sum() - 1e5) < 2000)
    ((1, 128, 128), True)
    """
    rows = check_rows(rows, len(reflections))
    _check_arguments(reflections, size, q_max, beam_stop, off_center)
    rng, generator = make_generators(random_state, reflections.q.device)
    n = len(rows)
    drawn = {
        "electrons": electrons,
        "ring_width": ring_width,
        "eta": eta,
        "blur": blur,
        "background": background,
        "direct_beam": direct_beam,
        "ellipticity": ellipticity,
    }
    conditions = pd.DataFrame({name: draw(name, value, n, rng) for name, value in drawn.items()})
    for name in drawn:
        if (conditions[name] < 0).any():
            raise ValueError(f"{name} must not be negative, got {drawn[name]!r}")
    if (conditions.background > 1).any() or (conditions.ring_width == 0).any():
        raise ValueError("background must be at most 1 and ring_width above 0")
    middle = (size - 1) / 2
    for name in ("center_row", "center_column"):
        conditions[name] = middle + rng.uniform(-off_center, off_center, n) * size
    conditions["ellipse_azimuth"] = rng.uniform(0, np.pi, n)
    conditions["background_decay"] = rng.uniform(0.12, 0.4, n)
    conditions["beam_width"] = rng.uniform(0.01, 0.03, n)
    conditions["beam_stop"] = rng.uniform(size=n) < beam_stop
    conditions["stop_radius"] = rng.uniform(0.04, 0.09, n) * size
    conditions["stop_azimuth"] = rng.uniform(-np.pi, np.pi, n)
    for name in ("stop_row", "stop_column"):
        conditions[name] = conditions[name.replace("stop", "center")] + rng.uniform(-0.01, 0.01, n) * size
    chunk = max(1, _PIXELS_PER_CHUNK // size**2)
    batches = []
    for start in tqdm(range(0, n, chunk), desc="ring images", disable=not verbose):
        part = slice(start, start + chunk)
        rates = _rates(reflections, rows[part], conditions[part], size, q_max)
        batches.append(torch.poisson(rates, generator=generator))
    images = to_counts(batches)
    return (images, conditions) if return_conditions else images


def _check_arguments(reflections, size, q_max, beam_stop, off_center):
    if reflections.radiation != "electron":
        raise ValueError(f"ring images need electron reflections, these are of {reflections.radiation}")
    if not (isinstance(size, int | np.integer) and size >= 32):
        raise ValueError(f"size must be an integer of at least 32 pixels, got {size!r}")
    if not (np.isfinite(q_max) and q_max > 0):
        raise ValueError(f"q_max must be a positive number of 1/Å, got {q_max!r}")
    if reflections.d_min > 1 / q_max * (1 + 1e-6):
        raise ValueError(f"reflections reach 1/d = {1 / reflections.d_min:g} 1/Å, q_max is {q_max:g}")
    if not 0 <= beam_stop <= 1:
        raise ValueError(f"beam_stop must be a share from 0 to 1, got {beam_stop!r}")
    if not 0 <= off_center <= 0.25:
        raise ValueError(f"off_center must be a share from 0 to 0.25, got {off_center!r}")


def _rates(reflections, rows, conditions, size, q_max):
    """Compute the expected electrons of one chunk, shape (n, size, size)."""
    device = reflections.q.device
    column = {
        name: torch.from_numpy(conditions[name].to_numpy(dtype=np.float32)).to(device)[:, None, None]
        for name in conditions
    }
    pixel = 2 * q_max / size
    grid = torch.arange(size, device=device, dtype=torch.float32)
    y = (grid[:, None] - column["center_row"]) * pixel
    x = (grid[None, :] - column["center_column"]) * pixel
    q = _elliptic_radius(x, y, column["ellipticity"], column["ellipse_azimuth"])
    ring = _ring_rates(reflections, rows, column, q, pixel)
    diffuse = torch.exp(-q / column["background_decay"])
    beam = torch.exp(-4 * np.log(2) * (q / column["beam_width"]) ** 2)
    share = column["background"]
    rates = (1 - share) * _unit_sum(ring) + share * _unit_sum(diffuse)
    rates = (rates + column["direct_beam"] * _unit_sum(beam)) * column["electrons"]
    return rates * ~_behind_stop(column, grid)


def _unit_sum(images):
    return images / images.sum((1, 2), keepdim=True).clamp_min(1e-30)


def _elliptic_radius(x, y, ellipticity, azimuth):
    """Distance from the centre after undoing the ellipse, area kept."""
    cosine, sine = torch.cos(azimuth), torch.sin(azimuth)
    stretch = torch.sqrt(1 + ellipticity)
    along, across = (x * cosine + y * sine) / stretch, (y * cosine - x * sine) * stretch
    return torch.sqrt(along**2 + across**2)


def _ring_rates(reflections, rows, column, q, pixel):
    """Rings on every pixel, from a finely sampled radial profile of each pattern."""
    step = pixel / _POINTS_PER_PIXEL
    n_points = int(float(q.max()) / step) + 3
    pattern, lines = gather_lines(reflections, rows)
    line_q = reflections.q[lines]
    weight = reflections.intensity[lines] * reflections.multiplicity[lines] / line_q**2
    profile = deposit(pattern, line_q / step, weight, (len(rows), n_points))
    empty = ~(profile.sum(1) > 0)
    if empty.any():
        row = int(rows[int(torch.nonzero(empty)[0])])
        raise ValueError(f"crystal {row} has no ring within {n_points * step:.3g} 1/Å")
    width = torch.sqrt(column["ring_width"] ** 2 + (column["blur"] * pixel) ** 2).flatten()
    profile = broaden(profile.float(), width / step, column["eta"].flatten())
    position = (q / step).flatten(1)
    left = position.long()
    low, high = profile.gather(1, left), profile.gather(1, left + 1)
    return torch.lerp(low, high, position - left).view_as(q)


def _behind_stop(column, grid):
    """Pixels hidden by the beam stop: a disc and an arm from it to the edge."""
    y, x = grid[:, None] - column["stop_row"], grid[None, :] - column["stop_column"]
    radius = column["stop_radius"]
    along = x * torch.cos(column["stop_azimuth"]) + y * torch.sin(column["stop_azimuth"])
    across = y * torch.cos(column["stop_azimuth"]) - x * torch.sin(column["stop_azimuth"])
    hidden = (x**2 + y**2 < radius**2) | ((along > 0) & (across.abs() < 0.35 * radius))
    return hidden & (column["beam_stop"] > 0)
