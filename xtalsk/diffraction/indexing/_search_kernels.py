"""Compiled twin of `_search` for processors: the same candidates, scores and choice, pattern after pattern.

Numbers are single precision and each operation is rounded by itself, as in `_search`. Parameters of cells are
padded to four; triclinic cells have six. An entry of the table over Q is one int32: 20 bits of observed
lines, then two counters of seven bits for the calculated lines in the measured range and for those near an
observed line.
"""

import numpy as np

from xtalsk.diffraction.indexing._constants import (
    GRID_SIZE,
    MAX_CALCULATED,
    MAX_EXPECTED,
    MIN_CALCULATED,
    MIN_EXPECTED,
    N_SECOND,
)
from xtalsk.diffraction.indexing._logarithm_kernels import logarithm
from xtalsk.diffraction.indexing._rank_kernels import key_of, nth_key
from xtalsk.diffraction.indexing._zone_kernels import (
    TRICLINIC,
    reduce_block,
    triclinic_determinant,
    zone_cells,
)
from xtalsk.utils._compiled import compiled

PACK = 4  # lines that are looked up together
LOOK_UP = 64  # candidates whose lines are looked up together
BLOCK = 512  # candidates that are scored together: their numbers stay in the first cache
COUNTER_BITS = np.int32(7)
COUNTER = np.int32(127)
N_BITS = np.int32(20)  # bits of observed lines
HALF = np.int32(1023)  # ten of them
CUBIC, TETRAGONAL, HEXAGONAL, ORTHORHOMBIC, MONOCLINIC = range(5)

_INSIDE, _NEAR = np.int32(1 << 20), np.int32(1 << 27)
_F = np.float32
_ZERO, _ONE, _TWO, _QUARTER, _HALF_ONE = _F(0), _F(1), _F(2), _F(0.25), _F(0.5)
_TOP = _F(GRID_SIZE - 1)
_LEAST_SHARE, _LARGEST_SHARE = _F(1e-4), _F(1 - 1e-4)
_SPHERE = _F(4 * np.pi / 3)
_OBLIQUE = _F(1 + 1e-3)
_MIN_EXPECTED, _MAX_EXPECTED = _F(MIN_EXPECTED), _F(MAX_EXPECTED * MAX_CALCULATED)


@compiled
def fill_table(q, count, low, last, tolerance, density, table):
    """Fill the table over Q of one pattern; return its ``factor`` and ``covered`` (see `_search.Lines`)."""
    squared = (last + tolerance) * (last + tolerance)
    factor = (_ONE / max(squared, _F(1e-12))) * _F(GRID_SIZE - 2)  # torch divides a number in this way
    change = np.zeros(GRID_SIZE + 1, np.int32)
    for i in range(count):
        start = max(q[i] - tolerance, _ZERO)
        stop = q[i] + tolerance
        first = min(np.int64(start * start * factor), GRID_SIZE)
        after = min(np.int64(stop * stop * factor + _ONE), GRID_SIZE)
        change[first] += 1 << i
        change[after] -= 1 << i
    begin = low * low * factor
    bits = np.int32(0)
    near_sum = inside_sum = 0.0
    for cell in range(GRID_SIZE):
        bits += change[cell]
        entry = np.int32(0)
        if _F(cell) + _HALF_ONE >= begin and cell < GRID_SIZE - 1 and last > 0:
            inside_sum += density[cell]
            entry = bits | _INSIDE
            if bits:
                near_sum += density[cell]
                entry |= _NEAR
        table[cell] = entry
    return factor, _F(near_sum / max(inside_sum, 1.0))


@compiled
def sum_weights(weights, sums):
    """Sum the weights of all subsets of the first and of the last ten lines, into (2, 1024)."""
    for half in range(2):
        sums[half, 0] = _ZERO
        for k in range(10):
            for subset in range(1 << k):
                sums[half, subset + (1 << k)] = sums[half, subset] + weights[10 * half + k]


@compiled
def chance_table(chance, n_rows, logs):
    """Chance that so many calculated lines explain a line, and its logarithms, into (3, n_rows + 1)."""
    for n in range(n_rows + 1):
        p = _ONE - np.exp(-_F(n) * chance)
        p = min(max(p, _LEAST_SHARE), _LARGEST_SHARE)
        logs[0, n] = p
        logs[1, n] = _F(np.log(np.float64(p)))
        logs[2, n] = _F(np.log(np.float64(_ONE - p)))


@compiled
def _make_cells(inverses, lines, q2, kind, first, size, low, cells):
    """Write the reduced cells of a block of assignments into (4, BLOCK); ``low`` (4, BLOCK) is work space."""
    for k in range(4):
        numbers = lines[k, first : first + size]
        for i in range(size):
            low[k, i] = q2[numbers[i]]
    last = first + size
    for k in range(4):  # subscripts start from 0, so that the loop becomes vector instructions
        f0, f1, f2, f3 = (
            inverses[k, 0, first:last],
            inverses[k, 1, first:last],
            inverses[k, 2, first:last],
            inverses[k, 3, first:last],
        )
        for i in range(size):
            cells[k, i] = f0[i] * low[0, i] + f1[i] * low[1, i] + f2[i] * low[2, i] + f3[i] * low[3, i]
    if kind == ORTHORHOMBIC:
        for i in range(size):
            a, b, c = cells[0, i], cells[1, i], cells[2, i]
            a, b = (a if a < b else b), (b if a < b else a)
            b, c = (b if b < c else c), (c if b < c else b)
            a, b = (a if a < b else b), (b if a < b else a)
            cells[0, i], cells[1, i], cells[2, i] = a, b, c
    elif kind == MONOCLINIC:
        for i in range(size):
            a, c, d = cells[0, i], cells[2, i], cells[3, i]
            for _ in range(2):
                a, c, d = (a if a < c else c), (c if a < c else a), abs(d)
                is_long = d > a
                c, d = (a + c - d if is_long else c), (d - _TWO * a if is_long else d)
            cells[0, i], cells[2, i], cells[3, i] = (a if a < c else c), (c if a < c else a), abs(d)


@compiled
def _expected_lines(cells, kind, size, scale, multiplicity, expected):
    """Write the number of lines expected from the volume into (BLOCK,); 0 for parameters that are no cell."""
    for i in range(size):
        a, b, c, d = cells[0, i], cells[1, i], cells[2, i], cells[3, i]
        is_cell = a > 0
        if kind == CUBIC:
            value = a * a * a
        elif kind == TETRAGONAL:
            value = a * a * b
            is_cell &= b > 0
        elif kind == HEXAGONAL:
            value = _F(0.75) * a * a * b
            is_cell &= b > 0
        elif kind == TRICLINIC:
            value = triclinic_determinant(a, b, c, d, cells[4, i], cells[5, i])
            is_cell &= (b > 0) & (c > 0)
        else:
            is_cell &= (b > 0) & (c > 0)
            if kind == ORTHORHOMBIC:
                value = a * b * c
            else:
                value = b * (a * c - d * d * _QUARTER)
                is_cell &= d <= a * _OBLIQUE
        number = scale * (_ONE / np.sqrt(value if value > _ZERO else _ONE)) / multiplicity
        expected[i] = number if is_cell & (value > _ZERO) else _ZERO


@compiled
def _look_up(cells, size, rows, first, last, table, index, bits, sums):
    """Add the entries of the lines ``rows[first:last]`` of scaled cells (p, size) to ``bits`` and ``sums``.

    The number of rows is a multiple of four (`PACK`). ``index`` (PACK, LOOK_UP) is work space. Its loop has
    no look-up, and its subscripts start from 0, so that it becomes vector instructions.
    """
    i0, i1, i2, i3 = index[0], index[1], index[2], index[3]
    for start in range(0, size, LOOK_UP):
        part = min(LOOK_UP, size - start)
        a, b = cells[0, start : start + part], cells[1, start : start + part]
        c, d = cells[2, start : start + part], cells[3, start : start + part]
        part_bits, part_sums = bits[start : start + part], sums[start : start + part]
        for first_of_pack in range(first, last, PACK):
            for r in range(PACK):
                row, places = rows[first_of_pack + r], index[r]
                f0, f1, f2, f3 = row[0], row[1], row[2], row[3]
                if len(cells) == 4:
                    for i in range(part):
                        x = a[i] * f0 + b[i] * f1 + c[i] * f2 + d[i] * f3
                        x = x if x > _ZERO else _ZERO
                        places[i] = np.uint32(x if x < _TOP else _TOP)
                else:
                    e, f = cells[4, start : start + part], cells[5, start : start + part]
                    f4, f5 = row[4], row[5]
                    for i in range(part):
                        x = a[i] * f0 + b[i] * f1 + c[i] * f2 + d[i] * f3 + e[i] * f4 + f[i] * f5
                        x = x if x > _ZERO else _ZERO
                        places[i] = np.uint32(x if x < _TOP else _TOP)
            for i in range(part):
                e0, e1, e2, e3 = table[i0[i]], table[i1[i]], table[i2[i]], table[i3[i]]
                part_bits[i] |= (e0 | e1) | (e2 | e3)
                part_sums[i] += ((e0 >> N_BITS) + (e1 >> N_BITS)) + ((e2 >> N_BITS) + (e3 >> N_BITS))


@compiled
def _score(bits, sums, size, weights, chances, covered, entropy, count, terms, scores):
    """Evidence of candidates from the union of bits and the sum of counters, into (size,).

    ``terms`` (7, size) is work space. Look-ups and logarithms have loops of their own, so that the logarithms
    become vector instructions.
    """
    for i in range(size):
        b, s = bits[i], sums[i]
        n, n_near = np.uint32(s & COUNTER), np.uint32(s >> COUNTER_BITS)
        low_half, high_half = np.uint32(b & HALF), np.uint32((b >> np.int32(10)) & HALF)
        terms[0, i] = weights[0, low_half] + weights[1, high_half]
        terms[1, i] = chances[0, n]
        terms[2, i] = chances[1, n]
        terms[3, i] = chances[2, n]
        terms[4, i] = entropy[0, n, n_near]
        terms[5, i] = entropy[1, n, n_near]
        terms[6, i] = _F(n)
    log_covered, log_uncovered = logarithm(covered), logarithm(_ONE - covered)
    least, largest = _F(MIN_CALCULATED) * count, _F(MAX_CALCULATED) * count
    for i in range(size):
        k = terms[0, i]
        k = k if k > _LEAST_SHARE else _LEAST_SHARE
        k = k if k < _LARGEST_SHARE else _LARGEST_SHARE
        ratio = k * (logarithm(k) - terms[2, i]) + (_ONE - k) * (logarithm(_ONE - k) - terms[3, i])
        score = count * (ratio if k > terms[1, i] else -ratio)
        share, calculated = terms[4, i], terms[6, i]
        ratio = terms[5, i] - share * log_covered - (_ONE - share) * log_uncovered
        score += calculated * (ratio if share > covered else -ratio)
        scores[i] = score if (calculated >= least) & (calculated <= largest) else -_F(np.inf)


@compiled
def score_candidates(pattern, family, kind, multiplicity, work):
    """Score the candidates of one pattern by few lines.

    Writes cells, scores and numbers of those with a score into ``work``; returns how many there are.
    """
    q2, count, last, factor, covered, table, weights, chances, entropy, q, tolerance = pattern
    rows, inverses, lines = family
    block, expected, bits, sums, scores, cells, first_scores, index, terms, zones, trials = work
    n_found = 0
    n_trials = inverses.shape[2]
    if kind == TRICLINIC:
        n_trials = zone_cells(q2, q, tolerance, zones, trials)
    scale = _SPHERE * (last * last * last)
    least, largest = _MIN_EXPECTED * count, _MAX_EXPECTED * count
    for first in range(0, n_trials, BLOCK):
        size = min(BLOCK, n_trials - first)
        if kind == TRICLINIC:
            reduce_block(trials, first, size, block)
        else:
            _make_cells(inverses, lines, q2, kind, first, size, terms, block)
        _expected_lines(block, kind, size, scale, multiplicity, expected)
        n_likely = n_found  # without branches, which the processor would mispredict
        for i in range(size):
            for k in range(len(block)):
                cells[k, n_likely] = block[k, i]
            n_likely += (expected[i] > least) & (expected[i] < largest)
        n_likely -= n_found
        for k in range(len(block)):
            for i in range(n_likely):
                block[k, i] = cells[k, n_found + i] * factor
        bits[:n_likely] = 0
        sums[:n_likely] = 0
        _look_up(block, n_likely, rows, 0, len(rows), table, index, bits, sums)
        _score(bits, sums, n_likely, weights, chances, covered, entropy, count, terms, scores)
        start = n_found
        for i in range(n_likely):
            for k in range(len(cells)):
                cells[k, n_found] = cells[k, start + i]
            first_scores[n_found] = scores[i]
            n_found += scores[i] > -_F(np.inf)
    return n_found


@compiled
def choose_first(cells, scores, n):
    """Move the candidates of highest scores to the front, equal ones in their order; return their number."""
    if n <= N_SECOND:
        return n
    key, higher = nth_key(scores, n, N_SECOND - 1)
    n_equal = N_SECOND - higher
    kept = 0
    for i in range(n):
        this = key_of(scores[i])
        if this < key or (this == key and n_equal == 0):
            continue
        n_equal -= this == key
        for k in range(len(cells)):
            cells[k, kept] = cells[k, i]
        scores[kept] = scores[i]
        kept += 1
    return kept


@compiled
def score_variants(pattern, rows, groups, members, cells, n, work, scores):
    """Score the first ``n`` cells for each variant of their lattice, into (n_variants, N_SECOND).

    ``groups`` are the edges of groups of rows that belong to the same variants, ``members`` (n_groups,
    n_variants) whether they belong to each.
    """
    _, count, _, factor, covered, table, weights, chances, entropy, _, _ = pattern
    block, bits, sums, group_bits, group_sums, index, terms = work
    for k in range(len(cells)):
        for i in range(n):
            block[k, i] = cells[k, i] * factor
    bits[:] = 0
    sums[:] = 0
    for g in range(len(members)):
        group_bits[:] = 0
        group_sums[:] = 0
        _look_up(block, n, rows, groups[g], groups[g + 1], table, index, group_bits, group_sums)
        for v in range(members.shape[1]):
            if members[g, v]:
                for i in range(n):
                    bits[v, i] |= group_bits[i]
                    sums[v, i] += group_sums[i]
    for v in range(members.shape[1]):
        _score(bits[v], sums[v], n, weights, chances, covered, entropy, count, terms, scores[v])


@compiled
def choose_of_type(scores, first_scores, n, first, last, chosen, values):
    """Choose the best cells of the type with the variants from ``first`` to ``last - 1``.

    Writes the numbers and variants of cells into ``chosen`` (2, n_kept); returns how many have a score. Among
    equal scores the first scores decide. Without any score, the best by first score is written. ``values``
    (n_kept,) is work space.
    """
    n_chosen, best = 0, 0
    n_kept = len(values)
    for i in range(n):
        if first_scores[i] > first_scores[best]:
            best = i
        variant = first
        for v in range(first + 1, last):
            if scores[v, i] > scores[variant, i]:
                variant = v
        value = scores[variant, i]
        if value == -_F(np.inf):
            continue
        place = n_chosen
        while place > 0 and (
            value > values[place - 1]
            or (value == values[place - 1] and first_scores[i] > first_scores[chosen[0, place - 1]])
        ):
            place -= 1
        if place == n_kept:
            continue
        n_chosen = min(n_chosen + 1, n_kept)
        for k in range(n_chosen - 1, place, -1):
            values[k], chosen[0, k], chosen[1, k] = values[k - 1], chosen[0, k - 1], chosen[1, k - 1]
        values[place], chosen[0, place], chosen[1, place] = value, i, variant
    if n_chosen == 0:
        chosen[0, 0], chosen[1, 0] = best, first
    return n_chosen
