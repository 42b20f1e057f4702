"""Powder diffraction profiles."""

from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from sklearn.utils import check_random_state

from xtalsk.simulation._chunks import Counts, chunks, columns_on
from xtalsk.simulation._conditions import check_conditions
from xtalsk.simulation._counting import poisson
from xtalsk.simulation._profiles import broaden, check_crystals, deposit_between, make_generator
from xtalsk.simulation.powder._background import background_shapes, beam_shape, remove_background, uneven
from xtalsk.simulation.powder._conditions import PowderConditions
from xtalsk.simulation.powder._lines import line_widths, powder_lines, width_nodes
from xtalsk.simulation.reflections._strain import STRAIN_COLUMNS, ZONE_COLUMNS, draw_strains
from xtalsk.simulation.reflections._texture import PLANE_COLUMNS, draw_grain_planes

_PATTERNS_PER_CHUNK = 64


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
    """Render X-ray powder patterns as a flat-plate diffractometer records them.

    Lines stand where the strained lattice, zero shift and sample displacement put them, carry structure
    factor, multiplicity, Lorentz-polarisation factor and texture (March, exact over the members of each
    family), and have pseudo-Voigt shapes whose width changes with the angle. To them come background and
    counting noise.

    Parameters
    ----------
    reflections : Reflections
        Of X-rays, to a ``d_min`` of at most λ / (2 sin θ) of the highest angle. Their dtype and device are
        those of the arithmetic.
    rows : array-like of int or None
        The crystal of each pattern, repeats allowed; by default each crystal once.
    conditions : PowderConditions or {"ideal", "typical", "harsh"}
    two_theta : (start, stop, step) or None
        Takes the place of the axis of ``conditions``, in degrees.
    random_state : int, RandomState or None
    return_conditions : bool
        Whether to return what was drawn too.
    verbose : int
        Above 0 shows a progress bar.

    Returns
    -------
    counts : ndarray of unsigned int, shape (n_patterns, n_points)
    drawn : DataFrame of n_patterns rows
        Only with ``return_conditions=True``.

    Raises
    ------
    ValueError
        If the reflections do not reach the highest angle, a crystal has no line in range, or an argument is
        out of range.

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
    drawn = draw_powder(conditions, reflections, rows, rng)
    counts = Counts(len(rows))
    for batch in render_in_chunks(reflections, rows, drawn, conditions, rng, _PATTERNS_PER_CHUNK, verbose):
        counts.add(batch)
    return (counts.values, drawn) if return_conditions else counts.values


def render_in_chunks(reflections, rows, drawn, conditions, rng, size, verbose=0):
    """Yield the counts of ``size`` patterns after another, tensors of shape (n, n_points)."""
    generator = make_generator(rng, reflections.q.device)
    every = columns_on({name: drawn[name].to_numpy(dtype=float) for name in drawn}, reflections.q)
    nodes = width_nodes(torch.from_numpy(conditions.axis()).to(reflections.q), every, conditions)
    for some, part in chunks(rows, drawn, size, "powder patterns", verbose):
        yield render_powder(reflections, some, part, conditions, generator, nodes)


def _check_reach(reflections, conditions):
    if reflections.radiation != "xray":
        raise ValueError(f"powder patterns need X-ray reflections, these are of {reflections.radiation}")
    needed, highest = conditions.d_min(), conditions.axis()[-1]
    if reflections.d_min > needed * (1 + 1e-4):
        raise ValueError(
            f"reflections reach d = {reflections.d_min:g} Å, but {highest:g} degrees needs {needed:.4g} Å"
        )


def draw_powder(conditions, reflections, rows, rng):
    """Draw what varies from pattern to pattern, a row each."""
    n = len(rows)
    drawn = conditions.draw(n, rng)
    drawn["background_removed"] = rng.uniform(size=n) < drawn["background_removed"]
    more = {
        "air_decay": rng.uniform(3.0, 30.0, n),
        "opening_degrees": np.exp(rng.uniform(np.log(0.6), np.log(1.5), n)),
        "baseline_depth": rng.normal(1.36, 0.13, n),
        "beam_left": np.exp(rng.normal(np.log(0.1), 0.5, n)),
        "last_pinned": (rng.uniform(size=n) < 0.4).astype(float),
        "zone_share": rng.uniform(0.1, 0.5, n),
        "impurity_row": _other_rows(reflections, rows, rng),
    }
    more |= {f"bend_{k}": rng.standard_normal(n) / k for k in range(1, 5)}
    more |= dict(zip(PLANE_COLUMNS, draw_grain_planes(reflections, rows, rng).T, strict=True))
    for field, columns in (("strain", STRAIN_COLUMNS), ("zoning", ZONE_COLUMNS)):
        strains = draw_strains(reflections, rows, drawn[field].to_numpy(), rng)
        more |= dict(zip(columns, strains.T, strict=True))
    return pd.concat([drawn, pd.DataFrame(more)], axis=1)


def _other_rows(reflections, rows, rng):
    """For each pattern a crystal with reflections that is not its own, or its own if there is no other."""
    usable = np.flatnonzero(np.diff(reflections.offsets))
    if len(usable) < 2:
        return rows
    place = np.searchsorted(usable, rows)
    return usable[(place + rng.randint(1, len(usable), size=len(rows))) % len(usable)]


def render_powder(reflections, rows, drawn, conditions, generator, nodes=None):
    """Render the counts of one chunk of patterns.

    Parameters
    ----------
    reflections : Reflections
    rows : ndarray of int, shape (n,)
    drawn : dict of str to ndarray of shape (n,)
        See `draw_powder`.
    conditions : PowderConditions
        For the axis and the wavelengths.
    generator : torch.Generator
    nodes : tensor or None
        Angles between which widths are interpolated; by default they are chosen for these patterns.

    Returns
    -------
    tensor of shape (n, n_points)
    """
    column = columns_on(drawn, reflections.q)
    axis = torch.from_numpy(conditions.axis()).to(reflections.q)
    lines = powder_lines(reflections, rows, drawn, column, conditions, generator)
    profile = line_profiles(reflections, rows, lines, column, axis, conditions, nodes)
    by_total = column["line_counts"] / profile.sum(1)
    rates = profile * torch.where(by_total > 0, by_total, column["peak_counts"])[:, None]
    beam = beam_shape(axis) * (column["low_angle_scatter"] * column["background"])[:, None]
    if drawn["background"].any():
        rates += background_shapes(axis, column) * column["background"][:, None] + beam
    counts = poisson(rates, generator)
    if drawn["background_removed"].any():
        left = beam * column["beam_left"][:, None] * uneven(axis, len(rows), generator)
        rest = remove_background(counts, rates - left, column, conditions.two_theta[2], generator)
        counts = torch.where(column["background_removed"][:, None] > 0, rest, counts)
    if not drawn["full_scale"].any():
        return counts.round()
    scale = column["full_scale"][:, None]
    scaled = (counts * (scale / counts.amax(1, keepdim=True).clamp_min(1))).floor()
    return torch.where(scale > 0, scaled, counts.round())


def line_profiles(reflections, rows, lines, column, axis, conditions, nodes=None):
    """Patterns of lines alone, 1 at the strongest point, shape (n, n_points)."""
    pattern, two_theta, weight = lines
    step = conditions.two_theta[2]
    nodes = width_nodes(axis, column, conditions) if nodes is None else nodes
    fwhm, eta = line_widths(nodes.clamp(0.5, 179), column, conditions.wavelength)
    deposited = deposit_between(
        pattern, (two_theta - axis[0]) / step, weight, two_theta, nodes, (len(rows), len(axis))
    )
    filled = deposited.sum((1, 2)) > 0
    if not filled.all():
        row = int(rows[int(torch.nonzero(~filled)[0])])
        raise ValueError(
            f"crystal {row} ({reflections.ids[row]}) has no line between {axis[0]:g} and {axis[-1]:g} degrees"
        )
    lowest = torch.deg2rad(nodes.clamp(2, 90))
    tail = column["asymmetry"][:, None] * (torch.cos(lowest) / torch.sin(lowest)).clamp_min(0)
    profile = broaden(deposited, fwhm / step, eta, tail=tail / step if column["asymmetry"].any() else None)
    return profile / profile.amax(1, keepdim=True)
