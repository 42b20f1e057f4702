"""Shadow of a beam stop in ring patterns: pure functions on batches of images in torch, for any device."""

import math

import torch
from torch.nn import functional as F

from xtalsk.diffraction._constants import (
    BLACK_SHARE,
    GROWN_LEVEL,
    GROWN_SMOOTHING,
    SHADOW_LEVEL,
    SHADOW_ROUNDS,
    SHADOW_SIGMA,
    SHADOW_SMOOTHING,
    SOLID_LEVEL,
    SOLID_SMOOTHING,
    SPOT_LEVEL,
    SPOT_ROUNDS,
    STOP_CONTRAST,
    STOP_RADIUS,
)
from xtalsk.diffraction._polar import ring_radius
from xtalsk.diffraction._smoothing import smooth_images, smooth_valid


def find_shadow(images, valid, center, ellipticity, slack):
    """Find the pixels in the shadow of a beam stop.

    A pixel is in shadow if it is less than half as bright as the darkest of the rings nearby, by more than
    the counting noise. Rings in the middle that are dark all round are in shadow as well.

    Parameters
    ----------
    images : Tensor of shape (n, h, w)
        Electrons above the dark level.
    valid : Tensor of shape (n, h, w)
        1 for valid pixels, else 0.
    center, ellipticity : Tensors of shape (n, 2)
        Row and column in pixels; terms of the ellipse.
    slack : int
        Possible error of the ring radii in pixels.

    Returns
    -------
    bool Tensor of shape (n, h, w)
    """
    h, w = images.shape[1:]
    sigma = max(h, w) / SHADOW_SMOOTHING
    noise = SHADOW_SIGMA / math.sqrt(
        4 * math.pi * sigma**2
    )  # of a mean over the Gaussian, per sqrt(electrons)
    level = smooth_valid(images, valid, sigma)
    n_rings = int(math.hypot(h, w)) + 1
    radius = ring_radius((h, w), center, ellipticity)
    index = radius.round().long().clamp_max(n_rings - 1).flatten(1)
    bright = valid
    for _ in range(SHADOW_ROUNDS):
        ring = _ring_means(level, bright, index, n_rings)
        stop = _stop_radius(ring)
        expected = _darkest_ring(ring, stop, slack).gather(1, index).view_as(level)
        difference = expected - level
        dark = (level < SHADOW_LEVEL * expected) & (difference > noise * expected.clamp_min(0).sqrt())
        bright = valid * ~dark
    return _grow((dark | (radius < stop[:, None, None])).to(images.dtype))


def _ring_means(level, weight, index, n_rings):
    """Mean intensity of each ring, without bright spots, (n, n_rings); inf without pixels.

    ``index`` (n, h * w) is the ring of each pixel.
    """
    level = level.flatten(1)
    ring = level.new_full((len(level), n_rings), torch.inf)
    for _ in range(1 + SPOT_ROUNDS):
        even = weight.flatten(1) * (level <= SPOT_LEVEL * ring.gather(1, index))
        count = torch.zeros_like(ring).scatter_add_(1, index, even)
        total = torch.zeros_like(ring).scatter_add_(1, index, even * level)
        ring = torch.where(count > 0, total / count, torch.inf)
    return ring


def _stop_radius(ring):
    """Return the number of inner rings as dark as the middle one, (n,); 0 if no ring is much brighter.

    It is also 0 if a quarter of the rings beyond, up to half of the radius, is black: without diffuse
    scattering, a dark middle is no shadow.
    """
    near = ring[:, : ring.shape[1] // STOP_RADIUS]
    middle = near[:, :2].amin(1, keepdim=True)
    dark = (near < STOP_CONTRAST * middle + 1) | near.isinf()  # a ring may hold no pixel
    run = dark.long().cumprod(1).sum(1)
    radii = torch.arange(ring.shape[1] // 2, device=ring.device)
    beyond = (radii >= run[:, None]) & ring[:, : len(radii)].isfinite()
    rings = torch.where(beyond, ring[:, : len(radii)], torch.inf).sort(1).values
    count = beyond.sum(1, keepdim=True)
    quarter = rings.gather(1, (count - 1).clamp_min(0) // 4)
    highest = rings.gather(1, (count - 1).clamp_min(0))
    is_black = (count > 0) & (torch.maximum(middle, quarter) <= BLACK_SHARE * highest)
    return torch.where((run < near.shape[1]) & ~is_black[:, 0], run, 0)


def _darkest_ring(ring, stop, slack):
    """Lowest mean within ``slack`` rings of each ring, without those inside the stop, (n, n_rings)."""
    radii = torch.arange(ring.shape[1], device=ring.device)
    outside = torch.where(radii < stop[:, None], torch.inf, ring)
    lowest = -F.max_pool1d(-outside, 2 * slack + 1, 1, slack)
    return lowest.nan_to_num(posinf=0.0)


def _grow(dark):
    """Drop single dark pixels and grow the others by the rim of the shadow, bool (n, h, w)."""
    solid = (smooth_images(dark, SOLID_SMOOTHING) > SOLID_LEVEL).to(dark.dtype)
    return smooth_images(solid, GROWN_SMOOTHING) > GROWN_LEVEL
