"""Assignments for indexing: which rows the lowest observed lines may have.

An assignment chooses as many of the lowest lines as a cell has parameters, and gives each a row. Random
lattices, with lost and foreign lines, show which assignments occur most often. These are tried for every
pattern.
"""

from itertools import combinations, permutations

import numpy as np

from xtalsk.diffraction.indexing._constants import (
    FOREIGN_SHARE,
    GLIDE_SHARES,
    HIT_WEIGHT,
    LOG_RATIOS,
    LOG_SQUARES,
    LOST_SHARE,
    LOWEST,
    N_RANDOM,
    N_ROUNDS,
    SCREW_SHARE,
    VISIBLE_SHARE,
)
from xtalsk.diffraction.indexing._lattices import lattice_lines


def make_assignments(family):
    """Choose the assignments of a family that together fit most random lattices.

    Parameters
    ----------
    family : str

    Returns
    -------
    inverses : ndarray of shape (n_assignments, p, p)
        Matrices from Q of the chosen lines to the parameters of the cell.
    lines : int ndarray of shape (n_assignments, p)
        Numbers of the chosen lines among the lowest ones.
    """
    reach, n_lines, n_assignments = LOWEST[family]
    rows, members = lattice_lines(family, reach)
    rows = np.array(rows)
    lines = np.array(list(combinations(range(n_lines), rows.shape[1])))
    lowest = _random_lowest_lines(family, rows, members, N_RANDOM, np.random.default_rng(0))
    codes = _codes(lowest, lines, _equivalent_rows(family, rows))
    return _choose_assignments(codes, rows, lines, n_assignments)


def _equivalent_rows(family, rows):
    """Numbers of the rows after each change of axes that keeps the lattice, (n_changes, n_rows)."""
    number = {tuple(row): i for i, row in enumerate(rows.tolist())}
    return np.array(
        [
            [number[tuple(row[c] * (sign if c == 3 else 1) for c in columns)] for row in rows.tolist()]
            for columns, sign in _axis_changes(family)
        ]
    )


def _axis_changes(family):
    """Return the changes of axes that keep a lattice: order of the columns of the rows, and sign of hl."""
    if family == "orthorhombic":
        return [(list(p), 1) for p in permutations(range(3))]
    if family == "monoclinic":
        return [(p, sign) for p in ([0, 1, 2, 3], [2, 1, 0, 3]) for sign in (1, -1)]
    return [([0, 1][: 1 if family == "cubic" else 2], 1)]


def _codes(lowest, lines, equivalents):
    """One number for each random lattice and each choice of lines, (n_lattices, n_choices).

    Assignments that differ by a change of axes have the same number. It is -1 if a chosen line is foreign
    or missing.
    """
    n_rows = equivalents.shape[1]
    codes = []
    for choice in lines:
        chosen = lowest[:, choice]
        by_change = [
            sum(rows[chosen[:, k]].astype(np.int64) * n_rows**k for k in range(len(choice)))
            for rows in equivalents
        ]
        codes.append(np.where((chosen >= 0).all(1), np.min(by_change, axis=0), -1))
    codes = np.stack(codes, 1)
    return np.where(codes >= 0, codes * len(lines) + np.arange(len(lines)), -1)


def _choose_assignments(codes, rows, lines, n_assignments):
    """Choose the codes of most lattices and return their inverse matrices and lines.

    The choice takes several rounds. After each round, lattices that a chosen code hits count less.
    """
    chosen = {}  # code -> inverse matrix and lines
    is_regular = {}
    hits = np.zeros(len(codes))
    for part in range(N_ROUNDS):
        for code in _most_frequent(codes, HIT_WEIGHT**hits):
            if code < 0 or code in chosen or is_regular.get(code) is False:
                continue
            matrix, choice = _decode(code, rows, lines)
            is_regular[code] = abs(np.linalg.det(matrix)) > 0.5
            if not is_regular[code]:
                continue
            chosen[code] = np.linalg.inv(matrix), choice
            if len(chosen) >= n_assignments * (part + 1) / N_ROUNDS:
                break
        hits = np.isin(codes, list(chosen)).sum(1)
    inverses, chosen_lines = zip(*chosen.values(), strict=True)
    return np.array(inverses), np.array(chosen_lines)


def _most_frequent(codes, weights):
    """Yield the codes in the order of the summed weights of the lattices that have them, highest first."""
    values, inverse = np.unique(codes, return_inverse=True)
    gain = np.bincount(inverse.ravel(), np.repeat(weights, codes.shape[1]), minlength=len(values))
    yield from (int(values[i]) for i in np.argsort(-gain, kind="stable"))


def _decode(code, rows, lines):
    """Matrix (p, p) of the rows of a code, and its lines (p,)."""
    numbers, choice = divmod(code, len(lines))
    matrix = rows[[numbers // len(rows) ** k % len(rows) for k in range(rows.shape[1])]].astype(float)
    return matrix, lines[choice]


def _random_lowest_lines(family, rows, members, n, rng):
    """Rows of the lowest lines of random lattices, (n, n_lines); -1 for foreign and missing lines."""
    n_lines = LOWEST[family][1]
    q2 = _random_cells(family, n, rng) @ rows.T
    is_present = members[rng.integers(len(members), size=n)] & ~_random_absences(rows, n, rng)
    q2 = np.where(is_present, q2, np.inf)
    lowest = np.argsort(q2, axis=1)[:, : n_lines + 1]
    lowest = np.where(np.isfinite(np.take_along_axis(q2, lowest, 1)), lowest, -1)
    change_line, change = rng.integers(n_lines, size=n), rng.uniform(size=n)
    line = np.arange(n_lines)
    is_after = line >= change_line[:, None]
    without_one = lowest[:, 1 : n_lines + 1]
    with_foreign = np.hstack([np.full((n, 1), -1), lowest[:, : n_lines - 1]])
    with_foreign[line == change_line[:, None]] = -1
    changed = np.where(is_after & (change < LOST_SHARE)[:, None], without_one, lowest[:, :n_lines])
    return np.where(is_after & (change > 1 - FOREIGN_SHARE)[:, None], with_foreign, changed)


def _random_cells(family, n, rng):
    """Parameters of cells of random shapes, (n, p)."""
    if family == "cubic":
        return np.ones((n, 1))
    if family in LOG_RATIOS:
        return np.exp(-2 * np.stack([np.zeros(n), rng.uniform(*LOG_RATIOS[family], n)], 1))
    squares = np.exp(rng.uniform(-LOG_SQUARES, LOG_SQUARES, (n, 3)) * rng.uniform(size=(n, 1)))
    if family == "orthorhombic":
        return squares
    a, c = np.sort(squares[:, [0, 2]], axis=1).T
    return np.stack([a, squares[:, 1], c, a * rng.uniform(size=n)], 1)


def _random_absences(rows, n, rng):
    """Absent lines of random space groups, by weakness, screw axes or glide planes, bool (n, n_rows)."""
    is_absent = rng.uniform(size=(n, len(rows))) > rng.uniform(*VISIBLE_SHARE, (n, 1))
    is_odd, is_zero = np.rint(np.sqrt(rows[:, :3])).astype(int) % 2 == 1, rows[:, :3] == 0
    n_axes = is_odd.shape[1]
    for axis in range(n_axes if n_axes > 1 else 0):
        others = [i for i in range(n_axes) if i != axis]
        has_screw = rng.uniform(size=(n, 1)) < SCREW_SHARE
        is_absent |= has_screw & (is_zero[:, others].all(1) & is_odd[:, axis])
        if n_axes == 3:
            glides = np.stack([is_odd[:, others[0]], is_odd[:, others[1]], is_odd[:, others].sum(1) == 1])
            kind = rng.choice(4, n, p=GLIDE_SHARES)
            is_absent |= np.vstack([glides & is_zero[:, axis], np.zeros(len(rows), bool)])[kind]
    return is_absent
