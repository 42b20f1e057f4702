"""Assignments for indexing: which rows the lowest observed lines may have.

An assignment chooses as many of the lowest lines as a cell has parameters, and gives each a row. Random
lattices, with lost and foreign lines, show which assignments occur most often. These are tried for every
pattern. The choice takes seconds; its result is part of the package (``data/assignments.npz``).
"""

from itertools import combinations, permutations
from pathlib import Path

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

_DATA = Path(__file__).parent / "data" / "assignments.npz"


def load_assignments(family, deep=False):
    """Load the assignments that `make_assignments` chose, from the data of the package.

    Parameters
    ----------
    family : str
    deep : bool
        Whether to load more assignments, if there are more for the family.

    Returns
    -------
    inverses : ndarray of shape (n_assignments, p, p)
        Matrices from Q of the chosen lines to the parameters of the cell.
    lines : int ndarray of shape (n_assignments, p)
        Numbers of the chosen lines among the lowest ones.
    """
    name = f"{family}_deep" if deep and f"{family}_deep" in LOWEST else family
    with np.load(_DATA) as data:
        matrices, lines = data[f"{name}_rows"].astype(float), data[f"{name}_lines"].astype(np.int64)
    return np.linalg.inv(matrices), lines


def save_assignments():
    """Choose the assignments of all families again and write the data of the package.

    Run it after a change of the constants of `LOWEST` or of random lattices:
    ``python -c "from xtalsk.diffraction.indexing._trial_cells import save_assignments; save_assignments()"``
    """
    arrays = {}
    for name in LOWEST:
        matrices, lines = make_assignments(name)
        arrays[f"{name}_rows"], arrays[f"{name}_lines"] = matrices.astype(np.int8), lines.astype(np.int8)
    np.savez_compressed(_DATA, **arrays)


def make_assignments(name):
    """Choose the assignments of a family that together fit most random lattices.

    Parameters
    ----------
    name : str
        A key of `LOWEST`: a family, with ``_deep`` at the end for more assignments.

    Returns
    -------
    matrices : ndarray of shape (n_assignments, p, p)
        Rows of the chosen lines.
    lines : int ndarray of shape (n_assignments, p)
        Numbers of the chosen lines among the lowest ones.
    """
    reach, n_lines, n_assignments = LOWEST[name]
    family = name.removesuffix("_deep")
    rows, members = lattice_lines(family, reach)
    rows = np.array(rows)
    lines = np.array(list(combinations(range(n_lines), rows.shape[1])))
    lowest = _random_lowest_lines(family, n_lines, rows, members, np.random.default_rng(0))
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
    """Choose the codes of most lattices and return their matrices and lines.

    The choice takes several rounds. After each round, lattices that a chosen code hits count less.
    """
    chosen = {}  # code -> matrix and lines
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
            chosen[code] = matrix, choice
            if len(chosen) >= n_assignments * (part + 1) / N_ROUNDS:
                break
        hits = np.isin(codes, list(chosen)).sum(1)
    matrices, chosen_lines = zip(*chosen.values(), strict=True)
    return np.array(matrices), np.array(chosen_lines)


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


def _random_lowest_lines(family, n_lines, rows, members, rng):
    """Rows of the lowest lines of random lattices, (n, n_lines); -1 for foreign and missing lines."""
    n = N_RANDOM
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
