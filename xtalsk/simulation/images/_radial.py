"""Radially symmetric patterns on the pixels of an image."""

import torch

POINTS_PER_PIXEL = 16
"""Radial profiles are sampled so finely that the nearest point serves."""

_CARBON_HALOES = ((0.48, 0.16, 1.0), (0.85, 0.18, 0.35))  # q and full width in 1/Å, weight


def radii(size, like):
    """Radii in pixels for which the points of a profile stand, far enough for the corners of an image."""
    n_points = int(1.1 * size * POINTS_PER_PIXEL)
    return (torch.arange(n_points, device=like.device, dtype=like.dtype) + 0.5) / POINTS_PER_PIXEL


def diffuse_profile(q, column):
    """Inelastic and thermal diffuse scattering, and the two haloes of an amorphous carbon film.

    Parameters
    ----------
    q : tensor of shape (n_points,)
    column : dict of str to tensor of shape (n,)
        With ``background_decay`` and ``support``.

    Returns
    -------
    tensor of shape (n, n_points)
    """
    decay = torch.exp(-q / column["background_decay"][:, None])
    if not column["support"].any():
        return decay
    haloes = sum(w * torch.exp(-2.77 * ((q - at) / width) ** 2) for at, width, w in _CARBON_HALOES)
    share = column["support"][:, None]
    return (1 - share) * decay / (decay @ q)[:, None] + share * haloes / (haloes @ q)


def offsets(column, size):
    """Rows and columns of the pixels from the beam, each of shape (n, size)."""
    center = column["center_row"]
    grid = torch.arange(size, device=center.device, dtype=center.dtype)
    return grid - center[:, None], grid - column["center_column"][:, None]


def on_pixels(profiles, column, size):
    """Look radial profiles up at every pixel of elliptically distorted images.

    Parameters
    ----------
    profiles : list of tensor of shape (n, n_points)
        Sampled at `radii`.
    column : dict of str to tensor of shape (n,)
        With the centre and the ellipse.
    size : int

    Returns
    -------
    list of tensor of shape (n, size, size)
    """
    y, x = offsets(column, size)
    # squared radius after undoing an ellipse of unchanged area
    cosine, sine = torch.cos(column["ellipse_azimuth"]), torch.sin(column["ellipse_azimuth"])
    stretch = 1 + column["ellipticity"]
    unit = POINTS_PER_PIXEL**2
    xx = unit * (cosine**2 / stretch + sine**2 * stretch)[:, None]
    yy = unit * (sine**2 / stretch + cosine**2 * stretch)[:, None]
    xy = unit * (2 * sine * cosine * (1 / stretch - stretch))[:, None]
    # the small number keeps rounding from making a square negative
    index = torch.addcmul((yy * y * y + 1e-2)[:, :, None], (xy * y)[:, :, None], x[:, None, :])
    n, n_points = profiles[0].shape
    index = index.add_((xx * x * x)[:, None, :]).sqrt_().clamp_max_(n_points - 1)
    first = torch.arange(n, device=index.device) * n_points
    index = index.add_(first[:, None, None]).to(torch.int32).view(-1)
    return [p.reshape(-1).index_select(0, index).view(n, size, size) for p in profiles]
