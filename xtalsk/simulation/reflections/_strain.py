"""Lattice strains that keep the symmetry of a crystal."""

import numpy as np
import torch

STRAIN_COLUMNS = ("strain_11", "strain_22", "strain_33", "strain_23", "strain_13", "strain_12")
ZONE_COLUMNS = tuple(f"zone_{name}" for name in STRAIN_COLUMNS)
"""Strain between the two parts of zoned crystals."""

VOIGT = ([0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1])
"""Rows and columns of the tensor components 11, 22, 33, 23, 13 and 12."""


def draw_strains(reflections, rows, magnitude, rng):
    """Draw random strains that keep the symmetry of each crystal.

    A random symmetric tensor is averaged over the point group. Equal axes stay equal and right angles stay
    right.

    Parameters
    ----------
    reflections : Reflections
    rows : ndarray of int, shape (n,)
        The crystal of each pattern.
    magnitude : ndarray of shape (n,)
        Standard deviation of each component before averaging, a fraction.
    rng : RandomState

    Returns
    -------
    ndarray of shape (n, 6)
        Components 11, 22, 33, 23, 13 and 12 in the Cartesian frame of the lattice vectors.
    """
    strains = rng.standard_normal((len(rows), 3, 3))
    strains = (strains + strains.transpose(0, 2, 1)) / np.where(np.eye(3) > 0, 2, np.sqrt(2))
    strains *= magnitude[:, None, None]
    return average_over_group(strains, reflections, rows)[:, *VOIGT]


def average_over_group(tensors, crystals, rows):
    """Average tensors over the point groups of crystals.

    Parameters
    ----------
    tensors : ndarray of shape (n, 3, 3)
        In the Cartesian frame of the lattice vectors.
    crystals : Reflections or CrystalSet
    rows : ndarray of int, shape (n,)
        The crystal of each tensor.

    Returns
    -------
    ndarray of shape (n, 3, 3)
    """
    out, index = np.empty_like(tensors), crystals.rotation_index[rows]
    for k in np.unique(index):
        members = index == k
        lattices = crystals.lattices[rows[members]].transpose(0, 2, 1)
        rotations = crystals.rotation_sets[k].astype(float)
        cartesian = lattices[:, None] @ rotations @ np.linalg.inv(lattices)[:, None]
        images = cartesian @ tensors[members][:, None] @ cartesian.transpose(0, 1, 3, 2)
        out[members] = images.mean(axis=1)
    return out


def strain_tensors(strains):
    """Symmetric tensors of shape (n, 3, 3) from the components 11, 22, 33, 23, 13 and 12."""
    tensors = np.empty((len(strains), 3, 3))
    tensors[:, *VOIGT] = tensors[:, *VOIGT[::-1]] = strains
    return tensors


def reciprocal_metrics(lattices):
    """Reciprocal metric tensors G in 1/Å², shape (n, 3, 3); q² = h G h."""
    inverse = np.linalg.inv(lattices)
    return inverse.transpose(0, 2, 1) @ inverse


def metric_changes(reflections, rows, strains):
    """Compute what strains add to the products hh, kk, ll, kl, hl and hk in q².

    Parameters
    ----------
    reflections : Reflections
    rows : ndarray of int, shape (n,)
        The crystal of each pattern.
    strains : ndarray of shape (n, 6)
        Components 11, 22, 33, 23, 13 and 12.

    Returns
    -------
    ndarray of shape (n, 6)
        In 1/Å².
    """
    if not strains.any():
        return np.zeros((len(rows), 6))
    lattices = reflections.lattices[rows]
    strained = lattices @ (np.eye(3) + strain_tensors(strains))
    change = reciprocal_metrics(strained) - reciprocal_metrics(lattices)
    return change[:, *VOIGT] * [1, 1, 1, 2, 2, 2]


def strained_q(reflections, rows, strains, pattern, lines):
    """Compute q of the reflections of strained lattices.

    Parameters
    ----------
    reflections : Reflections
    rows : ndarray of int, shape (n,)
        The crystal of each pattern.
    strains : ndarray of shape (n, 6)
        Components 11, 22, 33, 23, 13 and 12.
    pattern, lines : int64 tensor of shape (m,)
        Pattern and reflection of each line, see `gather_lines`.

    Returns
    -------
    tensor of shape (m,)
        1/d in 1/Å.
    """
    q = reflections.q[lines]
    if not strains.any():
        return q
    change = torch.from_numpy(metric_changes(reflections, rows, strains)).to(q)
    hkl = reflections.hkl[lines].to(q.dtype)
    products = hkl[:, VOIGT[0]] * hkl[:, VOIGT[1]]
    return torch.sqrt((q * q + (products * change[pattern]).sum(1)).clamp_min(0))
