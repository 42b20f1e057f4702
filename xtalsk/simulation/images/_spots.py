"""Simulation of spot patterns of single crystals in an electron microscope."""

from dataclasses import fields, replace

import numpy as np
import pandas as pd
import torch
from scipy.spatial.transform import Rotation
from sklearn.utils import check_random_state

from xtalsk.simulation._chunks import Counts, check_crystals, chunks, columns_on, slice_patterns
from xtalsk.simulation._conditions import check_conditions
from xtalsk.simulation._counting import draw_seeds
from xtalsk.simulation.images._beam import check_reach, draw_extras, draw_geometry, spread
from xtalsk.simulation.images._constants import PIXELS_PER_CHUNK
from xtalsk.simulation.images._detector import Detector, without_blooming
from xtalsk.simulation.images._export import Export
from xtalsk.simulation.images._finish import finish
from xtalsk.simulation.images._radial import diffuse_profile, radii
from xtalsk.simulation.images._spot_conditions import SpotConditions
from xtalsk.simulation.images._spot_positions import TURN_COLUMNS, spot_positions
from xtalsk.simulation.images._tensor_images import empty_images, engine
from xtalsk.simulation.reflections._strain import STRAIN_COLUMNS, draw_strains
from xtalsk.utils._threads import in_threads, is_plain

OF_SPECIMEN = [  # conditions that all patterns of a specimen share
    *STRAIN_COLUMNS,
    *("strain", "b_shift", "calibration", "ellipticity", "ellipse_azimuth"),
    *(field.name for kind in (Detector, Export) for field in fields(kind)),
]


def simulate_spots(
    reflections,
    rows=None,
    conditions="typical",
    *,
    n_zones=1,
    electrons=None,
    random_state=None,
    return_conditions=False,
    verbose=0,
):
    """Simulate electron diffraction patterns of single crystals, each in its own orientation.

    The calculation is kinematic: the intensity of a spot is |F|² sinc²(s t), where s is its excitation error
    and t the thickness [1]_. With precession it is averaged over the precession circle. The screen is flat.

    Parameters
    ----------
    reflections : Reflections
        Reflections of electrons; 1 / d_min must be at least ``q_max``. Their dtype and device are used for
        the arithmetic.
    rows : array-like of int or None
        The crystal of each specimen, repeats allowed; by default each crystal once.
    conditions : SpotConditions or {"ideal", "typical", "harsh", "measured"}
        Conditions or the name of a preset.
    n_zones : int
        Number of patterns of each specimen, at least 1. Each has its own orientation. The patterns of a
        specimen share strain, displacements, camera length, ellipse, detector and export; all other
        conditions are drawn for each pattern.
    electrons : float, (low, high) or None
        Expected electrons of an image; it replaces the field of ``conditions``.
    random_state : int, RandomState or None
    return_conditions : bool
        Whether to return the conditions of each pattern too.
    verbose : int
        Above 0 shows a progress bar.

    Returns
    -------
    images : ndarray of unsigned int, shape (n, image_size, image_size)
        Counts; of shape (n, n_zones, image_size, image_size) if n_zones > 1.
        A pixel is ``2 * q_max / image_size`` 1/Å wide.
    conditions_used : DataFrame of n * n_zones rows
        The numbers drawn for each pattern. Only with ``return_conditions=True``. ``turn_x``, ``turn_y`` and
        ``turn_z`` are the rotation vector in radians from the Cartesian frame of the lattice vectors to
        columns, rows and beam of the image. ``n_spots`` is the number of spots on the image; it may be 0.

    Raises
    ------
    ValueError
        If the reflections do not reach ``q_max``, or an argument is out of range.

    References
    ----------
    .. [1] D. B. Williams and C. B. Carter, Transmission Electron Microscopy (2009), equation 13.48.

    Examples
    --------
    >>> from pymatgen.core import Lattice, Structure
    >>> from xtalsk.crystals import CrystalSet
    >>> from xtalsk.simulation import SpotConditions, compute_reflections, simulate_spots
    >>> gold = Structure.from_spacegroup("Fm-3m", Lattice.cubic(4.078), ["Au"], [[0, 0, 0]])
    >>> r = compute_reflections(CrystalSet.from_pymatgen([gold]), "electron", d_min=0.7)
    >>> along_z = SpotConditions(image_size=128, zone_axis=(0, 0, 1), mistilt=0, thickness_angstrom=50)
    >>> images, used = simulate_spots(r, conditions=along_z, random_state=0, return_conditions=True)
    >>> images.shape, used["n_spots"].tolist()
    ((1, 128, 128), [16])
    """
    conditions = check_conditions(conditions, SpotConditions)
    if electrons is not None:
        conditions = replace(conditions, electrons=electrons)
    if not (isinstance(n_zones, int | np.integer) and n_zones >= 1):
        raise ValueError(f"n_zones must be a positive integer, got {n_zones!r}")
    rows = np.repeat(check_crystals(rows, reflections), n_zones)
    check_reach(reflections, conditions.q_max)
    rng = check_random_state(random_state)
    values = draw_spots(conditions, reflections, rows, rng)
    first = np.repeat(np.arange(0, len(rows), n_zones), n_zones)
    values[OF_SPECIMEN] = values.loc[first, OF_SPECIMEN].to_numpy()
    seeds = draw_seeds(rng, len(rows))
    chunk = max(1, PIXELS_PER_CHUNK // conditions.image_size**2)
    images, n_spots, first = Counts(len(rows)), [], 0
    for part_rows, part in chunks(rows, values, chunk, "spot patterns", verbose):
        part_seeds = seeds[first : first + len(part_rows)]
        counts, number = render_spots(reflections, part_rows, part, conditions, part_seeds)
        first += len(part_rows)
        images.add(counts)
        n_spots.append(number)
    images = images.values
    if n_zones > 1:
        images = images.reshape(-1, n_zones, *images.shape[1:])
    if not return_conditions:
        return images
    values["n_spots"] = torch.cat(n_spots).cpu().numpy()
    return images, values


def draw_spots(conditions, reflections, rows, rng):
    """Draw the values of the conditions of each pattern, DataFrame of one row a pattern."""
    values = conditions.draw(len(rows), rng)
    draw_geometry(values, conditions.image_size, conditions.off_center, rng)
    values["ellipse_azimuth"] = rng.uniform(0, np.pi, len(rows))
    turns = _orientations(conditions.zone_axis, values["mistilt"], reflections.lattices[rows], rng)
    strains = draw_strains(reflections, rows, values["strain"].to_numpy(), rng)
    turns = pd.DataFrame(turns.as_rotvec(), columns=TURN_COLUMNS, index=values.index)
    strains = pd.DataFrame(strains, columns=STRAIN_COLUMNS, index=values.index)
    values = pd.concat([values, turns, strains], axis=1)
    draw_extras(values, conditions.image_size, rng)
    return values


def _orientations(zone_axis, mistilt, lattices, rng):
    """Draw rotations from the frame of each crystal to that of the image, whose third axis is the beam."""
    n = len(lattices)
    if isinstance(zone_axis, str) and zone_axis == "random":
        return Rotation.random(n, random_state=rng)
    if isinstance(zone_axis, str):  # "low_index"
        low = np.stack(np.meshgrid(*[np.arange(-2, 3)] * 3), axis=-1).reshape(-1, 3)
        low = low[np.gcd.reduce(low, axis=1) == 1]
        zone_axis = low[rng.randint(len(low), size=n)]
    beam = np.einsum("ni,nij->nj", np.broadcast_to(zone_axis, (n, 3)).astype(float), lattices)
    beam /= np.linalg.norm(beam, axis=1, keepdims=True)
    helper = np.eye(3)[np.abs(beam).argmin(axis=1)]
    first = np.cross(helper, beam)
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    upright = Rotation.from_matrix(np.stack([first, np.cross(beam, first), beam], axis=1))
    azimuth, direction = rng.uniform(0, 2 * np.pi, (2, n))
    axis = np.stack([np.cos(direction), np.sin(direction), 0 * direction], axis=1)
    tilt = np.radians(mistilt.to_numpy())[:, None] * axis
    return Rotation.from_rotvec(tilt) * Rotation.from_euler("z", azimuth[:, None]) * upright


def render_spots(reflections, rows, values, conditions, seeds):
    """Render the counts of one chunk of patterns.

    Parameters
    ----------
    reflections : Reflections
    rows : ndarray of int, shape (n,)
        The crystal of each pattern.
    values : dict of str to ndarray of shape (n,)
        See `draw_spots`.
    conditions : SpotConditions
        For the size of the image and the beam energy.
    seeds : ndarray of uint64, shape (n,)
        See `_rings.render_rings`.

    Returns
    -------
    counts : tensor of shape (n, image_size, image_size)
    n_spots : tensor of shape (n,)
        Number of spots on each image.
    """

    def render(first, last):
        part = slice_patterns(values, first, last)
        return _render_part(
            reflections, rows[first:last], part, conditions, seeds[first:last], images[first:last]
        )

    images = empty_images(len(rows), conditions.image_size, reflections.q)
    if not is_plain(reflections.q):
        return render(0, len(rows))
    parts = in_threads(render, len(rows), blocks_per_thread=1)
    return images, torch.cat([n_spots for _, n_spots in parts])


def _render_part(reflections, rows, values, conditions, seeds, images):
    """Render the counts of patterns in one thread, on a CPU into ``images``; see `render_spots`."""
    size, pixel = conditions.image_size, 2 * conditions.q_max / conditions.image_size
    column = columns_on(values, reflections.q)
    column["beam_width"] = column["spot_width"]
    pattern, x, y, weight, on_image = _spots_on_images(reflections, rows, values, column, conditions)
    width = spread(column["spot_width"], column, pixel)[pattern]
    diffuse = diffuse_profile(radii(size, x) * pixel, column)
    counts = engine(x).render_images(
        (diffuse, None, None), (pattern, y, x, weight, width), without_blooming(column), pixel, size,
        smooth_electrons=column["background"] * column["electrons"], spots_in_total=False,
        seeds=seeds, images=images,
    )  # fmt: skip
    counts = finish(counts, column)
    return counts, torch.bincount(pattern[on_image], minlength=len(rows))


def _spots_on_images(reflections, rows, values, column, conditions):
    """Compute the spots of a chunk of images.

    Returns
    -------
    pattern : int64 tensor of shape (m,)
        Number of the image of each spot.
    x, y : tensor of shape (m,)
        Column and row in pixels.
    weight : tensor of shape (m,)
        Expected electrons, 0 outside the image.
    on_image : bool tensor of shape (m,)
        Whether each spot is on the image.
    """
    size, pixel = conditions.image_size, 2 * conditions.q_max / conditions.image_size
    pattern, x, y, weight, _ = spot_positions(reflections, rows, values, column, conditions)
    scale = ((1 + column["calibration"]) / pixel)[pattern]
    x, y = _distort(x * scale, y * scale, column, pattern)
    x, y = x + column["center_column"][pattern], y + column["center_row"][pattern]
    on_image = (x > -0.5) & (x < size - 0.5) & (y > -0.5) & (y < size - 0.5)
    weight = weight * on_image
    total = torch.zeros_like(column["electrons"]).index_add_(0, pattern, weight)
    weight = weight * ((1 - column["background"]) * column["electrons"] / total.clamp_min(1e-30))[pattern]
    return pattern, x, y, weight, on_image


def _distort(x, y, column, pattern):
    """Positions x and y after an elliptical distortion about the beam, which leaves areas unchanged."""
    turn = column["ellipse_azimuth"][pattern]
    cosine, sine = torch.cos(turn), torch.sin(turn)
    stretch = torch.sqrt(1 + column["ellipticity"])[pattern]
    along, across = (x * cosine + y * sine) * stretch, (y * cosine - x * sine) / stretch
    return along * cosine - across * sine, along * sine + across * cosine
