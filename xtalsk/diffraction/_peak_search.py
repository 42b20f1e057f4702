"""Peaks of profiles: one search for single profiles on NumPy and one for batches on any device.

Both share the deviation from which the noise follows and the parabola that gives the position. They differ in
three points: `locate_peaks` takes the noise from the median of the deviations and the prominence over the
whole profile, and keeps the most prominent peaks; `find_lines` takes the noise from the quietest bins and the
prominence within 24 bins, which is fast on a GPU, and keeps the peaks of lowest q.
"""

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d

from xtalsk.diffraction._constants import (
    LINE_LAG,
    LINE_MIN_HEIGHT,
    LINE_REACH,
    LINE_SIGMA,
    LINE_SMOOTHING,
    PEAK_LAG,
    QUIET_SHARE,
)
from xtalsk.diffraction._functional import fill_gaps, smooth_profiles

# Normal distribution of standard deviation 1, rounded.
_SIGMA_PER_MEDIAN = 1.4826  # standard deviation divided by the median of |x|
_QUIET_QUANTILE = 0.3853  # quantile of |x| at QUIET_SHARE = 0.3
_DEVIATION_VARIANCE = 1.5  # variance of x - (y + z) / 2 for independent x, y, z of variance 1


def neighbour_deviations(smooth, measured, lag):
    """Distance of each value from the mean of its two neighbours ``lag`` bins away.

    Parameters
    ----------
    smooth : Tensor or ndarray of shape (n, n_bins)
        Profiles without gaps.
    measured : bool Tensor or ndarray of shape (n, n_bins)
    lag : int
        In bins.

    Returns
    -------
    deviation : Tensor or ndarray of shape (n, n_bins - 2 * lag)
    is_measured : bool Tensor or ndarray of shape (n, n_bins - 2 * lag)
        Whether the value and both neighbours were measured.
    """
    deviation = abs(smooth[:, lag:-lag] - (smooth[:, : -2 * lag] + smooth[:, 2 * lag :]) / 2)
    return deviation, measured[:, : -2 * lag] & measured[:, lag:-lag] & measured[:, 2 * lag :]


def parabola_shift(smooth, bins):
    """Distance, in bins, from the given bins to the tops of parabolas through three values.

    Parameters
    ----------
    smooth : Tensor of shape (n, n_bins)
    bins : int64 Tensor of shape (n, n_peaks)
        From 1 to ``n_bins - 2``.

    Returns
    -------
    Tensor of shape (n, n_peaks)
        0 where the three values have no maximum.
    """
    left, top, right = (smooth.gather(1, bins + d) for d in (-1, 0, 1))
    curvature = left - 2 * top + right
    return torch.where(curvature < 0, (left - right) / (2 * curvature), 0)


def locate_peaks(q, profile, width=0.004, n_sigma=6.0, min_height=0.05, max_peaks=None):
    """Find the peaks of one profile that rise above its noise.

    The profile is smoothed by ``width``. A peak counts if its prominence exceeds both ``n_sigma`` times the
    noise and ``min_height`` times the highest value. The noise follows from the median distance of each value
    from the mean of its two neighbours three widths away. The median is hardly affected by peaks, as long as
    they fill less than half of the profile.

    Parameters
    ----------
    q : ndarray of shape (n_bins,)
        Middle of the bins in 1/Å; the bins have equal widths.
    profile : ndarray of shape (n_bins,)
        Intensity of even noise, e.g. the square root of counts; NaN where it was not measured.
    width : float, default=0.004
        Standard deviation of the smoothing in 1/Å.
    n_sigma : float, default=6.0
        Least prominence in units of the noise.
    min_height : float, default=0.05
        Least prominence as a share of the highest value.
    max_peaks : int or None, default=None
        Largest number of peaks; the most prominent ones are kept. None keeps all.

    Returns
    -------
    position : ndarray of shape (n_peaks,)
        Tops of the peaks in 1/Å, increasing. A parabola through three values gives the position between bins.
    prominence : ndarray of shape (n_peaks,)
        In units of ``profile``.

    Examples
    --------
    >>> import numpy as np
    >>> from xtalsk.diffraction import locate_peaks
    >>> q = np.linspace(0.1, 1.0, 901)
    >>> profile = np.exp(-(((q - 0.3004) / 0.01) ** 2)) + 0.5 * np.exp(-(((q - 0.5) / 0.01) ** 2))
    >>> position, prominence = locate_peaks(q, profile)
    >>> position.round(4).tolist(), prominence.round(1).tolist()
    ([0.3004, 0.5], [0.9, 0.4])
    """
    from scipy.signal import find_peaks  # slow to import

    measured = np.isfinite(profile)
    if measured.sum() < 8:
        return np.empty(0), np.empty(0)
    step = q[1] - q[0]
    sigma = max(width / step, 0.5)
    smooth = gaussian_filter1d(np.interp(q, q[measured], profile[measured]), sigma, mode="nearest")
    noise = _median_noise(smooth, measured, max(1, round(PEAK_LAG * sigma)))
    least = max(n_sigma * noise, min_height * smooth.max())
    if least <= 0:
        return np.empty(0), np.empty(0)
    bins, properties = find_peaks(smooth, prominence=least)
    prominence = properties["prominences"][measured[bins]]
    bins = bins[measured[bins]]
    if max_peaks is not None and len(bins) > max_peaks:
        keep = np.sort(np.argsort(-prominence, kind="stable")[:max_peaks])
        bins, prominence = bins[keep], prominence[keep]
    shift = parabola_shift(torch.from_numpy(smooth)[None], torch.from_numpy(bins)[None])[0].numpy()
    return q[bins] + shift * step, prominence


def _median_noise(smooth, measured, lag):
    """Noise of one profile (n_bins,), a standard deviation, from the median of the deviations."""
    deviation, is_measured = neighbour_deviations(smooth[None], measured[None], lag)
    if not is_measured.any():
        return 0.0
    return _SIGMA_PER_MEDIAN * np.median(deviation[is_measured]) / np.sqrt(_DEVIATION_VARIANCE)


def find_lines(
    profiles, q0, step, n_lines, *, smoothing=LINE_SMOOTHING, n_sigma=LINE_SIGMA, min_height=LINE_MIN_HEIGHT
):
    """Find the lines of lowest q in each profile of a batch.

    The profiles are smoothed. A line is a local maximum whose prominence (within 24 bins) exceeds both
    ``n_sigma`` times the noise and ``min_height`` times the highest value of the profile. A parabola through
    three values gives its position. The noise follows from the distance of each value from the mean of its
    two neighbours four bins away, in the quietest three tenths of the bins, because crowded lines may fill
    half of a profile.

    Parameters
    ----------
    profiles : Tensor of shape (n, n_bins)
        Intensity of even noise, e.g. the square root of counts; NaN where it was not measured.
    q0, step : float
        Middle of the first bin and width of the bins in 1/Å.
    n_lines : int
        Number of lines to return.
    smoothing : float
        Standard deviation in bins.
    n_sigma : float
        Least prominence in units of the noise.
    min_height : float
        Least prominence as a share of the highest value.

    Returns
    -------
    q : Tensor of shape (n, n_lines)
        Positions in 1/Å, increasing; inf after the last line.
    prominence : Tensor of shape (n, n_lines)
        In units of the profile; 0 after the last line.
    total : Tensor of shape (n,)
        Number of lines in the whole profile.
    """
    n, n_bins = profiles.shape
    if n_bins < 2 * LINE_LAG + 1:
        empty = profiles.new_zeros(n, n_lines)
        return empty + torch.inf, empty, profiles.new_zeros(n)
    smooth, prominence, is_line = _detect(profiles, smoothing, n_sigma, min_height)
    bins = _first_bins(is_line, n_lines)
    exists = bins < n_bins
    bins = bins.clamp(1, n_bins - 2)
    q = torch.where(exists, q0 + (bins + parabola_shift(smooth, bins)) * step, torch.inf)
    return q, torch.where(exists, prominence.gather(1, bins), 0), is_line.sum(1).to(profiles.dtype)


def strongest_lines(profiles, q0, step, n_lines):
    """Find the most prominent lines of each profile of a batch; what a line is, see `find_lines`.

    Parameters
    ----------
    profiles : Tensor of shape (n, n_bins)
        Intensity of even noise, e.g. the square root of counts; NaN where it was not measured.
    q0, step : float
        Middle of the first bin and width of the bins in 1/Å.
    n_lines : int
        Largest number of lines.

    Returns
    -------
    q, height, width : Tensor of shape (n, n_lines)
        In the order of increasing q; NaN after the last line. Position in 1/Å; prominence relative to the
        most prominent line; standard deviation, in 1/Å, of the Gaussian with the curvature of the top of the
        line.
    """
    n, n_bins = profiles.shape
    if n_bins < 2 * LINE_LAG + 1:
        return (profiles.new_full((n, n_lines), torch.nan),) * 3
    smooth, prominence, is_line = _detect(profiles, LINE_SMOOTHING, LINE_SIGMA, LINE_MIN_HEIGHT)
    prominence = torch.where(is_line, prominence, 0)
    n_kept = min(n_lines, n_bins)
    strongest = prominence.topk(n_kept, dim=1)
    order = torch.where(strongest.values > 0, strongest.indices, n_bins).argsort(dim=1, stable=True)
    height, bins = strongest.values.gather(1, order), strongest.indices.gather(1, order).clamp(1, n_bins - 2)
    left, top, right = (smooth.gather(1, bins + d) for d in (-1, 0, 1))
    width = (height / (2 * top - left - right).clamp(min=torch.finfo(top.dtype).eps)).sqrt() * step
    q = q0 + (bins + parabola_shift(smooth, bins)) * step
    height = height / height.amax(1, keepdim=True)  # NaN without a line
    lines = torch.stack([q, height, width]).masked_fill(~(height > 0), torch.nan)
    return torch.nn.functional.pad(lines, (0, n_lines - n_kept), value=torch.nan).unbind()


def _detect(profiles, smoothing, n_sigma, min_height):
    """Return smooth profiles without gaps, the prominence of each bin, and which bins are lines."""
    measured = ~profiles.isnan()
    smooth = fill_gaps(smooth_profiles(profiles, smoothing))
    smooth = torch.where(measured.any(1, keepdim=True), smooth, 0)
    highest = smooth.amax(1, keepdim=True)
    least = torch.maximum(n_sigma * _quiet_noise(smooth, measured), min_height * highest)
    prominence = _near_prominence(smooth)
    return smooth, prominence, _is_local_maximum(smooth) & measured & (prominence >= least) & (prominence > 0)


def _quiet_noise(smooth, measured):
    """Noise of each profile, a standard deviation, from the quietest bins, (n, 1)."""
    deviation, is_measured = neighbour_deviations(smooth, measured, LINE_LAG)
    ordered = torch.where(is_measured, deviation, torch.inf).sort(1).values
    rank = (QUIET_SHARE * is_measured.sum(1, keepdim=True)).long().clamp_max(ordered.shape[1] - 1)
    quantile = ordered.gather(1, rank).nan_to_num(posinf=0.0)
    return quantile / _QUIET_QUANTILE / _DEVIATION_VARIANCE**0.5


def _is_local_maximum(smooth):
    """Whether each bin exceeds its left neighbour and is not below its right one, (n, n_bins)."""
    is_maximum = torch.zeros_like(smooth, dtype=torch.bool)
    is_maximum[:, 1:-1] = (smooth[:, 1:-1] > smooth[:, :-2]) & (smooth[:, 1:-1] >= smooth[:, 2:])
    return is_maximum


def _near_prominence(smooth):
    """Height of each bin above the higher one of its two feet within 24 bins, (n, n_bins)."""
    return smooth - torch.maximum(_foot(smooth, -1), _foot(smooth, 1))


def _foot(smooth, direction):
    """Lowest value on one side of each bin, before the first value that exceeds the bin, (n, n_bins)."""
    lowest = smooth.clone()
    is_below = torch.ones_like(smooth, dtype=torch.bool)
    for s in range(1, min(LINE_REACH, smooth.shape[1] - 1) + 1):
        here, there = slice(None, -s), slice(s, None)
        if direction < 0:
            here, there = there, here
        other = smooth[:, there]
        still_below = is_below[:, here] & (other <= smooth[:, here])
        lowest[:, here] = torch.where(still_below, torch.minimum(lowest[:, here], other), lowest[:, here])
        is_below[:, here] = still_below
    return lowest


def _first_bins(is_line, n_lines):
    """Bins of the first lines in order, (n, n_lines); ``n_bins`` after the last line."""
    n_bins = is_line.shape[1]
    bins = torch.where(is_line, torch.arange(n_bins, device=is_line.device), n_bins)
    first = bins.topk(min(n_lines, n_bins), dim=1, largest=False, sorted=True).values
    return torch.nn.functional.pad(first, (0, n_lines - first.shape[1]), value=n_bins)
