"""A classifier that learns and a library that remembers, each believed where it is better."""

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, clone
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import check_is_fitted, has_fit_parameter, validate_data

from xtalsk.library._match import LibraryMatch
from xtalsk.utils import check_number, check_option


class LibraryBlend(MetaEstimatorMixin, ClassifierMixin, BaseEstimator):
    """Search-match where something in the library fits, and a classifier where nothing does.

    The probabilities are a mean of both. The library's share rises with the similarity s of its best entry
    from nothing to ``max_weight``, as ``max_weight / (1 + exp((midpoint - s) / width))``: what resembles an
    entry closely is hardly ever another structure, while the nearest of entries that do not fit says little.

    Parameters
    ----------
    classifier : estimator with ``predict_proba``
        Such as `xtalsk.neural.FusionClassifier`. A fitted one is kept as it is when it comes in a
        `sklearn.frozen.FrozenEstimator`, and so is a fitted library.
    library : LibraryMatch or None, default=None
        None takes one with default parameters.
    midpoint, width : float, default=0.65 and 0.05
        The similarity at which the library gets half of ``max_weight``, and how steeply its share rises.
    max_weight : float, default=0.9
        Largest share of the library.
    all_missing : {"raise", "prior"}, default="raise"
        Whether a row of nothing but NaN is left to the classifier, which may raise as `FusionClassifier`
        does, or gets ``class_prior_``, so that a batch in which one file is broken comes to its end.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Labels of either.
    class_prior_ : ndarray of shape (n_classes,)
        Share of each class among the labels of `fit`.
    classifier_ : estimator
    library_ : LibraryMatch
    n_features_in_ : int
    feature_names_in_ : ndarray of str, shape (n_features_in_,)
        Only if the training data had names.

    See Also
    --------
    LibraryMatch : Search-match alone, and which blocks of features it uses.

    Notes
    -----
    `fit` takes the training rows as the library. For a library of its own, such as `make_library` makes, fit
    both parts beforehand and freeze them.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from sklearn.ensemble import RandomForestClassifier
    >>> from xtalsk.library import LibraryBlend
    >>> lines = np.random.default_rng(0).uniform(10, 118, size=(6, 8, 1))
    >>> patterns = np.exp(-((np.arange(128) - lines) ** 2) / 4).sum(axis=1)
    >>> X = pd.DataFrame(patterns, columns=[f"powder__q_{i:04}" for i in range(128)])
    >>> blend = LibraryBlend(RandomForestClassifier(random_state=0)).fit(X, [2, 2, 14, 14, 62, 62])
    >>> blend.predict(X[2:3] + 0.05), blend.weight(X[2:3] + 0.05).round(1)
    (array([14]), array([0.9]))
    """

    def __init__(
        self, classifier, library=None, *, midpoint=0.65, width=0.05, max_weight=0.9, all_missing="raise"
    ):
        self.classifier = classifier
        self.library = library
        self.midpoint = midpoint
        self.width = width
        self.max_weight = max_weight
        self.all_missing = all_missing

    def fit(self, X, y, groups=None):
        """Fit the classifier, and take the rows as the library.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
        groups : array-like of shape (n_samples,) or None
            Passed to a classifier that asks for them.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If a parameter is out of range, or as either part raises.
        """
        check_number(self.midpoint, "midpoint")
        check_number(self.width, "width", min_val=0, include_boundaries="neither")
        check_number(self.max_weight, "max_weight", min_val=0, max_val=1)
        check_option("all_missing", self.all_missing, ("raise", "prior"))
        validate_data(self, X, y, skip_check_array=True)
        self.classifier_ = clone(self.classifier)
        params = (
            {"groups": groups} if groups is not None and has_fit_parameter(self.classifier_, "groups") else {}
        )
        self.classifier_.fit(X, y, **params)
        self.library_ = clone(LibraryMatch() if self.library is None else self.library).fit(X, y)
        self.classes_ = np.union1d(self.classifier_.classes_, self.library_.classes_)
        self.class_prior_ = (self.classes_ == np.asarray(y)[:, None]).mean(axis=0)
        return self

    def weight(self, X):
        """Share of the library in the answer for each row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,)
            0 for rows without a profile.
        """
        return self._answers(X)[1]

    def predict_proba(self, X):
        """Probability of each class.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            In the order of ``classes_``.

        Raises
        ------
        ValueError
            As the classifier raises, and if the columns are not those of training.
        """
        return self._answers(X)[0]

    def _answers(self, X):
        """Probabilities of each row, and the share of the library in them."""
        check_is_fitted(self)
        if self.all_missing == "raise":
            return self._blend(X)
        validate_data(self, X, reset=False, skip_check_array=True)
        there = np.flatnonzero(~pd.isna(np.asarray(X)).all(axis=1))
        proba, weight = np.tile(self.class_prior_, (len(X), 1)), np.zeros(len(X))
        if len(there):
            proba[there], weight[there] = self._blend(_safe_indexing(X, there))
        return proba, weight

    def _blend(self, X):
        learnt = self.classifier_.predict_proba(X)
        known, similarity = np.zeros((len(learnt), len(self.library_.classes_))), np.zeros(len(learnt))
        library = getattr(self.library_, "estimator", self.library_)  # a frozen one holds it
        rows = library.usable(X)
        if len(rows):
            some = X if len(rows) == len(learnt) else _safe_indexing(X, rows)
            known[rows], similarity[rows] = library._answer(some)
        with np.errstate(over="ignore"):
            share = 1 / (1 + np.exp((self.midpoint - similarity) / self.width))
        weight = np.zeros(len(learnt))
        weight[rows] = self.max_weight * np.where(np.isnan(similarity), 0, share)[rows]
        proba = np.zeros((len(weight), len(self.classes_)))
        proba[:, np.searchsorted(self.classes_, self.library_.classes_)] = weight[:, None] * known
        proba[:, np.searchsorted(self.classes_, self.classifier_.classes_)] += (1 - weight[:, None]) * learnt
        return proba, weight

    def predict(self, X):
        """Most probable class.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        proba = self.predict_proba(X)
        return self.classes_[proba.argmax(axis=1)]

    def candidates(self, X, n=5):
        """Entries of the library that fit best, see `LibraryMatch.candidates`."""
        check_is_fitted(self)
        return self.library_.candidates(X, n)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags
