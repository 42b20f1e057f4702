"""Comparison of profiles: pure functions on batches of tensors."""

import numpy as np
import torch
from torch.nn import functional as F

from xtalsk.diffraction._functional import smooth_profiles
from xtalsk.library._constants import BEND_COST, MAX_BEND, MAX_DOUBLE_SIZE, SEGMENT_BINS, SHIFT_COST

_FULL_SCALE = 127  # largest value of a packed profile
_NOT_MEASURED = -128  # value of a packed bin that was not measured


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


def pack(profiles):
    """Store profiles with one byte per bin, relative to the largest value of each profile.

    Parameters
    ----------
    profiles : Tensor of shape (n, n_bins)
        NaN where not measured.

    Returns
    -------
    int8 ndarray of shape (n, n_bins)
        -127 to 127, and -128 where not measured.
    """
    largest = profiles.abs().nan_to_num(0).amax(1, keepdim=True)
    scaled = profiles * (_FULL_SCALE / torch.where(largest > 0, largest, 1))
    return scaled.round().nan_to_num(_NOT_MEASURED).to(torch.int8).numpy()


def unpack(packed):
    """Restore the profiles that `pack` stored, except for the scale of each.

    Parameters
    ----------
    packed : int8 ndarray of shape (n, n_bins)

    Returns
    -------
    values : Tensor of shape (n, n_bins)
        0 where not measured. Small libraries have double precision: the results for a row then do not
        depend on the other rows of its chunk.
    is_measured : bool Tensor of shape (n, n_bins)
    """
    packed = torch.from_numpy(packed)
    is_measured = packed != _NOT_MEASURED
    dtype = torch.float64 if packed.numel() < MAX_DOUBLE_SIZE else torch.float32
    return torch.where(is_measured, packed, 0).to(dtype), is_measured


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
    bits = np.packbits(is_measured.numpy(), axis=1)
    _, first, index = np.unique(bits, axis=0, return_index=True, return_inverse=True)
    return is_measured[torch.from_numpy(first)], torch.from_numpy(index.reshape(-1))


class ProfileLibrary:
    """Profiles of a library, arranged for the comparison with measured ones.

    Parameters
    ----------
    packed : int8 ndarray of shape (n_entries, n_bins)
        See `pack`.
    first : int
        Number of bin widths between the zero of the axis and the first bin.
    """

    def __init__(self, packed, first):
        self.values, is_measured = unpack(packed)
        self.squares = self.values.square()
        self.masks, self.mask_index = distinct_masks(is_measured)
        self.masks = self.masks.to(self.values)
        self.first = first
        self._segments = None

    def cosine(self, values, is_measured):
        """Return the cosine of each profile with each entry, over the bins that both have.

        Parameters
        ----------
        values : Tensor of shape (n, n_bins)
            0 where not measured; dtype of the library.
        is_measured : bool Tensor of shape (n, n_bins)

        Returns
        -------
        cosine : Tensor of shape (n, n_entries)
        scale : Tensor of shape (n, n_entries)
            Factor between the scalar product and the cosine; 0 where one of the two profiles is empty.
        """
        masks, index = distinct_masks(is_measured)
        library_squares = (masks.to(values) @ self.squares.T)[index]
        profile_squares = values.square() @ self.masks.T
        scale = library_squares.mul_(profile_squares[:, self.mask_index]).rsqrt_()
        scale[~torch.isfinite(scale)] = 0
        return (values @ self.values.T).mul_(scale), scale

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
        segments = self._library_segments()
        limits = max_shift + max_stretch * ((torch.arange(len(segments)) + 0.5) * SEGMENT_BINS + self.first)
        cost = _shift_costs(limits, values)
        shifted = _shifted_segments(values, len(segments), int(limits.max()))
        masks = _split_segments(is_measured.to(values), len(segments))
        scale = scale[..., None]
        best = None
        for k in range(len(segments)):
            entries = segments[k][candidates]
            if not masks[:, k].all():
                entries = entries * masks[:, None, k]
            gain = (entries @ shifted[:, k]).mul_(scale).sub_(cost[k])
            best = gain if best is None else gain.add_(_best_before(best))
        return best.amax(2).clamp_max(1)

    def _library_segments(self):
        """Return the entries in segments, (n_segments, n_entries, 64), contiguous for the comparison."""
        if self._segments is None:
            n_segments = -(-self.values.shape[1] // SEGMENT_BINS)
            self._segments = _split_segments(self.values, n_segments).transpose(0, 1).contiguous()
        return self._segments


def _split_segments(values, n_segments):
    """Return profiles in segments, padded with 0 at the end: (n, n_segments, 64)."""
    padding = n_segments * SEGMENT_BINS - values.shape[1]
    return F.pad(values, (0, padding)).unflatten(1, (n_segments, SEGMENT_BINS))


def _shifted_segments(values, n_segments, max_shift):
    """Return each segment at each shift from -max_shift to max_shift, (n, n_segments, 64, n_shifts)."""
    padding = n_segments * SEGMENT_BINS - values.shape[1]
    padded = F.pad(values, (max_shift, max_shift + padding))
    windows = padded.unfold(1, SEGMENT_BINS + 2 * max_shift, SEGMENT_BINS)
    return windows.unfold(2, SEGMENT_BINS, 1).transpose(2, 3)


def _shift_costs(limits, like):
    """Return the similarity that each shift of each segment costs; infinite beyond the limit of the segment.

    Parameters
    ----------
    limits : Tensor of shape (n_segments,)
        Largest shift of each segment in bins.
    like : Tensor
        Has the dtype of the result.

    Returns
    -------
    Tensor of shape (n_segments, n_shifts)
    """
    furthest = int(limits.max())
    shifts = torch.arange(-furthest, furthest + 1)
    cost = SHIFT_COST / len(limits) * shifts.square().to(like)
    return torch.where(shifts.abs() <= limits[:, None], cost, torch.inf)


def _best_before(best):
    """Return the best similarity up to the segment before, for each shift of the next segment.

    Parameters
    ----------
    best : Tensor of shape (n, n_candidates, n_shifts)
        Best similarity up to a segment, for each shift of this segment.
    """
    out = best.clone()
    for step in range(1, min(MAX_BEND, best.shape[2] - 1) + 1):
        cost = BEND_COST * step**2
        torch.maximum(out[..., step:], best[..., :-step] - cost, out=out[..., step:])
        torch.maximum(out[..., :-step], best[..., step:] - cost, out=out[..., :-step])
    return out
