"""The search of `LibraryMatch`: comparison of checked rows with the library."""

from numbers import Integral
from weakref import WeakKeyDictionary

import numpy as np
import torch
from sklearn.utils import check_scalar

from xtalsk.columns import block_presence
from xtalsk.library._blocks import chemistry_columns
from xtalsk.library._chemistry import CompositionLibrary, check_excused, excluded_entries, needed_elements
from xtalsk.library._compare import Matches, chemistry_penalty, compare_rigidly, find_matches
from xtalsk.library._constants import (
    CHEMISTRY_WEIGHT,
    LABEL_LOGITS,
    MATCH_LOGITS,
    RING_WIDTHS,
    ROWS_PER_CHUNK,
    SCALE_COST,
    SCALED_CHEMISTRY_WEIGHT,
)
from xtalsk.library._probability import FITTED_MODALITIES, match_probabilities
from xtalsk.library._profiles import ProfileLibrary, emphasise, pack
from xtalsk.library._scaled import ScaledLibrary, check_widths, to_intensity
from xtalsk.library._strays import Strays
from xtalsk.utils import ALL_MISSING, check_number, check_option

_prepared = WeakKeyDictionary()  # estimator -> (packed library, PreparedLibrary)


class PreparedLibrary:
    """A library, arranged for the comparison.

    Parameters
    ----------
    profiles : list of (Block, ProfileLibrary)
    compositions : list of (ndarray of int, CompositionLibrary)
        For each block of chemistry the columns of X, and the library.
    """

    def __init__(self, profiles, compositions):
        self.profiles, self.compositions = profiles, compositions
        self._needed = None, None

    def needed(self, excused):
        """Return the elements that each entry needs, see `needed_elements`."""
        if self._needed[0] != excused:
            self._needed = excused, needed_elements([library for _, library in self.compositions], excused)
        return self._needed[1]


class LibrarySearch:
    """Private methods of `LibraryMatch`.

    They use its parameters, ``blocks_``, ``classes_`` and ``modality_``; the blocks ``_used``; the `Grid` of
    each profile that is compared at several line widths, ``_grids``; the position ``_labels`` of the label of
    each entry among the classes; and the packed blocks ``_library``.
    """

    _grids = {}  # of classifiers that were saved before there were several line widths

    def _check_params(self):
        for name in ("power", "sharpness", "scale_error"):
            check_number(getattr(self, name), name, min_val=0, include_boundaries="neither")
        check_number(self.max_scale_error, "max_scale_error", min_val=0, max_val=0.2)
        check_widths(self.line_widths)
        for name in ("smoothing", "max_shift", "chemistry_weight"):
            if name != "chemistry_weight" or self.chemistry_weight is not None:
                check_number(getattr(self, name), name, min_val=0)
        check_number(self.max_stretch, "max_stretch", min_val=0, max_val=0.1)
        check_scalar(self.n_best, "n_best", Integral, min_val=1)
        check_option("baseline", self.baseline, ("median", None))
        check_option("modality", self.modality, (*FITTED_MODALITIES, None))
        check_option("all_missing", self.all_missing, ALL_MISSING)
        check_excused(self.excused)
        check_excused(self.stray, "stray")

    def _search(self, X):
        """Return what one search of checked rows gives, NaN for rows without answer.

        Returns
        -------
        proba : ndarray of shape (n_samples, n_classes)
        similarity : float32 ndarray of shape (n_samples,)
            Of the most similar one of the best entries.
        probability : ndarray of shape (n_samples,)
            That the label of the best entry is right.
        """
        rows = np.flatnonzero(~self._empty_rows(X))
        proba = np.full((len(X), len(self.classes_)), np.nan)
        similarity, probability = np.full(len(X), np.nan, dtype=np.float32), np.full(len(X), np.nan)
        if len(rows):
            matches = self._match(X[rows])
            fits = np.isfinite(matches.scores).any(axis=1)
            proba[rows[fits]] = self._sum_by_label(matches)[fits]
            similarity[rows] = np.fmax.reduce(matches.similarity, axis=1)
            probability[rows] = self._probability(X[rows], matches, LABEL_LOGITS)[:, 0]
        return proba, similarity, probability

    def _empty_rows(self, X):
        """Return for each row whether it has neither profile nor chemistry."""
        return ~block_presence(X, self._used).any(axis=1)

    def _used_names(self):
        return [block.name for block in self._used]

    def _emphasise(self, profiles):
        return emphasise(torch.from_numpy(profiles), self.baseline, self.power, self.smoothing)

    def _pack(self, block, X):
        """Return one block of the library in compact form: int8 profiles or float16 compositions."""
        if block.name in self._grids:
            return pack(
                to_intensity(torch.from_numpy(X[:, block.columns]), self._grids[block.name].scale).sqrt()
            )
        if self.blocks_[block.name] == "profile":
            return pack(self._emphasise(X[:, block.columns]))
        return X[:, chemistry_columns(block, self.feature_names_in_)[0]].astype(np.float16)

    def _prepared(self):
        """Return the library, arranged for the comparison: profiles, compositions and elements needed.

        It is kept in memory as long as the estimator and its library.
        """
        library, prepared = _prepared.get(self, (None, None))
        if library is not self._library:
            profiles = [block for block in self._used if self.blocks_[block.name] == "profile"]
            compositions = [block for block in self._used if self.blocks_[block.name] != "profile"]
            prepared = PreparedLibrary(
                [(block, self._prepare_profiles(block)) for block in profiles],
                [self._prepare_composition(block) for block in compositions],
            )
            _prepared[self] = self._library, prepared
        return prepared

    def _prepare_profiles(self, block):
        """Return the library of one block of profiles."""
        packed = self._library[block.name]
        if block.name not in self._grids:
            return ProfileLibrary(packed, block.first)
        widths = RING_WIDTHS if isinstance(self.line_widths, str) else self.line_widths
        price = SCALE_COST / self.scale_error**2
        return ScaledLibrary(packed, self._grids[block.name], widths, self.max_scale_error, price)

    def _prepare_composition(self, block):
        """Return the columns of X that a block of chemistry uses, and its library."""
        columns, numbers = chemistry_columns(block, self.feature_names_in_)
        library = CompositionLibrary(self._library[block.name], numbers, self.blocks_[block.name])
        return columns, library

    def _match(self, X):
        """Return the `Matches` of checked rows, which are compared in chunks."""
        starts = range(0, max(1, len(X)), ROWS_PER_CHUNK)
        chunks = [self._match_chunk(X[start : start + ROWS_PER_CHUNK]) for start in starts]
        return Matches(*(np.concatenate(tables) for tables in zip(*chunks, strict=True)))

    def _match_chunk(self, X):
        """Return the `Matches` of a chunk of rows."""
        penalty, is_candidate = self._penalty(X)
        return find_matches(
            [
                self._compare(block, library, X[:, block.columns], is_candidate)
                for block, library in self._prepared().profiles
            ],
            penalty,
            sharpness=self.sharpness,
            n_best=self.n_best,
            max_stretch=self.max_stretch,
            max_shift=self.max_shift,
        )

    def _compare(self, block, library, profiles, is_candidate):
        """Return the first stage of one block of profiles."""
        if block.name in self._grids:
            profiles = torch.from_numpy(profiles)
            return library.compare(to_intensity(profiles, self._grids[block.name].scale))
        return compare_rigidly(library, self._emphasise(profiles), is_candidate)

    def _compositions(self, X):
        """Return for each chemistry block the measured amounts and the library."""
        return [(X[:, columns], library) for columns, library in self._prepared().compositions]

    def _penalty(self, X):
        """Return what chemistry subtracts from the score of each entry, and which entries it leaves.

        Both have the shape (n, n_entries). The penalty of excluded entries is infinite.
        """
        compositions = self._compositions(X)
        weight = self._chemistry_weight()
        if not compositions or not weight:
            return torch.zeros(1, 1).expand(len(X), len(self._labels)), None
        excused = check_excused(self.excused)
        excluded = excluded_entries(compositions, self._prepared().needed(excused))
        strays = Strays(self.stray) if len(self.stray) else None
        penalty = chemistry_penalty(compositions, weight, strays, ~excluded)
        return penalty.masked_fill_(torch.from_numpy(excluded), torch.inf), ~excluded

    def _probability(self, X, matches, logits=MATCH_LOGITS):
        """Return the probability that each of the best entries is the measured phase."""
        chemistry = [~np.isnan(measured).all(axis=1) for measured, _ in self._compositions(X)]
        return match_probabilities(
            matches,
            self._labels[matches.entries],
            self.sharpness,
            np.any([np.zeros(len(X), dtype=bool), *chemistry], axis=0) & (self._chemistry_weight() > 0),
            logits.get(self._kind()),
        )

    def _kind(self):
        """Return the key of the profiles in the tables of probabilities."""
        return "scaled_" * bool(self._grids) + str(self.modality_)

    def _chemistry_weight(self):
        if self.chemistry_weight is None:
            return SCALED_CHEMISTRY_WEIGHT if self._grids else CHEMISTRY_WEIGHT
        return self.chemistry_weight

    def _sum_by_label(self, matches):
        """Return the weights of `Matches`, summed by label: the probability of each class."""
        n_rows = len(matches.entries)
        proba = np.zeros((n_rows, len(self.classes_)))
        np.add.at(proba, (np.arange(n_rows)[:, None], self._labels[matches.entries]), matches.weights)
        return proba

    def match_probability(self, X):
        """Return the probability that the best entry is the measured phase.

        A logistic function of the similarity, of the gap to the best entry of another label, and of the
        misfit of the chemistry. It was fitted on simulated measurements, harsh powders and ring images as
        laboratories record them; for half of them, the library had no entry of the compound. It holds for the
        default parameters and for profiles like those of `PowderProfile` and `RadialProfile`.

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
        X = self._check_rows(X, "missing")
        if self._kind() not in MATCH_LOGITS and "profile" in self.blocks_.values():
            raise ValueError(
                f"the probability of a match depends on the modality of the profiles: set modality to one of "
                f"{FITTED_MODALITIES}, and line_widths only for rings"
            )
        rows, out = ~self._empty_rows(X), np.full(len(X), np.nan)
        if rows.any():
            out[rows] = self._probability(X[rows], self._match(X[rows]))[:, 0]
        return out

    def label_probability(self, X):
        """Return the probability that the label of the best entry is right.

        It exceeds `match_probability`, because the best entry is often another compound of the same
        structure. It was fitted on the same simulations. `LibraryBlend` weights the library by it.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,)
            0 if chemistry excludes every entry. NaN for rows without a profile, and where the probability is
            not known: if the modality is None, or if rings are compared at one line width.
        """
        return self._search(self._check_rows(X, "missing"))[2]

    def nothing_fits(self, X, threshold=0.5):
        """Return whether no entry of the library is likely to be the measured phase.

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
