"""Statistics along rings: means of sectors of an image and their median, on batched tensors of any device.

Few large grains make spots on rings, and many small ones make the rest of a ring. The median over sectors
leaves out the spots; what the mean has above the median holds them.
"""

import torch
from torch.nn import functional as F

from xtalsk.diffraction._constants import (
    MIN_RING_SHARE,
    MIN_SECTORS,
    N_SECTORS,
    RADIAL_KERNEL,
    RADII_PER_PIXEL,
)
from xtalsk.diffraction._functional import (
    interpolate_sums,
    ring_areas,
    sum_on_radii,
)
from xtalsk.diffraction._polar import ring_radius
from xtalsk.diffraction._smoothing import gaussian_band
from xtalsk.utils._threads import is_plain

STATISTICS = ("mean", "median", "spots")


def along_rings(images, geometry, pixel_size, edges, mean, statistic):
    """Statistic of the intensity along the ring of each bin of q.

    Parameters
    ----------
    images, geometry, pixel_size, edges
        As of `_functional.radial_mean`.
    mean : Tensor of shape (n, n_bins)
        Mean of each ring, NaN in bins that are left out.
    statistic : {"mean", "median", "spots"}
        "mean" is the mean over the pixels of the ring, "median" the median of the means of its sectors, and
        "spots" what the mean has above the median.

    Returns
    -------
    Tensor of shape (n, n_bins)
        NaN where the mean is NaN or, except for "mean", in bins recorded in fewer than three sectors.
    """
    if statistic == "mean":
        return mean
    median = median_of_sectors(images, geometry, pixel_size, edges)
    median = torch.where(mean.isnan(), torch.nan, median)
    return median if statistic == "median" else (mean - median).clamp_min(0)


def median_of_sectors(images, geometry, pixel_size, edges):
    """Return the median of the means of sectors in bins of q, Tensor (n, n_bins); the lower of two."""
    if is_plain(images):
        from xtalsk.diffraction import _compiled_radial as compiled

        return compiled.median_of_sectors(compiled.sector_means(images, geometry, pixel_size, edges))
    means = sector_means_of_tensors(images, geometry, pixel_size, edges)
    count = (~means.isnan()).sum(1)
    return torch.where(count >= MIN_SECTORS, means.nanmedian(1).values, torch.nan)


def sector_means_of_tensors(images, geometry, pixel_size, edges):
    """Mean intensity of each sector in bins of q, for a batch at once, on any device.

    Returns
    -------
    Tensor of shape (n, N_SECTORS, n_bins)
        NaN where less than a twentieth of the ring in the sector was recorded.
    """
    n = len(images)
    radius = ring_radius(images.shape[1:], geometry.center, geometry.ellipticity).flatten(1) * RADII_PER_PIXEL
    n_radii = int(radius.max()) + 3
    sector = _sector(images.shape[1:], geometry.center).flatten(1)
    offset = sector * n_radii
    sums = sum_on_radii(images, geometry.valid, radius, N_SECTORS * n_radii, offset)
    band = gaussian_band(n_radii, RADIAL_KERNEL * RADII_PER_PIXEL, images.dtype, images.device)
    smooth = sums.view(2, n * N_SECTORS, n_radii) @ band
    cumulative = F.pad(smooth.double().cumsum(2), (1, 0))
    position = (edges / pixel_size.double()[:, None] * RADII_PER_PIXEL + 0.5).repeat_interleave(N_SECTORS, 0)
    total, n_pixels = interpolate_sums(cumulative, position.clamp(0, n_radii - 0.001)).diff(dim=2)
    recorded = n_pixels > MIN_RING_SHARE / N_SECTORS * ring_areas(position - 0.5)
    return torch.where(recorded, total / n_pixels, torch.nan).to(images.dtype).view(n, N_SECTORS, -1)


def _sector(size, center):
    """Sector of each pixel, (n, h, w): equal steps of an angle that is linear between the axes."""
    h, w = size
    y = torch.arange(h, dtype=center.dtype, device=center.device)[:, None] - center[:, :1, None]
    x = torch.arange(w, dtype=center.dtype, device=center.device) - center[:, 1:, None]
    along = y / (y.abs() + x.abs()).clamp_min(1e-6)
    angle = torch.where(x >= 0, along, 2 - along) + 1  # from 0 to 4, linear between the axes
    return (angle * (N_SECTORS / 4)).long() % N_SECTORS
