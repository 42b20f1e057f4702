"""Ring images of polycrystals under an electron beam."""

from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from sklearn.utils import check_random_state

from xtalsk.simulation._chunks import chunks, columns_on, stacked, to_counts
from xtalsk.simulation._conditions import check_conditions
from xtalsk.simulation._detector import record
from xtalsk.simulation._electrons import electron_wavelength, on_screen
from xtalsk.simulation._image import (
    add_direct_beam,
    check_reach,
    draw_geometry,
    hide_behind_stop,
    spread,
)
from xtalsk.simulation._lattice import STRAIN_COLUMNS, draw_strains, strained_q
from xtalsk.simulation._profiles import broaden, check_rows, deposit, gather_lines, make_generator
from xtalsk.simulation._radial import POINTS_PER_PIXEL, diffuse_profile, offsets, on_pixels, radii
from xtalsk.simulation._ring_conditions import RingConditions
from xtalsk.simulation._stamps import stamp
from xtalsk.simulation._texture import (
    PLANE_COLUMNS,
    draw_planes,
    legendre,
    legendre_coefficients,
    plane_cosines,
)

_PIXELS_PER_CHUNK = 32 * 128 * 128
_MOST_SPOTS = 2000


def rings(
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
    images : ndarray of unsigned int, shape (n_patterns, size, size)
        Counts. A pixel is ``2 * q_max / size`` wide.
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
    >>> from xtalsk.simulation import RingConditions, reflections, rings
    >>> gold = Structure.from_spacegroup("Fm-3m", Lattice.cubic(4.078), ["Au"], [[0, 0, 0]])
    >>> r = reflections(CrystalSet.from_pymatgen([gold]), "electron", d_min=0.7)
    >>> images = rings(r, conditions=RingConditions(size=128, direct_beam=0, beam_stop=0), random_state=0)
    >>> images.shape, bool(abs(images.sum() - 1e5) < 2000)
    ((1, 128, 128), True)
    """
    conditions = check_conditions(conditions, RingConditions)
    if electrons is not None:
        conditions = replace(conditions, electrons=electrons)
    rows = check_rows(rows, len(reflections))
    check_reach(reflections, conditions.q_max)
    rng = check_random_state(random_state)
    drawn = draw_rings(conditions, reflections, rows, rng)
    generator = make_generator(rng, reflections.q.device)
    chunk = max(1, _PIXELS_PER_CHUNK // conditions.size**2)
    batches = []
    for some, part in chunks(rows, drawn, chunk, "ring images", verbose):
        batches.append(render_rings(reflections, some, part, conditions, generator))
    images = to_counts(batches)
    return (images, drawn) if return_conditions else images


def draw_rings(conditions, reflections, rows, rng):
    """Draw what varies from image to image, a row each."""
    drawn = conditions.draw(len(rows), rng)
    draw_geometry(drawn, conditions.size, conditions.off_center, rng)
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
    rates = ring_rates(reflections, rows, drawn, column, conditions, generator)
    return record(rates, {name: values[:, None, None] for name, values in column.items()}, generator)


def ring_rates(reflections, rows, drawn, column, conditions, generator):
    """Render the expected electrons of each pixel, shape (n, size, size)."""
    size, pixel = conditions.size, 2 * conditions.q_max / conditions.size
    pattern, lines = gather_lines(reflections, rows)
    q = strained_q(reflections, rows, stacked(drawn, STRAIN_COLUMNS), pattern, lines)
    weight = reflections.intensity[lines] * reflections.multiplicity[lines] / (q * q)
    if drawn["b_shift"].any():
        weight = weight * torch.exp(-column["b_shift"][pattern] * q * q / 2)
    radius = on_screen(q, electron_wavelength(conditions.beam_energy)) / pixel
    if drawn["calibration"].any():
        radius = radius * (1 + column["calibration"][pattern])
    _check_filled(reflections, rows, pattern, radius, size)
    spots = None
    if np.isfinite(drawn["n_grains"]).any():
        spots, weight = _draw_grains(column, pattern, q, radius, weight, reflections, lines, generator)
    textured = (drawn["texture"] != 1).any()
    orders = [weight]
    if textured:
        poles = _pole_orders(reflections, rows, drawn, column, pattern, lines)
        orders = [weight * pole for pole in poles.unbind(1)]
    profiles, scale = _radial_profiles(pattern, radius, orders, column, pixel, size)
    rates = _on_pixels(profiles, column, size)
    if spots is not None:
        spread = poles if textured else None
        _stamp_grains(rates, scale, spots, spread, column, pixel)
    rates *= (column["electrons"] / rates.sum((1, 2)).clamp_min(1e-30))[:, None, None]
    add_direct_beam(rates, column, pixel)
    return hide_behind_stop(rates, column, drawn)


def _check_filled(reflections, rows, pattern, radius, size):
    filled = torch.zeros(len(rows), dtype=torch.bool, device=radius.device)
    filled[pattern[radius < size / 2]] = True
    if not filled.all():
        row = int(rows[int(torch.nonzero(~filled)[0])])
        raise ValueError(f"crystal {row} ({reflections.ids[row]}) has no ring on the image")


def _radial_profiles(pattern, radius, orders, column, pixel, size):
    """Rings and diffuse scattering against the radius in pixels, for each Legendre order.

    Returns
    -------
    profiles : list of tensor of shape (n, n_points)
    scale : tensor of shape (n,)
        What the weights of the lines were multiplied by.
    """
    points = radii(size, radius)
    shape = len(column["electrons"]), len(points)
    width = spread(column["ring_width"], column, pixel) * POINTS_PER_PIXEL
    profiles = [deposit(pattern, radius * POINTS_PER_PIXEL, weight, shape) for weight in orders]
    profiles = [broaden(p, width, column["eta"], positive=k == 0) for k, p in enumerate(profiles)]
    visible = points * (points < size / 2)  # weights of an integral over the disc within q_max
    share = column["background"]
    scale = (1 - share) / (profiles[0] @ visible).clamp_min(1e-30)
    profiles = [profile * scale[:, None] for profile in profiles]
    diffuse = diffuse_profile(points * pixel, column)
    profiles[0] += diffuse * (share / (diffuse @ visible))[:, None]
    return profiles, scale


def _on_pixels(profiles, column, size):
    """Look rings up at every pixel; those of textured grains change with the azimuth."""
    found = on_pixels(profiles, column, size)
    if len(found) == 1:
        return found[0]
    y, x = offsets(column, size)
    toward = torch.cos(column["texture_azimuth"])[:, None, None] * x[:, None, :]
    toward = toward + torch.sin(column["texture_azimuth"])[:, None, None] * y[:, :, None]
    tilt = torch.sin(torch.deg2rad(column["texture_tilt"]))[:, None, None]
    length = torch.sqrt(x[:, None, :] ** 2 + y[:, :, None] ** 2).clamp_min(1e-6)
    polynomials = legendre(tilt * toward / length).movedim(-2, 0)
    return sum(f * p for f, p in zip(found, polynomials, strict=True)).clamp_min_(0)


def _pole_orders(reflections, rows, drawn, column, pattern, lines):
    """Legendre coefficients of the pole density of each line, shape (m, 5); see `render_rings`."""
    planes = stacked(drawn, PLANE_COLUMNS)
    cosine, share = plane_cosines(reflections, rows, planes, pattern, lines)
    means = (legendre(cosine) * share[:, None, :]).sum(2)
    return means * legendre_coefficients(column["texture"])[pattern]


def _draw_grains(column, pattern, q, radius, weight, reflections, lines, generator):
    """Take the rings of few grains out of the smooth ones, and draw their grains.

    A reflection of a grain of thickness t is excited within 1/t of the Ewald sphere, which holds for a share
    of 1 / (t q) of random orientations.

    Returns
    -------
    spots : tuple of tensors
        Line, azimuth and weight of each grain.
    weight : tensor
        The weights that remain in smooth rings.
    """
    share = (1 / (column["thickness"][pattern] * q)).clamp_max(1)
    expected = column["n_grains"][pattern] * reflections.multiplicity[lines] * share
    few = (expected < _MOST_SPOTS) & (weight > 0)
    number = torch.zeros_like(expected)
    number[few] = torch.poisson(expected[few], generator=generator)
    line = torch.repeat_interleave(torch.arange(len(q), device=q.device), number.long())
    lots = torch.rand(2, len(line), generator=generator, device=q.device, dtype=q.dtype)
    # grains differ in size and excitation: exponential variates of mean one
    strength = -torch.log1p(-lots[1]) * (weight / expected.clamp_min(1e-30))[line]
    spots = pattern[line], line, radius[line], 2 * torch.pi * lots[0], strength
    return spots, torch.where(few, torch.zeros_like(weight), weight)


def _stamp_grains(rates, scale, spots, poles, column, pixel):
    """Draw the spots of single grains onto images."""
    pattern, line, radius, azimuth, strength = spots
    weight = strength * scale[pattern] * 2 * torch.pi * radius
    if poles is not None:
        tilt = torch.sin(torch.deg2rad(column["texture_tilt"]))[pattern]
        toward = tilt * torch.cos(azimuth - column["texture_azimuth"][pattern])
        weight = weight * (poles[line] * legendre(toward[:, None])[..., 0]).sum(1).clamp_min(0)
    turn = column["ellipse_azimuth"][pattern]
    stretch = torch.sqrt(1 + column["ellipticity"])[pattern]
    along, across = radius * torch.cos(azimuth - turn) * stretch, radius * torch.sin(azimuth - turn) / stretch
    x = along * torch.cos(turn) - across * torch.sin(turn) + column["center_column"][pattern]
    y = along * torch.sin(turn) + across * torch.cos(turn) + column["center_row"][pattern]
    width = spread(column["ring_width"], column, pixel)[pattern]
    stamp(rates, pattern, y, x, weight, width)
