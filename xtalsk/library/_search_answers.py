"""What `LibraryMatch` answers besides labels: candidates, similarity, and how likely phases are."""

from numbers import Integral

import numpy as np
from sklearn.utils import check_scalar

from xtalsk.library._constants import PHASE_LOGITS
from xtalsk.library._probability import FITTED_MODALITIES
from xtalsk.utils import check_number


class SearchAnswers:
    """Methods of `LibraryMatch` that users call besides `predict`; they use those of `LibrarySearch`."""

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
            from 1. Then follow the columns of ``entries_`` and the ``label``. ``score`` is the weight after
            a softmax; the weights of the ``n_best`` entries add up to 1. ``similarity`` is that of the
            profiles, NaN for rows without a profile. ``probability`` is that of its phase, which entries of
            one phase share, see `match_probability`. ``scale`` is the measured q over the q of the entry, and
            ``width`` the line width in 1/Å; they are NaN without ``line_widths``. Rows in which nothing was
            measured, and rows that no entry fits, have no candidates.

        Warns
        -----
        NotMeasuredWarning
            If nothing was measured in some rows.
        """
        check_scalar(n, "n", Integral, min_val=1)
        X = self._check_rows(X, "missing")
        rows = np.flatnonzero(~self._empty_rows(X))
        matches = self._match(X[rows])
        probability = self._probability(X[rows], matches)
        row, rank = np.nonzero(np.isfinite(matches.scores[:, :n]))
        entries = matches.entries[row, rank]
        table = self.entries_.iloc[entries].reset_index(drop=True)
        table.insert(0, "row", rows[row])
        table.insert(1, "rank", rank + 1)
        table["label"] = self.classes_[self._labels[entries]]
        return table.assign(
            score=matches.weights[row, rank],
            similarity=matches.similarity[row, rank],
            probability=probability[row, rank],
            scale=matches.scale[row, rank],
            width=matches.width[row, rank],
        )

    def similarity(self, X):
        """Return the similarity of the profiles to the most similar one of the best entries.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of float32, shape (n_samples,)
            1 for identical patterns. NaN for rows without a profile, and for those whose chemistry excludes
            every entry. If it is low, no entry of the library fits, whatever the probabilities are.
        """
        return self._search(self._check_rows(X, "missing"))[1]

    def predict_proba_and_similarity(self, X):
        """Return the results of `predict_proba` and `similarity` of one search, without warnings.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        proba : ndarray of shape (n_samples, n_classes)
            In the order of ``classes_``. NaN for rows without answer.
        similarity : ndarray of float32, shape (n_samples,)
            NaN for rows without a profile or without answer.

        Raises
        ------
        ValueError
            If X has infinite values or other columns than the library.
        """
        return self._search(self._check_rows(X, None))[:2]

    def match_probability(self, X):
        """Return the probability that the phase of the best entry was measured.

        Entries of one label and one ``mineral`` in ``entries_`` (or one ``formula``, if there is no name) are
        one phase. Phases exclude each other: their probabilities add up to the probability that the measured
        phase is in the library, at most 1.

        The latter is a logistic function of the similarity of the best entry, of its gap to the best entry of
        another label, and of the misfit of its chemistry. The share of each phase is a softmax of the scores.
        Both were fitted on simulated measurements, harsh powders and ring images as laboratories record them;
        for half of them, the library had no entry of the compound. They hold for the default parameters and
        for profiles like those of `PowderProfile` and `RadialProfile`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,)
            0 if chemistry excludes every entry, NaN for rows without a profile.

        Raises
        ------
        ValueError
            If the modality of the profiles is unknown, or if powders are compared at several line widths.
        """
        return self._best_and_library(X)[0]

    def no_match_probability(self, X):
        """Return the probability that no entry of the library is the measured phase.

        It is what the probabilities of the phases, see `match_probability`, leave to 1.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,)
            1 if chemistry excludes every entry, NaN for rows without a profile.

        Raises
        ------
        ValueError
            As in `match_probability`.
        """
        return 1 - self._best_and_library(X)[1]

    def _best_and_library(self, X):
        """Return the probabilities of the phase of the best entry, and of all phases of the library."""
        X = self._check_rows(X, "missing")
        if self._kind() not in PHASE_LOGITS and "profile" in self.blocks_.values():
            raise ValueError(
                f"the probability of a match depends on the modality of the profiles: set modality to one of "
                f"{FITTED_MODALITIES}, and line_widths only for rings"
            )
        rows, best, all_phases = ~self._empty_rows(X), *np.full((2, len(X)), np.nan)
        if rows.any():
            probability, all_phases[rows] = self._phase_probabilities(X[rows], self._match(X[rows]))
            best[rows] = probability[:, 0]
        return best, all_phases

    def label_probabilities(self, X):
        """Return the probability of each label; what is missing to 1 is that of no label of the library.

        A label is right if the measured phase is an entry of this label, or if it is not in the library but
        isostructural with such an entry (with ``isostructural``). `predict_proba` has the same probabilities,
        but takes for granted that one of the labels is right.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            In the order of ``classes_``. NaN for rows without a profile, and where the probabilities are not
            known: if the modality is None, or if powders are compared at several line widths.
        """
        return self._search(self._check_rows(X, "missing"))[2]

    def label_probability(self, X):
        """Return the probability that the most probable label is right.

        It is the largest one of `label_probabilities`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        return self.label_probabilities(X).max(axis=1)

    def nothing_fits(self, X, threshold=0.5):
        """Return whether no phase of the library is likely to be the measured one.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        threshold : float, default=0.5
            Nothing fits if `match_probability` is below this value.

        Returns
        -------
        ndarray of bool, shape (n_samples,)
            False for rows without a profile, unless their chemistry excludes every entry.
        """
        check_number(threshold, "threshold", min_val=0, max_val=1)
        return self.match_probability(X) < threshold
