"""Pairs of labels that a classifier takes for each other."""

import numpy as np
import pandas as pd

from xtalsk.metrics._scores import check_scored, has_answer, level_probabilities
from xtalsk.symmetry import to_level


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
    y_true, proba, classes = check_scored(y_true, proba, classes)
    labels = np.unique(to_level(np.arange(1, 231), level))
    y = np.searchsorted(labels, to_level(y_true, level))
    summed, columns = level_probabilities(proba, classes, level)
    p = np.zeros((len(y), len(labels)))
    p[:, np.searchsorted(labels, columns)] = np.nan_to_num(summed)
    answer = np.where(has_answer(summed), p.argmax(axis=1), -1)
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
