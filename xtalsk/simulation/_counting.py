"""Poisson counts, fast."""

from functools import cache

import numpy as np
import torch
from scipy.special import pdtr

_LARGEST_TABULATED = 16
_PER_UNIT = 16
_SLOTS = 4096


def poisson(rates, generator):
    """Draw counts of the given expectations.

    On a GPU, and in double precision, `torch.poisson` does it, which costs 25 to 60 ns a number on a CPU. In
    single precision on a CPU, expectations up to 16 are looked up in a table of quantiles, which holds the
    probability of each count to 1/4096 and its mean to 1/8192; above, the quantile of the normal distribution
    is corrected for skewness (Cornish and Fisher 1938) and rounded.

    Parameters
    ----------
    rates : tensor
        Not negative.
    generator : torch.Generator
        On the device of ``rates``.

    Returns
    -------
    tensor of the shape and dtype of ``rates``
    """
    if rates.dtype != torch.float32 or rates.device.type != "cpu":
        return torch.poisson(rates, generator=generator)
    flat = rates.contiguous().view(-1)
    high = flat > _LARGEST_TABULATED
    n_high = int(high.sum())
    if n_high > 0.2 * flat.numel():  # cheaper for all at once than for a list
        large = _large(flat, generator)
        counts = torch.where(high, large, _small(flat, generator)) if n_high < flat.numel() else large
    else:
        counts = _small(flat, generator)
        if n_high:  # NumPy's lists of places are several times faster
            high = np.flatnonzero(high.numpy())
            counts.numpy()[high] = _large(torch.from_numpy(flat.numpy()[high]), generator).numpy()
    return counts.view(rates.shape)


def _large(rates, generator):
    """Draw large counts, rounded from a corrected normal distribution."""
    z = torch.randn(rates.shape, generator=generator)
    counts = torch.addcmul(rates, torch.sqrt(rates), z)
    return counts.addcmul_(z, z, value=1 / 6).sub_(1 / 6).round_().clamp_min_(0)


def _small(rates, generator):
    """Draw small counts from the table; what is said of larger ones is wrong."""
    seed = int(torch.randint(2**62, (), generator=generator))
    words = np.random.SFC64(seed).random_raw((rates.numel() + 1) // 2)  # 64 bits in the time of torch's 20
    bits = torch.from_numpy(words.view(np.int32))[: rates.numel()]
    # between two tabulated expectations one is chosen at random, so that the mean is right
    upper = (bits >> 12).to(torch.float32).mul_(2.0**-20).add_(0.5)
    level = upper.add_(rates.clamp(max=_LARGEST_TABULATED), alpha=_PER_UNIT).to(torch.int32)
    index = level.mul_(_SLOTS).add_(bits.bitwise_and_(_SLOTS - 1))
    return _quantiles().index_select(0, index).to(torch.float32)


@cache
def _quantiles():
    """Tabulate the counts in 4,096 equally likely slots for each expectation, end to end, uint8."""
    rates = np.arange(_LARGEST_TABULATED * _PER_UNIT + 2) / _PER_UNIT
    edges = (np.arange(_SLOTS) + 0.5) / _SLOTS
    cumulative = pdtr(np.arange(64), rates[:, None])
    table = np.stack([np.searchsorted(row, edges) for row in cumulative])
    rng = np.random.RandomState(0)
    for row, rate in zip(table, rates, strict=True):  # the cut tail is given back in the topmost slots
        missing = round(rate * _SLOTS - row.sum())
        slots = rng.choice(_SLOTS // 16, abs(missing), replace=False)
        row[_SLOTS - 1 - slots] += np.sign(missing)
    return torch.from_numpy(table.astype(np.uint8).ravel())
