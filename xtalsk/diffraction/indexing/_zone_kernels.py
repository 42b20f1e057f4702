"""Compiled twin of `_zones` for processors: trial cells of triclinic lattices, pattern after pattern.

Numbers are single precision and each operation is rounded by itself, as in `_zones`.
"""

import numpy as np

from xtalsk.diffraction.indexing._constants import (
    MAX_MIXED,
    N_CORNERS,
    N_LINES,
    N_ZONE_LINES,
    N_ZONES,
    REDUCTION_STEPS,
    ZONE_END,
    ZONE_PENALTY,
    ZONE_POINTS,
    ZONE_TOLERANCE,
)
from xtalsk.diffraction.indexing._rank_kernels import choose_places
from xtalsk.utils._compiled import compiled

TRICLINIC = 5  # number of the family, after those of `_search_kernels`
N_PER_CORNER = 6  # ways in which a line gives the sixth parameter
MAX_TRIALS = N_CORNERS * N_LINES * N_PER_CORNER
_MAX_ZONES = N_ZONE_LINES * (N_ZONE_LINES - 1) // 2 * N_LINES
_MAX_CORNERS = N_ZONES * (N_ZONES - 1) // 2

_F = np.float32
_ZERO, _ONE, _HALF, _QUARTER = _F(0), _F(1), _F(0.5), _F(0.25)
_END, _PENALTY, _MAX_MIXED = _F(ZONE_END), _F(ZONE_PENALTY), _F(MAX_MIXED)
_POINTS = np.array([(h * h, k * k, h * k) for h, k in ZONE_POINTS], dtype=np.float32)


@compiled
def triclinic_determinant(a, b, c, d, e, f):
    """Return the determinant of the reciprocal metric, in the precision of the parameters."""
    mixed = d * e * f - a * d * d - b * e * e - c * f * f
    return a * b * c + mixed * _QUARTER


@compiled
def zone_workspace():
    """Allocate the arrays that `zone_cells` uses again for each pattern."""
    zones = np.empty((2, _MAX_ZONES), np.int64), np.empty((2, _MAX_ZONES), np.float32)
    corners = np.empty((2, _MAX_CORNERS), np.int64), np.empty(_MAX_CORNERS, np.float32)
    return zones, corners, np.empty((2, N_LINES), np.float32), np.empty(max(N_ZONES, N_CORNERS), np.int64)


@compiled
def _score_zone(a, b, mixed, q, end, inverse):
    """Sum of the gains of the points of a zone that may be observed."""
    score = _ZERO
    for point in range(len(_POINTS)):
        q2 = _POINTS[point, 0] * a + _POINTS[point, 1] * b + _POINTS[point, 2] * mixed
        if not (_ZERO < q2 <= end):
            continue
        position = np.sqrt(q2)
        nearest = _F(np.inf)
        for line in range(len(q)):
            distance = abs(q[line] - position)
            nearest = distance if distance < nearest else nearest
        nearest = nearest * inverse
        score += _ONE - nearest * nearest if nearest < _ONE else -_PENALTY
    return score


@compiled
def _find_zones(low, q, tolerance, zones, trial):
    """Write the zones of all pairs of low lines; return their number."""
    (numbers, values), n = zones, 0
    last = q[len(q) - 1]
    end = last * last * _END
    inverse, width = _F(1 / (ZONE_TOLERANCE * tolerance)), _F(2 * ZONE_TOLERANCE * tolerance)
    mixed, scores = trial
    for i in range(len(low)):
        for j in range(i + 1, len(low)):
            a, b, n_trials = low[i], low[j], 0
            for line in range(len(q)):
                value = abs(q[line] * q[line] - a - b)
                if value <= _MAX_MIXED * a:
                    mixed[n_trials] = value
                    scores[n_trials] = _score_zone(a, b, value, q, end, inverse)
                    n_trials += 1
            same = width * np.sqrt(b)
            for x in range(n_trials):
                is_best = True
                for y in range(n_trials):
                    is_better = scores[y] > scores[x] or (scores[y] == scores[x] and y < x)
                    is_best &= not (is_better and abs(mixed[y] - mixed[x]) < same)
                if is_best:
                    numbers[0, n], numbers[1, n], values[0, n], values[1, n] = i, j, mixed[x], scores[x]
                    n += 1
    return n


@compiled
def _other_lines(numbers, x, y):
    """Return the line that two zones share, -1 if none, and the other line of each."""
    if numbers[0, x] == numbers[0, y]:
        shared, b, c = numbers[0, x], numbers[1, x], numbers[1, y]
    elif numbers[0, x] == numbers[1, y]:
        shared, b, c = numbers[0, x], numbers[1, x], numbers[0, y]
    elif numbers[1, x] == numbers[0, y]:
        shared, b, c = numbers[1, x], numbers[0, x], numbers[1, y]
    elif numbers[1, x] == numbers[1, y]:
        shared, b, c = numbers[1, x], numbers[0, x], numbers[0, y]
    else:
        return -1, -1, -1
    return (-1 if b == c else shared), b, c


@compiled
def _find_corners(zones, corners, places):
    """Write the pairs of the best zones that share a line; return their number."""
    (numbers, values), (pairs, scores) = zones, corners
    n = 0
    for first in range(len(places)):
        for second in range(first + 1, len(places)):
            x, y = places[first], places[second]
            if _other_lines(numbers, x, y)[0] >= 0:
                pairs[0, n], pairs[1, n], scores[n] = x, y, values[1, x] + values[1, y]
                n += 1
    return n


@compiled
def _write_trials(a, b, c, e, f, q, trials, n):
    """Write the trial cells of one corner from place ``n``; return the next place."""
    total, largest = a + b + c, _MAX_MIXED * (b if b < c else c)
    for line in range(len(q)):
        q2 = q[line] * q[line]
        for way in range(N_PER_CORNER):
            if way == 0:
                d = q2 - (b + c)
            elif way == 1:
                d = (b + c) - q2
            elif way == 2:
                d = q2 - (total + e + f)
            elif way == 3:
                d = q2 - (total - e - f)
            elif way == 4:
                d = (total + e - f) - q2
            else:
                d = (total - e + f) - q2
            trials[0, n], trials[1, n], trials[2, n] = a, b, c
            trials[3, n], trials[4, n], trials[5, n] = d, e, f
            n += abs(d) <= largest
    return n


@compiled
def zone_cells(low, q, tolerance, work, trials):
    """Write the trial cells of one pattern into ``trials`` (6, MAX_TRIALS); return their number."""
    if len(q) < 2:
        return 0
    zones, corners, trial, places = work
    numbers, values = zones
    n_zones = choose_places(values[1], _find_zones(low, q, tolerance, zones, trial), N_ZONES, places)
    n_corners = _find_corners(zones, corners, places[:n_zones])
    n_corners = choose_places(corners[1], n_corners, N_CORNERS, places)
    n = 0
    for corner in places[:n_corners]:
        x, y = corners[0][0, corner], corners[0][1, corner]
        shared, b, c = _other_lines(numbers, x, y)
        n = _write_trials(low[shared], low[b], low[c], values[0, y], values[0, x], q, trials, n)
    return n


def _with_infinity(function):
    """Compile a function in which division by zero gives infinity or NaN, as in torch."""
    return compiled(function, error_model="numpy")


@_with_infinity
def reduce_block(trials, first, size, cells):
    """Reduce the trial cells of a block, into (6, BLOCK); selections without branches become vectors."""
    for k in range(6):
        for i in range(size):
            cells[k, i] = trials[k, first + i]
    a_, b_, c_, d_, e_, f_ = cells[0], cells[1], cells[2], cells[3], cells[4], cells[5]
    for step in range(REDUCTION_STEPS + 1):
        for i in range(size):
            a, b, c, d, e, f = a_[i], b_[i], c_[i], d_[i], e_[i], f_[i]
            is_less = b < a
            a, b = (b if is_less else a), (a if is_less else b)
            d, e = (e if is_less else d), (d if is_less else e)
            is_less = c < b
            b, c = (c if is_less else b), (b if is_less else c)
            e, f = (f if is_less else e), (e if is_less else f)
            is_less = b < a
            a, b = (b if is_less else a), (a if is_less else b)
            d, e = (e if is_less else d), (d if is_less else e)
            a_[i], b_[i], c_[i], d_[i], e_[i], f_[i] = a, b, c, d, e, f
        if step == REDUCTION_STEPS:
            break
        for i in range(size):
            a, b, c, d, e, f = a_[i], b_[i], c_[i], d_[i], e_[i], f_[i]
            k = np.floor(f / (a + a) + _HALF)
            b, d, f = b + k * (k * a - f), d - k * e, f - (k + k) * a
            k = np.floor(e / (a + a) + _HALF)
            c, d, e = c + k * (k * a - e), d - k * f, e - (k + k) * a
            k = np.floor(d / (b + b) + _HALF)
            c, e, d = c + k * (k * b - d), e - k * f, d - (k + k) * b
            sign = _ONE if d * e * f > _ZERO else -_ONE
            d, e, f = sign * abs(d), sign * abs(e), sign * abs(f)
            excess = a + b + d + e + f
            is_long = excess < _ZERO
            c = c + excess if is_long else c
            e, d = (-(e + a + a + f) if is_long else e), (-(d + b + b + f) if is_long else d)
            a_[i], b_[i], c_[i], d_[i], e_[i], f_[i] = a, b, c, d, e, f
