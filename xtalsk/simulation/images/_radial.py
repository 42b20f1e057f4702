"""Radially symmetric patterns on the pixels of an image."""

import torch

from xtalsk.simulation._constants import ROWS_IN_CACHE
from xtalsk.simulation._line_profiles import broaden, gaussian
from xtalsk.simulation.images._constants import CARBON_HALOES, POINTS_PER_PIXEL, RADIUS_MARGIN, SILICA_HALOES


def radii(size, tensor):
    """Radii of the points of a profile in pixels, beyond all corners of an image of ``size`` rows.

    The dtype and device are those of ``tensor``.
    """
    n_points = int(RADIUS_MARGIN * size * POINTS_PER_PIXEL)
    return (torch.arange(n_points, device=tensor.device, dtype=tensor.dtype) + 0.5) / POINTS_PER_PIXEL


def diffuse_profile(q, column):
    """Compute the radial profile of diffuse scattering.

    It consists of inelastic and thermal diffuse scattering, which decrease exponentially, of a steeper halo
    about the direct beam, (1 + (q / w)²)^-p, and of the haloes of an amorphous film.

    Parameters
    ----------
    q : tensor of shape (n_points,)
        In 1/Å.
    column : dict of str to tensor of shape (n,)
        ``background_decay`` and ``halo_width`` in 1/Å, ``halo``, ``halo_power``, ``support`` and ``glass``.

    Returns
    -------
    tensor of shape (n, n_points)
    """
    decay = torch.exp(-q / column["background_decay"][:, None])
    has_halo = column["halo"] > 0
    if not column["support"].any() and not has_halo.any():
        return decay
    if has_halo.any():
        steep = (1 + (q / column["halo_width"][:, None]) ** 2) ** -column["halo_power"][:, None]
        share = column["halo"][:, None]
        decay = (1 - share) * decay / (decay @ q)[:, None] + share * steep / (steep @ q)[:, None]
    share, glass = column["support"][:, None], column["glass"][:, None]
    film = _film(q, CARBON_HALOES)
    if glass.any():
        film = (1 - glass) * film + glass * _film(q, SILICA_HALOES)
    return (1 - share) * decay / (decay @ q)[:, None] + share * film


def _film(q, haloes):
    """Profile of an amorphous film, whose integral over the image is 1."""
    profile = sum(height * gaussian(q, center, width) for center, width, height in haloes)
    return profile / (profile @ q)


def broaden_rings(profiles, fwhm, eta, positive=True):
    """Convolve each row with its own pseudo-Voigt function of unit area.

    The parameters are those of `broaden`. The result of a row does not depend on the other rows: rows with
    widths of the same power of 2 are broadened together with an empty row of the largest such width, which
    sets the padding.
    """
    power = torch.ceil(torch.log2(fwhm))
    broadened = torch.empty_like(profiles)
    for one in power.unique():
        for part in torch.nonzero(power == one)[:, 0].split(ROWS_IN_CACHE - 1):
            rows = torch.nn.functional.pad(profiles[part], (0, 0, 0, 1))
            widths = torch.cat([fwhm[part], 2 ** one[None]])
            broadened[part] = broaden(rows, widths, torch.nn.functional.pad(eta[part], (0, 1)), positive)[:-1]
    return broadened


def offsets(column, size):
    """Distances of the pixel rows and columns from the beam in pixels, each of shape (n, size)."""
    center = column["center_row"]
    grid = torch.arange(size, device=center.device, dtype=center.dtype)
    return grid - center[:, None], grid - column["center_column"][:, None]


def ellipse(column):
    """Coefficients of x², x y and y² in the squared radius in points, without the elliptical distortion.

    The distortion leaves the area unchanged.

    Parameters
    ----------
    column : dict of str to tensor of shape (n,)
        ``ellipticity`` and ``ellipse_azimuth``.

    Returns
    -------
    xx, xy, yy : tensor of shape (n,)
    """
    cosine, sine = torch.cos(column["ellipse_azimuth"]), torch.sin(column["ellipse_azimuth"])
    stretch = 1 + column["ellipticity"]
    unit = POINTS_PER_PIXEL**2
    xx = unit * (cosine**2 / stretch + sine**2 * stretch)
    yy = unit * (sine**2 / stretch + cosine**2 * stretch)
    return xx, unit * (2 * sine * cosine * (1 / stretch - stretch)), yy


def on_pixels(profiles, column, size):
    """Evaluate radial profiles at every pixel of elliptically distorted images, between points linearly.

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
    xx, xy, yy = (coefficient[:, None] for coefficient in ellipse(column))
    # 1e-2 keeps squares positive in spite of rounding errors
    position = torch.addcmul((yy * y * y + 1e-2)[:, :, None], (xy * y)[:, :, None], x[:, None, :])
    n, n_points = profiles[0].shape
    # the first point is half an interval from the centre
    position = position.add_((xx * x * x)[:, None, :]).sqrt_().sub_(0.5).clamp_(0, n_points - 1.001)
    index = position.to(torch.int32)
    share = position.sub_(index).view(-1)
    first = torch.arange(n, device=index.device, dtype=torch.int32) * n_points
    index = index.add_(first[:, None, None]).view(-1)
    flat = [p.reshape(-1) for p in profiles]
    pairs = [(p.index_select(0, index), p[1:].index_select(0, index)) for p in flat]
    return [torch.lerp(low, high, share).view(n, size, size) for low, high in pairs]
