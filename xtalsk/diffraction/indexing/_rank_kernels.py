"""Choice of the highest of many scores, in linear time; among equal scores the first ones."""

import numpy as np

from xtalsk.diffraction.indexing._logarithm_kernels import bits_of_float
from xtalsk.utils._compiled import compiled


@compiled
def key_of(score):
    """Integer that grows with a float32."""
    bits = np.int64(bits_of_float(score))
    return (bits ^ 0x7FFFFFFF if bits < 0 else bits) + 0x80000000


@compiled
def nth_key(scores, n, rank):
    """Key of the score of a rank, 0 for the highest, and how many scores have higher keys."""
    prefix, higher = np.int64(0), 0
    histogram = np.empty(2048, np.int64)
    for shift, n_bits in ((21, 11), (10, 11), (0, 10)):
        histogram[:] = 0
        for i in range(n):
            key = key_of(scores[i])
            if key >> (shift + n_bits) == prefix:
                histogram[(key >> shift) & ((1 << n_bits) - 1)] += 1
        digit = (1 << n_bits) - 1
        while higher + histogram[digit] <= rank:
            higher += histogram[digit]
            digit -= 1
        prefix = (prefix << n_bits) | digit
    return prefix, higher


@compiled
def choose_places(scores, n, n_best, places):
    """Write the places of the ``n_best`` highest of ``n`` scores in increasing order; return their number."""
    if n <= n_best:
        for i in range(n):
            places[i] = i
        return n
    key, higher = nth_key(scores, n, n_best - 1)
    n_equal, kept = n_best - higher, 0
    for i in range(n):
        this = key_of(scores[i])
        if this < key or (this == key and n_equal == 0):
            continue
        n_equal -= this == key
        places[kept] = i
        kept += 1
    return kept
