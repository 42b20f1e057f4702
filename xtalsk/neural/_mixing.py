"""Dropout of blocks and mixing of rows in training, between the sub-networks and the classifier."""

import numbers

import numpy as np
import torch
from torch import nn

from xtalsk.neural._random import own_generator, rand


def _check_range(value, label):
    """Return the probabilities at the start and at the end of training."""
    pair = tuple(value) if isinstance(value, tuple | list) else (value, value)
    if len(pair) != 2 or not all(isinstance(p, numbers.Real) and 0 <= p < 1 for p in pair):
        raise ValueError(
            f"{label} must be a probability of at least 0 and below 1, or a pair (start, end), got {value!r}"
        )
    return float(pair[0]), float(pair[1])


def check_modality_dropout(value):
    """Return the parameter ``modality_dropout`` as (start, end) of all blocks or as a dict of these by block.

    Raises
    ------
    ValueError
        If a probability is not at least 0 and below 1.
    """
    if isinstance(value, dict):
        return {b: _check_range(p, f"modality_dropout of block {b!r}") for b, p in value.items()}
    return _check_range(value, "modality_dropout")


def dropout_range(value, blocks, dropped=()):
    """Return the dropout probability of each block, at the start and at the end of training.

    Parameters
    ----------
    value : float, (float, float), or dict of {block: float or (float, float)}
        Blocks that are absent from a dict are not dropped.
    blocks : sequence of str
    dropped : sequence of str
        Further blocks, without a sub-network, that a dict may name.

    Returns
    -------
    ndarray of float32, shape (2, n_blocks)

    Raises
    ------
    ValueError
        If a dict names an unknown block.
    """
    ranges = check_modality_dropout(value)
    if not isinstance(ranges, dict):
        ranges = dict.fromkeys(blocks, ranges)
    for block in ranges:
        if block not in blocks and block not in dropped:
            raise ValueError(
                f"modality_dropout: no column belongs to block {block!r}; blocks are {list(blocks)}"
            )
    return np.array([ranges.get(block, (0.0, 0.0)) for block in blocks], dtype=np.float32).T.copy()


def choose_kept(present, probability):
    """Drop blocks of each row at random and return which are kept.

    Parameters
    ----------
    present : bool tensor of shape (n, n_blocks)
    probability : float, or tensor of shape (n_blocks,)
        Probability to drop a block. A row that would lose all its blocks keeps one, chosen at random.

    Returns
    -------
    bool tensor of shape (n, n_blocks)
    """
    kept = present & (rand(*present.shape, like=present) >= probability)
    draws = torch.where(present, rand(*present.shape, like=present), -1.0)
    one = nn.functional.one_hot(draws.argmax(1), present.shape[1]).bool() & present
    return torch.where(kept.any(1, keepdim=True), kept, one)


def draw_mix(present, alpha):
    """Choose a partner for each row, and draw the share that the row keeps of itself [1]_.

    The embeddings of two rows are mixed [2]_, and only if both rows have the same blocks.

    Parameters
    ----------
    present : bool tensor of shape (n, n_blocks)
        Rows are sorted by their first 20 blocks; neighbours are partners. All blocks are compared before
        mixing.
    alpha : float
        Parameter of the symmetric beta distribution of the share.

    Returns
    -------
    share : tensor of shape (n,)
        1 if the partner has other blocks.
    partner : int64 tensor of shape (n,)

    References
    ----------
    .. [1] H. Zhang et al., "mixup: beyond empirical risk minimization", ICLR (2018).
    .. [2] V. Verma et al., "Manifold mixup", ICML (2019).
    """
    n, device = len(present), present.device
    code = (present[:, :20].double() * 2.0 ** torch.arange(min(20, present.shape[1]), device=device)).sum(1)
    order = (code + torch.rand(n, device=device, dtype=code.dtype, generator=own_generator(device))).argsort()
    partner = torch.empty_like(order)
    partner[order] = order.roll(1)
    seed = torch.randint(2**62, (), generator=own_generator("cpu")).item()
    share = np.random.default_rng(seed).beta(alpha, alpha, n)  # torch's beta takes no generator
    share = torch.from_numpy(share.astype(np.float32)).to(device)
    return torch.where((present == present[partner]).all(1), share, 1.0), partner


def mix_rows(values, share, partner):
    """Return ``share`` of each row plus the rest of its partner, shape (n, n_columns)."""
    return torch.lerp(values[partner], values, share[:, None])
