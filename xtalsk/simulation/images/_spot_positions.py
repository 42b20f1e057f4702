"""Positions and intensities of the spots of oriented single crystals."""

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from xtalsk.physics._electrons import electron_wavelength
from xtalsk.simulation._chunks import stacked
from xtalsk.simulation._line_profiles import gather_lines
from xtalsk.simulation.images._constants import IMAGES_OF_LINES, N_FRINGES, PRECESSION_STEPS
from xtalsk.simulation.reflections._families import laue_group
from xtalsk.simulation.reflections._strain import STRAIN_COLUMNS, strain_tensors, strained_q
from xtalsk.utils._threads import in_threads, is_plain

TURN_COLUMNS = ("turn_x", "turn_y", "turn_z")
"""Rotation vector in radians from the frame of the crystal to that of the image."""


def spot_positions(reflections, rows, values, column, conditions):
    """Compute the positions and intensities of the excited spots of oriented crystals.

    Parameters
    ----------
    reflections : Reflections
    rows : ndarray of int, shape (n,)
        The crystal of each pattern.
    values : dict of str to ndarray of shape (n,)
        Values of the conditions of each pattern, with the rotation vectors `TURN_COLUMNS`.
    column : dict of str to tensor of shape (n,)
        The same values on the device.
    conditions : SpotConditions
        For the beam energy.

    Returns
    -------
    pattern : int64 tensor of shape (m,)
        Number of the pattern of each spot.
    x, y : tensor of shape (m,)
        Position relative to the direct beam in 1/Å of a flat screen, along columns and rows.
    weight : tensor of shape (m,)
        Relative intensity.
    hkl : int64 tensor of shape (m, 3)
    """
    wavelength = float(electron_wavelength(conditions.beam_energy))
    thickness = column["thickness_angstrom"]
    pattern, lines = gather_lines(reflections, rows)
    strains = stacked(values, STRAIN_COLUMNS)
    q = strained_q(reflections, rows, strains, pattern, lines)
    hkl = reflections.hkl[lines].to(q.dtype)
    axes, operations = _image_axes(reflections, rows, values, strains, q)
    limits = thickness.reciprocal() * N_FRINGES, torch.tan(torch.deg2rad(column["precession"]))
    of_lines = reflections.hkl[lines], q, pattern
    search = excited_spots if is_plain(q) else excited_spots_of_tensors
    line, image, error, swing, indices = search(
        of_lines, axes, operations, limits, wavelength, 1 / reflections.d_min
    )
    across = (hkl[line][:, :, None] * axes[pattern[line], image, :, :2]).sum(1)
    pattern = pattern[line]
    weight = _rocking_curve(error, swing, thickness[pattern]) * reflections.intensity[lines[line]]
    weight = weight * torch.exp(-column["b_shift"][pattern] * q[line] ** 2 / 2)
    depth = torch.sqrt(1 / wavelength**2 - (across**2).sum(1))
    x, y = (across / (wavelength * depth)[:, None]).unbind(1)
    return pattern, x, y, weight, indices


def excited_spots(of_lines, axes, operations, limits, wavelength, q_max):
    """Find the excited spots with compiled loops; see `excited_spots_of_tensors`."""
    from xtalsk.simulation.images._spot_kernels import find_excited  # numba is imported at the first use

    hkl, q, pattern = (values.contiguous().numpy() for values in of_lines)
    n = len(axes)
    arrays = (
        hkl,
        q,
        np.searchsorted(pattern, np.arange(n + 1)),
        axes.contiguous().numpy(),
        operations.contiguous().numpy(),
        (~axes[:, :, 0, 0].isnan()).sum(1).numpy(),
        torch.stack(limits).numpy(),
        wavelength,
        q_max,
    )
    parts = in_threads(lambda first, last: find_excited(*arrays, first, last), n)
    integers, numbers = (torch.from_numpy(np.concatenate(part)) for part in zip(*parts, strict=True))
    return integers[:, 0], integers[:, 1], numbers[:, 0], numbers[:, 1], integers[:, 2:]


def excited_spots_of_tensors(of_lines, axes, operations, limits, wavelength, q_max):
    """Find the images of reflections that lie near the Ewald sphere, each reflection once.

    Parameters
    ----------
    of_lines : tuple of tensors
        hkl of shape (m, 3), q in 1/Å and, in ascending order, number of the pattern of each line.
    axes, operations : tensor of shape (n, k, 3, 3)
        See `_image_axes`.
    limits : tuple of tensor of shape (n,)
        Largest excitation error in 1/Å and tangent of the precession angle.
    wavelength : float
        In Å.
    q_max : float
        Largest q on the screen in 1/Å.

    Returns
    -------
    line, image : int64 tensor of shape (l,)
        Number of the line and of the symmetry operation of each excited spot.
    error : tensor of shape (l,)
        Excitation error in 1/Å.
    swing : tensor of shape (l,)
        Amplitude by which precession changes the excitation error, in 1/Å.
    indices : int64 tensor of shape (l, 3)
        hkl of each spot.
    """
    hkl, q, pattern = of_lines
    excited = [
        _excited(hkl.to(q.dtype), q, pattern, axes, part, wavelength, limits, q_max)
        for part in _bounded(pattern, axes, len(axes))
    ]
    line, image, error, swing = (torch.cat(tensors) for tensors in zip(*excited, strict=True))
    indices = (hkl[line].long()[:, :, None] * operations[pattern[line], image]).sum(1)
    once = _first_of_each(pattern[line], indices)
    return tuple(values[once] for values in (line, image, error, swing, indices))


def _image_axes(reflections, rows, values, strains, tensor):
    """Make the matrices that turn hkl into its images under the Laue group of each crystal.

    Returns
    -------
    axes : tensor of shape (n, k, 3, 3)
        hkl @ axes is the image in 1/Å in the frame of the picture. NaN beyond the operations of a crystal.
        The dtype and device are those of ``tensor``.
    operations : int64 tensor of shape (n, k, 3, 3)
        hkl @ operations are the indices of the image. 0 beyond the operations of a crystal.
    """
    index = reflections.rotation_index[rows]
    kinds, kind = np.unique(index, return_inverse=True)
    groups = [laue_group(reflections.rotation_sets[k]) for k in kinds]
    padded = np.full((len(groups), max(len(g) for g in groups), 3, 3), np.nan)
    for matrices, group in zip(padded, groups, strict=True):
        matrices[: len(group)] = group
    turns = Rotation.from_rotvec(stacked(values, TURN_COLUMNS)).as_matrix()
    lattices = reflections.lattices[rows] @ (np.eye(3) + strain_tensors(strains))
    reciprocal = np.linalg.inv(lattices).transpose(0, 2, 1) @ turns.transpose(0, 2, 1)
    axes = torch.from_numpy(padded[kind] @ reciprocal[:, None]).to(tensor)
    operations = torch.from_numpy(np.nan_to_num(padded).astype(np.int64)[kind])
    return axes, operations.to(tensor.device)


def _bounded(pattern, axes, n):
    """Yield slices of lines, each of whole patterns, so that the images of their lines fit into memory."""
    counts = torch.bincount(pattern, minlength=n).cpu().numpy()
    ends = np.cumsum(counts)
    start = 0
    while start < n:
        stop, widest = start, 0
        while stop < n:
            widest = max(widest, counts[stop])
            if stop > start and (stop - start + 1) * widest * axes.shape[1] > IMAGES_OF_LINES:
                break
            stop += 1
        yield slice(ends[start] - counts[start], ends[stop - 1])
        start = stop


def _excited(hkl, q, pattern, axes, part, wavelength, limits, q_max):
    """Find the images of reflections that lie near the Ewald sphere.

    Parameters
    ----------
    hkl : tensor of shape (m, 3)
    q : tensor of shape (m,)
        In 1/Å.
    pattern : int64 tensor of shape (m,)
        Number of the pattern of each line.
    axes : tensor of shape (n, k, 3, 3)
        See `_image_axes`.
    part : slice
        The lines to consider, those of whole patterns.
    wavelength : float
        In Å.
    limits : tuple of tensor of shape (n,)
        Largest excitation error in 1/Å and tangent of the precession angle.
    q_max : float
        Largest q on the screen in 1/Å.

    Returns
    -------
    line, image : int64 tensor of shape (l,)
        Number of the line and of the symmetry operation of each excited spot.
    error : tensor of shape (l,)
        Excitation error in 1/Å.
    swing : tensor of shape (l,)
        Amplitude by which precession changes the excitation error, in 1/Å.
    """
    first, last = int(pattern[part.start]), int(pattern[part.stop - 1])
    counts = torch.bincount(pattern[part] - first, minlength=last - first + 1)
    begin = torch.cumsum(counts, 0) - counts
    position = torch.arange(part.stop - part.start, device=q.device) - begin[pattern[part] - first]
    shape = len(counts), int(counts.max())
    padded = torch.zeros(*shape, 4, dtype=q.dtype, device=q.device)
    padded[pattern[part] - first, position] = torch.cat([hkl[part], q[part, None]], dim=1)
    z = padded[..., :3] @ axes[first : last + 1, :, :, 2].transpose(1, 2)
    screen2 = (padded[..., 3:] ** 2 - z * z).clamp_(0, wavelength**-2)
    # distance of the Ewald sphere from the zero layer, and of the image from the sphere
    error = -screen2 / (wavelength**-2 - screen2).sqrt_().add_(1 / wavelength) - z
    reach, tangent = (limit[first : last + 1, None, None] for limit in limits)
    limit = reach + screen2.sqrt() * tangent if tangent.any() else reach
    near = (error.abs() < limit) & (screen2 < q_max * q_max) & (padded[..., 3:] > 0)
    row, column, image = torch.nonzero(near, as_tuple=True)
    swing = screen2[row, column, image].sqrt() * tangent[row, 0, 0]
    return part.start + begin[row] + column, image, error[row, column, image], swing


def _first_of_each(pattern, hkl):
    """Rows of the first spot of each distinct reflection of each pattern, int64 tensor."""
    code = pattern
    for index in hkl.unbind(1):
        code = code * 2048 + index + 1024
    order = torch.argsort(code, stable=True)
    new = torch.ones_like(order, dtype=torch.bool)
    new[1:] = torch.diff(code[order]) != 0
    return order[new]


def _rocking_curve(error, swing, thickness):
    """Kinematic shape factor sinc²(s t), averaged over the precession circle."""
    if not swing.any():
        return torch.sinc(error * thickness) ** 2
    steps = torch.arange(PRECESSION_STEPS, device=error.device, dtype=error.dtype) + 0.5
    phase = torch.cos(2 * torch.pi * steps / PRECESSION_STEPS)
    return (torch.sinc((error[:, None] + swing[:, None] * phase) * thickness[:, None]) ** 2).mean(1)
