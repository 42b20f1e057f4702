"""How alike profiles are: pure functions on batches of tensors, float32."""

import numpy as np
import torch
from torch.nn import functional as F

from xtalsk.diffraction._functional import smooth_profiles

_FULL_SCALE = 127
_NOT_MEASURED = -128
_SMALL = 2**20  # bins
_SEGMENT = 64  # bins that move together
_MOST_BEND = 2  # bins by which neighbouring segments may differ
_SHIFT_COST = 0.005  # of similarity, for all segments one bin off
_BEND_COST = 0.01  # of similarity, for each bin by which neighbouring segments differ


def emphasise(profiles, baseline, power, smoothing):
    """Take what most bins hold off, compress and smooth, as both sides of a comparison are.

    Parameters
    ----------
    profiles : Tensor of shape (n, n_bins)
    baseline : {"median", None}
        With ``"median"`` the median of each profile is taken off and what is below it is 0.
    power : float
        Exponent; signs are kept.
    smoothing : float
        Standard deviation of a Gaussian in bins, 0 for none.

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
    """Write profiles as one byte a bin, in units of the largest value of each; NaN has a byte of its own.

    Returns
    -------
    int8 ndarray of shape (n, n_bins)
    """
    largest = profiles.abs().nan_to_num(0).amax(1, keepdim=True)
    scaled = profiles * (_FULL_SCALE / torch.where(largest > 0, largest, 1))
    return scaled.round().nan_to_num(_NOT_MEASURED).to(torch.int8).numpy()


def unpack(packed):
    """Read what `pack` wrote, but for the scale of each profile.

    Returns
    -------
    values : Tensor of shape (n, n_bins)
        0 where not measured. Small libraries afford double precision, with which results do not depend on
        what is matched together.
    measured : bool Tensor of shape (n, n_bins)
    """
    packed = torch.from_numpy(packed)
    measured = packed != _NOT_MEASURED
    dtype = torch.float64 if packed.numel() < _SMALL else torch.float32
    return torch.where(measured, packed, 0).to(dtype), measured


def distinct_masks(measured):
    """Masks that differ, and which of them each row has.

    Returns
    -------
    masks : bool Tensor of shape (n_masks, n_bins)
    index : int64 Tensor of shape (n,)
    """
    bits = np.packbits(measured.numpy(), axis=1)
    _, first, index = np.unique(bits, axis=0, return_index=True, return_inverse=True)
    return measured[torch.from_numpy(first)], torch.from_numpy(index.reshape(-1))


class ProfileLibrary:
    """Profiles laid out for comparison.

    Parameters
    ----------
    packed : int8 ndarray of shape (n_entries, n_bins)
        See `pack`.
    first : int
        Widths of a bin between the zero of the axis and its first bin.
    """

    def __init__(self, packed, first):
        self.values, measured = unpack(packed)
        self.squares = self.values.square()
        self.masks, self.mask_index = distinct_masks(measured)
        self.masks = self.masks.to(self.values)
        self.first = first
        self.segments = None  # (n_segments, n_entries, 64): together what is compared at once

    def cosine(self, values, measured):
        """Cosine of each profile with each of the library, over the bins that both have.

        Parameters
        ----------
        values : Tensor of shape (n, n_bins)
            0 where not measured; of the dtype of the library.
        measured : bool Tensor of shape (n, n_bins)

        Returns
        -------
        cosine, scale : Tensor of shape (n, n_entries)
            The cosine, and what the scalar product was multiplied by to get it; 0 where one side is empty.
        """
        masks, index = distinct_masks(measured)
        theirs = (masks.to(values) @ self.squares.T)[index]
        ours = values.square() @ self.masks.T
        scale = theirs.mul_(ours[:, self.mask_index]).rsqrt_()
        scale[~torch.isfinite(scale)] = 0
        return (values @ self.values.T).mul_(scale), scale

    def elastic(self, values, measured, scale, candidates, max_stretch, max_shift):
        """Cosine after segments of each profile have moved to fit the candidate, less the cost of moving.

        Each segment of 64 bins moves by whole bins. Shifts cost similarity, and so do differences of the
        shifts of neighbouring segments; the best shifts together are found by dynamic programming.

        Parameters
        ----------
        values : Tensor of shape (n, n_bins)
            0 where not measured.
        measured : bool Tensor of shape (n, n_bins)
            Library bins beside it do not count, as in ``scale``.
        scale : Tensor of shape (n, n_candidates)
            See `cosine`.
        candidates : int64 Tensor of shape (n, n_candidates)
        max_stretch : float
            Largest shift relative to the position on the axis.
        max_shift : float
            Largest shift besides, in bins.

        Returns
        -------
        Tensor of shape (n, n_candidates)
            At most 1: a line at the border of two segments may be met twice.
        """
        n_bins = values.shape[1]
        n_segments = -(-n_bins // _SEGMENT)
        padding = n_segments * _SEGMENT - n_bins
        if self.segments is None:
            padded = F.pad(self.values, (0, padding)).unflatten(1, (n_segments, _SEGMENT))
            self.segments = padded.transpose(0, 1).contiguous()
        reach = max_shift + max_stretch * ((torch.arange(n_segments) + 0.5) * _SEGMENT + self.first)
        furthest = int(reach.max())
        shifts = torch.arange(-furthest, furthest + 1)
        cost = _SHIFT_COST / n_segments * shifts.square().to(values)
        cost = torch.where(shifts.abs() <= reach[:, None], cost, torch.inf)
        moved = F.pad(values, (furthest, furthest + padding)).unfold(1, _SEGMENT + 2 * furthest, _SEGMENT)
        moved = moved.unfold(2, _SEGMENT, 1).transpose(2, 3)  # (n, segments, bins, shifts)
        seen = F.pad(measured.to(values), (0, padding)).unflatten(1, (n_segments, _SEGMENT))
        scale = scale[..., None]
        best = None
        for k in range(n_segments):
            theirs = self.segments[k][candidates]
            if not seen[:, k].all():
                theirs = theirs * seen[:, None, k]
            gain = (theirs @ moved[:, k]).mul_(scale).sub_(cost[k])
            best = gain if best is None else gain.add_(_bend(best))
        return best.amax(2).clamp_max(1)


def _bend(best):
    """Best over the shifts that the segment before may have had, less the cost of the difference."""
    out = best.clone()
    for step in range(1, min(_MOST_BEND, best.shape[2] - 1) + 1):
        cost = _BEND_COST * step**2
        torch.maximum(out[..., step:], best[..., :-step] - cost, out=out[..., step:])
        torch.maximum(out[..., :-step], best[..., step:] - cost, out=out[..., :-step])
    return out
