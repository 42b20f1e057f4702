"""Ring images of polycrystals under an electron beam."""

from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from sklearn.utils import check_random_state

from xtalsk.simulation._chunks import Counts, chunks, columns_on, some_of
from xtalsk.simulation._conditions import check_conditions
from xtalsk.simulation._profiles import broaden, check_crystals, deposit, make_generator
from xtalsk.simulation.images._beam import (
    add_direct_beam,
    alike,
    check_reach,
    draw_geometry,
    hide_behind_stop,
    spread,
)
from xtalsk.simulation.images._detector import record
from xtalsk.simulation.images._radial import POINTS_PER_PIXEL, diffuse_profile, offsets, on_pixels, radii
from xtalsk.simulation.images._ring_conditions import RingConditions
from xtalsk.simulation.images._ring_lines import draw_grains, pole_orders, ring_lines
from xtalsk.simulation.images._stamps import stamp_some
from xtalsk.simulation.reflections._strain import STRAIN_COLUMNS, draw_strains
from xtalsk.simulation.reflections._texture import PLANE_COLUMNS, draw_planes, legendre

_PIXELS_PER_CHUNK = 64 * 128 * 128


def simulate_rings(
    reflections,
    rows=None,
    conditions="typical",
    *,
    electrons=None,
    random_state=None,
    return_conditions=False,
    verbose=0,
):
    """Render diffraction images of randomly oriented grains, one square image a pattern.

    The intensity along a ring is proportional to p |F|² d² per unit length (kinematic scattering by thin
    grains, p the multiplicity) [1]_. A fibre texture multiplies it by the pole density of the family, the
    March function expanded in Legendre polynomials up to order 8. Rings of few grains are drawn grain by
    grain. To the rings are added diffuse scattering and the direct beam; then come the beam stop and the
    detector.

    Parameters
    ----------
    reflections : Reflections
        Of electrons, to 1 / d_min of at least ``q_max``. Corners beyond 1 / d_min hold no rings. Their dtype
        and device are those of the arithmetic.
    rows : array-like of int or None
        The crystal of each pattern, repeats allowed; by default each crystal once.
    conditions : RingConditions or {"ideal", "typical", "harsh"}
    electrons : float, (low, high) or None
        Takes the place of the dose of ``conditions``.
    random_state : int, RandomState or None
    return_conditions : bool
        Whether to return what was drawn too.
    verbose : int
        Above 0 shows a progress bar.

    Returns
    -------
    images : ndarray of unsigned int, shape (n_patterns, image_size, image_size)
        Counts. A pixel is ``2 * q_max / image_size`` wide.
    drawn : DataFrame of n_patterns rows
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
    >>> from xtalsk.simulation import RingConditions, compute_reflections, simulate_rings
    >>> gold = Structure.from_spacegroup("Fm-3m", Lattice.cubic(4.078), ["Au"], [[0, 0, 0]])
    >>> r = compute_reflections(CrystalSet.from_pymatgen([gold]), "electron", d_min=0.7)
    >>> conditions = RingConditions(image_size=128, direct_beam=0, beam_stop=0)
    >>> images = simulate_rings(r, conditions=conditions, random_state=0)
    >>> images.shape, bool(abs(images.sum() - 1e5) < 2000)
    ((1, 128, 128), True)
    """
    conditions = check_conditions(conditions, RingConditions)
    if electrons is not None:
        conditions = replace(conditions, electrons=electrons)
    rows = check_crystals(rows, reflections)
    check_reach(reflections, conditions.q_max)
    rng = check_random_state(random_state)
    drawn = draw_rings(conditions, reflections, rows, rng)
    size = max(1, _PIXELS_PER_CHUNK // conditions.image_size**2)
    images = Counts(len(rows))
    for batch in render_in_chunks(reflections, rows, drawn, conditions, rng, size, verbose):
        images.add(batch)
    return (images.values, drawn) if return_conditions else images.values


def render_in_chunks(reflections, rows, drawn, conditions, rng, size, verbose=0):
    """Yield the counts of ``size`` images after another, tensors of shape (n, n_pixels, n_pixels)."""
    generator = make_generator(rng, reflections.q.device)
    for some, part in chunks(rows, drawn, size, "ring images", verbose):
        yield render_rings(reflections, some, part, conditions, generator)


def draw_rings(conditions, reflections, rows, rng):
    """Draw what varies from image to image, a row each."""
    drawn = conditions.draw(len(rows), rng)
    draw_geometry(drawn, conditions.image_size, conditions.off_center, rng)
    drawn["ellipse_azimuth"] = rng.uniform(0, np.pi, len(rows))
    drawn["texture_azimuth"] = rng.uniform(0, 2 * np.pi, len(rows))
    planes = pd.DataFrame(draw_planes(len(rows), rng), columns=PLANE_COLUMNS, index=drawn.index)
    strains = draw_strains(reflections, rows, drawn["strain"].to_numpy(), rng)
    return pd.concat(
        [drawn, planes, pd.DataFrame(strains, columns=STRAIN_COLUMNS, index=drawn.index)], axis=1
    )


def render_rings(reflections, rows, drawn, conditions, generator):
    """Render the counts of one chunk of images.

    Parameters
    ----------
    reflections : Reflections
    rows : ndarray of int, shape (n,)
    drawn : dict of str to ndarray of shape (n,)
        See `draw_rings`.
    conditions : RingConditions
        For the size of the image and the energy.
    generator : torch.Generator

    Returns
    -------
    tensor of shape (n, size, size)
    """
    column = columns_on(drawn, reflections.q)
    size, pixel = conditions.image_size, 2 * conditions.q_max / conditions.image_size
    lines = ring_lines(reflections, rows, drawn, column, conditions)
    poles, grains = None, None
    if (drawn["march_parameter"] != 1).any():
        poles = pole_orders(reflections, rows, drawn, column, lines)
    if np.isfinite(drawn["n_grains"]).any():
        grains, lines = draw_grains(column, lines, poles, pixel, generator)
    profiles = _radial_profiles(lines, poles, column, pixel, size)
    order, parts = alike(drawn, size, profiles.device)
    images = []
    for part in parts:
        some = some_of(column, part)
        rates = _on_pixels(profiles.index_select(1, part), some, size)
        if grains is not None:
            stamp_some(rates, part, grains)
        rates *= (some["electrons"] / rates.sum((1, 2)).clamp_min(1e-30))[:, None, None]
        add_direct_beam(rates, some, pixel)
        hide_behind_stop(rates, some)
        images.append(record(rates, some, generator))
    return torch.cat(images).index_select(0, torch.argsort(order))


def _radial_profiles(lines, poles, column, pixel, size):
    """Rings and diffuse scattering against the radius in pixels, shape (n_orders, n, n_points)."""
    points = radii(size, lines.radius)
    shape = len(column["electrons"]), len(points)
    width = spread(column["ring_width"], column, pixel) * POINTS_PER_PIXEL
    weight = lines.weight * POINTS_PER_PIXEL
    weights = [weight] if poles is None else [weight * pole for pole in poles.unbind(1)]
    position = lines.radius * POINTS_PER_PIXEL - 0.5  # a point stands for the interval that it begins
    profiles = [deposit(lines.pattern, position, weight, shape) for weight in weights]
    profiles = [broaden(p, width, column["eta"], positive=k == 0) for k, p in enumerate(profiles)]
    diffuse = diffuse_profile(points * pixel, column)
    visible = points * (points < size / 2)  # weights of an integral over the disc within q_max
    profiles[0] += diffuse * (column["background"] * POINTS_PER_PIXEL / (diffuse @ visible))[:, None]
    return torch.stack(profiles)


def _on_pixels(profiles, column, size):
    """Look rings up at every pixel; those of textured grains change with the azimuth."""
    if len(profiles) == 1 or (column["march_parameter"] == 1).all():
        return on_pixels(profiles[:1], column, size)[0]
    y, x = offsets(column, size)
    toward = torch.cos(column["texture_azimuth"])[:, None, None] * x[:, None, :]
    toward = toward + torch.sin(column["texture_azimuth"])[:, None, None] * y[:, :, None]
    tilt = torch.sin(torch.deg2rad(column["texture_tilt"]))[:, None, None]
    length = torch.sqrt(x[:, None, :] ** 2 + y[:, :, None] ** 2).clamp_min(1e-6)
    polynomials = legendre(tilt * toward / length).movedim(-2, 0)
    found = on_pixels(profiles, column, size)
    return sum(f * p for f, p in zip(found, polynomials, strict=True)).clamp_min_(0)
