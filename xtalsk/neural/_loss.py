"""Loss of all levels of symmetry, which are sums of one set of leaf (space-group) probabilities."""

import numpy as np
import torch
from torch import nn

from xtalsk.neural._constants import LEVEL_WEIGHTS
from xtalsk.symmetry import LEVELS, to_level

_SMALLEST = 1e-30  # smallest probability, so that its logarithm is finite in float32


def check_hierarchy_weights(hierarchy, weights):
    """Return the weight of each level in the loss; the weights add up to 1.

    Raises
    ------
    ValueError
        If weights come without a hierarchy, name an unknown level, are negative or are all zero.
    """
    if hierarchy is None:
        if weights is not None:
            raise ValueError("hierarchy_weights needs hierarchy='space_group'")
        return {}
    if weights is None:
        weights = LEVEL_WEIGHTS[hierarchy]
    if not isinstance(weights, dict) or not weights or set(weights) - set(LEVELS):
        raise ValueError(f"hierarchy_weights must be a dict with keys among {LEVELS}, got {weights!r}")
    values = np.array(list(weights.values()), dtype=float)
    if not (np.isfinite(values).all() and (values >= 0).all() and values.sum() > 0):
        raise ValueError(f"hierarchy_weights must not be negative, nor all zero, got {weights!r}")
    return {level: float(w) for level, w in zip(weights, values / values.sum(), strict=True) if w > 0}


def level_index(space_groups, level):
    """Return the labels of a level among space groups, and the label of each space group by position.

    Returns
    -------
    labels : ndarray
        Sorted.
    index : ndarray of int, shape (n_space_groups,)
        Position in ``labels``.
    """
    return np.unique(to_level(space_groups, level), return_inverse=True)


class LevelsLoss(nn.Module):
    """Weighted mean over levels of the negative log-likelihood of sums of leaf probabilities.

    Parameters
    ----------
    levels : list of (float, ndarray of int)
        Weight of each level, and the class of each leaf on that level. An empty list uses the leaves alone.
    label_smoothing : float
        Share of the target that is spread evenly over the classes of each level.
    """

    def __init__(self, levels=(), label_smoothing=0.0):
        super().__init__()
        self.label_smoothing = label_smoothing
        self.weights = [weight for weight, _ in levels]
        for i, (_, index) in enumerate(levels):
            index = torch.as_tensor(index)
            self.register_buffer(f"index_{i}", index)
            self.register_buffer(f"sums_{i}", nn.functional.one_hot(index).float())

    def _smoothed(self, log_proba, target):
        """Return the cross-entropy of each row with smoothed targets."""
        loss = -log_proba.gather(1, target[:, None]).squeeze(1)
        if self.label_smoothing > 0:
            loss = torch.lerp(loss, -log_proba.mean(1), self.label_smoothing)
        return loss

    def forward(self, scores, target, sample_weight):
        """Return the mean loss of leaf scores (n, n_leaves) for target leaves (n,) with weights (n,)."""
        log_proba = torch.log_softmax(scores, dim=1)
        if not self.weights:
            return (self._smoothed(log_proba, target) * sample_weight).mean()
        proba, total = log_proba.exp(), 0.0
        for i, weight in enumerate(self.weights):
            index, sums = getattr(self, f"index_{i}"), getattr(self, f"sums_{i}")
            is_leaf = sums.shape[1] == sums.shape[0]
            level = log_proba if is_leaf else (proba @ sums).clamp(min=_SMALLEST).log()
            # a level with as many classes as leaves is the leaves themselves, in some order
            total = total + weight * self._smoothed(level, target if is_leaf else index[target])
        return (total * sample_weight).mean()
