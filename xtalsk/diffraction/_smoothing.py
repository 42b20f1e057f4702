"""Gaussian smoothing as matrix products: pure functions in torch, for any device."""

from functools import lru_cache

import torch

_CACHED_SIZE = 1024  # rows of the largest matrix that is kept in memory, 4 MB in single precision


def gaussian_band(size, sigma, dtype, device):
    """Build the matrix that convolves profiles with a Gaussian.

    The last 64 matrices of up to 1024 rows are kept in memory; larger ones are built for each call.

    Parameters
    ----------
    size : int
        Number of bins or pixels.
    sigma : float
        Standard deviation in bins or pixels; the kernel ends at three standard deviations.
    dtype : torch.dtype
    device : torch.device

    Returns
    -------
    Tensor of shape (size, size)
        Symmetric. Its middle row has the sum 1.
    """
    build = _cached_band if size <= _CACHED_SIZE else _build_band
    return build(size, sigma, dtype, device)


def _build_band(size, sigma, dtype, device):
    """Lay one kernel along the diagonals of a matrix, (size, size)."""
    distance = torch.arange(1 - size, size, dtype=dtype, device=device)
    kernel = torch.exp(-0.5 * (distance / sigma) ** 2) * (distance.abs() <= 3 * sigma)
    first = size - 1 - size // 2
    return (kernel / kernel[first : first + size].sum()).unfold(0, size, 1).flip(0)


_cached_band = lru_cache(maxsize=64)(_build_band)


def smooth_images(images, sigma):
    """Smooth images (n, h, w) by a Gaussian of ``sigma`` pixels; pixels outside the image count as 0."""
    rows, columns = (gaussian_band(n, sigma, images.dtype, images.device) for n in images.shape[1:])
    return rows @ images @ columns


def smooth_valid(images, valid, sigma):
    """Gaussian-weighted mean over valid pixels around each pixel of images (n, h, w), ``sigma`` in pixels."""
    return smooth_images(images * valid, sigma) / smooth_images(valid, sigma).clamp_min(1e-6)
