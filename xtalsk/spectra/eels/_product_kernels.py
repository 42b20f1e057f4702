"""Compiled scalar products of templates of edges with columns of a model."""

import numpy as np
from numba import uint64

from xtalsk.utils._compiled import compiled
from xtalsk.utils._compiled import compiled_any_order as compiled_sum


@compiled
def occupied_bins(columns):
    """First bin in which each column of ``columns`` (k, n_bins) is not zero, and the bin after the last one.

    Returns
    -------
    starts, stops : ndarray of int, shape (k,)
        Both are 0 for a column of zeros.
    """
    k, n_bins = columns.shape
    starts, stops = np.zeros(k, np.int64), np.zeros(k, np.int64)
    for j in range(k):
        stop = n_bins
        while stop > 0 and columns[j, stop - 1] == 0:
            stop -= 1
        start = 0
        while start < stop and columns[j, start] == 0:
            start += 1
        starts[j], stops[j] = start, stop
    return starts, stops


@compiled_sum
def products_with_poses(poses, first, columns):
    """Scalar products of columns with poses, ``columns @ poses.T``, without the bins in which they are zero.

    Two poses and four columns are multiplied at once, so that each number that is read serves several
    products. Columns that end in nearby bins stand together.

    Parameters
    ----------
    poses : ndarray of shape (n_poses, n_bins)
    first : ndarray of int, shape (n_poses,)
        First bin in which each pose is not zero.
    columns : ndarray of shape (k, n_bins)

    Returns
    -------
    ndarray of shape (k, n_poses)
    """
    (n, n_bins), k = poses.shape, len(columns)
    starts, stops = occupied_bins(columns)
    order = np.argsort(stops * (n_bins + 1) + starts)
    products = np.empty((k, n))
    flat, flat_columns = poses.ravel(), columns.ravel()
    for p in range(0, n, 2):
        q = min(p + 1, n - 1)
        for j in range(0, k, 4):
            a, b = order[j], order[min(j + 1, k - 1)]
            c, d = order[min(j + 2, k - 1)], order[min(j + 3, k - 1)]
            start = max(min(first[p], first[q]), min(starts[a], starts[b], starts[c], starts[d]))
            stop = max(start, stops[a], stops[b], stops[c], stops[d])
            at_p, at_q = uint64(p * n_bins + start), uint64(q * n_bins + start)
            at_a, at_b = uint64(a * n_bins + start), uint64(b * n_bins + start)
            at_c, at_d = uint64(c * n_bins + start), uint64(d * n_bins + start)
            pa = pb = pc = pd = qa = qb = qc = qd = 0.0
            for bin_ in range(uint64(stop - start)):  # unsigned: signed places are not vectorised
                i = uint64(bin_)
                x, y = flat[at_p + i], flat[at_q + i]
                pa += x * flat_columns[at_a + i]
                pb += x * flat_columns[at_b + i]
                pc += x * flat_columns[at_c + i]
                pd += x * flat_columns[at_d + i]
                qa += y * flat_columns[at_a + i]
                qb += y * flat_columns[at_b + i]
                qc += y * flat_columns[at_c + i]
                qd += y * flat_columns[at_d + i]
            products[a, p], products[b, p], products[c, p], products[d, p] = pa, pb, pc, pd
            products[a, q], products[b, q], products[c, q], products[d, q] = qa, qb, qc, qd
    return products


@compiled_sum
def weighted_squares(poses, first, weight):
    """Weighted sum of squares of each pose, ndarray of shape (n_poses,).

    ``poses`` and ``first`` are those of `products_with_poses`, ``weight`` has the shape (n_bins,).
    """
    n, n_bins = poses.shape
    sums, flat = np.empty(n), poses.ravel()
    for p in range(n):
        at, start, total = uint64(p * n_bins + first[p]), uint64(first[p]), 0.0
        for bin_ in range(uint64(n_bins - first[p])):
            i = uint64(bin_)
            total += flat[at + i] * flat[at + i] * weight[start + i]
        sums[p] = total
    return sums
