"""Endless streams of simulated specimens, as features."""

import warnings

import numpy as np
import torch
from sklearn.pipeline import Pipeline
from sklearn.utils import check_random_state, check_scalar

from xtalsk.columns import modality_of
from xtalsk.crystals import BrokenEntryWarning
from xtalsk.crystals._faults import find_faults
from xtalsk.simulation import compute_reflections
from xtalsk.simulation.reflections._cache import crystal_content
from xtalsk.streaming._checks import check_columns, check_compounds, check_missing, check_weights
from xtalsk.streaming._constants import PART_SIZE, RANGE_MARGIN
from xtalsk.streaming._instruments import Formulas, check_settings, check_zones
from xtalsk.streaming._sample import Sampled, fitted
from xtalsk.utils import check_device
from xtalsk.utils._fingerprint import fingerprint


class SpecimenStream(Sampled):
    """Endless simulated specimens of crystals, as features for a network.

    Each chunk of specimens is drawn at random, rendered on the device and transformed into features there,
    with the arithmetic of the transformers. Nothing is stored; `write_stream` stores chunks. Chunk ``k`` has
    the same values whenever it is computed; thus an interrupted training can be resumed.

    Parameters
    ----------
    crystals : CrystalSet
    features : ColumnTransformer
        From `xtalsk.compose.make_features`, with the columns ``powder``, ``rings``, ``spots`` and
        ``formula``. ``spots_1``, ``spots_2`` and so on are zones of one crystal.
    conditions : {"ideal", "typical", "harsh", "measured"} or dict
        Conditions under which patterns are recorded: a preset for all modalities, or by modality a preset,
        a `PowderConditions`, `RingConditions`, `SpotConditions` or `FormulaConditions`, or a list of these.
        Of a list, 256 consecutive specimens share one member, chosen at random; each formula has a member of
        its own.
        Formulas are ``"typical"`` unless the dict names ``"formula"``; their presets are ``"ideal"``,
        ``"typical"`` and ``"microscope"``.
    shares : dict of {str: sequence of float} or None
        By modality, relative frequencies of the members of such a list; equal by default.
    weights : array-like of shape (n_crystals,) or None
        Relative frequency of each crystal; equal by default.
    missing : dict of {str: float} or None
        By modality, the probability that it was not measured. Each specimen keeps at least one modality.
    zones : dict of {int: float} or None
        Relative frequency of each number of zones of a specimen. The first columns of spots hold them, the
        others are not measured. By default all numbers are equally frequent.
    compounds : DataFrame or None
        Compounds whose structures are not among the crystals, such as those of `load_compounds`: columns
        ``formula`` and ``space_group``. Of their specimens nothing but the formula is measured.
    compound_share : float
        Share of the specimens that are compounds, all equally frequent. 0 without ``compounds``.
    chunk_size : int
        Number of specimens in a chunk.
    device : str
        ``"cpu"``, ``"cuda"``, ``"cuda:<n>"``, or ``"auto"``: a CUDA GPU if there is one, else the CPU.
    random_state : int, RandomState or None
    verbose : int
        Above 0 shows the progress of the structure factors, which are computed once.

    Attributes
    ----------
    features_ : ColumnTransformer
        Fitted, as the first step of a pipeline for measured specimens.
    feature_names_ : ndarray of str
        Names of the columns of a chunk.
    columns_ : list of str
        Columns of the specimens that the features use.
    classes_ : ndarray of int
        Space groups of the crystals and compounds.
    fingerprint_ : str
        Hash of the crystals and of all settings that determine the specimens.
    rows_ : ndarray of int
        Crystals that are used. A `BrokenEntryWarning` names the others: faulty crystals, and crystals
        without a line in the range of one of the conditions.

    Raises
    ------
    ValueError
        If the features use another column, or a transformer that has no arithmetic for tensors, or if an
        argument is out of range.

    Examples
    --------
    >>> from xtalsk.compose import make_features
    >>> from xtalsk.datasets import load_amcsd
    >>> from xtalsk.diffraction import PowderProfile
    >>> from xtalsk.streaming import SpecimenStream
    >>> features = make_features(diffraction=("powder", PowderProfile(n_bins=256)))
    >>> stream = SpecimenStream(load_amcsd()[:20], features, chunk_size=64, random_state=0)
    >>> X, y = stream.chunk(0)
    >>> tuple(X.shape), y.shape
    ((64, 256), (64,))
    """

    def __init__(
        self,
        crystals,
        features,
        *,
        conditions="harsh",
        shares=None,
        weights=None,
        missing=None,
        zones=None,
        compounds=None,
        compound_share=0.1,
        chunk_size=2048,
        device="auto",
        random_state=None,
        verbose=0,
    ):
        check_scalar(chunk_size, "chunk_size", int, min_val=1)
        self.chunk_size = chunk_size
        self.device = check_device(device)
        self._seed = int(check_random_state(random_state).randint(2**31))
        self._blocks = list(features.transformers)
        self.columns_ = check_columns(self._blocks)
        modalities = list(dict.fromkeys(map(modality_of, self.columns_)))
        self._missing = check_missing(missing or {}, modalities)
        self._settings, formulas = check_settings(modalities, conditions, shares or {})
        zone_columns = self._columns_of("spots")
        if zones is not None and not zone_columns:
            raise ValueError(f"zones needs features of spots; features use {self.columns_}")
        self._zones = check_zones(zones, len(zone_columns)) if zone_columns else None
        self.features_ = fitted(features, self.columns_)
        self.feature_names_ = self.features_.get_feature_names_out()
        self._functions = self._featurisers()
        self._compounds = check_compounds(compounds, compound_share, formulas)
        texts = [*crystals.formulas, *self._compounds[0]]
        self._formulas = Formulas(texts, *formulas) if formulas else None
        self._reflections = self._compute_reflections(crystals, verbose)
        self.rows_ = self._usable(crystals)
        self._space_groups = np.concatenate([crystals.space_groups, self._compounds[1]]).astype(np.int64)
        weights = check_weights(weights, len(crystals), self.rows_)
        self.classes_ = np.union1d(self._space_groups[self.rows_[weights > 0]], self._compounds[1])
        self._cumulative = weights.cumsum()
        self._content = self._describe(crystals)
        self._modules = [__name__, *(type(step).__module__ for step in _steps(self._blocks))]
        self.fingerprint_ = fingerprint(self._content)

    def _describe(self, crystals):
        """Return fingerprints of all that determines the specimens, by name."""
        instruments = {
            modality: [[instrument.conditions for instrument in instruments], shares]
            for modality, (instruments, shares) in self._settings.items()
        }
        formulas = self._formulas and [self._formulas.conditions, self._formulas.shares]
        content = {
            "crystals": crystal_content(crystals),
            "weights": [self.rows_, self._cumulative],
            "features": [self._blocks, self.feature_names_],
            "conditions": instruments,
            "missing": self._missing,
            "zones": self._zones,
            "formula_conditions": formulas,
            "chunk_size": self.chunk_size,
            "random_state": self._seed,
        }
        if len(self._compounds[0]):
            content["compounds"] = self._compounds
        return {name: fingerprint(value) for name, value in content.items()}

    def chunk(self, k):
        """Make chunk ``k``.

        Parameters
        ----------
        k : int
            From 0.

        Returns
        -------
        X : tensor of float32 on the device, shape (chunk_size, n_features)
            In the order of ``feature_names_``; NaN where missing.
        y : ndarray of int64, shape (chunk_size,)
            Space groups.
        """
        rng = np.random.RandomState(np.random.SeedSequence([self._seed, k]).generate_state(4))
        draws = rng.uniform(0, self._cumulative[-1], self.chunk_size)
        positions = np.searchsorted(self._cumulative, draws, side="right").clip(max=len(self.rows_) - 1)
        rows = self.rows_[positions]
        parts = [self._part(rows[i : i + PART_SIZE], rng) for i in range(0, len(rows), PART_SIZE)]
        X, rows = zip(*parts, strict=True)
        return torch.cat(X), self._space_groups[np.concatenate(rows)]

    def _part(self, rows, rng):
        """Return the features of specimens that share one set of conditions, and their rows.

        Rows from the number of crystals on are compounds.
        """
        features = {}
        for modality in self._settings:
            render = self._render_zones if modality == "spots" else self._render
            features |= render(modality, rows, rng)
        missing = self._draw_missing(len(rows), rng)
        if self._formulas is not None:
            rows, only_formula = self._draw_compounds(rows, missing, rng)
            fractions = self._formulas.measure(rows, rng)
            is_empty = ~np.nan_to_num(fractions).any(1)
            exact = is_empty & only_formula  # a specimen needs at least one column
            fractions[exact] = self._formulas.fractions[rows[exact]]
            _hide_empty_formulas(missing, is_empty & ~exact)
            for name, function in self._functions["formula"][0].items():
                features[name] = torch.from_numpy(function(fractions).astype(np.float32)).to(self.device)
        parts = []
        for name, _, column in self._blocks:
            if name in features:
                is_missing = torch.from_numpy(missing[modality_of(column)]).to(self.device)
                parts.append(features[name].float().masked_fill(is_missing[:, None], torch.nan))
        return torch.cat(parts, dim=1), rows

    def _draw_compounds(self, rows, missing, rng):
        """Replace rows at random by those of compounds, of which all columns but the formula are missing.

        Returns
        -------
        rows : ndarray of int
        only_formula : ndarray of bool
            Specimens that have no other column than the formula.
        """
        formulas, _, share = self._compounds
        if self.columns_ == ["formula"]:
            only_formula = np.ones(len(rows), dtype=bool)
        else:
            only_formula = np.zeros(len(rows), dtype=bool)
        if len(formulas):
            is_compound = rng.uniform(size=len(rows)) < share
            drawn = len(self._space_groups) - len(formulas) + rng.randint(len(formulas), size=len(rows))
            rows, only_formula = np.where(is_compound, drawn, rows), only_formula | is_compound
            for column in missing:
                missing[column] = missing[column] | is_compound
            missing["formula"] &= ~is_compound
        return rows, only_formula

    def _render(self, modality, rows, rng):
        """Return the features of each block of a column, from patterns under randomly chosen conditions."""
        instruments, shares = self._settings[modality]
        choice = rng.choice(len(instruments), p=shares)
        instrument, functions = instruments[choice], self._functions[modality][choice]
        batches = [
            [function(batch) for function in functions.values()]
            for batch in instrument.render(self._reflections[instrument.lines()], rows, rng)
        ]
        by_block = zip(functions, zip(*batches, strict=True), strict=True)
        return {name: torch.cat(parts) for name, parts in by_block}

    def _render_zones(self, modality, rows, rng):
        """Return the features of each block of zones, NaN where a specimen has fewer zones."""
        instruments, shares = self._settings[modality]
        choice = rng.choice(len(instruments), p=shares)
        instrument, columns = instruments[choice], self._columns_of(modality)
        numbers, probabilities = self._zones
        n_zones = rng.choice(numbers, len(rows), p=probabilities)
        features = {}
        for zone, specimens, images in instrument.render_zones(
            self._reflections[instrument.lines()], rows, n_zones, rng
        ):
            for name, function in self._functions[columns[zone]][choice].items():
                values = function(images).float()
                if name not in features:
                    features[name] = values.new_full((len(rows), values.shape[1]), torch.nan)
                features[name][torch.from_numpy(specimens).to(self.device)] = values
        for name, n_columns in self._absent(features):
            features[name] = torch.full((len(rows), n_columns), torch.nan, device=self.device)
        return features

    def _absent(self, features):
        """Return name and number of columns of each block of zones that ``features`` lacks."""
        slices = self.features_.output_indices_
        return [
            (name, slices[name].stop - slices[name].start)
            for name, transformer, column in self._blocks
            if modality_of(column) == "spots" and transformer != "drop" and name not in features
        ]

    def _columns_of(self, modality):
        """Return the columns of a modality, in the order of the features."""
        return [column for column in self.columns_ if modality_of(column) == modality]

    def __getstate__(self):
        """Return the state without the functions of the blocks, which cannot be pickled."""
        return {name: value for name, value in self.__dict__.items() if name != "_functions"}

    def __setstate__(self, state):
        self.__dict__.update(state)
        self._functions = self._featurisers()

    def _draw_missing(self, n, rng):
        """Return by modality which specimens lack it; each specimen keeps at least one modality."""
        draws = rng.uniform(size=(n, len(self._missing)))
        missing = draws < np.array(list(self._missing.values()))
        missing[np.arange(n), draws.argmax(1)] &= ~missing.all(1)
        return dict(zip(self._missing, missing.T, strict=True))

    def _featurisers(self):
        """Return by column, for each set of conditions, the function of each block."""
        sources = {"formula": [None]}
        for modality, (instruments, _) in self._settings.items():
            sources[modality] = [instrument.source(self.device) for instrument in instruments]
        return {
            column: [
                {
                    name: _batched(name, self.features_.named_transformers_[name], source)
                    for name, transformer, used in self._blocks
                    if used == column and transformer != "drop"
                }
                for source in sources[modality_of(column)]
            ]
            for column in self.columns_
        }

    def _compute_reflections(self, crystals, verbose):
        """Return reflections by radiation, d and wavelength; those with the smallest d serve all."""
        needed = {i.lines() for instruments, _ in self._settings.values() for i in instruments}
        reflections = {}
        for radiation, wavelength in {(r, w) for r, _, w in needed}:
            same_source = [lines for lines in needed if (lines[0], lines[2]) == (radiation, wavelength)]
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", BrokenEntryWarning)  # `_usable` names all faulty crystals
                computed = compute_reflections(
                    crystals,
                    radiation,
                    min(d_min for _, d_min, _ in same_source),
                    wavelength=wavelength,
                    device=self.device,
                    verbose=verbose,
                )
            reflections |= dict.fromkeys(same_source, computed)
        return reflections

    def _usable(self, crystals):
        """Return the rows of the crystals that all instruments can record; warn of the others."""
        faults = dict(find_faults(crystals))
        for instruments, _ in self._settings.values():
            for instrument in instruments:
                reflections, (low, high) = self._reflections[instrument.lines()], instrument.reach()
                counts = _lines_between(reflections, low * (1 + RANGE_MARGIN), high * (1 - RANGE_MARGIN))
                for row in np.flatnonzero(counts == 0):
                    faults.setdefault(int(row), f"no line between q = {low:.3g} and {high:.3g} 1/Å")
        if faults:
            warnings.warn(BrokenEntryWarning.of_crystals(crystals, faults), stacklevel=4)
        usable = np.setdiff1d(np.arange(len(crystals)), list(faults))
        if not len(usable):
            raise ValueError("no crystal is left that can be rendered")
        return usable


def _lines_between(reflections, low, high):
    """Return how many lines each crystal has between two values of q in 1/Å."""
    q = reflections.q.cpu().numpy()
    cumulative = np.concatenate([[0], ((q > low) & (q < high)).cumsum()])
    return np.diff(cumulative[reflections.offsets])


def _hide_empty_formulas(missing, is_empty):
    """Mark formulas without any detected element as missing; the other columns of these rows are measured."""
    for column in missing:
        missing[column] = missing[column] | is_empty if column == "formula" else missing[column] & ~is_empty


def _steps(blocks):
    """Return all transformers of the blocks; those of pipelines singly."""
    transformers = [transformer for _, transformer, _ in blocks if transformer != "drop"]
    return [
        step for t in transformers for step in ([s for _, s in t.steps] if isinstance(t, Pipeline) else [t])
    ]


def _batched(block, transformer, source):
    """Return the function from a batch of an instrument to the features of a block."""
    functions = []
    for step in _steps([(block, transformer, None)]):
        if not hasattr(step, "_batched"):
            raise ValueError(f"block {block!r}: {type(step).__name__} cannot be used in a stream")
        functions.append(step._batched(source))
        source = None

    def featurise(batch):
        for function in functions:
            batch = function(batch)
        return batch

    return featurise
