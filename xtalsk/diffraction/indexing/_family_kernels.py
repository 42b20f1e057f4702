"""Compiled twin of `_functional` for processors: search, refinement and absences of one family."""

import numpy as np

from xtalsk.diffraction.indexing._constants import N_SECOND, TIGHT_SHARE
from xtalsk.diffraction.indexing._refine_kernels import (
    N_BUCKETS,
    OBSERVED,
    PREDICTED,
    calculate_lines,
    match_lines,
    merits,
    refine_cell,
    volume_of,
)
from xtalsk.diffraction.indexing._search_kernels import (
    BLOCK,
    LOOK_UP,
    PACK,
    chance_table,
    choose_first,
    choose_of_type,
    fill_table,
    score_candidates,
    score_variants,
    sum_weights,
)
from xtalsk.diffraction.indexing._zone_kernels import MAX_TRIALS, TRICLINIC, zone_workspace
from xtalsk.utils._compiled import compiled

# Columns of a fit: six parameters of the cell, shift, variant, number of explained lines, figures of merit.
SHIFT, VARIANT, N_EXPLAINED, FIGURES = 6, 7, 8, 9
FIT_SIZE = 15


@compiled
def fill_tables(q, counts, low, last, tolerance, density, tables, factors, covered):
    """Fill the tables over Q of all patterns, (n, GRID_SIZE), their factors and ``covered``, both (n,)."""
    for i in range(len(q)):
        factors[i], covered[i] = fill_table(q[i], counts[i], low[i], last[i], tolerance, density, tables[i])


@compiled
def _refine_chosen(cells, chosen, n, n_parameters, kind, rows, members, line, fits, work):
    """Refine chosen cells of one type and write their fits; return the best one, 0 if none is usable.

    ``order`` and ``flags`` of the calculated lines of the best one are left in ``work``.
    """
    q, low, last, chance, covered, weights, tolerance, step = line
    refining, sorting, positions, orders, flags, n_lines = work
    cell = np.empty(len(cells))
    tight = TIGHT_SHARE * tolerance
    limit = last + tolerance + step + tight
    best, best_merit = 0, -np.inf
    for k in range(max(n, 1)):
        for j in range(len(cells)):
            cell[j] = cells[j, chosen[0, k]]
        of_variant = members[chosen[1, k]]
        shift = refine_cell(cell, n_parameters, rows, of_variant, q, tolerance, step, refining)
        place = 1 if k else 0
        n_lines[place] = calculate_lines(cell, rows, of_variant, limit, positions, orders[place], *sorting)
        matched = match_lines(
            positions, n_lines[place], q, shift, low, last, tight, tolerance, step, weights, flags[place]
        )
        volume = volume_of(cell, kind)
        fit = fits[k]
        if n and np.isfinite(volume) and matched[0] > 0 and len(q) >= n_parameters + 2:
            fit[: len(cell)] = cell
            fit[SHIFT], fit[VARIANT], fit[N_EXPLAINED] = shift, chosen[1, k], matched[2]
            merits(
                matched, volume, n_parameters, len(q), last, chance, covered, tolerance, step, fit[FIGURES:]
            )
            if fit[FIGURES] > best_merit:
                best, best_merit = k, fit[FIGURES]
        if place and best == k:
            n_lines[0] = n_lines[1]
            orders[0, : n_lines[1]] = orders[1, : n_lines[1]]
            flags[0, : n_lines[1]] = flags[1, : n_lines[1]]
    return best


@compiled
def _absences(order, flags, n, classes, settings, absences):
    """Write the share of the lines of each absence class that are observed, as `_functional._absences`."""
    n_predicted, n_observed = 0, 0
    for i in range(n):
        n_predicted += flags[i] & PREDICTED > 0
        n_observed += flags[i] & OBSERVED > 0
    usual = (n_observed + 1) / (n_predicted + 2)
    for c in range(len(classes)):
        predicted, observed = 0, 0
        for i in range(n):
            if classes[c, order[i]]:
                predicted += flags[i] & PREDICTED > 0
                observed += flags[i] & OBSERVED > 0
        absences[c] = (observed + usual) / (predicted + 1)
    first = 0
    for size in settings:
        absences[first : first + size] = np.sort(absences[first : first + size])
        first += size


@compiled
def _make_workspace(n_padded, n_candidates, n_kept, n_variants, n_rows, n_lines, n_chances, zones, trials):
    """Allocate the arrays that `index_family` uses again for each pattern."""
    cells, first_scores = np.empty((n_padded, n_candidates), np.float32), np.empty(n_candidates, np.float32)
    index, terms = np.empty((PACK, LOOK_UP), np.uint32), np.empty((7, BLOCK), np.float32)
    first_work = (
        np.empty((n_padded, BLOCK), np.float32),
        np.empty(BLOCK, np.float32),
        np.empty(BLOCK, np.int32),
        np.empty(BLOCK, np.int32),
        np.empty(BLOCK, np.float32),
        cells,
        first_scores,
        index,
        terms,
        zones,
        trials,
    )
    second_work = (
        np.empty((n_padded, N_SECOND), np.float32),
        np.empty((n_variants, N_SECOND), np.int32),
        np.empty((n_variants, N_SECOND), np.int32),
        np.empty(N_SECOND, np.int32),
        np.empty(N_SECOND, np.int32),
        index,
        terms,
    )
    scores = np.empty((n_variants, N_SECOND), np.float32)
    chosen = np.zeros((2, n_kept), np.int64), np.empty(n_kept, np.float32)
    sums, chances = np.empty((2, 1024), np.float32), np.empty((3, n_chances), np.float32)
    refining = (
        np.empty(n_rows),
        np.empty(n_lines, np.int64),
        np.empty((2, n_lines + 1)),
        np.empty((2, n_lines + 1)),
        np.empty((7, 7)),
        np.empty(7),
        np.empty(7),
    )
    sorting = (refining[0], np.empty(N_BUCKETS + 1, np.int64), np.empty(n_rows), np.empty(n_rows, np.int64))
    n_calculated = np.zeros(2, np.int64)
    orders, flags = np.empty((2, n_rows), np.int64), np.empty((2, n_rows), np.int64)
    fit_work = (refining, sorting, np.empty(n_rows), orders, flags, n_calculated)
    return first_work, second_work, scores, chosen, sums, chances, fit_work


@compiled
def index_family(lines, tables, family, tolerance, step, entropy, fits, best, absences):
    """Find and refine the cells of one family for all patterns.

    Parameters
    ----------
    lines : tuple of ndarray
        q (n, n_lines), low lines squared (n, n_low), weights, counts, low, last, chance, covered, factors.
    tables : int32 ndarray of shape (n, GRID_SIZE)
    family : tuple
        See `_twin._family_arrays`.
    tolerance, step : float
        In 1/Å.
    entropy : float32 ndarray
    fits : ndarray of shape (n, n_types, n_kept, FIT_SIZE)
        Is filled; NaN where there is no cell.
    best : int64 ndarray of shape (n, n_types)
        Is filled with the number of the best fit of each type.
    absences : ndarray of shape (n, n_classes)
        Is filled.
    """
    q, q2_low, weights, counts, low, last, chance, covered, factors = lines
    search, second, rows, members, types, classes, settings, kind, n_parameters, multiplicity = family
    second_rows, groups, group_members = second
    n_rows, n_variants = members.shape[1], len(members)
    n_trials = MAX_TRIALS if kind == TRICLINIC else search[1].shape[2]
    first_work, second_work, scores, (chosen, values), sums, chances, fit_work = _make_workspace(
        len(rows),
        max(n_trials, N_SECOND) + 1,
        fits.shape[2],
        n_variants,
        n_rows,
        q.shape[1],
        entropy.shape[1],
        zone_workspace(),
        np.empty((6, MAX_TRIALS if kind == TRICLINIC else 0), np.float32),
    )
    cells, first_scores = first_work[5], first_work[6]
    orders, flags, n_calculated = fit_work[3], fit_work[4], fit_work[5]
    for i in range(len(q)):
        count = np.float32(counts[i])
        sum_weights(weights[i], sums)
        chance_table(chance[i], entropy.shape[1] - 1, chances)
        pattern = (
            q2_low[i],
            count,
            last[i],
            factors[i],
            covered[i],
            tables[i],
            sums,
            chances,
            entropy,
            q[i, : counts[i]],
            np.float32(tolerance),
        )
        n = score_candidates(pattern, search, kind, multiplicity, first_work)
        n = choose_first(cells, first_scores, n)
        score_variants(pattern, second_rows, groups, group_members, cells, n, second_work, scores)
        if n == 0:
            cells[:, 0] = 1.0
        observed = q[i, : counts[i]].astype(np.float64)
        line = (
            observed,
            np.float64(low[i]),
            np.float64(last[i]),
            np.float64(chance[i]),
            np.float64(covered[i]),
            weights[i],
            tolerance,
            step,
        )
        for t in range(len(types) - 1):
            n_chosen = choose_of_type(scores, first_scores, n, types[t], types[t + 1], chosen, values)
            best[i, t] = _refine_chosen(
                cells, chosen, n_chosen, n_parameters, kind, rows, members, line, fits[i, t], fit_work
            )
            if t == 0:
                _absences(orders[0], flags[0], n_calculated[0], classes, settings, absences[i])
