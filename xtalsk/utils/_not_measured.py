"""Rows in which nothing was measured: their treatment in classifiers."""

import warnings

import numpy as np
import pandas as pd

from xtalsk.utils._validation import check_option, name_rows

ALL_MISSING = ("raise", "missing")
"""Options of the parameter ``all_missing`` of classifiers."""


class NotMeasuredWarning(UserWarning):
    """Warns that nothing was measured in some rows, which get no answer; the message names them."""


def check_empty_rows(empty, blocks, all_missing):
    """Raise or warn if rows have no value in any block.

    Parameters
    ----------
    empty : bool array of shape (n_rows,)
        True for rows without any value.
    blocks : iterable of str
        Names of the blocks, for the message.
    all_missing : {"raise", "missing"}

    Raises
    ------
    ValueError
        If there is such a row and ``all_missing="raise"``; the message names the rows.
    """
    check_option("all_missing", all_missing, ALL_MISSING)
    rows = np.flatnonzero(empty)
    if not len(rows):
        return
    what = f"X: {name_rows(rows)}: every block is missing ({', '.join(blocks)})"
    if all_missing == "raise":
        raise ValueError(f"{what}; leave these rows out, or set all_missing='missing'")
    warnings.warn(f"{what}; these rows get no answer", NotMeasuredWarning, stacklevel=4)


def missing_label(classes):
    """Return the label of a row without answer.

    Parameters
    ----------
    classes : ndarray of shape (n_classes,)

    Returns
    -------
    int or None
        For integer labels 0, or the number below the smallest label if 0 is a label. None for others.

    Examples
    --------
    >>> import numpy as np
    >>> from xtalsk.utils import missing_label
    >>> missing_label(np.array([2, 225])), missing_label(np.array([0, 1])), missing_label(np.array(["a"]))
    (0, -1, None)
    """
    if classes.dtype.kind not in "iu":
        return None
    return 0 if 0 not in classes else min(0, int(classes.min())) - 1


def most_probable(proba, classes):
    """Return the most probable class of each row; rows of NaN get `missing_label`.

    Parameters
    ----------
    proba : ndarray of shape (n, n_classes)
    classes : ndarray of shape (n_classes,)

    Returns
    -------
    ndarray of shape (n,)
        Of the type of ``classes``, or of objects if a label is None.
    """
    answered = ~np.isnan(proba).any(axis=1)
    labels = classes[np.where(np.isnan(proba), -1.0, proba).argmax(axis=1)]
    if answered.all():
        return labels
    label = missing_label(classes)
    labels = labels.astype(object if label is None else np.int64)
    labels[~answered] = label
    return labels


def of_all_classes(proba, classes, all_classes):
    """Return the probabilities of some classes as those of all, with 0 for the others.

    Parameters
    ----------
    proba : ndarray of shape (n, n_classes)
        Rows without answer are NaN.
    classes : ndarray of shape (n_classes,)
    all_classes : ndarray of shape (n_all,)
        Sorted; all of ``classes`` are among them.

    Returns
    -------
    ndarray of float64, shape (n, n_all)
        Rows without answer are NaN.
    """
    out = np.zeros((len(proba), len(all_classes)))
    out[:, np.searchsorted(all_classes, classes)] = proba
    out[np.isnan(proba).any(axis=1)] = np.nan
    return out


def is_empty_row(X):
    """Return for each row of a table whether all of its values are missing; False if it is no table."""
    values = X if isinstance(X, pd.DataFrame) else np.asarray(X)
    return np.asarray(pd.isna(values)).all(axis=1) if values.ndim == 2 else np.zeros(1, dtype=bool)
