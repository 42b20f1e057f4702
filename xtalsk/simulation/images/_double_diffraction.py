"""Double diffraction: reflections of beams that were diffracted before, in the same grain."""

from dataclasses import replace
from weakref import WeakKeyDictionary

import numpy as np
import torch
from scipy.signal import fftconvolve

from xtalsk.simulation.images._constants import WEAKEST_DOUBLE
from xtalsk.simulation.reflections._families import laue_group
from xtalsk.simulation.reflections._strain import reciprocal_metrics

_families = WeakKeyDictionary()  # Reflections -> {crystal: columns of its families with double diffraction}


def with_double_diffraction(reflections, rows, share):
    r"""Add the families of double diffraction to the reflections of some patterns.

    A beam g diffracted twice in one grain leaves it along :math:`g = g_1 + g_2`. If both scatterings are
    kinematic, its intensity is the sum of :math:`I(g_1) I(g_2)` over all pairs, the convolution of the
    kinematic intensities with themselves [1]_. Reflections that a screw axis or a glide plane forbids appear,
    and so does 200 of diamond; those that the lattice forbids do not.

    Parameters
    ----------
    reflections : Reflections
    rows : ndarray of int, shape (n,)
        The crystal of each pattern.
    share : ndarray of shape (n,)
        Share of the intensity of each pattern that was scattered twice.

    Returns
    -------
    reflections : Reflections
        One crystal for each pattern. Those with a share above 0 have the families of both, with an intensity
        of 0 if only double diffraction excites them.
    rows : ndarray of int, shape (n,)
        0 to n - 1.
    double : tensor of shape (m,)
        Intensity of one reflection of each family by double diffraction, in arbitrary units.

    References
    ----------
    .. [1] J. M. Cowley, A. L. G. Rees, J. A. Spink, Proc. Phys. Soc. A 64 (1951) 609.
    """
    known = _families.setdefault(reflections, {})
    columns = []
    for row, part in zip(rows.tolist(), share, strict=True):
        if part > 0 and row not in known:
            known[row] = _double_families(reflections, row)
        columns.append(known[row] if part > 0 else _single_families(reflections, row))
    counts = [len(of_row[0]) for of_row in columns]
    q, hkl, multiplicity, intensity, double = (torch.cat(tables) for tables in zip(*columns, strict=True))
    extended = replace(
        reflections,
        offsets=np.concatenate([[0], np.cumsum(counts)]),
        q=q,
        hkl=hkl,
        multiplicity=multiplicity,
        intensity=intensity,
        lattices=reflections.lattices[rows],
        rotation_index=reflections.rotation_index[rows],
        ids=reflections.ids[rows],
    )
    return extended, np.arange(len(rows)), double


def _single_families(reflections, row):
    """Return q, hkl, multiplicity and intensity of the families of a crystal, and zeros."""
    lines = slice(*reflections.offsets[row : row + 2])
    names = ("q", "hkl", "multiplicity", "intensity")
    columns = [getattr(reflections, name)[lines] for name in names]
    return *columns, torch.zeros_like(columns[-1])


def _double_families(reflections, row):
    """Return q, hkl, multiplicity, kinematic intensity and that of double diffraction of a crystal."""
    q, hkl, multiplicity, intensity, _ = _single_families(reflections, row)
    laue = laue_group(reflections.rotation_sets[reflections.rotation_index[row]])
    members = np.einsum("mi,rij->rmj", hkl.cpu().numpy().astype(int), laue)
    box = np.abs(members).max(axis=(0, 1), initial=0)
    grid = np.zeros(2 * box + 1)
    grid[tuple(np.moveaxis(members + box, -1, 0))] = intensity.cpu().numpy()
    double = fftconvolve(grid, grid, mode="same")
    indices = np.argwhere(double > WEAKEST_DOUBLE * double.max()) - box
    metric = reciprocal_metrics(reflections.lattices[row : row + 1])[0]
    squares = np.einsum("ni,ij,nj->n", indices, metric, indices)
    indices = indices[(squares > 0) & (squares <= reflections.d_min**-2)]
    images = _keys(np.einsum("ni,rij->rnj", indices, laue), box)
    names, counts = np.unique(images.max(axis=0), return_counts=True)  # by the member of the largest h, k, l
    new = ~np.isin(names, _keys(members, box).max(axis=0))
    strength = double[tuple((hkl.cpu().numpy() + box).T)]
    added = np.stack(np.unravel_index(names[new], 2 * box + 1), axis=-1) - box
    position = np.sqrt(np.einsum("ni,ij,nj->n", added, metric, added))
    order = np.argsort(np.concatenate([q.cpu().numpy(), position]), kind="stable")
    columns = (
        (q, position),
        (hkl, added),
        (multiplicity, counts[new]),
        (intensity, np.zeros(new.sum())),
        (torch.from_numpy(strength).to(intensity), double[tuple((added + box).T)]),
    )
    return tuple(
        torch.cat([old, torch.from_numpy(values).to(old)])[torch.from_numpy(order).to(old.device)]
        for old, values in columns
    )


def _keys(indices, box):
    """Return one number for each hkl (..., 3) within a box."""
    shifted = indices + box
    return (shifted[..., 0] * (2 * box[1] + 1) + shifted[..., 1]) * (2 * box[2] + 1) + shifted[..., 2]
