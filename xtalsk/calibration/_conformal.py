"""Sets of labels that hold the right one with a given probability."""

import warnings

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, clone
from sklearn.utils import column_or_1d, get_tags, indexable
from sklearn.utils.validation import check_is_fitted, validate_data

from xtalsk._levels import space_groups_of, sum_to_level
from xtalsk.calibration._specimens import answers, check_answered, split_pipeline, warn_unknown
from xtalsk.symmetry import LEVELS, crystal_system, to_level
from xtalsk.utils import check_classes, check_number, check_option


class ConformalSets(MetaEstimatorMixin, BaseEstimator):
    """Sets of labels that hold the right label with a given probability, by conformal prediction.

    A new specimen is compared with those of the calibration set. If both come from the same source, the set
    holds the right label with a probability of at least ``confidence``, whatever the classifier is worth
    [1]_. A bad classifier makes large sets. MAPIE does the arithmetic (install ``xtalsk[trust]``).

    The coverage holds separately for specimens with the same modalities, such as powder patterns with and
    without a formula, and, with ``balanced``, for each crystal system [2]_. Without it, sets rarely hold the
    right label of a rare or difficult system, such as triclinic.

    Parameters
    ----------
    estimator : fitted classifier, or Pipeline that ends with one, in a FrozenEstimator
        Any other estimator is fitted first, with the specimens of `fit`; the coverage in use is then too low.
        Give a fitted one, and specimens that were not used in its training.
    level : str or None, default=None
        One of `xtalsk.symmetry.LEVELS`: the sets are of labels of this level, and the labels of the
        calibration are space-group numbers. None: they are of the labels of the estimator.
    confidence : float, default=0.9
        Probability that the set holds the right label, between 0 and 1.
    method : {"lac", "aps", "top_k"}, default="lac"
        Conformity score of MAPIE. ``"lac"`` makes the smallest sets on average; ``"aps"`` makes sets whose
        size differs more between easy and difficult specimens.
    balanced : bool, default=True
        Whether the coverage holds for each crystal system (for each label, if they are not space groups).
    modalities : dict of {str: str} or None, default=None
        Modality of each block of features, as in `SymmetryCalibration`.
    random_state : int, RandomState or None, default=None
        Seed; used by ``"aps"`` only.

    Attributes
    ----------
    estimator_ : estimator
    labels_ : ndarray of shape (n_labels,)
        Labels, in the order of the columns of `predict_set`.
    n_specimens_ : dict of {str: dict of {label: int}}
        Number of specimens of the calibration in each group of modalities and each system.
    n_features_in_ : int
    feature_names_in_ : ndarray of str, shape (n_features_in_,)
        Only if X had names.

    See Also
    --------
    SymmetryCalibration : Calibrated probabilities, which make smaller sets.

    Notes
    -----
    A group needs more than ``1 / (1 - confidence)`` specimens: 11 for a confidence of 0.9. If it has less, or
    if a row has modalities that the calibration set did not have together, nothing is known: the set holds
    all labels of the system. So does the set of a row without answer.

    If the specimens of a group have at most two labels, MAPIE takes ``"lac"`` only: it is then used.

    References
    ----------
    .. [1] A. N. Angelopoulos and S. Bates, Conformal prediction: a gentle introduction, Foundations and
       Trends in Machine Learning 16, 494 (2023).
    .. [2] V. Vovk, Conditional validity of inductive conformal predictors, ACML (2012).

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.frozen import FrozenEstimator
    >>> from sklearn.naive_bayes import GaussianNB
    >>> from xtalsk.calibration import ConformalSets
    >>> rng = np.random.default_rng(0)
    >>> y = rng.choice([14, 62, 225], 900)
    >>> X = np.searchsorted([14, 62, 225], y)[:, None] + rng.normal(size=(900, 3))
    >>> model = GaussianNB().fit(X[:300], y[:300])
    >>> sets = ConformalSets(FrozenEstimator(model)).fit(X[300:600], y[300:600])
    >>> sets.predict_set(X[600:602])
    array([[False,  True,  True],
           [False, False,  True]])
    >>> bool(0.88 < sets.coverage(X[600:], y[600:]) < 0.94)
    True
    """

    def __init__(
        self,
        estimator,
        *,
        level=None,
        confidence=0.9,
        method="lac",
        balanced=True,
        modalities=None,
        random_state=None,
    ):
        self.estimator = estimator
        self.level = level
        self.confidence = confidence
        self.method = method
        self.balanced = balanced
        self.modalities = modalities
        self.random_state = random_state

    def fit(self, X, y):
        """Compare the specimens of the calibration set with their labels.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
            What the estimator reads: specimens for a Pipeline, otherwise features.
        y : array-like of shape (n_samples,)
            Labels of the estimator, such as space-group numbers.

        Returns
        -------
        self

        Raises
        ------
        ImportError
            If MAPIE is not installed.
        ValueError
            If a parameter is invalid, if the classifier cannot give a label of y, or if no specimen has an
            answer.

        Warns
        -----
        UserWarning
            If some specimens have no answer. They are left out.
        """
        self._check_params()
        _conformal_classifier()  # fails now, not in predict_set
        validate_data(self, X, y, skip_check_array=True)
        X, y = indexable(X, column_or_1d(y, warn=True))
        check_classes(y)
        self.estimator_ = clone(self.estimator).fit(X, y)
        self._set_labels()
        proba, groups = answers(self.estimator_, X, self.modalities)
        rows = check_answered(proba, y, self._classes)
        proba, groups = self._of_labels(proba[rows]), groups[rows]
        label = self._member[np.searchsorted(self._classes, y[rows])]
        self._calibration = {"proba": proba, "label": label, "group": groups.astype(str)}
        self.n_specimens_ = {
            group: {part: int(self._members(group, part).sum()) for part in np.unique(self._system).tolist()}
            for group in np.unique(groups).tolist()
        }
        return self

    def _check_params(self):
        """Raise if a parameter is invalid."""
        check_number(self.confidence, "confidence", min_val=0, max_val=1, include_boundaries="neither")
        check_option("method", self.method, ("lac", "aps", "top_k"))
        check_option("balanced", self.balanced, (True, False))
        check_option("level", self.level, (*LEVELS, None))

    def _set_labels(self):
        """Find the labels of the level, and the system of each."""
        self._classes = np.asarray(self.estimator_.classes_)
        numbers = space_groups_of(split_pipeline(self.estimator_)[1])
        if self.level is not None and numbers is None:
            raise ValueError(
                f"level={self.level!r} needs space-group numbers as labels, got {self._classes[:3].tolist()}"
            )
        of_class = self._classes if self.level is None else to_level(numbers, self.level)
        self.labels_, first, self._member = np.unique(of_class, return_index=True, return_inverse=True)
        self._system = self.labels_ if numbers is None else crystal_system(numbers[first])
        if not self.balanced:
            self._system = np.full(len(self.labels_), "all")

    def _of_labels(self, proba):
        """Return the probabilities of the labels of the level; the rows add up to 1."""
        proba = sum_to_level(proba, self._member, len(self.labels_))
        return proba / proba.sum(axis=1, keepdims=True)

    def _members(self, group, system):
        """Return which specimens of the calibration have these modalities and a label of this system."""
        return (self._calibration["group"] == group) & (self._system[self._calibration["label"]] == system)

    def _group_sets(self, proba, group, system):
        """Return the sets of rows by the specimens of one group and system, None if there are too few."""
        chosen = self._members(group, system)
        if chosen.sum() <= 1 / min(self.confidence, 1 - self.confidence):  # what MAPIE accepts
            return None
        known, label = self._calibration["proba"][chosen], self._calibration["label"][chosen]
        model = _conformal_classifier()(
            _Given().fit(known, np.arange(len(self.labels_))),
            confidence_level=self.confidence,
            conformity_score=self.method if len(np.unique(label)) > 2 else "lac",  # MAPIE takes no other
            random_state=self.random_state,
        )
        with warnings.catch_warnings():
            few = ".*conformalization dataset has less labels|The number of unique classes"
            warnings.filterwarnings("ignore", few, UserWarning)
            return model.conformalize(known, label).predict_set(proba)[1][:, :, 0]

    def predict_set(self, X):
        """Return which labels are in the set of each row.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of bool, shape (n_samples, n_labels)
            In the order of ``labels_``. No set is empty: it holds at least the most probable label. The sets
            of rows without answer hold all labels.

        Raises
        ------
        ValueError
            If the estimator raises.

        Warns
        -----
        UserWarning
            If a row has modalities that the calibration set did not have together; the message names the
            rows. Their sets hold all labels.
        """
        check_is_fitted(self)
        proba, groups = answers(self.estimator_, X, self.modalities)
        answered = np.isfinite(proba).all(axis=1)
        known = sorted(self.n_specimens_)
        warn_unknown(groups, known, proba, "the sets of these rows hold all labels")
        out = np.ones((len(proba), len(self.labels_)), dtype=bool)
        for group in set(known) & set(groups[answered]):
            rows = np.flatnonzero((groups == group) & answered)
            of_labels = self._of_labels(proba[rows])
            for part in self.n_specimens_[group]:
                sets = self._group_sets(of_labels, group, part)
                if sets is not None:
                    columns = np.flatnonzero(self._system == part)
                    out[np.ix_(rows, columns)] = sets[:, columns]
        rows = np.flatnonzero(answered)
        out[rows, self._of_labels(proba[rows]).argmax(axis=1)] = True
        return out

    def coverage(self, X, y):
        """Return the share of specimens whose set holds their label.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
            Labels as in `fit`. A label that the classifier cannot give is in no set.

        Returns
        -------
        float
            Between 0 and 1.
        """
        sets, y = self.predict_set(X), np.asarray(y)
        position = np.searchsorted(self._classes, y).clip(max=len(self._classes) - 1)
        inside = sets[np.arange(len(y)), self._member[position]]
        return float(np.mean(inside & (self._classes[position] == y)))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags = get_tags(self.estimator).input_tags
        tags.target_tags.required = True
        return tags


def _conformal_classifier():
    """Return the class of MAPIE that makes sets."""
    try:
        from mapie.classification import SplitConformalClassifier
    except ImportError as error:
        raise ImportError("ConformalSets needs MAPIE: pip install 'xtalsk[trust]'") from error
    return SplitConformalClassifier


class _Given(ClassifierMixin, BaseEstimator):
    """A classifier of probabilities: its answer is its input."""

    def fit(self, X, y):
        self.classes_, self.n_features_in_ = np.unique(y), X.shape[1]
        return self

    def predict_proba(self, X):
        return X

    def predict(self, X):
        return self.classes_[X.argmax(axis=1)]
