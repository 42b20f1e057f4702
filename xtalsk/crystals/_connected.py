"""Items that pairs connect."""

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components


def connected_labels(pairs, n):
    """Integer labels (n,) of the connected components of n items, for pairs (m, 2) of connected items."""
    graph = coo_matrix((np.ones(len(pairs)), pairs.T), shape=(n, n))
    return connected_components(graph, directed=False)[1]
