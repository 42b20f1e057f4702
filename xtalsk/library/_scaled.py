"""Comparison of profiles at several line widths and scales of q: pure functions on batches of tensors.

Instruments record lines that are several times as wide as those of an ideal library, and a camera length that
is wrong by some per cent moves all lines. A profile is therefore compared with the library at several line
widths, and at several scales of its axis.
"""

from typing import NamedTuple

import numpy as np
import torch

from xtalsk.diffraction._functional import smooth_profiles
from xtalsk.library._constants import (
    COARSE_BINS,
    COARSE_WIDTH,
    ENTRIES_PER_BLOCK,
    FEW_CANDIDATES,
    FWHM,
    LIBRARY_WIDTH,
    LOCAL_MEAN,
    MASK_BINS,
    SCALE_STEP,
    SHORTLIST_SHARE,
)
from xtalsk.library._profiles import not_measured, pack, unpack
from xtalsk.utils import check_number
from xtalsk.utils._threads import in_threads

_STEPS_PER_STEP = 2  # scales of the second stage for each one of the first


class Grid(NamedTuple):
    """Axis and units of a block of profiles.

    Attributes
    ----------
    first : int
        Number of bin widths between q = 0 and the first bin.
    step : float
        Width of a bin in 1/Å.
    scale : {"sqrt", "log", "linear"}
        Compression of the intensity, as in `RadialProfile`.
    """

    first: int
    step: float
    scale: str


def check_widths(widths):
    """Raise ValueError unless line widths are None, "auto" or positive numbers in 1/Å."""
    if widths is None or (isinstance(widths, str) and widths == "auto"):
        return
    if isinstance(widths, str) or not np.iterable(widths) or not len(widths):
        raise ValueError(f'line_widths must be "auto", None or numbers in 1/Å, got {widths!r}')
    for width in widths:
        check_number(width, "line_widths", min_val=0, include_boundaries="neither")


def choose_grids(blocks, grids, line_widths, modality):
    """Return the `Grid` of each block of profiles that is compared at several line widths, by name.

    Parameters
    ----------
    blocks : list of Block
        Blocks of profiles.
    grids : dict of {block: {"step": float, "scale": str}}
        What is known of their grids, see `make_library`.
    line_widths : "auto", sequence of float, or None
    modality : {"powder", "rings"} or None

    Raises
    ------
    ValueError
        If there are widths for a block whose grid is not known.
    """
    is_auto = isinstance(line_widths, str)
    if line_widths is None or (is_auto and modality != "rings"):
        return {}
    unknown = sorted({block.name for block in blocks} - set(grids))
    if unknown and not is_auto:
        raise ValueError(
            f"line_widths need the grid of q, which a library from make_library has in attrs['grids']; it is "
            f"not known for {unknown}"
        )
    return {} if unknown else {block.name: Grid(block.first, **grids[block.name]) for block in blocks}


def to_intensity(profiles, scale):
    """Return the intensities of compressed profiles."""
    return {"linear": torch.clone, "sqrt": torch.square, "log": torch.expm1}[scale](profiles)


def contrast(intensity, grid):
    """Return what stands out of a profile: the square root, weighted by sqrt(q), less its local mean.

    The mean intensity of a ring falls with its circumference, so the weight makes outer rings count as much
    as inner ones. Without the local mean, crowded patterns resemble every pattern with broad lines.

    Parameters
    ----------
    intensity : Tensor of shape (n, n_bins)
        At least 0, NaN where not measured.
    grid : Grid

    Returns
    -------
    Tensor of shape (n, n_bins)
        NaN stays NaN.
    """
    q = grid.first + torch.arange(intensity.shape[1]) + 0.5
    weighted = (intensity.clamp_min(0) * (q / q[-1])).sqrt()
    return weighted - smooth_profiles(weighted, LOCAL_MEAN / grid.step)


def broaden(intensity, width, grid):
    """Return profiles of narrow lines with lines of a full width at half maximum of ``width`` in 1/Å."""
    sigma = np.sqrt(max(width**2 - LIBRARY_WIDTH**2, 0)) / FWHM / grid.step
    return smooth_profiles(intensity, sigma) if sigma > 0 else intensity


def stretch(profiles, scales, first):
    """Return profiles with the axis of q divided by each scale, (n, n_scales, n_bins); NaN outside."""
    n_bins = profiles.shape[1]
    position = (first + torch.arange(n_bins) + 0.5) * torch.as_tensor(scales)[:, None] - first - 0.5
    below = position.floor().clamp(0, n_bins - 2).long()
    part = (position - below).to(profiles.dtype)
    inside = (position > -0.5) & (position < n_bins - 0.5)
    low, high = profiles[:, below], profiles[:, below + 1]
    return torch.where(inside, torch.lerp(low, high, part), torch.nan)


def coarse(profiles):
    """Return means over `COARSE_BINS` bins, along the last axis; unmeasured bins count as 0."""
    n_bins = profiles.shape[-1] // COARSE_BINS * COARSE_BINS
    return profiles[..., :n_bins].nan_to_num(0).unflatten(-1, (-1, COARSE_BINS)).mean(-1)


def sum_groups(table):
    """Return sums over groups of `MASK_BINS` columns, along the last axis."""
    n_more = -table.shape[-1] % MASK_BINS
    return torch.nn.functional.pad(table, (0, n_more)).unflatten(-1, (-1, MASK_BINS)).sum(-1)


class ScaledComparison(NamedTuple):
    """First stage of one block of profiles, which are compared at several scales.

    Attributes
    ----------
    library : ScaledLibrary
    profiles : Tensor of shape (n, n_bins)
        What stands out, see `contrast`.
    is_measured : bool Tensor of shape (n, n_bins)
    cosine : Tensor of shape (n, n_entries)
        Less the cost of the scale.
    nearest : uint8 Tensor of shape (n, n_entries)
        Number of the best scale.
    is_complete : bool Tensor of shape (n,)
        Whether all entries were compared, not only the candidates.
    """

    shortlist_share = SHORTLIST_SHARE
    can_refine_exactly = property(lambda self: self.library.packed is not None)
    library: object
    profiles: torch.Tensor
    is_measured: torch.Tensor
    cosine: torch.Tensor
    nearest: torch.Tensor
    is_complete: torch.Tensor

    def of(self, rows):
        """Return the comparison of some rows with all entries, also with those that were no candidates."""
        if not self.is_complete[rows].all():
            return self.library.compare_contrast(self.profiles[rows])
        return ScaledComparison(self.library, *(table[rows] for table in self[1:]))

    def refine(self, candidates, max_stretch, max_shift):
        """Return similarity, scale and line width of candidates, each (n, n_candidates)."""
        return self.library.refine(self.profiles, candidates, self.nearest.gather(1, candidates).long())

    def refine_exactly(self, rows, entries):
        """Return what `refine` returns, of pairs of rows and entries, without rounding."""
        return self.library.refine_exactly(self.profiles, rows, entries, self.nearest[rows, entries].long())


def arrange_profiles(packed, grid, widths):
    """Arrange profiles of narrow lines for the comparison, a block of entries at a time.

    Parameters
    ----------
    packed : int8 or int16 ndarray of shape (n_entries, n_bins)
        Square roots of the intensities of narrow lines, see `pack`.
    grid : Grid
    widths : sequence of float
        Full widths at half maximum of the lines in 1/Å.

    Returns
    -------
    dict of {str: ndarray}
        ``"widths"``, int8 (n_entries, n_widths, n_bins): what stands out at each line width. ``"entries"``,
        float32 (n_entries, n_coarse): coarse profiles of length 1 for the first stage. ``"squares"`` and
        ``"measured"``, float32 (n_entries, n_groups): sums of their squares and numbers of their measured
        bins in each group of bins.
    """
    blocks = [
        _arrange_block(packed[first : first + ENTRIES_PER_BLOCK], grid, widths)
        for first in range(0, len(packed), ENTRIES_PER_BLOCK)
    ]
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}


def _arrange_block(packed, grid, widths):
    """Return what `arrange_profiles` returns, of a few entries."""
    intensity = unpack(packed).square_()
    at_widths = [pack(profiles) for profiles in _at_widths(intensity, grid, widths)]
    entries = contrast(broaden(intensity, COARSE_WIDTH, grid), grid)
    measured = sum_groups(coarse((~entries.isnan()).float()))
    entries = coarse(entries)
    length = entries.square().sum(1, keepdim=True).sqrt()
    entries = entries / torch.where(length > 0, length, 1)
    squares = sum_groups(entries.square())
    tables = {"entries": entries, "squares": squares, "measured": measured}
    return {"widths": np.stack(at_widths, axis=1)} | {name: t.numpy() for name, t in tables.items()}


def _at_widths(intensity, grid, widths):
    """Return what stands out of narrow lines at each line width, a list of (n, n_bins)."""
    return [contrast(broaden(intensity, width, grid), grid) for width in widths]


class ScaledLibrary:
    """Profiles of a library at several line widths, arranged for the comparison at several scales.

    Parameters
    ----------
    arranged : dict of {str: ndarray}
        From `arrange_profiles`.
    grid : Grid
    widths : sequence of float
        Full widths at half maximum of the lines in 1/Å.
    max_scale : float
        Largest relative error of q.
    scale_price : float
        What an error of q of 1 (100%) subtracts from the similarity; grows with its square.
    packed : int16 ndarray of shape (n_entries, n_bins), or None
        Narrow lines as `arrange_profiles` takes them, for `refine_exactly`.
    """

    def __init__(self, arranged, grid, widths, max_scale, scale_price, packed=None):
        self.packed = packed
        self.arranged, self.grid, self.widths = arranged, grid, np.asarray(widths, dtype=float)
        n_steps = round(max_scale / SCALE_STEP) * _STEPS_PER_STEP
        self.scales = 1 + np.arange(-n_steps, n_steps + 1) * (SCALE_STEP / _STEPS_PER_STEP)
        self.costs = (scale_price * (self.scales - 1) ** 2).astype(np.float32)
        self._entries, self._squares, self._measured = (
            torch.from_numpy(arranged[name]) for name in ("entries", "squares", "measured")
        )
        n_bins = self.arranged["widths"].shape[2] // COARSE_BINS
        self._is_whole = bool(self._measured.sum(1).min() == n_bins)

    def compare(self, intensity, is_candidate=None):
        """Return the first stage for intensities (n, n_bins), NaN where not measured.

        ``is_candidate`` (n, n_entries) is False for entries that need not be compared; None: all are
        candidates.
        """
        return self.compare_contrast(contrast(intensity, self.grid), is_candidate)

    def compare_contrast(self, profiles, is_candidate=None):
        """Return what `compare` returns, for profiles as from `contrast`."""
        scales = self.scales[::_STEPS_PER_STEP]
        stretched = stretch(profiles, scales, self.grid.first).transpose(0, 1)
        measured = sum_groups(coarse((~stretched.isnan()).float())) / MASK_BINS
        values = coarse(stretched)
        own = values.square().sum(-1, keepdim=True)
        values = values * torch.where(own > 0, own.rsqrt(), 0)
        tables = values, measured, sum_groups(values.square())  # each (n_scales, n, n_groups)
        cosine = torch.zeros(len(profiles), len(self._entries))
        nearest = torch.zeros(cosine.shape, dtype=torch.uint8)
        is_few = torch.zeros(len(profiles), dtype=torch.bool)
        if is_candidate is not None:
            is_few = torch.from_numpy(is_candidate.mean(axis=1) < FEW_CANDIDATES)
            self._compare_few(tables, is_candidate, torch.nonzero(is_few).squeeze(1), cosine, nearest)
        self._compare_all(tables, torch.nonzero(~is_few).squeeze(1), cosine, nearest)
        return ScaledComparison(self, profiles, ~profiles.isnan(), cosine, nearest, ~is_few)

    def _compare_few(self, tables, is_candidate, rows, cosine, nearest):
        """Write the first stage of rows with their candidates."""
        from xtalsk.library._scaled_kernels import compare_coarse

        tables = [np.ascontiguousarray(table[:, rows].transpose(0, 1).numpy()) for table in tables]
        entries = self._entries.numpy(), self._squares.numpy(), self._measured.numpy()
        rows, cosine, nearest = rows.numpy(), cosine.numpy(), nearest.numpy()
        costs = self.costs[::_STEPS_PER_STEP]

        def compare(first, last):
            for i in range(first, last):
                row = rows[i]
                compare_coarse(
                    *(table[i] for table in tables), *entries, self._is_whole, costs, _STEPS_PER_STEP,
                    is_candidate[row], cosine[row], nearest[row],
                )  # fmt: skip

        in_threads(compare, len(rows))

    def _compare_all(self, tables, rows, cosine, nearest):
        """Write the first stage of rows with all entries, a block of entries at a time."""
        from xtalsk.library._scaled_kernels import best_scales

        if not len(rows):
            return
        values, measured, own = (table[:, rows] for table in tables)
        costs, rows = self.costs[::_STEPS_PER_STEP], rows.numpy()
        cosine, nearest = cosine.numpy(), nearest.numpy()

        def compare(first, last):
            for number in range(first, last):
                block = slice(number * ENTRIES_PER_BLOCK, (number + 1) * ENTRIES_PER_BLOCK)
                products = values @ self._entries[block].T
                lengths = measured @ self._squares[block].T
                if not self._is_whole:
                    lengths *= own @ (self._measured[block] / MASK_BINS).T
                tables = products.numpy(), lengths.numpy(), costs, _STEPS_PER_STEP
                best_scales(*tables, rows, block.start, cosine, nearest)

        in_threads(compare, -(-len(self._entries) // ENTRIES_PER_BLOCK))

    def refine(self, profiles, candidates, nearest):
        """Compare profiles with candidates at all widths, and at scales about the nearest ones.

        Parameters
        ----------
        profiles : Tensor of shape (n, n_bins)
            See `contrast`.
        candidates, nearest : int64 Tensor of shape (n, n_candidates)
            Numbers of the entries and of their scales in the first stage.

        Returns
        -------
        cosine, scale, width : Tensor of shape (n, n_candidates)
            The cosine less the cost of the scale; the width in 1/Å. The scale is the measured q over the q of
            the entry.
        """
        return self._refine(profiles, self.arranged["widths"], candidates, nearest)

    def refine_exactly(self, profiles, rows, entries, nearest):
        """Return what `refine` returns, of pairs of rows and entries, each (n_pairs,), without rounding."""
        distinct, place = np.unique(entries.numpy(), return_inverse=True)
        lines = _at_widths(unpack(self.packed[distinct]).square_(), self.grid, self.widths)
        lines = torch.stack(lines, 1).nan_to_num(not_measured(self.arranged["widths"])).numpy()
        place = torch.from_numpy(place.reshape(-1, 1))
        return [table.squeeze(1) for table in self._refine(profiles, lines, place, nearest[:, None], rows)]

    def _refine(self, profiles, library, candidates, nearest, rows=None):
        """Return what `refine` returns, for a library (n_entries, n_widths, n_bins), of some rows."""
        from xtalsk.library._scaled_kernels import refine_row

        stretched = stretch(profiles, self.scales, self.grid.first)
        measured = (~stretched.isnan()).float().numpy()
        values = stretched.nan_to_num(0).float().numpy()
        candidates, nearest = candidates.numpy(), nearest.numpy()
        rows = np.arange(len(values)) if rows is None else rows.numpy()
        cosine = np.empty(candidates.shape, np.float32)
        scale, width = np.zeros((2, *candidates.shape), np.int64)

        def work(first, last):
            for i in range(first, last):
                refine_row(
                    values[rows[i]], measured[rows[i]], library, candidates[i], nearest[i], self.costs,
                    _STEPS_PER_STEP, cosine[i], scale[i], width[i],
                )  # fmt: skip

        in_threads(work, len(candidates))
        return (
            torch.from_numpy(cosine),
            torch.from_numpy(self.scales[scale]),
            torch.from_numpy(self.widths[width]),
        )
