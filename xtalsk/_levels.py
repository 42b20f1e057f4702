"""Levels of symmetry of a classifier whose classes are space groups."""

import numpy as np
from sklearn.utils.validation import check_is_fitted

from xtalsk.symmetry import LEVELS, check_space_group, to_level
from xtalsk.utils._not_measured import most_probable
from xtalsk.utils._validation import check_option


def level_classes(space_groups):
    """Return the sorted labels of each level of symmetry among space groups, as a dict."""
    return {level: np.unique(to_level(space_groups, level)) for level in LEVELS}


def levels_of(classes):
    """Return `level_classes` of labels, or an empty dict if they are not integers from 1 to 230."""
    are_space_groups = classes.dtype.kind in "iu" and classes.min() >= 1 and classes.max() <= 230
    return level_classes(classes) if are_space_groups else {}


def space_groups_of(classifier):
    """Return the space-group number of each class, or None if the classes are not space groups."""
    try:
        return classifier._space_groups_of_classes()
    except (AttributeError, ValueError):  # a classifier of another package, or without a hierarchy
        classes = np.asarray(classifier.classes_)
        return classes if levels_of(classes) else None


def sum_to_level(proba, index, n_labels):
    """Sum probabilities of classes (n, n_classes) to those of a level, (n, n_labels)."""
    out = np.zeros((len(proba), n_labels), dtype=proba.dtype)
    np.add.at(out.T, index, proba.T)
    return out


class LevelsMixin:
    """Levels of symmetry for a classifier with ``predict_proba`` and ``classes_``.

    The classes are space groups, see ``_space_groups_of_classes``. The level of a row is always that of its
    most probable space group. Thus `predict_level` never contradicts ``predict``, nor another level.
    """

    def _space_groups_of_classes(self):
        """Return the space-group number of each class; raise ValueError if the classes have none."""
        try:
            return check_space_group(self.classes_)
        except ValueError as error:
            raise ValueError(f"levels of symmetry need space-group numbers as labels: {error}") from None

    def predict_level_proba(self, X, level):
        """Return the probability of each class of a level: the sum over the space groups of the class.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        level : str
            One of `xtalsk.symmetry.LEVELS`.

        Returns
        -------
        ndarray of shape (n_samples, n_labels)
            In the order of ``level_classes_[level]``: the sorted labels of the level. NaN for rows without
            answer, as in `predict_proba`.

        Raises
        ------
        ValueError
            If the level is unknown or the classes are not space groups.
        """
        check_is_fitted(self)
        check_option("level", level, LEVELS)
        labels, index = np.unique(to_level(self._space_groups_of_classes(), level), return_inverse=True)
        return sum_to_level(self.predict_proba(X), index, len(labels))

    def predict_level(self, X, level):
        """Return the level of symmetry of the most probable space group, which `predict` returns.

        The class with the highest probability in `predict_level_proba` can be another one: several less
        probable space groups of one class can have a larger sum.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        level : str
            One of `xtalsk.symmetry.LEVELS`.

        Returns
        -------
        ndarray of shape (n_samples,)
            Rows without answer get None, or 0 for the levels that are numbers.

        Raises
        ------
        ValueError
            If the level is unknown or the classes are not space groups.
        """
        check_is_fitted(self)
        check_option("level", level, LEVELS)
        labels = to_level(self._space_groups_of_classes(), level)
        return most_probable(self.predict_proba(X), labels)
