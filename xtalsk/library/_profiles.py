"""Comparison of profiles: pure functions on batches of tensors."""

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from scipy.ndimage import uniform_filter1d
from torch.nn import functional as F

from xtalsk.diffraction._functional import smooth_profiles
from xtalsk.library._constants import (
    BEND_COST,
    ENTRIES_PER_BLOCK,
    FEW_CANDIDATES,
    LOCAL_BINS,
    MAX_BEND,
    MAX_DOUBLE_SIZE,
    SEGMENT_BINS,
    SHIFT_COST,
    SMALLEST_SHARE,
)
from xtalsk.utils._first_answer import is_compiled_or_worth_it
from xtalsk.utils._threads import in_threads


def not_measured(packed):
    """Return the value of packed bins that were not measured: the least number of their type."""
    return np.iinfo(packed.dtype).min


def emphasise(profiles, baseline, power, smoothing):
    """Prepare profiles for the comparison: subtract the median, compress and smooth.

    Parameters
    ----------
    profiles : Tensor of shape (n, n_bins)
    baseline : {"median", None}
        ``"median"`` subtracts the median of each profile and sets negative values to 0.
    power : float
        Exponent of the compression. It keeps the sign.
    smoothing : float
        Standard deviation of the Gaussian in bins; 0 does not smooth.

    Returns
    -------
    Tensor of shape (n, n_bins)
        NaN stays NaN.
    """
    if baseline == "median":
        profiles = (profiles - profiles.nanmedian(1, keepdim=True).values).clamp_min(0)
    if power != 1:
        profiles = profiles.sign() * profiles.abs() ** power
    return smooth_profiles(profiles, smoothing) if smoothing else profiles


def subtract_local_mean(profiles, share):
    """Subtract a share of the mean over `LOCAL_BINS` bins; unmeasured bins do not count.

    Parameters
    ----------
    profiles : Tensor of shape (n, n_bins)
    share : float

    Returns
    -------
    Tensor of shape (n, n_bins)
        NaN stays NaN.
    """
    if not share:
        return profiles
    counted = (~profiles.isnan()).to(profiles).numpy()
    sums, counts = (
        uniform_filter1d(table, LOCAL_BINS, axis=1, mode="constant")
        for table in (profiles.nan_to_num(0).numpy(), counted)
    )
    return profiles - share * torch.from_numpy(sums / np.maximum(counts, 1 / (2 * LOCAL_BINS)))


def pack(profiles, dtype=torch.int8):
    """Store profiles as integers, relative to the largest value of each profile.

    Parameters
    ----------
    profiles : Tensor of shape (n, n_bins)
        NaN where not measured.
    dtype : {torch.int8, torch.int16}
        Rounding changes a cosine by up to 0.003 with one byte, and by up to 1e-5 with two.

    Returns
    -------
    ndarray of shape (n, n_bins)
        From -127 to 127, and -128 where not measured; or from -32767 to 32767, and -32768.
    """
    limits = torch.iinfo(dtype)
    largest = profiles.abs().nan_to_num(0).amax(1, keepdim=True)
    scaled = profiles * (limits.max / torch.where(largest > 0, largest, 1))
    return scaled.round().nan_to_num(limits.min).to(dtype).numpy()


def unpack(packed):
    """Return profiles of `pack` as floats, NaN where not measured; any scale."""
    is_missing = torch.from_numpy(packed == not_measured(packed))
    return torch.from_numpy(packed).float().masked_fill_(is_missing, torch.nan)


def distinct_masks(is_measured):
    """Find the distinct masks of measured bins.

    Parameters
    ----------
    is_measured : bool Tensor of shape (n, n_bins)

    Returns
    -------
    masks : bool Tensor of shape (n_masks, n_bins)
    index : int64 Tensor of shape (n,)
        Mask of each row.
    """
    if (is_measured == is_measured[:1]).all():
        return is_measured[:1], torch.zeros(len(is_measured), dtype=torch.int64)
    bits = np.packbits(is_measured.numpy(), axis=1)
    _, first, index = np.unique(bits, axis=0, return_index=True, return_inverse=True)
    return is_measured[torch.from_numpy(first)], torch.from_numpy(index.reshape(-1))


def _shift_entries(profile, entries, widths, scale, costs):
    """Compute what `_profile_kernels.shift_row` does, for all candidates (n_candidates, n_bins) at once."""
    widest = widths.max()
    shifts = np.abs(np.arange(-widest, widest + 1))
    best = np.zeros((len(entries), len(shifts)), profile.dtype)
    for k, width in enumerate(widths):
        bins = slice(k * SEGMENT_BINS, (k + 1) * SEGMENT_BINS)
        windows = sliding_window_view(profile[bins.start : bins.stop + 2 * widest], SEGMENT_BINS)
        before = best.copy()
        for bend in range(1, 1 if k == 0 else min(len(costs), len(shifts))):
            before[:, :-bend] = np.maximum(before[:, :-bend], best[:, bend:] - costs[bend])
            before[:, bend:] = np.maximum(before[:, bend:], best[:, :-bend] - costs[bend])
        gain = (entries[:, bins] @ windows.T) * scale[:, np.newaxis] - costs[0] * shifts**2
        best = np.where(shifts <= width, before + gain, -np.inf).astype(profile.dtype)
    return np.where(scale == 0, 0, np.minimum(best.max(axis=1), 1))


def _without_local_mean(packed, share):
    """Return packed profiles less a share of their local mean, packed, a block of entries at a time."""
    if not share:
        return packed
    out, dtype = np.empty_like(packed), getattr(torch, packed.dtype.name)
    for first in range(0, len(packed), ENTRIES_PER_BLOCK):
        block = slice(first, first + ENTRIES_PER_BLOCK)
        out[block] = pack(subtract_local_mean(unpack(packed[block]), share), dtype)
    return out


class ProfileLibrary:
    """Profiles of a library, arranged for the comparison with measured ones.

    Small libraries are compared in double precision: the results for a row then do not depend on the other
    rows of its chunk.

    Parameters
    ----------
    packed : ndarray of shape (n_entries, n_bins)
        See `pack`. It is not copied if all bins were measured.
    first : int
        Number of bin widths between the zero of the axis and the first bin.
    local_mean : float
        Share of the local mean that both sides lose, see `subtract_local_mean`. Files hold profiles that have
        not lost it: zeros between lines make them small.

    Attributes
    ----------
    packed : ndarray of shape (n_entries, n_bins)
        0 where not measured.
    local_mean : float
    dtype : torch.dtype
        That of profiles to compare.
    """

    def __init__(self, packed, first, local_mean=0.0):
        self.dtype = torch.float64 if packed.size < MAX_DOUBLE_SIZE else torch.float32
        self.local_mean = local_mean
        packed, lowest = _without_local_mean(packed, local_mean), not_measured(packed)
        if packed.min() > lowest:
            self.packed, masks = packed, torch.ones(1, packed.shape[1])
        else:
            is_measured = packed != lowest
            self.packed = np.where(is_measured, packed, packed.dtype.type(0))
            masks, self._mask_index = distinct_masks(torch.from_numpy(is_measured))
        self._masks = masks.to(self.dtype)
        self._squares = torch.cat([entries.square_().sum(1) for _, entries in self._blocks()])
        self.first = first

    def cosine(self, values, is_measured, is_candidate=None):
        """Return the cosine of each profile with each entry, over the bins that both have.

        Rows with few candidates are compared with these alone.

        Parameters
        ----------
        values : Tensor of shape (n, n_bins)
            0 where not measured; dtype of the library.
        is_measured : bool Tensor of shape (n, n_bins)
        is_candidate : bool ndarray of shape (n, n_entries), or None
            False for entries that need not be compared. None: all are candidates.

        Returns
        -------
        cosine : Tensor of shape (n, n_entries)
        scale : Tensor of shape (n, n_entries)
            Factor between the scalar product and the cosine; 0 where one of the two profiles is empty. Both
            are 0 for entries that were not compared.
        """
        products, squares = (torch.empty(len(values), len(self.packed), dtype=self.dtype) for _ in range(2))
        few = np.zeros(len(values), dtype=bool)
        if is_candidate is not None:
            few = is_candidate.mean(axis=1) < FEW_CANDIDATES
            self._compare_few(values, is_measured, is_candidate, np.flatnonzero(few), products, squares)
        many = torch.from_numpy(np.flatnonzero(~few))
        self._compare_all(values, is_measured, many, products, squares)
        profile_squares = values.square() @ self._masks.T
        if len(self._masks) > 1:
            profile_squares = profile_squares[:, self._mask_index]
        scale = squares.mul_(profile_squares).rsqrt_().nan_to_num_(posinf=0)
        return products.mul_(scale), scale

    def _compare_few(self, values, is_measured, is_candidate, rows, products, squares):
        """Write the scalar products of rows with their candidates, and the squared lengths of these."""
        from xtalsk.library._profile_kernels import compare_row

        measured = is_measured.to(values).numpy()
        values, products, squares = values.numpy(), products.numpy(), squares.numpy()

        def compare(first, last):
            for i in rows[first:last]:
                compare_row(values[i], measured[i], self.packed, is_candidate[i], products[i], squares[i])

        in_threads(compare, len(rows))

    def _compare_all(self, values, is_measured, rows, products, squares):
        """Write the scalar products of rows with all entries, and the squared lengths of these."""
        if not len(rows):
            return
        values = values[rows]
        masks, index = distinct_masks(is_measured[rows])
        lacking = torch.nonzero(~masks.all(0)).squeeze(1)
        lacks = (~masks[:, lacking]).to(values)
        for block, entries in self._blocks():
            products[rows, block] = values @ entries.T
            whole = self._squares[block]
            lengths = whole - lacks @ entries[:, lacking].square().T
            squares[rows, block] = torch.where(lengths > SMALLEST_SHARE * whole, lengths, 0)[index]

    def _blocks(self):
        """Yield slices of the entries, and the profiles of each slice; they share one memory."""
        memory = torch.empty(min(ENTRIES_PER_BLOCK, len(self.packed)), self.packed.shape[1], dtype=self.dtype)
        for first in range(0, len(self.packed), ENTRIES_PER_BLOCK):
            packed = torch.from_numpy(self.packed[first : first + ENTRIES_PER_BLOCK])
            yield slice(first, first + len(packed)), memory[: len(packed)].copy_(packed)

    def elastic(self, values, is_measured, scale, candidates, max_stretch, max_shift):
        """Return the cosine after segments of each profile were shifted to fit a candidate.

        A segment has 64 bins and shifts by whole bins. Each shift reduces the similarity, and so does each
        difference between the shifts of neighbouring segments. Dynamic programming finds the best shifts.

        Parameters
        ----------
        values : Tensor of shape (n, n_bins)
            0 where not measured.
        is_measured : bool Tensor of shape (n, n_bins)
            The other bins of the candidates are left out, as in ``scale``.
        scale : Tensor of shape (n, n_candidates)
            See `cosine`.
        candidates : int64 Tensor of shape (n, n_candidates)
            Numbers of the entries.
        max_stretch : float
            Largest shift relative to the position on the axis.
        max_shift : float
            Largest shift in addition, in bins.

        Returns
        -------
        Tensor of shape (n, n_candidates)
            At most 1. A line at the border of two segments may be counted twice.
        """
        n_bins = self.packed.shape[1]
        middles = (np.arange(-(-n_bins // SEGMENT_BINS)) + 0.5) * SEGMENT_BINS + self.first
        widths = (max_shift + max_stretch * middles).astype(np.int64)
        after = len(middles) * SEGMENT_BINS - n_bins
        padded = F.pad(values, (int(widths.max()), int(widths.max()) + after)).numpy()
        measured, scale, candidates = is_measured.to(values).numpy(), scale.numpy(), candidates.numpy()
        costs = np.array([SHIFT_COST / len(widths), *(BEND_COST * np.arange(1, MAX_BEND + 1) ** 2)])
        costs, out = costs.astype(padded.dtype), np.empty_like(scale)
        if not is_compiled_or_worth_it("xtalsk.library._profile_kernels", len(padded)):
            for i, row in enumerate(padded):
                entries = self.packed[candidates[i]] * measured[i]
                out[i] = _shift_entries(row, np.pad(entries, ((0, 0), (0, after))), widths, scale[i], costs)
            return torch.from_numpy(out)
        from xtalsk.library._profile_kernels import shift_row

        def shift(first, last):
            for i in range(first, last):
                shift_row(
                    padded[i],
                    measured[i],
                    self.packed,
                    widths,
                    scale[i],
                    candidates[i],
                    costs,
                    SEGMENT_BINS,
                    out[i],
                )

        in_threads(shift, len(padded))
        return torch.from_numpy(out)
