"""Compiled random numbers and Poisson counts.

Each random number is a function of a key and a counter (SplitMix64: G. L. Steele, D. Lea and C. H. Flood,
OOPSLA 2014, 453). The numbers of an image therefore depend neither on the order of the work nor on threads.
"""

import math

import numpy as np

from xtalsk.utils._compiled import compiled

_STEP = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_S30, _S27, _S31, _S11, _S40 = (np.uint64(shift) for shift in (30, 27, 31, 11, 40))
_LAYER_MASK, _SIGN_BIT = np.uint64(255), np.uint64(256)
_UNIT, _SHORT_UNIT = 2.0**-53, np.float32(2.0**-24)
PIXELS_OF_LINE = 1024  # counts drawn at once
_TAIL = 3.6541528853610088  # start of the tail of the normal distribution for 256 layers


def _layers():
    """Make the edges and heights of 256 layers of equal area (G. Marsaglia and W. W. Tsang, 2000)."""
    area = _TAIL * math.exp(-(_TAIL**2) / 2) + math.sqrt(math.pi / 2) * math.erfc(_TAIL / math.sqrt(2))
    edges = np.zeros(257)
    edges[0], edges[1] = area / math.exp(-(_TAIL**2) / 2), _TAIL
    for layer in range(2, 256):
        edges[layer] = math.sqrt(
            -2 * math.log(area / edges[layer - 1] + math.exp(-(edges[layer - 1] ** 2) / 2))
        )
    return edges, np.exp(-(edges**2) / 2)


_EDGES, _HEIGHTS = _layers()


@compiled
def mix(number):
    """Mix the bits of a 64-bit integer."""
    number = (number ^ (number >> _S30)) * _FIRST
    number = (number ^ (number >> _S27)) * _SECOND
    return number ^ (number >> _S31)


@compiled
def random_bits(key, counter):
    """Return the 64 random bits of a key and a counter."""
    return mix(key + np.uint64(counter) * _STEP)


@compiled
def key_of(seed, purpose):
    """Return the key of one purpose, a small integer, of the numbers that follow from a seed."""
    return mix(mix(np.uint64(seed) + _STEP) + np.uint64(purpose) * _STEP)


@compiled
def uniform(bits):
    """Return a uniform number from 0 to 1 (exclusive)."""
    return (bits >> _S11) * _UNIT


@compiled
def standard_normal(bits):
    """Return a number of the standard normal distribution, by the ziggurat method."""
    while True:
        layer = np.int64(bits & _LAYER_MASK)
        value = uniform(bits) * _EDGES[layer]
        sign = -1.0 if bits & _SIGN_BIT else 1.0
        if value < _EDGES[layer + 1]:
            return sign * value
        bits = mix(bits + _STEP)
        if layer == 0:
            while True:
                excess = -math.log(1 - uniform(bits)) / _TAIL
                bits = mix(bits + _STEP)
                if -2 * math.log(1 - uniform(bits)) > excess * excess:
                    return sign * (_TAIL + excess)
                bits = mix(bits + _STEP)
        low, high = _HEIGHTS[layer], _HEIGHTS[layer + 1]
        if low + uniform(bits) * (high - low) < math.exp(-value * value / 2):
            return sign * value
        bits = mix(bits + _STEP)


@compiled
def count_line(rates, key, first, table, per_count, largest, counts, high):
    """Draw Poisson counts of a few pixels; those of large rates are drawn last, which is twice as fast.

    Parameters
    ----------
    rates : ndarray of float32, shape (n,)
        Expected counts, at least 0.
    key : uint64
    first : int
        Counter of the random bits of the first pixel.
    table : ndarray of uint8, shape (n_rates, n_slots)
        Quantiles; n_slots must be a power of 2.
    per_count : float32
        Rows of the table for each whole count.
    largest : float32
        Largest expectation in the table.
    counts : ndarray of float32, shape (n,)
        Output; must not be ``rates``.
    high : ndarray of int32, shape (n,)
        Scratch.
    """
    n_high = 0
    mask = np.uint64(table.shape[1] - 1)
    for i in range(len(rates)):
        bits = random_bits(key, first + i)
        rate = rates[i]
        high[n_high] = i
        n_high += rate > largest
        # one of the two nearest tabulated expectations is chosen at random, so that the mean is right
        share = np.float32(np.uint32(bits >> _S40)) * _SHORT_UNIT
        level = np.uint32(min(rate, largest) * per_count + share)
        counts[i] = table[level, np.uint32(bits & mask)]
    for k in range(n_high):
        i = high[k]
        z = standard_normal(random_bits(key, first + i))
        rate = np.float64(rates[i])
        # quantile of the normal distribution, corrected for skewness
        counts[i] = max(0.0, np.rint(rate + math.sqrt(rate) * z + (z * z - 1) / 6))


@compiled
def draw_counts(rates, key, table, per_count, largest, counts, first, last):
    """Draw the counts of the flat arrays ``rates`` from ``first`` to ``last`` into ``counts``."""
    high = np.empty(PIXELS_OF_LINE, np.int32)
    for start in range(first, last, PIXELS_OF_LINE):
        part = slice(start, min(start + PIXELS_OF_LINE, last))
        count_line(rates[part], key, start, table, per_count, largest, counts[part], high)
