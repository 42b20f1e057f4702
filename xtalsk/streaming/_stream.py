"""Specimens without end, as features."""

import warnings
from collections.abc import Mapping

import joblib
import numpy as np
import pandas as pd
import torch
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from sklearn.utils import check_random_state, check_scalar

from xtalsk.crystals import BrokenEntryWarning
from xtalsk.crystals._faults import find_faults
from xtalsk.simulation import compute_reflections
from xtalsk.simulation.spectra._formulas import atomic_fractions, measured_fractions
from xtalsk.streaming._instruments import INSTRUMENTS, check_settings
from xtalsk.utils import check_device

_PART = 256  # specimens recorded under one set of conditions
_SAMPLE = 2048  # specimens from which the network learns how features are spread


class SpecimenStream:
    """Specimens of crystals without end, each recorded anew, as the features that a network learns from.

    Nothing is stored: a chunk of specimens is drawn, rendered on the device, turned into features there by
    the arithmetic of the transformers, and forgotten. Chunk ``k`` is the same each time it is asked for, so
    that training can be taken up where it was left.

    Parameters
    ----------
    crystals : CrystalSet
    features : ColumnTransformer
        As `xtalsk.compose.make_features` makes it, of the columns ``powder``, ``rings`` and ``formula``.
    conditions : {"ideal", "typical", "harsh"} or dict
        How patterns are recorded: a preset for all, or by modality a preset, a `PowderConditions` or
        `RingConditions`, or a list of these, of which every 256 specimens draw one.
    shares : dict of {str: sequence of float} or None
        By modality, how often each member of such a list is drawn, relative to the others; by default
        equally often.
    weights : array-like of shape (n_crystals,) or None
        How often each crystal is drawn, relative to the others; equally by default.
    formula_params : dict, list of dict or None
        Arguments of `xtalsk.simulation.simulate_formulas`, or several sets of them, drawn like conditions.
    missing : dict of {str: float} or None
        By column, the probability that it was not measured; one column of each specimen always is.
    chunk_size : int
        Specimens of a chunk.
    device : str
        ``"auto"`` takes a CUDA GPU where there is one; else ``"cpu"``, ``"cuda"`` or ``"cuda:<n>"``.
    random_state : int, RandomState or None
    verbose : int
        Above 0 shows progress of the structure factors, which are computed once.

    Attributes
    ----------
    features_ : ColumnTransformer
        Fitted: what a pipeline for measured specimens starts with.
    feature_names_ : ndarray of str
        Names of the columns of a chunk.
    columns_ : list of str
        Columns of the specimens that the features use.
    classes_ : ndarray of int
        Space groups that occur.
    fingerprint_ : str
        Hash of what decides which specimens come.
    rows_ : ndarray of int
        Crystals that are used. Faulty ones, and those without a line in the range of some conditions, are
        left out and named in a `BrokenEntryWarning`.

    Raises
    ------
    ValueError
        If the features use another column or a transformer that cannot work on a device, or an argument is
        out of range.

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
        formula_params=None,
        missing=None,
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
        columns = {column: None for _, transformer, column in self._blocks if transformer != "drop"}
        unknown = [c for c in columns if c not in (*INSTRUMENTS, "formula")]
        if unknown:
            raise ValueError(
                f"features use the columns {unknown}; a stream makes {[*INSTRUMENTS, 'formula']}"
            )
        self.columns_ = list(columns)
        self._missing = _check_missing(missing or {}, columns)
        self._settings = check_settings(columns, conditions, shares or {})
        self.features_ = clone(features).fit(
            pd.DataFrame({c: pd.Series([None], dtype=object) for c in columns})
        )
        self.feature_names_ = self.features_.get_feature_names_out()
        self._functions = self._featurisers()
        single = isinstance(formula_params, Mapping | None)
        self._formula_params = [formula_params or {}] if single else list(formula_params)
        self._fractions = atomic_fractions(crystals.formulas) if "formula" in columns else None
        if not self._formula_params:
            raise ValueError("formula_params must hold at least one set of arguments")
        for params in self._formula_params if "formula" in columns else ():
            measured_fractions(self._fractions[:1], np.random.RandomState(0), **params)
        self._lines = self._reflections(crystals, verbose)
        self.rows_ = self._usable(crystals)
        self._space_groups = np.asarray(crystals.space_groups).astype(np.int64)
        weights = _check_weights(weights, len(crystals), self.rows_)
        self.classes_ = np.unique(self._space_groups[self.rows_[weights > 0]])
        self._cumulative = weights.cumsum()
        settings = [[repr(i.conditions) for i in some] + [shares] for some, shares in self._settings.values()]
        self.fingerprint_ = joblib.hash(
            {
                "seed": self._seed,
                "blocks": [repr(self._blocks), list(self.feature_names_)],
                "crystals": [crystals.ids, self._space_groups, self.rows_, self._cumulative],
                "recorded": [settings, self._missing, self._formula_params, chunk_size],
            }
        )

    def chunk(self, k):
        """Make chunk ``k``.

        Returns
        -------
        X : tensor of float32 on the device, shape (chunk_size, n_features)
            In the order of ``feature_names_``; NaN where nothing was measured.
        y : ndarray of int64, shape (chunk_size,)
            Space groups.
        """
        rng = np.random.RandomState(np.random.SeedSequence([self._seed, k]).generate_state(4))
        draws = rng.uniform(0, self._cumulative[-1], self.chunk_size)
        place = np.searchsorted(self._cumulative, draws, side="right").clip(max=len(self.rows_) - 1)
        rows = self.rows_[place]
        parts = [self._part(rows[i : i + _PART], rng) for i in range(0, len(rows), _PART)]
        return torch.cat(parts), self._space_groups[rows]

    def sample(self, n_specimens=_SAMPLE):
        """Make the first chunks, as many as it takes, as a table: DataFrame of features, and space groups."""
        n_chunks = -(-n_specimens // self.chunk_size)
        X, y = zip(*(self.chunk(k) for k in range(n_chunks)), strict=True)
        return pd.DataFrame(torch.cat(X).cpu().numpy(), columns=self.feature_names_), np.concatenate(y)

    def _part(self, rows, rng):
        """Features of specimens that were recorded under one set of conditions."""
        made = {}
        for column, (instruments, shares) in self._settings.items():
            chosen = rng.choice(len(instruments), p=shares)
            found = self._lines[instruments[chosen].lines()]
            blocks = self._functions[column][chosen]
            batches = [
                [function(batch) for function in blocks.values()]
                for batch in instruments[chosen].render(found, rows, rng)
            ]
            made |= {
                name: torch.cat(some) for name, some in zip(blocks, zip(*batches, strict=True), strict=True)
            }
        gone = self._draw_missing(len(rows), rng)
        if self._fractions is not None:
            params = self._formula_params[rng.randint(len(self._formula_params))]
            seen = measured_fractions(self._fractions[rows], rng, **params)
            unseen = ~seen.any(1)
            for column in gone:
                gone[column] = gone[column] | unseen if column == "formula" else gone[column] & ~unseen
            for name, function in self._functions["formula"][0].items():
                made[name] = torch.from_numpy(function(seen).astype(np.float32)).to(self.device)
        parts = [
            made[name].float().masked_fill(torch.from_numpy(gone[column]).to(self.device)[:, None], torch.nan)
            for name, _, column in self._blocks
            if name in made
        ]
        return torch.cat(parts, dim=1)

    def _draw_missing(self, n, rng):
        """By column, whether it was not measured; one column of each row always was."""
        draws = rng.uniform(size=(n, len(self._missing)))
        gone = draws < np.array(list(self._missing.values()))
        gone[np.arange(n), draws.argmax(1)] &= ~gone.all(1)
        return dict(zip(self._missing, gone.T, strict=True))

    def _featurisers(self):
        """By column and conditions, the functions of the blocks."""
        functions = {}
        for column, sources in {**self._sources(), "formula": [None]}.items():
            functions[column] = [
                {
                    name: _batched(name, self.features_.named_transformers_[name], source)
                    for name, transformer, used in self._blocks
                    if used == column and transformer != "drop"
                }
                for source in sources
            ]
        return functions

    def _sources(self):
        return {
            column: [instrument.source(self.device) for instrument in instruments]
            for column, (instruments, _) in self._settings.items()
        }

    def _reflections(self, crystals, verbose):
        """Reflections by radiation, reach and wavelength; what reaches further serves the others too."""
        wanted = {i.lines() for instruments, _ in self._settings.values() for i in instruments}
        found = {}
        for radiation, wavelength in {(w[0], w[2]) for w in wanted}:
            d_min = min(w[1] for w in wanted if (w[0], w[2]) == (radiation, wavelength))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", BrokenEntryWarning)  # `_usable` names them
                lines = compute_reflections(
                    crystals, radiation, d_min, wavelength=wavelength, device=self.device, verbose=verbose
                )
            found |= {w: lines for w in wanted if (w[0], w[2]) == (radiation, wavelength)}
        return found

    def _usable(self, crystals):
        faults = dict(find_faults(crystals))
        for instruments, _ in self._settings.values():
            for instrument in instruments:
                lines, (low, high) = self._lines[instrument.lines()], instrument.reach()
                q = lines.q.cpu().numpy()
                inside = np.append(((q > low * 1.02) & (q < high * 0.98)).cumsum(), 0)
                counts = inside[lines.offsets[1:] - 1] - inside[lines.offsets[:-1] - 1]
                counts[np.diff(lines.offsets) == 0] = 0
                for row in np.flatnonzero(counts == 0):
                    faults.setdefault(int(row), f"no line between q = {low:.3g} and {high:.3g} 1/Å")
        if faults:
            warnings.warn(BrokenEntryWarning.of_crystals(crystals, faults), stacklevel=4)
        usable = np.setdiff1d(np.arange(len(crystals)), list(faults))
        if not len(usable):
            raise ValueError("no crystal is left that can be rendered")
        return usable


def _check_missing(missing, columns):
    """Probability of each column to be missing."""
    unknown = sorted(set(missing) - set(columns))
    if unknown or not all(0 <= p <= 1 for p in missing.values()):
        raise ValueError(f"missing must give probabilities from 0 to 1 for {list(columns)}, got {missing}")
    return {column: float(missing.get(column, 0.0)) for column in columns}


def _check_weights(weights, n, rows):
    """Weights of the crystals that are used."""
    weights = np.ones(n) if weights is None else np.asarray(weights, dtype=float)
    if weights.shape != (n,) or not (np.isfinite(weights).all() and (weights >= 0).all()):
        raise ValueError(f"weights must be {n} finite numbers, one a crystal, none below 0")
    if not weights[rows].any():
        raise ValueError("weights are 0 for all crystals that can be used")
    return weights[rows]


def _batched(block, transformer, source):
    """Make the function that takes what was rendered to the features of a block."""
    steps = [step for _, step in transformer.steps] if isinstance(transformer, Pipeline) else [transformer]
    functions = []
    for step in steps:
        if not hasattr(step, "_batched"):
            raise ValueError(f"block {block!r}: {type(step).__name__} cannot be used in a stream")
        functions.append(step._batched(source))
        source = None

    def featurise(batch):
        for function in functions:
            batch = function(batch)
        return batch

    return featurise
