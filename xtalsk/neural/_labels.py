"""Labels of a `FusionClassifier`: any labels, space-group numbers, or positions in a list of these."""

import warnings

import numpy as np

from xtalsk._levels import level_classes
from xtalsk.neural._constants import FEWEST_CODES
from xtalsk.symmetry import check_space_group

_MEND = (
    "cross_val_predict, VotingClassifier, StackingClassifier and CalibratedClassifierCV of scikit-learn "
    "replace labels by codes 0, 1, ...: set space_groups=np.unique(y), with y as you give it to them"
)


def check_space_groups(hierarchy, space_groups):
    """Return the parameter ``space_groups`` as an array, or None.

    Raises
    ------
    ValueError
        If it comes without a hierarchy, is not one-dimensional, repeats a number, or has a number that is not
        a space group.
    """
    if space_groups is None:
        return None
    if hierarchy is None:
        raise ValueError("space_groups needs hierarchy='space_group'")
    numbers = check_space_group(space_groups)
    if numbers.ndim != 1 or len(np.unique(numbers)) < len(numbers):
        raise ValueError("space_groups must be a list of different space-group numbers")
    return numbers


def to_space_groups(labels, space_groups):
    """Return the space group that each label stands for.

    Parameters
    ----------
    labels : ndarray
    space_groups : ndarray of int, or None
        With an array, labels are positions in it. If they cannot be positions, they may be its numbers: some
        tools of scikit-learn pass codes to a part of their estimators, and labels to the others.

    Returns
    -------
    ndarray of int

    Raises
    ------
    ValueError
        If a label does not stand for a space group.
    """
    is_number = labels.dtype.kind in "iuf"
    if space_groups is None:
        if is_number and np.isin(0, labels):
            raise ValueError(
                f"the label 0 is no space group: space groups must be integers from 1 to 230. {_MEND}"
            )
        return check_space_group(labels)
    if is_number and np.isin(labels, np.arange(len(space_groups))).all():
        return space_groups[labels.astype(np.int64)]
    unknown = labels[~np.isin(labels, space_groups)] if is_number else labels
    if len(unknown):
        raise ValueError(
            f"labels must be positions in space_groups, 0 to {len(space_groups) - 1}, or its numbers, got "
            f"{unknown[:3].tolist()}"
        )
    return labels.astype(np.int64)


def _warn_of_doubt(classes, space_groups):
    """Warn if classes can be codes as well as space-group numbers."""
    n = len(classes)
    if space_groups is None:
        if FEWEST_CODES <= n < 230 and classes[-1] == n:
            warnings.warn(
                f"the labels are the integers 1 to {n}; if these are codes, the space groups are wrong. "
                f"{_MEND}",
                UserWarning,
                stacklevel=5,
            )
    elif n < len(space_groups) and np.array_equal(classes, np.arange(n)):
        warnings.warn(
            f"the labels are 0 to {n - 1}, but space_groups has {len(space_groups)} numbers: if a tool of "
            f"scikit-learn made codes of a part of the data, they do not stand for these space groups, as in "
            f"GridSearchCV over a VotingClassifier whose folds lack some. xtalsk.model_selection.compare "
            f"gives each fold its own list",
            UserWarning,
            stacklevel=5,
        )
    elif 0 not in classes and classes[-1] < len(space_groups) and np.isin(classes, space_groups).all():
        warnings.warn(
            f"the labels {classes.tolist()} can be positions in space_groups as well as its numbers; they "
            f"count as positions",
            UserWarning,
            stacklevel=5,
        )


def set_classes(model, classes):
    """Set the labels, the space group of each and, with a hierarchy, the labels of each level."""
    model.classes_, model.level_classes_ = classes, {}
    if hasattr(model, "space_groups_"):
        del model.space_groups_
    if model.hierarchy is not None:
        given = check_space_groups(model.hierarchy, model.space_groups)
        numbers = to_space_groups(classes, given)
        _warn_of_doubt(classes, given)
        model.classes_ = numbers if given is None else classes.astype(np.int64)
        model.space_groups_ = numbers
        model.level_classes_ = level_classes(numbers)
