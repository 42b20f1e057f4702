"""Simulation of X-ray powder patterns."""

from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from sklearn.utils import check_random_state

from xtalsk.simulation._chunks import Counts, check_crystals, chunks, columns_on
from xtalsk.simulation._conditions import check_conditions
from xtalsk.simulation._counting import poisson
from xtalsk.simulation._line_profiles import broaden, deposit_between
from xtalsk.simulation.powder._background import (
    background_shapes,
    low_angle_shape,
    remove_background,
    uneven_factors,
)
from xtalsk.simulation.powder._compiled_render import CompiledRenderer, no_lines_message
from xtalsk.simulation.powder._conditions import PowderConditions
from xtalsk.simulation.powder._constants import (
    AIR_DECAY,
    BASELINE_DEPTH,
    LAST_PINNED_PROBABILITY,
    LOW_ANGLE_REMAINDER,
    OPENING_DEGREES,
    PATTERNS_PER_CHUNK,
    WIDTH_ANGLES,
    ZONE_SHARE,
)
from xtalsk.simulation.powder._lines import line_widths, powder_lines, tail_lengths, width_nodes
from xtalsk.simulation.reflections._strain import STRAIN_COLUMNS, ZONE_COLUMNS, draw_strains
from xtalsk.simulation.reflections._texture import PLANE_COLUMNS, draw_grain_planes
from xtalsk.utils._threads import is_plain


def simulate_powder(
    reflections,
    rows=None,
    conditions="typical",
    *,
    two_theta=None,
    random_state=None,
    return_conditions=False,
    verbose=0,
):
    """Simulate X-ray powder patterns of a flat-plate diffractometer.

    The positions of lines include lattice strain, zero shift and sample displacement. Their intensities
    include structure factor, multiplicity, Lorentz-polarisation factor and texture (March function, averaged
    over all members of a family). Their shapes are pseudo-Voigt functions whose width changes with the angle.
    Background and counting noise are added.

    Parameters
    ----------
    reflections : Reflections
        Reflections of X-rays. Their ``d_min`` must be at most λ / (2 sin θ) at the highest angle. Their dtype
        and device are used for the arithmetic.
    rows : array-like of int or None
        The crystal of each pattern, repeats allowed; by default each crystal once.
    conditions : PowderConditions or {"ideal", "typical", "harsh", "measured"}
        Conditions or the name of a preset.
    two_theta : (start, stop, step) or None
        Axis 2θ in degrees; it replaces the axis of ``conditions``.
    random_state : int, RandomState or None
    return_conditions : bool
        Whether to return the conditions of each pattern too.
    verbose : int
        Above 0 shows a progress bar.

    Returns
    -------
    counts : ndarray of unsigned int, shape (n_patterns, n_points)
    conditions_used : DataFrame of n_patterns rows
        The numbers drawn for each pattern. Only with ``return_conditions=True``.

    Raises
    ------
    ValueError
        If the reflections do not reach the highest angle, a crystal has no line on the axis, or an argument
        is out of range.

    Examples
    --------
    >>> from pymatgen.core import Lattice, Structure
    >>> from xtalsk.crystals import CrystalSet
    >>> from xtalsk.simulation import simulate_powder, compute_reflections
    >>> salt = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5] * 3])
    >>> r = compute_reflections(CrystalSet.from_pymatgen([salt]), "xray", d_min=1.0, wavelength=1.5406)
    >>> counts = simulate_powder(r, conditions="ideal", two_theta=(10, 90, 0.05), random_state=0)
    >>> counts.shape, int(counts[0].argmax() * 0.05 + 10)
    ((1, 1601), 31)
    """
    conditions = check_conditions(conditions, PowderConditions)
    if two_theta is not None:
        conditions = replace(conditions, two_theta=two_theta)
    rows = check_crystals(rows, reflections)
    _check_reach(reflections, conditions)
    rng = check_random_state(random_state)
    values = draw_powder(conditions, reflections, rows, rng)
    counts = Counts(len(rows))
    for batch in render_in_chunks(reflections, rows, values, conditions, rng, PATTERNS_PER_CHUNK, verbose):
        counts.add(batch)
    return (counts.values, values) if return_conditions else counts.values


def render_in_chunks(reflections, rows, values, conditions, rng, size, verbose=0):
    """Render patterns in chunks.

    Parameters
    ----------
    reflections : Reflections
    rows : ndarray of int, shape (n,)
        The crystal of each pattern.
    values : DataFrame of n rows
        See `draw_powder`.
    conditions : PowderConditions
    rng : RandomState
    size : int
        Patterns in a chunk.
    verbose : int
        Above 0 shows a progress bar.

    Yields
    ------
    tensor of shape (size or fewer, n_points)
        Counts.
    """
    seed = int(rng.randint(2**31))
    column = columns_on({name: values[name].to_numpy(dtype=float) for name in values}, reflections.q)
    nodes = width_nodes(torch.from_numpy(conditions.axis()).to(reflections.q), column, conditions)
    parts = chunks(rows, values, size, "powder patterns", verbose)
    if is_plain(reflections.q):
        renderer, seeds = CompiledRenderer(reflections, conditions, nodes), pattern_seeds(seed, len(rows))
        for part_rows, part in parts:
            of_part, seeds = np.split(seeds, [len(part_rows)])
            yield torch.from_numpy(renderer.counts(part_rows, part, of_part))
        return
    generator = torch.Generator(device=reflections.q.device).manual_seed(seed)
    for part_rows, part in parts:
        yield render_powder(reflections, part_rows, part, conditions, generator, nodes)


def pattern_seeds(seed, n):
    """Seeds of the random numbers of ``n`` patterns, uint64, from one seed below 2³¹."""
    return np.uint64(seed << 32) + np.arange(n, dtype=np.uint64)


def _check_reach(reflections, conditions):
    """Raise ValueError if the reflections are not of X-rays or do not reach the highest angle."""
    if reflections.radiation != "xray":
        raise ValueError(
            f"powder patterns need X-ray reflections, these are {reflections.radiation} reflections"
        )
    needed, highest = conditions.d_min(), conditions.axis()[-1]
    if reflections.d_min > needed * (1 + 1e-4):
        raise ValueError(
            f"reflections reach d = {reflections.d_min:g} Å, but {highest:g} degrees needs {needed:.4g} Å"
        )


def draw_powder(conditions, reflections, rows, rng):
    """Draw the values of the conditions of each pattern, DataFrame of one row a pattern."""
    n = len(rows)
    values = conditions.draw(n, rng)
    values["background_removed"] = rng.uniform(size=n) < values["background_removed"]
    remainder, remainder_spread = LOW_ANGLE_REMAINDER
    more = {
        "air_decay": rng.uniform(*AIR_DECAY, n),
        "opening_degrees": np.exp(rng.uniform(*np.log(OPENING_DEGREES), n)),
        "baseline_depth": rng.normal(*BASELINE_DEPTH, n),
        "beam_left": np.exp(rng.normal(np.log(remainder), remainder_spread, n)),
        "last_pinned": (rng.uniform(size=n) < LAST_PINNED_PROBABILITY).astype(float),
        "zone_share": rng.uniform(*ZONE_SHARE, n),
        "impurity_row": _other_rows(reflections, rows, rng),
    }
    more |= {f"bend_{k}": rng.standard_normal(n) / k for k in range(1, 5)}
    more |= dict(zip(PLANE_COLUMNS, draw_grain_planes(reflections, rows, rng).T, strict=True))
    for field, columns in (("strain", STRAIN_COLUMNS), ("zoning", ZONE_COLUMNS)):
        strains = draw_strains(reflections, rows, values[field].to_numpy(), rng)
        more |= dict(zip(columns, strains.T, strict=True))
    return pd.concat([values, pd.DataFrame(more)], axis=1)


def _other_rows(reflections, rows, rng):
    """Row of another crystal with reflections for each pattern; the same crystal if there is no other."""
    usable = np.flatnonzero(np.diff(reflections.offsets))
    if len(usable) < 2:
        return rows
    index = np.searchsorted(usable, rows)
    return usable[(index + rng.randint(1, len(usable), size=len(rows))) % len(usable)]


def render_powder(reflections, rows, values, conditions, generator, nodes=None):
    """Render the counts of one chunk of patterns with torch.

    `CompiledRenderer` computes the same on a CPU in single precision, with other random numbers.

    Parameters
    ----------
    reflections : Reflections
    rows : ndarray of int, shape (n,)
        The crystal of each pattern.
    values : dict of str to ndarray of shape (n,)
        See `draw_powder`.
    conditions : PowderConditions
        For the axis and the wavelengths.
    generator : torch.Generator
    nodes : tensor or None
        Angles 2θ in degrees between which widths are interpolated; None chooses them for these patterns.

    Returns
    -------
    tensor of shape (n, n_points)
    """
    column = columns_on(values, reflections.q)
    axis = torch.from_numpy(conditions.axis()).to(reflections.q)
    lines = powder_lines(reflections, rows, values, column, conditions, generator)
    profile = line_profiles(reflections, rows, lines, column, axis, conditions, nodes)
    by_total = column["line_counts"] / profile.sum(1)
    rates = profile * torch.where(by_total > 0, by_total, column["peak_counts"])[:, None]
    low_angle = low_angle_shape(axis) * (column["low_angle_scatter"] * column["background"])[:, None]
    if values["background"].any():
        rates += background_shapes(axis, column) * column["background"][:, None] + low_angle
    counts = poisson(rates, generator)
    if values["background_removed"].any():
        remainder = low_angle * column["beam_left"][:, None] * uneven_factors(axis, len(rows), generator)
        net = remove_background(counts, rates - remainder, column, conditions.two_theta[2], generator)
        counts = torch.where(column["background_removed"][:, None] > 0, net, counts)
    return _scaled(counts, column["full_scale"][:, None])


def _scaled(counts, full_scale):
    """Whole counts, scaled to ``full_scale`` at the strongest point where that is above 0."""
    if not full_scale.any():
        return counts.round()
    scaled = (counts * (full_scale / counts.amax(1, keepdim=True).clamp_min(1))).floor()
    return torch.where(full_scale > 0, scaled, counts.round())


def line_profiles(reflections, rows, lines, column, axis, conditions, nodes=None):
    """Patterns of the lines alone, 1 at the strongest point, tensor of shape (n, n_points)."""
    pattern, two_theta, weight = lines
    step = conditions.two_theta[2]
    nodes = width_nodes(axis, column, conditions) if nodes is None else nodes
    fwhm, eta = line_widths(nodes.clamp(*WIDTH_ANGLES), column, conditions.wavelength)
    deposited = deposit_between(
        pattern, (two_theta - axis[0]) / step, weight, two_theta, nodes, (len(rows), len(axis))
    )
    has_lines = deposited.sum((1, 2)) > 0
    if not has_lines.all():
        row = int(rows[int(torch.nonzero(~has_lines)[0])])
        raise ValueError(no_lines_message(reflections, row, axis))
    tail = tail_lengths(nodes, column) / step if column["asymmetry"].any() else None
    profile = broaden(deposited, fwhm / step, eta, tail=tail)
    return profile / profile.amax(1, keepdim=True)
