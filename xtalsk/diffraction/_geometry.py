"""Where the direct beam is, how far the rings are from round, and which pixels saw the specimen.

Pure functions on batches of images of one shape, in torch, for any device. Positions are (row, column) in
pixels from the middle of the first pixel. The centre is found in three steps:

1. A ring pattern is symmetric under inversion through the direct beam, so the image correlates with itself
   turned by 180° when both share the centre. The correlation is normalised over the pixels that are valid
   in both [1]_; for an image and its own inverse that takes three Fourier transforms and four back.
2. The shadow of a beam stop is what is darker than the rest of its ring; it is found in polar coordinates
   and leaves the correlation and the refinement.
3. Centre and ellipticity are refined by Gauss-Newton steps that minimise the scatter of intensity within
   rings, the ring profile itself being eliminated from the least-squares problem [2]_. That is the same as
   making the radial profile as sharp as the image allows.

References
----------
.. [1] D. Padfield, IEEE Trans. Image Process. 21, 2706 (2012), masked normalised cross-correlation.
.. [2] L. Kaufman, BIT 15, 49 (1975), variable projection for separable least squares.
"""

import math
from functools import lru_cache
from typing import NamedTuple

import torch
from torch.nn import functional as F

_FINE = 128  # longest side, in pixels, of the images that the geometry is found on
_SPREADS = (2.0, 1.0, 1.0, 1.0)  # smoothing of the ring profile in successive steps, in such pixels
_LARGEST_STEP = 6  # pixels that the refinement may move the centre
_N_ANGLES = 192
_ELLIPTICITY_SPREAD = 0.015  # standard deviation of the prior of each ellipticity term: lenses do 0-3 %
_MAX_ELLIPTICITY = 0.08


class Geometry(NamedTuple):
    """Where the rings are in each image of a batch.

    ``center`` (n, 2): row and column of the direct beam. ``ellipticity`` (n, 2): terms a and b of the shape
    1 + a cos 2φ + b sin 2φ of a ring, φ counted from the columns' axis towards increasing rows. ``valid``
    (n, height, width): pixels that saw the specimen.
    """

    center: torch.Tensor
    ellipticity: torch.Tensor
    valid: torch.Tensor


@lru_cache(maxsize=64)
def gaussian_band(size, sigma, dtype, device):
    """Matrix (size, size) that convolves with a Gaussian of ``sigma`` pixels."""
    x = torch.arange(size, dtype=dtype, device=device)
    apart = x[:, None] - x
    band = torch.exp(-0.5 * (apart / sigma) ** 2) * (apart.abs() <= 3 * sigma)
    return band / band[size // 2].sum()


def _smooth(images, sigma):
    rows, columns = (gaussian_band(n, sigma, images.dtype, images.device) for n in images.shape[1:])
    return rows @ images @ columns


def smooth_valid(images, valid, sigma):
    """Gaussian-weighted mean over the valid pixels around each pixel of (n, h, w) images."""
    return _smooth(images * valid, sigma) / _smooth(valid, sigma).clamp_min(1e-6)


def reject_defects(images, valid):
    """Drop single hot and dead pixels: far outside the range of their eight neighbours."""
    h, w = images.shape[1:]
    highest = images.new_full(images.shape, -torch.inf)
    lowest = -highest
    above = F.pad(torch.where(valid, images, -torch.inf), (1,) * 4, value=-torch.inf)
    below = F.pad(torch.where(valid, images, torch.inf), (1,) * 4, value=torch.inf)
    for i, j in ((0, 0), (0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1), (2, 2)):
        highest = torch.maximum(highest, above[:, i : i + h, j : j + w])
        lowest = torch.minimum(lowest, below[:, i : i + h, j : j + w])
    hot = images > highest + 5 * (highest - lowest) + 5 * highest.clamp_min(1).sqrt()
    dead = (images <= 0) & (lowest > 25)
    return valid & ~(hot | dead)


def _downsample(images, valid, factor):
    """Mean over blocks of ``factor`` x ``factor`` valid pixels, and the share of them that is valid."""
    if factor == 1:
        return images * valid, valid
    share = F.avg_pool2d(valid[:, None], factor, ceil_mode=True, count_include_pad=False)[:, 0]
    total = F.avg_pool2d((images * valid)[:, None], factor, ceil_mode=True, count_include_pad=False)[:, 0]
    return total / share.clamp_min(1e-6), (share > 0.5).to(images.dtype)


def bright_center(images, valid, n_steps=4):
    """Mean-shift of the intensity in a Gaussian window: a start good to a tenth of the image or so."""
    n, h, w = images.shape
    y = torch.arange(h, dtype=images.dtype, device=images.device)
    x = torch.arange(w, dtype=images.dtype, device=images.device)
    center = images.new_tensor([(h - 1) / 2, (w - 1) / 2]).repeat(n, 1)
    weight = images.clamp_min(0) * valid
    for _ in range(n_steps):
        wy = torch.exp(-0.5 * ((y - center[:, :1]) / (h / 4)) ** 2)
        wx = torch.exp(-0.5 * ((x - center[:, 1:]) / (w / 4)) ** 2)
        local = weight * wy[:, :, None] * wx[:, None, :]
        total = local.sum((1, 2)).clamp_min(1e-12)
        center = torch.stack([(local.sum(2) @ y) / total, (local.sum(1) @ x) / total], 1)
    return center


def inversion_center(images, valid, max_offset=0.2):
    """Centre of inversion symmetry, by masked normalised correlation with the image turned by 180°.

    ``max_offset`` bounds the search: distance from the middle of the image, as a share of its sides. The
    answer lies on a grid of half pixels.
    """
    h, w = images.shape[1:]
    margin = 2 * max_offset
    size = (int(h * (1 + margin)) // 2 * 2 + 2, int(w * (1 + margin)) // 2 * 2 + 2)
    mean = (images * valid).sum((1, 2)) / valid.sum((1, 2)).clamp_min(1)
    centred = (images - mean[:, None, None]) * valid
    f1, f2, fm = (torch.fft.rfft2(a, s=size) for a in (centred, centred**2, valid))
    overlap, total, cross, square = (
        torch.fft.irfft2(a * b, s=size) for a, b in ((fm, fm), (f1, fm), (f1, f1), (f2, fm))
    )
    overlap = overlap.clamp_min(1)
    correlation = (cross - total**2 / overlap) / (square - total**2 / overlap).clamp_min(1e-6)
    score = correlation * (overlap / (h * w)).sqrt()
    rows = torch.arange(size[0], device=images.device)
    cols = torch.arange(size[1], device=images.device)
    near_y = (rows - (h - 1)).abs() <= margin * h
    near_x = (cols - (w - 1)).abs() <= margin * w
    score = torch.where(near_y[:, None] & near_x[None, :], score, -torch.inf)
    best = score.flatten(1).argmax(1)
    return torch.stack([best // size[1], best % size[1]], 1).to(images.dtype) / 2


def _angles(like):
    phi = torch.arange(_N_ANGLES, dtype=like.dtype, device=like.device) * (2 * math.pi / _N_ANGLES)
    return torch.stack([phi.sin(), phi.cos()]), torch.stack([(2 * phi).cos(), (2 * phi).sin()])


def polar(images, center, ellipticity, radii):
    """Sample (n, channels, h, w) images on rings: (n, channels, n_radii, n_angles), 0 outside the image."""
    h, w = images.shape[2:]
    direction, shape = _angles(images)
    stretch = 1 + ellipticity @ shape
    offsets = radii[None, :, None] * stretch[:, None, :]
    y = center[:, :1, None] + offsets * direction[0]
    x = center[:, 1:, None] + offsets * direction[1]
    grid = torch.stack([(2 * x + 1) / w - 1, (2 * y + 1) / h - 1], -1)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def ring_radius(shape, center, ellipticity):
    """Radius of the ring that each pixel lies on, (n, h, w), in pixels."""
    h, w = shape
    y = torch.arange(h, dtype=center.dtype, device=center.device) - center[:, :1]
    x = torch.arange(w, dtype=center.dtype, device=center.device) - center[:, 1:]
    yy, xx = y[:, :, None] ** 2, x[:, None, :] ** 2
    square = (yy + xx).clamp_min(1e-12)
    a, b = ellipticity[:, 0, None, None], ellipticity[:, 1, None, None]
    stretch = 1 + (a * (xx - yy) + b * 2 * y[:, :, None] * x[:, None, :]) / square
    return square.sqrt() / stretch


def shadow(images, valid, center, ellipticity, slack):
    """Pixels in the shadow of a beam stop: under half as bright as all rings nearby, beyond noise.

    ``images`` holds electrons above the dark level; ``slack`` (pixels) is how far off the rings may be. Rings
    that are dark all round, in the middle, are in shadow, too.
    """
    h, w = images.shape[1:]
    sigma = max(h, w) / 80
    noise = 3 / math.sqrt(4 * math.pi * sigma**2)
    level = smooth_valid(images, valid, sigma)
    n_rings = int(math.hypot(h, w)) + 1
    radius = ring_radius((h, w), center, ellipticity)
    index = radius.round().long().clamp_max(n_rings - 1).flatten(1)
    steps = torch.arange(n_rings, device=images.device)
    lit = valid
    for _ in range(3):
        count = images.new_zeros(len(images), n_rings).scatter_add_(1, index, lit.flatten(1))
        total = images.new_zeros(len(images), n_rings).scatter_add_(1, index, (lit * level).flatten(1))
        ring = torch.where(count > 0, total / count, torch.inf)
        stop = _stop_radius(ring)
        seen = torch.where(steps < stop[:, None], torch.inf, ring)
        lowest = -F.max_pool1d(-seen, 2 * slack + 1, 1, slack)
        expected = lowest.nan_to_num(posinf=0.0).gather(1, index).view_as(level)
        dark = (level < 0.5 * expected) & (expected - level > noise * expected.clamp_min(0).sqrt())
        lit = valid * ~dark
    dark = (dark | (radius < stop[:, None, None])).to(images.dtype)
    solid = (_smooth(dark, 0.8) > 0.4).to(images.dtype)
    return _smooth(solid, 0.7) > 0.1


def _stop_radius(ring):
    """Count the rings, from the middle, as dark as the middle one; 0 if it never gets much brighter."""
    near = ring[:, : ring.shape[1] // 5]
    middle = near[:, :2].amin(1, keepdim=True)
    dark = (near < 3 * middle + 1) | near.isinf()  # a ring may hold no pixel
    run = dark.long().cumprod(1).sum(1)
    return torch.where(run < near.shape[1], run, 0)


def refine(images, valid, center, ellipticity, free, spread):
    """One Gauss-Newton step towards the sharpest radial profile.

    Parameters
    ----------
    images : Tensor of shape (n, h, w)
        Variance-stabilised intensities.
    valid : Tensor of shape (n, h, w)
    center, ellipticity : Tensors of shape (n, 2)
    free : Tensor of shape (n, 4)
        1 for each of (row, column, a, b) that may move, else 0.
    spread : float
        Sigma, in pixels, of the smoothing of the profile: how far the step can see.

    Returns
    -------
    center, ellipticity : Tensors of shape (n, 2)
    """
    h, w = images.shape[1:]
    radii = torch.arange(1.0, max(h, w) * 0.75, dtype=images.dtype, device=images.device)
    sampled = polar(torch.stack([images * valid, valid], 1), center, ellipticity, radii)
    weight = torch.where(sampled[:, 1] > 0.5, sampled[:, 1], 0)
    value = sampled[:, 0] / sampled[:, 1].clamp_min(0.5)
    total = weight.sum(2)
    profile = (weight * value).sum(2) / total.clamp_min(1e-6)
    full = total > 0.1 * _N_ANGLES
    direction, shape = _angles(images)
    basis = torch.cat([direction, shape])
    residual = (weight * (value - profile[..., None])) @ basis.T
    products = (basis[:, None] * basis[None]).flatten(0, 1)
    mean = weight @ basis.T
    gram = (weight @ products.T).unflatten(2, (4, 4))
    gram = gram - mean[..., None] * mean[..., None, :] / total.clamp_min(1e-6)[..., None, None]
    slope, smoothed = _slopes(profile, full, spread)
    scale = torch.stack([torch.ones_like(radii)] * 2 + [radii] * 2, 1)
    area = (2 * math.pi / _N_ANGLES * radii)[:, None]
    lever = smoothed[..., None] * scale * area * free[:, None]
    left = torch.einsum("nrj,nrjk,nrk->njk", lever, gram, slope[..., None] * scale)
    right = -torch.einsum("nrj,nrj->nj", lever, residual)
    scatter = (weight * (value - profile[..., None]) ** 2).sum(2) * full * area[:, 0]
    noise = scatter.sum(1) / ((total * full) @ area[:, 0]).clamp_min(1e-6)
    prior = noise[:, None] / _ELLIPTICITY_SPREAD**2
    parameters = torch.cat([center, ellipticity], 1)
    stiff = torch.cat([torch.zeros_like(center), prior.expand(-1, 2)], 1)
    right = right - stiff * parameters
    left = left + torch.diag_embed(stiff + 1e-6 * left.diagonal(dim1=1, dim2=2) + 1e-12 + (1 - free))
    step = torch.linalg.solve(left, right) * free
    limit = step.new_tensor([2 * spread, 2 * spread, 0.02, 0.02])
    parameters = parameters + step.clamp(-limit, limit)
    return parameters[:, :2], parameters[:, 2:].clamp(-_MAX_ELLIPTICITY, _MAX_ELLIPTICITY)


def _slopes(profile, full, spread):
    """Differentiate (n, n_radii) profiles, as it is and smoothed; 0 where a ring is not seen."""
    seen = full.to(profile.dtype)
    inner = seen.clone()
    inner[:, 1:-1] = seen[:, 2:] * seen[:, :-2] * seen[:, 1:-1]
    slope = torch.zeros_like(profile)
    slope[:, 1:-1] = (profile[:, 2:] - profile[:, :-2]) / 2
    slope = slope * inner
    band = gaussian_band(profile.shape[1], spread, profile.dtype, profile.device)
    return slope, (slope @ band) * inner


def find_geometry(images, valid, center=None, ellipticity=True, max_offset=0.2):
    """Find centre, ellipticity and shadowed pixels of each image.

    Parameters
    ----------
    images : Tensor of shape (n, h, w)
        Intensities, finite.
    valid : bool Tensor of shape (n, h, w)
    center : Tensor of shape (n, 2) or None
        Known centres, in pixels; NaN where it is to be found.
    ellipticity : bool
        Refine the ellipticity; else it is 0.
    max_offset : float
        Largest distance of the centre from the middle, as a share of the sides of the image.

    Returns
    -------
    Geometry
    """
    valid = reject_defects(images, valid)
    factor = -(-max(images.shape[1:]) // _FINE)
    small, lit = _downsample(images, valid.to(images.dtype), factor)
    small = ((small - _dark_level(small, lit)[:, None, None]) * lit).clamp_min(0)
    small = small / _gain(small, lit)[:, None, None]
    half, half_lit = _downsample(small, lit, 2)
    if center is None:
        center = images.new_full((len(images), 2), torch.nan)
    known = ~center.isnan().any(1, keepdim=True)
    start = _rescale(torch.nan_to_num(center), 1 / factor)
    if not known.all():
        start = torch.where(known, start, _rescale(_coarse_center(half, half_lit, max_offset), 2))
    spot, shape = start, torch.zeros_like(start)
    free = images.new_ones(len(images), 4)
    free[:, :2] = (~known).to(images.dtype)
    for stage, spread in enumerate(_SPREADS if ellipticity or not known.all() else ()):
        free[:, 2:] = float(ellipticity and stage > 0)
        blocked = shadow(half, half_lit, _rescale(spot, 1 / 2), shape, slack=2 if stage == 0 else 1)
        guarded = _smooth(blocked.to(lit.dtype), 1.0) > 0.05  # its half-dark rim would pull at the centre
        sharp, open_ = _flatten(small.sqrt(), lit * ~_enlarge(guarded, 2, lit.shape), 0.6)
        spot, shape = refine(sharp, open_, spot, shape, free, spread)
        strayed = ((spot - start).abs() > _LARGEST_STEP).any(1, keepdim=True)
        spot, shape = torch.where(strayed, start, spot), torch.where(strayed, 0, shape)
    blocked = shadow(half, half_lit, _rescale(spot, 1 / 2), shape, 1)
    return Geometry(_rescale(spot, factor), shape, valid & ~_enlarge(blocked, 2 * factor, images.shape))


def _rescale(center, factor):
    """Carry positions over to an image of ``factor`` times the size."""
    return (center + 0.5) * factor - 0.5


def _enlarge(mask, factor, shape):
    return mask.repeat_interleave(factor, 1).repeat_interleave(factor, 2)[:, : shape[1], : shape[2]]


def _flatten(images, valid, sigma):
    """Subtract the diffuse background, which need not be even all round, and smooth by ``sigma``."""
    wide = max(images.shape[1:]) / 16
    return (smooth_valid(images, valid, sigma) - smooth_valid(images, valid, wide)) * valid, valid


def _coarse_center(images, valid, max_offset):
    """Centre by inversion symmetry, the shadow of a beam stop left out as far as it is known."""
    spot = bright_center(images, valid)
    for slack in (4, 2):
        lit = valid * ~shadow(images, valid, spot, torch.zeros_like(spot), slack)
        spot = inversion_center(*_flatten(images.sqrt(), lit, 0.7), max_offset)
    return spot


def _gain(images, valid):
    """Signal per electron: four times the variance of the square root, as shot noise has it."""
    root = images.sqrt()
    rough = (root[:, 1:, 1:] + root[:, :-1, :-1] - root[:, 1:, :-1] - root[:, :-1, 1:]) / 2
    whole = valid[:, 1:, 1:] * valid[:, :-1, :-1] * valid[:, 1:, :-1] * valid[:, :-1, 1:]
    return 4 * ((rough**2 * whole).sum((1, 2)) / whole.sum((1, 2)).clamp_min(1)).clamp_min(1e-12)


def _dark_level(images, valid):
    """Lowest mean over 5 x 5 valid pixels: what the camera gives where nothing hits it."""
    share = F.avg_pool2d(valid[:, None], 5, 2)[:, 0]
    mean = F.avg_pool2d((images * valid)[:, None], 5, 2)[:, 0] / share.clamp_min(1e-6)
    return torch.where(share > 0.9, mean, torch.inf).flatten(1).amin(1).nan_to_num(posinf=0.0)
