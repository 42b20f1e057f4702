"""Whole batches sliced from arrays, and the split of rows into training and validation."""

import numpy as np
import torch

from xtalsk.neural._random import own_generator, randperm


class Rows:
    """Rows of a feature matrix with targets and weights: the data set of the net.

    Parameters
    ----------
    X : ndarray of float32, shape (n, n_features)
    target : ndarray of int64, shape (n,), or None
        None stands for zeros, for prediction.
    sample_weight : ndarray of float32, shape (n,), or None
        None stands for ones.
    index : ndarray of int, or None
        Rows to use; None uses all.
    sampling : float
        If above 0, rows are sampled with replacement, with a probability proportional to n ** -sampling,
        where n is the number of rows of their class; 1 samples all classes equally often. 0 takes each row
        once.
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
        """Return the positions of the rows of an epoch in random order; as many as there are rows."""
        if self.chances is None:
            return randperm(len(self)).numpy()
        cumulative = self.chances.cumsum(0)
        draws = torch.rand(len(self), dtype=cumulative.dtype, generator=own_generator("cpu")) * cumulative[-1]
        positions = torch.searchsorted(cumulative, draws, right=True)
        return positions.clamp(max=len(self) - 1).numpy()

    def batch(self, positions):
        """Return the rows at the given positions as tensors: X, (target, sample_weight)."""
        rows = self.index[positions]
        arrays = (self.X[rows], self.target[rows], self.sample_weight[rows])
        X, target, weight = (torch.from_numpy(a) for a in arrays)
        return X, (target, weight)


class Batches:
    """Iterate over `Rows` batch by batch; with ``shuffle``, in a new random order each time."""

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
    """Split rows into training and validation, stratified by class, with each group on one side.

    The class of a group is the class of most of its rows. The groups are sorted by class, in random order
    within each class, and groups at regular steps go to validation. Thus each class gives its share, and no
    class loses all its groups. A class with a single group stays in training.

    Parameters
    ----------
    y : ndarray of int, shape (n,)
    groups : array-like of shape (n,), or None
        None makes each row a group.
    fraction : float
        Share of the groups for validation, at most 0.5.
    random_state : RandomState

    Returns
    -------
    train, valid : ndarrays of int

    Raises
    ------
    ValueError
        If no class has two groups.
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
            "early_stopping needs rows for validation: at least one class must have two rows, from two "
            "groups if groups are given"
        )
    step = np.floor(np.arange(1, len(order) + 1) * fraction + random_state.uniform())
    for_validation = order[np.diff(step, prepend=0) > 0]
    if not len(for_validation):
        for_validation = order[:1]
    is_valid = np.isin(group, for_validation)
    return np.flatnonzero(~is_valid), np.flatnonzero(is_valid)
