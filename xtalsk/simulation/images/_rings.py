"""Simulation of ring images of polycrystals in an electron microscope."""

from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from sklearn.utils import check_random_state

from xtalsk.simulation._chunks import Counts, check_crystals, chunks, columns_on, slice_patterns
from xtalsk.simulation._conditions import check_conditions
from xtalsk.simulation._counting import draw_seeds
from xtalsk.simulation._line_profiles import deposit
from xtalsk.simulation.images._beam import check_reach, draw_extras, draw_geometry, spread
from xtalsk.simulation.images._constants import PIXELS_PER_CHUNK, POINTS_PER_PIXEL
from xtalsk.simulation.images._detector import without_blooming
from xtalsk.simulation.images._double_diffraction import with_double_diffraction
from xtalsk.simulation.images._finish import finish
from xtalsk.simulation.images._radial import broaden_rings, diffuse_profile, radii
from xtalsk.simulation.images._ring_conditions import RingConditions
from xtalsk.simulation.images._ring_lines import pole_orders, ring_lines, seen_tilt, split_rings
from xtalsk.simulation.images._tensor_images import empty_images, engine
from xtalsk.simulation.reflections._strain import STRAIN_COLUMNS, draw_strains
from xtalsk.simulation.reflections._texture import PLANE_COLUMNS, draw_planes
from xtalsk.utils._threads import in_threads, is_plain


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
    """Simulate ring images: electron diffraction by many grains of random orientation.

    The intensity of a ring per unit length is proportional to p |F|² d², where p is the multiplicity
    (kinematic scattering by thin grains) [1]_; dynamical scattering in the two-beam approximation and double
    diffraction are options. A fibre texture multiplies it by the pole density of the family, which is the
    March function expanded in Legendre polynomials up to order 8. Rings of few grains consist of single
    spots, one for each grain. Diffuse scattering and the direct beam are added, then the beam stop hides a
    part, the detector records the image, and a program saves it.

    Parameters
    ----------
    reflections : Reflections
        Reflections of electrons; 1 / d_min must be at least ``q_max``. Corners of the image beyond 1 / d_min
        have no rings. The dtype and device of the reflections are used for the arithmetic.
    rows : array-like of int or None
        The crystal of each image, repeats allowed; by default each crystal once.
    conditions : RingConditions or {"ideal", "typical", "harsh", "measured"}
        Conditions or the name of a preset.
    electrons : float, (low, high) or None
        Expected electrons of an image; it replaces the field of ``conditions``.
    random_state : int, RandomState or None
    return_conditions : bool
        Whether to return the conditions of each image too.
    verbose : int
        Above 0 shows a progress bar.

    Returns
    -------
    images : ndarray of unsigned int, shape (n_patterns, image_size, image_size)
        Counts, or grey levels of a picture file. A pixel is ``2 * q_max / image_size`` 1/Å wide.
    conditions_used : DataFrame of n_patterns rows
        The numbers drawn for each image. Only with ``return_conditions=True``. ``center_row`` and
        ``center_column`` are the position of the beam in pixels from the centre of the first pixel.

    Raises
    ------
    ValueError
        If the reflections do not reach ``q_max``, a crystal has no ring on the image, or an argument is out
        of range.

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
    values = draw_rings(conditions, reflections, rows, rng)
    size = max(1, PIXELS_PER_CHUNK // conditions.image_size**2)
    images = Counts(len(rows))
    for batch in render_in_chunks(reflections, rows, values, conditions, rng, size, verbose):
        images.add(batch)
    return (images.values, values) if return_conditions else images.values


def render_in_chunks(reflections, rows, values, conditions, rng, size, verbose=0):
    """Render images in chunks.

    Parameters
    ----------
    reflections : Reflections
    rows : ndarray of int, shape (n,)
        The crystal of each image.
    values : DataFrame of n rows
        See `draw_rings`.
    conditions : RingConditions
    rng : RandomState
    size : int
        Images in a chunk.
    verbose : int
        Above 0 shows a progress bar.

    Yields
    ------
    tensor of shape (size or fewer, image_size, image_size)
        Counts.
    """
    seeds = draw_seeds(rng, len(rows))
    first = 0
    for part_rows, part in chunks(rows, values, size, "ring images", verbose):
        yield render_rings(reflections, part_rows, part, conditions, seeds[first : first + len(part_rows)])
        first += len(part_rows)


def draw_rings(conditions, reflections, rows, rng):
    """Draw the values of the conditions of each image, DataFrame of one row an image."""
    values = conditions.draw(len(rows), rng)
    draw_geometry(values, conditions.image_size, conditions.off_center, rng)
    values["ellipse_azimuth"] = rng.uniform(0, np.pi, len(rows))
    values["texture_azimuth"] = rng.uniform(0, 2 * np.pi, len(rows))
    planes = pd.DataFrame(draw_planes(len(rows), rng), columns=PLANE_COLUMNS, index=values.index)
    strains = draw_strains(reflections, rows, values["strain"].to_numpy(), rng)
    strains = pd.DataFrame(strains, columns=STRAIN_COLUMNS, index=values.index)
    values = pd.concat([values, planes, strains], axis=1)
    draw_extras(values, conditions.image_size, rng)
    return values


def render_rings(reflections, rows, values, conditions, seeds):
    """Render the counts of one chunk of images.

    Parameters
    ----------
    reflections : Reflections
    rows : ndarray of int, shape (n,)
        The crystal of each image.
    values : dict of str to ndarray of shape (n,)
        See `draw_rings`.
    conditions : RingConditions
        For the size of the image and the beam energy.
    seeds : ndarray of uint64, shape (n,)
        Seed of the random numbers of each image. On a GPU, and in double precision, the first one is the
        seed of the whole chunk.

    Returns
    -------
    tensor of shape (n, image_size, image_size)
    """

    def render(first, last):
        part = slice_patterns(values, first, last)
        return _render_part(
            reflections, rows[first:last], part, conditions, seeds[first:last], images[first:last]
        )

    images = empty_images(len(rows), conditions.image_size, reflections.q)
    if not is_plain(reflections.q):
        return render(0, len(rows))
    in_threads(render, len(rows), blocks_per_thread=1)
    return images


def _render_part(reflections, rows, values, conditions, seeds, images):
    """Render the counts of images in one thread, on a CPU into ``images``; see `render_rings`."""
    column = columns_on(values, reflections.q)
    size, pixel = conditions.image_size, 2 * conditions.q_max / conditions.image_size
    double = None
    if values["double_diffraction"].any():
        reflections, rows, double = with_double_diffraction(reflections, rows, values["double_diffraction"])
    lines = ring_lines(reflections, rows, values, column, conditions, double)
    poles, grains = None, None
    if (values["march_parameter"] != 1).any():
        poles = pole_orders(reflections, rows, values, column, lines)
        column = seen_tilt(column)
    if np.isfinite(values["n_grains"]).any():
        expected, mean_strength, smooth = split_rings(column, lines)
        grains = engine(lines.q).draw_grains(lines, mean_strength, expected, poles, column, seeds)
        grains = *grains, spread(column["ring_width"], column, pixel)[grains[0]]
        lines = smooth
    radial = _radial_profiles(lines, poles, column, pixel, size)
    images = engine(lines.q).render_images(
        radial,
        grains,
        without_blooming(column),
        pixel,
        size,
        smooth_electrons=column["electrons"],
        spots_in_total=True,
        seeds=seeds,
        images=images,
    )
    return finish(images, column)


def _radial_profiles(lines, poles, column, pixel, size):
    """Rings and diffuse scattering as a function of the radius in pixels.

    Returns
    -------
    tuple
        The argument ``radial`` of `_tensor_images.render_images`.
    """
    points = radii(size, lines.radius)
    n = len(column["electrons"])
    width = spread(column["ring_width"], column, pixel) * POINTS_PER_PIXEL
    weight = lines.weight * POINTS_PER_PIXEL
    position = lines.radius * POINTS_PER_PIXEL - 0.5  # a point is the middle of its interval
    mean = weight if poles is None else weight * poles[:, 0].clamp_min(0)
    profiles = deposit(lines.pattern, position, mean, (n, len(points)))
    profiles = broaden_rings(profiles, width, column["eta"])
    diffuse = diffuse_profile(points * pixel, column)
    visible = points * (points < size / 2)  # weights of an integral over the disc within q_max
    profiles += diffuse * (column["background"] * POINTS_PER_PIXEL / (diffuse @ visible))[:, None]
    has_arcs = (column["march_parameter"] != 1) & (column["texture_tilt"] != 0)
    if poles is None or not has_arcs.any():
        return profiles, None, None
    textured = torch.nonzero(has_arcs)[:, 0]
    member = torch.nonzero(has_arcs[lines.pattern])[:, 0]
    pattern = torch.searchsorted(textured, lines.pattern[member])
    harmonics = [
        deposit(pattern, position[member], weight[member] * pole, (len(textured), len(points)))
        for pole in poles[member, 1:].unbind(1)
    ]
    harmonics = torch.stack(harmonics, dim=1)
    shape = harmonics.shape
    width, eta = (v[textured].repeat_interleave(shape[1]) for v in (width, column["eta"]))
    harmonics = broaden_rings(harmonics.view(-1, shape[2]), width, eta, positive=False)
    return profiles, harmonics.view(shape), textured
