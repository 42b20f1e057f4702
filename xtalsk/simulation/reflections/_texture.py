"""Preferred orientation (texture)."""

import numpy as np
import torch

from xtalsk.simulation.reflections._constants import (
    LEGENDRE_ORDERS,
    N_QUADRATURE_NODES,
    WIDEST_SPACING_SHARE,
)
from xtalsk.simulation.reflections._families import laue_group
from xtalsk.simulation.reflections._strain import reciprocal_metrics

LOW_INDEX_PLANES = np.array(
    [(0, 0, 1), (1, 0, 0), (0, 1, 0), (1, 1, 0), (1, 0, 1), (0, 1, 1), (1, 1, 1), (1, 0, 4)]
)
"""Planes hkl that grains lie on: common cleavage and growth planes of minerals; 104 is that of calcite."""

PLANE_COLUMNS = ("texture_h", "texture_k", "texture_l")

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(N_QUADRATURE_NODES)


def march(cosine, r):
    r"""Compute the March function, the density of plane normals at the angle α from the texture axis.

    :math:`W = (r^2 \cos^2\alpha + \sin^2\alpha / r)^{-3/2}` [1]_. It is 1 without texture (r = 1). r is
    below 1 for plates and above 1 for needles.

    Parameters
    ----------
    cosine : tensor
        cos α.
    r : tensor
        March parameter.

    Returns
    -------
    tensor

    References
    ----------
    .. [1] W. A. Dollase, J. Appl. Cryst. 19 (1986) 267, equation 1.
    """
    c2 = cosine * cosine
    x = r * r * c2 + (1 - c2) / r
    return 1 / (x * torch.sqrt(x))


def draw_planes(n, rng):
    """Draw the texture planes hkl of ``n`` patterns, ndarray of int of shape (n, 3)."""
    return LOW_INDEX_PLANES[rng.randint(len(LOW_INDEX_PLANES), size=n)]


def draw_grain_planes(reflections, rows, rng):
    """Draw the texture planes hkl of powder patterns, ndarray of int of shape (n, 3).

    Half of the patterns get the plane of the widest spacing. It is the largest face and the best cleavage of
    most crystals: J. D. H. Donnay and D. Harker, Am. Mineral. 22 (1937) 446.
    """
    planes = draw_planes(len(rows), rng)
    first = np.minimum(reflections.offsets[:-1][rows], len(reflections.hkl) - 1)
    widest = reflections.hkl[torch.from_numpy(first).to(reflections.hkl.device)].cpu().numpy()
    return np.where(rng.uniform(size=(len(rows), 1)) < WIDEST_SPACING_SHARE, widest, planes)


def plane_cosines(reflections, rows, planes, pattern, lines):
    """Compute cosines of the angles between the members of a family and the normal of the texture plane.

    Parameters
    ----------
    reflections : Reflections
    rows : ndarray of int, shape (n,)
        The crystal of each pattern.
    planes : ndarray of int, shape (n, 3)
        hkl of the texture plane of each pattern.
    pattern, lines : int64 tensor of shape (m,)
        Pattern and reflection of each line, see `gather_lines`.

    Returns
    -------
    cosine : tensor of shape (m, k)
        One column for each proper rotation of the Laue class, padded to the largest class.
    share : tensor of shape (m, k)
        Weight of each column in the mean over the family, 0 for padding.
    """
    metrics = reciprocal_metrics(reflections.lattices[rows])
    index = reflections.rotation_index[rows]
    groups = {k: proper_rotations(laue_group(reflections.rotation_sets[k])) for k in np.unique(index)}
    size = max(len(g) for g in groups.values())
    axes, share = np.zeros((len(rows), size, 3)), np.zeros((len(rows), size))
    for i, (k, plane, metric) in enumerate(zip(index, planes, metrics, strict=True)):
        group = groups[k]
        axes[i, : len(group)] = plane @ group @ metric / np.sqrt(plane @ metric @ plane)
        share[i, : len(group)] = 1 / len(group)
    q = reflections.q[lines]
    axes, share = torch.from_numpy(axes).to(q), torch.from_numpy(share).to(q)
    hkl = reflections.hkl[lines].to(q.dtype)
    cosine = sum(axes[..., k][pattern] * hkl[:, k, None] for k in range(3)) / q[:, None]
    return cosine.clamp(-1, 1), share[pattern]


def proper_rotations(laue):
    """Return the proper rotations of a Laue group: one of each pair ±R."""
    return laue[np.linalg.det(laue) > 0]


def march_factors(reflections, rows, planes, r, pattern, lines):
    """Compute the intensity of each line relative to that without texture, for a flat plate in reflection.

    The parameters are those of `plane_cosines` and ``r``, a tensor of shape (n,) of March parameters.

    Returns
    -------
    tensor of shape (m,)
    """
    cosine, share = plane_cosines(reflections, rows, planes, pattern, lines)
    return (march(cosine, r[pattern][:, None]) * share).sum(1)


def legendre_coefficients(r):
    """Expand the March function in Legendre polynomials of order 0, 2, 4, 6 and 8.

    Parameters
    ----------
    r : tensor of shape (n,)
        March parameters.

    Returns
    -------
    tensor of shape (n, 5)
        Coefficients.
    """
    x = torch.from_numpy(_NODES).to(r)
    weight = torch.from_numpy(_WEIGHTS).to(r) * march(x, r[:, None])
    polynomials = legendre(x)
    factors = torch.tensor([(2 * order + 1) / 2 for order in LEGENDRE_ORDERS]).to(r)
    return factors * (weight[:, None] * polynomials).sum(2)


def legendre(x):
    """Legendre polynomials of order 0, 2, 4, 6 and 8 of ``x``, stacked along a new axis before the last."""
    previous, current, polynomials = torch.ones_like(x), x, [torch.ones_like(x)]
    for order in range(2, LEGENDRE_ORDERS[-1] + 1):
        previous, current = current, ((2 * order - 1) * x * current - (order - 1) * previous) / order
        if order in LEGENDRE_ORDERS:
            polynomials.append(current)
    return torch.stack(polynomials, dim=-2)
