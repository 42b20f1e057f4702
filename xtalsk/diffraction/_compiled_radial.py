"""Radial means and backgrounds on a CPU, one by one with compiled loops: the twins of `_functional`."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch

from xtalsk.diffraction import _radial_kernels as kernels
from xtalsk.diffraction._constants import (
    HALO_CONTRAST,
    HALO_REACH,
    HALO_RISE,
    HALO_SMOOTHING,
    HALO_START,
    HALO_TOP,
    MIN_RING_SHARE,
    MIN_SECTORS,
    N_SECTORS,
    RADIAL_KERNEL,
    RADII_PER_PIXEL,
    SATURATED_CORE,
    SATURATED_PIXELS,
    SATURATED_RING,
    SNIP_SMOOTHING,
)
from xtalsk.utils._threads import for_each


class _Table(NamedTuple):
    """Look-up table of one geometry: what each pixel adds to the fine radii, see `sum_in_order`.

    ``numbers`` (n_radii,) holds the numbers of valid pixels.
    """

    order: np.ndarray
    upper: np.ndarray
    starts: np.ndarray
    numbers: np.ndarray


@lru_cache(maxsize=8)
def gaussian(sigma, dtype):
    """Gaussian of unit sum that ends at three standard deviations."""
    distance = np.arange(-int(3 * sigma), int(3 * sigma) + 1, dtype=dtype)
    kernel = np.exp(-0.5 * (distance / sigma) ** 2)
    return (kernel / kernel.sum()).astype(dtype)


def _largest_radius(shape, center, ellipticity):
    """Largest radius in an image, in fine radii, at least."""
    corner = np.hypot(*(max(abs(c), abs(n - 1 - c)) for c, n in zip(center, shape, strict=True)))
    return int(corner / (1 - np.abs(ellipticity).sum()) * RADII_PER_PIXEL) + 2


def radial_means(images, geometry, pixel_size, edges):
    """Mean intensity of float32 images (n, h, w) on a CPU in bins of q; see `_functional.radial_mean`."""
    images, pixel_size, edges = images.contiguous().numpy(), pixel_size.double().numpy(), edges.numpy()
    center, ellipticity, valid = (values.numpy() for values in geometry)

    def mean(i):
        sums = fine_sums(images[i], valid[i], center[i], ellipticity[i])
        return _bin_means(sums[None], pixel_size[i], edges)[0]

    return torch.from_numpy(np.stack(for_each(mean, len(images))))


def fine_sums(image, valid, center, ellipticity):
    """Intensities and numbers of valid pixels of one image on fine radii, float32 ndarray (2, n_radii)."""
    sums = np.zeros((2, _largest_radius(image.shape, center, ellipticity) + 1), np.float32)
    kernels.sum_on_radii(image, valid, center, ellipticity, np.float32(RADII_PER_PIXEL), sums)
    return sums


def means_of_sums(sums, pixel_size, edges):
    """Mean intensity in bins of q, Tensor (1, n_bins), from what `fine_sums` returns; pixel_size in 1/Å."""
    return torch.from_numpy(_bin_means(sums[None], pixel_size, edges.numpy()))


def find_saturated(images, valid):
    """Find saturated pixels of float32 images (n, h, w) on a CPU; see `_halo.find_saturated`."""
    images, valid = images.contiguous().numpy(), valid.numpy()
    found = np.empty(images.shape, bool)
    for_each(
        lambda i: kernels.find_saturated(images[i], valid[i], SATURATED_PIXELS, SATURATED_CORE, found[i]),
        len(images),
    )
    return torch.from_numpy(found)


def sector_means(images, geometry, pixel_size, edges):
    """Mean intensity of each sector in bins of q, Tensor (n, N_SECTORS, n_bins); see `_sectors`."""
    images, pixel_size, edges = images.contiguous().numpy(), pixel_size.double().numpy(), edges.numpy()
    center, ellipticity, valid = (values.numpy() for values in geometry)

    def means(i):
        n_radii = _largest_radius(images.shape[1:], center[i], ellipticity[i]) + 1
        sums = np.zeros((N_SECTORS, 2, n_radii), np.float32)
        scale = np.float32(RADII_PER_PIXEL)
        kernels.sum_on_sectors(images[i], valid[i], center[i], ellipticity[i], scale, sums)
        return _bin_means(sums, pixel_size[i], edges, MIN_RING_SHARE / N_SECTORS)

    return torch.from_numpy(np.stack(for_each(means, len(images))))


def median_of_sectors(means):
    """Lower median over the sectors of means (n, N_SECTORS, n_bins), Tensor (n, n_bins); see `_sectors`."""
    means = means.numpy()
    out = np.empty((len(means), means.shape[2]), np.float32)
    for part, row in zip(means, out, strict=True):
        kernels.medians(part, MIN_SECTORS, row)
    return torch.from_numpy(out)


def _bin_means(sums, pixel_size, edges, share=MIN_RING_SHARE):
    """Means in bins of q, float32 (n_parts, n_bins), from the sums on fine radii (n_parts, 2, n_radii).

    A bin is NaN if no more than a ``share`` of its ring was recorded.
    """
    position = edges / pixel_size * RADII_PER_PIXEL
    least = share * np.pi * np.diff(np.maximum(position, 0) ** 2) / RADII_PER_PIXEL**2
    means = np.empty((len(sums), len(edges) - 1), np.float32)
    kernel = gaussian(RADIAL_KERNEL * RADII_PER_PIXEL, np.float32)
    kernels.bin_means(sums, kernel, position + 0.5, least, means)
    return means


def known_radial_means(arrays, geometry, pixel_size, edges):
    """Mean intensity in bins of q of images of one shape and of one geometry.

    Parameters
    ----------
    arrays : list of n ndarrays of shape (h, w)
        Intensities; NaN where they were not measured.
    geometry : Geometry
        Of one image.
    pixel_size : sequence of n floats
        In 1/Å.
    edges : Tensor of shape (n_bins + 1,)
        In 1/Å, equally spaced.

    Returns
    -------
    Tensor of shape (n, n_bins)
    """
    center, ellipticity, valid = (values[0].numpy() for values in geometry)
    packed = np.packbits(valid).tobytes()
    table = _table(valid.shape, tuple(center.tolist()), tuple(ellipticity.tolist()), packed)
    edges = edges.numpy()

    def mean(i):
        image = np.ascontiguousarray(arrays[i], dtype=np.float32)
        sums = np.zeros((2, len(table.numbers)), np.float32)
        kernels.sum_in_order(image.ravel(), table.order, table.upper, table.starts, sums[0])
        sums[1] = table.numbers
        if np.isnan(sums[0]).any():
            sums[:] = 0
            measured = valid & ~np.isnan(image)
            kernels.sum_on_radii(image, measured, center, ellipticity, np.float32(RADII_PER_PIXEL), sums)
        return _bin_means(sums[None], pixel_size[i], edges)[0]

    return torch.from_numpy(np.stack(for_each(mean, len(arrays))))


@lru_cache(maxsize=8)
def _table(shape, center, ellipticity, packed):
    """Look-up table of one geometry, `_Table`; ``packed`` holds the bits of its valid pixels."""
    h, w = shape
    valid = np.unpackbits(np.frombuffer(packed, np.uint8), count=h * w).astype(bool)
    center, ellipticity = np.array(center, np.float32), np.array(ellipticity, np.float32)
    radius = np.empty((h, w), np.float32)
    for y in range(h):
        kernels.radius_of_row(y, center, ellipticity, np.float32(RADII_PER_PIXEL), radius[y])
    n_radii = _largest_radius(shape, center, ellipticity) + 1
    low = np.minimum(radius.ravel().astype(np.int32), n_radii - 2)
    order = np.argsort(low, kind="stable")
    order = order[valid[order]].astype(np.int32)
    starts = np.searchsorted(low[order], np.arange(n_radii)).astype(np.int32)
    upper = (radius.ravel() - low)[order].astype(np.float32)
    numbers = np.zeros(n_radii, np.float32)
    kernels.sum_in_order(np.ones(h * w, np.float32), order, upper, starts, numbers)
    return _Table(order, upper, starts, numbers)


def snip_profiles(profiles, width):
    """Background of profiles (n, n_bins) on a CPU by SNIP; see `_functional.snip`."""
    rows = profiles.contiguous().numpy()
    kernel = gaussian(SNIP_SMOOTHING, rows.dtype)
    out = np.empty_like(rows)
    largest = min(int(width), (rows.shape[1] - 1) // 2)
    for_each(lambda i: kernels.snip_row(rows[i], kernel, largest, out[i]), len(rows))
    return torch.from_numpy(out)


def hide_halo(profiles, saturated, step):
    """Profiles (n, n_bins) on a CPU without the bins of the halo; see `_halo.hide_halo`."""
    from xtalsk.diffraction._halo_kernels import end_of_halo

    rows, hidden = profiles.contiguous().numpy(), profiles.numpy().copy()
    shares = np.array([SATURATED_RING, HALO_CONTRAST, HALO_TOP])
    limits = np.array([int(HALO_START / step), HALO_RISE / step, HALO_REACH / step])
    kernel = gaussian(HALO_SMOOTHING, np.float32)
    overflow = np.empty((len(rows), 0), np.float32) if saturated is None else saturated.contiguous().numpy()
    for i, row in enumerate(rows):
        hidden[i, : end_of_halo(row, overflow[i], kernel, limits, shares)] = np.nan
    return torch.from_numpy(hidden)
