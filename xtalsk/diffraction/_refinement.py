"""Refinement of the centre and the ellipticity of ring patterns: pure functions in torch, for any device.

Gauss-Newton steps minimise the scatter of intensity within rings. The ring profile itself is eliminated from
the least-squares problem [1]_. The result is the geometry with the sharpest radial profile.

References
----------
.. [1] L. Kaufman, BIT 15, 49 (1975), variable projection for separable least squares.
"""

import math
from typing import NamedTuple

import torch

from xtalsk.diffraction._constants import (
    ELLIPTICITY_SPREAD,
    ELLIPTICITY_STEP,
    MAX_ELLIPTICITY,
    MIN_ANGLE_SHARE,
    N_ANGLES,
    RADIUS_SHARE,
)
from xtalsk.diffraction._polar import ring_directions, sample_rings
from xtalsk.diffraction._smoothing import gaussian_band


class _Rings(NamedTuple):
    """Images sampled on rings: values, weights and what they sum to on each ring.

    ``radii`` (n_radii,) in pixels. ``weight`` and ``residual`` (n, n_radii, n_angles): share of valid pixels
    and deviation from the mean of the ring. ``total`` and ``profile`` (n, n_radii): sum of the weights and
    mean. ``full`` (n, n_radii): whether enough of the ring is valid.
    """

    radii: torch.Tensor
    weight: torch.Tensor
    residual: torch.Tensor
    total: torch.Tensor
    profile: torch.Tensor
    full: torch.Tensor


def refine(images, valid, center, ellipticity, free, spread):
    """Make one Gauss-Newton step towards the sharpest radial profile.

    Parameters
    ----------
    images : Tensor of shape (n, h, w)
        Intensities of even noise, e.g. square roots of counts.
    valid : Tensor of shape (n, h, w)
        1 for valid pixels, else 0.
    center, ellipticity : Tensors of shape (n, 2)
        Row and column in pixels; terms (a, b) of the ellipse.
    free : Tensor of shape (n, 4)
        1 for each of (row, column, a, b) that is refined, else 0.
    spread : float
        Standard deviation, in pixels, of the smoothing of the profile: the range of the step.

    Returns
    -------
    center, ellipticity : Tensors of shape (n, 2)
    """
    rings = _sample(images, valid, center, ellipticity)
    left, right, noise = _normal_equations(rings, free, spread)
    parameters = torch.cat([center, ellipticity], 1)
    prior = (noise[:, None] / ELLIPTICITY_SPREAD**2).expand(-1, 2)
    stiffness = torch.cat([torch.zeros_like(center), prior], 1)
    right = right - stiffness * parameters
    left = left + torch.diag_embed(stiffness + 1e-6 * left.diagonal(dim1=1, dim2=2) + 1e-12 + (1 - free))
    step = torch.linalg.solve(left, right) * free
    limit = step.new_tensor([2 * spread, 2 * spread, ELLIPTICITY_STEP, ELLIPTICITY_STEP])
    parameters = parameters + step.clamp(-limit, limit)
    return parameters[:, :2], parameters[:, 2:].clamp(-MAX_ELLIPTICITY, MAX_ELLIPTICITY)


def _sample(images, valid, center, ellipticity):
    """Sample images on rings one pixel apart, `_Rings`."""
    radii = torch.arange(1.0, max(images.shape[1:]) * RADIUS_SHARE, dtype=images.dtype, device=images.device)
    channels = torch.stack([images * valid, valid], 1)
    sampled = sample_rings(channels, center, ellipticity, radii, N_ANGLES)
    weight = torch.where(sampled[:, 1] > 0.5, sampled[:, 1], 0)
    value = sampled[:, 0] / sampled[:, 1].clamp_min(0.5)
    total = weight.sum(2)
    profile = (weight * value).sum(2) / total.clamp_min(1e-6)
    return _Rings(
        radii, weight, value - profile[..., None], total, profile, total > MIN_ANGLE_SHARE * N_ANGLES
    )


def _normal_equations(rings, free, spread):
    """Matrix (n, 4, 4) and right side (n, 4) for the four parameters, and the variance of the noise (n,)."""
    weighted = rings.weight * rings.residual
    basis = torch.cat(ring_directions(N_ANGLES, weighted.dtype, weighted.device))
    slope, smoothed = _slopes(rings.profile, rings.full, spread)
    # a shift moves all rings alike, the ellipse moves each ring in proportion to its radius
    scale = torch.stack([torch.ones_like(rings.radii)] * 2 + [rings.radii] * 2, 1)
    area = (2 * math.pi / N_ANGLES * rings.radii)[:, None]
    lever = smoothed[..., None] * scale * area * free[:, None]
    left = torch.einsum("nrj,nrjk,nrk->njk", lever, _angular_gram(rings, basis), slope[..., None] * scale)
    right = -torch.einsum("nrj,nrj->nj", lever, weighted @ basis.T)
    scatter = (rings.weight * rings.residual**2).sum(2) * rings.full * area[:, 0]
    noise = scatter.sum(1) / ((rings.total * rings.full) @ area[:, 0]).clamp_min(1e-6)
    return left, right, noise


def _angular_gram(rings, basis):
    """Weighted covariances of the angular functions on each ring, (n, n_radii, 4, 4)."""
    products = (basis[:, None] * basis[None]).flatten(0, 1)
    mean = rings.weight @ basis.T
    gram = (rings.weight @ products.T).unflatten(2, (4, 4))
    return gram - mean[..., None] * mean[..., None, :] / rings.total.clamp_min(1e-6)[..., None, None]


def _slopes(profile, full, spread):
    """Slopes of profiles (n, n_radii), plain and smoothed by ``spread`` pixels; 0 beside incomplete rings."""
    is_full = full.to(profile.dtype)
    inner = is_full.clone()
    inner[:, 1:-1] = is_full[:, 2:] * is_full[:, :-2] * is_full[:, 1:-1]
    slope = torch.zeros_like(profile)
    slope[:, 1:-1] = (profile[:, 2:] - profile[:, :-2]) / 2
    slope = slope * inner
    band = gaussian_band(profile.shape[1], spread, profile.dtype, profile.device)
    return slope, (slope @ band) * inner
