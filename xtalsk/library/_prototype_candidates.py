"""Candidates of a composition: prototypes of its stoichiometry, with its elements on their sites."""

from itertools import combinations, permutations
from typing import NamedTuple

import numpy as np

from xtalsk.crystals._elements import element_distances
from xtalsk.library._chemistry import stabilise_variance
from xtalsk.library._constants import ABSENT_FRACTION, TOLERATED_CHI2, TRACE_FRACTION
from xtalsk.library._prototype_constants import (
    ASSIGNMENTS,
    CHEMISTRY_WEIGHT,
    FREQUENCY_WEIGHT,
    LEFT_OUT,
    MAX_ELEMENTS,
    MAX_STOICHIOMETRY,
    MEMBERS,
    MERGED_COST,
    MERGED_DISTANCE,
    STOICHIOMETRY_WEIGHT,
    TIED_ASSIGNMENT,
    WITHOUT_STRAY_COST,
)

_FEW_STRUCTURES = 200  # structures that are compared if there are thousands of assignments


class Candidates(NamedTuple):
    """Decorated prototypes.

    Attributes
    ----------
    rows : int64 ndarray of shape (n,)
        Numbers of the prototypes.
    species : int64 ndarray of shape (n, 7)
        Number of the species on each group of sites; only the first ones are used.
    figures : ndarray of shape (n, 3)
        Misfit of the stoichiometry, distance of the elements, and cost of the variant of the composition.
    score : ndarray of shape (n,)
        Without the profile.
    """

    rows: np.ndarray
    species: np.ndarray
    figures: np.ndarray
    score: np.ndarray


def make_species(shares, stray):
    """Return the species of a composition and the variants of the composition that they make.

    A species is what may occupy a group of sites: an element, or two similar elements that share it.

    Parameters
    ----------
    shares : ndarray of shape (98,)
        Atomic fractions; 0 or NaN for elements that were not found.
    stray : list of int
        Atomic numbers of elements of film and grid.

    Returns
    -------
    species : ndarray of shape (n_species, 99)
        Share of each element, by atomic number.
    variants : list of (list of int, ndarray, float)
        Species and fractions of each variant, and its cost in the score. The first one is the composition
        itself; hydrogen is left out of all.
    """
    shares = np.concatenate([[0], np.nan_to_num(shares)])
    shares[1] = 0
    elements = np.flatnonzero(shares > ABSENT_FRACTION * shares.sum())
    if not len(elements):
        return np.zeros((0, 99)), []
    species = list(np.eye(99)[elements])
    variants = [(list(range(len(elements))), shares[elements], 0.0)]
    is_trace = shares[elements] < TRACE_FRACTION * shares.sum()
    without = [k for k, z in enumerate(elements) if z in stray or is_trace[k]]
    for n in range(1, min(LEFT_OUT, len(elements) - 1) + 1):
        for out in combinations(without, n):
            rest = [j for j in range(len(elements)) if j not in out]
            variants.append((rest, shares[elements[rest]], n * WITHOUT_STRAY_COST))
    distances = element_distances()
    for i, j in combinations(range(len(elements)), 2):
        if len(elements) > 2 and distances[elements[i], elements[j]] <= MERGED_DISTANCE:
            pair = elements[[i, j]]
            mixed = np.zeros(99)
            mixed[pair] = shares[pair] / shares[pair].sum()
            rest = [k for k in range(len(elements)) if k not in (i, j)]
            species.append(mixed)
            fractions = np.append(shares[elements[rest]], shares[pair].sum())
            variants.append(([*rest, len(species) - 1], fractions, MERGED_COST))
    return np.array(species), [variant for variant in variants if len(variant[0]) <= MAX_ELEMENTS]


def find_candidates(table, species, variants, n_candidates):
    """Return the `Candidates` of the variants of a composition, those of the best score first."""
    parts = [_of_variant(table, species, *variant) for variant in variants]
    parts = [part for part in parts if part is not None]
    if not parts:
        return Candidates(np.zeros(0, int), np.zeros((0, MAX_ELEMENTS), int), np.zeros((0, 3)), np.zeros(0))
    rows, assigned, figures = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    score = -figures @ np.array([STOICHIOMETRY_WEIGHT, CHEMISTRY_WEIGHT, 1.0])
    score += FREQUENCY_WEIGHT * np.log(table.class_sizes[rows])
    order = np.argsort(-score, kind="stable")
    classes = table.classes[rows[order]]
    by_class = np.argsort(classes, kind="stable")
    first = np.searchsorted(classes[by_class], classes[by_class])
    rank = np.empty(len(order), dtype=int)
    rank[by_class] = np.arange(len(order)) - first
    order = order[rank < MEMBERS][:n_candidates]
    return Candidates(rows[order], assigned[order], figures[order], score[order])


def _of_variant(table, species, chosen, fractions, cost):
    """Return prototypes, species of their groups and figures of one variant, or None."""
    n = len(chosen)
    chosen, fractions = np.array(chosen), fractions / fractions.sum()
    descending = np.argsort(-fractions, kind="stable")
    chosen, amounts = chosen[descending], stabilise_variance(fractions[None, descending], "fractions")[0]
    rows = np.flatnonzero(table.n_groups == n)
    stable = table.stable[rows, :n]
    least = ((stable - amounts) ** 2).sum(axis=1)
    near = np.flatnonzero(least <= MAX_STOICHIOMETRY)
    if n > 5:
        near = near[np.argsort(least[near], kind="stable")[:_FEW_STRUCTURES]]
    if not len(near):
        return None
    rows, stable, least = rows[near], stable[near], least[near]
    orders = np.array(list(permutations(range(n))))
    distances = species[chosen] @ element_distances()  # (n, 99)
    shares = table.amounts[rows, :n] / table.amounts[rows, :n].sum(axis=1, keepdims=True)
    own = shares[:, :, None] * distances.T[table.elements[rows, :n]]  # (rows, groups, species)
    errors = (stable[:, :, None] - amounts) ** 2
    chi2, distance = np.zeros((2, len(rows), len(orders)))
    for group in range(n):
        chi2 += errors[:, group, orders[:, group]]
        distance += own[:, group, orders[:, group]]
    misfit = np.log1p(chi2 / TOLERATED_CHI2)
    score = STOICHIOMETRY_WEIGHT * misfit + CHEMISTRY_WEIGHT * distance
    score[chi2 > least[:, None] + TIED_ASSIGNMENT] = np.inf
    best = np.argsort(score, axis=1, kind="stable")[:, :ASSIGNMENTS]
    row, place = np.nonzero(np.isfinite(np.take_along_axis(score, best, axis=1)))
    assignment = best[row, place]
    assigned = np.zeros((len(row), MAX_ELEMENTS), dtype=np.int64)
    assigned[:, :n] = chosen[orders[assignment]]
    figures = np.column_stack(
        [misfit[row, assignment], distance[row, assignment], np.full(len(row), float(cost))]
    )
    return rows[row], assigned, figures
