"""The search for the geometry on a CPU, image by image with compiled loops: the twin of `_geometry`.

It computes the same, in single precision, and leaves out what cannot change the result: it smooths the image
again only if the shadow has changed, and skips the shadow where there is none.
"""

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import scipy.fft
import torch

from xtalsk.diffraction import _constants as tuned
from xtalsk.diffraction import _geometry_kernels as kernels
from xtalsk.diffraction import _refinement_kernels as refinement_kernels
from xtalsk.diffraction import _shadow_kernels as shadow_kernels
from xtalsk.diffraction._polar import ring_directions
from xtalsk.diffraction._ring_center import NEAR
from xtalsk.diffraction._smoothing import gaussian_band
from xtalsk.utils._threads import for_each

_CPU = torch.device("cpu")
N_BEST = 3  # centres of the coarse grid around which all centres are compared
_NO_ELLIPSE = np.zeros(2, np.float32)


class _Reduced(NamedTuple):
    """Reduced images of electrons, their valid pixels (1 or 0), and the smoothed level of the smaller one."""

    small: np.ndarray
    small_valid: np.ndarray
    half: np.ndarray
    half_valid: np.ndarray
    level: np.ndarray


def find_geometries(images, valid, center, ellipticity, max_offset):
    """Find the geometry of float32 images (n, h, w) on a CPU; see `_geometry.find_geometry`.

    Returns
    -------
    center, ellipticity, valid : Tensors of shape (n, 2), (n, 2) and (n, h, w)
    """
    images, valid, center = (values.numpy() for values in (images.contiguous(), valid, center))
    found = for_each(lambda i: _find(images[i], valid[i], center[i], ellipticity, max_offset), len(images))
    return tuple(torch.from_numpy(np.stack(values)) for values in zip(*found, strict=True))


def reject_defects(images, valid):
    """Return ``valid`` (n, h, w) without hot and dead pixels; see `_geometry.reject_defects`."""
    images, valid = images.contiguous().numpy(), valid.numpy()
    return torch.from_numpy(np.stack(for_each(lambda i: _sound(images[i], valid[i]), len(images))))


def _sound(image, valid):
    """Return the valid pixels of one image without hot and dead ones."""
    sound = np.empty(image.shape, bool)
    kernels.reject_defects(
        image,
        valid,
        np.float32(tuned.DEFECT_SPREADS),
        np.float32(tuned.DEFECT_SIGMA),
        np.float32(tuned.DEAD_NEIGHBOUR),
        sound,
    )
    return sound


def _find(image, valid, known_center, ellipticity, max_offset):
    """Centre, ellipticity and valid pixels of one image; ``known_center`` is NaN if it is to be found."""
    valid = _sound(image, valid)
    factor = -(-max(image.shape) // tuned.FINE_SIZE)
    reduced = _reduce(image, valid, factor)
    is_known = not np.isnan(known_center).any()
    if is_known:
        start = _rescale(known_center, 1 / factor)
    else:
        start = _rescale(_coarse_center(reduced, max_offset), 2)
    position, shape = start.astype(np.float32), _NO_ELLIPSE
    if ellipticity or not is_known:
        position, shape = _refine(reduced, position, not is_known, ellipticity)
    shadow = _shadow(reduced, _rescale(position, 1 / 2), shape, 1)
    if shadow is not None:
        valid = valid & ~_enlarge(shadow, 2 * factor, image.shape)
    return _rescale(position, factor).astype(np.float32), shape.astype(np.float32), valid


def _rescale(center, factor):
    return ((center + np.float32(0.5)) * np.float32(factor) - np.float32(0.5)).astype(np.float32)


def _enlarge(mask, factor, shape):
    return mask.repeat(factor, 0).repeat(factor, 1)[: shape[0], : shape[1]]


def _reduce(image, valid, factor):
    """Reduced images of one image, `_Reduced`."""
    small, small_valid = _downsample(image, valid, factor)
    kernels.to_electrons(small, small_valid, tuned.DARK_BLOCK, np.float32(tuned.DARK_BLOCK_SHARE))
    half, half_valid = _downsample(small, small_valid > 0, 2)
    sigma = max(half.shape) / tuned.SHADOW_SMOOTHING
    return _Reduced(small, small_valid, half, half_valid, _smooth_valid(half, half_valid, sigma))


def _downsample(image, valid, factor):
    """Means over the valid pixels of blocks; 1 for blocks valid by half, else 0."""
    shape = tuple(-(-n // factor) for n in image.shape)
    means, shares = np.empty(shape, np.float32), np.empty(shape, np.float32)
    kernels.block_means(image, valid, factor, means, shares)
    return means, (shares > 0.5).astype(np.float32) if factor > 1 else shares


@lru_cache(maxsize=64)
def _kernel(sigma):
    """Gaussian of unit sum that ends at three standard deviations."""
    distance = np.arange(-int(3 * sigma), int(3 * sigma) + 1, dtype=np.float32)
    kernel = np.exp(-0.5 * (distance / np.float32(sigma)) ** 2)
    return kernel / kernel.sum()


def _smooth(image, sigma):
    """Smooth one image by a Gaussian: narrow ones by loops, wide ones by matrix products."""
    if 3 * sigma < 8:
        out = np.empty_like(image)
        kernels.smooth(image, _kernel(sigma), out)
        return out
    rows, columns = (gaussian_band(n, sigma, torch.float32, _CPU).numpy() for n in image.shape)
    return rows @ image @ columns


@lru_cache(maxsize=64)
def _smooth_ones(shape, sigma):
    """Smooth an image of ones."""
    return np.maximum(_smooth(np.ones(shape, np.float32), sigma), np.float32(1e-6))


def _smooth_valid(image, valid, sigma):
    """Gaussian-weighted mean over the valid pixels around each pixel of one image."""
    if valid.all():
        return _smooth(image, sigma) / _smooth_ones(image.shape, sigma)
    return _smooth(image * valid, sigma) / np.maximum(_smooth(valid, sigma), np.float32(1e-6))


def _flatten(image, valid, sigma):
    """Subtract the diffuse background and smooth by ``sigma`` pixels."""
    wide = max(image.shape) * tuned.FLAT_WIDTH
    return (_smooth_valid(image, valid, sigma) - _smooth_valid(image, valid, wide)) * valid


def _shadow(reduced, center, ellipticity, slack):
    """Pixels of the half image in the shadow of a beam stop, bool, or None if there is none."""
    sigma = max(reduced.half.shape) / tuned.SHADOW_SMOOTHING
    dark, n_dark = shadow_kernels.find_shadow(
        reduced.level,
        reduced.half_valid,
        center,
        ellipticity,
        np.float32(tuned.SHADOW_SIGMA / math.sqrt(4 * math.pi * sigma**2)),
        slack,
        _kernel(tuned.SOLID_SMOOTHING),
        _kernel(tuned.GROWN_SMOOTHING),
    )
    return dark if n_dark else None


def _is_same(a, b):
    """Return whether two shadows are equal; None is no shadow."""
    return a is b if a is None or b is None else np.array_equal(a, b)


def _coarse_center(reduced, max_offset):
    """Centre (2,) of the half image by inversion symmetry or by rings, without the pixels in shadow."""
    center = _bright_center(reduced.half, reduced.half_valid)
    root, before, flat = np.sqrt(reduced.half), None, None
    for slack in tuned.COARSE_SLACKS:
        shadow = _shadow(reduced, center, _NO_ELLIPSE, slack)
        if flat is None or not _is_same(shadow, before):
            unshadowed = reduced.half_valid if shadow is None else reduced.half_valid * ~shadow
            flat = _flatten(root, unshadowed, tuned.COARSE_SMOOTHING)
            center = _inversion_center(flat, unshadowed, max_offset)
        before = shadow
    return _ring_center(root, unshadowed.astype(np.float32), center, max_offset)


def _ring_center(root, valid, center, max_offset):
    """Return the better of a centre (2,) and the best one on a grid; see `_ring_center.ring_center`."""
    level = _smooth_valid(root, valid, tuned.COARSE_SMOOTHING)
    level = (level - (level * valid).sum() / max(valid.sum(), 1)) * valid
    best = _best_of_grid(_pool(level), _pool(valid), root.shape, max_offset)
    sums = _ring_sums(level, valid, np.concatenate([best + NEAR.numpy(), center[None]]))
    explained = sums[:-1].max()
    rest = (level**2).sum() - explained
    if explained - sums[-1] > tuned.RING_CENTER_GAIN * rest:
        return best + NEAR.numpy()[sums[:-1].argmax()]
    return center


def _pool(image):
    """Means over 2 x 2 pixels of an image."""
    shape = tuple(-(-n // 2) for n in image.shape)
    means, shares = np.empty(shape, np.float32), np.empty(shape, np.float32)
    kernels.block_means(image, _all_true(image.shape), 2, means, shares)
    return means


@lru_cache(maxsize=8)
def _all_true(shape):
    return np.ones(shape, bool)


def _best_of_grid(pooled, valid, shape, max_offset):
    """Return the best centre of the grid (2,), in an image of ``shape`` that was pooled.

    The search compares every second centre along both axes, and all centres beside the best of these.
    """
    lows, uppers, coarse, reach = _search_table(shape, max_offset)
    best = coarse[np.argsort(_table_sums(pooled, valid, lows, uppers, reach - coarse))[-N_BEST:]]
    fine = np.clip((best[:, None] + NEAR.numpy().astype(int)).reshape(-1, 2), -reach, reach)
    step = fine[_table_sums(pooled, valid, lows, uppers, reach - fine).argmax()]
    return ((np.array(shape) - 1) / 2 + 2 * step).astype(np.float32)


@lru_cache(maxsize=8)
def _search_table(shape, max_offset):
    """Distances of pixels of the pooled image from its middle, in a frame wider by the reach of the search.

    Returns
    -------
    lows, uppers : ndarray of shape (h, w)
        Whole part, int32, and fractional part, float32, of the distances.
    coarse : int ndarray of shape (n, 2)
        Every second step of the grid, in pixels of the pooled image.
    reach : int ndarray of shape (2,)
        Largest steps.
    """
    reach = np.array([int(max_offset * n / 2) for n in shape])
    y, x = (np.arange(-(-n // 2) + 2 * r) - r - (n / 4 - 0.5) for n, r in zip(shape, reach, strict=True))
    radius = np.sqrt(y[:, None] ** 2 + x**2).astype(np.float32)
    lows = radius.astype(np.int32)
    steps = [2 * np.arange(-(r // 2), r // 2 + 1) for r in reach]
    coarse = np.stack(np.meshgrid(*steps, indexing="ij"), -1).reshape(-1, 2)
    return lows, (radius - lows).astype(np.float32), coarse, reach


def _table_sums(image, valid, lows, uppers, shifts):
    """Sum of squares that rings around centres explain, (n,); see `_geometry_kernels.ring_sums_by_table`."""
    out = np.empty(len(shifts), np.float32)
    kernels.ring_sums_by_table(image, valid, lows, uppers, shifts, out)
    return out


def _ring_sums(image, valid, centers):
    """Sum of squares that rings around each centre (n, 2) explain of one image, (n,)."""
    out = np.empty(len(centers), np.float32)
    kernels.ring_sums(image, valid, centers.astype(np.float32), out)
    return out


def _bright_center(image, valid):
    """Centre (2,) of the bright region, by mean shift."""
    h, w = image.shape
    y, x = np.arange(h, dtype=np.float32), np.arange(w, dtype=np.float32)
    center = np.array([(h - 1) / 2, (w - 1) / 2], np.float32)
    weight = np.maximum(image, 0) * valid
    for _ in range(tuned.BRIGHT_STEPS):
        wy = np.exp(np.float32(-0.5) * ((y - center[0]) / np.float32(h * tuned.BRIGHT_WINDOW)) ** 2)
        wx = np.exp(np.float32(-0.5) * ((x - center[1]) / np.float32(w * tuned.BRIGHT_WINDOW)) ** 2)
        rows, columns = (weight @ wx) * wy, (wy @ weight) * wx
        center = np.array([rows @ y, columns @ x]) / max(rows.sum(), 1e-12)
        center = center.astype(np.float32)
    return center


@lru_cache(maxsize=8)
def _transform_of_ones(shape, size):
    """Fourier transform of an image of ones, and the overlap with its turned copies."""
    transform = scipy.fft.rfft2(np.ones(shape, np.float32), size)
    return transform, np.maximum(scipy.fft.irfft2(transform**2, size), np.float32(1))


def _inversion_center(image, valid, max_offset):
    """Centre (2,) of inversion symmetry; see `_geometry.inversion_center`."""
    h, w = image.shape
    margin = 2 * max_offset
    size = (int(h * (1 + margin)) // 2 * 2 + 2, int(w * (1 + margin)) // 2 * 2 + 2)
    centred = (image - (image * valid).sum() / max(valid.sum(), 1)) * valid
    f1, f2 = scipy.fft.rfft2(centred, size), scipy.fft.rfft2(centred**2, size)
    if valid.all():
        fm, overlap = _transform_of_ones(valid.shape, size)
    else:
        fm = scipy.fft.rfft2(valid, size)
        overlap = np.maximum(scipy.fft.irfft2(fm**2, size), np.float32(1))
    total, cross, square = (scipy.fft.irfft2(f, size) for f in (f1 * fm, f1**2, f2 * fm))
    rows, columns = (
        (max(0, math.ceil(n - 1 - margin * n)), min(length, int(n + margin * n)) - 1)
        for n, length in zip((h, w), size, strict=True)
    )
    best = kernels.best_symmetry(cross, square, total, overlap, rows, columns, np.float32(h * w))
    return (np.array(best) / 2).astype(np.float32)


def _refine(reduced, start, has_free_center, has_free_ellipse):
    """Centre and ellipticity (2,) of the small image, refined from the centre ``start``."""
    root, before, flat = np.sqrt(reduced.small), None, None
    begin, functions = np.array([*start, 0, 0], float), angular_functions(tuned.N_ANGLES)
    parameters, free = begin, np.zeros(4)
    free[:2] = has_free_center
    for stage, spread in enumerate(tuned.SPREADS):
        free[2:] = has_free_ellipse and stage > 0
        position, shape = _split(parameters)
        shadow = _shadow(reduced, _rescale(position, 1 / 2), shape, 2 if stage == 0 else 1)
        if flat is None or not _is_same(shadow, before):
            unshadowed = _unshadowed(reduced.small_valid, shadow)
            flat = _flatten(root, unshadowed, tuned.REFINE_SMOOTHING) * unshadowed
            is_whole = bool(unshadowed.all())
        before = shadow
        parameters = refinement_kernels.refine(
            flat, unshadowed, is_whole, parameters, free, spread, _kernel(spread), *functions
        )
        if (np.abs(parameters - begin)[:2] > tuned.MAX_SHIFT).any():
            parameters = begin
    return _split(parameters)


def _split(parameters):
    """Centre and ellipticity, float32 (2,) each, from the parameters (4,)."""
    return parameters[:2].astype(np.float32), parameters[2:].astype(np.float32)


def _unshadowed(valid, shadow):
    """Return the valid pixels of the small image outside the shadow and its rim, 1 or 0."""
    if shadow is None:
        return valid
    guarded = _smooth(shadow.astype(np.float32), tuned.RIM_SMOOTHING) > tuned.RIM_LEVEL
    return valid * ~_enlarge(guarded, 2, valid.shape)


@lru_cache(maxsize=4)
def angular_functions(n_angles):
    """Directions, shapes, and the angular functions (n_angles, 4) with their products (n_angles, 16)."""
    direction, shape = (values.numpy() for values in ring_directions(n_angles, torch.float32, _CPU))
    basis = np.concatenate([direction, shape]).T.copy()
    return direction, shape, basis, (basis[:, :, None] * basis[:, None, :]).reshape(n_angles, 16)
