"""The search of `LibraryMatch`: comparison of checked rows with the library."""

import threading
import weakref
from numbers import Integral
from weakref import WeakKeyDictionary

import numpy as np
import torch
from joblib import hash as joblib_hash
from sklearn.utils import check_scalar

from xtalsk.columns import block_presence
from xtalsk.library._blocks import chemistry_columns
from xtalsk.library._chemistry import CompositionLibrary, check_excused, excluded_entries, needed_elements
from xtalsk.library._compare import chemistry_penalty, compare_rigidly, find_matches, joined
from xtalsk.library._constants import (
    CHEMISTRY_WEIGHT,
    PAIRS_PER_CHUNK,
    PHASE_LOGITS,
    REMEMBERED_ROWS,
    RING_WIDTHS,
    ROWS_PER_CHUNK,
    SCALE_COST,
    SCALED_CHEMISTRY_WEIGHT,
    SCALED_PAIRS_PER_CHUNK,
    SURE_PHASE,
)
from xtalsk.library._probability import (
    FITTED_MODALITIES,
    is_first,
    phase_probabilities,
    phases_of,
    structure_probabilities,
)
from xtalsk.library._profiles import ProfileLibrary, emphasise, pack
from xtalsk.library._scaled import ScaledLibrary, arrange_profiles, check_widths, to_intensity
from xtalsk.library._strays import Strays
from xtalsk.library._structures import stoichiometry_penalty
from xtalsk.utils import ALL_MISSING, check_number, check_option
from xtalsk.utils._threads import for_each

_prepared = WeakKeyDictionary()  # estimator -> (packed library, PreparedLibrary)
_last = threading.local()  # rows that this thread compared last, and their matches


class PreparedLibrary:
    """A library, arranged for the comparison.

    Parameters
    ----------
    profiles : list of (Block, ProfileLibrary)
    compositions : list of (ndarray of int, CompositionLibrary)
        For each block of chemistry the columns of X, and the library.
    phases : ndarray of int, shape (n_entries,)
        Number of the phase of each entry.
    """

    def __init__(self, profiles, compositions, phases):
        self.profiles, self.compositions, self.phases = profiles, compositions, phases
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
        check_number(self.local_mean, "local_mean", min_val=0, max_val=1)
        check_number(self.max_stretch, "max_stretch", min_val=0, max_val=0.1)
        check_scalar(self.n_best, "n_best", Integral, min_val=1)
        check_option("baseline", self.baseline, ("median", None))
        check_option("modality", self.modality, (*FITTED_MODALITIES, None))
        check_option("storage", self.storage, ("int16", "int8"))
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
        by_label : ndarray of shape (n_samples, n_classes)
            See `label_probabilities`.
        """
        rows = np.flatnonzero(~self._empty_rows(X))
        proba, by_label = np.full((2, len(X), len(self.classes_)), np.nan)
        similarity = np.full(len(X), np.nan, dtype=np.float32)
        if len(rows):
            matches, *structures = self._matches(X[rows])
            similarity[rows] = np.fmax.reduce(matches.similarity, axis=1)
            by_label[rows] = self._label_probabilities(X[rows], matches, structures)
            unknown = np.isnan(by_label[rows])
            weights = np.where(unknown, self._sum_by_label(matches), by_label[rows])
            total = weights.sum(axis=1, keepdims=True)
            fits = total[:, 0] > 0
            proba[rows[fits]] = weights[fits] / total[fits]
        return proba, similarity, by_label

    def _label_probabilities(self, X, matches, structures):
        """Return the probability of each label, NaN where unknown; the rest is that of no label.

        ``structures`` are the rows with similar structures, and the `Matches` of these, see `_matches`.
        """
        probability, in_library = self._phase_probabilities(X, matches)
        phases = self._prepared().phases[matches.entries]
        out = self._sum_by_label(matches, np.where(is_first(phases), probability, 0))
        out[np.isnan(in_library)] = np.nan
        if self.isostructural and self._kind() in PHASE_LOGITS:
            alone = np.flatnonzero(~self._has_chemistry(X) & ~np.isnan(in_library))
            for rows, others in ((alone, matches.of(alone)), structures):
                has_chemistry = self._has_chemistry(X[rows])
                labels, kind = self._labels[others.entries], self._kind()
                share = structure_probabilities(others, labels, self.sharpness, has_chemistry, kind)
                out[rows] += (1 - in_library[rows, None]) * self._sum_by_label(others, np.nan_to_num(share))
        return out

    def _empty_rows(self, X):
        """Return for each row whether it has neither profile nor chemistry."""
        return ~block_presence(X, self._used).any(axis=1)

    def _used_names(self):
        return [block.name for block in self._used]

    def _emphasise(self, profiles):
        return emphasise(torch.from_numpy(profiles), self.baseline, self.power, self.smoothing)

    def _pack(self, block, X, storage):
        """Return one block of the library in compact form: profiles as integers, float16 compositions."""
        if block.name in self._grids:
            intensity = to_intensity(torch.from_numpy(X[:, block.columns]), self._grids[block.name].scale)
            return pack(intensity.sqrt(), getattr(torch, storage))
        if self.blocks_[block.name] == "profile":
            return pack(self._emphasise(X[:, block.columns]), getattr(torch, storage))
        return X[:, chemistry_columns(block, self.feature_names_in_)[0]].astype(np.float16)

    def _prepared(self):
        """Return the library, arranged for the comparison: profiles, compositions and elements needed.

        It is kept in memory as long as the estimator and its library.
        """
        library, prepared = _prepared.get(self, (None, None))
        if library is not self._library:
            prepared = self._prepare()
        return prepared

    def _prepare(self, arranged=None):
        """Arrange the library for the comparison, and keep it.

        ``arranged`` has what is known of the blocks at several line widths, see `arrange_profiles`.
        """
        arranged = arranged or {}
        profiles = [block for block in self._used if self.blocks_[block.name] == "profile"]
        compositions = [block for block in self._used if self.blocks_[block.name] != "profile"]
        prepared = PreparedLibrary(
            [(block, self._prepare_profiles(block, arranged.get(block.name))) for block in profiles],
            [self._prepare_composition(block) for block in compositions],
            phases_of(self.entries_, self._labels),
        )
        _prepared[self] = self._library, prepared
        return prepared

    def _line_widths(self):
        """Return the line widths of a library with several ones, in 1/Å."""
        return RING_WIDTHS if isinstance(self.line_widths, str) else self.line_widths

    def _prepare_profiles(self, block, arranged=None):
        """Return the library of one block of profiles."""
        packed = self._library[block.name]
        if block.name not in self._grids:
            return ProfileLibrary(packed, block.first, self.local_mean)
        grid, price = self._grids[block.name], SCALE_COST / self.scale_error**2
        arranged = arranged or arrange_profiles(packed, grid, self._line_widths())
        exact = packed if packed.dtype == np.int16 else None  # older libraries have one byte a bin
        return ScaledLibrary(arranged, grid, self._line_widths(), self.max_scale_error, price, exact)

    def _prepare_composition(self, block):
        """Return the columns of X that a block of chemistry uses, and its library."""
        columns, numbers = chemistry_columns(block, self.feature_names_in_)
        library = CompositionLibrary(self._library[block.name], numbers, self.blocks_[block.name])
        return columns, library

    def _match(self, X):
        """Return the `Matches` of checked rows."""
        return self._matches(X)[0]

    def _matches(self, X):
        """Return the `Matches` of checked rows, the rows that need similar structures, and their `Matches`.

        Rows are compared in chunks, in several threads. The calling thread remembers its last few rows:
        probabilities and candidates need one search.
        """
        library = id(self._library), len(self._labels)
        key = weakref.ref(self), library, joblib_hash((self.get_params(), X))
        if len(X) <= REMEMBERED_ROWS and getattr(_last, "key", None) == key:
            return _last.matches
        n_pairs = SCALED_PAIRS_PER_CHUNK if self._grids else PAIRS_PER_CHUNK
        n_rows = max(1, min(ROWS_PER_CHUNK, n_pairs // len(self._labels)))
        starts = range(0, max(1, len(X)), n_rows)
        self._prepared()  # before threads need it
        chunks = for_each(lambda k: self._match_chunk(X[starts[k] : starts[k] + n_rows]), len(starts))
        first, rows, second = zip(*chunks, strict=True)
        rows = np.concatenate([start + own for start, own in zip(starts, rows, strict=True)])
        matches = joined(first), rows, joined(second)
        if len(X) <= REMEMBERED_ROWS:
            _last.key, _last.matches = key, matches
        return matches

    def _match_chunk(self, X):
        """Return what `_matches` returns, of a chunk of rows.

        Rows with chemistry need similar structures if their phase may be another one.
        """
        penalty, is_candidate = self._penalty(X)
        comparisons = self._compare_blocks(X, is_candidate)
        matches = self._find_matches(comparisons, penalty)
        rows = np.zeros(0, dtype=np.int64)
        if self.isostructural and self._kind() in PHASE_LOGITS:
            in_library = self._phase_probabilities(X, matches)[1]
            rows = np.flatnonzero(self._has_chemistry(X) & (in_library < SURE_PHASE))
        if not len(rows):
            return matches, rows, matches.of(rows)
        return matches, rows, self._similar_structures(X[rows], [of.of(rows) for of in comparisons])

    def _similar_structures(self, X, comparisons=None):
        """Return the `Matches` of rows by profile and stoichiometry, whatever the elements are."""
        penalty = stoichiometry_penalty(self._compositions(X), self.stray)
        if penalty is None:
            penalty = torch.zeros(1, 1).expand(len(X), len(self._labels))
        return self._find_matches(comparisons or self._compare_blocks(X), penalty)

    def _compare_blocks(self, X, is_candidate=None):
        """Return the first stage of all blocks of profiles."""
        return [
            self._compare(block, library, X[:, block.columns], is_candidate)
            for block, library in self._prepared().profiles
        ]

    def _find_matches(self, comparisons, penalty):
        """Return the `Matches` of a chunk of rows, given what is subtracted from the score of each entry."""
        return find_matches(
            comparisons,
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
            return library.compare(to_intensity(profiles, self._grids[block.name].scale), is_candidate)
        return compare_rigidly(library, self._emphasise(profiles), is_candidate)

    def _compositions(self, X):
        """Return for each chemistry block the measured amounts and the library."""
        return [(X[:, columns], library) for columns, library in self._prepared().compositions]

    def _misfit(self, X):
        """Return the misfit of the chemistry with each entry, infinite if it is excluded, (n, n_entries)."""
        return self._penalty(X)[0].numpy() / self._chemistry_weight()

    def _penalty(self, X):
        """Return what chemistry subtracts from the score of each entry, and which entries it leaves.

        Both have the shape (n, n_entries). The penalty of excluded entries is infinite.
        """
        compositions = self._compositions(X)
        weight = self._chemistry_weight()
        if not compositions or not weight:
            return torch.zeros(1, 1).expand(len(X), len(self._labels)), None
        excused = check_excused(self.excused)
        excluded = excluded_entries(compositions, self._prepared().needed(excused), excused)
        strays = Strays(self.stray) if len(self.stray) else None
        penalty = chemistry_penalty(compositions, weight, strays, ~excluded)
        return penalty.masked_fill_(torch.from_numpy(excluded), torch.inf), ~excluded

    def _probability(self, X, matches):
        """Return the probability that the phase of each of the best entries was measured."""
        return self._phase_probabilities(X, matches)[0]

    def _phase_probabilities(self, X, matches):
        """Return the probabilities of the phases of the best entries, and their sum, see `_probability`."""
        labels, phases = self._labels[matches.entries], self._prepared().phases[matches.entries]
        return phase_probabilities(
            matches, labels, phases, self.sharpness, self._has_chemistry(X), self._kind()
        )

    def _has_chemistry(self, X):
        """Return for each row whether it has chemistry that is compared."""
        chemistry = [~np.isnan(measured).all(axis=1) for measured, _ in self._compositions(X)]
        return np.any([np.zeros(len(X), dtype=bool), *chemistry], axis=0) & (self._chemistry_weight() > 0)

    def _has_profile(self, X):
        """Return for each row whether it has a profile that is compared."""
        blocks = [block for block in self._used if self.blocks_[block.name] == "profile"]
        return block_presence(X, blocks).any(axis=1)

    def _kind(self):
        """Return the key of the profiles in the tables of probabilities."""
        return "scaled_" * bool(self._grids) + str(self.modality_)

    def _chemistry_weight(self):
        if self.chemistry_weight is None:
            return SCALED_CHEMISTRY_WEIGHT if self._grids else CHEMISTRY_WEIGHT
        return self.chemistry_weight

    def _sum_by_label(self, matches, weights=None):
        """Return weights of the best entries, summed by label; by default those of `Matches`."""
        n_rows = len(matches.entries)
        out = np.zeros((n_rows, len(self.classes_)))
        places = np.arange(n_rows)[:, None], self._labels[matches.entries]
        np.add.at(out, places, matches.weights if weights is None else weights)
        return out
