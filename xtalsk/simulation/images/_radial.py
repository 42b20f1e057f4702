"""Radially symmetric patterns on the pixels of an image."""

import torch

from xtalsk.simulation._line_profiles import gaussian
from xtalsk.simulation.images._constants import CARBON_HALOES, POINTS_PER_PIXEL, RADIUS_MARGIN


def radii(size, tensor):
    """Radii of the points of a profile in pixels, beyond all corners of an image of ``size`` rows.

    The dtype and device are those of ``tensor``.
    """
    n_points = int(RADIUS_MARGIN * size * POINTS_PER_PIXEL)
    return (torch.arange(n_points, device=tensor.device, dtype=tensor.dtype) + 0.5) / POINTS_PER_PIXEL


def diffuse_profile(q, column):
    """Compute the radial profile of diffuse scattering.

    It consists of inelastic and thermal diffuse scattering, which decrease exponentially, and of the two
    haloes of an amorphous carbon film.

    Parameters
    ----------
    q : tensor of shape (n_points,)
        In 1/Å.
    column : dict of str to tensor of shape (n,)
        ``background_decay`` in 1/Å and ``support``.

    Returns
    -------
    tensor of shape (n, n_points)
    """
    decay = torch.exp(-q / column["background_decay"][:, None])
    if not column["support"].any():
        return decay
    haloes = sum(height * gaussian(q, center, width) for center, width, height in CARBON_HALOES)
    share = column["support"][:, None]
    return (1 - share) * decay / (decay @ q)[:, None] + share * haloes / (haloes @ q)


def offsets(column, size):
    """Distances of the pixel rows and columns from the beam in pixels, each of shape (n, size)."""
    center = column["center_row"]
    grid = torch.arange(size, device=center.device, dtype=center.dtype)
    return grid - center[:, None], grid - column["center_column"][:, None]


def on_pixels(profiles, column, size):
    """Evaluate radial profiles at every pixel of elliptically distorted images.

    Parameters
    ----------
    profiles : list of tensor of shape (n, n_points)
        Sampled at `radii`.
    column : dict of str to tensor of shape (n,)
        ``center_row``, ``center_column``, ``ellipticity`` and ``ellipse_azimuth``.
    size : int
        Rows and columns of an image.

    Returns
    -------
    list of tensor of shape (n, size, size)
    """
    y, x = offsets(column, size)
    # squared radius without the elliptical distortion, which leaves the area unchanged
    cosine, sine = torch.cos(column["ellipse_azimuth"]), torch.sin(column["ellipse_azimuth"])
    stretch = 1 + column["ellipticity"]
    unit = POINTS_PER_PIXEL**2
    xx = unit * (cosine**2 / stretch + sine**2 * stretch)[:, None]
    yy = unit * (sine**2 / stretch + cosine**2 * stretch)[:, None]
    xy = unit * (2 * sine * cosine * (1 / stretch - stretch))[:, None]
    # 1e-2 keeps squares positive in spite of rounding errors
    index = torch.addcmul((yy * y * y + 1e-2)[:, :, None], (xy * y)[:, :, None], x[:, None, :])
    n, n_points = profiles[0].shape
    index = index.add_((xx * x * x)[:, None, :]).sqrt_().clamp_max_(n_points - 1)
    first = torch.arange(n, device=index.device) * n_points
    index = index.add_(first[:, None, None]).to(torch.int32).view(-1)
    return [p.reshape(-1).index_select(0, index).view(n, size, size) for p in profiles]
