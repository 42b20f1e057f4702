"""Scores of a classifier's probabilities at every level of symmetry.

A classifier predicts probabilities of space groups; the probabilities of the coarser levels are their sums. A
label that is not in the training data has no probability. Such a sample counts as wrong. So does a sample
without answer, whose probabilities are all NaN because nothing was measured.

At each level, the class with the highest probability is scored. At coarser levels this is the highest sum,
which can belong to another class than the most probable space group.
"""

import numpy as np
import pandas as pd
from sklearn.utils.validation import check_consistent_length

from xtalsk.symmetry import to_level
from xtalsk.utils import check_option

__all__ = [
    "SCORED_LEVELS",
    "balanced_accuracy",
    "confused_pairs",
    "expected_calibration_error",
    "level_probabilities",
    "level_scores",
    "make_level_scorers",
    "top_k_accuracy",
]

SCORED_LEVELS = ("crystal_system", "point_group", "extinction_group", "space_group")
"""Levels of symmetry that `level_scores` scores, coarse to fine."""


def _check_probabilities(proba, classes):
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


def _check_scored(y_true, proba, classes):
    """Return all three as arrays after the checks of `_check_probabilities`."""
    proba, classes = _check_probabilities(proba, classes)
    y_true = np.asarray(y_true)
    check_consistent_length(y_true, proba)
    return y_true, proba, classes


def _has_answer(proba):
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
    proba, classes = _check_probabilities(proba, classes)
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
    y_true, proba, classes = _check_scored(y_true, proba, classes)
    best = np.argsort(-proba, axis=1, kind="stable")[:, :k]
    is_right = (classes[best] == y_true[:, np.newaxis]).any(axis=1)
    return np.mean(is_right & _has_answer(proba))


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
    y_true, proba, classes = _check_scored(y_true, proba, classes)
    correct = (classes[proba.argmax(axis=1)] == y_true) & _has_answer(proba)
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
    y_true, proba, classes = _check_scored(y_true, proba, classes)
    confidence = np.where(_has_answer(proba), proba.max(axis=1), 0)
    correct = (classes[proba.argmax(axis=1)] == y_true) & _has_answer(proba)
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
    y_true, proba, classes = _check_scored(y_true, proba, classes)
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


def confused_pairs(y_true, proba, classes, *, level="space_group", pairs=None, n=10):
    """Return the pairs of classes that are confused most often, or the confusions of given pairs.

    `xtalsk.inspection.SymmetryConfusionDisplay` draws all confusions.

    Parameters
    ----------
    y_true : array-like of int, shape (n_samples,)
        Space-group numbers.
    proba : array-like of shape (n_samples, n_classes)
    classes : array-like of int, shape (n_classes,)
        Space-group number of each column.
    level : str, default="space_group"
        One of `xtalsk.symmetry.LEVELS`.
    pairs : list of (label, label) or None, default=None
        Labels of this level, such as ``[(14, 15), (2, 11)]``. None: the ``n`` most confused pairs.
    n : int, default=10
        Largest number of pairs; not used if ``pairs`` is given.

    Returns
    -------
    DataFrame
        One row for each pair; the index holds the labels ``first`` and ``second``. ``n_first`` and
        ``n_second`` count the specimens of each class, ``first_as_second`` and ``second_as_first`` those that
        get the other label. The others are shares of the specimens of both classes, NaN if there are none:
        ``labelled_first`` and ``labelled_second`` get this label, ``accuracy`` the right one, and for
        ``accuracy_of_two`` the right class is more probable than the other: only the two compete.

    Raises
    ------
    ValueError
        If the shapes do not fit, a probability is not finite, a label or class is not a space group, or a
        pair does not hold two labels of the level.

    Examples
    --------
    >>> from xtalsk.metrics import confused_pairs
    >>> proba = [[0.6, 0.4, 0.0], [0.3, 0.6, 0.1], [0.2, 0.3, 0.5], [0.0, 0.1, 0.9]]
    >>> pairs = confused_pairs([14, 14, 15, 62], proba, [14, 15, 62])
    >>> pairs[["first_as_second", "second_as_first", "accuracy", "accuracy_of_two"]].round(2)
                  first_as_second  second_as_first  accuracy  accuracy_of_two
    first second
    14    15                    1                0      0.33             0.67
    15    62                    1                0      0.50             0.50
    """
    y_true, proba, classes = _check_scored(y_true, proba, classes)
    labels = np.unique(to_level(np.arange(1, 231), level))
    y = np.searchsorted(labels, to_level(y_true, level))
    summed, columns = level_probabilities(proba, classes, level)
    p = np.zeros((len(y), len(labels)))
    p[:, np.searchsorted(labels, columns)] = np.nan_to_num(summed)
    answer = np.where(_has_answer(summed), p.argmax(axis=1), -1)
    pairs = _most_confused(y, answer, n) if pairs is None else _check_pairs(pairs, labels, level)

    a, b = pairs.T[..., np.newaxis]
    of_a, of_b = y == a, y == b
    other = np.where(of_a, b, a)
    masks = {
        "n_first": of_a,
        "n_second": of_b,
        "first_as_second": of_a & (answer == b),
        "second_as_first": of_b & (answer == a),
        "labelled_first": answer == a,
        "labelled_second": answer == b,
        "accuracy": answer == y,
        "accuracy_of_two": p[range(len(y)), y] > p[range(len(y)), other],
    }
    index = pd.MultiIndex.from_arrays(labels[pairs.T], names=["first", "second"])
    table = pd.DataFrame({k: ((of_a | of_b) & mask).sum(axis=1) for k, mask in masks.items()}, index=index)
    shares = list(masks)[4:]
    table[shares] = table[shares].div(table["n_first"] + table["n_second"], axis=0)
    return table


def _most_confused(y, answer, n):
    """Return the n pairs of indices (n_pairs, 2) with most confusions both ways, the most frequent first."""
    wrong = (answer >= 0) & (answer != y)
    confused = np.sort(np.column_stack([y, answer])[wrong], axis=1)
    pairs, counts = np.unique(confused, axis=0, return_counts=True)
    return pairs[np.argsort(-counts, kind="stable")[:n]]


def _check_pairs(pairs, labels, level):
    """Return the indices (n_pairs, 2) of pairs of labels; raise if one is not a label of the level."""
    indices = {label: index for index, label in enumerate(labels.tolist())}
    for pair in pairs:
        if len(pair) != 2 or pair[0] == pair[1] or not set(pair) <= set(indices):
            raise ValueError(f"a pair must hold two labels of the level {level!r}, got {pair!r}")
    return np.array([[indices[label] for label in pair] for pair in pairs], dtype=int).reshape(-1, 2)


class _LevelScorers:
    """A scorer ``(estimator, X, y) -> dict``. It is a class so that worker processes can unpickle it."""

    def __init__(self, hierarchy, top_k):
        self.hierarchy = hierarchy
        self.top_k = top_k

    def __call__(self, estimator, X, y):
        proba = estimator.predict_proba(X)
        return level_scores(y, proba, estimator.classes_, hierarchy=self.hierarchy, top_k=self.top_k)

    def __repr__(self):
        return f"make_level_scorers(hierarchy={self.hierarchy!r}, top_k={self.top_k})"


def make_level_scorers(hierarchy=None, *, top_k=5):
    """Make a ``scoring`` argument for ``cross_validate`` of scikit-learn: all scores of `level_scores`.

    The scorer computes the probabilities once for all scores.

    Parameters
    ----------
    hierarchy : {"space_group"} or None, default=None
        ``"space_group"``: the labels are space-group numbers, and each of `SCORED_LEVELS` is scored. None:
        any labels, and the only level is ``"label"``.
    top_k : int, default=5
        Number of most probable classes in the ``top`` score.

    Returns
    -------
    callable
        ``scorers(estimator, X, y)`` returns the dict of `level_scores`.

    Raises
    ------
    ValueError
        If ``hierarchy`` is unknown.

    Notes
    -----
    ``GridSearchCV`` needs the name of the score that selects the best parameters:
    ``GridSearchCV(..., scoring=make_level_scorers("space_group"), refit="space_group_accuracy")``.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.dummy import DummyClassifier
    >>> from sklearn.model_selection import cross_validate
    >>> from xtalsk.metrics import make_level_scorers
    >>> X, y = np.zeros((9, 1)), np.repeat([62, 225, 227], 3)
    >>> scorers = make_level_scorers("space_group")
    >>> scores = cross_validate(DummyClassifier(), X, y, cv=3, scoring=scorers)
    >>> scores["test_space_group_top5"]
    array([1., 1., 1.])
    """
    check_option("hierarchy", hierarchy, (None, "space_group"))
    return _LevelScorers(hierarchy, top_k)
