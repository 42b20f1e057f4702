"""A classifier, joined with what a list of known compounds says of the composition."""

from numbers import Integral

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, clone
from sklearn.utils import check_scalar
from sklearn.utils.validation import check_is_fitted, validate_data

from xtalsk._levels import LevelsMixin, levels_of
from xtalsk._passed_on import OF_SEARCH_MATCH, PARTS
from xtalsk.columns import find_blocks, is_chemistry
from xtalsk.library._blocks import element_numbers, use_of
from xtalsk.library._compound_list import common_weights, join_list, read_compounds
from xtalsk.library._constants import COMPOUND_SHARPNESS, COMPOUNDS_AT_ONCE
from xtalsk.library._match import LibraryMatch
from xtalsk.symmetry import check_space_group
from xtalsk.utils import (
    ALL_MISSING,
    check_empty_rows,
    check_option,
    groups_params,
    is_empty_row,
    most_probable,
    of_all_classes,
    select_rows,
)


class CompoundBlend(LevelsMixin, MetaEstimatorMixin, ClassifierMixin, BaseEstimator):
    """A classifier, and the space groups of known compounds of the measured composition.

    Lists of known compounds hold ten times as many compounds as there are structures at hand. Of most of
    them, the formula and the space group are enough: few compounds have many polymorphs, and diffraction
    tells these apart. With a composition c and a pattern d, the probability of the space group y is that of
    two cases:

    - The compound is in the list: p(y | d) p(y | c) / p(y). Here p(y | c) are the shares of the space groups
      among compounds of similar composition, p(y | d) is the answer of the classifier without the
      composition, and p(y) is the share of the label in the training data.
    - It is not: the answer of the classifier with the composition.

    The probability of the first case depends on how well the composition fits, and on whether one of the
    listed space groups suits the pattern. Rows without composition get the answer of the classifier alone.

    Parameters
    ----------
    estimator : classifier with ``predict_proba``
        It must accept rows without chemistry (NaN), such as `xtalsk.neural.FusionClassifier` or
        `LibraryBlend`. Labels are space-group numbers. A fitted classifier in a
        `sklearn.frozen.FrozenEstimator` is not fitted again.
    compounds : DataFrame or None, default=None
        Columns ``formula`` and ``space_group``, and any others. ``n_structures``, if it is there, says how
        often each compound has been measured; frequent ones count more. None is the list of
        `xtalsk.datasets.load_compounds`. For a test on unknown compounds, leave the compounds of the test out
        of the list.
    chemistry : "auto" or sequence of str, default="auto"
        Names of the blocks that come from the composition. "auto": blocks of elements, `RankedElements`,
        `CompositionStatistics` and spectra.
    stray : sequence of str, default=("C", "O", "Al", "Ni", "Cu", "Mo", "Au")
        Elements of film and grid that may be in excess, see `LibraryMatch`.
    all_missing : {"raise", "missing"}, default="raise"
        What `predict_proba` and `predict` do with a row in which nothing was measured, see `LibraryBlend`.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Labels of the classifier and of the list.
    level_classes_ : dict of {str: ndarray}
        The labels of each level of symmetry among the classes.
    estimator_ : classifier
        The fitted classifier. Its methods for candidates of search-match can be called on this object.
    compounds_ : LibraryMatch or None
        The list. None if no block of X has one column for each element.
    prior_ : ndarray of shape (n_classes,)
        Share of each class in the training data, smoothed.
    n_features_in_ : int
    feature_names_in_ : ndarray of str, shape (n_features_in_,)
        Only if the training data had names.

    See Also
    --------
    xtalsk.datasets.load_compounds : The packaged list.
    LibraryBlend : Joins a classifier with a library of structures.

    Notes
    -----
    Patterns and compositions are not independent. The constants, among them the powers to which p(y | d) and
    p(y) are raised, were fitted on simulated patterns of compounds that the network had not seen, see
    "Known compounds" in ``benchmarks/README.md``.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn.tree import DecisionTreeClassifier
    >>> from xtalsk import CompoundBlend, ElementFractions
    >>> compounds = pd.DataFrame({"formula": ["NaCl", "CsCl", "MgO"], "space_group": [225, 221, 225]})
    >>> fractions = ElementFractions().set_output(transform="pandas")
    >>> X = fractions.fit_transform(["NaCl", "CsCl", "KBr"]).add_prefix("chemistry__")
    >>> tree = DecisionTreeClassifier(random_state=0)
    >>> CompoundBlend(tree, compounds).fit(X, [225, 225, 225]).predict(X)
    array([225, 221, 225])
    """

    def __init__(
        self,
        estimator,
        compounds=None,
        *,
        chemistry="auto",
        stray=("C", "O", "Al", "Ni", "Cu", "Mo", "Au"),
        all_missing="raise",
    ):
        self.estimator = estimator
        self.compounds = compounds
        self.chemistry = chemistry
        self.stray = stray
        self.all_missing = all_missing

    def fit(self, X, y, groups=None):
        """Fit the classifier, and arrange the list of compounds.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
            Space-group numbers. Their shares are taken as those of the training of a frozen classifier.
        groups : array-like of shape (n_samples,) or None
            Passed to the classifier if its ``fit`` has a parameter ``groups``.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If a parameter is out of range, a formula does not parse, a space group or label is none, or if
            the classifier raises.
        """
        check_option("all_missing", self.all_missing, ALL_MISSING)
        _, checked = validate_data(self, X, y, dtype=None, ensure_all_finite=False)
        self.estimator_ = clone(self.estimator).fit(X, y, **groups_params(self.estimator, groups))
        self._blocks = find_blocks(getattr(self, "feature_names_in_", None), self.n_features_in_)
        self._hidden = self._chemistry_columns()
        self.compounds_ = self._make_list(X)
        labels = [] if self.compounds_ is None else self.compounds_.classes_
        if len(labels):
            check_space_group(checked)
        self.classes_ = np.union1d(self.estimator_.classes_, labels).astype(self.estimator_.classes_.dtype)
        self.level_classes_ = levels_of(self.classes_)
        counts = (np.asarray(checked)[:, None] == self.classes_).sum(axis=0) + 1.0
        self.prior_ = counts / counts.sum()
        return self

    def _chemistry_columns(self):
        """Return the positions of the columns of all blocks that come from the composition."""
        names = getattr(self, "feature_names_in_", None)
        if isinstance(self.chemistry, str) and self.chemistry == "auto":
            chosen = [block for block in self._blocks if names is not None and is_chemistry(block, names)]
        else:
            unknown = sorted(set(self.chemistry) - set(self._names()))
            if unknown:
                raise ValueError(f"chemistry names the blocks {unknown}; X has {self._names()}")
            chosen = [block for block in self._blocks if block.name in self.chemistry]
        return np.concatenate([np.zeros(0, dtype=int), *(block.columns.ravel() for block in chosen)])

    def _make_list(self, X):
        """Return the fitted list of compounds, None if no block of X has element columns."""
        names = getattr(self, "feature_names_in_", None)
        if names is None or not len(self._hidden):
            return None
        values = np.asarray(X, dtype=np.float32)
        uses = {block.name: use_of(block, values, names) for block in self._blocks}
        blocks = [block for block in self._blocks if uses[block.name] in ("fractions", "presence")]
        if not blocks:
            return None
        compounds, fractions, groups = read_compounds(self.compounds)
        table = {}
        for block in blocks:
            own = fractions[:, element_numbers(block, names) - 1]
            own = own > 0 if uses[block.name] == "presence" else own
            table |= dict(zip(names[block.columns], own.T.astype(np.float32), strict=True))
        self._compared = np.concatenate([block.columns for block in blocks])
        match = LibraryMatch(stray=self.stray, all_missing="missing")
        return match.fit(pd.DataFrame(table), groups, compounds)

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
        return self._answer(X, self.all_missing)[0]

    def listed_probability(self, X):
        """Return the probability that the measured compound is in the list.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,)
            NaN for rows without composition.
        """
        return self._answer(X, "missing")[1]

    def known_compounds(self, X, n=5):
        """Return the listed compounds of similar composition, the most plausible first.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        n : int
            Number of compounds for each row, at most 100.

        Returns
        -------
        DataFrame
            ``row`` counts the rows of X from 0 and ``rank`` the compounds from 1. Then follow the columns of
            the list; ``label``, the space group; ``score``, the share of the compound by composition and
            number of structures, among the nearest; and ``probability``, that of its space group by
            `predict_proba`. The order is that of their product. Rows without composition have no compounds.

        Raises
        ------
        ValueError
            If X has no block with one column for each element, or if nothing was measured in a row and
            ``all_missing="raise"``.
        """
        check_scalar(n, "n", Integral, min_val=1)
        proba = self.predict_proba(X)
        if self.compounds_ is None:
            raise ValueError(f"no block of X has one column for each element: {self._names()}")
        rows, measured = self._measured(X)
        table = self.compounds_.candidates(measured, self.compounds_.n_best)
        table["row"] = rows[table["row"]]
        table["probability"] = proba[table["row"], np.searchsorted(self.classes_, table["label"])]
        table["score"] *= common_weights(table)
        table["score"] /= table.groupby("row")["score"].transform("sum")
        order = np.lexsort([-table["score"] * table["probability"], table["row"]])
        table = table.iloc[order].drop(columns=["similarity", "scale", "width"])
        table["rank"] = table.groupby("row").cumcount() + 1
        return table[table["rank"] <= n].reset_index(drop=True)

    def _names(self):
        return [block.name for block in self._blocks]

    def _measured(self, X):
        """Return the rows that have a composition, and their element columns as a table."""
        names = self.feature_names_in_[self._compared]
        values = np.asarray(X)[:, self._compared].astype(np.float32)
        rows = np.flatnonzero(~np.isnan(values).all(axis=1))
        return rows, pd.DataFrame(values[rows], columns=names)

    def _answer(self, X, all_missing):
        """Return the probabilities of each row, and that its compound is in the list."""
        check_is_fitted(self)
        empty = is_empty_row(X)
        if not empty.any():
            return self._join(X)
        validate_data(self, X, reset=False, skip_check_array=True)
        check_empty_rows(empty, self._names(), all_missing)
        proba, listed = np.full((len(empty), len(self.classes_)), np.nan), np.full(len(empty), np.nan)
        if not empty.all():
            proba[~empty], listed[~empty] = self._join(select_rows(X, np.flatnonzero(~empty)))
        return proba, listed

    def _join(self, X):
        """Return the probabilities of measured rows, and that their compounds are in the list."""
        rows = np.zeros(0, dtype=int)
        if self.compounds_ is not None and np.ndim(X) == 2:
            rows, compositions = self._measured(X)
        if not len(rows):
            own = self._of_classes(self.estimator_, X)
            return own, np.full(len(own), np.nan)
        by_diffraction = self._without_chemistry(select_rows(X, rows))
        own = self._of_classes(self.estimator_, X)  # last, because a library remembers its last search
        listed = np.full(len(own), np.nan)
        answer = own[rows]
        answer[np.isnan(answer).any(axis=1)] = self.prior_
        joined = join_list(answer, by_diffraction, *self._look_up(compositions), self.prior_)
        own[rows], listed[rows] = joined
        return own, listed

    def _of_classes(self, estimator, X):
        """Return the probabilities of an estimator, in the order of ``classes_``."""
        return of_all_classes(estimator.predict_proba(X), estimator.classes_, self.classes_)

    def _look_up(self, compositions):
        """Return the shares of the classes among similar compounds, and the smallest misfit of each row."""
        compounds, values = self.compounds_, compositions.to_numpy(np.float32)
        labels = np.searchsorted(self.classes_, compounds.classes_)[compounds._labels]
        order = np.argsort(labels, kind="stable")
        starts = np.flatnonzero(np.diff(labels[order], prepend=-1))
        common = common_weights(compounds.entries_)
        out, misfit = np.zeros((len(values), len(self.classes_))), np.full(len(values), np.inf)
        for first in range(0, len(values), COMPOUNDS_AT_ONCE):
            part = slice(first, first + COMPOUNDS_AT_ONCE)
            misfits = compounds._misfit(values[part])
            least = misfits.min(axis=1)
            misfit[part] = least
            with np.errstate(invalid="ignore"):
                weights = np.nan_to_num(np.exp(-COMPOUND_SHARPNESS * (misfits - least[:, None])))
            weights *= common
            sums = np.add.reduceat(weights[:, order].astype(float), starts, axis=1)
            out[part, labels[order][starts]] = sums / np.maximum(sums.sum(axis=1, keepdims=True), 1e-300)
        return out, misfit

    def _without_chemistry(self, X):
        """Return the probabilities by diffraction alone, NaN for rows without diffraction."""
        hidden = X.copy()
        if hasattr(hidden, "iloc"):
            hidden.iloc[:, self._hidden] = np.nan
        else:
            hidden[:, self._hidden] = np.nan
        proba = np.full((len(X), len(self.classes_)), np.nan)
        rows = np.flatnonzero(~is_empty_row(hidden))
        if len(rows):
            proba[rows] = self._of_classes(self.estimator_, select_rows(hidden, rows))
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

    def __getattr__(self, name):
        if name in OF_SEARCH_MATCH | PARTS and "estimator_" in vars(self):
            return getattr(self.estimator_, name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags
