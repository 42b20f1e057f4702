"""Figures of merit of lattices on processors, by compiled loops over patterns.

The loops compute what `_search` and `_refine` compute with batched tensors; tests compare the two. This file
brings the tables of the families and the lines of the patterns into the form of the loops.
"""

from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import NamedTuple

import numpy as np
import torch

from xtalsk.diffraction._constants import LINE_LAG, LINE_MIN_HEIGHT, LINE_SIGMA
from xtalsk.diffraction.indexing._constants import GRID_SIZE, N_FIRST_ROWS, N_SECOND_ROWS
from xtalsk.diffraction.indexing._extinctions import extinctions
from xtalsk.diffraction.indexing._lattices import FAMILIES
from xtalsk.diffraction.indexing._search import low_squares
from xtalsk.diffraction.indexing._tables import DEFAULT, families

PACK = 4  # lines that are looked up together; as in `_search_kernels`
BLOCK = 16  # patterns that are indexed together: their tables fit into the second cache of a core
FAR_ROW = 1e9  # h² of lines that pad a pack


class Fits(NamedTuple):
    """Refined cells of one family for n patterns."""

    fits: np.ndarray  # (n, n_types, n_kept, FIT_SIZE): see `_family_kernels`; NaN where there is no cell
    best: np.ndarray  # (n, n_types): number of the best fit of each type
    absences: np.ndarray  # (n, n_classes)

    @property
    def best_fits(self):
        """The best fit of each type (n, n_types, FIT_SIZE)."""
        return np.take_along_axis(self.fits, self.best[..., None, None], 2)[:, :, 0]

    @property
    def figures(self):
        """Figures of the best fits (n, n_types, n_figures), 0 where there is no cell."""
        from xtalsk.diffraction.indexing._family_kernels import FIGURES

        return np.nan_to_num(self.best_fits[..., FIGURES:], nan=0.0)


def _pad(x, axes, size=4):
    """Pad the given axes of an array to ``size`` with zeros."""
    return np.pad(x, [(0, size - n if axis in axes else 0) for axis, n in enumerate(x.shape)])


def _packs(rows, n_padded):
    """Pad rows to a multiple of `PACK` by lines far outside of any range, float32 (n, n_padded)."""
    rows = _pad(np.asarray(rows, dtype=np.float32), (1,), n_padded)
    far = np.zeros((-len(rows) % PACK, n_padded), dtype=np.float32)
    far[:, 0] = FAR_ROW
    return np.concatenate([rows, far])


def _second_rows(family, n_padded):
    """Rows of the second score, ordered by the variants that have them: rows, edges of groups, members."""
    n_variants = len(family.variants)
    groups = family.rows_by_variants(N_SECOND_ROWS, n_variants)
    packs = [_packs(np.array(rows), n_padded) for rows in groups.values()]
    members = np.array([[v in variants for v in range(n_variants)] for variants in groups])
    return np.concatenate(packs), np.cumsum([0, *map(len, packs)]), members


def _family_arrays(family):
    """Arrays of a family on a processor, the argument of `index_family`; parameters padded to four or six."""
    rows = family.rows.numpy()
    n_padded = max(4, rows.shape[1])
    inverses = np.ascontiguousarray(_pad(family.inverses.numpy(), (1, 2), n_padded).transpose(1, 2, 0))
    lines = np.ascontiguousarray(_pad(family.lines.numpy(), (1,), n_padded).T.astype(np.uint32))
    classes = [masks.numpy() for masks in family.classes.values()]
    starts = [family.variants.index(name) for name in family.types]
    return (
        (_packs(rows[:N_FIRST_ROWS], n_padded), inverses.astype(np.float32), lines),
        _second_rows(family, n_padded),
        np.ascontiguousarray(_pad(rows, (1,), n_padded).T.astype(np.float64)),
        family.members.numpy(),
        np.array([*starts, len(family.variants)]),
        np.concatenate(classes) if classes else np.zeros((0, len(rows)), bool),
        np.array([len(masks) for masks in classes], dtype=np.int64),
        FAMILIES.index(family.name),
        rows.shape[1],
        np.float32(family.multiplicity),
    )


@cache
def _constant_tables():
    """Density of lines over Q, (GRID_SIZE,), and shares and entropies of n of m lines, (2, m, n)."""
    m, n = np.ogrid[: N_SECOND_ROWS + 1, : N_SECOND_ROWS + 1]
    share = np.clip(n / np.maximum(m, 1), 1e-4, 1 - 1e-4)
    entropy = share * np.log(share) + (1 - share) * np.log(1 - share)
    return np.sqrt(np.arange(GRID_SIZE) + 0.5), np.stack([share, entropy]).astype(np.float32)


@cache
def _arrays_of_families(options):
    """Arrays of the families that are searched for, kept in memory."""
    return tuple(_family_arrays(family) for family in families(options=options))


@cache
def arrays_of_extinctions(family):
    """Rows and members of a family as in `_family_arrays`, and the arrays of its `Extinctions`."""
    _, _, rows, members, *_ = _family_arrays(families(options=DEFAULT)[FAMILIES.index(family)])
    return rows, members, *extinctions(family)[1:]


def find_lines(profiles, q0, step, n_lines, n_sigma=LINE_SIGMA, min_height=LINE_MIN_HEIGHT):
    """Compute what `_peak_search.find_lines` computes, on a processor."""
    from xtalsk.diffraction.indexing._line_kernels import lines_of_profiles

    n = len(profiles)
    q, prominence, total = np.full((n, n_lines), np.inf), np.zeros((n, n_lines)), np.zeros(n)
    if profiles.shape[1] >= 2 * LINE_LAG + 1:
        lines_of_profiles(
            profiles.contiguous().numpy(), float(q0), float(step), n_sigma, min_height, q, prominence, total
        )
    return tuple(torch.from_numpy(x) for x in (q, prominence, total))


def index_patterns(lines, tolerance, step, n_threads=None, options=DEFAULT):
    """Find and refine cells of all families.

    Parameters
    ----------
    lines : Lines
        On the processor, in single precision, without a table.
    tolerance, step : float
        In 1/Å.
    n_threads : int or None
        None for the number of threads of torch.
    options : Options

    Returns
    -------
    list of Fits
        One for each family.
    """
    q, weights = lines.q.contiguous().numpy(), lines.weights.contiguous().numpy()
    counts, chance = lines.valid.sum(1).numpy(), lines.chance.contiguous().numpy()
    ends = (end[:, 0].contiguous().numpy() for end in (lines.low, lines.last))
    columns = (q, weights, counts, *ends, chance)
    options = options._replace(zero_shift=None, lenient=False, absences=False)  # the caller's concern
    tables = families(options=options)
    low = [low_squares(lines, family).contiguous().numpy() for family in tables]
    results = [_empty_fits(len(q), family) for family in tables]

    def index(first):
        rows = slice(first, first + BLOCK)
        _index_block(
            [column[rows] for column in columns],
            [q2[rows] for q2 in low],
            [Fits(*(x[rows] for x in found)) for found in results],
            tolerance,
            step,
            options,
        )

    n_threads = torch.get_num_threads() if n_threads is None else n_threads
    starts = range(0, len(q), BLOCK)
    if min(n_threads, len(starts)) <= 1:
        for first in starts:
            index(first)
    else:
        with ThreadPoolExecutor(n_threads) as pool:
            list(pool.map(index, starts))
    return results


def _empty_fits(n, family):
    """Fits of one family for n patterns, to be filled."""
    from xtalsk.diffraction.indexing._family_kernels import FIT_SIZE

    n_types, n_classes = len(family.types), sum(len(masks) for masks in family.classes.values())
    fits = np.full((n, n_types, family.n_kept, FIT_SIZE), np.nan)
    return Fits(fits, np.zeros((n, n_types), np.int64), np.zeros((n, n_classes)))


def _index_block(columns, low, results, tolerance, step, options):
    """Index the patterns of a block: fill the ``results``, a `Fits` for each family."""
    from xtalsk.diffraction.indexing._family_kernels import fill_tables, index_family

    q, weights, counts, start, last, chance = columns
    density, entropy = _constant_tables()
    tables = np.empty((len(q), GRID_SIZE), np.int32)
    factors, covered = np.empty((2, len(q)), np.float32)
    fill_tables(q, counts, start, last, np.float32(tolerance), density, tables, factors, covered)
    for arrays, q2, found in zip(_arrays_of_families(options), low, results, strict=True):
        lines = (q, q2, weights, counts, start, last, chance, covered, factors)
        index_family(lines, tables, arrays, float(tolerance), float(step), entropy, *found)
