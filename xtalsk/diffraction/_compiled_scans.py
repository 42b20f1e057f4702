"""Powder scans on a CPU, one by one with compiled loops."""

from functools import lru_cache

import numpy as np
import torch

from xtalsk.diffraction import _scan_kernels as kernels
from xtalsk.diffraction._constants import MAX_GAP, MIN_BIN_SHARE, SMOOTH_SHARE
from xtalsk.utils._threads import for_each


def bin_means(q, intensity, edges):
    """Mean over bins of float64 scans (n, n_points) on a CPU; see `_functional.bin_mean`."""
    q, intensity, edges = (values.contiguous().numpy() for values in (q, intensity, edges))
    out = np.empty((len(q), len(edges) - 1))
    shares = MIN_BIN_SHARE * np.diff(edges)

    def bin_scan(i):
        steps = np.diff(q[i])
        middle = (len(steps) - 1) // 2
        longest = MAX_GAP * np.partition(steps, middle)[middle]
        kernels.bin_row(q[i], intensity[i], edges, longest, shares, out[i])

    for_each(bin_scan, len(q))
    return torch.from_numpy(out)


@lru_cache(maxsize=64)
def _smooth_weights(n_points):
    """Weights of neighbours in the cubic of Savitzky and Golay, (n_points,)."""
    positions = np.linspace(-1, 1, n_points)
    return np.linalg.pinv(np.vander(positions, 4))[-1].copy()  # the constant term: the value in the middle


def is_rough(values, n_points):
    """Return whether some point of a scan is surely far from a cubic through ``n_points`` neighbours.

    False says nothing: `_plausibility.smooth_reason` then looks at all points and at all differences.
    """
    return kernels.is_rough(values, _smooth_weights(n_points), SMOOTH_SHARE)
