"""Lines on a regular axis, broadened by FFT: what powder patterns and ring images share."""

import numpy as np
import torch
from scipy.fft import next_fast_len

from xtalsk.crystals._ragged import ragged_arange
from xtalsk.simulation._chunks import check_rows

_ROWS_IN_CACHE = 16


def make_generator(rng, device):
    """Return a torch generator on ``device``, seeded from a NumPy RandomState."""
    return torch.Generator(device=device).manual_seed(int(rng.randint(2**31)))


def check_crystals(rows, reflections):
    """Rows of the crystals to render; all of them by default."""
    rows = check_rows(rows, len(reflections), "crystal rows")
    empty = rows[np.diff(reflections.offsets)[rows] == 0]
    if len(empty):
        raise ValueError(
            f"crystal {empty[0]} ({reflections.ids[empty[0]]}) has no reflections: left out as faulty, "
            f"or none to d = {reflections.d_min:g} Å"
        )
    return rows


def gather_lines(reflections, rows):
    """Which reflections the patterns of ``rows`` hold.

    Returns
    -------
    pattern : int64 tensor of shape (m,)
        Row of the pattern of each line.
    lines : int64 tensor of shape (m,)
        Row of its reflection.
    """
    starts = reflections.offsets[:-1][rows]
    lengths = np.diff(reflections.offsets)[rows]
    pattern = torch.from_numpy(np.repeat(np.arange(len(rows)), lengths))
    lines = torch.from_numpy(ragged_arange(starts, lengths))
    return pattern.to(reflections.q.device), lines.to(reflections.q.device)


def deposit(pattern, position, weight, shape):
    """Put lines on regular axes, each shared between the two points beside it.

    Parameters
    ----------
    pattern : int64 tensor of shape (m,)
    position : tensor of shape (m,)
        In units of the step, from the first point. Lines outside the axis are dropped.
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
    place = pattern * n_points + left.long()
    out = torch.zeros(n_patterns * n_points, dtype=weight.dtype, device=weight.device)
    out.index_add_(0, place, weight * (1 - share))
    out.index_add_(0, place + 1, weight * share)
    return out.view(shape)


def deposit_between(pattern, position, weight, at, nodes, shape):
    """Put lines on regular axes, one axis for each width, shared between the two widths beside it.

    Parameters
    ----------
    pattern, position, weight, shape
        As in `deposit`.
    at : tensor of shape (m,)
        Where each line stands among the nodes.
    nodes : tensor of shape (k,)
        Rising.

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
    out = deposit(
        torch.cat([rows, rows + 1]),
        torch.cat([position, position]),
        torch.cat([weight * (1 - share), weight * share]),
        (n_patterns * k, n_points),
    )
    return out.view(n_patterns, k, n_points)


def broaden(lines, fwhm, eta, positive=True, tail=None):
    """Convolve each row with its own pseudo-Voigt function of unit area.

    The Fourier transforms of the Gaussian and the Lorentzian are exact, so that tails are not cut; rows are
    padded against wrapping.

    Parameters
    ----------
    lines : tensor of shape (n, n_points), or (n, n_widths, n_points)
        With three dimensions the rows of one pattern are broadened each in its way and added.
    fwhm : tensor of shape (n,) or (n, n_widths)
        Full width at half maximum, in points.
    eta : tensor of the shape of ``fwhm``
        Lorentzian share, 0 to 1.
    positive : bool
        Whether lines are, so that rounding must not make the result negative.
    tail : tensor of the shape of ``fwhm``, or None
        Mean in points of an exponential tail towards the first point.

    Returns
    -------
    tensor of shape (n, n_points)
    """
    if lines.device.type == "cpu" and len(lines) > _ROWS_IN_CACHE:
        columns = (fwhm, eta, tail) if tail is not None else (fwhm, eta)
        parts = zip(lines.split(_ROWS_IN_CACHE), *(c.split(_ROWS_IN_CACHE) for c in columns), strict=True)
        return torch.cat([broaden(part, w, e, positive, *t) for part, w, e, *t in parts])
    n_points = lines.shape[-1]
    padded = next_fast_len(n_points + int(20 * float(fwhm.max())) + 1, real=True)
    frequency = torch.fft.rfftfreq(padded, dtype=lines.dtype, device=lines.device)
    width = fwhm[..., None] * (np.pi * frequency)
    transfer = torch.exp(-width).mul_(eta[..., None])
    transfer += torch.exp_(width.square_().mul_(-1 / (4 * np.log(2)))).mul_(1 - eta[..., None])
    if tail is not None:  # its transform is 1 / (1 - 2πi f τ)
        phase = tail[..., None] * (2 * np.pi * frequency)
        transfer /= 1 + phase * phase
        transfer = torch.complex(transfer, transfer * phase)
    spectrum = torch.fft.rfft(lines, n=padded).mul_(transfer)
    if lines.ndim == 3:
        spectrum = spectrum.sum(1) if lines.shape[1] > 1 else spectrum[:, 0]
    out = torch.fft.irfft(spectrum, n=padded)[:, :n_points]
    return out.clamp_min_(0) if positive else out
