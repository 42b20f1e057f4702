"""Search-match as a scikit-learn classifier."""

from numbers import Integral

import numpy as np
import pandas as pd
import torch
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_scalar
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from xtalsk.library._chemistry import element_columns, misfit, visible
from xtalsk.library._profiles import ProfileLibrary, emphasise, pack
from xtalsk.neural._blocks import UNNAMED, block_presence, find_blocks, split_name
from xtalsk.neural._checks import name_rows, to_float32
from xtalsk.utils import check_number, check_option

_ACCEPTED = {"dtype": [np.float32, np.float64], "ensure_all_finite": False}
_OWN_COLUMNS = ("row", "rank", "label", "score", "similarity")
_ROWS_AT_ONCE = 128


class LibraryMatch(ClassifierMixin, BaseEstimator):
    """Search-match: labels of the library patterns that a measured pattern resembles most.

    The rows given to `fit` are the library; `make_library` makes them from crystals. What is to be matched
    must be featurised in the same way. Columns named ``block__column`` form a block for each part before the
    ``__``. A block of intensities along q or d (32 columns or more, named ``q_0000, q_0001, ...``) is a
    profile; a block whose columns are all named by elements (``h, he, ...``) is chemistry: fractions as of
    `ElementFractions`, or presence as of `ElementPresence` if the library holds nothing but 0 and 1. Other
    blocks are not used. Columns without a block are one profile.

    Profiles are compared by the cosine of the angle between them over the bins that were measured, after
    taking off the median, compression and smoothing. The ``n_best`` best are compared again while parts of
    the pattern move to fit, since cells of natural crystals differ from those of the library by solid
    solution. Chemistry that does not fit lowers the score softly. Scores of the ``n_best`` are turned into
    weights by a softmax, and weights of entries with the same label are summed.

    Parameters
    ----------
    power : float, default=0.7
        Exponent that compresses the profiles, whichever scale they have. Low ones compare positions of lines
        more than intensities, which texture changes.
    baseline : {"median", None}, default="median"
        What to take off a profile before; what is below it is 0. None suits features of either sign.
    smoothing : float, default=1.5
        Standard deviation in bins of a Gaussian that both sides are convolved with.
    max_stretch : float, default=0.005
        Largest shift of a line in the second comparison, relative to its position.
    max_shift : float, default=1.0
        Largest shift besides, in bins. If neither makes a bin there is no second comparison.
    chemistry_weight : float, default=1.5
        Weight of chemistry: how much log(1 + χ² / 4) of the fractions lowers the logarithm of the weight of
        an entry. χ² grants each fraction errors of 10% and of 0.01; hydrogen is left out.
    sharpness : float, default=25.0
        How fast weights fall with the similarity: by exp(-sharpness × difference).
    n_best : int, default=100
        Entries that are compared again and share the weight.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Labels of the library.
    blocks_ : dict of {str: {"profile", "fractions", "presence", "unused"}}
        What each block is used as.
    entries_ : DataFrame of n_entries rows
        What was given as ``entries``, or a column ``id`` that counts the rows.
    n_features_in_ : int
    feature_names_in_ : ndarray of str, shape (n_features_in_,)
        Only if the library had names.

    See Also
    --------
    make_library : Makes the library from crystals.
    FusionClassifier : Learns, and so can answer for crystals that no library has.

    Notes
    -----
    Profiles are kept with one byte a bin: 9,249 patterns of 1024 bins take 9.9 MB, half of that when
    compressed by joblib. A row without any profile is judged by chemistry alone and the other way round.
    Where a library or a row has several profiles, similarities are averaged.

    Probabilities are calibrated only as long as what is measured is in the library; look at `similarity` to
    see whether anything fits. With 1024 bins of 0.1 to 0.9 1/Å, measured minerals that are in AMCSD
    reach 0.75 or more; what counts as similar depends on the width of the bins.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from xtalsk.library import LibraryMatch
    >>> lines = np.random.default_rng(0).uniform(10, 118, size=(3, 8, 1))
    >>> patterns = np.exp(-((np.arange(128) - lines) ** 2) / 4).sum(axis=1)
    >>> X = pd.DataFrame(patterns, columns=[f"powder__q_{i:04}" for i in range(128)])
    >>> entries = pd.DataFrame({"id": ["a", "b", "c"], "formula": ["SiO2", "NaCl", "SiO2"]})
    >>> match = LibraryMatch().fit(X, [152, 225, 227], entries)
    >>> measured = 0.5 * X[1:2] + 0.01
    >>> match.predict(measured)
    array([225])
    >>> match.candidates(measured, n=1)[["rank", "id", "formula", "label"]]
       rank id formula  label
    0     1  b    NaCl    225
    >>> match.similarity(measured).round(2)
    array([1.], dtype=float32)
    """

    def __init__(
        self,
        power=0.7,
        *,
        baseline="median",
        smoothing=1.5,
        max_stretch=0.005,
        max_shift=1.0,
        chemistry_weight=1.5,
        sharpness=25.0,
        n_best=100,
    ):
        self.power = power
        self.baseline = baseline
        self.smoothing = smoothing
        self.max_stretch = max_stretch
        self.max_shift = max_shift
        self.chemistry_weight = chemistry_weight
        self.sharpness = sharpness
        self.n_best = n_best

    def fit(self, X, y, entries=None):
        """Take the library.

        Parameters
        ----------
        X : array-like of shape (n_entries, n_features)
            NaN where missing.
        y : array-like of shape (n_entries,)
            Labels, such as space-group numbers.
        entries : DataFrame of n_entries rows, or None
            What `candidates` tells of each entry, such as columns ``id``, ``formula`` and ``mineral``.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If a parameter is out of range, no block is a profile or chemistry, X holds infinities or a row
            with neither, or the entries do not fit.
        """
        self._check_params()
        X, y = validate_data(self, X, y, **_ACCEPTED)
        check_classification_targets(y)
        names = getattr(self, "feature_names_in_", None)
        X = to_float32(X, names)
        blocks = find_blocks(names, self.n_features_in_)
        self.blocks_ = {block.name: self._use_of(block, X) for block in blocks}
        self._used = [block for block in blocks if self.blocks_[block.name] != "unused"]
        if not self._used:
            raise ValueError(
                f"LibraryMatch needs a block of 32 bins or more along q or d, or one with a column for each "
                f"element; blocks are {list(self.blocks_)}"
            )
        self._check_presence(X)
        self.classes_, self._labels = np.unique(y, return_inverse=True)
        self.entries_ = _check_entries(entries, len(X))
        self._library = {block.name: self._pack(block, X) for block in self._used}
        return self

    def predict_proba(self, X):
        """Probability of each class: the weights of the best entries, summed by label.

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
            If X holds infinities, a row without profile and chemistry, or other columns than the library.
        """
        return self._answer(X)[0]

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
        """Entries of the library that fit best.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        n : int
            Entries to list for each row; no more than ``n_best`` are compared.

        Returns
        -------
        DataFrame
            For each row of X its best entries: ``row`` counts the rows of X and ``rank`` from 1, then come
            the columns of ``entries_``, the ``label``, the ``score`` (share of the weight) and the
            ``similarity`` of the profiles, NaN for rows without one.
        """
        check_scalar(n, "n", Integral, min_val=1)
        best, weights, similarity = (table[:, :n] for table in self._match(X))
        rows, ranks = np.indices(best.shape)
        table = self.entries_.iloc[best.ravel()].reset_index(drop=True)
        table.insert(0, "row", rows.ravel())
        table.insert(1, "rank", ranks.ravel() + 1)
        table["label"] = self.classes_[self._labels[best.ravel()]]
        return table.assign(score=weights.ravel(), similarity=similarity.ravel())

    def similarity(self, X):
        """How much the profiles resemble the most similar entry of those that fit best.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of float32, shape (n_samples,)
            1 for the same pattern, NaN for rows without a profile. Where it is low, nothing in the library
            fits, whatever the probabilities are.
        """
        return self._answer(X)[1]

    def usable(self, X):
        """Which rows have something to compare.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of int
            Rows with a value in a profile or in chemistry.
        """
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, **_ACCEPTED)
        return np.flatnonzero(block_presence(X, self._used).any(axis=1))

    def _answer(self, X):
        """Probabilities and the best similarity of each row."""
        best, weights, similarity = self._match(X)
        proba = np.zeros((len(best), len(self.classes_)))
        np.add.at(proba, (np.arange(len(best))[:, None], self._labels[best]), weights)
        return proba, similarity.max(axis=1)

    def _check_params(self):
        for name in ("power", "sharpness"):
            check_number(getattr(self, name), name, min_val=0, include_boundaries="neither")
        for name in ("smoothing", "max_shift", "chemistry_weight"):
            check_number(getattr(self, name), name, min_val=0)
        check_number(self.max_stretch, "max_stretch", min_val=0, max_val=0.1)
        check_scalar(self.n_best, "n_best", Integral, min_val=1)
        check_option("baseline", self.baseline, ("median", None))

    def _use_of(self, block, X):
        if block.name == UNNAMED or (block.kind == "conv1d" and block.axis in ("q", "d")):
            return "profile"
        numbers = element_columns([split_name(name)[1] for name in self.feature_names_in_[block.columns]])
        if numbers is None or not visible(numbers).any():
            return "unused"
        values = X[:, block.columns]
        return "presence" if np.isin(values[~np.isnan(values)], (0, 1)).all() else "fractions"

    def _check_presence(self, X):
        empty = np.flatnonzero(~block_presence(X, self._used).any(axis=1))
        if len(empty):
            names = ", ".join(block.name for block in self._used)
            raise ValueError(f"X: {name_rows(empty)}: every block is missing ({names})")

    def _chemistry_columns(self, block):
        numbers = element_columns([split_name(name)[1] for name in self.feature_names_in_[block.columns]])
        return block.columns[visible(numbers)]

    def _emphasise(self, profiles):
        return emphasise(torch.from_numpy(profiles), self.baseline, self.power, self.smoothing)

    def _pack(self, block, X):
        if self.blocks_[block.name] == "profile":
            return pack(self._emphasise(X[:, block.columns]))
        return X[:, self._chemistry_columns(block)].astype(np.float16)

    def _match(self, X):
        """Best entries of each row, their weights and similarities, each of shape (n_samples, n_best)."""
        check_is_fitted(self)
        X = to_float32(
            validate_data(self, X, reset=False, **_ACCEPTED), getattr(self, "feature_names_in_", None)
        )
        self._check_presence(X)
        uses = [(block, self.blocks_[block.name]) for block in self._used]
        profiles = [
            (block, ProfileLibrary(self._library[block.name], block.first))
            for block, use in uses
            if use == "profile"
        ]
        chemistry = [(block, use) for block, use in uses if use != "profile"]
        parts = [
            self._match_some(X[start : start + _ROWS_AT_ONCE], profiles, chemistry)
            for start in range(0, len(X), _ROWS_AT_ONCE)
        ]
        return tuple(np.concatenate(tables) for tables in zip(*parts, strict=True))

    def _match_some(self, X, profiles, chemistry):
        penalty = self._penalty(X, chemistry)
        sides = [self._side(X, block, library) for block, library in profiles]
        share = (
            torch.stack([measured.any(1) for _, measured, *_ in sides], 1)
            if sides
            else torch.zeros(len(X), 1)
        )
        share = share / share.sum(1, keepdim=True).clamp_min(1)
        score = -penalty
        for k, (_, _, cosine, _) in enumerate(sides):
            score = score + cosine * (self.sharpness * share[:, k, None])
        best = torch.topk(score, min(self.n_best, len(self._labels))).indices
        again = (
            self._compare_again(
                library, values, measured, cosine.gather(1, best), scale.gather(1, best), best
            )
            for (_, library), (values, measured, cosine, scale) in zip(profiles, sides, strict=True)
        )
        similarity = sum((share[:, k, None] * one for k, one in enumerate(again)), torch.zeros(best.shape))
        score = (self.sharpness * similarity - penalty.gather(1, best)).double()
        order = score.sort(dim=1, descending=True, stable=True).indices
        best, score, similarity = (table.gather(1, order).numpy() for table in (best, score, similarity))
        similarity[~share.any(1).numpy()] = np.nan
        return best, softmax(score, axis=1), similarity.astype(np.float32)

    def _penalty(self, X, chemistry):
        """Sum up what chemistry takes off the score of each entry; 0 for rows without."""
        shape = (len(X), len(self._labels))
        if not chemistry:
            return torch.zeros(1, 1).expand(shape)
        penalty, known = np.zeros(shape, dtype=np.float32), np.zeros((len(X), 1), dtype=np.float32)
        for block, use in chemistry:
            columns = self._chemistry_columns(block)
            penalty += misfit(X[:, columns], self._library[block.name].astype(np.float32), use)
            known += ~np.isnan(X[:, columns]).all(axis=1, keepdims=True)
        return torch.from_numpy(penalty).mul_(torch.from_numpy(self.chemistry_weight / np.maximum(known, 1)))

    def _side(self, X, block, library):
        """Emphasised profiles, their cosines and scales against the library, and which rows have one."""
        profiles = self._emphasise(X[:, block.columns]).to(library.values.dtype)
        measured = ~profiles.isnan()
        values = profiles.nan_to_num(0)
        return values, measured, *library.cosine(values, measured)

    def _compare_again(self, library, values, measured, cosine, scale, best):
        if self.max_shift + self.max_stretch * (values.shape[1] + library.first) < 1:
            return cosine
        again = library.elastic(values, measured, scale, best, self.max_stretch, self.max_shift)
        return torch.maximum(again, cosine)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags


def _check_entries(entries, n):
    """Copy the table of entries with rows counted from 0, or make one.

    Raises
    ------
    ValueError
        If it is no table of ``n`` rows or uses a name that `candidates` needs.
    """
    if entries is None:
        return pd.DataFrame({"id": np.arange(n)})
    if not isinstance(entries, pd.DataFrame) or len(entries) != n:
        what = f"{len(entries)} rows" if isinstance(entries, pd.DataFrame) else type(entries).__name__
        raise ValueError(f"entries must be a DataFrame of one row for each of X, {n}, got {what}")
    taken = [name for name in entries.columns if name in _OWN_COLUMNS]
    if taken:
        raise ValueError(f"entries must not have columns named {taken}: candidates adds such columns")
    return entries.reset_index(drop=True)
