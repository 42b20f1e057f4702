"""Scores of probabilities at every level of symmetry."""

import numpy as np
import pandas as pd
from sklearn.utils.validation import check_consistent_length

from xtalsk.symmetry import to_level
from xtalsk.utils import check_option

SCORED_LEVELS = ("crystal_system", "point_group", "extinction_group", "space_group")
"""Levels of symmetry that `level_scores` scores, coarse to fine."""


def check_probabilities(proba, classes):
    """Return both as arrays; raise if the shapes do not fit or a probability is not finite.

    Rows of NaN are allowed: they have no answer.
    """
    proba, classes = np.asarray(proba, dtype=float), np.asarray(classes)
    if proba.ndim != 2 or classes.shape != proba.shape[1:]:
        raise ValueError(
            f"expected probabilities of shape (n_samples, {classes.size}), one column for each class, "
            f"got {proba.shape}"
        )
    broken = ~np.isfinite(proba).all(axis=1) & ~np.isnan(proba).all(axis=1)
    if broken.any():
        raise ValueError(f"the probabilities of row {int(np.flatnonzero(broken)[0])} are not finite")
    return proba, classes


def check_scored(y_true, proba, classes):
    """Return all three as arrays after the checks of `check_probabilities`."""
    proba, classes = check_probabilities(proba, classes)
    y_true = np.asarray(y_true)
    check_consistent_length(y_true, proba)
    return y_true, proba, classes


def has_answer(proba):
    """Return for each row whether it has probabilities; a row of NaN has none."""
    return ~np.isnan(proba).any(axis=1)


def level_probabilities(proba, classes, level):
    """Sum the probabilities of space groups to those of a coarser level of symmetry.

    Parameters
    ----------
    proba : array-like of shape (n_samples, n_classes)
    classes : array-like of shape (n_classes,)
        Space-group number of each column, as in ``classifier.classes_``.
    level : str
        One of `xtalsk.symmetry.LEVELS`.

    Returns
    -------
    proba : ndarray of shape (n_samples, n_level_classes)
        NaN for rows of NaN.
    classes : ndarray of shape (n_level_classes,)
        Label of each column at this level, sorted.

    Raises
    ------
    ValueError
        If there is not one column for each class, a probability is not finite, or a class is not a
        space-group number.

    Examples
    --------
    >>> from xtalsk.metrics import level_probabilities
    >>> level_probabilities([[0.5, 0.2, 0.3]], [62, 225, 227], "crystal_system")
    (array([[0.5, 0.5]]), array(['cubic', 'orthorhombic'], dtype='<U12'))
    """
    proba, classes = check_probabilities(proba, classes)
    level_classes, column = np.unique(to_level(classes, level), return_inverse=True)
    summed = np.zeros((len(proba), len(level_classes)))
    np.add.at(summed.T, column, proba.T)
    return summed, level_classes


def top_k_accuracy(y_true, proba, classes, *, k=1):
    """Return the fraction of samples whose label is one of the k most probable classes.

    Labels that are not among the classes count as wrong; the function of this name in scikit-learn does not
    accept them. Equally probable classes are ranked in the order of ``classes``.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
    proba : array-like of shape (n_samples, n_classes)
    classes : array-like of shape (n_classes,)
        Label of each column.
    k : int, default=1
        Number of most probable classes.

    Returns
    -------
    float
        Between 0 and 1.

    Raises
    ------
    ValueError
        If the shapes do not fit or a probability is not finite.

    Examples
    --------
    >>> from xtalsk.metrics import top_k_accuracy
    >>> proba = [[0.6, 0.3, 0.1], [0.6, 0.3, 0.1], [0.6, 0.3, 0.1]]
    >>> float(top_k_accuracy([62, 225, 14], proba, [62, 225, 227], k=2).round(3))
    0.667
    """
    y_true, proba, classes = check_scored(y_true, proba, classes)
    best = np.argsort(-proba, axis=1, kind="stable")[:, :k]
    is_right = (classes[best] == y_true[:, np.newaxis]).any(axis=1)
    return np.mean(is_right & has_answer(proba))


def balanced_accuracy(y_true, proba, classes):
    """Return the recall of the most probable class, averaged over the labels of ``y_true``.

    All labels have the same weight (macro average), so a rare space group counts as much as a frequent one.
    Labels that are predicted but are not in ``y_true`` have no recall and are left out, as in
    ``balanced_accuracy_score`` of scikit-learn. Labels that are not among the classes have a recall of 0.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
    proba : array-like of shape (n_samples, n_classes)
    classes : array-like of shape (n_classes,)
        Label of each column.

    Returns
    -------
    float
        Between 0 and 1.

    Raises
    ------
    ValueError
        If the shapes do not fit or a probability is not finite.

    Examples
    --------
    >>> from xtalsk.metrics import balanced_accuracy
    >>> float(balanced_accuracy(["a", "a", "a", "b"], [[0.9, 0.1]] * 4, ["a", "b"]))
    0.5
    """
    y_true, proba, classes = check_scored(y_true, proba, classes)
    correct = (classes[proba.argmax(axis=1)] == y_true) & has_answer(proba)
    return pd.Series(correct).groupby(y_true).mean().mean()


def expected_calibration_error(y_true, proba, classes, *, n_bins=15):
    """Return the expected calibration error: the difference between confidence and accuracy.

    The confidence is the probability of the most probable class; 0 for a sample without answer. Samples are
    sorted into bins of equal width of the confidence. The error is the mean over the bins of
    ``|accuracy - confidence|``, weighted by the number of samples in each bin: equation 3 of [1]_.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
    proba : array-like of shape (n_samples, n_classes)
    classes : array-like of shape (n_classes,)
        Label of each column.
    n_bins : int, default=15
        Number of bins between 0 and 1.

    Returns
    -------
    float
        Between 0, for perfectly calibrated probabilities, and 1.

    Raises
    ------
    ValueError
        If the shapes do not fit or a probability is not finite.

    References
    ----------
    .. [1] C. Guo et al., On Calibration of Modern Neural Networks, ICML (2017).

    Examples
    --------
    >>> from xtalsk.metrics import expected_calibration_error
    >>> proba = [[0.75, 0.25]] * 4
    >>> float(expected_calibration_error(["a", "a", "a", "b"], proba, ["a", "b"]))
    0.0
    """
    y_true, proba, classes = check_scored(y_true, proba, classes)
    confidence = np.where(has_answer(proba), proba.max(axis=1), 0)
    correct = (classes[proba.argmax(axis=1)] == y_true) & has_answer(proba)
    bins = np.clip(np.ceil(confidence * n_bins) - 1, 0, n_bins - 1).astype(int)
    gaps = np.abs(np.bincount(bins, weights=correct - confidence, minlength=n_bins))
    return gaps.sum() / len(y_true)


def level_scores(y_true, proba, classes, *, hierarchy=None, top_k=5):
    """Return all scores of one set of probabilities.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
    proba : array-like of shape (n_samples, n_classes)
    classes : array-like of shape (n_classes,)
        Label of each column.
    hierarchy : {"space_group"} or None, default=None
        ``"space_group"``: the labels are space-group numbers, and each of `SCORED_LEVELS` is scored. None:
        any labels, and the only level is ``"label"``.
    top_k : int, default=5
        Number of most probable classes in the ``top`` score.

    Returns
    -------
    dict of str to float
        For each level ``<level>_accuracy``, ``<level>_top5`` (the number is ``top_k``),
        ``<level>_balanced_accuracy`` and ``<level>_calibration_error``.

    Raises
    ------
    ValueError
        If the shapes do not fit, a probability is not finite, ``hierarchy`` is unknown, or a label or class
        is not a space-group number although ``hierarchy="space_group"``.

    Examples
    --------
    >>> from xtalsk.metrics import level_scores
    >>> scores = level_scores([225, 62], [[0.2, 0.8], [0.1, 0.9]], [62, 227], hierarchy="space_group")
    >>> float(scores["space_group_accuracy"]), float(scores["crystal_system_accuracy"])
    (0.0, 0.5)
    """
    check_option("hierarchy", hierarchy, (None, "space_group"))
    y_true, proba, classes = check_scored(y_true, proba, classes)
    scores = {}
    for level in ("label",) if hierarchy is None else SCORED_LEVELS:
        y, p, c = y_true, proba, classes
        if hierarchy is not None:
            y, (p, c) = to_level(y_true, level), level_probabilities(proba, classes, level)
        scores[f"{level}_accuracy"] = top_k_accuracy(y, p, c)
        scores[f"{level}_top{top_k}"] = top_k_accuracy(y, p, c, k=top_k)
        scores[f"{level}_balanced_accuracy"] = balanced_accuracy(y, p, c)
        scores[f"{level}_calibration_error"] = expected_calibration_error(y, p, c)
    return scores
