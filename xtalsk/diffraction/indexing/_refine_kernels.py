"""Compiled twin of `_refine` for processors, cell after cell, in double precision like `_refine`.

Parameters of cells are padded to four; triclinic cells have six.
"""

import numpy as np

from xtalsk.diffraction.indexing._constants import (
    MAX_CHANGE,
    MIN_DEVIATION,
    PARAMETER_PRICE,
    PARAMETER_WEIGHT,
    REFINE_PARTS,
    SHIFT_WEIGHT,
    TIGHT_SHARE,
)
from xtalsk.diffraction.indexing._search_kernels import CUBIC, HEXAGONAL, ORTHORHOMBIC, TETRAGONAL
from xtalsk.diffraction.indexing._zone_kernels import TRICLINIC, triclinic_determinant
from xtalsk.utils._compiled import compiled

N_BUCKETS = 256  # of the sort of calculated lines
PREDICTED, OBSERVED = 1, 2  # flags of calculated lines


@compiled
def _all_positions(cell, rows, q):
    """Write the positions in 1/Å of all rows (p, n_rows) into ``q``."""
    a, b, c, d = cell[0], cell[1], cell[2], cell[3]
    if len(cell) == 4:
        for r in range(len(q)):
            q2 = a * rows[0, r] + b * rows[1, r] + c * rows[2, r] + d * rows[3, r]
            q[r] = np.sqrt(q2 if q2 > 0.0 else 0.0)
        return
    e, f = cell[4], cell[5]
    for r in range(len(q)):
        q2 = (
            a * rows[0, r]
            + b * rows[1, r]
            + c * rows[2, r]
            + d * rows[3, r]
            + e * rows[4, r]
            + f * rows[5, r]
        )
        q[r] = np.sqrt(q2 if q2 > 0.0 else 0.0)


@compiled
def _nearest_rows(calculated, members, q, nearest, below, above):
    """Write the row of the calculated line nearest to each of the observed lines ``q`` into ``nearest``.

    ``below`` and ``above`` (2, n_lines + 1) hold, for each gap between observed lines, the highest and the
    lowest calculated line in it, and their rows.
    """
    n_lines = len(q)
    below[0, : n_lines + 1], above[0, : n_lines + 1] = -np.inf, np.inf
    last = q[n_lines - 1] if n_lines else -np.inf
    for r in range(len(calculated)):
        if not members[r]:
            continue
        x = calculated[r]
        gap = n_lines
        if x < last:
            gap = 0
            for i in range(n_lines):
                gap += q[i] <= x
        if x < above[0, gap]:
            above[0, gap], above[1, gap] = x, r
        if x >= below[0, gap]:
            below[0, gap], below[1, gap] = x, r
    for gap in range(1, n_lines + 1):
        if below[0, gap - 1] > below[0, gap]:
            below[0, gap], below[1, gap] = below[0, gap - 1], below[1, gap - 1]
    for gap in range(n_lines - 1, -1, -1):
        if above[0, gap + 1] < above[0, gap]:
            above[0, gap], above[1, gap] = above[0, gap + 1], above[1, gap + 1]
    for i in range(n_lines):
        is_below = q[i] - below[0, i] < above[0, i + 1] - q[i]
        nearest[i] = np.int64(below[1, i] if is_below else above[1, i + 1])


@compiled
def _solve(matrix, right, n):
    """Solve the positive definite system of the first ``n`` unknowns in place (Cholesky)."""
    for i in range(n):
        for j in range(i + 1):
            value = matrix[i, j]
            for k in range(j):
                value -= matrix[i, k] * matrix[j, k]
            matrix[i, j] = np.sqrt(value) if i == j else value / matrix[j, j]
        for k in range(i):
            right[i] -= matrix[i, k] * right[k]
        right[i] /= matrix[i, i]
    for i in range(n - 1, -1, -1):
        for k in range(i + 1, n):
            right[i] -= matrix[k, i] * right[k]
        right[i] /= matrix[i, i]


@compiled
def _least_squares_step(cell, n_parameters, shift, rows, nearest, q, tolerance, step, matrix, right, slopes):
    """Make one step of `_refine._least_squares_step` on ``cell`` in place; return the shift."""
    n = n_parameters + 1
    matrix[:n, :n] = 0.0
    right[:n] = 0.0
    scale = 0.0
    for k in range(n_parameters):
        scale += abs(cell[k])
    scale = max(scale / n_parameters, 1e-9)
    for i in range(len(q)):
        r = nearest[i]
        moved = q[i] - shift
        q2 = 0.0
        for k in range(n_parameters):
            q2 += cell[k] * rows[k, r]
        deviation = moved - np.sqrt(max(q2, 0.0))
        if not abs(deviation) < tolerance:
            continue
        for k in range(n_parameters):
            slopes[k] = rows[k, r] * (scale / (2 * max(moved, 1e-3)))
        slopes[n_parameters] = 1.0
        for k in range(n):
            right[k] += slopes[k] * deviation
            for j in range(k + 1):
                matrix[k, j] += slopes[k] * slopes[j]
    for k in range(n_parameters):
        matrix[k, k] += PARAMETER_WEIGHT
    matrix[n_parameters, n_parameters] += SHIFT_WEIGHT
    right[n_parameters] -= SHIFT_WEIGHT * shift
    _solve(matrix, right, n)
    for k in range(n_parameters):
        cell[k] += min(max(right[k], -MAX_CHANGE), MAX_CHANGE) * scale
    return min(max(shift + right[n_parameters], -step), step)


@compiled
def refine_cell(cell, n_parameters, rows, members, q, tolerance, step, work):
    """Refine one cell in place; return the shift of the zero in 1/Å."""
    calculated, nearest, below, above, matrix, right, slopes = work
    _all_positions(cell, rows, calculated)
    _nearest_rows(calculated, members, q, nearest, below, above)
    shift = 0.0
    for part in REFINE_PARTS:
        shift = _least_squares_step(
            cell, n_parameters, shift, rows, nearest, q, part * tolerance, step, matrix, right, slopes
        )
    return shift


@compiled
def calculate_lines(
    cell, rows, members, limit, positions, order, calculated, buckets, unsorted, unsorted_rows
):
    """Write the calculated lines up to ``limit`` and their rows in increasing order; return their number."""
    n = 0
    buckets[:] = 0
    scale = (N_BUCKETS - 1) / limit
    _all_positions(cell, rows, calculated)
    for r in range(len(calculated)):
        if members[r]:
            x = calculated[r]
            if x <= limit:
                unsorted[n], unsorted_rows[n] = x, r
                buckets[np.int64(x * scale) + 1] += 1
                n += 1
    for b in range(N_BUCKETS):
        buckets[b + 1] += buckets[b]
    for i in range(n):
        b = np.int64(unsorted[i] * scale)
        place = buckets[b]
        buckets[b] += 1
        positions[place], order[place] = unsorted[i], unsorted_rows[i]
    for i in range(1, n):  # within the buckets; equal lines stay in the order of their rows
        x, r = positions[i], order[i]
        place = i
        while place > 0 and positions[place - 1] > x:
            positions[place], order[place] = positions[place - 1], order[place - 1]
            place -= 1
        positions[place], order[place] = x, r
    return n


@compiled
def match_lines(positions, n, q, shift, low, last, tight, tolerance, step, weights, flags):
    """Compare calculated with observed lines.

    Writes `PREDICTED` and `OBSERVED` into ``flags`` (n,). Returns the numbers of predicted, of observed and
    of explained lines, the weight of the explained ones, and the sum of 2 q |Δq|.
    """
    n_predicted, n_observed, n_explained = 0, 0, 0
    explained_weight, deviations = 0.0, 0.0
    near = 0
    for i in range(n):
        x = positions[i]
        is_predicted = x >= low and x <= last + tight and (i == 0 or x - positions[i - 1] > tight / 2)
        flags[i] = 0
        if is_predicted:
            n_predicted += 1
            flags[i] = PREDICTED
            while near + 1 < len(q) and q[near + 1] - shift < x:
                near += 1
            distance = abs(x - (q[near] - shift))
            if near + 1 < len(q):
                distance = min(distance, abs(q[near + 1] - shift - x))
            if distance < tight:
                flags[i] = PREDICTED | OBSERVED
                n_observed += 1
    near = 0
    for i in range(len(q)):
        moved = q[i] - shift
        while near + 1 < n and positions[near + 1] < moved:
            near += 1
        distance = np.inf
        if n:
            distance = abs(moved - positions[near])
            if near + 1 < n:
                distance = min(distance, abs(positions[near + 1] - moved))
        if distance < tight:
            n_explained += 1
            explained_weight += weights[i]
        deviations += 2 * q[i] * min(max(distance, MIN_DEVIATION * step), tolerance)
    return n_predicted, n_observed, n_explained, explained_weight, deviations


@compiled
def _evidence(share, chance, n):
    """`_cells.evidence` of one share."""
    p, k = min(max(chance, 1e-4), 1 - 1e-4), min(max(share, 1e-4), 1 - 1e-4)
    ratio = n * (k * np.log(k / p) + (1 - k) * np.log((1 - k) / (1 - p)))
    return ratio if k > p else -ratio


@compiled
def volume_of(cell, kind):
    """Volume of the cell in Å³, reduced as in `_cells`; NaN for parameters that are no cell."""
    a, b, c, d = cell[0], cell[1], cell[2], cell[3]
    if kind == TRICLINIC:
        determinant = triclinic_determinant(a, b, c, d, cell[4], cell[5])
        is_cell = a > 0 and b > 0 and c > 0
    elif kind == CUBIC:
        determinant, is_cell = a * a * a, a > 0
    elif kind == TETRAGONAL:
        determinant, is_cell = a * a * b, a > 0 and b > 0
    elif kind == HEXAGONAL:
        determinant, is_cell = 0.75 * a * a * b, a > 0 and b > 0
    elif kind == ORTHORHOMBIC:
        determinant, is_cell = a * b * c, a > 0 and b > 0 and c > 0
    else:
        for _ in range(2):
            a, c, d = min(a, c), max(a, c), abs(d)
            if d > a:
                c, d = a + c - d, d - 2 * a
        a, c, d = min(a, c), max(a, c), abs(d)
        determinant = b * (a * c - d * d / 4)
        is_cell = a > 0 and b > 0 and c > 0 and d <= a * (1 + 1e-3)
    return 1 / np.sqrt(determinant) if is_cell and determinant > 0 else np.nan


@compiled
def merits(matched, volume, n_parameters, count, last, chance, covered, tolerance, step, figures):
    """Write the figures of merit of `_refine._figures` into ``figures``."""
    n_predicted, n_observed, n_explained, explained_weight, deviations = matched
    observed = n_observed / max(n_predicted, 1)
    merit = _evidence(explained_weight, 1 - np.exp(-TIGHT_SHARE * n_predicted * chance), count)
    merit += _evidence(observed, TIGHT_SHARE * covered, n_predicted)
    mean = deviations / max(count, 1)
    figures[0] = merit - PARAMETER_PRICE * n_parameters * np.log(count + 1.0)
    figures[1] = np.log(max(last * last / max(2 * mean * n_predicted, 1e-9), 1e-3))
    figures[2] = n_explained / max(count, 1)
    figures[3], figures[4] = explained_weight, observed
    figures[5] = np.log(volume)
