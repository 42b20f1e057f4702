"""Compiled loops of the search for the two-dimensional lattice of spots."""

import numpy as np

from xtalsk.diffraction.spots._constants import (
    INDEXED_WIDTHS,
    PATTERSON_LEVEL,
    PATTERSON_SHORTEST,
    PATTERSON_STEP,
    PATTERSON_VECTORS,
    STRAY_SHARE,
)
from xtalsk.utils._compiled import compiled


@compiled
def highest_vectors(patterson, unit):
    """Find the maxima of a Patterson function that are vectors of a lattice.

    Parameters
    ----------
    patterson : float32 ndarray of shape (n_rows, n_columns)
        Rows from y = 0 upwards, columns from the lowest x to the highest.
    unit : float
        Inverse of the largest q in Å.

    Returns
    -------
    vectors : ndarray of shape (n, 2)
        x and y in Å, shortest first.
    heights : ndarray of shape (n,)
    """
    h, w = patterson.shape
    middle = w // 2
    step = PATTERSON_STEP * unit
    shortest2 = (PATTERSON_SHORTEST / PATTERSON_STEP) ** 2
    vectors, heights = np.empty((1024, 2)), np.empty(1024)
    n = 0
    for i in range(h - 1):
        for j in range(1, w - 1):
            if i * i + (j - middle) ** 2 < shortest2 or (i == 0 and j <= middle) or n == 1024:
                continue
            value = patterson[i, j]
            left, right = patterson[i, j - 1], patterson[i, j + 1]
            up = patterson[i + 1, j]
            down = patterson[i - 1, j] if i > 0 else patterson[1, 2 * middle - j]
            if value < 0.2 or value < left or value <= right or value <= up or value < down:
                continue
            dx = 0.5 * (left - right) / min(left + right - 2 * value, -1e-6)
            dy = 0.5 * (down - up) / min(down + up - 2 * value, -1e-6)
            vectors[n, 0] = (j - middle + min(max(dx, -0.5), 0.5)) * step
            vectors[n, 1] = (i + min(max(dy, -0.5), 0.5)) * step
            heights[n] = value - 0.25 * ((left - right) * dx + (down - up) * dy) * 0.5
            n += 1
    if n == 0:
        return vectors[:0], heights[:0]
    vectors, heights = vectors[:n], heights[:n]
    kept = np.flatnonzero(heights >= PATTERSON_LEVEL * heights.max())
    length = vectors[kept, 0] ** 2 + vectors[kept, 1] ** 2
    value = heights[kept] - 0.15 * np.sqrt(length / length.max())  # shorter vectors first if similar
    kept = kept[np.argsort(-value)[:PATTERSON_VECTORS]]
    return vectors[kept], heights[kept]


@compiled
def lattice_score(q, weight, error, direct, reciprocal):
    """Mean logarithm of the likelihood of spots on a lattice against that of random positions.

    Parameters
    ----------
    q : ndarray of shape (n, 2)
        In 1/Å.
    weight : ndarray of shape (n,)
        Their sum is 1.
    error : ndarray of shape (n,)
        Standard deviation of a position along one axis in 1/Å.
    direct, reciprocal : ndarray of shape (2, 2)
        Basis vectors as rows, in Å and 1/Å.
    """
    area = abs(reciprocal[0, 0] * reciprocal[1, 1] - reciprocal[0, 1] * reciprocal[1, 0])
    score = 0.0
    for s in range(len(q)):
        h = direct[0, 0] * q[s, 0] + direct[0, 1] * q[s, 1]
        k = direct[1, 0] * q[s, 0] + direct[1, 1] * q[s, 1]
        h -= np.round(h)
        k -= np.round(k)
        x = h * reciprocal[0, 0] + k * reciprocal[1, 0]
        y = h * reciprocal[0, 1] + k * reciprocal[1, 1]
        variance = error[s] * error[s]
        density = np.exp(-0.5 * (x * x + y * y) / variance) / (2 * np.pi * variance)
        score += weight[s] * np.log((1 - STRAY_SHARE) * density * area + STRAY_SHARE)
    return score


@compiled
def invert(matrix):
    """Inverse transpose of a 2 x 2 matrix: the reciprocal of basis vectors in rows."""
    determinant = matrix[0, 0] * matrix[1, 1] - matrix[0, 1] * matrix[1, 0]
    out = np.empty((2, 2))
    out[0, 0], out[0, 1] = matrix[1, 1] / determinant, -matrix[1, 0] / determinant
    out[1, 0], out[1, 1] = -matrix[0, 1] / determinant, matrix[0, 0] / determinant
    return out


@compiled
def reduce_basis(basis):
    """Return the two shortest vectors of a lattice at an angle of 60 to 90 degrees, shortest first."""
    a, b = basis[0].copy(), basis[1].copy()
    for _ in range(64):
        if a @ a > b @ b:
            a, b = b, a
        n = np.round((a @ b) / (a @ a))
        if n == 0:
            break
        b = b - n * a
    if a @ b < 0:
        b = -b
    out = np.empty((2, 2))
    out[0], out[1] = a, b
    return out


@compiled
def fit_lattice(q, weight, error, reciprocal):
    """Refine a lattice and a common shift of the spots by least squares on the indexed spots.

    Returns
    -------
    reciprocal : ndarray of shape (2, 2)
    shift : ndarray of shape (2,)
        In 1/Å; the lattice is that of q - shift.
    """
    shift = np.zeros(2)
    best = reciprocal.copy()
    n = len(q)
    for step in range(3):
        direct = invert(best)
        matrix, right = np.zeros((3, 3)), np.zeros((3, 2))
        number = 0
        row = np.ones(3)
        for s in range(n):
            x, y = q[s, 0] - shift[0], q[s, 1] - shift[1]
            h, k = direct[0, 0] * x + direct[0, 1] * y, direct[1, 0] * x + direct[1, 1] * y
            row[0], row[1] = np.round(h), np.round(k)
            dh, dk = h - row[0], k - row[1]
            dx, dy = dh * best[0, 0] + dk * best[1, 0], dh * best[0, 1] + dk * best[1, 1]
            if dx * dx + dy * dy > (INDEXED_WIDTHS * error[s]) ** 2 * (4 if step == 0 else 1):
                continue
            number += 1
            w = weight[s] / (error[s] * error[s])
            for a in range(3):
                for b in range(3):
                    matrix[a, b] += w * row[a] * row[b]
                right[a, 0] += w * row[a] * q[s, 0]
                right[a, 1] += w * row[a] * q[s, 1]
        if number < 3:
            return best, shift
        spread = matrix[0, 0] + matrix[1, 1] + matrix[2, 2]
        matrix[2, 2] += 1e-3 * spread + (1e6 * spread if number < 6 else 0.0)  # few spots: no shift
        matrix[0, 0] += 1e-9 * spread
        matrix[1, 1] += 1e-9 * spread
        solution = np.linalg.solve(matrix, right)
        area = abs(solution[0, 0] * solution[1, 1] - solution[0, 1] * solution[1, 0])
        old = abs(best[0, 0] * best[1, 1] - best[0, 1] * best[1, 0])
        if not 0.8 * old < area < 1.25 * old:
            return best, shift
        best = solution[:2].copy()
        shift = solution[2].copy()
    return best, shift


@compiled
def rank_lattices(q, weight, error, vectors, same):
    """Find the best lattice of pairs of vectors, and the best one of another area.

    Returns
    -------
    bases : ndarray of shape (2, 2, 2)
        Reciprocal basis vectors as rows in 1/Å; NaN if there is no second lattice.
    scores : ndarray of shape (2,)
    """
    bases, scores = np.full((2, 2, 2), np.nan), np.full(2, -np.inf)
    areas = np.full(2, np.nan)
    direct = np.empty((2, 2))
    n = len(vectors)
    for i in range(n):
        for j in range(i):
            cross = vectors[i, 0] * vectors[j, 1] - vectors[i, 1] * vectors[j, 0]
            length = np.sqrt((vectors[i] @ vectors[i]) * (vectors[j] @ vectors[j]))
            if abs(cross) < 0.25 * length:
                continue
            direct[0], direct[1] = vectors[i], vectors[j]
            reciprocal = invert(direct)
            score = lattice_score(q, weight, error, direct, reciprocal)
            area = 1 / abs(cross)
            is_same = abs(area - areas[0]) < same * area
            if score > scores[0]:
                if not is_same:
                    bases[1], scores[1], areas[1] = bases[0], scores[0], areas[0]
                bases[0], scores[0], areas[0] = reciprocal, score, area
            elif score > scores[1] and not is_same:
                bases[1], scores[1], areas[1] = reciprocal, score, area
    return bases, scores


@compiled
def index_spots(q, error, reciprocal):
    """Return the indices (n, 2) of the nearest nodes, and the distances (n,) from them in 1/Å."""
    direct = invert(reciprocal)
    indices, distance = np.empty((len(q), 2), np.int64), np.empty(len(q))
    for s in range(len(q)):
        h = direct[0, 0] * q[s, 0] + direct[0, 1] * q[s, 1]
        k = direct[1, 0] * q[s, 0] + direct[1, 1] * q[s, 1]
        indices[s, 0], indices[s, 1] = int(np.round(h)), int(np.round(k))
        h -= np.round(h)
        k -= np.round(k)
        x = h * reciprocal[0, 0] + k * reciprocal[1, 0]
        y = h * reciprocal[0, 1] + k * reciprocal[1, 1]
        distance[s] = np.sqrt(x * x + y * y)
    return indices, distance
