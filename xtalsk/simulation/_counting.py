"""Random numbers on the device, and fast Poisson counts."""

from functools import cache

import numpy as np
import torch
from scipy.special import pdtr

from xtalsk.simulation._constants import (
    DENSE_SHARE,
    LARGEST_TABULATED_RATE,
    QUANTILE_SLOTS,
    RATES_PER_COUNT,
)


def make_generator(rng, device):
    """Make a torch generator on ``device``, with a seed from a NumPy RandomState."""
    return torch.Generator(device=device).manual_seed(int(rng.randint(2**31)))


def poisson(rates, generator):
    """Draw Poisson counts.

    On a GPU, and in double precision, `torch.poisson` draws them; on a CPU it needs 25 to 60 ns a number. In
    single precision on a CPU, a table of quantiles gives the counts for expectations up to 16. Its
    probabilities are right to 1/4096 and its means to 1/8192. For larger expectations the quantile of the
    normal distribution is corrected for skewness (Cornish and Fisher 1938) and rounded.

    Parameters
    ----------
    rates : tensor
        Expected counts, at least 0.
    generator : torch.Generator
        On the device of ``rates``.

    Returns
    -------
    tensor of the shape and dtype of ``rates``
    """
    if rates.dtype != torch.float32 or rates.device.type != "cpu":
        return torch.poisson(rates, generator=generator)
    flat = rates.contiguous().view(-1)
    high = flat > LARGEST_TABULATED_RATE
    n_high = int(high.sum())
    if n_high > DENSE_SHARE * flat.numel():  # to draw all by both methods is faster than to index
        large = _large(flat, generator)
        counts = torch.where(high, large, _small(flat, generator)) if n_high < flat.numel() else large
    else:
        counts = _small(flat, generator)
        if n_high:  # indexing in NumPy is several times faster
            high = np.flatnonzero(high.numpy())
            counts.numpy()[high] = _large(torch.from_numpy(flat.numpy()[high]), generator).numpy()
    return counts.view(rates.shape)


def _large(rates, generator):
    """Draw counts of large expectations from a corrected normal distribution."""
    z = torch.randn(rates.shape, generator=generator)
    counts = torch.addcmul(rates, torch.sqrt(rates), z)
    return counts.addcmul_(z, z, value=1 / 6).sub_(1 / 6).round_().clamp_min_(0)


def _small(rates, generator):
    """Draw counts of small expectations from the table; those of larger expectations are wrong."""
    seed = int(torch.randint(2**62, (), generator=generator))
    words = np.random.SFC64(seed).random_raw((rates.numel() + 1) // 2)  # 64 bits in the time of torch's 20
    bits = torch.from_numpy(words.view(np.int32))[: rates.numel()]
    # one of the two nearest tabulated expectations is chosen at random, so that the mean is right
    upper = (bits >> 12).to(torch.float32).mul_(2.0**-20).add_(0.5)
    level = upper.add_(rates.clamp(max=LARGEST_TABULATED_RATE), alpha=RATES_PER_COUNT).to(torch.int32)
    index = level.mul_(QUANTILE_SLOTS).add_(bits.bitwise_and_(QUANTILE_SLOTS - 1))
    return _quantiles().index_select(0, index).to(torch.float32)


@cache
def _quantiles():
    """Make the flat table of counts, uint8: for each expectation one count for each equally likely slot."""
    rates = np.arange(LARGEST_TABULATED_RATE * RATES_PER_COUNT + 2) / RATES_PER_COUNT
    edges = (np.arange(QUANTILE_SLOTS) + 0.5) / QUANTILE_SLOTS
    cumulative = pdtr(np.arange(64), rates[:, None])
    table = np.stack([np.searchsorted(row, edges) for row in cumulative])
    rng = np.random.RandomState(0)
    for row, rate in zip(table, rates, strict=True):  # the highest slots make up for the cut tail
        missing = round(rate * QUANTILE_SLOTS - row.sum())
        slots = rng.choice(QUANTILE_SLOTS // 16, abs(missing), replace=False)
        row[QUANTILE_SLOTS - 1 - slots] += np.sign(missing)
    return torch.from_numpy(table.astype(np.uint8).ravel())
