"""Compiled medians of parts of a spectrum."""

import numpy as np

from xtalsk.utils._compiled import compiled


@compiled
def segment_medians(values, n_segments):
    """Medians of the parts into which `numpy.array_split` divides values, ndarray of shape (n_segments,)."""
    size, n_longer = divmod(len(values), n_segments)
    medians, start = np.empty(n_segments), 0
    for i in range(n_segments):
        stop = start + size + (i < n_longer)
        medians[i] = np.median(values[start:stop])
        start = stop
    return medians
