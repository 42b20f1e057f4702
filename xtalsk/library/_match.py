"""Search-match as a scikit-learn classifier."""

from numbers import Integral

import numpy as np
import pandas as pd
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_scalar
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from xtalsk.columns import UNNAMED, block_presence, find_blocks, split_name
from xtalsk.library._chemistry import element_columns, is_compared
from xtalsk.library._compare import Matches, chemistry_penalty, compare_rigidly, find_matches
from xtalsk.library._constants import ROWS_PER_CHUNK
from xtalsk.library._profiles import ProfileLibrary, emphasise, pack
from xtalsk.utils import check_number, check_option, name_rows, to_float32

_ACCEPTED = {"dtype": [np.float32, np.float64], "ensure_all_finite": False}
_CANDIDATE_COLUMNS = ("row", "rank", "label", "score", "similarity")


class LibraryMatch(ClassifierMixin, BaseEstimator):
    """Search-match: the labels of the library patterns that are most similar to a measured pattern.

    The rows given to `fit` are the library; `make_library` makes them from crystals. The same transformers
    must compute the features of the library and of the measurements. Columns named ``block__column`` form
    one block for each part before the ``__``:

    - A block of intensities against q or d (32 columns or more, named ``q_0000, q_0001, ...``) is a profile.
      Columns without a block are one profile.
    - A block whose columns are all named by elements (``h, he, ...``) is chemistry: atomic fractions as from
      `ElementFractions`, or presence as from `ElementPresence` if the library has only 0 and 1.
    - Other blocks are not used.

    The comparison has two stages. The first compares a row with all entries: each profile loses its median,
    is compressed and smoothed, and the cosine between two profiles is their similarity. Bins that were not
    measured are left out. The second stage compares the ``n_best`` best entries again while parts of the
    pattern shift to fit, because solid solution changes the cells of natural crystals. Chemistry that
    differs lowers the score. A softmax turns the scores of the ``n_best`` entries into weights, and the
    weights of entries with the same label are summed.

    The defaults were chosen on the even rows of 301 measured minerals with ``benchmarks/bench_library.py``:
    powder profiles of 1024 bins from 0.1 to 0.9 1/Å, see "Search-match" in ``benchmarks/README.md``. For
    ``chemistry_weight`` the data of the choice are not recorded.

    Parameters
    ----------
    power : float, default=0.7
        Exponent that compresses the profiles; the scale of a profile does not matter. A low exponent gives
        more weight to the positions of lines than to their intensities, which texture changes.
    baseline : {"median", None}, default="median"
        ``"median"`` subtracts the median from each profile and sets negative values to 0. None is for
        features of either sign.
    smoothing : float, default=1.5
        Standard deviation, in bins, of the Gaussian that smooths both sides of the comparison.
    max_stretch : float, default=0.005
        Largest shift of a line in the second stage, relative to its position.
    max_shift : float, default=1.0
        Largest shift in addition, in bins. If no line may shift by a bin, there is no second stage.
    chemistry_weight : float, default=1.5
        Weight of chemistry: this number times log(1 + χ² / 4) is subtracted from the score of an entry. χ²
        assumes errors of 10% and of 0.01 for each atomic fraction; hydrogen is left out.
    sharpness : float, default=25.0
        Factor of the similarity in the score: weights differ by exp(sharpness × difference of similarities).
    n_best : int, default=100
        Number of entries in the second stage. Only these have a weight.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Labels of the library.
    blocks_ : dict of {str: {"profile", "fractions", "presence", "unused"}}
        Use of each block.
    entries_ : DataFrame of n_entries rows
        The table ``entries`` of `fit`, or a column ``id`` that counts the rows.
    n_features_in_ : int
    feature_names_in_ : ndarray of str, shape (n_features_in_,)
        Only if the columns of the library have names.

    See Also
    --------
    make_library : Makes the library from crystals.
    FusionClassifier : A classifier for crystals that are not in a library.

    Notes
    -----
    Profiles are stored with one byte per bin: 9,249 patterns of 1024 bins take 9.9 MB, and half of that when
    joblib compresses them. A row without a profile is compared by its chemistry alone, and a row without
    chemistry by its profiles alone. If a row has several profiles, their similarities are averaged.

    Probabilities are calibrated only if the measured crystal is in the library. `similarity` shows whether
    an entry fits: with 1024 bins from 0.1 to 0.9 1/Å, measured minerals that are in AMCSD reach 0.75 or
    more. This limit depends on the width of the bins.

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
        """Store the library.

        Parameters
        ----------
        X : array-like of shape (n_entries, n_features)
            NaN where missing.
        y : array-like of shape (n_entries,)
            Labels, such as space-group numbers.
        entries : DataFrame of n_entries rows, or None
            Description of each entry for `candidates`, such as columns ``id``, ``formula`` and ``mineral``.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If a parameter is out of range, no block is a profile or chemistry, X has infinite values or a row
            without profile and chemistry, or ``entries`` does not have one row for each row of X.
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
                f"LibraryMatch needs a block of 32 bins or more against q or d, or a block with one column "
                f"for each element; the blocks are {list(self.blocks_)}"
            )
        self._check_presence(X)
        self.classes_, self._labels = np.unique(y, return_inverse=True)
        self.entries_ = _check_entries(entries, len(X))
        self._library = {block.name: self._pack(block, X) for block in self._used}
        return self

    def predict_proba(self, X):
        """Return the probability of each class: the weights of the best entries, summed by label.

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
            If X has infinite values, a row without profile and chemistry, or other columns than the library.
        """
        return self._sum_by_label(self._match(self._check_rows(X)))

    def predict(self, X):
        """Return the most probable class.

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
        """Return the best entries of the library for each row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        n : int
            Number of entries for each row, at most ``n_best``.

        Returns
        -------
        DataFrame
            The best entries of each row of X. ``row`` counts the rows of X from 0 and ``rank`` the entries
            from 1. Then follow the columns of ``entries_``, the ``label``, the ``score`` (weight of the
            entry, of a total of 1) and the ``similarity`` of the profiles, NaN for rows without a profile.
        """
        check_scalar(n, "n", Integral, min_val=1)
        entries, weights, similarity = (table[:, :n] for table in self._match(self._check_rows(X)))
        rows, ranks = np.indices(entries.shape)
        table = self.entries_.iloc[entries.ravel()].reset_index(drop=True)
        table.insert(0, "row", rows.ravel())
        table.insert(1, "rank", ranks.ravel() + 1)
        table["label"] = self.classes_[self._labels[entries.ravel()]]
        return table.assign(score=weights.ravel(), similarity=similarity.ravel())

    def similarity(self, X):
        """Return the similarity of the profiles to the most similar one of the best entries.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of float32, shape (n_samples,)
            1 for identical patterns, NaN for rows without a profile. If it is low, no entry of the library
            fits, whatever the probabilities are.
        """
        return self._match(self._check_rows(X)).similarity.max(axis=1)

    def predict_proba_and_similarity(self, X):
        """Return the results of `predict_proba` and `similarity` of one search.

        Unlike these two methods, it accepts rows without profile and chemistry.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        proba : ndarray of shape (n_samples, n_classes)
            In the order of ``classes_``; 0 for all classes if a row has neither profile nor chemistry.
        similarity : ndarray of float32, shape (n_samples,)
            NaN for rows without a profile.

        Raises
        ------
        ValueError
            If X has infinite values or other columns than the library.
        """
        X = self._check_rows(X, allow_missing=True)
        rows = np.flatnonzero(block_presence(X, self._used).any(axis=1))
        proba = np.zeros((len(X), len(self.classes_)))
        similarity = np.full(len(X), np.nan, dtype=np.float32)
        if len(rows):
            matches = self._match(X[rows])
            proba[rows] = self._sum_by_label(matches)
            similarity[rows] = matches.similarity.max(axis=1)
        return proba, similarity

    def _check_params(self):
        for name in ("power", "sharpness"):
            check_number(getattr(self, name), name, min_val=0, include_boundaries="neither")
        for name in ("smoothing", "max_shift", "chemistry_weight"):
            check_number(getattr(self, name), name, min_val=0)
        check_number(self.max_stretch, "max_stretch", min_val=0, max_val=0.1)
        check_scalar(self.n_best, "n_best", Integral, min_val=1)
        check_option("baseline", self.baseline, ("median", None))

    def _check_rows(self, X, *, allow_missing=False):
        """Return rows as float32; raise if one has neither profile nor chemistry, unless that is allowed."""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, **_ACCEPTED)
        X = to_float32(X, getattr(self, "feature_names_in_", None))
        if not allow_missing:
            self._check_presence(X)
        return X

    def _check_presence(self, X):
        empty = np.flatnonzero(~block_presence(X, self._used).any(axis=1))
        if len(empty):
            names = ", ".join(block.name for block in self._used)
            raise ValueError(f"X: {name_rows(empty)}: every block is missing ({names})")

    def _element_numbers(self, block):
        """Return the atomic numbers of the columns of a block, or None if they are not elements."""
        return element_columns([split_name(name)[1] for name in self.feature_names_in_[block.columns]])

    def _use_of(self, block, X):
        """Return the use of a block: an item of ``blocks_``."""
        if block.name == UNNAMED or (block.layout == "profile" and block.axis in ("q", "d")):
            return "profile"
        numbers = self._element_numbers(block)
        if numbers is None or not is_compared(numbers).any():
            return "unused"
        values = X[:, block.columns]
        return "presence" if np.isin(values[~np.isnan(values)], (0, 1)).all() else "fractions"

    def _chemistry_columns(self, block):
        """Return the columns of X that the comparison of a chemistry block uses."""
        return block.columns[is_compared(self._element_numbers(block))]

    def _emphasise(self, profiles):
        return emphasise(torch.from_numpy(profiles), self.baseline, self.power, self.smoothing)

    def _pack(self, block, X):
        """Return one block of the library in compact form: int8 profiles or float16 compositions."""
        if self.blocks_[block.name] == "profile":
            return pack(self._emphasise(X[:, block.columns]))
        return X[:, self._chemistry_columns(block)].astype(np.float16)

    def _match(self, X):
        """Return the `Matches` of checked rows, which are compared in chunks."""
        profiles = [
            (block, ProfileLibrary(self._library[block.name], block.first))
            for block in self._used
            if self.blocks_[block.name] == "profile"
        ]
        starts = range(0, len(X), ROWS_PER_CHUNK)
        chunks = [self._match_chunk(X[start : start + ROWS_PER_CHUNK], profiles) for start in starts]
        return Matches(*(np.concatenate(tables) for tables in zip(*chunks, strict=True)))

    def _match_chunk(self, X, profiles):
        """Return the `Matches` of a chunk of rows; ``profiles`` are pairs of a block and its library."""
        return find_matches(
            [compare_rigidly(library, self._emphasise(X[:, block.columns])) for block, library in profiles],
            self._penalty(X),
            sharpness=self.sharpness,
            n_best=self.n_best,
            max_stretch=self.max_stretch,
            max_shift=self.max_shift,
        )

    def _penalty(self, X):
        """Return what chemistry subtracts from the score of each entry, shape (n, n_entries)."""
        compositions = [
            (
                X[:, self._chemistry_columns(block)],
                self._library[block.name].astype(np.float32),
                self.blocks_[block.name],
            )
            for block in self._used
            if self.blocks_[block.name] != "profile"
        ]
        if not compositions:
            return torch.zeros(1, 1).expand(len(X), len(self._labels))
        return chemistry_penalty(compositions, self.chemistry_weight)

    def _sum_by_label(self, matches):
        """Return the weights of `Matches`, summed by label: the probability of each class."""
        n_rows = len(matches.entries)
        proba = np.zeros((n_rows, len(self.classes_)))
        np.add.at(proba, (np.arange(n_rows)[:, None], self._labels[matches.entries]), matches.weights)
        return proba

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags


def _check_entries(entries, n_entries):
    """Return the table of entries with rows counted from 0; None gives a table of one column ``id``.

    Raises
    ------
    ValueError
        If it is not a DataFrame of ``n_entries`` rows, or has a column that `candidates` adds.
    """
    if entries is None:
        return pd.DataFrame({"id": np.arange(n_entries)})
    if not isinstance(entries, pd.DataFrame) or len(entries) != n_entries:
        actual = f"{len(entries)} rows" if isinstance(entries, pd.DataFrame) else type(entries).__name__
        raise ValueError(f"entries must be a DataFrame of one row for each of X, {n_entries}, got {actual}")
    reserved = [name for name in entries.columns if name in _CANDIDATE_COLUMNS]
    if reserved:
        raise ValueError(f"entries must not have columns named {reserved}: candidates adds such columns")
    return entries.reset_index(drop=True)
