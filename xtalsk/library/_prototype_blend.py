"""A classifier and prototypes, averaged with the probability that a prototype is right."""

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, clone
from sklearn.utils.validation import check_is_fitted, validate_data

from xtalsk._levels import LevelsMixin, levels_of
from xtalsk.library._prototype_match import PrototypeMatch
from xtalsk.library._prototype_votes import blend_votes, vote_weights
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


class PrototypeBlend(LevelsMixin, MetaEstimatorMixin, ClassifierMixin, BaseEstimator):
    """Weighted mean of a classifier and `PrototypeMatch`.

    The candidates of `PrototypeMatch` share the probability that one of them is right, see
    `PrototypeMatch.match_probability`. The classifier decides the rest: that no prototype fits. Rows without
    profile, composition or candidate get the answer of the classifier alone.

    Together with a library, put this into `LibraryBlend` as its classifier. The library then decides where it
    holds the phase, the prototypes where they fit, and the classifier elsewhere.

    Parameters
    ----------
    classifier : estimator with ``predict_proba``
        Such as `xtalsk.neural.FusionClassifier`; labels are space-group numbers. A fitted classifier in a
        `sklearn.frozen.FrozenEstimator` is not fitted again.
    prototypes : PrototypeMatch or None, default=None
        None uses `PrototypeMatch` with its default parameters.
    sure : float, default=1.0
        Rows to which the classifier gives a larger probability are not compared with prototypes. It saves
        time; 1 compares all.
    all_missing : {"raise", "missing"}, default="raise"
        What `predict_proba` and `predict` do with a row in which nothing was measured, see `LibraryBlend`.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Labels of the classifier and of the prototypes.
    level_classes_ : dict of {str: ndarray}
        The labels of each level of symmetry among the classes.
    classifier_ : estimator
        The fitted classifier.
    prototypes_ : PrototypeMatch
        The fitted prototypes.
    n_features_in_ : int
    feature_names_in_ : ndarray of str, shape (n_features_in_,)
        Only if the training data had names.

    See Also
    --------
    PrototypeMatch : The prototypes alone; says which blocks of features it reads.
    LibraryBlend : The same for search-match.

    Examples
    --------
    >>> from pymatgen.core import Lattice, Structure
    >>> from sklearn.dummy import DummyClassifier
    >>> from xtalsk import CrystalSet, ElementFractions, PowderProfile, make_features, make_specimens
    >>> from xtalsk.library import PrototypeBlend, PrototypeMatch
    >>> def cubic(group, a, x, y):
    ...     return Structure.from_spacegroup(group, Lattice.cubic(a), [x, y], [[0, 0, 0], [0.5, 0.5, 0.5]])
    >>> known = CrystalSet.from_pymatgen([cubic("Fm-3m", 5.64, "Na", "Cl"), cubic("Pm-3m", 4.12, "Cs", "Cl")])
    >>> new = CrystalSet.from_pymatgen([cubic("Fm-3m", 6.6, "K", "Br"), cubic("Pm-3m", 4.29, "Cs", "Br")])
    >>> specimens, y, _ = make_specimens(new, ("powder", "formula"), conditions="ideal", random_state=0)
    >>> features = make_features(
    ...     diffraction=("powder", PowderProfile()), chemistry=("formula", ElementFractions())
    ... )
    >>> X = features.fit_transform(specimens)
    >>> blend = PrototypeBlend(DummyClassifier(), PrototypeMatch(known, max_scale_error=0.1)).fit(X, y)
    >>> blend.predict(X)
    array([225, 221])
    """

    sure = 1.0  # of classifiers that were saved before this parameter existed

    def __init__(self, classifier, prototypes=None, *, sure=1.0, all_missing="raise"):
        self.classifier = classifier
        self.prototypes = prototypes
        self.sure = sure
        self.all_missing = all_missing

    def fit(self, X, y, groups=None):
        """Fit the classifier, and arrange the prototypes.

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
            If a parameter is out of range, or if the classifier or the prototypes raise.
        """
        check_option("all_missing", self.all_missing, ALL_MISSING)
        check_number(self.sure, "sure", min_val=0, max_val=1)
        validate_data(self, X, y, skip_check_array=True)
        self.classifier_ = clone(self.classifier).fit(X, y, **groups_params(self.classifier, groups))
        prototypes = PrototypeMatch() if self.prototypes is None else self.prototypes
        self.prototypes_ = clone(prototypes).fit(X, y)
        self.classes_ = np.union1d(self.classifier_.classes_, self.prototypes_.classes_)
        self.level_classes_ = levels_of(self.classes_)
        return self

    def predict_proba(self, X):
        """Return the probability of each class.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            In the order of ``classes_``. Rows in which nothing was measured are NaN.

        Raises
        ------
        ValueError
            If the columns are not those of training, if the classifier raises, or if nothing was measured in
            a row and ``all_missing="raise"``; the message names the rows.
        """
        check_is_fitted(self)
        empty = is_empty_row(X)
        if not empty.any():
            return self._blend(X)
        validate_data(self, X, reset=False, skip_check_array=True)
        check_empty_rows(empty, [block.name for block in self.prototypes_._blocks], self.all_missing)
        out = np.full((len(empty), len(self.classes_)), np.nan)
        if not empty.all():
            out[~empty] = self._blend(select_rows(X, np.flatnonzero(~empty)))
        return out

    def _blend(self, X):
        """Return the probabilities of measured rows."""
        own, match = self.classifier_.predict_proba(X), self.prototypes_
        known = np.isin(self.classes_, self.classifier_.classes_)
        proba = of_all_classes(own, self.classifier_.classes_, self.classes_)
        unanswered = np.isnan(own).any(axis=1)
        checked = match._check_rows(X, "missing")
        is_open = unanswered | (match._can_search(checked) & ~(own.max(axis=1) > self.sure))
        rows = np.flatnonzero(is_open & match._compares)
        if not len(rows):
            return proba
        groups = match.prototypes_.space_groups
        prior = np.array([np.mean(groups == number) for number in self.classes_])
        weights = np.where(known & ~np.isnan(proba), vote_weights(proba, prior), 1)
        proba[unanswered] = prior / prior.sum() if prior.any() else np.nan
        matches = match._search(checked[rows])
        proba[rows] = blend_votes(proba[rows], self.classes_, matches, groups, match.modality_, weights[rows])
        return proba

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

    def candidates(self, X, n=5):
        """Return the best candidates of each row, see `PrototypeMatch.candidates`."""
        check_is_fitted(self)
        return self.prototypes_.candidates(X, n)

    def structures(self, X, n=1):
        """Return the best candidates of each row as crystals, see `PrototypeMatch.structures`."""
        check_is_fitted(self)
        return self.prototypes_.structures(X, n)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags
