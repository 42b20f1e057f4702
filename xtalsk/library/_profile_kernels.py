"""Compiled loops of search-match: each row with its entries."""

import numpy as np

from xtalsk.utils._compiled import compiled_any_order as compiled


@compiled
def compare_row(values, measured, packed, is_candidate, products, squares):
    """Compare one profile with the entries that are candidates, of packed profiles (n_entries, n_bins).

    ``values`` and ``measured`` (n_bins,) are 0 where the profile was not measured; ``measured`` is 1
    elsewhere. ``products`` (n_entries,) gets the scalar products, ``squares`` the squared lengths of the
    entries over the measured bins. Entries that are no candidates get 0.
    """
    for entry in range(len(packed)):
        product, square = np.float32(0), np.float32(0)
        if is_candidate[entry]:
            for j in range(packed.shape[1]):
                value = np.float32(packed[entry, j])
                product += values[j] * value
                square += measured[j] * value * value
        products[entry], squares[entry] = product, square


@compiled
def _segment_products(segment, padded, widest, width, products):
    """Scalar products of a segment with the profile at each shift up to ``width``, (n_shifts,)."""
    for shift in range(-width, width + 1):
        shifted, total = padded[widest + shift :], np.float32(0)
        for j in range(len(segment)):
            total += segment[j] * shifted[j]
        products[widest + shift] = total


@compiled
def _add_segment(products, scale, widest, width, costs, is_first, best, before):
    """Add the similarity of a segment to the best one up to it, for each shift, in ``best`` (n_shifts,)."""
    n_shifts = len(best)
    for s in range(n_shifts):  # compiles in a fraction of the time of a slice
        before[s] = best[s]
    for bend in range(1, 1 if is_first else min(len(costs), n_shifts)):
        for s in range(n_shifts - bend):
            before[s] = max(before[s], best[s + bend] - costs[bend])
            before[s + bend] = max(before[s + bend], best[s] - costs[bend])
    for s in range(n_shifts):
        shift = np.float32(abs(s - widest))
        gain = products[s] * scale - costs[0] * shift * shift
        best[s] = before[s] + gain if shift <= width else -np.inf


@compiled
def shift_row(padded, measured, packed, widths, scale, candidates, costs, size, out):
    """Similarity of one profile to its candidates after segments were shifted, in ``out`` (n_candidates,).

    Parameters
    ----------
    padded : ndarray of shape (n_segments * size + 2 * max(widths),)
        The profile, with zeros before and after it; 0 where not measured.
    measured : ndarray of shape (n_bins,)
        1 or 0.
    packed : ndarray of shape (n_entries, n_bins)
        0 where not measured.
    widths : int ndarray of shape (n_segments,)
        Largest shift of each segment, in bins.
    scale : ndarray of shape (n_candidates,)
        0 for candidates that are not compared.
    candidates : int ndarray of shape (n_candidates,)
    costs : ndarray of shape (1 + max_bend,)
        Cost of a shift by one bin; of differences by 1, 2 ... bins between neighbouring segments.
    size : int
        Length of the segments.
    """
    widest, n_bins = widths.max(), len(measured)
    segment = np.zeros(size, padded.dtype)
    products, best, before = np.empty((3, 2 * widest + 1), padded.dtype)
    for c in range(len(candidates)):
        best[:] = 0
        for k in range(len(widths) if scale[c] else 0):
            first = k * size
            n_inside = min(size, n_bins - first)
            segment[n_inside:] = 0
            for j in range(n_inside):
                segment[j] = measured[first + j] * np.float32(packed[candidates[c], first + j])
            _segment_products(segment, padded[first:], widest, widths[k], products)
            _add_segment(products, scale[c], widest, widths[k], costs, k == 0, best, before)
        out[c] = min(best.max(), 1.0)
