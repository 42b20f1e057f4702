"""Random numbers on the device, and fast Poisson counts."""

from functools import cache

import numpy as np
import torch
from scipy.special import pdtr

from xtalsk.simulation._constants import (
    BLOCK_OF_COUNTS,
    LARGEST_TABULATED_RATE,
    QUANTILE_SLOTS,
    RATES_PER_COUNT,
)
from xtalsk.utils._threads import in_threads, is_plain


def make_generator(rng, device):
    """Make a torch generator on ``device``, with a seed from a NumPy RandomState."""
    return torch.Generator(device=device).manual_seed(int(rng.randint(2**31)))


def draw_seeds(rng, n):
    """Draw the seeds of the random numbers of ``n`` patterns from a NumPy RandomState, uint64."""
    return rng.randint(2**62, size=n, dtype=np.int64).astype(np.uint64)


def poisson(rates, generator):
    """Draw Poisson counts.

    On a GPU, and in double precision, `torch.poisson` draws them; on a CPU it needs 25 to 60 ns a number. In
    single precision on a CPU, a compiled loop draws them. A table of quantiles gives the counts for
    expectations up to 16. Its probabilities are right to 1/4096 and its means to 1/8192. For larger
    expectations the quantile of the normal distribution is corrected for skewness (Cornish and Fisher 1938)
    and rounded.

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
    if not is_plain(rates):
        return torch.poisson(rates, generator=generator)
    from xtalsk.simulation._counting_kernels import draw_counts  # numba is imported at the first use

    flat = rates.contiguous().view(-1).numpy()
    counts = np.empty_like(flat)
    key = np.uint64(int(torch.randint(2**62, (), generator=generator)))
    table = quantile_table()

    def draw_block(first, last):
        start, stop = first * BLOCK_OF_COUNTS, min(last * BLOCK_OF_COUNTS, flat.size)
        draw_counts(flat, key, *table, counts, start, stop)

    in_threads(draw_block, -(-flat.size // BLOCK_OF_COUNTS))
    return torch.from_numpy(counts).view(rates.shape)


@cache
def quantile_table():
    """Return the arguments of `_counting_kernels.count_line` that describe the table of quantiles."""
    table = _quantiles().numpy().reshape(-1, QUANTILE_SLOTS)
    return table, np.float32(RATES_PER_COUNT), np.float32(LARGEST_TABULATED_RATE)


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
