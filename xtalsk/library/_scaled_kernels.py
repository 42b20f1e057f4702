"""Compiled loops of the comparison at several line widths and scales: each row with its candidates."""

import numpy as np

from xtalsk.library._constants import MASK_BINS, SMALLEST_SHARE
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
def _product(a, b):
    """Scalar product of two arrays."""
    total = np.float32(0)
    for j in range(len(a)):
        total += a[j] * b[j]
    return total


@compiled
def compare_coarse(
    values,
    measured,
    own,
    entries,
    squares,
    entries_measured,
    is_whole,
    costs,
    step,
    is_candidate,
    cosine,
    nearest,
):
    """Compare one coarse profile with the entries that are candidates, at each scale.

    Parameters
    ----------
    values : ndarray of shape (n_scales, n_bins)
        The profile at each scale, of length 1.
    measured, own : ndarray of shape (n_scales, n_groups)
        Share of measured bins, and sum of squares, in each group of bins.
    entries : ndarray of shape (n_entries, n_bins)
        Of length 1.
    squares, entries_measured : ndarray of shape (n_entries, n_groups)
        Sums of squares and numbers of measured bins in each group of bins.
    is_whole : bool
        Whether all bins of all entries were measured.
    costs : ndarray of shape (n_scales,)
    step : int
        Scales of the second stage for each of these.
    is_candidate : bool ndarray of shape (n_entries,)
    cosine, nearest : ndarray of shape (n_entries,)
        Results: the largest cosine less the cost of the scale, and the number of this scale.
    """
    smallest = np.float32(SMALLEST_SHARE)
    for entry in range(len(entries)):
        if is_candidate[entry]:
            best = np.float32(-np.inf)
            for k in range(len(values)):
                length = _product(measured[k], squares[entry])
                if not is_whole:
                    length *= _product(own[k], entries_measured[entry]) / np.float32(MASK_BINS)
                similarity = _product(values[k], entries[entry]) / np.sqrt(max(length, smallest)) - costs[k]
                if similarity > best:
                    best = similarity
                    nearest[entry] = k * step
            cosine[entry] = best


@compiled
def best_scales(products, lengths, costs, step, rows, first, cosine, nearest):
    """Find the scale that fits each entry of a block best, for several rows.

    Parameters
    ----------
    products, lengths : ndarray of shape (n_scales, n_rows, n_block)
        Scalar products of the rows with the entries of the block, and squares of lengths.
    costs, step
        See `compare_coarse`.
    rows : int ndarray of shape (n_rows,)
        Places of the rows in the results.
    first : int
        First entry of the block.
    cosine, nearest : ndarray of shape (n, n_entries)
        Results, as those of `compare_coarse`.
    """
    smallest, n_block = np.float32(SMALLEST_SHARE), products.shape[2]
    best, scale = np.empty(n_block, np.float32), np.empty(n_block, np.int32)
    for i in range(len(rows)):
        best[:], scale[:] = -np.inf, 0
        for k in range(len(products)):
            product, length, cost = products[k, i], lengths[k, i], costs[k]
            for entry in range(n_block):
                similarity = product[entry] / np.sqrt(max(length[entry], smallest)) - cost
                scale[entry] = k if similarity > best[entry] else scale[entry]
                best[entry] = max(similarity, best[entry])
        for entry in range(n_block):
            cosine[rows[i], first + entry], nearest[rows[i], first + entry] = best[entry], scale[entry] * step


@compiled
def refine_row(values, measured, packed, candidates, nearest, costs, reach, cosine, scale, width):
    """Find the line width and the scale that fit each candidate of one row best.

    First the width is found at the scale of the first stage, then the scale at this width.

    Parameters
    ----------
    values, measured : ndarray of shape (n_scales, n_bins)
        The profile at each scale, 0 where not measured; 1 where measured, else 0.
    packed : int8 ndarray of shape (n_entries, n_widths, n_bins)
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
        for k in range(packed.shape[1]):
            similarity = _cosine(values[middle], measured[middle], packed[entry, k]) - costs[middle]
            if similarity > best:
                best, width[c] = similarity, k
        scale[c] = middle
        for s in range(max(0, middle - reach), min(len(values), middle + reach + 1)):
            if s != middle:
                similarity = _cosine(values[s], measured[s], packed[entry, width[c]]) - costs[s]
                if similarity > best:
                    best, scale[c] = similarity, s
        cosine[c] = best
