"""Lines on a regular axis, broadened by FFT: what powder patterns and ring images share."""

import numpy as np
import torch
from sklearn.utils import check_random_state

from xtalsk.crystals._ragged import ragged_arange


def draw(name, value, n, rng):
    """Draw ``n`` numbers: ``value`` itself, or uniform between its two entries.

    Raises
    ------
    ValueError
        If ``value`` is neither a finite number nor an ordered pair of them.
    """
    pair = np.asarray(value, dtype=float)
    if pair.shape not in ((), (2,)) or not np.isfinite(pair).all() or (pair.ndim and pair[1] < pair[0]):
        raise ValueError(f"{name} must be a number or an ordered pair (low, high), got {value!r}")
    low, high = np.broadcast_to(pair, 2)
    return rng.uniform(low, high, n) if high > low else np.full(n, low)


def make_generators(random_state, device):
    """Return a NumPy RandomState for the conditions and a torch generator on ``device`` for the counts."""
    rng = check_random_state(random_state)
    return rng, torch.Generator(device=device).manual_seed(int(rng.randint(2**31)))


def check_rows(rows, n):
    """Rows of the crystals to render; all of them by default."""
    rows = np.arange(n) if rows is None else np.asarray(rows)
    if rows.ndim != 1 or rows.size == 0 or rows.dtype.kind not in "iu":
        raise ValueError(f"rows must be a non-empty list of crystal rows, got {rows!r}")
    if rows.min() < 0 or rows.max() >= n:
        raise ValueError(f"rows must be from 0 to {n - 1}, got {rows.min()} to {rows.max()}")
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


def broaden(lines, fwhm, eta):
    """Convolve each row with its own pseudo-Voigt function of unit area.

    The Fourier transforms of the Gaussian and the Lorentzian are exact, so that tails are not cut; rows are
    padded against wrapping.

    Parameters
    ----------
    lines : tensor of shape (n, n_points)
    fwhm : tensor of shape (n,)
        Full width at half maximum, in points.
    eta : tensor of shape (n,)
        Lorentzian share, 0 to 1.

    Returns
    -------
    tensor of shape (n, n_points)
    """
    n_points = lines.shape[1]
    padded = n_points + int(20 * float(fwhm.max())) + 1
    frequency = torch.fft.rfftfreq(padded, dtype=lines.dtype, device=lines.device)
    width = fwhm[:, None] * frequency
    gaussian = torch.exp(-(torch.pi**2) / (4 * np.log(2)) * width**2)
    lorentzian = torch.exp(-torch.pi * width)
    transfer = (1 - eta[:, None]) * gaussian + eta[:, None] * lorentzian
    spectrum = torch.fft.rfft(lines, n=padded) * transfer
    return torch.fft.irfft(spectrum, n=padded)[:, :n_points].clamp_min_(0)


def to_counts(batches):
    """Join batches of counts into the smallest unsigned NumPy array that holds them all."""
    largest = max(float(batch.max()) for batch in batches)
    dtype = np.uint16 if largest < 2**16 else np.uint32 if largest < 2**32 else np.float64
    return np.concatenate([batch.cpu().numpy().astype(dtype) for batch in batches])
