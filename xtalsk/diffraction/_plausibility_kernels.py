"""Compiled loops of the judgement of images: intensities on rings and what they say of spots and rings."""

import numpy as np

from xtalsk.diffraction._geometry_kernels import sample_rings
from xtalsk.diffraction._radial_kernels import snip_row
from xtalsk.utils._compiled import compiled_any_order as compiled


@compiled
def polar_image(image, valid, center, ellipticity, directions, shapes, first, n_radii, n_angles, least):
    """Mean intensity in parts of rings, float32 (n_radii, n_angles); NaN where less than ``least`` is valid.

    ``image`` is 0 where it is not ``valid``. Each part holds an equal number of the ``directions``.
    """
    is_whole = valid.min() > 0
    total, share = sample_rings(
        image, valid, is_whole, center, ellipticity, directions, shapes, first, n_radii
    )
    n_samples = directions.shape[1] // n_angles
    polar = np.empty((n_radii, n_angles), np.float32)
    for r in range(n_radii):
        for k in range(n_angles):
            value, weight = np.float32(0), np.float32(0)
            for i in range(k * n_samples, (k + 1) * n_samples):
                value += total[r, i]
                weight += share[r, i]
            is_measured = weight > least * n_samples
            polar[r, k] = value / weight if is_measured else np.float32(np.nan)
    return polar


@compiled
def _sort(values, n):
    """Sort the first ``n`` values in place, by insertion with falling gaps (D. L. Shell)."""
    for gap in (23, 10, 4, 1):
        for i in range(gap, n):
            value, j = values[i], i
            while j >= gap and values[j - gap] > value:
                values[j] = values[j - gap]
                j -= gap
            values[j] = value


@compiled
def _median(values, n):
    """Median of the first ``n`` values, which are sorted in place."""
    _sort(values, n)
    return (values[(n - 1) // 2] + values[n // 2]) / np.float32(2)


@compiled
def spots_and_rings(polar, radii, sigma, width, kernel):
    """Sum the intensity of spots, of rings and of both with the background, from intensities on rings."""
    n_radii, n_angles = polar.shape
    median, noise = np.empty(n_radii, np.float32), np.empty(n_radii, np.float32)
    number, above = np.empty(n_radii, np.float32), np.empty(n_radii, np.float32)
    values = np.empty(n_angles, np.float32)
    for r in range(n_radii):
        n = 0
        for k in range(n_angles):
            if not np.isnan(polar[r, k]):
                values[n] = polar[r, k]
                n += 1
        number[r], median[r] = n, _median(values, n)
        for k in range(n):
            values[k] = abs(values[k] - median[r])
        noise[r] = np.float32(1.4826) * _median(values, n)
        above[r] = 0
        for k in range(n_angles):
            if not np.isnan(polar[r, k]):
                above[r] += max(polar[r, k] - median[r] - sigma * noise[r], np.float32(0))
    background = np.empty(n_radii, np.float32)
    snip_row(median, kernel, min(width, (n_radii - 1) // 2), background)
    spots, rings, total = 0.0, 0.0, 0.0
    for r in range(n_radii):
        line = median[r] - background[r] - np.float32(3) * noise[r] / np.sqrt(number[r])
        spots += radii[r] * above[r]
        rings += radii[r] * number[r] * max(line, np.float32(0))
        total += radii[r] * number[r] * median[r]
    return spots, rings, total


@compiled
def rise(polar, radii):
    """Correlation of the radius with the rank of the mean of a ring, weighted by measured lengths."""
    n_radii, n_angles = polar.shape
    mean, weight = np.empty(n_radii), np.empty(n_radii)
    for r in range(n_radii):
        total, number = 0.0, 0
        for k in range(n_angles):
            if not np.isnan(polar[r, k]):
                total += polar[r, k]
                number += 1
        mean[r], weight[r] = total / number, radii[r] * number
    rank = np.zeros(n_radii)
    for r in range(n_radii):
        for s in range(n_radii):
            rank[r] += (mean[s] < mean[r]) + 0.5 * (mean[s] == mean[r])
    whole = weight.sum()
    x, y = radii - (weight * radii).sum() / whole, rank - (weight * rank).sum() / whole
    product = (weight * x * x).sum() * (weight * y * y).sum()
    return (weight * x * y).sum() / np.sqrt(product) if product > 0 else 0.0


@compiled
def round_share(polar, radii):
    """Share of the variance of the roots of intensities that the means of the rings explain."""
    n_radii, n_angles = polar.shape
    whole, squares, weights, explained = 0.0, 0.0, 0.0, 0.0
    for r in range(n_radii):
        total, number = 0.0, 0
        for k in range(n_angles):
            if not np.isnan(polar[r, k]):
                total += np.sqrt(polar[r, k])
                squares += radii[r] * polar[r, k]
                number += 1
        whole += radii[r] * total
        weights += radii[r] * number
        explained += radii[r] * total * total / number
    variance = squares - whole * whole / weights
    inner = squares - explained
    return 1 - inner / variance if variance > 1e-12 * squares else 0.0
