"""Temperatures of the levels of symmetry, fitted after training."""

import warnings
from numbers import Integral

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, clone
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import StratifiedGroupKFold, check_cv
from sklearn.pipeline import Pipeline
from sklearn.utils import column_or_1d, get_tags, indexable
from sklearn.utils.validation import check_is_fitted, validate_data

from xtalsk._levels import LevelsMixin, levels_of, space_groups_of
from xtalsk._passed_on import OF_SEARCH_MATCH, PARTS
from xtalsk.calibration._chain import Chain
from xtalsk.calibration._constants import ALL, CHAIN, MIN_SPECIMENS
from xtalsk.calibration._specimens import (
    answers,
    block_modalities,
    check_answered,
    split_pipeline,
    warn_unknown,
)
from xtalsk.symmetry import LEVELS
from xtalsk.utils import (
    check_classes,
    check_number,
    check_option,
    groups_params,
    most_probable,
    name_rows,
    of_all_classes,
    select_rows,
)

_OF_LISTS = {"known_compounds", "listed_probability"}
_DELEGATED = OF_SEARCH_MATCH | _OF_LISTS | PARTS


class SymmetryCalibration(LevelsMixin, MetaEstimatorMixin, ClassifierMixin, BaseEstimator):
    """Calibrate the probabilities of a classifier at every level of symmetry.

    The probability of a space group is a product: that of its crystal system, of its point group within the
    system, and of itself within the point group. Each factor gets a temperature T [1]_: it is raised to the
    power 1/T. A temperature above 1 makes the classifier less sure. The probabilities of a coarser level
    remain the sums over the finer ones. One temperature for all levels is not enough: a classifier can know
    how sure it is of the crystal system, and be far too sure of the space group.

    The temperature depends on the confidence c, the probability of the most probable class:
    ``ln T = (1 - c) ln T0 + c ln T1``. A model with a library can be too sure of a new compound, and not
    sure enough of one that it knows.

    Specimens with the same modalities form a group with temperatures of its own, since a classifier that is
    right about powder patterns can be too sure of formulas. Groups of fewer than 30 specimens take the
    temperatures of all.

    Calibrate with specimens that were not used in training, and that resemble those in use: the
    temperatures hold for their mixture of known and new compounds.

    Parameters
    ----------
    estimator : classifier, or Pipeline that ends with one
        A fitted one in a `sklearn.frozen.FrozenEstimator` is not fitted again: all specimens of `fit` are
        for the calibration. Any other is fitted by cross-validation for the calibration, and then with all
        specimens.
    method : {"temperature", None}, default="temperature"
        None fits no temperature; it serves to apply ``prior`` alone.
    levels : sequence of str, default=("crystal_system", "point_group", "space_group")
        Levels that get a temperature, from coarse to fine, each within the one before, and the last
        ``"space_group"``. Not used for classes that are not space groups: they get one temperature.
    by_confidence : bool, default=True
        False: T0 and T1 are equal.
    prior : dict of {label: float} or None, default=None
        Share of each label of the first level where the classifier is used, such as ``{"cubic": 0.5, ...}``.
        The probabilities are multiplied by this share over the share in the calibration set [2]_. None: the
        shares are those of the calibration set.
    modalities : dict of {str: str} or None, default=None
        Modality of each block of features, such as ``{"diffraction": "powder", "fractions": "formula"}``.
        None: as in the ColumnTransformers of a Pipeline, otherwise each block is one modality.
    cv : int, splitter or iterable, default=5
        Cross-validation, for an estimator that is not frozen. A number is that of stratified folds, which
        keep ``groups`` apart if `fit` gets them.

    Attributes
    ----------
    estimator_ : estimator
        The fitted estimator.
    classes_ : ndarray of shape (n_classes,)
    level_classes_ : dict of {str: ndarray}
        If the labels are space-group numbers, the labels of each level of symmetry among them.
    temperatures_ : dict of {str: dict of {str: (float, float)}}
        T0 and T1 of each level, for each group and for ``"all"``. The name of a group lists its
        modalities: ``"powder + formula"``.
    n_specimens_ : dict of {str: int}
        Number of specimens of the calibration in each group, and in all. Groups that are too small for
        temperatures of their own are in this table only.
    n_features_in_ : int
    feature_names_in_ : ndarray of str, shape (n_features_in_,)
        Only if X had names.

    See Also
    --------
    calibrate_pipeline : Calibrates the last step of a fitted pipeline.
    predict_at : The deepest level that is sure enough.
    ConformalSets : Sets of labels with a known coverage.

    Notes
    -----
    ``CalibratedClassifierCV(method="temperature")`` of scikit-learn has one temperature, and takes only
    calibration sets that have all classes.

    Before any specimen, the logarithms of T0 and T1 are 0 with a standard deviation of 1. So temperatures
    remain finite if the classifier is right for all specimens.

    Methods of search-match, such as ``candidates``, are those of ``estimator_``, if it has them.

    References
    ----------
    .. [1] C. Guo et al., On Calibration of Modern Neural Networks, ICML (2017).
    .. [2] M. Saerens, P. Latinne and C. Decaestecker, Neural Computation 14, 21 (2002), equation 2.4.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.frozen import FrozenEstimator
    >>> from sklearn.naive_bayes import GaussianNB
    >>> from xtalsk.calibration import SymmetryCalibration
    >>> rng = np.random.default_rng(0)
    >>> y = rng.choice([14, 62, 225], 400)
    >>> X = np.repeat((y > 14)[:, None] + rng.normal(size=(400, 1)), 10, axis=1)  # ten equal columns
    >>> model = GaussianNB().fit(X[:200], y[:200])
    >>> calibrated = SymmetryCalibration(FrozenEstimator(model)).fit(X[200:], y[200:])
    >>> np.round(calibrated.temperatures_["all"]["crystal_system"])
    array([ 4., 10.])
    >>> [float(m.predict_proba(X).max(axis=1).mean().round(2)) for m in (model, calibrated)]
    [0.78, 0.48]
    """

    def __init__(
        self,
        estimator,
        *,
        method="temperature",
        levels=CHAIN,
        by_confidence=True,
        prior=None,
        modalities=None,
        cv=5,
    ):
        self.estimator = estimator
        self.method = method
        self.levels = levels
        self.by_confidence = by_confidence
        self.prior = prior
        self.modalities = modalities
        self.cv = cv

    def fit(self, X, y, groups=None):
        """Fit the temperatures, and the estimator if it is not frozen.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
            What the estimator reads: specimens for a Pipeline, otherwise features.
        y : array-like of shape (n_samples,)
            Labels. Not every class needs a specimen.
        groups : array-like of shape (n_samples,) or None
            Compounds that the cross-validation keeps apart. Not used with a frozen estimator.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If a parameter is invalid, if the classifier cannot give a label of y, if all specimens have the
            same label, or if no specimen has an answer.

        Warns
        -----
        UserWarning
            If some specimens have no answer, or a label that only their own fold has. They are left out.
        """
        check_option("method", self.method, ("temperature", None))
        check_option("by_confidence", self.by_confidence, (True, False))
        validate_data(self, X, y, skip_check_array=True)
        X, y = indexable(X, column_or_1d(y, warn=True))
        check_classes(y)
        proba, specimens, y = self._held_out_answers(X, y, groups)
        self._numbers = space_groups_of(split_pipeline(self.estimator_)[1])
        self.level_classes_ = levels_of(self.classes_)
        self._check_levels()
        rows = check_answered(proba, y, self.classes_)
        target = np.searchsorted(self.classes_, y[rows])
        chain = self._chain()
        self._factor = self._prior_factor(chain, target)
        self._fit_groups(chain, proba[rows], target, specimens[rows])
        return self

    def _held_out_answers(self, X, y, groups):
        """Fit the estimator; return probabilities of specimens outside its fit, their groups and labels."""
        self.estimator_ = clone(self.estimator)
        if isinstance(self.estimator, FrozenEstimator):
            check_is_fitted(self.estimator_)
            self.classes_ = np.asarray(self.estimator_.classes_)
            return *answers(self.estimator_, X, self.modalities), y
        self.classes_ = np.unique(y)
        if len(self.classes_) < 2:
            raise ValueError(
                f"a calibration needs two classes, but y has one class, {self.classes_.tolist()}"
            )
        parts, lost = [], []
        is_grouped = groups is not None and isinstance(self.cv, Integral)
        cv = StratifiedGroupKFold(self.cv) if is_grouped else check_cv(self.cv, y, classifier=True)
        for train, test in cv.split(X, y, groups):
            own = groups_params(self.estimator, None if groups is None else np.asarray(groups)[train])
            fitted = clone(self.estimator).fit(select_rows(X, train), y[train], **own)
            is_known = np.isin(y[test], fitted.classes_)
            lost.extend(test[~is_known].tolist())
            test = test[is_known]
            part, specimens = answers(fitted, select_rows(X, test), self.modalities)
            proba = of_all_classes(part, fitted.classes_, self.classes_)
            parts.append((proba, specimens, y[test]))
        self.estimator_.fit(X, y, **groups_params(self.estimator, groups))
        if lost:
            warnings.warn(
                f"{name_rows(sorted(lost))}: left out of the calibration, as no other fold has the label",
                UserWarning,
                stacklevel=3,
            )
        return tuple(np.concatenate(part) for part in zip(*parts, strict=True))

    def _check_levels(self):
        """Raise if the levels are invalid."""
        levels = tuple(self.levels)
        if not levels or levels[-1] != "space_group" or set(levels) - set(LEVELS):
            raise ValueError(
                f"levels must be some of {LEVELS}, the last one 'space_group', got {self.levels!r}"
            )

    def _chain(self):
        """Return the levels of the classes."""
        return Chain(self.classes_, self._numbers, self.levels)

    def _prior_factor(self, chain, target):
        """Return the factor of each label of the first level: its share in use over that in calibration."""
        if self.prior is None:
            return 1.0
        labels = chain.labels[0].tolist()
        if set(self.prior) != set(labels):
            raise ValueError(f"prior must have a share for each of {labels}, got {list(self.prior)}")
        share = np.array([check_number(self.prior[k], f"prior of {k!r}", min_val=0) for k in labels], float)
        count = np.bincount(chain.members[0][target], minlength=len(labels))
        missing = [label for label, s, n in zip(labels, share, count, strict=True) if s > 0 and n == 0]
        if missing or not share.any():
            raise ValueError(
                f"prior needs calibration specimens of each label with a share above 0, and such labels; "
                f"there are no specimens of {missing}"
            )
        return share / share.sum() / np.maximum(count, 1) * count.sum()

    def _fit_groups(self, chain, proba, target, specimens):
        """Fit the temperatures of all specimens, and of each group that is large enough."""
        members = {ALL: np.ones(len(target), dtype=bool)}
        members |= {name: specimens == name for name in np.unique(specimens)}
        self.n_specimens_ = {name: int(rows.sum()) for name, rows in members.items()}
        self.temperatures_ = {}
        for name, rows in members.items():
            if name != ALL and rows.sum() < MIN_SPECIMENS:
                continue
            values = np.ones((len(chain.names), 2))
            if self.method is not None:
                values = chain.fit(proba[rows], target[rows], self.by_confidence)
            pairs = [tuple(pair) for pair in values.tolist()]
            self.temperatures_[name] = dict(zip(chain.names, pairs, strict=True))

    def predict_proba(self, X):
        """Return the calibrated probability of each class.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            In the order of ``classes_``. NaN for rows to which the estimator has no answer.

        Raises
        ------
        ValueError
            If the estimator raises.

        Warns
        -----
        UserWarning
            If a row has modalities that the calibration set did not have together; the message names the
            rows. They get the temperatures of all specimens.
        """
        check_is_fitted(self)
        proba, specimens = answers(self.estimator_, X, self.modalities)
        known = [name for name in self.n_specimens_ if name != ALL]
        warn_unknown(specimens, known, proba, "these rows get the temperatures of all")
        table = {name: list(row.values()) for name, row in self.temperatures_.items()}
        temperatures = np.array([table.get(name, table[ALL]) for name in specimens])
        return self._chain().apply(proba, temperatures, self._factor)

    def predict(self, X):
        """Return the most probable class.

        It can differ from that of the estimator, if two classes of different parents are nearly equal.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,)
            Rows without answer have a missing label: None, or 0 for integer labels (the number below the
            smallest label if 0 is a label).
        """
        return most_probable(self.predict_proba(X), self.classes_)

    def _space_groups_of_classes(self):
        """Return the space-group number of each class."""
        if self._numbers is None:
            raise ValueError(
                f"levels of symmetry need space-group numbers as labels, got {self.classes_[:3].tolist()}"
            )
        return self._numbers

    def __getattr__(self, name):
        if name in _DELEGATED and "estimator_" in vars(self):
            return getattr(split_pipeline(self.estimator_)[1], name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        inner = get_tags(self.estimator)
        tags.input_tags = inner.input_tags
        return tags


def calibrate_pipeline(pipeline, X, y, **params):
    """Return a fitted pipeline whose last step is calibrated.

    The steps before are those of the pipeline, so that ``pipeline[:-1].transform`` still computes features,
    and ``pipeline[-1].candidates`` lists candidates of search-match.

    Parameters
    ----------
    pipeline : fitted Pipeline
        Its last step is a classifier. If it is calibrated already, its calibration is replaced.
    X : DataFrame
        Specimens that were not used in training.
    y : array-like of shape (n_samples,)
        Labels.
    **params
        Parameters of `SymmetryCalibration`.

    Returns
    -------
    Pipeline
        It shares the fitted steps with ``pipeline``.

    Raises
    ------
    ValueError
        If it is not a pipeline of two steps or more, and as in `SymmetryCalibration.fit`.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.decomposition import PCA
    >>> from sklearn.naive_bayes import GaussianNB
    >>> from sklearn.pipeline import make_pipeline
    >>> from xtalsk.calibration import calibrate_pipeline
    >>> y = np.arange(300) % 3 + 1
    >>> X = y[:, None] + np.random.default_rng(0).normal(size=(300, 5))
    >>> pipeline = make_pipeline(PCA(2), GaussianNB()).fit(X[:200], y[:200])
    >>> calibrated = calibrate_pipeline(pipeline, X[200:], y[200:])
    >>> list(calibrated.named_steps)
    ['pca', 'symmetrycalibration']
    """
    steps, classifier = split_pipeline(pipeline)
    if steps is None:
        raise ValueError(f"expected a fitted Pipeline of two steps or more, got {type(pipeline).__name__}")
    if isinstance(classifier, SymmetryCalibration):
        classifier = classifier.estimator_
    params = {"modalities": block_modalities(steps)} | params
    calibrated = SymmetryCalibration(FrozenEstimator(classifier), **params).fit(steps.transform(X), y)
    return Pipeline([*steps.steps, ("symmetrycalibration", calibrated)])
