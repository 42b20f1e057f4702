"""Whole batches sliced from arrays, and the part of the rows that is kept back for validation."""

import numpy as np
import torch


class Rows:
    """Rows of a feature matrix with targets and weights, as the net takes them.

    Parameters
    ----------
    X : ndarray of float32, shape (n, n_features)
    target : ndarray of int64, shape (n,), or None
        Zeros where None, for prediction.
    sample_weight : ndarray of float32, shape (n,), or None
        Ones where None.
    index : ndarray of int, or None
        The rows to use, all where None.
    sampling : float
        Rows are drawn with a chance of one over this power of how many rows their class has: 1 draws all
        classes alike; 0 does not draw but takes each row once.
    """

    def __init__(self, X, target=None, sample_weight=None, index=None, sampling=0.0):
        self.X = X
        self.target = np.zeros(len(X), dtype=np.int64) if target is None else target
        self.sample_weight = np.ones(len(X), dtype=np.float32) if sample_weight is None else sample_weight
        self.index = np.arange(len(X)) if index is None else index
        self.chances = None
        if sampling > 0:
            classes = self.target[self.index]
            self.chances = torch.from_numpy(np.bincount(classes)[classes] ** -float(sampling))

    def __len__(self):
        return len(self.index)

    def shuffled(self):
        """Positions of the rows of an epoch, in random order; as many as there are rows."""
        if self.chances is None:
            return torch.randperm(len(self)).numpy()
        upto = self.chances.cumsum(0)
        drawn = torch.searchsorted(upto, torch.rand(len(self), dtype=upto.dtype) * upto[-1], right=True)
        return drawn.clamp(max=len(self) - 1).numpy()

    def batch(self, positions):
        """Copy the rows at some positions into tensors: X, (target, sample_weight)."""
        rows = self.index[positions]
        arrays = (self.X[rows], self.target[rows], self.sample_weight[rows])
        X, target, weight = (torch.from_numpy(a) for a in arrays)
        return X, (target, weight)


class Batches:
    """Iterate over `Rows` a batch at a time, each time in another random order where ``shuffle`` is true."""

    def __init__(self, rows, batch_size, shuffle=False):
        self.rows, self.batch_size, self.shuffle = rows, batch_size, shuffle

    def __len__(self):
        return -(-len(self.rows) // self.batch_size)

    def __iter__(self):
        n = len(self.rows)
        order = self.rows.shuffled() if self.shuffle else np.arange(n)
        for start in range(0, n, self.batch_size):
            yield self.rows.batch(order[start : start + self.batch_size])


def split_validation(y, groups, fraction, random_state):
    """Keep back part of the rows: stratified by class, and no group on both sides.

    A group counts to the class that most of its rows have. The groups, in random order within their class
    and one class after the other, are taken at even steps, so that each class gives its share and, up to a
    half, no class gives all its groups. A class that makes up one group only stays in training.

    Parameters
    ----------
    y : ndarray of int, shape (n,)
    groups : array-like of shape (n,), or None
        Each row is its own group where None.
    fraction : float
        Share of the groups to keep back, at most 0.5.
    random_state : RandomState

    Returns
    -------
    train, valid : ndarrays of int

    Raises
    ------
    ValueError
        If no class has two groups, so that nothing can be kept back.
    """
    groups = np.arange(len(y)) if groups is None else groups
    _, group = np.unique(groups, return_inverse=True)
    counts = np.zeros((group.max() + 1, y.max() + 1), dtype=np.int64)
    np.add.at(counts, (group, y), 1)
    major = counts.argmax(axis=1)
    order = random_state.permutation(len(counts))
    order = order[np.argsort(major[order], kind="stable")]
    order = order[np.bincount(major)[major[order]] > 1]
    if not len(order):
        raise ValueError(
            "early_stopping found nothing to keep back for validation: it needs a class with two rows or "
            "more, of different groups where groups are given"
        )
    step = np.floor(np.arange(1, len(order) + 1) * fraction + random_state.uniform())
    chosen = order[np.diff(step, prepend=0) > 0]
    if not len(chosen):
        chosen = order[:1]
    is_valid = np.isin(group, chosen)
    return np.flatnonzero(~is_valid), np.flatnonzero(is_valid)
