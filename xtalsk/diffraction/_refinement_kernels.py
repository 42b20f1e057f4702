"""Compiled loops of the refinement of centre and ellipticity: the twin of `_refinement`, image by image."""

import numpy as np

from xtalsk.diffraction._constants import (
    ELLIPTICITY_SPREAD,
    ELLIPTICITY_STEP,
    MAX_ELLIPTICITY,
    MIN_ANGLE_SHARE,
    RADIUS_SHARE,
)
from xtalsk.diffraction._geometry_kernels import sample_rings
from xtalsk.utils._compiled import compiled_any_order as compiled


@compiled
def _residuals(total, share, least):
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
def _normal_equations(gram, mean, moments, total, scatter, is_full, slopes, free, arc):
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
def _slopes(profile, is_full, kernel):
    """Slopes of a profile (n_radii,), plain and smoothed, (2, n_radii); 0 beside incomplete rings."""
    n, reach = len(profile), len(kernel) // 2
    slopes, is_inner = np.zeros((2, n)), is_full.copy()
    for r in range(1, n - 1):
        is_inner[r] = is_full[r - 1] and is_full[r] and is_full[r + 1]
        slopes[0, r] = (profile[r + 1] - profile[r - 1]) / 2 if is_inner[r] else 0.0
    for r in range(n):
        if is_inner[r]:
            for k in range(max(0, r - reach), min(n, r + reach + 1)):
                slopes[1, r] += kernel[k - r + reach] * slopes[0, k]
    return slopes


@compiled
def refine(image, valid, is_whole, parameters, free, spread, kernel, directions, shapes, basis, products):
    """Return the parameters after one Gauss-Newton step; see `_refinement.refine`.

    Parameters
    ----------
    image, valid : float32 ndarrays of shape (h, w)
        Intensities of even noise; 1 for valid pixels, else 0.
    is_whole : bool
        Whether all pixels are valid.
    parameters, free : float64 ndarrays of shape (4,)
        Row and column of the centre and terms of the ellipse; 1 for those that are refined.
    spread : float
        Standard deviation of the smoothing of the profile in pixels.
    kernel : float32 ndarray of shape (n_taps,)
        Kernel of that smoothing.
    directions, shapes, basis, products : float32 ndarrays
        What `_compiled_geometry.angular_functions` returns.

    Returns
    -------
    float64 ndarray of shape (4,)
    """
    n_angles = directions.shape[1]
    n_radii = int(np.ceil(max(image.shape) * RADIUS_SHARE - 1))
    center, ellipticity = parameters[:2].astype(np.float32), parameters[2:].astype(np.float32)
    weighted, weight = sample_rings(
        image, valid, is_whole, center, ellipticity, directions, shapes, np.float32(1), n_radii
    )
    total, profile, scatter, is_full = _residuals(weighted, weight, np.float32(MIN_ANGLE_SHARE * n_angles))
    left, right, noise = _normal_equations(
        np.dot(weight, products),
        np.dot(weight, basis),
        np.dot(weighted, basis),
        total,
        scatter,
        is_full,
        _slopes(profile, is_full, kernel),
        free,
        2 * np.pi / n_angles,
    )
    for k in range(4):
        stiffness = noise / ELLIPTICITY_SPREAD**2 if k > 1 else 0.0
        right[k] -= stiffness * parameters[k]
        left[k, k] += stiffness + 1e-6 * left[k, k] + 1e-12 + (1 - free[k])
    step, refined = np.linalg.solve(left, right), parameters.copy()
    for k in range(4):
        limit = ELLIPTICITY_STEP if k > 1 else 2 * spread
        refined[k] += min(max(step[k] * free[k], -limit), limit)
        if k > 1:
            refined[k] = min(max(refined[k], -MAX_ELLIPTICITY), MAX_ELLIPTICITY)
    return refined
