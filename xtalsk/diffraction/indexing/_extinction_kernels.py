"""Compiled twin of `_extinction_scores` for processors, cell after cell."""

import numpy as np

from xtalsk.diffraction.indexing._constants import STRAY_SHARE
from xtalsk.diffraction.indexing._family_kernels import FIGURES, SHIFT, VARIANT
from xtalsk.diffraction.indexing._refine_kernels import N_BUCKETS, OBSERVED, calculate_lines, match_lines
from xtalsk.utils._compiled import compiled


@compiled
def _compare_setting(positions, order, flags, present, blend):
    """Numbers of isolated absent lines of one setting: of observed ones and of the others."""
    n_observed, n_others = 0, 0
    before, after = -np.inf, 0
    for i in range(len(positions)):
        x = positions[i]
        if present[order[i]]:
            before = x
        elif flags[i] and x - before >= blend:
            after = max(after, i + 1)
            while after < len(positions) and not present[order[after]]:
                after += 1
            if after == len(positions) or positions[after] - x >= blend:
                if flags[i] & OBSERVED:
                    n_observed += 1
                else:
                    n_others += 1
    return n_observed, n_others


@compiled
def compare_groups(
    fits, q, counts, low, last, scores, rows, members, present, owner, variant, step, tight, blend
):
    """Raise ``scores`` (n, n_groups) to the log-likelihoods of the extinction groups of one family.

    ``fits`` (n, n_types, FIT_SIZE), ``q`` (n, n_lines), the numbers of lines, the start of the range and the
    last line (n,) are those of the patterns. Tables are those of `_twin.arrays_of_extinctions`.
    """
    n_rows = rows.shape[1]
    positions, order, flags = np.empty(n_rows), np.empty(n_rows, np.int64), np.empty(n_rows, np.int64)
    sorting = (
        np.empty(n_rows),
        np.empty(N_BUCKETS + 1, np.int64),
        np.empty(n_rows),
        np.empty(n_rows, np.int64),
    )
    weights = np.zeros(q.shape[1], np.float32)
    for i in range(len(fits)):
        if counts[i] == 0:
            continue
        lines = q[i, : counts[i]]
        for fit in fits[i]:
            if np.isnan(fit[VARIANT]):
                continue
            of_fit, shift = int(fit[VARIANT]), fit[SHIFT]
            n = calculate_lines(
                fit[: len(rows)], rows, members[of_fit], last[i] + tight + blend, positions, order, *sorting
            )
            n_predicted, n_observed, n_explained, _, _ = match_lines(
                positions, n, lines, shift, low[i], last[i], tight, blend, step, weights, flags
            )
            usual = (n_observed + 1) / (n_predicted + 2)
            foreign = (len(lines) - n_explained) * 2 * tight / max(last[i] - low[i], step)
            stray = min(STRAY_SHARE + foreign, usual / 2)
            if_observed, if_not = np.log(stray / usual), np.log((1 - stray) / (1 - usual))
            for s in range(len(owner)):
                if variant[s] == of_fit:
                    seen, unseen = _compare_setting(positions[:n], order, flags, present[s], blend)
                    score = fit[FIGURES] + seen * if_observed + unseen * if_not
                    scores[i, owner[s]] = max(scores[i, owner[s]], score)
