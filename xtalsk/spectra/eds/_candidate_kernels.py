"""Compiled bounds of the amount of each element; see `largest_significance`."""

import numpy as np

from xtalsk.physics._xray_lines import FAMILIES
from xtalsk.spectra.eds._constants import (
    BOUND_SIGMAS,
    CANDIDATE_BACKGROUND_ERROR,
    CANDIDATE_LINE_ERROR,
    K_SLACK,
    SLACK,
    SOFT_SLACK,
)
from xtalsk.spectra.eds._row_kernels import weigh
from xtalsk.utils._compiled import compiled_any_order as compiled

_N_FAMILIES = len(FAMILIES)


@compiled
def _element_bound(amount, information, is_soft):
    """Return the upper bound of the amount of an element, infinite without a visible family; see `weigh`."""
    bound, has_hard = np.inf, False
    for k in range(_N_FAMILIES):
        has_hard |= information[k] > 0 and not is_soft[k]
    for k in range(_N_FAMILIES):
        if information[k] > 0 and not (is_soft[k] and has_hard):
            slack = K_SLACK if k == 0 else SOFT_SLACK if is_soft[k] else SLACK
            own = max(amount[k] / information[k], 0.0) * slack + BOUND_SIGMAS / np.sqrt(information[k])
            bound = min(bound, own)
    return bound


@compiled
def bound_significance(families, is_soft, counts, background, smooth, measured, out):
    """Write the largest significance of each element into ``out`` (n_elements,).

    Parameters
    ----------
    families : Rows
        Counts of each family of lines per unit of mass of the element; four rows for each element.
    is_soft : ndarray of bool, shape (4 * n_elements,)
    counts, background, smooth, measured : ndarray of shape (n_bins,)
        Counts, their background and moving average, and whether a bin was measured.
    out : ndarray of shape (n_elements,)
    """
    n = len(out) * _N_FAMILIES
    net, weights = counts - background, np.empty(len(counts))
    for b in range(len(counts)):
        variance = max(smooth[b], 1.0) + (CANDIDATE_LINE_ERROR * net[b]) ** 2
        weights[b] = measured[b] / (variance + (CANDIDATE_BACKGROUND_ERROR * background[b]) ** 2)
    amount, information = np.empty(n), np.empty(n)
    weigh(families, net, weights, amount, information)
    for z in range(len(out)):
        own = slice(z * _N_FAMILIES, (z + 1) * _N_FAMILIES)
        bound = _element_bound(amount[own], information[own], is_soft[own])
        out[z] = bound * np.sqrt(information[own].max()) if bound < np.inf else 0.0
