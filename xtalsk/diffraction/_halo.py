"""The central halo of ring profiles: saturated rings, penumbra and flank, on batched tensors of any device.

Electrons that a specimen scatters diffusely, and those of the direct beam, make a halo that falls steeply and
convexly with q. Near the beam it is not measured: pixels saturate, and the rim of a beam stop darkens them. A
profile therefore begins beyond these bins; the bins before are NaN.
"""

import numpy as np
import torch
from torch.nn import functional as F

from xtalsk.diffraction._constants import (
    BEAM_CONTRAST,
    BLOOM_WIDTH,
    HALO_CONTRAST,
    HALO_FLANK_LEVEL,
    HALO_REACH,
    HALO_RISE,
    HALO_SMOOTHING,
    HALO_START,
    HALO_TOP,
    SATURATED_CORE,
    SATURATED_PIXELS,
    SATURATED_RING,
)
from xtalsk.diffraction._functional import radial_mean, smooth_profiles
from xtalsk.utils._threads import is_plain


def find_saturated(images, valid):
    """Find the pixels at the highest value of each image, if they form areas.

    Single pixels at the highest value are no saturation: in images of few electrons, many pixels share it.

    Parameters
    ----------
    images : Tensor of shape (n, h, w)
        Intensities.
    valid : bool Tensor of shape (n, h, w)
        Pixels that recorded the pattern.

    Returns
    -------
    bool Tensor of shape (n, h, w)
    """
    if is_plain(images):
        from xtalsk.diffraction import _compiled_radial

        return _compiled_radial.find_saturated(images, valid)
    return find_saturated_of_tensors(images, valid)


def find_saturated_of_tensors(images, valid):
    """Find what `find_saturated` finds, for a batch at once, on any device."""
    top = torch.where(valid, images, -torch.inf).amax((1, 2), keepdim=True)
    saturated = (images >= top) & valid
    count = saturated.sum((1, 2))
    core = F.max_pool2d((~saturated).to(images.dtype)[:, None], 3, 1, 1)[:, 0]
    is_area = (count >= SATURATED_PIXELS) & ((1 - core).sum((1, 2)) >= SATURATED_CORE * count)
    return saturated & is_area[:, None, None]


def may_be_saturated(image):
    """Whether so many pixels of an array (h, w) share its highest value that they may be saturated."""
    return np.count_nonzero(image == np.nanmax(image)) >= SATURATED_PIXELS


def find_bloom(saturated, center):
    """Find the saturated pixels in the rows and columns of the direct beam: charge runs over along them.

    Parameters
    ----------
    saturated : bool Tensor of shape (n, h, w)
    center : Tensor of shape (n, 2)
        Row and column of the direct beam in pixels.

    Returns
    -------
    bool Tensor of shape (n, h, w)
    """
    near = []
    for axis, n in enumerate(saturated.shape[1:]):
        pixels = torch.arange(n, device=saturated.device)
        near.append((pixels - center[:, axis, None]).abs() <= BLOOM_WIDTH * max(saturated.shape[1:]))
    return saturated & (near[0][:, :, None] | near[1][:, None, :])


def leave_out_bloom(images, geometry, pixel_size, edges):
    """Leave overflowing charge out of a geometry; arguments as of `_functional.radial_mean`.

    Returns
    -------
    geometry : Geometry
    share : Tensor of shape (n, n_bins) or None
        Share of saturated pixels in each bin; None if no pixel is saturated.
    """
    saturated = find_saturated(images, geometry.valid)
    if not saturated.any():
        return geometry, None
    share = radial_mean(saturated.to(images.dtype), geometry, pixel_size, edges)
    return geometry._replace(valid=geometry.valid & ~find_bloom(saturated, geometry.center)), share


def hide_halo(profiles, saturated, step):
    """Set the bins before the highest value of the halo to NaN.

    The bins of the saturated rings around the beam are hidden. If the intensity then rises from the first bin
    on, as in the penumbra of a beam stop, the bins of its first maximum are hidden as well.

    Parameters
    ----------
    profiles : Tensor of shape (n, n_bins)
        Mean intensities; NaN where nothing was measured.
    saturated : Tensor of shape (n, n_bins) or None
        Share of saturated pixels in each bin, may be NaN. None if no pixel is saturated.
    step : float
        Width of a bin in 1/Å.

    Returns
    -------
    Tensor of shape (n, n_bins)
    """
    if is_plain(profiles):
        from xtalsk.diffraction import _compiled_radial

        return _compiled_radial.hide_halo(profiles, saturated, step)
    return hide_halo_of_tensors(profiles, saturated, step)


def hide_halo_of_tensors(profiles, saturated, step):
    """Hide what `hide_halo` hides, for a batch at once, on any device."""
    bins = torch.arange(profiles.shape[1], device=profiles.device)
    first = _first_true(~profiles.isnan())
    if saturated is not None:
        clear = ~((saturated > SATURATED_RING) | saturated.isnan()) & (bins >= first[:, None])
        past = _first_true(clear)
        first = torch.where(past > first, past + 2, first)
    level = smooth_profiles(profiles, HALO_SMOOTHING)
    near = (bins >= first[:, None]) & (bins < first[:, None] + max(1, int(HALO_START / step)))
    lowest = torch.where(near & ~level.isnan(), level, torch.inf).argmin(1)
    ahead = F.pad(level.nan_to_num(nan=-torch.inf), (0, 3), value=-torch.inf)
    ahead = torch.stack([ahead[:, k : k + len(bins)] for k in (1, 2, 3)]).amax(0)
    top = _first_true((bins >= lowest[:, None]) & (ahead <= level))
    low, high = (level.gather(1, i.clamp_max(len(bins) - 1)[:, None])[:, 0] for i in (lowest, top))
    rises = (high - low > HALO_CONTRAST * high) & (lowest - first < HALO_RISE / step)
    rises &= (top > lowest + 1) & (top - first < HALO_REACH / step)
    past = _first_true((bins >= top[:, None]) & (level < HALO_TOP * high[:, None]))
    first = torch.where(rises, past, first)
    return torch.where(bins >= first[:, None], profiles, torch.nan)


def hide_flank(profiles, step):
    """Set the first bins of profiles without background to NaN, up to where the rest of the halo ends.

    No method follows a steep halo to its very first bin: what remains falls from there on. It ends where it
    is almost zero, or where it rises again. The direct beam is hidden in the same way.

    Parameters
    ----------
    profiles : Tensor of shape (n, n_bins)
        Intensities above the background; NaN where nothing was measured.
    step : float
        Width of a bin in 1/Å.

    Returns
    -------
    Tensor of shape (n, n_bins)
    """
    bins = torch.arange(profiles.shape[1], device=profiles.device)
    first = _first_true(~profiles.isnan())
    level = smooth_profiles(profiles, HALO_SMOOTHING)
    beyond = bins >= first[:, None] + int(HALO_REACH / step)
    highest = torch.where(beyond, level, 0).nan_to_num(0.0).amax(1, keepdim=True)
    core = torch.where(bins < first[:, None] + int(HALO_START / step), level, -torch.inf).nan_to_num(
        -torch.inf
    )
    is_beam = core.amax(1) > BEAM_CONTRAST * highest[:, 0]
    start = torch.where(is_beam, core.argmax(1), first)
    falls = F.pad(level[:, 1:] < level[:, :-1], (0, 1))
    end = _first_true((bins >= start[:, None]) & (~falls | (level <= HALO_FLANK_LEVEL * highest)))
    end = torch.where((end - first) * step < HALO_REACH, end, first)
    return torch.where(bins >= end[:, None], profiles, torch.nan)


def _first_true(condition):
    """Return the first bin in which a condition (n, n_bins) holds, (n,), or n_bins if it never does."""
    n_bins = condition.shape[1]
    return torch.where(condition.any(1), condition.to(torch.uint8).argmax(1), n_bins)
