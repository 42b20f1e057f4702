"""Compiled loops of the search for the geometry: each image by itself, in single precision.

The functions of `_geometry`, `_beam_stop` and `_refinement` say what is computed; these are their twins.
"""

import numpy as np

from xtalsk.diffraction._constants import BLACK_SHARE, SPOT_LEVEL, SPOT_ROUNDS
from xtalsk.utils._compiled import compiled_any_order as compiled


@compiled
def reject_defects(image, valid, spreads, sigma, dead_neighbour, out):
    """Write ``valid`` without hot and dead pixels to ``out``; see `_geometry.reject_defects`."""
    h, w = image.shape
    above = np.full((h + 2, w + 2), -np.inf, np.float32)
    below = np.full((h + 2, w + 2), np.inf, np.float32)
    for y in range(h):
        for x in range(w):
            value = image[y, x]
            above[y + 1, x + 1] = value if valid[y, x] else np.float32(-np.inf)
            below[y + 1, x + 1] = value if valid[y, x] else np.float32(np.inf)
    beside_high, beside_low = np.empty(w + 2, np.float32), np.empty(w + 2, np.float32)
    all_high, all_low = np.empty(w + 2, np.float32), np.empty(w + 2, np.float32)
    for y in range(h):
        for x in range(w + 2):
            beside_high[x] = max(above[y, x], above[y + 2, x])
            beside_low[x] = min(below[y, x], below[y + 2, x])
            all_high[x] = max(beside_high[x], above[y + 1, x])
            all_low[x] = min(beside_low[x], below[y + 1, x])
        for x in range(w):
            high = max(max(all_high[x], all_high[x + 2]), beside_high[x + 1])
            low = min(min(all_low[x], all_low[x + 2]), beside_low[x + 1])
            value = image[y, x]
            hot = value > high + spreads * (high - low) + sigma * np.sqrt(max(high, np.float32(1)))
            dead = (value <= 0) & (low > dead_neighbour)
            out[y, x] = valid[y, x] & ~(hot | dead)


@compiled
def block_means(image, valid, factor, means, shares):
    """Means over the valid pixels of blocks, and the shares of valid pixels in them; edges may be cut."""
    h, w = image.shape
    total, number = np.empty(w, np.float32), np.empty(w, np.float32)
    for row in range(means.shape[0]):
        total[:], number[:] = 0, 0
        rows = min(factor, h - row * factor)
        for y in range(row * factor, row * factor + rows):
            for x in range(w):
                weight = np.float32(valid[y, x])
                total[x] += image[y, x] * weight
                number[x] += weight
        for column in range(means.shape[1]):
            first, last = column * factor, min(column * factor + factor, w)
            block_total, block_number = np.float32(0), np.float32(0)
            for x in range(first, last):
                block_total += total[x]
                block_number += number[x]
            shares[row, column] = block_number / np.float32(rows * (last - first))
            least = np.float32(1e-6) * np.float32(rows * (last - first))
            means[row, column] = block_total / max(block_number, least)


@compiled
def to_electrons(image, valid, block, block_share):
    """Turn intensities into electrons above the dark level, in place; see `_geometry._reduce`."""
    h, w = image.shape
    dark, total, number = np.float32(np.inf), np.empty(w, np.float32), np.empty(w, np.float32)
    for y in range(0, h - block + 1, 2):
        total[:], number[:] = 0, 0
        for i in range(y, y + block):
            for x in range(w):
                total[x] += image[i, x] * valid[i, x]
                number[x] += valid[i, x]
        for x in range(0, w - block + 1, 2):
            count = number[x : x + block].sum()
            if count > block_share * block * block:
                dark = min(dark, total[x : x + block].sum() / count)
    if np.isinf(dark):
        dark = np.float32(0)
    for y in range(h):
        for x in range(w):
            image[y, x] = max((image[y, x] - dark) * valid[y, x], np.float32(0))
    root = np.sqrt(image)
    rough_sum, whole_sum = 0.0, 0.0
    for y in range(1, h):
        for x in range(1, w):
            rough = (root[y, x] + root[y - 1, x - 1] - root[y, x - 1] - root[y - 1, x]) / np.float32(2)
            whole = valid[y, x] * valid[y - 1, x - 1] * valid[y, x - 1] * valid[y - 1, x]
            rough_sum += rough * rough * whole
            whole_sum += whole
    gain = np.float32(4 * max(rough_sum / max(whole_sum, 1.0), 1e-12))
    for y in range(h):
        for x in range(w):
            image[y, x] /= gain


@compiled
def smooth(image, kernel, out):
    """Convolve an image with ``kernel`` along both axes; pixels outside count as 0."""
    h, w = image.shape
    reach = len(kernel) // 2
    row = np.zeros(w + 2 * reach, np.float32)
    for y in range(h):
        row[:] = 0
        for k in range(max(0, y - reach), min(h, y + reach + 1)):
            share = kernel[k - y + reach]
            for x in range(w):
                row[x + reach] += share * image[k, x]
        for x in range(w):
            out[y, x] = 0
        for k in range(len(kernel)):
            for x in range(w):
                out[y, x] += kernel[k] * row[x + k]


@compiled
def ring_radii(h, w, center, ellipticity, out):
    """Radius in pixels of the ring through each pixel; see `_polar.ring_radius`."""
    a = ellipticity[0]
    for y in range(h):
        dy = np.float32(y) - center[0]
        yy, b = dy * dy, np.float32(2) * ellipticity[1] * dy
        for x in range(w):
            dx = np.float32(x) - center[1]
            xx = dx * dx
            square = max(yy + xx, np.float32(1e-12))
            out[y, x] = np.sqrt(square) / (np.float32(1) + (a * (xx - yy) + b * dx) / square)


@compiled
def _is_black_beyond(ring, stop, middle):
    """Whether the pattern has no diffuse scattering, see `_beam_stop`."""
    rings = ring[stop : len(ring) // 2]
    rings = np.sort(rings[np.isfinite(rings)])
    black = np.float32(BLACK_SHARE) * rings[-1] if len(rings) else np.float32(0)
    return len(rings) > 0 and max(middle, rings[(len(rings) - 1) // 4]) <= black


@compiled
def _expected_levels(level, bright, index, contrast, n_near, slack, ring, outside, expected):
    """Write the darkest level near each ring to ``expected``; return the radius of a stop in the middle."""
    n_rings = len(ring)
    total, number = np.zeros(n_rings, np.float32), np.zeros(n_rings, np.float32)
    h, w = level.shape
    ring[:] = np.inf
    for _ in range(1 + SPOT_ROUNDS):
        total[:] = 0
        number[:] = 0
        for y in range(h):
            for x in range(w):
                r = index[y, x]
                if bright[y, x] and level[y, x] <= np.float32(SPOT_LEVEL) * ring[r]:
                    total[r] += level[y, x]
                    number[r] += 1
        for r in range(n_rings):
            ring[r] = total[r] / number[r] if number[r] > 0 else np.inf
    middle, stop = min(ring[0], ring[1]), 0
    while stop < n_near and (ring[stop] < contrast * middle + 1 or np.isinf(ring[stop])):
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
def find_shadow(level, valid, radius, noise, slack, rounds, share, contrast, stop_radius, n_rings):
    """Pixels darker than the rings nearby, before `_grow`; see `_beam_stop.find_shadow`."""
    h, w = level.shape
    index = np.empty((h, w), np.int32)
    bright, dark = np.empty((h, w), np.bool_), np.zeros((h, w), np.bool_)
    for y in range(h):
        for x in range(w):
            index[y, x] = min(int(np.rint(radius[y, x])), n_rings - 1)
            bright[y, x] = valid[y, x] > 0
    ring, outside, expected = (
        np.empty(n_rings, np.float32),
        np.empty(n_rings, np.float32),
        np.empty(n_rings, np.float32),
    )
    stop = 0
    for _ in range(rounds):
        stop = _expected_levels(
            level, bright, index, contrast, n_rings // stop_radius, slack, ring, outside, expected
        )
        limit = noise * np.sqrt(np.maximum(expected, np.float32(0)))
        has_changed = False
        for y in range(h):
            for x in range(w):
                r = index[y, x]
                is_dark = level[y, x] < share * expected[r] and expected[r] - level[y, x] > limit[r]
                has_changed |= is_dark != dark[y, x]
                dark[y, x] = is_dark
                bright[y, x] = valid[y, x] > 0 and not is_dark
        if not has_changed:
            break
    n_dark = 0
    for y in range(h):
        for x in range(w):
            dark[y, x] |= radius[y, x] < stop
            n_dark += dark[y, x]
    return dark, n_dark


@compiled
def sample_rings(value, valid, is_whole, center, ellipticity, directions, shapes, first, n_radii):
    """Sample an image and its valid pixels on rings one pixel apart from ``first``, by linear interpolation.

    ``is_whole`` says whether all pixels are valid.

    Returns
    -------
    total, share : float32 ndarrays of shape (n_radii, n_angles)
        Sums of ``value`` and of ``valid``; 0 outside the image.
    """
    h, w = value.shape
    n_angles = directions.shape[1]
    total, share = np.zeros((n_radii, n_angles), np.float32), np.zeros((n_radii, n_angles), np.float32)
    dy, dx = np.empty(n_angles, np.float32), np.empty(n_angles, np.float32)
    one = np.float32(1)
    for angle in range(n_angles):
        stretch = one + ellipticity[0] * shapes[0, angle] + ellipticity[1] * shapes[1, angle]
        dy[angle], dx[angle] = directions[0, angle] * stretch, directions[1, angle] * stretch
    for r in range(n_radii):
        radius = first + np.float32(r)
        for angle in range(n_angles):
            y, x = center[0] + dy[angle] * radius, center[1] + dx[angle] * radius
            if not (y > -1 and x > -1 and y < h and x < w):
                continue
            top, left = int(y + one) - 1, int(x + one) - 1
            v, u = y - np.float32(top), x - np.float32(left)
            v_left, u_left = one - v, one - u
            if 0 <= top < h - 1 and 0 <= left < w - 1:
                a, b, c, d = v_left * u_left, v_left * u, v * u_left, v * u
                total[r, angle] = (
                    a * value[top, left]
                    + b * value[top, left + 1]
                    + c * value[top + 1, left]
                    + d * value[top + 1, left + 1]
                )
                share[r, angle] = one
                if not is_whole:
                    share[r, angle] = (
                        a * valid[top, left]
                        + b * valid[top, left + 1]
                        + c * valid[top + 1, left]
                        + d * valid[top + 1, left + 1]
                    )
            else:
                for i in range(2):
                    for j in range(2):
                        if 0 <= top + i < h and 0 <= left + j < w:
                            part = (v if i else v_left) * (u if j else u_left)
                            total[r, angle] += part * value[top + i, left + j]
                            share[r, angle] += part * valid[top + i, left + j]
    return total, share


@compiled
def residuals(total, share, least):
    """Turn samples on rings into weights and deviations from the mean of each ring, in place.

    Returns
    -------
    weight_sum, profile, scatter : float32 ndarrays of shape (n_radii,)
    is_full : bool ndarray of shape (n_radii,)
    """
    n_radii, n_angles = total.shape
    weight_sum, profile, scatter = (
        np.zeros(n_radii, np.float32),
        np.zeros(n_radii, np.float32),
        np.zeros(n_radii, np.float32),
    )
    for r in range(n_radii):
        weights, mean = np.float32(0), np.float32(0)
        for k in range(n_angles):
            value = total[r, k] / max(share[r, k], np.float32(0.5))
            weight = share[r, k] if share[r, k] > 0.5 else np.float32(0)
            weights += weight
            mean += weight * value
            total[r, k], share[r, k] = value, weight
        mean /= max(weights, np.float32(1e-6))
        squares = np.float32(0)
        for k in range(n_angles):
            rest = total[r, k] - mean
            weighted = share[r, k] * rest
            squares += weighted * rest
            total[r, k] = weighted
        weight_sum[r], profile[r], scatter[r] = weights, mean, squares
    return weight_sum, profile, scatter, weight_sum > least


@compiled
def normal_equations(gram, mean, moments, total, scatter, is_full, slopes, free, arc):
    """Matrix (4, 4) and right side (4,) of one step, and the variance of the noise; see `_refinement`.

    ``gram`` (n_radii, 16), ``mean`` and ``moments`` (n_radii, 4) are sums of weighted angular functions: of
    their products, plain, and times the deviations. ``slopes`` (2, n_radii) are plain and smoothed.
    """
    left, right = np.zeros((4, 4)), np.zeros(4)
    noise, weights = 0.0, 0.0
    for r in range(len(total)):
        radius = r + 1.0
        area = arc * radius
        if is_full[r]:
            noise += scatter[r] * area
            weights += total[r] * area
        weight = max(np.float64(total[r]), 1e-6)
        for j in range(4):
            lever = slopes[1, r] * area * free[j] * (radius if j > 1 else 1.0)
            right[j] -= lever * moments[r, j]
            for k in range(4):
                covariance = gram[r, 4 * j + k] - np.float64(mean[r, j]) * mean[r, k] / weight
                left[j, k] += lever * covariance * slopes[0, r] * (radius if k > 1 else 1.0)
    return left, right, noise / max(weights, 1e-6)


@compiled
def ring_sums(image, valid, centers, out):
    """Write what rings around each centre (n, 2) explain of an image, see `_ring_center`, to ``out`` (n,)."""
    h, w = image.shape
    n_radii = 2 * int(np.sqrt(h * h + w * w)) + 3  # centres may lie outside the image
    total, number = np.empty(n_radii, np.float32), np.empty(n_radii, np.float32)
    for i in range(len(centers)):
        total[:] = 0
        number[:] = 0
        for y in range(h):
            dy = np.float32(y) - centers[i, 0]
            for x in range(w):
                dx = np.float32(x) - centers[i, 1]
                radius = min(np.sqrt(dy * dy + dx * dx), np.float32(n_radii - 2))
                low = int(radius)
                upper = (radius - np.float32(low)) * valid[y, x]
                value = image[y, x]
                total[low] += (valid[y, x] - upper) * value
                total[low + 1] += upper * value
                number[low] += valid[y, x] - upper
                number[low + 1] += upper
        explained = np.float32(0)
        for r in range(n_radii):
            if number[r] > 1:
                explained += total[r] * total[r] / number[r]
        out[i] = explained
