"""Rings and ellipses around the direct beam: pure functions on batches of images in torch, for any device.

The shape of a ring is 1 + a cos 2φ + b sin 2φ, with the ellipticity (a, b). φ is counted from the axis of the
columns towards increasing rows.
"""

import math

import torch
from torch.nn import functional as F


def ring_directions(n_angles, dtype, device):
    """Direction (row, column) of each of ``n_angles`` angles and (cos 2φ, sin 2φ), each (2, n_angles)."""
    phi = torch.arange(n_angles, dtype=dtype, device=device) * (2 * math.pi / n_angles)
    return torch.stack([phi.sin(), phi.cos()]), torch.stack([(2 * phi).cos(), (2 * phi).sin()])


def sample_rings(images, center, ellipticity, radii, n_angles):
    """Sample images on rings by bilinear interpolation.

    Parameters
    ----------
    images : Tensor of shape (n, n_channels, h, w)
    center : Tensor of shape (n, 2)
        Row and column in pixels.
    ellipticity : Tensor of shape (n, 2)
    radii : Tensor of shape (n_radii,)
        In pixels.
    n_angles : int

    Returns
    -------
    Tensor of shape (n, n_channels, n_radii, n_angles)
        0 outside the image.
    """
    h, w = images.shape[2:]
    direction, shape = ring_directions(n_angles, images.dtype, images.device)
    stretch = 1 + ellipticity @ shape
    offsets = radii[None, :, None] * stretch[:, None, :]
    y = center[:, :1, None] + offsets * direction[0]
    x = center[:, 1:, None] + offsets * direction[1]
    grid = torch.stack([(2 * x + 1) / w - 1, (2 * y + 1) / h - 1], -1)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def ring_radius(size, center, ellipticity):
    """Radius in pixels of the ring through each pixel of images of ``size`` (h, w), Tensor (n, h, w)."""
    h, w = size
    y = torch.arange(h, dtype=center.dtype, device=center.device) - center[:, :1]
    x = torch.arange(w, dtype=center.dtype, device=center.device) - center[:, 1:]
    yy, xx = y[:, :, None] ** 2, x[:, None, :] ** 2
    square = (yy + xx).clamp_min(1e-12)
    a, b = ellipticity[:, 0, None, None], ellipticity[:, 1, None, None]
    stretch = 1 + (a * (xx - yy) + b * 2 * y[:, :, None] * x[:, None, :]) / square
    return square.sqrt() / stretch
