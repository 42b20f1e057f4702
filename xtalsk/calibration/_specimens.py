"""What a classifier answers for a table, and which modalities each of its rows has."""

import re
import warnings

import numpy as np
import sklearn.compose
from scipy.sparse import issparse
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline

from xtalsk.columns import UNNAMED, modality_of, split_name
from xtalsk.utils import is_missing, name_rows

NOTHING = "nothing"
"""Name of the group of the rows that have no modality."""


def unfreeze(estimator):
    """Return the estimator in a `FrozenEstimator`, or any other estimator as it is."""
    while isinstance(estimator, FrozenEstimator):
        estimator = estimator.estimator
    return estimator


def split_pipeline(estimator):
    """Return the steps that compute features, or None, and the classifier that is the last step."""
    estimator = unfreeze(estimator)
    if not isinstance(estimator, Pipeline):
        return None, estimator
    return (estimator[:-1] if len(estimator) > 1 else None), unfreeze(estimator[-1])


def block_modalities(steps):
    """Return the modality of each block of features that the ColumnTransformers of a pipeline compute."""
    return {
        name: modality_of(column) or column
        for step in (steps or ())
        if isinstance(step, sklearn.compose.ColumnTransformer)
        for name, _, column in step.transformers_
        if isinstance(column, str)
    }


def measured_modalities(X, modalities):
    """Return which modalities each row of features has.

    Parameters
    ----------
    X : DataFrame or array-like of shape (n_samples, n_features)
        Features, NaN where not measured. Columns of a DataFrame are named ``block__column``.
    modalities : dict of {str: str}
        Modality of each block. A block that is not listed is a modality of its own: its name, without the
        number at the end.

    Returns
    -------
    dict of {str: ndarray of bool, shape (n_samples,)}
    """
    columns = getattr(X, "columns", None)
    X = X.toarray() if issparse(X) else X
    is_value = np.asarray(X.notna() if hasattr(X, "notna") else ~np.isnan(np.asarray(X, dtype=float)))
    blocks = [UNNAMED] * is_value.shape[1] if columns is None else [split_name(str(c))[0] for c in columns]
    names = [modalities.get(block) or re.sub(r"_\d+$", "", block) for block in blocks]
    return {name: is_value[:, [one == name for one in names]].any(axis=1) for name in dict.fromkeys(names)}


def groups_of(measured):
    """Return the group of each row as text: its modalities, such as ``"powder + formula"``."""
    names, present = list(measured), np.stack(list(measured.values()), axis=1)
    patterns, group = np.unique(present, axis=0, return_inverse=True)
    texts = [" + ".join(np.array(names)[pattern]) or NOTHING for pattern in patterns]
    return np.array(texts, dtype=object)[group.ravel()]


def answers(estimator, X, modalities=None):
    """Return the probabilities of a classifier, or of a pipeline, and the group of each row.

    Parameters
    ----------
    estimator : fitted classifier or Pipeline
    X : DataFrame or array-like
        What the estimator reads: specimens, or features.
    modalities : dict of {str: str} or None
        Modality of each block of features; see `measured_modalities`. None: those of the
        ColumnTransformers of the pipeline.

    Returns
    -------
    proba : ndarray of shape (n_samples, n_classes)
        NaN for rows without answer.
    groups : ndarray of str, shape (n_samples,)
    """
    steps, classifier = split_pipeline(estimator)
    if steps is not None:
        X = steps.transform(X)
    proba = np.asarray(classifier.predict_proba(X), dtype=float)
    if modalities is None:
        modalities = block_modalities(steps)
    return proba, groups_of(measured_modalities(X, modalities))


def unread_cells(specimens, measured):
    """Return for each row the modalities that have a cell although none of their features has a value.

    Parameters
    ----------
    specimens : DataFrame
    measured : dict of {str: ndarray of bool}
        See `measured_modalities`.

    Returns
    -------
    list of list of str
    """
    given = {}
    for column in getattr(specimens, "columns", ()):
        modality = modality_of(column)
        if modality in measured:
            has_cell = np.array([not is_missing(cell) for cell in specimens[column]])
            given[modality] = given.get(modality, False) | has_cell
    n_rows = len(next(iter(measured.values())))
    return [[m for m, has in given.items() if has[row] and not measured[m][row]] for row in range(n_rows)]


def check_answered(proba, y, classes):
    """Return which rows of a calibration set have an answer, after checking the labels.

    Raises
    ------
    ValueError
        If a label is not among the classes, or if no row has an answer.

    Warns
    -----
    UserWarning
        If some rows have no answer; the message names them.
    """
    known = set(classes.tolist())
    unknown = [label for label in y.tolist() if label not in known]
    if unknown:
        raise ValueError(
            f"the classifier cannot give the labels {list(dict.fromkeys(unknown))[:10]} of the calibration "
            f"set; leave out these {len(unknown)} specimens"
        )
    answered = np.isfinite(proba).all(axis=1)
    if not answered.any():
        raise ValueError(
            f"no specimen has an answer: n_samples = {len(y)}, and all probabilities of them are NaN"
        )
    if not answered.all():
        warnings.warn(
            f"X: {name_rows(np.flatnonzero(~answered))}: no answer, left out of the calibration",
            UserWarning,
            stacklevel=3,
        )
    return answered


def warn_unknown(groups, known, proba, consequence):
    """Warn of answered rows whose group is not known; the message names the rows."""
    rows = np.flatnonzero(~np.isin(groups, known) & np.isfinite(proba).all(axis=1))
    if len(rows):
        warnings.warn(
            f"X: {name_rows(rows)}: the calibration set had no specimen with the modalities "
            f"{np.unique(groups[rows]).tolist()}, only {known}; {consequence}",
            UserWarning,
            stacklevel=3,
        )
