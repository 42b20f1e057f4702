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
    """Return the parameter ``modality_dropout`` as (start, end) of all blocks, or of blocks by their names.

    The names are tuples in the returned dict.

    Raises
    ------
    ValueError
        If a probability is not at least 0 and below 1, or a tuple holds fewer than two different blocks.
    """
    if not isinstance(value, dict):
        return _check_range(value, "modality_dropout")
    for names in value:
        if isinstance(names, tuple) and len(set(names)) < max(2, len(names)):
            raise ValueError(f"modality_dropout: {names!r} must hold two or more different blocks")
    return {
        names if isinstance(names, tuple) else (names,): _check_range(
            p, f"modality_dropout of {'blocks' if isinstance(names, tuple) else 'block'} {names!r}"
        )
        for names, p in value.items()
    }


def dropout_events(value, blocks, dropped=()):
    """Return the events that drop blocks in training: which blocks, and how probable.

    Parameters
    ----------
    value : float, (float, float), or dict of {block or tuple of blocks: float or (float, float)}
        Blocks that are absent from a dict are not dropped.
    blocks : sequence of str
    dropped : sequence of str
        Further blocks, without a sub-network, that a dict may name.

    Returns
    -------
    probability : ndarray of float32, shape (2, n_events)
        At the start and at the end of training. There is an event for each block alone, unless it is in a
        tuple and not named alone, and one for each tuple.
    members : ndarray of bool, shape (n_events, n_blocks)
        Blocks of each event.

    Raises
    ------
    ValueError
        If a dict names an unknown block.
    """
    ranges = check_modality_dropout(value)
    if not isinstance(ranges, dict):
        ranges = dict.fromkeys(((block,) for block in blocks), ranges)
    for block in (name for names in ranges for name in names):
        if block not in blocks and block not in dropped:
            raise ValueError(
                f"modality_dropout: no column belongs to block {block!r}; blocks are {list(blocks)}"
            )
    tuples = [names for names in ranges if len(names) > 1]
    in_tuples = {name for names in tuples for name in names}
    alone = [(block,) for block in blocks if (block,) in ranges or block not in in_tuples]
    probability = np.array([ranges.get(names, (0.0, 0.0)) for names in alone + tuples], dtype=np.float32)
    members = np.array([np.isin(blocks, names) for names in alone + tuples])
    return probability.T.copy(), members


def choose_kept(present, probability, members=None):
    """Drop blocks of each row at random and return which are kept.

    Parameters
    ----------
    present : bool tensor of shape (n, n_blocks)
    probability : float, or tensor of shape (n_events,)
        Probability of each event. A row that would lose all its blocks keeps those of one event, chosen at
        random.
    members : bool tensor of shape (n_events, n_blocks) or None
        Blocks that each event drops; None: each event one block.

    Returns
    -------
    bool tensor of shape (n, n_blocks)
    """
    if members is None:
        members = torch.eye(present.shape[1], dtype=torch.bool, device=present.device)
    shape = len(present), len(members)
    happens = rand(*shape, like=present) < probability
    kept = present & ~_blocks_of(happens, members)
    draws = torch.where(_blocks_of(present, members.T), rand(*shape, like=present), -1.0)
    one = nn.functional.one_hot(draws.argmax(1), len(members)).bool()
    return torch.where(kept.any(1, keepdim=True), kept, _blocks_of(one, members) & present)


def _blocks_of(events, members):
    """Return for each row and column of ``members`` whether one of the row's events has it."""
    return (events.float() @ members.float()) > 0


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
