"""Lines of many profiles at once."""

import torch

from xtalsk.diffraction._functional import fill_gaps, smooth_profiles

_LAG = 4  # bins to the neighbours that noise is judged by
_QUIET, _QUIET_OF_NORMAL = 0.3, 0.3853  # share of the bins away from lines, and their part of sigma
_REACH = 24  # bins within which the foot of a peak is looked for


def _foot(smooth, top, step):
    """Lowest value on one side of each bin, as far as no value exceeds it."""
    n_bins = smooth.shape[1]
    lowest, below = smooth.clone(), torch.ones_like(top)
    for s in range(1, min(_REACH, n_bins - 1) + 1):
        here, there = (slice(s, None), slice(None, -s)) if step < 0 else (slice(None, -s), slice(s, None))
        other = smooth[:, there]
        still = below[:, here] & (other <= smooth[:, here])
        lowest[:, here] = torch.where(still, torch.minimum(lowest[:, here], other), lowest[:, here])
        below[:, here] = still
    return lowest


def find_lines(profiles, q0, step, n_lines, *, smoothing=0.8, n_sigma=4.0, min_height=0.015):
    """Positions of the lowest lines of profiles.

    After smoothing, a line is a highest value whose prominence (within 24 bins) exceeds both ``n_sigma``
    times the noise and ``min_height`` times the highest value of all; it stands at the top of a parabola
    through three values. The noise follows from how far values lie from the mean of their neighbours four
    bins away, in the quietest three tenths of the bins: crowded lines may fill half of a profile.

    Parameters
    ----------
    profiles : Tensor of shape (n, n_bins)
        NaN where nothing was measured.
    q0, step : float
        Middle of the first bin and width of the bins in 1/Å.
    n_lines : int
    smoothing : float
        Standard deviation in bins.
    n_sigma, min_height : float

    Returns
    -------
    q : Tensor of shape (n, n_lines)
        Increasing, in 1/Å; inf beyond the last line.
    prominence : Tensor of shape (n, n_lines)
        In units of the profile; 0 beyond the last line.
    total : Tensor of shape (n,)
        Number of lines in the whole profile.
    """
    n, n_bins = profiles.shape
    seen = ~profiles.isnan()
    smooth = fill_gaps(smooth_profiles(profiles, smoothing))
    smooth = torch.where(seen.any(1, keepdim=True), smooth, 0)
    if n_bins < 2 * _LAG + 1:
        empty = profiles.new_zeros(n, n_lines)
        return empty + torch.inf, empty, profiles.new_zeros(n)
    middle = smooth[:, _LAG:-_LAG]
    apart = (middle - (smooth[:, : -2 * _LAG] + smooth[:, 2 * _LAG :]) / 2).abs()
    inner = seen[:, _LAG:-_LAG] & seen[:, : -2 * _LAG] & seen[:, 2 * _LAG :]
    ordered = torch.where(inner, apart, torch.inf).sort(1).values
    noise = ordered.gather(1, (_QUIET * inner.sum(1, keepdim=True)).long().clamp_max(inner.shape[1] - 1))
    noise = noise.nan_to_num(posinf=0.0) / _QUIET_OF_NORMAL / 1.5**0.5
    peak = torch.zeros_like(seen)
    peak[:, 1:-1] = (smooth[:, 1:-1] > smooth[:, :-2]) & (smooth[:, 1:-1] >= smooth[:, 2:])
    peak &= seen
    foot = torch.maximum(_foot(smooth, peak, -1), _foot(smooth, peak, 1))
    prominence = smooth - foot
    least = torch.maximum(n_sigma * noise, min_height * smooth.amax(1, keepdim=True))
    peak &= (prominence >= least) & (prominence > 0)
    total = peak.sum(1)
    order = torch.where(peak, torch.arange(n_bins, device=profiles.device), n_bins)
    where = order.topk(min(n_lines, n_bins), dim=1, largest=False, sorted=True).values
    if where.shape[1] < n_lines:
        where = torch.nn.functional.pad(where, (0, n_lines - where.shape[1]), value=n_bins)
    found = where < n_bins
    at = where.clamp(1, n_bins - 2)
    left, top, right = (smooth.gather(1, at + d) for d in (-1, 0, 1))
    bend = left - 2 * top + right
    shift = torch.where(bend < 0, (left - right) / (2 * bend), 0)
    q = torch.where(found, q0 + (at + shift) * step, torch.inf)
    return q, torch.where(found, prominence.gather(1, at), 0), total.to(profiles.dtype)
