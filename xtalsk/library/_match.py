"""Search-match as a scikit-learn classifier."""

import warnings

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from xtalsk._levels import LevelsMixin, levels_of
from xtalsk.columns import find_blocks
from xtalsk.library._blocks import check_entries, use_of
from xtalsk.library._probability import modality_of_blocks
from xtalsk.library._scaled import choose_grids
from xtalsk.library._search import LibrarySearch
from xtalsk.library._search_answers import SearchAnswers
from xtalsk.library._storage import LibraryStorage
from xtalsk.utils import (
    check_classes,
    check_empty_rows,
    most_probable,
    name_rows,
    to_float32,
)

_ACCEPTED = {"dtype": [np.float32, np.float64], "ensure_all_finite": False}


class LibraryMatch(SearchAnswers, LibrarySearch, LibraryStorage, LevelsMixin, ClassifierMixin, BaseEstimator):
    """Search-match: the labels of the library patterns that are most similar to a measured pattern.

    The rows given to `fit` are the library; `make_library` makes them from crystals. The same transformers
    must compute the features of the library and of the measurements. Columns named ``block__column`` form
    one block for each part before the ``__``:

    - A block of intensities against q or d (32 columns or more, named ``q_0000, q_0001, ...``) is a profile.
      Columns without a block are one profile.
    - A block whose columns are all named by elements (``h, he, ...``) is chemistry: atomic fractions as from
      `ElementFractions`, or presence as from `ElementPresence` if the library has only 0 and 1.
    - Other blocks are not used.

    Rings are compared at several line widths and scales: instruments record lines of 0.01 to 0.05 1/Å, and
    camera lengths are wrong by some per cent. See ``line_widths``. Each profile is weighted by sqrt(q) and
    loses its local mean, and the cosine is that of the best width and scale. ``power``, ``baseline``,
    ``smoothing``, ``local_mean``, ``max_stretch`` and ``max_shift`` then have no effect.

    Otherwise, the comparison has two stages. The first compares a row with all entries: each profile loses
    its median, is compressed and smoothed, and loses a share of its local mean. The cosine between two
    profiles is their similarity. Bins that were not measured are left out. The second stage compares the
    ``n_best`` best entries again while parts of the pattern shift to fit, because solid solution changes the
    cells of natural crystals.

    Chemistry that differs lowers the score. The scores of the ``n_best`` entries become probabilities of
    phases, see `match_probability`, which are summed by label. The labels of similar structures are added
    with the probability that the phase is not in the library: see ``isostructural``, `label_probabilities`.
    Where these probabilities are not known (if ``modality_`` is None, or without a profile), a softmax turns
    the scores into weights of entries, which are summed by label.

    An element that was measured and found absent (at most 0.5 at%) excludes the entries that need it: they
    are no candidates. Three kinds of elements never exclude an entry: hydrogen to fluorine, elements below
    5 at% in the entry, and the elements in ``excused``. An entry is also excluded if none of its elements was
    found, although one of them could be seen: an element above fluorine, or one that is not lighter than the
    lightest element found. If every entry is excluded, the label is that of similar structures, or there is
    no answer.

    The defaults of powders were chosen on the even rows of 301 measured minerals with
    ``benchmarks/bench_library.py``: powder profiles of 1024 bins from 0.1 to 0.9 1/Å, see "Search-match" in
    ``benchmarks/README.md``. For their ``chemistry_weight`` the data of the choice are not recorded. Those of
    rings were chosen on simulated images.

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
    local_mean : float, default=0.5
        Share of the local mean, over 173 bins, that both sides lose. Without it, crowded patterns
        resemble every pattern with broad or weak lines.
    max_stretch : float, default=0.005
        Largest shift of a line in the second stage, relative to its position.
    max_shift : float, default=1.0
        Largest shift in addition, in bins. If no line may shift by a bin, there is no second stage.
    chemistry_weight : float or None, default=None
        Weight of chemistry: this number times log(1 + χ² / 4) is subtracted from the score of an entry. χ²
        assumes errors of 10% and of 0.01 for each atomic fraction; hydrogen is left out. 0 compares no
        chemistry, and excludes no entry. None is 1.5, and 5 for rings at several line widths.
    excused : sequence of str, default=("H",)
        Symbols of further elements that never exclude an entry, such as elements that the measurement cannot
        see. Hydrogen to fluorine never do.
    stray : sequence of str, default=("C", "O", "Al", "Ni", "Cu", "Mo", "Au")
        Symbols of elements of film, grid, holder and contamination. They count in a composition that has one
        of them besides oxygen and aluminium (or NaN for it), and that no entry fits as it is. There, stray
        elements may be in excess at a small cost, the elements of an entry are scaled to the measurement by
        one factor, and light elements of an entry (up to fluorine) may be missing. With ``()``, compositions
        are compared as they are.
    sharpness : float, default=25.0
        Factor of the similarity in the score: the ratio of two weights is exp(sharpness × difference of their
        similarities).
    n_best : int, default=100
        Number of entries in the second stage. Only these have a weight. With line widths, the second stage
        has 1% of the entries if that is more, and the ``n_best`` best of them have a weight.
    line_widths : "auto", sequence of float, or None, default="auto"
        Full widths at half maximum, in 1/Å, of the lines with which the library is compared. Widths need a
        library from `make_library`, which knows the grid of q. "auto" takes 0.015, 0.025, 0.035 and 0.05 for
        rings from such a library, and None for all else. None compares the library as it is.
    max_scale_error : float, default=0.05
        With line widths: largest relative error of the scale of q that is searched, at most 0.2.
    scale_error : float, default=0.02
        With line widths: standard deviation of this relative error. Larger errors lower the similarity.
    isostructural : bool, default=True
        Whether the label may come from an entry of other elements, if no phase of the measured elements fits.
        Such entries are compared by their profiles and by their stoichiometry. False: only phases of the
        measured elements count, which is right if the compound is known to be in the library.
    modality : {"powder", "rings"} or None, default=None
        What the profiles are, for the probabilities of `match_probability`. None takes it from the library of
        `make_library`, or from the name of the block of profiles.
    storage : {"int16", "int8"}, default="int16"
        Type of the stored profiles. ``"int8"`` makes the library and its file half as large or less, and
        rounds similarities by up to 0.003.
    all_missing : {"raise", "missing"}, default="raise"
        What `predict_proba` and `predict` do with a row that has neither profile nor chemistry. ``"raise"``:
        they raise ValueError. ``"missing"``: they warn with `xtalsk.utils.NotMeasuredWarning`, and the row
        gets no answer. Its probabilities are NaN. Its label is None, or 0 if labels are integers. If 0 is
        itself a label, it is the number below the smallest label. It can be set after `fit`.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Labels of the library.
    blocks_ : dict of {str: {"profile", "fractions", "presence", "unused"}}
        Use of each block.
    level_classes_ : dict of {str: ndarray}
        If the labels are space-group numbers, the labels of each level of symmetry among them.
    modality_ : {"powder", "rings"} or None
        What the profiles are; None if it is unknown.
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
    Profiles are stored with two bytes per bin: 100,000 patterns of 1024 bins take 205 MB. Several line widths
    are stored with one byte, and entries whose order this could change are compared again without it. `save`
    writes them to a file that is mapped into memory, and `extend` adds entries. Compositions are compared
    first, and profiles only with the entries that they do not exclude; the best entries are those of a
    comparison with all. A row without a profile is compared by its chemistry alone, and a row without
    chemistry by its profiles alone. If a row has several profiles, their similarities are averaged.

    `predict_proba` takes for granted that a label of the library is right; `label_probabilities` does not.
    `match_probability` does not take for granted that the phase is in the library. With 1024 bins from 0.1 to
    0.9 1/Å, measured minerals that are in AMCSD reach a similarity of 0.75 or more, but so do wrong entries.

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

    stray = ()  # classifiers that were saved before these parameters existed know no strays and one width
    line_widths, max_scale_error, scale_error = None, 0.0, 0.02
    isostructural, storage, local_mean = True, "int16", 0.0

    def __init__(
        self,
        power=0.7,
        *,
        baseline="median",
        smoothing=1.5,
        local_mean=0.5,
        max_stretch=0.005,
        max_shift=1.0,
        chemistry_weight=None,
        sharpness=25.0,
        n_best=100,
        excused=("H",),
        stray=("C", "O", "Al", "Ni", "Cu", "Mo", "Au"),
        line_widths="auto",
        max_scale_error=0.05,
        scale_error=0.02,
        isostructural=True,
        modality=None,
        storage="int16",
        all_missing="raise",
    ):
        self.power = power
        self.baseline = baseline
        self.smoothing = smoothing
        self.local_mean = local_mean
        self.max_stretch = max_stretch
        self.max_shift = max_shift
        self.chemistry_weight = chemistry_weight
        self.sharpness = sharpness
        self.n_best = n_best
        self.excused = excused
        self.stray = stray
        self.line_widths = line_widths
        self.max_scale_error = max_scale_error
        self.scale_error = scale_error
        self.isostructural = isostructural
        self.modality = modality
        self.storage = storage
        self.all_missing = all_missing

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
        attrs = getattr(X, "attrs", {})
        columns, grids, unused = (attrs.get(name, {}) for name in ("modalities", "grids", "unused"))
        X, y = validate_data(self, X, y, **_ACCEPTED)
        check_classes(y)
        names = getattr(self, "feature_names_in_", None)
        X = to_float32(X, names)
        blocks = find_blocks(names, self.n_features_in_)
        self.blocks_ = {
            block.name: "unused" if block.name in unused else use_of(block, X, names) for block in blocks
        }
        self._used = [block for block in blocks if self.blocks_[block.name] != "unused"]
        if not self._used:
            raise ValueError(
                f"LibraryMatch needs a block of 32 bins or more against q or d, or a block with one column "
                f"for each element; the blocks are {list(self.blocks_)}"
            )
        check_empty_rows(self._empty_rows(X), self._used_names(), "raise")
        profiles = [name for name, use in self.blocks_.items() if use == "profile"]
        self.modality_ = self.modality or modality_of_blocks(profiles, columns)
        self._grids = choose_grids(
            [block for block in blocks if block.name in profiles], grids, self.line_widths, self.modality_
        )
        self.classes_, self._labels = np.unique(y, return_inverse=True)
        self.level_classes_ = levels_of(self.classes_)
        self.entries_ = check_entries(entries, len(X))
        self._library = {block.name: self._pack(block, X, self.storage) for block in self._used}
        return self

    def predict_proba(self, X):
        """Return the probability of each class, given that one of them is right.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            In the order of ``classes_``. Rows without answer are NaN: those in which nothing was measured,
            with ``all_missing="missing"``, and those whose chemistry excludes every entry.

        Raises
        ------
        ValueError
            If X has infinite values or other columns than the library, or if a row has neither profile nor
            chemistry and ``all_missing="raise"``; the message names the rows.

        Warns
        -----
        UserWarning
            If chemistry excludes every entry for some rows; the message names them.
        """
        X = self._check_rows(X, self.all_missing)
        proba = self._search(X)[0]
        nothing = np.flatnonzero(np.isnan(proba).any(axis=1) & ~self._empty_rows(X))
        if len(nothing):
            warnings.warn(
                f"X: {name_rows(nothing)}: no entry of the library fits, because each has elements that were "
                f"measured and found absent; these rows get no answer",
                UserWarning,
                stacklevel=2,
            )
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

    def _check_rows(self, X, all_missing):
        """Return rows as float32; raise or warn if one has neither profile nor chemistry, None: neither."""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, **_ACCEPTED)
        X = to_float32(X, getattr(self, "feature_names_in_", None))
        if all_missing is not None:
            check_empty_rows(self._empty_rows(X), self._used_names(), all_missing)
        return X

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags
