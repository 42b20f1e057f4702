"""A classifier and search-match, averaged with the probability that search-match is right."""

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, clone
from sklearn.utils.validation import check_is_fitted, validate_data

from xtalsk._levels import LevelsMixin, levels_of
from xtalsk.library._constants import DOUBT
from xtalsk.library._match import LibraryMatch
from xtalsk.utils import (
    ALL_MISSING,
    check_empty_rows,
    check_number,
    check_option,
    groups_params,
    is_empty_row,
    most_probable,
    of_all_classes,
    select_rows,
)


class LibraryBlend(LevelsMixin, MetaEstimatorMixin, ClassifierMixin, BaseEstimator):
    """Weighted mean of a classifier and search-match.

    The probabilities are the weighted mean of both. The weight of the library is ``max_weight`` times a
    probability p. If no entry is likely, the classifier decides.

    - With ``weighting="probability"``, p is the probability that one of the labels of the library is right,
      the sum of `LibraryMatch.label_probabilities`. The classifier decides the rest: that the library has
      neither the phase nor its structure. p depends on the similarity, on other structures that are as
      similar, and on the chemistry. For rings, wrong entries are as similar as right ones.
    - With ``weighting="similarity"``, and where that probability is not known, p rises with the similarity s
      of the best entry alone: ``1 / (1 + exp((midpoint - s) / width))``. For measured powder patterns, an
      entry that is very similar is nearly always the right structure.

    With ``agreement``, and in rows with a profile, the probability of each label in the library is then
    multiplied by that of the classifier, plus 0.001, to this power, and all are scaled to 1. So the library
    has less weight where the classifier doubts its labels: a compound that is not in the library may resemble
    an entry by chance, but seldom one that the classifier names as well. Labels that the classifier does not
    know keep their probability.

    The default midpoint of 0.65 was chosen on 301 measured minerals: powder profiles of 1024 bins from 0.1
    to 0.9 1/Å, see "B. Measured patterns" in ``benchmarks/README.md``, where some thirty ways and strengths
    of blending were compared on these patterns. For ``width`` and ``max_weight`` no more is recorded.

    Parameters
    ----------
    classifier : estimator with ``predict_proba``
        Such as `xtalsk.neural.FusionClassifier`. A fitted classifier in a `sklearn.frozen.FrozenEstimator`
        is not fitted again.
    library : LibraryMatch or None, default=None
        None uses `LibraryMatch` with its default parameters. A fitted library in a `FrozenEstimator` is not
        fitted again.
    weighting : {"auto", "probability", "similarity"}, default="auto"
        What the weight of the library depends on. "auto" takes the probability for rows with a composition,
        and for rings that are compared at several line widths; and the similarity for all else.
    midpoint : float, default=0.65
        Similarity at which the weight of the library is half of ``max_weight``.
    width : float, default=0.05
        Range of similarity over which the weight rises.
    max_weight : float, default=0.9
        Largest weight of the library.
    agreement : float, default=0.0
        Power of the probability of the classifier that multiplies that of the library, 0 to 1. The packaged
        powder model has 0.25, see "Hard pairs" in ``benchmarks/README.md``. A classifier that is never sure
        takes weight from the library in this way, too.
    weight_without_profile : float, default=0.5
        Weight of the library for rows in which only chemistry was measured.
    all_missing : {"raise", "missing"}, default="raise"
        What `predict_proba` and `predict` do with a row in which all features are NaN. ``"raise"``: they
        raise ValueError. ``"missing"``: they warn with `xtalsk.utils.NotMeasuredWarning`, and the row gets no
        answer, so that one unreadable file does not stop a batch: NaN as probabilities; 0 as label if labels
        are integers (the number below the smallest label if 0 is a label), None if not. It can be set after
        `fit`.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Labels of the classifier and of the library.
    level_classes_ : dict of {str: ndarray}
        If the labels are space-group numbers, the labels of each level of symmetry among them.
    classifier_ : estimator
        The fitted classifier.
    library_ : LibraryMatch
        The fitted library.
    n_features_in_ : int
    feature_names_in_ : ndarray of str, shape (n_features_in_,)
        Only if the training data had names.

    See Also
    --------
    LibraryMatch : Search-match alone; says which blocks of features it uses.

    Notes
    -----
    `fit` uses the training rows as the library. For another library, such as one from `make_library`, fit the
    classifier and the library first and put both in a `FrozenEstimator`.

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

    # classifiers that were saved before these parameters existed
    weighting, weight_without_profile, agreement = "similarity", 0.0, 0.0

    def __init__(
        self,
        classifier,
        library=None,
        *,
        weighting="auto",
        midpoint=0.65,
        width=0.05,
        max_weight=0.9,
        agreement=0.0,
        weight_without_profile=0.5,
        all_missing="raise",
    ):
        self.classifier = classifier
        self.library = library
        self.weighting = weighting
        self.midpoint = midpoint
        self.width = width
        self.max_weight = max_weight
        self.agreement = agreement
        self.weight_without_profile = weight_without_profile
        self.all_missing = all_missing

    def fit(self, X, y, groups=None):
        """Fit the classifier, and store the rows as the library.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
        groups : array-like of shape (n_samples,) or None
            Passed to the classifier if its ``fit`` has a parameter ``groups``.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If a parameter is out of range, or if the classifier or the library raises.
        """
        check_number(self.midpoint, "midpoint")
        check_number(self.width, "width", min_val=0, include_boundaries="neither")
        for name in ("max_weight", "agreement", "weight_without_profile"):
            check_number(getattr(self, name), name, min_val=0, max_val=1)
        check_option("weighting", self.weighting, ("auto", "probability", "similarity"))
        check_option("all_missing", self.all_missing, ALL_MISSING)
        validate_data(self, X, y, skip_check_array=True)
        self.classifier_ = clone(self.classifier).fit(X, y, **groups_params(self.classifier, groups))
        self.library_ = clone(LibraryMatch() if self.library is None else self.library).fit(X, y)
        self.classes_ = np.union1d(self.classifier_.classes_, self.library_.classes_)
        self.level_classes_ = levels_of(self.classes_)
        return self

    def weight(self, X):
        """Return the weight of the library in the probabilities of each row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,)
            `weight_without_profile` for rows without a profile, 0 where the library has no answer.
        """
        return self._proba_and_weight(X, "missing")[1]

    def predict_proba(self, X):
        """Return the probability of each class.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            In the order of ``classes_``. Rows without answer are NaN.

        Raises
        ------
        ValueError
            If the columns are not those of training, if the classifier raises, or if nothing was measured in
            a row and ``all_missing="raise"``; the message names the rows.
        """
        return self._proba_and_weight(X, self.all_missing)[0]

    def _proba_and_weight(self, X, all_missing):
        """Return the probabilities of each row, and the weight of the library in them."""
        check_is_fitted(self)
        empty = is_empty_row(X)
        if not empty.any():
            return self._blend(X)
        validate_data(self, X, reset=False, skip_check_array=True)
        check_empty_rows(empty, self.library_.blocks_, all_missing)
        proba, weight = np.full((len(empty), len(self.classes_)), np.nan), np.zeros(len(empty))
        if not empty.all():
            proba[~empty], weight[~empty] = self._blend(select_rows(X, np.flatnonzero(~empty)))
        return proba, weight

    def _blend(self, X):
        """Return the weighted mean of the probabilities of both, and the weight of the library.

        If one of them has no answer for a row, the other one decides alone.
        """
        from_classifier = self.classifier_.predict_proba(X)
        rows = self.library_._check_rows(X, None)
        from_library, similarity, by_label = self.library_._search(rows)
        has_chemistry = self.library_._has_chemistry(rows)
        weight = self._library_weight(similarity, by_label.sum(axis=1), has_chemistry)
        fits = ~np.isnan(from_library).any(axis=1)
        has_profile = self.library_._has_profile(rows)
        weight[~has_profile & fits] = self.weight_without_profile
        answered = ~np.isnan(from_classifier).any(axis=1)
        weight[~answered] = 1
        parts = (from_classifier, self.classifier_.classes_), (from_library, self.library_.classes_)
        own, found = (np.nan_to_num(of_all_classes(*part, self.classes_)) for part in parts)
        if self.agreement:
            known = np.isin(self.classes_, self.classifier_.classes_)
            compared = np.ix_(answered & has_profile, known)
            found[compared] *= (own[compared] + DOUBT) ** self.agreement
        found *= weight[:, None]
        proba = found + (1 - weight[:, None]) * own
        proba[~answered & ~fits] = np.nan
        total = proba.sum(axis=1)
        return proba / total[:, None], found.sum(axis=1) / np.where(fits, total, 1)

    def _library_weight(self, similarity, probability, has_chemistry):
        """Return the weight of the library for each similarity and probability; 0 if both are NaN."""
        similarity = similarity.astype(float)
        with np.errstate(over="ignore"):
            share = 1 / (1 + np.exp((self.midpoint - similarity) / self.width))
        share = np.where(np.isnan(similarity), 0, share)
        by_probability = self.weighting == "probability"
        if self.weighting == "auto":
            by_probability = has_chemistry | bool(self.library_._grids)
        return self.max_weight * np.where(by_probability & ~np.isnan(probability), probability, share)

    def predict(self, X):
        """Return the most probable class.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,)
            Rows without answer have a missing label, see ``all_missing``.
        """
        return most_probable(self.predict_proba(X), self.classes_)

    def _space_groups_of_classes(self):
        """Return the space-group number of each class, also if the classifier uses codes."""
        numbers = getattr(self.classifier_, "space_groups_", None)
        if numbers is None or np.array_equal(numbers, self.classifier_.classes_):
            return super()._space_groups_of_classes()
        number_of = dict(zip(self.classifier_.classes_.tolist(), numbers.tolist(), strict=True))
        unknown = [label for label in self.classes_.tolist() if label not in number_of]
        if unknown:
            raise ValueError(f"the labels {unknown} of the library are not among those of the classifier")
        return np.array([number_of[label] for label in self.classes_.tolist()])

    def candidates(self, X, n=5):
        """Return the best entries of the library for each row, see `LibraryMatch.candidates`."""
        check_is_fitted(self)
        return self.library_.candidates(X, n)

    def match_probability(self, X):
        """Return the probability that the best entry is right, see `LibraryMatch.match_probability`."""
        check_is_fitted(self)
        return self.library_.match_probability(X)

    def no_match_probability(self, X):
        """Return the probability that the phase is not in the library; see `LibraryMatch`."""
        check_is_fitted(self)
        return self.library_.no_match_probability(X)

    def nothing_fits(self, X, threshold=0.5):
        """Return whether no entry of the library is likely, see `LibraryMatch.nothing_fits`."""
        check_is_fitted(self)
        return self.library_.nothing_fits(X, threshold)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags
