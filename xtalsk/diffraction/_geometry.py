"""Geometry of ring patterns: the direct beam, the ellipticity of the rings, and the valid pixels.

Pure functions on batches of images of one shape, in torch, for any device. Positions are (row, column) in
pixels from the middle of the first pixel. The geometry is found in three steps:

1. A ring pattern is symmetric under inversion through the direct beam. The image therefore correlates best
   with a copy turned by 180° when both share the centre. The correlation is normalised over the pixels that
   are valid in both [1]_; it takes three Fourier transforms and four inverse ones.
2. A pixel in the shadow of a beam stop is darker than the rest of its ring (`_beam_stop`). Such pixels are
   excluded from the correlation and from the refinement. Spots of few grains break the symmetry; then the
   centre is that of the rings (`_ring_center`).
3. Centre and ellipticity are refined by least squares (`_refinement`).

References
----------
.. [1] D. Padfield, IEEE Trans. Image Process. 21, 2706 (2012), masked normalised cross-correlation.
"""

from typing import NamedTuple

import torch
from torch.nn import functional as F

from xtalsk.diffraction._beam_stop import find_shadow
from xtalsk.diffraction._constants import (
    BRIGHT_STEPS,
    BRIGHT_WINDOW,
    COARSE_SLACKS,
    COARSE_SMOOTHING,
    DARK_BLOCK,
    DARK_BLOCK_SHARE,
    DEAD_NEIGHBOUR,
    DEFECT_SIGMA,
    DEFECT_SPREADS,
    FINE_SIZE,
    FLAT_WIDTH,
    MAX_SHIFT,
    REFINE_SMOOTHING,
    RIM_LEVEL,
    RIM_SMOOTHING,
    SPREADS,
)
from xtalsk.diffraction._refinement import refine
from xtalsk.diffraction._ring_center import ring_center
from xtalsk.diffraction._smoothing import smooth_images, smooth_valid
from xtalsk.utils._threads import is_plain


class Geometry(NamedTuple):
    """Positions of the rings in each image of a batch.

    ``center`` (n, 2): row and column of the direct beam in pixels. ``ellipticity`` (n, 2): terms a and b of
    the shape 1 + a cos 2φ + b sin 2φ of a ring, with φ from the axis of the columns towards increasing rows.
    ``valid`` bool (n, h, w): pixels that recorded the pattern.
    """

    center: torch.Tensor
    ellipticity: torch.Tensor
    valid: torch.Tensor


def find_geometry(images, valid, center=None, ellipticity=True, max_offset=0.2):
    """Find centre, ellipticity and valid pixels of each image.

    Parameters
    ----------
    images : Tensor of shape (n, h, w)
        Intensities, finite.
    valid : bool Tensor of shape (n, h, w)
        Pixels that were measured.
    center : Tensor of shape (n, 2) or None
        Known centres in pixels; NaN for images whose centre is to be found.
    ellipticity : bool
        Whether to refine the ellipticity. Otherwise it is 0.
    max_offset : float
        Largest distance of the centre from the middle, as a share of the sides of the image.

    Returns
    -------
    Geometry
    """
    if center is None:
        center = images.new_full((len(images), 2), torch.nan)
    if is_plain(images):
        from xtalsk.diffraction._compiled_geometry import find_geometries

        return Geometry(*find_geometries(images, valid, center, ellipticity, max_offset))
    return find_geometry_of_tensors(images, valid, center, ellipticity, max_offset)


def find_geometry_of_tensors(images, valid, center, ellipticity, max_offset):
    """Find what `find_geometry` finds, for a batch at once, on any device."""
    valid = _reject_defects(images, valid)
    factor = -(-max(images.shape[1:]) // FINE_SIZE)
    small, small_valid = _reduce(images, valid, factor)
    half, half_valid = _downsample(small, small_valid, 2)
    is_known = ~center.isnan().any(1, keepdim=True)
    start = _rescale(torch.nan_to_num(center), 1 / factor)
    if not is_known.all():
        start = torch.where(is_known, start, _rescale(_coarse_center(half, half_valid, max_offset), 2))
    position, shape = start, torch.zeros_like(start)
    free = images.new_ones(len(images), 4)
    free[:, :2] = (~is_known).to(images.dtype)
    for stage, spread in enumerate(SPREADS if ellipticity or not is_known.all() else ()):
        free[:, 2:] = float(ellipticity and stage > 0)
        slack = 2 if stage == 0 else 1
        shadow = find_shadow(half, half_valid, _rescale(position, 1 / 2), shape, slack)
        sharp, unshadowed = _prepare_refinement(small, small_valid, shadow)
        position, shape = refine(sharp, unshadowed, position, shape, free, spread)
        has_strayed = ((position - start).abs() > MAX_SHIFT).any(1, keepdim=True)
        position, shape = torch.where(has_strayed, start, position), torch.where(has_strayed, 0, shape)
    shadow = find_shadow(half, half_valid, _rescale(position, 1 / 2), shape, slack=1)
    valid = valid & ~_enlarge(shadow, 2 * factor, images.shape)
    return Geometry(_rescale(position, factor), shape, valid)


def reject_defects(images, valid):
    """Return ``valid`` without hot and dead pixels, those far outside the range of their eight neighbours."""
    if is_plain(images):
        from xtalsk.diffraction import _compiled_geometry

        return _compiled_geometry.reject_defects(images, valid)
    return _reject_defects(images, valid)


def _reject_defects(images, valid):
    """Compute what `reject_defects` returns, for a batch at once, on any device."""
    h, w = images.shape[1:]
    highest = images.new_full(images.shape, -torch.inf)
    lowest = -highest
    above = F.pad(torch.where(valid, images, -torch.inf), (1,) * 4, value=-torch.inf)
    below = F.pad(torch.where(valid, images, torch.inf), (1,) * 4, value=torch.inf)
    for i, j in ((0, 0), (0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1), (2, 2)):
        highest = torch.maximum(highest, above[:, i : i + h, j : j + w])
        lowest = torch.minimum(lowest, below[:, i : i + h, j : j + w])
    noise = highest.clamp_min(1).sqrt()
    hot = images > highest + DEFECT_SPREADS * (highest - lowest) + DEFECT_SIGMA * noise
    dead = (images <= 0) & (lowest > DEAD_NEIGHBOUR)
    return valid & ~(hot | dead)


def _reduce(images, valid, factor):
    """Images of electrons above the dark level, ``factor`` times smaller, and their valid pixels (1 or 0)."""
    small, small_valid = _downsample(images, valid.to(images.dtype), factor)
    small = ((small - _dark_level(small, small_valid)[:, None, None]) * small_valid).clamp_min(0)
    return small / _gain(small, small_valid)[:, None, None], small_valid


def _downsample(images, valid, factor):
    """Means over the valid pixels of ``factor`` x ``factor`` blocks; 1 for blocks valid by half, else 0."""
    if factor == 1:
        return images * valid, valid
    share = F.avg_pool2d(valid[:, None], factor, ceil_mode=True, count_include_pad=False)[:, 0]
    total = F.avg_pool2d((images * valid)[:, None], factor, ceil_mode=True, count_include_pad=False)[:, 0]
    return total / share.clamp_min(1e-6), (share > 0.5).to(images.dtype)


def _dark_level(images, valid):
    """Dark level of the camera: the lowest mean over 5 x 5 valid pixels, (n,)."""
    share = F.avg_pool2d(valid[:, None], DARK_BLOCK, 2)[:, 0]
    mean = F.avg_pool2d((images * valid)[:, None], DARK_BLOCK, 2)[:, 0] / share.clamp_min(1e-6)
    return torch.where(share > DARK_BLOCK_SHARE, mean, torch.inf).flatten(1).amin(1).nan_to_num(posinf=0.0)


def _gain(images, valid):
    """Signal per electron, (n,): four times the variance of the square root, as for counting noise."""
    root = images.sqrt()
    rough = (root[:, 1:, 1:] + root[:, :-1, :-1] - root[:, 1:, :-1] - root[:, :-1, 1:]) / 2
    whole = valid[:, 1:, 1:] * valid[:, :-1, :-1] * valid[:, 1:, :-1] * valid[:, :-1, 1:]
    return 4 * ((rough**2 * whole).sum((1, 2)) / whole.sum((1, 2)).clamp_min(1)).clamp_min(1e-12)


def _coarse_center(images, valid, max_offset):
    """Centre (n, 2) by inversion symmetry, or by rings if these are spotty, without the pixels in shadow."""
    center = bright_center(images, valid)
    for slack in COARSE_SLACKS:
        unshadowed = valid * ~find_shadow(images, valid, center, torch.zeros_like(center), slack)
        flat = _flatten(images.sqrt(), unshadowed, COARSE_SMOOTHING)
        center = inversion_center(flat, unshadowed, max_offset)
    return ring_center(images.sqrt(), unshadowed, center, max_offset, COARSE_SMOOTHING)


def bright_center(images, valid, n_steps=BRIGHT_STEPS):
    """Centre (n, 2) of the bright region, by mean shift; its error is about a tenth of the image."""
    n, h, w = images.shape
    y = torch.arange(h, dtype=images.dtype, device=images.device)
    x = torch.arange(w, dtype=images.dtype, device=images.device)
    center = images.new_tensor([(h - 1) / 2, (w - 1) / 2]).repeat(n, 1)
    weight = images.clamp_min(0) * valid
    for _ in range(n_steps):
        wy = torch.exp(-0.5 * ((y - center[:, :1]) / (h * BRIGHT_WINDOW)) ** 2)
        wx = torch.exp(-0.5 * ((x - center[:, 1:]) / (w * BRIGHT_WINDOW)) ** 2)
        local = weight * wy[:, :, None] * wx[:, None, :]
        total = local.sum((1, 2)).clamp_min(1e-12)
        center = torch.stack([(local.sum(2) @ y) / total, (local.sum(1) @ x) / total], 1)
    return center


def inversion_center(images, valid, max_offset=0.2):
    """Centre of inversion symmetry, by masked normalised correlation with the image turned by 180°.

    Parameters
    ----------
    images : Tensor of shape (n, h, w)
        Intensities without diffuse background.
    valid : Tensor of shape (n, h, w)
        1 for valid pixels, else 0.
    max_offset : float
        Largest distance from the middle of the image, as a share of its sides.

    Returns
    -------
    Tensor of shape (n, 2)
        Row and column in pixels, multiples of half a pixel.
    """
    h, w = images.shape[1:]
    margin = 2 * max_offset
    score = _inversion_scores(images, valid, margin)
    n_rows, n_columns = score.shape[1:]
    rows = torch.arange(n_rows, device=images.device)
    columns = torch.arange(n_columns, device=images.device)
    near_y = (rows - (h - 1)).abs() <= margin * h
    near_x = (columns - (w - 1)).abs() <= margin * w
    score = torch.where(near_y[:, None] & near_x[None, :], score, -torch.inf)
    best = score.flatten(1).argmax(1)
    return torch.stack([best // n_columns, best % n_columns], 1).to(images.dtype) / 2


def _inversion_scores(images, valid, margin):
    """Correlation with the turned image by twice the centre, times the square root of the overlap."""
    h, w = images.shape[1:]
    size = (int(h * (1 + margin)) // 2 * 2 + 2, int(w * (1 + margin)) // 2 * 2 + 2)
    mean = (images * valid).sum((1, 2)) / valid.sum((1, 2)).clamp_min(1)
    centred = (images - mean[:, None, None]) * valid
    f1, f2, fm = (torch.fft.rfft2(a, s=size) for a in (centred, centred**2, valid))
    overlap, total, cross, square = (
        torch.fft.irfft2(a * b, s=size) for a, b in ((fm, fm), (f1, fm), (f1, f1), (f2, fm))
    )
    overlap = overlap.clamp_min(1)
    correlation = (cross - total**2 / overlap) / (square - total**2 / overlap).clamp_min(1e-6)
    return correlation * (overlap / (h * w)).sqrt()


def _prepare_refinement(small, valid, shadow):
    """Square roots of the intensity without background, and the pixels to refine on, both (n, h, w).

    The shadow is grown before it is excluded, because its half-dark rim would move the centre.
    """
    guarded = smooth_images(shadow.to(valid.dtype), RIM_SMOOTHING) > RIM_LEVEL
    unshadowed = valid * ~_enlarge(guarded, 2, valid.shape)
    return _flatten(small.sqrt(), unshadowed, REFINE_SMOOTHING), unshadowed


def _flatten(images, valid, sigma):
    """Subtract the diffuse background, which may be uneven along rings, and smooth by ``sigma`` pixels."""
    wide = max(images.shape[1:]) * FLAT_WIDTH
    return (smooth_valid(images, valid, sigma) - smooth_valid(images, valid, wide)) * valid


def _rescale(center, factor):
    """Positions (n, 2) in an image of ``factor`` times the size."""
    return (center + 0.5) * factor - 0.5


def _enlarge(mask, factor, shape):
    """Mask with every pixel repeated ``factor`` times along both axes, cut to ``shape`` (n, h, w)."""
    return mask.repeat_interleave(factor, 1).repeat_interleave(factor, 2)[:, : shape[1], : shape[2]]
