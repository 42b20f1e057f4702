"""Compiled loops of the search for the geometry: each image by itself, in single precision.

The functions of `_geometry`, `_beam_stop` and `_refinement` say what is computed; these are their twins.
"""

import numpy as np

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
def _explained(total, number):
    """Sum of squares that the means of rings explain, from sums on rings and numbers of pixels."""
    explained = np.float32(0)
    for r in range(len(total)):
        if number[r] > 1:
            explained += total[r] * total[r] / number[r]
    return explained


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
        out[i] = _explained(total, number)


@compiled
def ring_sums_by_table(image, valid, lows, uppers, shifts, out):
    """Write what `ring_sums` writes, for centres that are whole pixels apart.

    ``lows`` and ``uppers`` are the whole and the fractional part of the distance of each pixel from a centre,
    in a larger frame; ``shifts`` (n, 2) are the first row and column of the image in that frame.
    """
    h, w = image.shape
    n_radii = lows.max() + 2
    total, number = np.empty(n_radii, np.float32), np.empty(n_radii, np.float32)
    for i in range(len(shifts)):
        total[:] = 0
        number[:] = 0
        for y in range(h):
            row_lows, row_uppers = lows[y + shifts[i, 0]], uppers[y + shifts[i, 0]]
            for x in range(w):
                low = row_lows[x + shifts[i, 1]]
                upper = row_uppers[x + shifts[i, 1]] * valid[y, x]
                value = image[y, x]
                total[low] += (valid[y, x] - upper) * value
                total[low + 1] += upper * value
                number[low] += valid[y, x] - upper
                number[low + 1] += upper
        out[i] = _explained(total, number)


@compiled
def best_symmetry(cross, square, total, overlap, rows, columns, area):
    """Return the row and column of the highest correlation with the turned image, see `_geometry`.

    ``cross``, ``square`` and ``total`` are sums of products, of squares and of values over the overlap of
    both images, whose size is ``overlap``. ``rows`` and ``columns`` are the first and the last that count.
    """
    best, row, column = np.float32(-np.inf), 0, 0
    for y in range(rows[0], rows[1] + 1):
        for x in range(columns[0], columns[1] + 1):
            rest = total[y, x] * total[y, x] / overlap[y, x]
            score = (cross[y, x] - rest) / max(square[y, x] - rest, np.float32(1e-6))
            score *= np.sqrt(overlap[y, x] / area)
            if score > best:
                best, row, column = score, y, x
    return row, column
