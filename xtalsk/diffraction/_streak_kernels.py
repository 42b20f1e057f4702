"""Compiled loops of the search for straight bright streaks."""

import numpy as np

from xtalsk.utils._compiled import compiled_any_order as compiled


@compiled
def lowest_values(values, valid, n, heap):
    """Write the ``n`` lowest valid values to ``heap`` (n,), the highest of them first; return their number.

    The heap is that of J. W. J. Williams, Commun. ACM 7, 347 (1964).
    """
    size = 0
    for y in range(values.shape[0]):
        for x in range(values.shape[1]):
            value = values[y, x]
            if not valid[y, x] or (size == n and value >= heap[0]):
                continue
            if size < n:
                place = size
                size += 1
                while place and heap[(place - 1) // 2] < value:
                    heap[place] = heap[(place - 1) // 2]
                    place = (place - 1) // 2
                heap[place] = value
                continue
            place, child = 0, 1
            while child < n:
                child += child + 1 < n and heap[child + 1] > heap[child]
                if heap[child] <= value:
                    break
                heap[place] = heap[child]
                place, child = child, 2 * child + 1
            heap[place] = value
    return size


@compiled
def _sample(level, y, x):
    """Value at a fractional position by bilinear interpolation; 0 outside the image."""
    h, w = level.shape
    if y < 0 or x < 0 or y > h - 1 or x > w - 1:
        return 0.0
    top, left = min(int(y), h - 2), min(int(x), w - 2)
    v, u = y - top, x - left
    upper = level[top, left] + u * (level[top, left + 1] - level[top, left])
    lower = level[top + 1, left] + u * (level[top + 1, left + 1] - level[top + 1, left])
    return upper + v * (lower - upper)


@compiled
def streak_pixels(level, center, sides, one, excess, sigma):
    """Pixels of ``level`` brighter than both sides at the same radius by far; 0 is no measured pixel.

    Returns
    -------
    int32 ndarray of shape (n_pixels, 2)
        Rows and columns.
    """
    h, w = level.shape
    places, n = np.empty((h * w, 2), np.int32), 0
    for row in range(h):
        y = row - center[0]
        for column in range(w):
            value = np.float64(level[row, column])
            limit = (value - sigma * np.sqrt(one * value)) / excess
            if limit <= 0:
                continue
            x = column - center[1]
            radius = np.sqrt(y * y + x * x)
            for side in sides:
                if radius <= 1.5 * side:
                    continue
                a = side / radius
                b = a * a
                s = a * (1 - b / 6 * (1 - b / 20 * (1 - b / 42 * (1 - b / 72 * (1 - b / 110)))))
                c = 1 - b / 2 * (1 - b / 12 * (1 - b / 30 * (1 - b / 56 * (1 - b / 90 * (1 - b / 132)))))
                one_side = _sample(level, center[0] + c * y - s * x, center[1] + c * x + s * y)
                if one_side <= 0 or one_side >= limit:
                    continue
                other = _sample(level, center[0] + c * y + s * x, center[1] + c * x - s * y)
                if 0 < other < limit:
                    places[n] = row, column
                    n += 1
                    break
    return places[:n].copy()


@compiled
def line_votes(places, cosines, sines, offset):
    """Count pixels (n, 2) on lines, int32 (n_angles, 2 * offset), by angle and rounded distance."""
    votes = np.zeros((len(cosines), 2 * offset), np.int32)
    y, x = places[:, 0].astype(np.float64), places[:, 1].astype(np.float64)
    line = np.empty(len(places), np.int32)
    for k in range(len(cosines)):
        for i in range(len(places)):
            line[i] = np.int32(np.rint(cosines[k] * y[i] + sines[k] * x[i]))
        for i in range(len(places)):
            votes[k, line[i] + offset] += 1
    return votes
