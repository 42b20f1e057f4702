"""Temperatures of a chain of levels, from coarse to fine, of one set of leaf probabilities.

The probability of a leaf is a product: that of its crystal system, of its point group within the system, and
of itself within the point group. Each factor has a temperature T: it is raised to the power 1/T, and scaled
so that the factors of one parent add up to 1. Thus a coarser level is always the sum over the finer one.

The temperature of a row depends on its confidence c, the probability of its most probable leaf:
ln T = (1 - c) ln T0 + c ln T1.
"""

import numpy as np
from scipy.optimize import minimize
from scipy.special import logsumexp

from xtalsk._levels import sum_to_level
from xtalsk.calibration._constants import FLOOR, LOG_TEMPERATURES, TEMPERATURE_SPREAD
from xtalsk.symmetry import to_level


class Chain:
    """Levels of the classes of a classifier, each within the one before.

    Parameters
    ----------
    classes : ndarray of shape (n_classes,)
    space_groups : ndarray of int, shape (n_classes,), or None
        Space-group number of each class. None: the only level is ``"label"``, the classes themselves.
    levels : sequence of str
        Levels of space groups, from coarse to fine. The last is ``"space_group"``.

    Raises
    ------
    ValueError
        If a label of one level belongs to several labels of the level before.
    """

    def __init__(self, classes, space_groups, levels):
        self.names = ("label",) if space_groups is None else tuple(levels)
        self.labels, self.members, self.parents = [], [], []
        parent = np.zeros(len(classes), dtype=int)
        for name in self.names:
            of_class = classes if space_groups is None else to_level(space_groups, name)
            labels, member = np.unique(of_class, return_inverse=True)
            parents = np.zeros(len(labels), dtype=int)
            parents[member] = parent
            if (parents[member] != parent).any():
                raise ValueError(
                    f"levels must be nested, from coarse to fine: {name} is not, in {self.names}"
                )
            self.labels.append(labels)
            self.members.append(member)
            self.parents.append(parents)
            parent = member

    def _steps(self, proba):
        """Yield the position, the probabilities, and the parents of each level."""
        for k, (member, parents) in enumerate(zip(self.members, self.parents, strict=True)):
            yield k, sum_to_level(proba, member, len(parents)), parents

    def fit(self, proba, target, by_confidence=True):
        """Return the temperatures of each level that make the labels most probable.

        Parameters
        ----------
        proba : ndarray of shape (n_samples, n_classes)
        target : ndarray of int, shape (n_samples,)
            Position of the label of each row among the classes.
        by_confidence : bool
            Whether T0 and T1 may differ.

        Returns
        -------
        ndarray of shape (n_levels, 2)
            T0 and T1, at a confidence of 0 and of 1.
        """
        proba, weights = _floored(proba)
        if not by_confidence:
            weights = np.ones((len(proba), 1))
        temperatures = np.ones((len(self.names), 2))
        for k, level, parents in self._steps(proba):
            label = self.members[k][target]
            is_sibling = parents == parents[label, None]
            logits = np.where(is_sibling, np.log(level), -np.inf)
            temperatures[k] = np.exp(_log_temperatures(logits, label, weights))
        return temperatures

    def apply(self, proba, temperatures, factor=1.0):
        """Return the probabilities of the classes at given temperatures.

        Parameters
        ----------
        proba : ndarray of shape (n_samples, n_classes)
        temperatures : ndarray of shape (n_samples, n_levels, 2)
        factor : float or ndarray of shape (n_labels,)
            Factor of each label of the first level.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Rows of NaN stay NaN.
        """
        proba, weights = _floored(proba)
        power = np.exp(-(np.log(temperatures) * weights[:, None]).sum(axis=2))
        out = np.ones((len(proba), 1))
        for k, level, parents in self._steps(proba):
            share = level ** power[:, k, None] * (factor if k == 0 else 1.0)
            total = sum_to_level(share, parents, out.shape[1])
            out = out[:, parents] * share / total[:, parents]
        return out[:, self.members[-1]]


def _floored(proba):
    """Return probabilities above 0, and the weights of ln T0 and ln T1 in each row, (n_samples, 2)."""
    proba = (proba + FLOOR / proba.shape[1]) / (1 + FLOOR)
    confidence = proba.max(axis=1)
    return proba, np.stack([1 - confidence, confidence], axis=1)


def _log_temperatures(logits, label, weights):
    """Return the logarithms of the temperatures with the smallest logarithmic loss."""
    rows = np.arange(len(label))

    def loss(logarithms):
        scaled = logits * np.exp(-weights @ logarithms)[:, None]
        likelihood = scaled[rows, label] - logsumexp(scaled, axis=1)
        return -likelihood.sum() + 0.5 * np.sum((logarithms / TEMPERATURE_SPREAD) ** 2)

    start = np.zeros(weights.shape[1])
    return minimize(loss, start, bounds=[LOG_TEMPERATURES] * len(start), method="L-BFGS-B").x
