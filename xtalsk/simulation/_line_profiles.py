"""Lines on a regular axis, broadened by FFT, for powder patterns and ring images."""

import numpy as np
import torch
from scipy.fft import next_fast_len

from xtalsk.crystals._ragged import ragged_arange
from xtalsk.simulation._constants import PADDING_WIDTHS, ROWS_IN_CACHE

_FOUR_LN_2 = 2.77  # rounded


def gaussian(x, center, fwhm):
    """Gaussian function of height 1."""
    return torch.exp(-_FOUR_LN_2 * ((x - center) / fwhm) ** 2)


def gather_lines(reflections, rows):
    """List the reflections of the patterns.

    Parameters
    ----------
    reflections : Reflections
    rows : ndarray of int, shape (n,)
        The crystal of each pattern.

    Returns
    -------
    pattern : int64 tensor of shape (m,)
        Number of the pattern of each line.
    lines : int64 tensor of shape (m,)
        Row of the reflection of each line.
    """
    starts = reflections.offsets[:-1][rows]
    lengths = np.diff(reflections.offsets)[rows]
    pattern = torch.from_numpy(np.repeat(np.arange(len(rows)), lengths))
    lines = torch.from_numpy(ragged_arange(starts, lengths))
    return pattern.to(reflections.q.device), lines.to(reflections.q.device)


def deposit(pattern, position, weight, shape):
    """Put lines on regular axes; the two nearest points share each line.

    Parameters
    ----------
    pattern : int64 tensor of shape (m,)
        Number of the pattern of each line.
    position : tensor of shape (m,)
        In steps from the first point. Lines outside the axis are left out.
    weight : tensor of shape (m,)
    shape : (n_patterns, n_points)

    Returns
    -------
    tensor of ``shape``
    """
    n_patterns, n_points = shape
    inside = (position >= 0) & (position < n_points - 1)
    pattern, position, weight = pattern[inside], position[inside], weight[inside]
    left = position.floor()
    share = position - left
    index = pattern * n_points + left.long()
    profiles = torch.zeros(n_patterns * n_points, dtype=weight.dtype, device=weight.device)
    profiles.index_add_(0, index, weight * (1 - share))
    profiles.index_add_(0, index + 1, weight * share)
    return profiles.view(shape)


def deposit_between(pattern, position, weight, at, nodes, shape):
    """Put lines on regular axes, one axis for each width; the two nearest widths share each line.

    Parameters
    ----------
    pattern, position, weight, shape
        As in `deposit`.
    at : tensor of shape (m,)
        Position of each line on the scale of ``nodes``.
    nodes : tensor of shape (k,)
        Where the widths are given, ascending.

    Returns
    -------
    tensor of shape (n_patterns, k, n_points)
    """
    n_patterns, n_points = shape
    k = len(nodes)
    if k == 1:
        return deposit(pattern, position, weight, shape)[:, None]
    left = (torch.searchsorted(nodes, at) - 1).clamp(0, k - 2)
    share = ((at - nodes[left]) / (nodes[left + 1] - nodes[left]).clamp_min(1e-12)).clamp(0, 1)
    rows = pattern * k + left
    profiles = deposit(
        torch.cat([rows, rows + 1]),
        torch.cat([position, position]),
        torch.cat([weight * (1 - share), weight * share]),
        (n_patterns * k, n_points),
    )
    return profiles.view(n_patterns, k, n_points)


def broaden(lines, fwhm, eta, positive=True, tail=None):
    """Convolve each row with its own pseudo-Voigt function of unit area.

    The Fourier transforms of the Gaussian and the Lorentzian are exact, so that tails are not cut. Rows are
    padded so that tails do not wrap around.

    Parameters
    ----------
    lines : tensor of shape (n, n_points), or (n, n_widths, n_points)
        With three dimensions each row of a pattern has its own width, and the broadened rows are added.
    fwhm : tensor of shape (n,) or (n, n_widths)
        Full width at half maximum, in points.
    eta : tensor of the shape of ``fwhm``
        Lorentzian share, 0 to 1.
    positive : bool
        Whether the lines are positive; rounding errors below 0 are then set to 0.
    tail : tensor of the shape of ``fwhm``, or None
        Mean length in points of an exponential tail towards the first point.

    Returns
    -------
    tensor of shape (n, n_points)
    """
    if lines.device.type == "cpu" and len(lines) > ROWS_IN_CACHE:
        columns = (fwhm, eta, tail) if tail is not None else (fwhm, eta)
        parts = zip(lines.split(ROWS_IN_CACHE), *(c.split(ROWS_IN_CACHE) for c in columns), strict=True)
        return torch.cat([broaden(part, w, e, positive, *t) for part, w, e, *t in parts])
    n_points = lines.shape[-1]
    padded = next_fast_len(n_points + int(PADDING_WIDTHS * float(fwhm.max())) + 1, real=True)
    frequency = torch.fft.rfftfreq(padded, dtype=lines.dtype, device=lines.device)
    spectrum = torch.fft.rfft(lines, n=padded).mul_(_transfer(frequency, fwhm, eta, tail))
    if lines.ndim == 3:
        spectrum = spectrum.sum(1) if lines.shape[1] > 1 else spectrum[:, 0]
    profiles = torch.fft.irfft(spectrum, n=padded)[:, :n_points]
    return profiles.clamp_min_(0) if positive else profiles


def _transfer(frequency, fwhm, eta, tail):
    """Fourier transform of pseudo-Voigt functions with exponential tails, a new axis of frequencies last."""
    width = fwhm[..., None] * (np.pi * frequency)
    transfer = torch.exp(-width).mul_(eta[..., None])
    transfer += torch.exp_(width.square_().mul_(-1 / (4 * np.log(2)))).mul_(1 - eta[..., None])
    if tail is None:
        return transfer
    # the transform of the tail is 1 / (1 - 2πi f τ)
    phase = tail[..., None] * (2 * np.pi * frequency)
    transfer /= 1 + phase * phase
    return torch.complex(transfer, transfer * phase)
