"""Compiled loops of the search for spots."""

import numpy as np

from xtalsk.diffraction.spots._constants import (
    CIRCLE_RANK,
    LEVEL_BLOCK,
    MAX_CANDIDATES,
    MIN_CONTRAST,
    N_CIRCLE,
    NOISE_BLOCK,
    NOISE_GROUPS,
    SPARSE_LEVEL,
)
from xtalsk.utils._compiled import compiled

_F = np.float32
_COLUMNS = 7  # row, column, height, background, significance, width, sharpness


@compiled
def bin_image(image, factor):
    """Sum blocks of ``factor`` x ``factor`` pixels; the rest at the ends is left out. NaN stays NaN."""
    h, w = image.shape[0] // factor, image.shape[1] // factor
    out = np.zeros((h, w), np.float32)
    for i in range(h * factor):
        for j in range(w * factor):
            out[i // factor, j // factor] += image[i, j]
    return out


@compiled
def noise_table(image):
    """Measure the variance of pixels against their mean.

    Each block gives its mean and the variance of mixed differences of neighbours, which slopes do not change.
    Blocks are grouped by their mean; a low quantile of the variances of a group leaves out spots.

    Parameters
    ----------
    image : float32 ndarray of shape (n_rows, n_columns)
        NaN where it was not measured.

    Returns
    -------
    means, variances : float32 ndarray of shape (n_groups,)
        Means ascend.
    gain : float
        Signal of one electron: slope of the variance with the mean.
    """
    h, w = image.shape[0] // NOISE_BLOCK, image.shape[1] // NOISE_BLOCK
    mean, variance = np.empty(h * w, np.float32), np.empty(h * w, np.float32)
    n = 0
    for i in range(h):
        for j in range(w):
            total, square = _F(0), _F(0)
            for y in range(i * NOISE_BLOCK, (i + 1) * NOISE_BLOCK, 2):
                for x in range(j * NOISE_BLOCK, (j + 1) * NOISE_BLOCK, 2):
                    a, b, c, d = image[y, x], image[y, x + 1], image[y + 1, x], image[y + 1, x + 1]
                    total += a + b + c + d
                    square += (a - b - c + d) ** 2
            if total == total:
                mean[n] = total / _F(NOISE_BLOCK * NOISE_BLOCK)
                variance[n] = square / _F(NOISE_BLOCK * NOISE_BLOCK)
                n += 1
    means, variances = np.zeros(NOISE_GROUPS, np.float32), np.zeros(NOISE_GROUPS, np.float32)
    if n < NOISE_GROUPS:
        return means, variances + _F(1), 1.0
    order = np.argsort(mean[:n])
    for group in range(NOISE_GROUPS):
        members = order[group * n // NOISE_GROUPS : (group + 1) * n // NOISE_GROUPS]
        values = np.sort(variance[members])
        size = len(values)
        first, last = size // 5, max(size // 5 + 1, 3 * size // 5)
        means[group] = np.median(mean[members])
        variances[group] = values[first:last].mean()
    return means, variances, _gain(means, variances)


@compiled
def _gain(means, variances):
    """Slope of the variances with the means, a median over the groups; 0 if it is not measurable."""
    slopes = np.zeros(NOISE_GROUPS - NOISE_GROUPS // 2)
    for k in range(NOISE_GROUPS // 2, NOISE_GROUPS):
        rise = means[k] - means[0]
        if rise > 0:
            slopes[k - NOISE_GROUPS // 2] = max((variances[k] - variances[0]) / rise, 0.0)
    return np.median(slopes)


@compiled
def _variance_at(level, means, variances, gain):
    """Variance of a pixel at an intensity, from the table; at least counting noise of ``gain``."""
    last = len(means) - 1
    if level <= means[0]:
        value = variances[0]
    elif level >= means[last]:
        value = variances[last] + gain * (level - means[last])
    else:
        k = 0
        while level > means[k + 1]:
            k += 1
        part = (level - means[k]) / max(means[k + 1] - means[k], _F(1e-20))
        value = variances[k] + part * (variances[k + 1] - variances[k])
    return value


@compiled
def _significance(excess, variance, gain, area):
    """Return the significance of a signal over the background in standard deviations.

    ``excess`` is the mean signal per pixel over ``area`` pixels, and ``variance`` that of one pixel. Counts
    with further noise follow a shifted Poisson distribution: λ = area variance / gain², n = λ + area excess /
    gain. The significance is that of the likelihood ratio, sqrt(2 (n ln(n / λ) - (n - λ))).
    """
    expected = max(area * variance / (gain * gain), 0.02)
    surplus = area * excess / gain
    observed = expected + surplus
    return np.sqrt(max(2 * (observed * np.log(observed / expected) - surplus), 0.0))


@compiled
def find_candidates(image, smooth, weight, circle, sigma, noise, dark, level, threshold):
    """Find the maxima of a smoothed image that rise significantly above their surroundings.

    Parameters
    ----------
    image, smooth, weight : float32 ndarray of shape (n_rows, n_columns)
        Intensities; smoothed by a Gaussian of ``sigma`` pixels; share of the Gaussian on measured pixels.
    circle : int64 ndarray of shape (n_circle, 2)
        Rows and columns of the samples of the background, relative to a maximum.
    sigma : float
    noise : (means, variances, gain)
        See `noise_table`.
    dark : float
        Level of the image without electrons.
    level : float32 ndarray of shape (n_block_rows, n_block_columns)
        Mean intensity of blocks, for images of few electrons: the background is 0 between them.
    threshold : float
        Least significance.

    Returns
    -------
    float32 ndarray of shape (n, 7)
        Row, column, height above the background in the smoothed image, background, significance, standard
        deviation of the maximum in pixels, and share of the brightest pixel in the signal of 3 x 3 pixels.
    """
    means, variances, gain = noise
    h, w = smooth.shape
    area = 4 * np.pi * sigma * sigma
    out = np.empty((MAX_CANDIDATES, _COLUMNS), np.float32)
    around = np.empty(N_CIRCLE, np.float32)
    n = 0
    for i in range(1, h - 1):
        for j in range(1, w - 1):
            value = smooth[i, j]
            if not _is_maximum(smooth, i, j) or weight[i, j] < 0.7:
                continue
            n_around, n_lower = 0, 0
            for k in range(len(circle)):
                y, x = i + circle[k, 0], j + circle[k, 1]
                if y < 0 or y >= h or x < 0 or x >= w or weight[y, x] < 0.5:
                    continue
                around[n_around] = smooth[y, x]
                n_lower += smooth[y, x] < value
                n_around += 1
            if n_around < 5 or n_lower < 0.7 * n_around:
                continue
            ordered = np.sort(around[:n_around])
            background = ordered[min(CIRCLE_RANK * n_around // N_CIRCLE, n_around - 1)]
            excess = value - background
            if excess <= MIN_CONTRAST * (background - dark):
                continue
            variance = _variance_at(background, means, variances, gain)
            block = level[i // LEVEL_BLOCK, j // LEVEL_BLOCK]
            variance = max(variance, gain * min(block - dark, SPARSE_LEVEL * gain))
            significance = _significance(excess, variance, gain, area)
            if significance < threshold or _is_ridge(smooth, i, j, circle, background + _F(0.5) * excess):
                continue
            if n == MAX_CANDIDATES:
                return out
            out[n, 2], out[n, 3], out[n, 4] = excess, background, significance
            _fit_peak(smooth, i, j, background, out[n])
            out[n, 6] = _sharpness(image, i, j, background)
            n += 1
    return out[:n]


@compiled
def _is_maximum(smooth, i, j):
    value = smooth[i, j]
    if not (value > smooth[i, j - 1] and value >= smooth[i, j + 1]):
        return False
    for k in range(-1, 2):  # noqa: SIM110
        if not (value > smooth[i - 1, j + k] and value >= smooth[i + 1, j + k]):
            return False
    return True


@compiled
def _is_ridge(smooth, i, j, circle, level):
    """Whether a maximum lies on a line: opposite places at two distances are above ``level``."""
    h, w = smooth.shape
    for k in range(len(circle) // 2):
        n_high = 0
        for sign in (-1, 1):
            for far in (1.0, 1.6):
                y, x = i + round(sign * far * circle[k, 0]), j + round(sign * far * circle[k, 1])
                n_high += 0 <= y < h and 0 <= x < w and smooth[y, x] > level
        if n_high == 4:
            return True
    return False


@compiled
def _fit_peak(smooth, i, j, background, out):
    """Fit parabolas to the logarithms of the heights: row, column and width of a Gaussian maximum."""
    floor = _F(0.02) * (smooth[i, j] - background)
    middle = np.log(smooth[i, j] - background)
    curvature = _F(0)
    for axis in range(2):
        if axis == 0:
            before, after = smooth[i - 1, j], smooth[i + 1, j]
        else:
            before, after = smooth[i, j - 1], smooth[i, j + 1]
        before, after = np.log(max(before - background, floor)), np.log(max(after - background, floor))
        bend = min(before + after - 2 * middle, _F(-1e-3))
        out[axis] = (i if axis == 0 else j) + min(max(0.5 * (before - after) / bend, -0.5), 0.5)
        curvature -= bend / 2
    out[5] = 1 / np.sqrt(curvature)


@compiled
def _sharpness(image, i, j, background):
    """Share of the brightest pixel in the signal of 3 x 3 pixels."""
    total, highest = _F(0), _F(0)
    for y in range(i - 1, i + 2):
        for x in range(j - 1, j + 2):
            value = image[y, x] - background
            if value == value:
                total += value
                highest = max(highest, value)
    return highest / max(total, _F(1e-20))


@compiled
def block_levels(smooth, weight):
    """Return means of the smoothed image in blocks, each the median over the blocks around it."""
    h, w = -(-smooth.shape[0] // LEVEL_BLOCK), -(-smooth.shape[1] // LEVEL_BLOCK)
    mean, out = np.zeros((h, w), np.float32), np.zeros((h, w), np.float32)
    for i in range(h):
        for j in range(w):
            total, n = _F(0), 0
            for y in range(i * LEVEL_BLOCK, min((i + 1) * LEVEL_BLOCK, smooth.shape[0]), 2):
                for x in range(j * LEVEL_BLOCK, min((j + 1) * LEVEL_BLOCK, smooth.shape[1]), 2):
                    if weight[y, x] > 0.5:
                        total += smooth[y, x]
                        n += 1
            mean[i, j] = total / max(n, 1)
    for i in range(h):
        for j in range(w):
            out[i, j] = np.median(mean[max(i - 1, 0) : i + 2, max(j - 1, 0) : j + 2])
    return out


@compiled
def block_floor(smooth, weight, size):
    """Return a low quantile of the smoothed image in blocks of ``size`` pixels; NaN without pixels."""
    h, w = -(-smooth.shape[0] // size), -(-smooth.shape[1] // size)
    out = np.empty((h, w), np.float32)
    values = np.empty(size * size, np.float32)
    for i in range(h):
        for j in range(w):
            n = 0
            for y in range(i * size, min((i + 1) * size, smooth.shape[0]), 2):
                for x in range(j * size, min((j + 1) * size, smooth.shape[1]), 2):
                    if weight[y, x] > 0.5:
                        values[n] = smooth[y, x]
                        n += 1
            out[i, j] = np.sort(values[:n])[2 * n // 5] if n else np.nan
    return out
