"""Scorers at every level of symmetry for cross-validation."""

from xtalsk.metrics._scores import level_scores
from xtalsk.utils import check_option


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
