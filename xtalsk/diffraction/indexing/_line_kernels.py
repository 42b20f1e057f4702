"""Compiled twin of `_peak_search.find_lines` for processors, profile after profile, in double precision."""

import numpy as np

from xtalsk.diffraction._constants import (
    LINE_LAG,
    LINE_REACH,
    LINE_SMOOTHING,
    QUIET_SHARE,
)
from xtalsk.diffraction._peak_search import _DEVIATION_VARIANCE, _QUIET_QUANTILE
from xtalsk.utils._compiled import compiled

_QUIET = np.float32(QUIET_SHARE)  # torch multiplies a whole number by it in single precision
_SPREAD = _DEVIATION_VARIANCE**0.5
_REACH = int(3 * LINE_SMOOTHING)  # of the Gaussian, in bins


@compiled
def _smooth(profile, weights, smooth):
    """Smooth one profile as `_functional.smooth_profiles`; NaN stays NaN."""
    n = len(profile)
    for i in range(n):
        total = share = 0.0
        for j in range(max(i - _REACH, 0), min(i + _REACH, n - 1) + 1):
            if not np.isnan(profile[j]):
                total += profile[j] * weights[j - i + _REACH]
                share += weights[j - i + _REACH]
        smooth[i] = np.nan if np.isnan(profile[i]) else total / max(share, 1e-12)


@compiled
def _fill_gaps(smooth):
    """Fill gaps as `_functional.fill_gaps`; 0 if nothing was measured."""
    before, n = -1, len(smooth)
    for i in range(n):
        if np.isnan(smooth[i]):
            continue
        for j in range(before + 1, i):
            if before < 0:
                smooth[j] = smooth[i]
            else:
                part = np.float64(np.float32(j - before) / np.float32(i - before))
                smooth[j] = smooth[before] * (1 - part) + smooth[i] * part
        before = i
    for j in range(before + 1, n):
        smooth[j] = smooth[before] if before >= 0 else 0.0


@compiled
def _noise(smooth, measured, deviations):
    """Noise of one profile, a standard deviation, from its quietest bins."""
    n = 0
    for i in range(LINE_LAG, len(smooth) - LINE_LAG):
        if measured[i] and measured[i - LINE_LAG] and measured[i + LINE_LAG]:
            deviations[n] = abs(smooth[i] - (smooth[i - LINE_LAG] + smooth[i + LINE_LAG]) / 2)
            n += 1
    if n == 0:
        return 0.0
    rank = min(np.int64(_QUIET * np.float32(n)), n - 1)
    return np.partition(deviations[:n], rank)[rank] / _QUIET_QUANTILE / _SPREAD


@compiled
def _prominence(smooth, i):
    """Height of bin ``i`` above the higher one of its two feet within `LINE_REACH` bins."""
    left, right = smooth[i], smooth[i]
    for j in range(i - 1, max(i - LINE_REACH, 0) - 1, -1):
        if smooth[j] > smooth[i]:
            break
        left = min(left, smooth[j])
    for j in range(i + 1, min(i + LINE_REACH, len(smooth) - 1) + 1):
        if smooth[j] > smooth[i]:
            break
        right = min(right, smooth[j])
    return smooth[i] - max(left, right)


@compiled
def lines_of_profiles(profiles, q0, step, n_sigma, min_height, q, prominence, total):
    """Write the lowest lines of profiles into ``q``, ``prominence`` (n, n_lines) and ``total`` (n,)."""
    n, n_bins = profiles.shape
    smooth, deviations = np.empty(n_bins), np.empty(n_bins)
    weights = np.exp(-0.5 * (np.arange(-_REACH, _REACH + 1) / LINE_SMOOTHING) ** 2)
    weights /= weights.sum()
    for row in range(n):
        _smooth(profiles[row], weights, smooth)
        measured = ~np.isnan(profiles[row])
        _fill_gaps(smooth)
        least = max(n_sigma * _noise(smooth, measured, deviations), min_height * smooth.max())
        n_found = 0
        for i in range(1, n_bins - 1):
            if not (smooth[i] > smooth[i - 1] and smooth[i] >= smooth[i + 1] and measured[i]):
                continue
            height = _prominence(smooth, i)
            if height < least or height <= 0:
                continue
            if n_found < q.shape[1]:
                left, right = smooth[i - 1], smooth[i + 1]
                curvature = left - 2 * smooth[i] + right
                shift = (left - right) / (2 * curvature) if curvature < 0 else 0.0
                q[row, n_found] = q0 + (i + shift) * step
                prominence[row, n_found] = height
            n_found += 1
        total[row] = n_found
