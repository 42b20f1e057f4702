"""Compiled twin of `_peak_search.find_lines` for processors, after the smoothing, profile after profile."""

import numpy as np

from xtalsk.diffraction._constants import LINE_LAG, LINE_REACH, QUIET_SHARE
from xtalsk.diffraction._peak_search import _DEVIATION_VARIANCE, _QUIET_QUANTILE
from xtalsk.diffraction.indexing._compiled import compiled

_F = np.float32
_QUIET, _QUANTILE, _SPREAD = _F(QUIET_SHARE), _F(_QUIET_QUANTILE), _F(_DEVIATION_VARIANCE**0.5)
_ZERO, _TWO = _F(0), _F(2)


@compiled
def _noise(smooth, measured, deviations):
    """Noise of one profile, a standard deviation, from its quietest bins."""
    n = 0
    for i in range(LINE_LAG, len(smooth) - LINE_LAG):
        if measured[i] and measured[i - LINE_LAG] and measured[i + LINE_LAG]:
            deviations[n] = abs(smooth[i] - (smooth[i - LINE_LAG] + smooth[i + LINE_LAG]) / _TWO)
            n += 1
    if n == 0:
        return _ZERO
    rank = min(np.int64(_QUIET * _F(n)), n - 1)
    return np.partition(deviations[:n], rank)[rank] / _QUANTILE / _SPREAD


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
def lines_of_profiles(smooth, measured, q0, step, n_sigma, min_height, q, prominence, total):
    """Write the lowest lines of smoothed profiles into ``q``, ``prominence`` (n, n_lines), ``total`` (n,)."""
    n, n_bins = smooth.shape
    deviations = np.empty(n_bins, np.float32)
    for row in range(n):
        profile = smooth[row]
        highest = profile.max()
        least = max(n_sigma * _noise(profile, measured[row], deviations), min_height * highest)
        n_found = 0
        for i in range(1, n_bins - 1):
            if not (profile[i] > profile[i - 1] and profile[i] >= profile[i + 1] and measured[row, i]):
                continue
            height = _prominence(profile, i)
            if height < least or height <= 0:
                continue
            if n_found < q.shape[1]:
                left, right = profile[i - 1], profile[i + 1]
                curvature = left - _TWO * profile[i] + right
                shift = (left - right) / (_TWO * curvature) if curvature < 0 else _ZERO
                q[row, n_found] = q0 + (_F(i) + shift) * step
                prominence[row, n_found] = height
            n_found += 1
        total[row] = n_found
