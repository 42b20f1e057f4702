"""Compiled loops of the search for the shadow of a beam stop: the twins of `_beam_stop`, image by image."""

import numpy as np

from xtalsk.diffraction._constants import (
    BLACK_SHARE,
    GROWN_LEVEL,
    SHADOW_LEVEL,
    SHADOW_ROUNDS,
    SOLID_LEVEL,
    SPOT_LEVEL,
    SPOT_ROUNDS,
    STOP_CONTRAST,
    STOP_RADIUS,
)
from xtalsk.diffraction._geometry_kernels import smooth
from xtalsk.utils._compiled import compiled_any_order as compiled


@compiled
def _ring_indices(center, ellipticity, radius, index, n_rings):
    """Write the radius in pixels of the ring through each pixel, see `_polar.ring_radius`, and its number."""
    h, w = radius.shape
    a = ellipticity[0]
    for y in range(h):
        dy = np.float32(y) - center[0]
        yy, b = dy * dy, np.float32(2) * ellipticity[1] * dy
        for x in range(w):
            dx = np.float32(x) - center[1]
            xx = dx * dx
            square = max(yy + xx, np.float32(1e-12))
            radius[y, x] = np.sqrt(square) / (np.float32(1) + (a * (xx - yy) + b * dx) / square)
            index[y, x] = min(np.int32(np.rint(radius[y, x])), n_rings - 1)


@compiled
def _is_black_beyond(ring, stop, middle):
    """Whether the pattern has no diffuse scattering, see `_beam_stop`."""
    rings = ring[stop : len(ring) // 2]
    rings = np.sort(rings[np.isfinite(rings)])
    black = np.float32(BLACK_SHARE) * rings[-1] if len(rings) else np.float32(0)
    return len(rings) > 0 and max(middle, rings[(len(rings) - 1) // 4]) <= black


@compiled
def _ring_means(level, bright, index, ring):
    """Write the mean of each ring without bright spots to ``ring`` (n_rings,); inf without pixels."""
    n_rings = len(ring)
    total, number = np.empty(n_rings, np.float32), np.empty(n_rings, np.float32)
    ring[:] = np.inf
    n_before = -1
    for _ in range(1 + SPOT_ROUNDS):
        total[:] = 0
        number[:] = 0
        n_even = 0
        for y in range(level.shape[0]):
            for x in range(level.shape[1]):
                r = index[y, x]
                if bright[y, x] and level[y, x] <= np.float32(SPOT_LEVEL) * ring[r]:
                    total[r] += level[y, x]
                    number[r] += 1
                    n_even += 1
        for r in range(n_rings):
            ring[r] = total[r] / number[r] if number[r] > 0 else np.inf
        if n_even == n_before:  # there are no spots to leave out
            break
        n_before = n_even


@compiled
def _expected_levels(ring, slack, outside, expected):
    """Write the darkest level near each ring to ``expected``; return the radius of a stop in the middle."""
    n_rings = len(ring)
    n_near = n_rings // STOP_RADIUS
    middle, stop = min(ring[0], ring[1]), 0
    while stop < n_near and (ring[stop] < np.float32(STOP_CONTRAST) * middle + 1 or np.isinf(ring[stop])):
        stop += 1
    if stop == n_near or _is_black_beyond(ring, stop, middle):
        stop = 0
    for r in range(n_rings):
        outside[r] = np.inf if r < stop else ring[r]
    for r in range(n_rings):
        lowest = outside[max(0, r - slack) : r + slack + 1].min()
        expected[r] = 0 if np.isinf(lowest) else lowest
    return stop


@compiled
def find_shadow(level, valid, center, ellipticity, noise, slack, solid_kernel, grown_kernel):
    """Find the pixels in the shadow of a beam stop, bool, and their number; see `_beam_stop.find_shadow`.

    ``level`` is the smoothed image; ``noise`` the limit of the difference from the expected level, per root
    of that level. The kernels smooth the shadow in `_beam_stop._grow`.
    """
    h, w = level.shape
    n_rings = int(np.sqrt(h * h + w * w)) + 1
    radius, index = np.empty((h, w), np.float32), np.empty((h, w), np.int32)
    _ring_indices(center, ellipticity, radius, index, n_rings)
    bright, dark = valid > 0, np.zeros((h, w), np.bool_)
    ring, outside = np.empty(n_rings, np.float32), np.empty(n_rings, np.float32)
    expected, stop, n_dark = np.empty(n_rings, np.float32), 0, 0
    for _ in range(SHADOW_ROUNDS):
        _ring_means(level, bright, index, ring)
        stop = _expected_levels(ring, slack, outside, expected)
        n_changed = 0
        for y in range(h):
            for x in range(w):
                most, value = expected[index[y, x]], level[y, x]
                is_dark = value < np.float32(SHADOW_LEVEL) * most and most - value > noise * np.sqrt(most)
                n_changed += is_dark != dark[y, x]
                dark[y, x] = is_dark
                bright[y, x] = valid[y, x] > 0 and not is_dark
        if not n_changed:
            break
    shade = np.empty((h, w), np.float32)
    for y in range(h):
        for x in range(w):
            dark[y, x] |= radius[y, x] < stop
            n_dark += dark[y, x]
            shade[y, x] = dark[y, x]
    if n_dark:
        n_dark = _grow(shade, solid_kernel, grown_kernel, dark)
    return dark, n_dark


@compiled
def _grow(shade, solid_kernel, grown_kernel, dark):
    """Write a shadow (1 or 0) without single pixels, grown by its rim, to ``dark``; return its size."""
    smoothed = np.empty_like(shade)
    smooth(shade, solid_kernel, smoothed)
    for y in range(shade.shape[0]):
        for x in range(shade.shape[1]):
            shade[y, x] = np.float32(smoothed[y, x] > SOLID_LEVEL)
    smooth(shade, grown_kernel, smoothed)
    n_dark = 0
    for y in range(shade.shape[0]):
        for x in range(shade.shape[1]):
            dark[y, x] = smoothed[y, x] > GROWN_LEVEL
            n_dark += dark[y, x]
    return n_dark
