"""Intensity against q from images and powder scans: pure functions on batched tensors, for any device.

The transformers of this room call these functions for NumPy cells. Streams call them on the training device,
so that training and use see the same numbers. Bins without a measurement are NaN.
"""

import torch
from torch.nn import functional as F

from xtalsk.diffraction._constants import (
    MAX_GAP,
    MIN_BIN_SHARE,
    MIN_RING_SHARE,
    RADIAL_KERNEL,
    RADII_PER_PIXEL,
    ROUNDING_STEPS,
    SNIP_SMOOTHING,
)
from xtalsk.diffraction._polar import ring_radius
from xtalsk.diffraction._smoothing import gaussian_band
from xtalsk.utils._first_answer import is_compiled_or_worth_it
from xtalsk.utils._threads import is_plain

_KERNELS = "xtalsk.diffraction._radial_kernels", "xtalsk.diffraction._scan_kernels"


def bin_edges(n_bins, q_range, device):
    """Edges of ``n_bins`` equal bins of q in 1/Å, a float64 Tensor of shape (n_bins + 1,)."""
    return torch.linspace(*q_range, n_bins + 1, dtype=torch.float64, device=device)


def two_theta_to_q(two_theta, wavelength):
    """Convert 2θ in degrees to q = 1/d = 2 sin θ / λ (Bragg) in 1/Å, with λ in Å; tensors or arrays."""
    return 2 * torch.sin(torch.deg2rad(torch.as_tensor(two_theta, dtype=torch.float64)) / 2) / wavelength


def radial_mean(images, geometry, pixel_size, edges):
    """Mean intensity per pixel in bins of q.

    Intensities are summed on fine radii, eight to a pixel. Each pixel is divided between the two nearest fine
    radii, by its distance to each. A Gaussian of 0.35 pixels then smooths the sums of intensity and the
    numbers of pixels, because a pixel has an extent; bins narrower than a pixel thus get values too. Both are
    added up over each bin and divided at the end.

    The geometry is that of small angles: q is proportional to the radius, within 0.04% at q = 1.25 1/Å for
    200 keV electrons.

    Parameters
    ----------
    images : Tensor of shape (n, h, w)
        Intensities.
    geometry : Geometry
        Centres, ellipticities and valid pixels of the images.
    pixel_size : Tensor of shape (n,)
        Width of a pixel in 1/Å.
    edges : Tensor of shape (n_bins + 1,)
        Edges of the bins in 1/Å, equally spaced.

    Returns
    -------
    Tensor of shape (n, n_bins)
        NaN where less than a twentieth of the ring was recorded.
    """
    if is_plain(images):
        from xtalsk.diffraction._compiled_radial import radial_means

        return radial_means(images, geometry, pixel_size, edges)
    return radial_mean_of_tensors(images, geometry, pixel_size, edges)


def radial_mean_of_tensors(images, geometry, pixel_size, edges):
    """Compute what `radial_mean` returns, for a batch at once, on any device."""
    radius = ring_radius(images.shape[1:], geometry.center, geometry.ellipticity).flatten(1) * RADII_PER_PIXEL
    last = int(radius.max()) + 2
    sums = sum_on_radii(images, geometry.valid, radius, last + 1)
    band = gaussian_band(last + 1, RADIAL_KERNEL * RADII_PER_PIXEL, images.dtype, images.device)
    cumulative = F.pad((sums @ band).double().cumsum(2), (1, 0))
    position = edges / pixel_size.double()[:, None] * RADII_PER_PIXEL + 0.5
    total, n_pixels = interpolate_sums(cumulative, position.clamp(0, last + 0.999)).diff(dim=2)
    recorded = n_pixels > MIN_RING_SHARE * ring_areas(position - 0.5)
    return torch.where(recorded, total / n_pixels, torch.nan).to(images.dtype)


def sum_on_radii(images, valid, radius, n_radii, offset=0):
    """Sum intensities and numbers of valid pixels on fine radii, (2, n, n_radii).

    ``offset`` (n, h * w) is added to the place of a pixel, for sums of parts of an image.
    """
    low = radius.long()
    first = low + offset
    weight = valid.flatten(1).to(images.dtype)
    upper = (radius - low) * weight
    lower = weight - upper
    intensity = torch.where(valid, images, 0).flatten(1)
    sums = images.new_zeros(2, len(images), n_radii)
    for share, index in ((lower, first), (upper, first + 1)):
        sums[0].scatter_add_(1, index, share * intensity)
        sums[1].scatter_add_(1, index, share)
    return sums


def interpolate_sums(cumulative, position):
    """Values of cumulative sums (2, n, m) at fractional positions (n, n_edges), (2, n, n_edges)."""
    first = position.long()
    part = position - first
    low = cumulative.gather(2, first.expand(2, -1, -1))
    return low + part * (cumulative.gather(2, (first + 1).expand(2, -1, -1)) - low)


def ring_areas(radii):
    """Areas of full rings between neighbouring fine radii (n, n_edges), in pixels, (n, n_bins)."""
    outer, inner = radii[:, 1:], radii[:, :-1].clamp_min(0)
    return torch.pi * (outer**2 - inner**2) / RADII_PER_PIXEL**2


def bin_mean(q, intensity, edges):
    """Mean over each bin of the straight lines between the points of a scan.

    Narrow bins interpolate and wide bins average; the area under the scan is kept. Two neighbouring points
    leave a gap if their distance exceeds ten times the median step, or if one of them is NaN.

    Parameters
    ----------
    q : float64 Tensor of shape (n, m)
        Positions in 1/Å, increasing.
    intensity : float64 Tensor of shape (n, m)
        Intensities, NaN where they were not measured.
    edges : float64 Tensor of shape (n_bins + 1,)
        Edges of the bins in 1/Å.

    Returns
    -------
    float64 Tensor of shape (n, n_bins)
        NaN where less than half of a bin is covered.
    """
    is_possible = q.device.type == "cpu" and q.dtype == intensity.dtype == torch.float64
    if is_possible and is_compiled_or_worth_it(_KERNELS[1], len(q)):
        from xtalsk.diffraction._compiled_scans import bin_means

        return bin_means(q, intensity, edges)
    return bin_mean_of_tensors(q, intensity, edges)


def bin_mean_of_tensors(q, intensity, edges):
    """Compute what `bin_mean` returns, for a batch at once, on any device."""
    step = q.diff(dim=1)
    left, right = intensity[:, :-1], intensity[:, 1:]
    usual_step = step.median(1, keepdim=True).values
    measured = ~(left.isnan() | right.isnan()) & (step <= MAX_GAP * usual_step)
    left, right = torch.where(measured, left, 0), torch.where(measured, right, 0)
    area = F.pad(((left + right) / 2 * step).cumsum(1), (1, 0))
    length = F.pad((step * measured).cumsum(1), (1, 0))
    position = edges.clamp(q[:, :1], q[:, -1:])
    index = (torch.searchsorted(q, position, right=True) - 1).clamp(0, q.shape[1] - 2)
    along = position - q.gather(1, index)
    y = left.gather(1, index)
    slope = (right.gather(1, index) - y) / step.gather(1, index)
    total = (area.gather(1, index) + along * (y + slope * along / 2)).diff(dim=1)
    covered = (length.gather(1, index) + along * measured.gather(1, index)).diff(dim=1)
    return torch.where(covered > MIN_BIN_SHARE * edges.diff(), total / covered, torch.nan)


def bin_operator(q, edges):
    """Matrix form of `bin_mean` for scans that share one axis.

    Parameters
    ----------
    q : float64 Tensor of shape (m,)
        Positions in 1/Å, increasing.
    edges : float64 Tensor of shape (n_bins + 1,)
        Edges of the bins in 1/Å.

    Returns
    -------
    float64 Tensor of shape (m, n_bins)
        ``intensity @ matrix`` is the binned scan. Columns of bins of which less than half is covered are NaN.
    """
    chunks = torch.arange(len(q), device=q.device).split(256)
    units = (F.one_hot(rows, len(q)).to(q) for rows in chunks)
    return torch.cat([bin_mean(q.expand(len(unit), -1).contiguous(), unit, edges) for unit in units])


def smooth_profiles(profiles, sigma):
    """Gaussian-weighted mean along the bins, ``sigma`` in bins; NaN is excluded and stays NaN."""
    measured = ~profiles.isnan()
    band = gaussian_band(profiles.shape[1], sigma, profiles.dtype, profiles.device)
    mean = (torch.where(measured, profiles, 0) @ band) / (measured.to(profiles.dtype) @ band).clamp_min(1e-12)
    return torch.where(measured, mean, torch.nan)


def fill_gaps(profiles):
    """Replace NaN by linear interpolation; before the first value and after the last one, by that value."""
    n_bins = profiles.shape[1]
    bins = torch.arange(n_bins, device=profiles.device).expand_as(profiles)
    measured = ~profiles.isnan()
    before = torch.where(measured, bins, -1).cummax(1).values
    after = torch.where(measured, bins, n_bins).flip(1).cummin(1).values.flip(1)
    before, after = torch.where(before < 0, after, before), torch.where(after == n_bins, before, after)
    before, after = before.clamp(0, n_bins - 1), after.clamp(0, n_bins - 1)
    part = ((bins - before) / (after - before).clamp_min(1)).to(profiles.dtype)
    values = torch.where(measured, profiles, 0)
    return values.gather(1, before) * (1 - part) + values.gather(1, after) * part


def snip(profiles, width):
    """Background by SNIP, statistics-sensitive non-linear iterative peak clipping.

    In each step every value is clipped to the mean of the two values a distance p away; p falls from
    ``width`` to 1. The method is that of Ryan et al., Nucl. Instrum. Methods B 34, 396 (1988), with the
    decreasing window of Morháč et al., Nucl. Instrum. Methods A 401, 113 (1997). It works on the square root
    of the smoothed intensity above the lowest value.

    Parameters
    ----------
    profiles : Tensor of shape (n, n_bins)
        Intensities; NaN where nothing was measured.
    width : float
        Half width of the largest window in bins.

    Returns
    -------
    Tensor of shape (n, n_bins)
        NaN stays NaN.
    """
    is_possible = profiles.device.type == "cpu" and profiles.dtype in (torch.float32, torch.float64)
    if is_possible and is_compiled_or_worth_it(_KERNELS[0], len(profiles)):
        from xtalsk.diffraction._compiled_radial import snip_profiles

        return snip_profiles(profiles, width)
    return snip_of_tensors(profiles, width)


def snip_of_tensors(profiles, width):
    """Compute what `snip` returns, for a batch at once, on any device."""
    floor = fill_gaps(profiles).amin(1, keepdim=True)
    measured = ~profiles.isnan()
    within = (measured.cumsum(1) > 0) & (measured.flip(1).cumsum(1).flip(1) > 0)
    level = (fill_gaps(smooth_profiles(profiles, SNIP_SMOOTHING)) - floor).clamp_min(0).sqrt()
    level = torch.where(within, level, torch.inf)  # no value is clipped to bins beyond the measured ends
    for p in range(min(int(width), (profiles.shape[1] - 1) // 2), 0, -1):
        clipped = (level[:, : -2 * p] + level[:, 2 * p :]) / 2
        level = torch.cat([level[:, :p], torch.minimum(level[:, p:-p], clipped), level[:, -p:]], 1)
    return torch.where(profiles.isnan(), torch.nan, level**2 + floor)


def condition(profiles, background_width=None, scale="sqrt"):
    """Subtract the background, divide by the mean over the covered bins, compress.

    What the background leaves of a flat profile is rounding noise: it is set to 0, not divided by its mean.

    Parameters
    ----------
    profiles : Tensor of shape (n, n_bins)
        Intensities; NaN where nothing was measured.
    background_width : float or None
        Half width of the SNIP window in bins; None subtracts nothing.
    scale : {"linear", "sqrt", "log"}
        I, sqrt(I) or log(1 + I) of the intensity I in units of its mean. With ``background_width=None``, a
        profile with values below 0 (a subtracted dark level leaves them) is first raised until its lowest
        value is 0.

    Returns
    -------
    Tensor of shape (n, n_bins)
        NaN stays NaN.
    """
    return compress(subtract_background(profiles, background_width), scale)


def subtract_background(profiles, background_width):
    """Return the intensity above the background, at least 0; arguments as of `condition`."""
    if background_width is None:
        return profiles - profiles.nan_to_num(torch.inf).amin(1, keepdim=True).clamp_max(0)
    level = profiles.abs().nan_to_num(0.0).amax(1, keepdim=True)
    profiles = (profiles - snip(profiles, background_width)).clamp_min(0)
    highest = profiles.nan_to_num(0.0).amax(1, keepdim=True)
    return profiles * (highest > ROUNDING_STEPS * torch.finfo(profiles.dtype).eps * level)


def compress(profiles, scale):
    """Divide intensities by the mean over the covered bins and compress them; arguments as of `condition`."""
    mean = profiles.nanmean(1, keepdim=True)
    profiles = profiles / torch.where(mean > 0, mean, 1)
    return {"linear": torch.clone, "sqrt": torch.sqrt, "log": torch.log1p}[scale](profiles)
