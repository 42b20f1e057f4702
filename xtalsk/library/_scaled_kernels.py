"""Compiled loops of the comparison at several line widths and scales: each row with its candidates."""

import numpy as np

from xtalsk.utils._compiled import compiled_any_order as compiled


@compiled
def _cosine(values, measured, entry):
    """Cosine of a profile (n_bins,), 0 where not measured, with an int8 entry, over the bins of both."""
    product, square, length = np.float32(0), np.float32(0), np.float32(0)
    for j in range(len(entry)):
        both = measured[j] * np.float32(entry[j] != -128)
        value = np.float32(entry[j]) * both
        product += values[j] * value
        square += value * value
        length += values[j] * values[j] * both
    return product / np.sqrt(square * length) if square > 0 and length > 0 else np.float32(0)


@compiled
def refine_row(values, measured, packed, candidates, nearest, costs, reach, cosine, scale, width):
    """Find the line width and the scale that fit each candidate of one row best.

    First the width is found at the scale of the first stage, then the scale at this width.

    Parameters
    ----------
    values, measured : ndarray of shape (n_scales, n_bins)
        The profile at each scale, 0 where not measured; 1 where measured, else 0.
    packed : int8 ndarray of shape (n_widths, n_entries, n_bins)
        The library at each line width, -128 where not measured.
    candidates : int ndarray of shape (n_candidates,)
    nearest : int ndarray of shape (n_candidates,)
        Scale of the first stage.
    costs : ndarray of shape (n_scales,)
        What each scale subtracts from the cosine.
    reach : int
        How many scales below and above the nearest one are tried.
    cosine, scale, width : ndarray of shape (n_candidates,)
        Results: the largest cosine less the cost of the scale, and where it is.
    """
    for c in range(len(candidates)):
        entry, middle, best = candidates[c], nearest[c], np.float32(-np.inf)
        for k in range(len(packed)):
            similarity = _cosine(values[middle], measured[middle], packed[k, entry]) - costs[middle]
            if similarity > best:
                best, width[c] = similarity, k
        scale[c] = middle
        for s in range(max(0, middle - reach), min(len(values), middle + reach + 1)):
            if s != middle:
                similarity = _cosine(values[s], measured[s], packed[width[c], entry]) - costs[s]
                if similarity > best:
                    best, scale[c] = similarity, s
        cosine[c] = best
