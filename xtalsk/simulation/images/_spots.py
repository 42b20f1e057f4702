"""Spot patterns of single crystals under an electron beam."""

from dataclasses import fields, replace

import numpy as np
import pandas as pd
import torch
from scipy.spatial.transform import Rotation
from sklearn.utils import check_random_state

from xtalsk.physics._electrons import electron_wavelength
from xtalsk.simulation._chunks import Counts, chunks, columns_on, some_of, stacked
from xtalsk.simulation._conditions import check_conditions
from xtalsk.simulation._profiles import check_crystals, gather_lines, make_generator
from xtalsk.simulation.images._beam import (
    add_direct_beam,
    alike,
    check_reach,
    draw_geometry,
    hide_behind_stop,
    spread,
)
from xtalsk.simulation.images._detector import Detector, record
from xtalsk.simulation.images._radial import diffuse_profile, on_pixels, radii
from xtalsk.simulation.images._spot_conditions import SpotConditions
from xtalsk.simulation.images._stamps import stamp_some
from xtalsk.simulation.reflections._families import laue_group
from xtalsk.simulation.reflections._strain import STRAIN_COLUMNS, draw_strains, strain_tensors, strained_q

_PIXELS_PER_CHUNK = 64 * 128 * 128
_TURN_COLUMNS = ("turn_x", "turn_y", "turn_z")
_OF_SPECIMEN = [
    *STRAIN_COLUMNS,
    *("strain", "b_shift", "calibration", "ellipticity", "ellipse_azimuth"),
    *(field.name for field in fields(Detector)),
]
_IMAGES_AT_ONCE = 300_000
_PRECESSION_STEPS = 16
_FRINGES = 3  # spots are followed to the third zero of their rocking curve


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
    """Render electron diffraction patterns of single crystals, each in its own orientation.

    Kinematic: the intensity of a spot is |F|² sinc²(s t), s its excitation error and t the thickness [1]_,
    averaged over the precession circle where the beam precesses. The screen is flat.

    Parameters
    ----------
    reflections : Reflections
        Of electrons, to 1 / d_min of at least ``q_max``. Their dtype and device are those of the arithmetic.
    rows : array-like of int or None
        The crystal of each specimen, repeats allowed; by default each crystal once.
    conditions : SpotConditions or {"ideal", "typical", "harsh"}
    n_zones : int
        Patterns of each specimen, in orientations of their own. Strain, displacements, camera length, ellipse
        and detector are those of the specimen; the rest is drawn for each pattern.
    electrons : float, (low, high) or None
        Takes the place of the dose of ``conditions``.
    random_state : int, RandomState or None
    return_conditions : bool
        Whether to return what was drawn too.
    verbose : int
        Above 0 shows a progress bar.

    Returns
    -------
    images : ndarray of unsigned int, shape (n, image_size, image_size)
        Counts; of shape (n, n_zones, image_size, image_size) if n_zones > 1.
        A pixel is ``2 * q_max / image_size`` wide.
    drawn : DataFrame of n * n_zones rows
        Only with ``return_conditions=True``. ``turn_x``, ``turn_y`` and ``turn_z`` are the rotation vector
        that turns the Cartesian frame of the lattice vectors to columns, rows and beam of the image;
        ``n_spots`` counts the spots on the image, which may be none.

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
    >>> images, drawn = simulate_spots(r, conditions=along_z, random_state=0, return_conditions=True)
    >>> images.shape, drawn["n_spots"].tolist()
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
    drawn = draw_spots(conditions, reflections, rows, rng)
    drawn[_OF_SPECIMEN] = drawn.loc[
        np.repeat(np.arange(0, len(rows), n_zones), n_zones), _OF_SPECIMEN
    ].to_numpy()
    generator = make_generator(rng, reflections.q.device)
    chunk = max(1, _PIXELS_PER_CHUNK // conditions.image_size**2)
    images, numbers = Counts(len(rows)), []
    for some, part in chunks(rows, drawn, chunk, "spot patterns", verbose):
        counts, number = render_spots(reflections, some, part, conditions, generator)
        images.add(counts)
        numbers.append(number)
    images = images.values
    if n_zones > 1:
        images = images.reshape(-1, n_zones, *images.shape[1:])
    if not return_conditions:
        return images
    drawn["n_spots"] = torch.cat(numbers).cpu().numpy()
    return images, drawn


def draw_spots(conditions, reflections, rows, rng):
    """Draw what varies from pattern to pattern, a row each."""
    drawn = conditions.draw(len(rows), rng)
    draw_geometry(drawn, conditions.image_size, conditions.off_center, rng)
    drawn["ellipse_azimuth"] = rng.uniform(0, np.pi, len(rows))
    turns = _orientations(conditions.zone_axis, drawn["mistilt"], reflections.lattices[rows], rng)
    strains = draw_strains(reflections, rows, drawn["strain"].to_numpy(), rng)
    turns = pd.DataFrame(turns.as_rotvec(), columns=_TURN_COLUMNS, index=drawn.index)
    return pd.concat([drawn, turns, pd.DataFrame(strains, columns=STRAIN_COLUMNS, index=drawn.index)], axis=1)


def _orientations(zone_axis, mistilt, lattices, rng):
    """Rotations from the crystal frame to that of the image, whose third axis is the beam."""
    n = len(lattices)
    if isinstance(zone_axis, str) and zone_axis == "random":
        return Rotation.random(n, random_state=rng)
    if isinstance(zone_axis, str):
        low = np.stack(np.meshgrid(*[np.arange(-2, 3)] * 3), axis=-1).reshape(-1, 3)
        low = low[np.gcd.reduce(low, axis=1) == 1]
        zone_axis = low[rng.randint(len(low), size=n)]
    beam = np.einsum("ni,nij->nj", np.broadcast_to(zone_axis, (n, 3)).astype(float), lattices)
    beam /= np.linalg.norm(beam, axis=1, keepdims=True)
    helper = np.eye(3)[np.abs(beam).argmin(axis=1)]
    first = np.cross(helper, beam)
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    upright = Rotation.from_matrix(np.stack([first, np.cross(beam, first), beam], axis=1))
    azimuth, toward = rng.uniform(0, 2 * np.pi, (2, n))
    tilt = np.radians(mistilt.to_numpy())[:, None] * np.stack(
        [np.cos(toward), np.sin(toward), 0 * toward], axis=1
    )
    return Rotation.from_rotvec(tilt) * Rotation.from_euler("z", azimuth[:, None]) * upright


def render_spots(reflections, rows, drawn, conditions, generator):
    """Render the counts of one chunk of patterns.

    Parameters
    ----------
    reflections : Reflections
    rows : ndarray of int, shape (n,)
    drawn : dict of str to ndarray of shape (n,)
        See `draw_spots`.
    conditions : SpotConditions
        For the size of the image and the energy.
    generator : torch.Generator

    Returns
    -------
    counts : tensor of shape (n, size, size)
    n_spots : tensor of shape (n,)
    """
    size, pixel = conditions.image_size, 2 * conditions.q_max / conditions.image_size
    column = columns_on(drawn, reflections.q)
    column["beam_width"] = column["spot_width"]
    pattern, x, y, weight, _ = spot_positions(reflections, rows, drawn, column, conditions)
    scale = ((1 + column["calibration"]) / pixel)[pattern]
    x, y = _distort(x * scale, y * scale, column, pattern)
    x, y = x + column["center_column"][pattern], y + column["center_row"][pattern]
    seen = (x > -0.5) & (x < size - 0.5) & (y > -0.5) & (y < size - 0.5)
    weight = weight * seen
    total = torch.zeros_like(column["electrons"]).index_add_(0, pattern, weight)
    weight = weight * ((1 - column["background"]) * column["electrons"] / total.clamp_min(1e-30))[pattern]
    width = spread(column["spot_width"], column, pixel)[pattern]
    diffuse = diffuse_profile(radii(size, x) * pixel, column)
    order, parts = alike(drawn, size, x.device)
    images = []
    for part in parts:
        some = some_of(column, part)
        rates = on_pixels([diffuse[part]], some, size)[0]
        rates *= (some["background"] * some["electrons"] / rates.sum((1, 2)))[:, None, None]
        stamp_some(rates, part, (pattern, y, x, weight, width))
        add_direct_beam(rates, some, pixel)
        hide_behind_stop(rates, some)
        images.append(record(rates, some, generator))
    return torch.cat(images).index_select(0, torch.argsort(order)), torch.bincount(
        pattern[seen], minlength=len(rows)
    )


def _distort(x, y, column, pattern):
    """Turn circles about the beam into ellipses of equal area."""
    turn = column["ellipse_azimuth"][pattern]
    cosine, sine = torch.cos(turn), torch.sin(turn)
    stretch = torch.sqrt(1 + column["ellipticity"])[pattern]
    along, across = (x * cosine + y * sine) * stretch, (y * cosine - x * sine) / stretch
    return along * cosine - across * sine, along * sine + across * cosine


def spot_positions(reflections, rows, drawn, column, conditions):
    """Excited spots of crystals in given orientations.

    Parameters
    ----------
    reflections, rows, drawn, conditions
        As in `render_spots`.
    column : dict of str to tensor
        The drawn conditions on the device.

    Returns
    -------
    pattern : int64 tensor of shape (m,)
    x, y : tensor of shape (m,)
        From the direct beam in 1/Å of a flat screen, along columns and rows.
    weight : tensor of shape (m,)
        Relative intensity.
    hkl : int64 tensor of shape (m, 3)
    """
    wavelength = float(electron_wavelength(conditions.beam_energy))
    pattern, lines = gather_lines(reflections, rows)
    strains = stacked(drawn, STRAIN_COLUMNS)
    q = strained_q(reflections, rows, strains, pattern, lines)
    hkl = reflections.hkl[lines].to(q.dtype)
    axes, operations = _image_axes(reflections, rows, drawn, strains, q)
    limits = (
        column["thickness_angstrom"].reciprocal() * _FRINGES,
        torch.tan(torch.deg2rad(column["precession"])),
    )
    found = [
        _excited(hkl, q, pattern, axes, some, wavelength, limits, 1 / reflections.d_min)
        for some in _bounded(pattern, axes, len(rows))
    ]
    line, image, error, swing = (torch.cat(values) for values in zip(*found, strict=True))
    indices = (reflections.hkl[lines[line]].long()[:, :, None] * operations[pattern[line], image]).sum(1)
    once = _first_of_each(pattern[line], indices)
    line, image, error, swing, indices = (v[once] for v in (line, image, error, swing, indices))
    across = (hkl[line][:, :, None] * axes[pattern[line], image, :, :2]).sum(1)
    pattern = pattern[line]
    weight = (
        _rocking_curve(error, swing, column["thickness_angstrom"][pattern])
        * reflections.intensity[lines[line]]
    )
    weight = weight * torch.exp(-column["b_shift"][pattern] * q[line] ** 2 / 2)
    depth = torch.sqrt(1 / wavelength**2 - (across**2).sum(1))
    x, y = (across / (wavelength * depth)[:, None]).unbind(1)
    return pattern, x, y, weight, indices


def _image_axes(reflections, rows, drawn, strains, like):
    """Return what turns hkl into its images under the Laue group of each crystal.

    Returns
    -------
    axes : tensor of shape (n, k, 3, 3)
        In the frame of the picture and 1/Å; NaN beyond the operations of a crystal.
    operations : int64 tensor of shape (n, k, 3, 3)
    """
    index = reflections.rotation_index[rows]
    kinds, kind = np.unique(index, return_inverse=True)
    groups = [laue_group(reflections.rotation_sets[k]) for k in kinds]
    padded = np.full((len(groups), max(len(g) for g in groups), 3, 3), np.nan)
    for place, group in zip(padded, groups, strict=True):
        place[: len(group)] = group
    turns = Rotation.from_rotvec(stacked(drawn, _TURN_COLUMNS)).as_matrix()
    lattices = reflections.lattices[rows] @ (np.eye(3) + strain_tensors(strains))
    turned = np.linalg.inv(lattices).transpose(0, 2, 1) @ turns.transpose(0, 2, 1)
    axes = torch.from_numpy(padded[kind] @ turned[:, None]).to(like)
    operations = torch.from_numpy(np.nan_to_num(padded).astype(np.int64)[kind])
    return axes, operations.to(like.device)


def _bounded(pattern, axes, n):
    """Split patterns so that the images of their lines fit into memory; slices of lines."""
    counts = torch.bincount(pattern, minlength=n).cpu().numpy()
    ends = np.cumsum(counts)
    start = 0
    while start < n:
        stop, widest = start, 0
        while stop < n:
            widest = max(widest, counts[stop])
            if stop > start and (stop - start + 1) * widest * axes.shape[1] > _IMAGES_AT_ONCE:
                break
            stop += 1
        yield slice(ends[start] - counts[start], ends[stop - 1])
        start = stop


def _excited(hkl, q, pattern, axes, some, wavelength, limits, q_max):
    """Which images of reflections lie near the Ewald sphere.

    Parameters
    ----------
    hkl : tensor of shape (m, 3)
    q : tensor of shape (m,)
    pattern : int64 tensor of shape (m,)
    axes : tensor of shape (n, k, 3, 3)
    some : slice
        Of the lines, those of whole patterns.
    wavelength : float
    limits : tuple of tensor of shape (n,)
        Largest excitation error in 1/Å and tangent of the precession angle.
    q_max : float

    Returns
    -------
    line, image : int64 tensor of shape (l,)
    error : tensor of shape (l,)
        Excitation error in 1/Å.
    swing : tensor of shape (l,)
        How far precession moves the reflection, in 1/Å.
    """
    first, last = int(pattern[some.start]), int(pattern[some.stop - 1])
    counts = torch.bincount(pattern[some] - first, minlength=last - first + 1)
    begin = torch.cumsum(counts, 0) - counts
    place = torch.arange(some.stop - some.start, device=q.device) - begin[pattern[some] - first]
    shape = len(counts), int(counts.max())
    padded = torch.zeros(*shape, 4, dtype=q.dtype, device=q.device)
    padded[pattern[some] - first, place] = torch.cat([hkl[some], q[some, None]], dim=1)
    z = padded[..., :3] @ axes[first : last + 1, :, :, 2].transpose(1, 2)
    screen2 = (padded[..., 3:] ** 2 - z * z).clamp_(0, wavelength**-2)
    # how far the Ewald sphere lies from the zero layer, and the image from the sphere
    error = -screen2 / (wavelength**-2 - screen2).sqrt_().add_(1 / wavelength) - z
    reach, tangent = (limit[first : last + 1, None, None] for limit in limits)
    limit = reach + screen2.sqrt() * tangent if tangent.any() else reach
    near = (error.abs() < limit) & (screen2 < q_max * q_max) & (padded[..., 3:] > 0)
    row, column, image = torch.nonzero(near, as_tuple=True)
    swing = screen2[row, column, image].sqrt() * tangent[row, 0, 0]
    return some.start + begin[row] + column, image, error[row, column, image], swing


def _first_of_each(pattern, hkl):
    """Rows of the first of each distinct reflection of each pattern."""
    code = pattern
    for index in hkl.unbind(1):
        code = code * 2048 + index + 1024
    order = torch.argsort(code, stable=True)
    new = torch.ones_like(order, dtype=torch.bool)
    new[1:] = torch.diff(code[order]) != 0
    return order[new]


def _rocking_curve(error, swing, thickness):
    """Kinematic shape factor, averaged over the precession circle."""
    if not swing.any():
        return torch.sinc(error * thickness) ** 2
    steps = torch.arange(_PRECESSION_STEPS, device=error.device, dtype=error.dtype) + 0.5
    phase = torch.cos(2 * torch.pi * steps / _PRECESSION_STEPS)
    return (torch.sinc((error[:, None] + swing[:, None] * phase) * thickness[:, None]) ** 2).mean(1)
