"""Compiled loops of the search for the direct beam of spot patterns."""

import numpy as np

from xtalsk.utils._compiled import compiled

_DARK = 0.6  # a block is in shadow if its root intensity is below this share of that of its ring
_MOST_RINGS = 64


@compiled
def diffuse_misfits(floor, rows, columns):
    """Measure how far the diffuse intensity is from rings around trial centres.

    Parameters
    ----------
    floor : float32 ndarray of shape (h, w)
        Root of the diffuse intensity in blocks; NaN where it was not measured.
    rows, columns : float ndarray of shape (n,)
        Trial centres in blocks.

    Returns
    -------
    float ndarray of shape (n, n)
        Mean square deviation of the blocks from the mean of their ring.
    """
    h, w = floor.shape
    out = np.empty((len(rows), len(columns)))
    total, number, mean = np.empty(_MOST_RINGS), np.empty(_MOST_RINGS), np.empty(_MOST_RINGS)
    ring, part = np.empty((h, w), np.int64), np.empty((h, w))
    for a in range(len(rows)):
        for b in range(len(columns)):
            for i in range(h):
                for j in range(w):
                    radius = np.sqrt((i - rows[a]) ** 2 + (j - columns[b]) ** 2)
                    ring[i, j] = min(int(radius), _MOST_RINGS - 2)
                    part[i, j] = min(radius - ring[i, j], 1.0)
            mean[:] = 0
            for step in range(2):
                total[:] = 0
                number[:] = 1e-9
                for i in range(h):
                    for j in range(w):
                        value = floor[i, j]
                        k, p = ring[i, j], part[i, j]
                        level = (1 - p) * mean[k] + p * mean[k + 1]
                        if value == value and (step == 0 or value >= _DARK * level):
                            total[k] += (1 - p) * value
                            number[k] += 1 - p
                            total[k + 1] += p * value
                            number[k + 1] += p
                for k in range(_MOST_RINGS):
                    mean[k] = total[k] / number[k]
            misfit, n = 0.0, 1e-9
            for i in range(h):
                for j in range(w):
                    value = floor[i, j]
                    if value == value:
                        k, p = ring[i, j], part[i, j]
                        level = (1 - p) * mean[k] + p * mean[k + 1]
                        n += 1
                        deviation = value - level
                        if value < _DARK * level:
                            deviation = _DARK * level - level  # a shadow counts no more than this
                        misfit += deviation**2
            out[a, b] = misfit / n
    return out


@compiled
def pair_score(spots, weight, center, tolerance, limit):
    """Weight of the Friedel pairs about a trial centre.

    Parameters
    ----------
    spots : float ndarray of shape (n, 2)
    weight : float ndarray of shape (n,)
    center : float ndarray of shape (2,)
    tolerance : float
        Standard deviation of the distance of a spot from the opposite of its partner in pixels.
    limit : float
        Spots nearer to the centre than this have no partner.

    Returns
    -------
    score : float
        Sum over the spots of the lower weight of a spot and its partner, as a share of all weights.
    row, column : float
        Centre refined by the pairs.
    n_pairs : float
        Effective number of spots with a partner.
    """
    score, row, column, n_pairs, total = 0.0, 0.0, 0.0, 0.0, 1e-12
    for i in range(len(spots)):
        y, x = 2 * center[0] - spots[i, 0], 2 * center[1] - spots[i, 1]
        if (spots[i, 0] - center[0]) ** 2 + (spots[i, 1] - center[1]) ** 2 < limit * limit:
            continue
        total += weight[i]
        best, partner = 0.0, -1
        for j in range(len(spots)):
            d2 = ((spots[j, 0] - y) ** 2 + (spots[j, 1] - x) ** 2) / (tolerance * tolerance)
            if d2 < 9:
                value = min(weight[i], weight[j]) * np.exp(-d2 / 2)
                if value > best:
                    best, partner = value, j
        if partner >= 0:
            score += best
            row += best * (spots[i, 0] + spots[partner, 0]) / 2
            column += best * (spots[i, 1] + spots[partner, 1]) / 2
            n_pairs += best / max(weight[i], 1e-12)
    if score > 0:
        return score / total, row / score, column / score, n_pairs
    return 0.0, center[0], center[1], 0.0


@compiled
def trial_centers(spots, weight, middle, reach, most):
    """Midpoints of pairs of spots near a position, those of the strongest pairs first, (n, 2)."""
    n = len(spots)
    found, value = np.empty((n * (n - 1) // 2, 2)), np.empty(n * (n - 1) // 2)
    m = 0
    for i in range(n):
        for j in range(i):
            y, x = (spots[i, 0] + spots[j, 0]) / 2, (spots[i, 1] + spots[j, 1]) / 2
            if (y - middle[0]) ** 2 + (x - middle[1]) ** 2 < reach * reach:
                found[m, 0], found[m, 1] = y, x
                value[m] = min(weight[i], weight[j])
                m += 1
    return found[np.argsort(-value[:m])[:most]]


@compiled
def score_centers(centers, spots, weight, tolerance, limit):
    """`pair_score` of trial centres (n, 2): score, row and column refined, number of pairs, (n, 4)."""
    out = np.empty((len(centers), 4))
    for k in range(len(centers)):
        out[k] = pair_score(spots, weight, centers[k], tolerance, limit)
        moved = (out[k, 1] - centers[k, 0]) ** 2 + (out[k, 2] - centers[k, 1]) ** 2
        if moved > tolerance * tolerance:
            out[k, 1:3] = centers[k]
    return out
