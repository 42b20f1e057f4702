"""Preferred orientation."""

import numpy as np
import torch

from xtalsk.simulation.reflections._families import laue_group
from xtalsk.simulation.reflections._strain import reciprocal_metrics

LOW_INDEX_PLANES = np.array(
    [(0, 0, 1), (1, 0, 0), (0, 1, 0), (1, 1, 0), (1, 0, 1), (0, 1, 1), (1, 1, 1), (1, 0, 4)]
)
"""Planes that grains lie on: the common cleavage and growth planes of minerals, 104 that of calcite."""

PLANE_COLUMNS = ("texture_h", "texture_k", "texture_l")

_ORDERS = (0, 2, 4, 6, 8)
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(96)


def march(cosine, r):
    r"""March function: how often a plane normal makes an angle with the texture axis, 1 without texture.

    :math:`W = (r^2 \cos^2\alpha + \sin^2\alpha / r)^{-3/2}` [1]_; r below 1 is platy, above 1 needly.

    Parameters
    ----------
    cosine : tensor
        cos α.
    r : tensor

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
    """Texture planes hkl, shape (n, 3)."""
    return LOW_INDEX_PLANES[rng.randint(len(LOW_INDEX_PLANES), size=n)]


def draw_grain_planes(reflections, rows, rng):
    """Texture planes hkl, shape (n, 3): for every second pattern that of the widest spacing.

    It is the largest face and the best cleavage of most crystals: J. D. H. Donnay and D. Harker, Am. Mineral.
    22 (1937) 446.
    """
    planes = draw_planes(len(rows), rng)
    first = np.minimum(reflections.offsets[:-1][rows], len(reflections.hkl) - 1)
    widest = reflections.hkl[torch.from_numpy(first).to(reflections.hkl.device)].cpu().numpy()
    return np.where(rng.uniform(size=(len(rows), 1)) < 0.5, widest, planes)


def plane_cosines(reflections, rows, planes, pattern, lines):
    """Cosines of the angles between the members of a family and the normal of the texture plane.

    Parameters
    ----------
    reflections : Reflections
    rows : ndarray of int, shape (n,)
    planes : ndarray of int, shape (n, 3)
    pattern, lines : int64 tensor of shape (m,)

    Returns
    -------
    cosine : tensor of shape (m, k)
        One column for each rotation of the Laue class without its inversion, padded.
    share : tensor of shape (m, k)
        Weight of each column in the mean over the family; padding has none.
    """
    metrics = reciprocal_metrics(reflections.lattices[rows])
    index = reflections.rotation_index[rows]
    groups = {k: _halved(laue_group(reflections.rotation_sets[k])) for k in np.unique(index)}
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


def _halved(laue):
    """Keep the proper rotations of a Laue class: one of each pair ±R."""
    return laue[np.linalg.det(laue) > 0]


def march_factors(reflections, rows, planes, r, pattern, lines):
    """Intensity of each line relative to that without texture, in reflection from a flat plate.

    Parameters are those of `plane_cosines`, and ``r`` of shape (n,), the March parameters.

    Returns
    -------
    tensor of shape (m,)
    """
    cosine, share = plane_cosines(reflections, rows, planes, pattern, lines)
    return (march(cosine, r[pattern][:, None]) * share).sum(1)


def legendre_coefficients(r):
    """Coefficients of the March function in Legendre polynomials of order 0, 2, 4, 6 and 8.

    Parameters
    ----------
    r : tensor of shape (n,)

    Returns
    -------
    tensor of shape (n, 5)
    """
    x = torch.from_numpy(_NODES).to(r)
    weight = torch.from_numpy(_WEIGHTS).to(r) * march(x, r[:, None])
    polynomials = legendre(x)
    factors = torch.tensor([(2 * order + 1) / 2 for order in _ORDERS]).to(r)
    return factors * (weight[:, None] * polynomials).sum(2)


def legendre(x):
    """Legendre polynomials of order 0, 2, 4, 6 and 8, stacked along a new axis before the last."""
    before, now, found = torch.ones_like(x), x, [torch.ones_like(x)]
    for order in range(2, _ORDERS[-1] + 1):
        before, now = now, ((2 * order - 1) * x * now - (order - 1) * before) / order
        if order in _ORDERS:
            found.append(now)
    return torch.stack(found, dim=-2)
