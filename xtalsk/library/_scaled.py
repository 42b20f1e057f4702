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
    LIBRARY_WIDTH,
    LOCAL_MEAN,
    MASK_BINS,
    SCALE_STEP,
    SMALLEST_SHARE,
)
from xtalsk.library._profiles import pack
from xtalsk.utils import check_number
from xtalsk.utils._threads import in_threads

_FWHM = 2 * np.sqrt(2 * np.log(2))  # full width at half maximum of a Gaussian of standard deviation 1
_STEPS_PER_STEP = 2  # scales of the second stage for each one of the first
_NOT_MEASURED = -128


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
    sigma = np.sqrt(max(width**2 - LIBRARY_WIDTH**2, 0)) / _FWHM / grid.step
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
    """

    library: object
    profiles: torch.Tensor
    is_measured: torch.Tensor
    cosine: torch.Tensor
    nearest: torch.Tensor

    def refine(self, candidates, max_stretch, max_shift):
        """Return similarity, scale and line width of candidates, each (n, n_candidates)."""
        return self.library.refine(self.profiles, candidates, self.nearest.gather(1, candidates).long())


class ScaledLibrary:
    """Profiles of a library at several line widths, arranged for the comparison at several scales.

    Parameters
    ----------
    packed : int8 ndarray of shape (n_entries, n_bins)
        Square roots of the intensities of narrow lines, see `pack`.
    grid : Grid
    widths : sequence of float
        Full widths at half maximum of the lines in 1/Å.
    max_scale : float
        Largest relative error of q.
    scale_price : float
        What an error of q of 1 (100%) subtracts from the similarity; grows with its square.
    """

    def __init__(self, packed, grid, widths, max_scale, scale_price):
        profiles = (
            torch.from_numpy(packed)
            .float()
            .masked_fill_(torch.from_numpy(packed == _NOT_MEASURED), torch.nan)
        )
        intensity = profiles.square()
        self.grid, self.widths = grid, np.asarray(widths, dtype=float)
        n_steps = round(max_scale / SCALE_STEP) * _STEPS_PER_STEP
        self.scales = 1 + np.arange(-n_steps, n_steps + 1) * (SCALE_STEP / _STEPS_PER_STEP)
        self.costs = (scale_price * (self.scales - 1) ** 2).astype(np.float32)
        self.packed = np.stack([pack(contrast(broaden(intensity, w, grid), grid)) for w in widths])
        entries = contrast(broaden(intensity, COARSE_WIDTH, grid), grid)
        self._is_whole = not entries.isnan().any()
        self._measured = sum_groups(coarse((~entries.isnan()).float()))
        entries = coarse(entries)
        length = entries.square().sum(1, keepdim=True).sqrt()
        self._entries = entries / torch.where(length > 0, length, 1)
        self._squares = sum_groups(self._entries.square())

    def compare(self, intensity):
        """Return the first stage for intensities (n, n_bins), NaN where not measured."""
        profiles = contrast(intensity, self.grid)
        n, n_entries = len(profiles), len(self._entries)
        scales = self.scales[::_STEPS_PER_STEP]
        stretched = stretch(profiles, scales, self.grid.first).transpose(0, 1)
        measured = sum_groups(coarse((~stretched.isnan()).float())) / MASK_BINS
        values = coarse(stretched)
        own = values.square().sum(-1, keepdim=True)
        values = values * torch.where(own > 0, own.rsqrt(), 0)
        own = sum_groups(values.square())
        cosine, nearest = torch.full((n, n_entries), -torch.inf), torch.zeros(n, n_entries, dtype=torch.uint8)
        for start in range(0, n_entries, ENTRIES_PER_BLOCK):
            block = slice(start, start + ENTRIES_PER_BLOCK)
            best, index = cosine[:, block], nearest[:, block]
            for k in range(len(scales)):
                length = measured[k] @ self._squares[block].T
                if not self._is_whole:
                    length *= own[k] @ (self._measured[block] / MASK_BINS).T
                length = length.clamp_min_(SMALLEST_SHARE).rsqrt_()
                similarity = length.mul_(values[k] @ self._entries[block].T)
                similarity -= float(self.costs[k * _STEPS_PER_STEP])
                better = similarity > best
                torch.maximum(best, similarity, out=best)
                index.masked_fill_(better, k * _STEPS_PER_STEP)
        return ScaledComparison(self, profiles, ~profiles.isnan(), cosine, nearest)

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
        from xtalsk.library._scaled_kernels import refine_row

        stretched = stretch(profiles, self.scales, self.grid.first)
        measured = (~stretched.isnan()).float().numpy()
        values = stretched.nan_to_num(0).float().numpy()
        candidates, nearest = candidates.numpy(), nearest.numpy()
        cosine = np.empty(candidates.shape, np.float32)
        scale, width = np.zeros((2, *candidates.shape), np.int64)

        def work(first, last):
            for i in range(first, last):
                refine_row(
                    values[i], measured[i], self.packed, candidates[i], nearest[i], self.costs,
                    _STEPS_PER_STEP, cosine[i], scale[i], width[i],
                )  # fmt: skip

        in_threads(work, len(values))
        return (
            torch.from_numpy(cosine),
            torch.from_numpy(self.scales[scale]),
            torch.from_numpy(self.widths[width]),
        )
