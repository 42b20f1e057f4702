"""Tables for indexing: which lines the lattices have, and which lines may be the lowest ones.

The lines of a lattice stand at Q = q² = 1/d² = row · parameters, with the rows and parameters

    cubic         (h² + k² + l²)             a*²
    tetragonal    (h² + k², l²)              a*², c*²
    hexagonal     (h² + hk + k², l²)         a*², c*²
    orthorhombic  (h², k², l²)               a*², b*², c*², increasing
    monoclinic    (h², k², l², hl)           a*², b*², c*², 2 a* c* cos β*, with 0 <= the last <= a*² <= c*²

A line belongs to a centred lattice where the reflection conditions of the International Tables for
Crystallography A (2016), table 1.6.3.1, allow one of its reflections; settings of one lattice by other axes
are variants of it.
"""

from dataclasses import dataclass
from functools import cache
from itertools import combinations, permutations, product

import numpy as np
import torch

_MULTIPLICITY = {"cubic": 48, "tetragonal": 16, "hexagonal": 24, "orthorhombic": 8, "monoclinic": 4}


@dataclass(frozen=True)
class Family:
    """Lattices of one metric, which share their candidates."""

    name: str
    rows: torch.Tensor  # (n_rows, n_parameters), lines below the top of the list in the order of |hkl|
    members: torch.Tensor  # (n_variants, n_rows) bool: which lines a variant has
    variants: tuple  # of the names of the types, e.g. ("p", "i", "c", "c", "c", "f")
    inverses: torch.Tensor  # (n_assignments, n_parameters, n_parameters): Q of chosen lines -> parameters
    lines: torch.Tensor  # (n_assignments, n_parameters): which of the lowest lines are chosen
    classes: dict  # of bool (n_settings, n_rows) by name: lines that screw axes and glide planes forbid
    multiplicity: int

    @property
    def types(self):
        """Names of the types."""
        return tuple(dict.fromkeys(self.variants))

    def groups(self, n_rows, n_variants):
        """Return the first rows as lists of numbers, by the variants that have them."""
        groups = {}
        for row, has in zip(self.rows[:n_rows].tolist(), self.members[:, :n_rows].T.tolist(), strict=True):
            groups.setdefault(tuple(v for v in range(n_variants) if has[v]), []).append(row)
        return groups


def _form(family, h, k, m):
    """Row of a reflection h, k, l; l is written m."""
    return {
        "cubic": (h * h + k * k + m * m,),
        "tetragonal": (h * h + k * k, m * m),
        "hexagonal": (h * h + h * k + k * k, m * m),
        "orthorhombic": (h * h, k * k, m * m),
        "monoclinic": (h * h, k * k, m * m, h * m),
    }[family]


# For each family the conditions of its variants on one reflection.
_CONDITIONS = {
    "cubic": {
        "p": [lambda h, k, m: True],
        "i": [lambda h, k, m: (h + k + m) % 2 == 0],
        "f": [lambda h, k, m: h % 2 == k % 2 == m % 2],
    },
    "tetragonal": {"p": [lambda h, k, m: True], "i": [lambda h, k, m: (h + k + m) % 2 == 0]},
    "hexagonal": {
        "p": [lambda h, k, m: True],
        "r": [lambda h, k, m: (k - h + m) % 3 == 0 or (h - k + m) % 3 == 0],
    },
    "orthorhombic": {
        "p": [lambda h, k, m: True],
        "c": [
            lambda h, k, m: (h + k) % 2 == 0,
            lambda h, k, m: (h + m) % 2 == 0,
            lambda h, k, m: (k + m) % 2 == 0,
        ],
        "i": [lambda h, k, m: (h + k + m) % 2 == 0],
        "f": [lambda h, k, m: h % 2 == k % 2 == m % 2],
    },
    "monoclinic": {
        "p": [lambda h, k, m: True],
        "c": [
            lambda h, k, m: (h + k) % 2 == 0,
            lambda h, k, m: (k + m) % 2 == 0,
            lambda h, k, m: (h + k + m) % 2 == 0,
        ],
    },
}
# Lines that a screw axis or glide plane forbids, in each setting of a family whose axes have no order.
_CLASSES = {
    "cubic": {},
    "tetragonal": {
        "screw_2": [lambda n, m: n == 0 and m % 2],
        "screw_4": [lambda n, m: n == 0 and m % 4],
        "glide_hk0": [lambda n, m: m == 0 and n % 2],
        "glide_0kl": [lambda n, m: n in _SQUARES and (n + m) % 2],
        "glide_hhl": [lambda n, m: n % 2 == 0 and n // 2 in _SQUARES and m % 2],
    },
    "hexagonal": {
        "screw_2": [lambda n, m: n == 0 and m % 2],
        "screw_3": [lambda n, m: n == 0 and m % 3],
        "glide_h0l": [lambda n, m: n in _SQUARES and m % 2],
        "glide_hhl": [lambda n, m: n % 3 == 0 and n // 3 in _SQUARES and m % 2],
    },
    "orthorhombic": {},
    "monoclinic": {},
}
_SQUARES = (1, 4, 9, 16, 25, 36, 49, 64)
# Reach of the indices along each axis in the list of lines.
_REACH = {
    "cubic": (10.5, 10.5, 10.5),
    "tetragonal": (7.5, 7.5, 10.5),
    "hexagonal": (7.5, 7.5, 12.5),
    "orthorhombic": (7.5, 5.5, 4.5),
    "monoclinic": (5.5, 4.5, 4.5),
}
# The same for the lines that the lowest observed ones may be; of how many observed ones; assignments tried.
_LOWEST = {
    "cubic": ((5.1, 5.1, 5.1), 8, 150),
    "tetragonal": ((4.1, 4.1, 5.1), 8, 1500),
    "hexagonal": ((4.1, 4.1, 9.1), 8, 1500),
    "orthorhombic": ((4.1, 4.1, 4.1), 8, 4000),
    "monoclinic": ((3.1, 3.1, 3.1), 7, 8000),
}
# Ranges of the logarithms of axis ratios among made-up lattices.
_RATIOS = {"tetragonal": (-1.2, 1.5), "hexagonal": (-1.1, 1.9)}
_N_MADE_UP = 5000  # patterns that assignments are chosen by
_N_ROUNDS = 10  # of that choice


def _reflections(family, reach):
    """Yield indices of one reflection of each form; all others are equal in q in any cell."""
    top = [int(r) for r in reach]
    low = -top[0] if family == "monoclinic" else 0
    for hkl in product(range(low, top[0] + 1), range(top[1] + 1), range(top[2] + 1)):
        within = sum((i / r) ** 2 for i, r in zip(hkl, reach, strict=True)) <= 1
        if within and any(hkl) and not (hkl[0] < 0 and hkl[2] == 0):
            yield hkl


def _line_table(family, reach):
    """Rows of the lines and, for each variant, whether it has them."""
    tests = [test for variant in _CONDITIONS[family].values() for test in variant]
    found = {}
    for hkl in _reflections(family, reach):
        row = _form(family, *hkl)
        norm = sum((i / r) ** 2 for i, r in zip(hkl, reach, strict=True))
        has = np.array([test(*hkl) for test in tests])
        before = found.get(row, (norm, has))
        found[row] = (min(norm, before[0]), has | before[1])
    rows = sorted(found, key=lambda row: found[row][0])
    return rows, np.array([found[row][1] for row in rows]).T


def _classes(family, rows):
    """Whether lines belong to each class of absences, {name: (n_settings, n_rows)}."""
    out = {}
    if family in ("tetragonal", "hexagonal"):
        for name, tests in _CLASSES[family].items():
            out[name] = [[bool(test(n, round(l2**0.5))) for n, l2 in rows] for test in tests]
    if family in ("orthorhombic", "monoclinic"):
        h = np.rint(np.sqrt(np.array(rows)[:, :3])).astype(int)
        odd, zero = h % 2 == 1, h == 0
        others = {axis: [i for i in range(3) if i != axis] for axis in range(3)}
        axes = (0, 1, 2) if family == "orthorhombic" else (1,)
        for axis in axes:
            out.setdefault("screw", []).append(zero[:, others[axis]].all(1) & odd[:, axis])
            out.setdefault("glide", []).append(zero[:, axis] & odd[:, others[axis]].any(1))
            out.setdefault("glide_n", []).append(zero[:, axis] & (odd[:, others[axis]].sum(1) == 1))
    return {name: np.array(masks, dtype=bool) for name, masks in out.items()}


def _axis_changes(family):
    """Return changes of axes that leave a lattice as it is: columns of rows and the sign of hl."""
    if family == "orthorhombic":
        return [(list(p), 1) for p in permutations(range(3))]
    if family == "monoclinic":
        return [(p, sign) for p in ([0, 1, 2, 3], [2, 1, 0, 3]) for sign in (1, -1)]
    return [([0, 1][: 1 if family == "cubic" else 2], 1)]


def _made_up_cells(family, n, rng):
    """Parameters of cells of random shapes."""
    if family == "cubic":
        return np.ones((n, 1))
    if family in _RATIOS:
        return np.exp(-2 * np.stack([np.zeros(n), rng.uniform(*_RATIOS[family], n)], 1))
    squares = np.exp(rng.uniform(-1.8, 1.8, (n, 3)) * rng.uniform(size=(n, 1)))
    if family == "orthorhombic":
        return squares
    a, c = np.sort(squares[:, [0, 2]], axis=1).T
    return np.stack([a, squares[:, 1], c, a * rng.uniform(size=n)], 1)


def _absent(rows, n, rng):
    """Lines (n, n_rows) that made-up space groups have not, for screw axes and glide planes or weakness."""
    absent = rng.uniform(size=(n, len(rows))) > rng.uniform(0.45, 1.0, (n, 1))
    odd, zero = np.rint(np.sqrt(rows[:, :3])).astype(int) % 2 == 1, rows[:, :3] == 0
    n_axes = odd.shape[1]
    for axis in range(n_axes if n_axes > 1 else 0):
        others = [i for i in range(n_axes) if i != axis]
        absent |= (rng.uniform(size=(n, 1)) < 0.5) & (zero[:, others].all(1) & odd[:, axis])
        if n_axes == 3:  # glides along either axis of the plane, along both, or none
            glides = np.stack([odd[:, others[0]], odd[:, others[1]], odd[:, others].sum(1) == 1])
            kind = rng.choice(4, n, p=(0.12, 0.12, 0.16, 0.6))
            absent |= np.vstack([glides & zero[:, axis], np.zeros(len(rows), bool)])[kind]
    return absent


def _made_up_assignments(family, rows, members, n, rng):
    """Rows of the lowest lines of made-up lattices, (n, n_lines), some of them foreign (-1) or lost."""
    n_lines = _LOWEST[family][1]
    q2 = _made_up_cells(family, n, rng) @ rows.T
    has = members[rng.integers(len(members), size=n)] & ~_absent(rows, n, rng)
    q2 = np.where(has, q2, np.inf)
    lowest = np.argsort(q2, axis=1)[:, : n_lines + 1]
    lowest = np.where(np.isfinite(np.take_along_axis(q2, lowest, 1)), lowest, -1)
    out = lowest[:, :n_lines].copy()
    at, change = rng.integers(n_lines, size=n), rng.uniform(size=n)
    place = np.arange(n_lines)
    skipped = (place >= at[:, None]) & (change < 0.4)[:, None]
    out = np.where(skipped, lowest[:, 1 : n_lines + 1], out)
    foreign = (place >= at[:, None]) & (change > 0.8)[:, None]
    shifted = np.hstack([np.full((n, 1), -1), lowest[:, : n_lines - 1]])
    shifted[place == at[:, None]] = -1
    return np.where(foreign, shifted, out)


def _assignments(family):
    """Inverse matrices (n, p, p) and lines (n, p) of assignments that between them fit most lattices."""
    reach, n_lines, n_wanted = _LOWEST[family]
    found = _line_table(family, reach)
    rows, members = np.array(found[0]), found[1]
    n_parameters = rows.shape[1]
    number = {tuple(row): i for i, row in enumerate(rows.tolist())}
    changes = np.array(
        [
            [number[tuple(r[c] * (sign if c == 3 else 1) for c in columns)] for r in rows.tolist()]
            for columns, sign in _axis_changes(family)
        ]
    )
    lowest = _made_up_assignments(family, rows, members, _N_MADE_UP, np.random.default_rng(0))
    lines = np.array(list(combinations(range(n_lines), n_parameters)))
    size, codes = len(rows), []
    for choice in lines:
        some = lowest[:, choice]
        by_change = [
            sum(m[some[:, k]].astype(np.int64) * size**k for k in range(n_parameters)) for m in changes
        ]
        codes.append(np.where((some >= 0).all(1), np.min(by_change, axis=0), -1))
    codes = np.stack(codes, 1)  # (n_made_up, n_choices)
    codes = np.where(codes >= 0, codes * len(lines) + np.arange(len(lines)), -1)
    return _cover(codes, rows, lines, n_parameters, n_wanted)


def _cover(codes, rows, lines, n_parameters, n_wanted):
    """Choose the codes that occur in most lattices, preferring those not yet hit by chosen ones."""
    chosen, inverses, chosen_lines = set(), [], []
    hits = np.zeros(len(codes))
    usable = {}
    for part in range(_N_ROUNDS):
        values, inverse = np.unique(codes, return_inverse=True)
        gain = np.bincount(inverse.ravel(), np.repeat(0.3**hits, codes.shape[1]), minlength=len(values))
        for at in np.argsort(-gain, kind="stable"):
            code = int(values[at])
            if code < 0 or code in chosen or usable.get(code) is False:
                continue
            tuple_, choice = divmod(code, len(lines))
            matrix = rows[[tuple_ // len(rows) ** k % len(rows) for k in range(n_parameters)]].astype(float)
            usable[code] = abs(np.linalg.det(matrix)) > 0.5
            if not usable[code]:
                continue
            chosen.add(code)
            inverses.append(np.linalg.inv(matrix))
            chosen_lines.append(lines[choice])
            if len(chosen) >= n_wanted * (part + 1) / _N_ROUNDS:
                break
        hits = np.isin(codes, list(chosen)).sum(1)
    return np.array(inverses), np.array(chosen_lines)


@cache
def _arrays(family):
    rows, members = _line_table(family, _REACH[family])
    return rows, members, *_assignments(family)


@cache
def families(device=None, dtype=torch.float32):
    """Tables of all families on a device."""
    made = []
    for name, conditions in _CONDITIONS.items():
        rows, members, inverses, lines = _arrays(name)
        made.append(
            Family(
                name,
                torch.tensor(rows, dtype=dtype, device=device),
                torch.tensor(members, device=device),
                tuple(t for t, tests in conditions.items() for _ in tests),
                torch.tensor(inverses, dtype=dtype, device=device),
                torch.tensor(lines, device=device),
                {k: torch.tensor(masks, device=device) for k, masks in _classes(name, rows).items()},
                _MULTIPLICITY[name],
            )
        )
    return tuple(made)
