"""Random choice of Wyckoff positions for a crystal of a given space group."""

from bisect import bisect_right
from functools import cache

import numpy as np

from xtalsk.crystals._constants import (
    N_CHOICES,
    N_SPARE_DRAWS,
    N_SUFFICIENT_ORBITS,
    SIZE_GROWTH,
    TRIAL_SYMPREC,
)
from xtalsk.crystals._symmetry_search import has_space_group
from xtalsk.crystals._wyckoff import space_group_operations, wyckoff_positions

GENERIC = np.array([0.1327, 0.3171, 0.2893])  # free coordinates without any special relation
_GENERIC_METRIC = np.array([[25.0, 2.0, 3.0], [2.0, 36.0, 4.0], [3.0, 4.0, 49.0]])  # Å²


@cache
def _choices(number):
    """Multiplicities in the primitive cell, freedoms and summed weights of the Wyckoff positions."""
    n_centrings = space_group_operations(number)[2]
    kinds = [(w.multiplicity // n_centrings, w.freedom) for w in wyckoff_positions(number)]
    weights = [multiplicity / kinds.count((multiplicity, f)) for multiplicity, f in kinds]
    return [k[0] for k in kinds], [k[1] for k in kinds], np.cumsum(weights).tolist()


def draw_positions(number, size, max_size, rng):
    """Choose Wyckoff positions with about ``size`` atoms in the primitive cell.

    Positions of large multiplicity are preferred. Positions without free coordinates appear at most once. The
    lowest multiplicity is always allowed. A choice that always has more symmetry is drawn again, with more
    atoms.

    Parameters
    ----------
    number : int
        Space-group number.
    size, max_size : int
        Number of atoms in the primitive cell, and its upper limit when a choice is drawn again.
    rng : RandomState

    Returns
    -------
    list of int
        Rows of `wyckoff_positions`.
    """
    for _ in range(N_CHOICES):
        rows = _draw_once(number, size, rng)
        if _has_no_more_symmetry(number, rows):
            break
        size = min(size + 1 + size // SIZE_GROWTH, max_size)
    return rows


def _draw_once(number, size, rng):
    """Rows of Wyckoff positions with about ``size`` atoms in the primitive cell."""
    multiplicities, freedoms, weights = _choices(number)
    n_left, rows = max(size, multiplicities[0]), []
    for u in rng.random_sample(N_SPARE_DRAWS + size):
        n_fitting = bisect_right(multiplicities, n_left)
        if not n_fitting:
            break
        row = bisect_right(weights, u * weights[n_fitting - 1])
        if freedoms[row] or row not in rows:
            rows.append(row)
            n_left -= multiplicities[row]
    return rows


def _has_no_more_symmetry(number, rows):
    """Whether orbits on the positions can have just this space group; many or general orbits always can."""
    freedoms = _choices(number)[1]
    return (
        len(rows) > N_SUFFICIENT_ORBITS
        or max(freedoms[row] for row in rows) > 1
        or _trial_has_space_group(number, tuple(sorted(rows)))
    )


@cache
def _trial_has_space_group(number, rows):
    """Whether a crystal with a different element at a generic point of each position has the space group.

    The result holds for nearly all other points. Fewer elements only add symmetry.
    """
    positions = wyckoff_positions(number)
    rotations, _, n_centrings = space_group_operations(number)
    metric = np.mean(rotations.transpose(0, 2, 1) @ _GENERIC_METRIC @ rotations, axis=0)
    coords, elements = [], []
    for k, w in enumerate(positions[row] for row in rows):
        point = w.point + ((k + 1) * GENERIC % 1.0)[: w.freedom] @ w.directions
        n_atoms = w.multiplicity // n_centrings
        coords.append(w.rotations[:n_atoms] @ point + w.translations[:n_atoms])
        elements += [k + 1] * n_atoms
    lattice = np.linalg.cholesky(metric)
    return has_space_group(number, lattice, np.concatenate(coords), elements, symprec=TRIAL_SYMPREC)
