"""Predictions of coarser levels of symmetry, from the probabilities of space groups."""

from sklearn.utils.validation import check_is_fitted

from xtalsk.neural._loss import level_index, sum_to_level
from xtalsk.symmetry import LEVELS
from xtalsk.utils import check_option


class LevelsMixin:
    """Predict levels of symmetry with a classifier that has ``predict_proba`` and ``level_classes_``."""

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
            In the order of ``level_classes_[level]``.

        Raises
        ------
        ValueError
            If the level is unknown or the classifier was trained without a hierarchy.
        """
        check_is_fitted(self)
        if not self.level_classes_:
            raise ValueError("levels need hierarchy='space_group'; this classifier was trained without it")
        check_option("level", level, LEVELS)
        labels, index = level_index(self.classes_, level)
        return sum_to_level(self.predict_proba(X), index, len(labels))

    def predict_level(self, X, level):
        """Return the most probable class of a level of symmetry.

        It can differ from the class of the most probable space group: several less probable space groups of
        another class can have a larger sum.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        level : str
            One of `xtalsk.symmetry.LEVELS`.

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        proba = self.predict_level_proba(X, level)
        return self.level_classes_[level][proba.argmax(axis=1)]
