"""Between the sub-networks and the classifier, in training: blocks are dropped and rows are mixed."""

import numbers

import numpy as np
import torch
from torch import nn


def _check_course(value, label):
    """Return the probabilities at the beginning and at the end of training."""
    pair = tuple(value) if isinstance(value, tuple | list) else (value, value)
    if len(pair) != 2 or not all(isinstance(p, numbers.Real) and 0 <= p < 1 for p in pair):
        raise ValueError(
            f"{label} must be a probability of at least 0 and below 1, or (start, end) of them, got {value!r}"
        )
    return float(pair[0]), float(pair[1])


def check_modality_dropout(value):
    """Turn the parameter ``modality_dropout`` into (start, end) of all blocks or a dict of them by block.

    Raises
    ------
    ValueError
        If a probability is not at least 0 and below 1.
    """
    if isinstance(value, dict):
        return {b: _check_course(p, f"modality_dropout of block {b!r}") for b, p in value.items()}
    return _check_course(value, "modality_dropout")


def dropout_range(value, blocks, dropped=()):
    """Probabilities with which each block is dropped, at the beginning and at the end of training.

    Parameters
    ----------
    value : float, (float, float), or dict of {block: float or (float, float)}
        Blocks that a dict does not name are not dropped.
    blocks : sequence of str
    dropped : sequence of str
        Blocks that may be named though the network does not have them.

    Returns
    -------
    ndarray of float32, shape (2, n_blocks)

    Raises
    ------
    ValueError
        If a dict names an unknown block.
    """
    courses = check_modality_dropout(value)
    if not isinstance(courses, dict):
        courses = dict.fromkeys(blocks, courses)
    for block in courses:
        if block not in blocks and block not in dropped:
            raise ValueError(
                f"modality_dropout: no column belongs to block {block!r}; blocks are {list(blocks)}"
            )
    return np.array([courses.get(block, (0.0, 0.0)) for block in blocks], dtype=np.float32).T.copy()


def choose_kept(present, probability):
    """Choose at random which of the present blocks of each row to keep.

    Parameters
    ----------
    present : bool tensor of shape (n, n_blocks)
    probability : float, or tensor of shape (n_blocks,)
        With which a block is dropped. A row whose blocks would all go keeps one of them, each with the same
        chance.

    Returns
    -------
    bool tensor of shape (n, n_blocks)
    """
    kept = present & (torch.rand(present.shape, device=present.device) >= probability)
    lot = torch.where(present, torch.rand(present.shape, device=present.device), -1.0)
    one = nn.functional.one_hot(lot.argmax(1), present.shape[1]).bool() & present
    return torch.where(kept.any(1, keepdim=True), kept, one)


def draw_mix(present, alpha):
    """Draw what each row is mixed with, and how much of itself it keeps [1]_.

    Rows are mixed behind the sub-networks [2]_, where nothing is missing any more, and only with rows that
    have the same blocks.

    Parameters
    ----------
    present : bool tensor of shape (n, n_blocks)
        The first 20 blocks decide where a partner is looked for, all of them whether it will do.
    alpha : float
        Parameter of the symmetric beta distribution of the share that is kept.

    Returns
    -------
    share : tensor of shape (n,)
        1 where the partner has other blocks.
    partner : int64 tensor of shape (n,)

    References
    ----------
    .. [1] H. Zhang et al., "mixup: beyond empirical risk minimization", ICLR (2018).
    .. [2] V. Verma et al., "Manifold mixup", ICML (2019).
    """
    n, device = len(present), present.device
    code = (present[:, :20].double() * 2.0 ** torch.arange(min(20, present.shape[1]), device=device)).sum(1)
    order = (code + torch.rand(n, device=device, dtype=code.dtype)).argsort()
    partner = torch.empty_like(order)
    partner[order] = order.roll(1)
    alphas = torch.full((n,), float(alpha), device=device)
    share = torch.distributions.Beta(alphas, alphas, validate_args=False).sample()
    return torch.where((present == present[partner]).all(1), share, 1.0), partner


def mix_rows(values, share, partner):
    """Each row's share of itself and the rest of its partner, for (n, n_columns)."""
    return torch.lerp(values[partner], values, share[:, None])
