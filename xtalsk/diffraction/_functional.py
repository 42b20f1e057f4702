"""Intensity against q from images and powder scans: pure functions on batched tensors, for any device.

The transformers of this room call these functions for NumPy cells; whoever makes patterns on a device calls
them there, so that training and use see the same numbers. Values that no measurement covers are NaN.
"""

import torch
from torch.nn import functional as F

from xtalsk.diffraction._geometry import gaussian_band, ring_radius

_CELLS_PER_PIXEL = 8  # fineness of the radial histogram
_KERNEL = 0.35  # standard deviation, in pixels, of the kernel that joins neighbouring radii
_LEAST_RING = 0.05  # share of a ring that must be recorded for its mean to count


def bin_edges(n_bins, q_range, like):
    """Edges of ``n_bins`` equal bins, in double precision on the device of ``like``."""
    return torch.linspace(*q_range, n_bins + 1, dtype=torch.float64, device=like.device)


def two_theta_to_q(two_theta, wavelength):
    """Turn 2θ in degrees into q = 1/d = 2 sin θ / λ (Bragg) in 1/Å, λ in Å; tensors or arrays."""
    return 2 * torch.sin(torch.deg2rad(torch.as_tensor(two_theta, dtype=torch.float64)) / 2) / wavelength


def radial_mean(images, geometry, pixel_size, edges):
    """Mean intensity per pixel in bins of q.

    A pixel is shared between the two nearest of the radii an eighth of a pixel apart, by its distance to
    each; a Gaussian of 0.35 pixels then joins neighbouring radii, as the extent of a pixel does anyhow, so
    that bins narrower than a pixel are not starved. Sums of intensity and of pixels are carried to the bins
    separately and divided at the end. Small-angle geometry: q is proportional to the radius, within 0.04% at
    q = 1.25 1/Å for 200 keV electrons.

    Parameters
    ----------
    images : Tensor of shape (n, h, w)
    geometry : Geometry
    pixel_size : Tensor of shape (n,)
        In 1/Å.
    edges : Tensor of shape (n_bins + 1,)
        In 1/Å, equally spaced.

    Returns
    -------
    Tensor of shape (n, n_bins)
        NaN where less than a twentieth of the ring was recorded.
    """
    n, h, w = images.shape
    radius = ring_radius((h, w), geometry.center, geometry.ellipticity).flatten(1) * _CELLS_PER_PIXEL
    last = int(radius.max()) + 2
    low = radius.long()
    valid = geometry.valid.flatten(1).to(images.dtype)
    upper = (radius - low) * valid
    lower = valid - upper
    sums = images.new_zeros(2, n, last + 1)
    value = torch.where(geometry.valid, images, 0).flatten(1)
    for share, index in ((lower, low), (upper, low + 1)):
        sums[0].scatter_add_(1, index, share * value)
        sums[1].scatter_add_(1, index, share)
    band = gaussian_band(last + 1, _KERNEL * _CELLS_PER_PIXEL, images.dtype, images.device)
    sums = (sums @ band).double()
    cumulative = F.pad(sums.cumsum(2), (1, 0))
    position = edges / pixel_size.double()[:, None] * _CELLS_PER_PIXEL + 0.5
    inside = position.clamp(0, last + 0.999)
    first = inside.long()
    part = inside - first
    take = cumulative.gather(2, first.expand(2, -1, -1))
    take = take + part * (cumulative.gather(2, (first + 1).expand(2, -1, -1)) - take)
    total, count = take.diff(dim=2)
    outer, inner = position[:, 1:] - 0.5, (position[:, :-1] - 0.5).clamp_min(0)
    whole = torch.pi * (outer**2 - inner**2) / _CELLS_PER_PIXEL**2
    return torch.where(count > _LEAST_RING * whole, total / count, torch.nan).to(images.dtype)


def bin_mean(q, intensity, edges):
    """Mean over each bin of the straight lines that join the points of a scan.

    Narrow bins interpolate and wide bins average, with no area lost or made between. A gap longer than ten
    usual steps, or with NaN at either end, is not covered.

    Parameters
    ----------
    q : float64 Tensor of shape (n, m)
        Increasing.
    intensity : float64 Tensor of shape (n, m)
    edges : float64 Tensor of shape (n_bins + 1,)

    Returns
    -------
    float64 Tensor of shape (n, n_bins)
        NaN where less than half of a bin is covered.
    """
    step = q.diff(dim=1)
    left, right = intensity[:, :-1], intensity[:, 1:]
    usual = step.median(1, keepdim=True).values
    seen = ~(left.isnan() | right.isnan()) & (step <= 10 * usual)
    left, right = torch.where(seen, left, 0), torch.where(seen, right, 0)
    area = F.pad(((left + right) / 2 * step).cumsum(1), (1, 0))
    length = F.pad((step * seen).cumsum(1), (1, 0))
    where = edges.clamp(q[:, :1], q[:, -1:])
    index = (torch.searchsorted(q, where, right=True) - 1).clamp(0, q.shape[1] - 2)
    along = where - q.gather(1, index)
    y = left.gather(1, index)
    slope = (right.gather(1, index) - y) / step.gather(1, index)
    total = (area.gather(1, index) + along * (y + slope * along / 2)).diff(dim=1)
    covered = (length.gather(1, index) + along * seen.gather(1, index)).diff(dim=1)
    return torch.where(covered > 0.5 * edges.diff(), total / covered, torch.nan)


def bin_operator(q, edges):
    """Matrix that takes scans on one axis to what `bin_mean` makes of them.

    Parameters
    ----------
    q : float64 Tensor of shape (m,)
        Increasing.
    edges : float64 Tensor of shape (n_bins + 1,)

    Returns
    -------
    float64 Tensor of shape (m, n_bins)
        NaN in the columns of bins of which less than half is covered.
    """
    rows = torch.arange(len(q), device=q.device).split(256)
    units = (F.one_hot(some, len(q)).to(q) for some in rows)
    return torch.cat([bin_mean(q.expand(len(unit), -1).contiguous(), unit, edges) for unit in units])


def smooth_profiles(profiles, sigma):
    """Gaussian-weighted mean along the bins, ``sigma`` in bins; NaN is left out and stays."""
    seen = ~profiles.isnan()
    band = gaussian_band(profiles.shape[1], sigma, profiles.dtype, profiles.device)
    mean = (torch.where(seen, profiles, 0) @ band) / (seen.to(profiles.dtype) @ band).clamp_min(1e-12)
    return torch.where(seen, mean, torch.nan)


def fill_gaps(profiles):
    """Replace NaN by linear interpolation between the nearest values, by the first or last one outside."""
    n_bins = profiles.shape[1]
    steps = torch.arange(n_bins, device=profiles.device).expand_as(profiles)
    seen = ~profiles.isnan()
    before = torch.where(seen, steps, -1).cummax(1).values
    after = torch.where(seen, steps, n_bins).flip(1).cummin(1).values.flip(1)
    before, after = torch.where(before < 0, after, before), torch.where(after == n_bins, before, after)
    before, after = before.clamp(0, n_bins - 1), after.clamp(0, n_bins - 1)
    part = ((steps - before) / (after - before).clamp_min(1)).to(profiles.dtype)
    values = torch.where(seen, profiles, 0)
    return values.gather(1, before) * (1 - part) + values.gather(1, after) * part


def snip(profiles, width):
    """Background by statistics-sensitive non-linear iterative peak clipping, ``width`` in bins.

    Each value is clipped to the mean of the two a distance p away, p falling from ``width`` to 1: Ryan et
    al., Nucl. Instrum. Methods B 34, 396 (1988), with the decreasing window of Morháč et al., Nucl. Instrum.
    Methods A 401, 113 (1997), on the square root of the intensity above its lowest value. NaN stays NaN.
    """
    floor = fill_gaps(profiles).amin(1, keepdim=True)
    seen = ~profiles.isnan()
    within = (seen.cumsum(1) > 0) & (seen.flip(1).cumsum(1).flip(1) > 0)
    level = (fill_gaps(smooth_profiles(profiles, 2.0)) - floor).clamp_min(0).sqrt()
    level = torch.where(within, level, torch.inf)  # nothing is clipped to what lies beyond the ends
    for p in range(min(int(width), (profiles.shape[1] - 1) // 2), 0, -1):
        clipped = (level[:, : -2 * p] + level[:, 2 * p :]) / 2
        level = torch.cat([level[:, :p], torch.minimum(level[:, p:-p], clipped), level[:, -p:]], 1)
    return torch.where(profiles.isnan(), torch.nan, level**2 + floor)


def condition(profiles, background_width=None, scale="sqrt"):
    """Subtract the background, divide by the mean over the covered bins, compress.

    Parameters
    ----------
    profiles : Tensor of shape (n, n_bins)
    background_width : float or None
        Half width of the SNIP window in bins; None subtracts nothing.
    scale : {"linear", "sqrt", "log"}
        I, sqrt(I) or log(1 + I) of the intensity in units of its mean. A profile that goes below 0, as after
        the subtraction of a dark level, is raised by its lowest value first.

    Returns
    -------
    Tensor of shape (n, n_bins)
    """
    if background_width is None:
        profiles = profiles - profiles.nan_to_num(torch.inf).amin(1, keepdim=True).clamp_max(0)
    else:
        profiles = (profiles - snip(profiles, background_width)).clamp_min(0)
    mean = profiles.nanmean(1, keepdim=True)
    profiles = profiles / torch.where(mean > 0, mean, 1)
    return {"linear": torch.clone, "sqrt": torch.sqrt, "log": torch.log1p}[scale](profiles)
