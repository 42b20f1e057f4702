"""Endless simulated specimens, rendered and turned into features on the training device."""

import os
import tempfile
import time
import warnings
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import joblib
import numpy as np
import pandas as pd
import torch
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from sklearn.utils import check_random_state, check_scalar
from tqdm import tqdm

from xtalsk.crystals import BrokenEntryWarning
from xtalsk.crystals._faults import find_faults
from xtalsk.diffraction._functional import two_theta_to_q
from xtalsk.neural._net import schedule_factor
from xtalsk.simulation import PowderConditions, RingConditions, reflections
from xtalsk.simulation._chunks import chunks, columns_on
from xtalsk.simulation._conditions import check_conditions
from xtalsk.simulation._formula import atomic_fractions, measured_fractions
from xtalsk.simulation._powder import draw_powder, render_powder
from xtalsk.simulation._powder_lines import width_nodes
from xtalsk.simulation._profiles import make_generator
from xtalsk.simulation._rings import draw_rings, render_rings
from xtalsk.utils import check_device

__all__ = ["SpecimenStream", "fit_stream"]

_PART = 256  # specimens recorded under one set of conditions
_RENDERED = {"cpu": 32, "cuda": 256}  # patterns rendered at once
_IMAGE_REACH = 0.7  # reflections reach into the corners of an image
_SAMPLE = 2048  # specimens from which the network learns how features are spread


class _Powder:
    """Powder patterns of one set of conditions, from crystals to features."""

    kind = PowderConditions

    def __init__(self, conditions):
        self.conditions = conditions

    def lines(self):
        return "xray", self.conditions.d_min(), self.conditions.wavelength

    def reach(self):
        return two_theta_to_q(self.conditions.axis()[[0, -1]], self.conditions.wavelength).tolist()

    def source(self, device):
        q = two_theta_to_q(self.conditions.axis(), self.conditions.wavelength)
        return q.to(device)

    def render(self, found, rows, rng):
        conditions = self.conditions
        drawn = draw_powder(conditions, found, rows, rng)
        generator = make_generator(rng, found.q.device)
        every = columns_on({name: drawn[name].to_numpy(dtype=float) for name in drawn}, found.q)
        nodes = width_nodes(torch.from_numpy(conditions.axis()).to(found.q), every, conditions)
        for some, part in chunks(rows, drawn, _RENDERED[found.q.device.type], "", 0):
            yield render_powder(found, some, part, conditions, generator, nodes)


class _Rings:
    """Ring images of one set of conditions, from crystals to features."""

    kind = RingConditions

    def __init__(self, conditions):
        self.conditions = conditions

    def lines(self):
        return "electron", _IMAGE_REACH / self.conditions.q_max, None

    def reach(self):
        return 0.0, self.conditions.q_max

    def source(self, device):
        return 2 * self.conditions.q_max / self.conditions.size

    def render(self, found, rows, rng):
        drawn = draw_rings(self.conditions, found, rows, rng)
        generator = make_generator(rng, found.q.device)
        for some, part in chunks(rows, drawn, _RENDERED[found.q.device.type] // 4, "", 0):
            yield render_rings(found, some, part, self.conditions, generator)


_INSTRUMENTS = {"powder": _Powder, "rings": _Rings}


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
        Arguments of `xtalsk.simulation.measured_formulas`, or several sets of them, drawn like conditions.
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
        unknown = [c for c in columns if c not in (*_INSTRUMENTS, "formula")]
        if unknown:
            raise ValueError(
                f"features use the columns {unknown}; a stream makes {[*_INSTRUMENTS, 'formula']}"
            )
        self.columns_ = list(columns)
        self._missing = _check_missing(missing or {}, columns)
        self._settings = _check_settings(columns, conditions, shares or {})
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
                lines = reflections(
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


def _check_settings(columns, conditions, shares):
    """By column the instruments and how often each is drawn."""
    named = set(shares) | (set(conditions) if isinstance(conditions, Mapping) else set())
    if named - set(columns):
        raise ValueError(
            f"conditions and shares name {sorted(named - set(columns))}; features use {list(columns)}"
        )
    settings = {}
    for column, instrument in _INSTRUMENTS.items():
        if column not in columns:
            continue
        given = conditions.get(column, "harsh") if isinstance(conditions, Mapping) else conditions
        given = given if isinstance(given, list | tuple) else [given]
        made = [instrument(check_conditions(one, instrument.kind)) for one in given]
        share = np.asarray(shares.get(column, np.ones(len(made))), dtype=float)
        if share.shape != (len(made),) or not (share >= 0).all() or not share.sum() > 0:
            raise ValueError(
                f"shares of {column} must be {len(made)} numbers, none below 0, got {share.tolist()}"
            )
        settings[column] = made, share / share.sum()
    return settings


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


def fit_stream(
    model, stream, n_specimens, *, n_uses=1, checkpoint=None, checkpoint_every=20, callback=None, verbose=0
):
    """Train a `FusionClassifier` on a stream, and take training up again where it was left.

    Parameters
    ----------
    model : FusionClassifier
        Not fitted; a copy is trained. Its ``schedule`` runs over the whole training. ``max_epochs`` is not
        used; ``sampling`` and ``early_stopping``, which need all the data at once, must be off.
    stream : SpecimenStream
    n_specimens : int
        To render, in whole chunks.
    n_uses : int
        How often each specimen is used, mixed with those of as many chunks, and disturbed by ``augment`` in
        another way each time; those of the last chunks are used less often. 1 where rendering is quick
        compared to training.
    checkpoint : path or None
        File that keeps the state of the training, a dict with the chunks ``"done"``, the model and the
        ``"seconds"`` it took. If it exists, training goes on from there.
    checkpoint_every : int
        Chunks after which it is written.
    callback : callable or None
        Called as ``callback(model, n_rendered)`` whenever a checkpoint is due.
    verbose : int
        Above 0 shows progress.

    Returns
    -------
    FusionClassifier
        Fitted. With the ``features_`` of the stream it makes a pipeline for measured specimens.

    Raises
    ------
    ValueError
        If the checkpoint is of another training (model, stream or numbers), or an argument is out of range.

    Examples
    --------
    >>> from sklearn.pipeline import make_pipeline
    >>> from xtalsk import FusionClassifier, PowderProfile, load_amcsd, make_features
    >>> from xtalsk.streaming import SpecimenStream, fit_stream
    >>> features = make_features(diffraction=("powder", PowderProfile(n_bins=128)))
    >>> stream = SpecimenStream(load_amcsd()[:20], features, chunk_size=64, random_state=0)
    >>> model = FusionClassifier(hierarchy="space_group", hidden_size=16, n_filters=4, random_state=0)
    >>> pipeline = make_pipeline(stream.features_, fit_stream(model, stream, 256))
    """
    check_scalar(n_specimens, "n_specimens", int, min_val=1)
    check_scalar(n_uses, "n_uses", int, min_val=1)
    check_scalar(checkpoint_every, "checkpoint_every", int, min_val=1)
    if model.early_stopping or model.sampling is not None:
        raise ValueError("a stream needs early_stopping=False and sampling=None; SpecimenStream has weights")
    n_chunks = -(-n_specimens // stream.chunk_size)
    plan = {"n_chunks": n_chunks, "n_uses": n_uses, "chunk_size": stream.chunk_size}
    plan |= {"parameters of the model": _fingerprint(model), "stream": stream.fingerprint_}
    done, trained, seconds = _load(checkpoint, plan)
    if done == n_chunks:
        return trained
    start = time.perf_counter() - seconds
    if trained is None:
        trained = clone(model)._start_stream(*stream.sample(), stream.classes_)
    with ThreadPoolExecutor(1) as loader:
        pool = [stream.chunk(k) for k in range(max(0, done - n_uses + 1), done)]
        coming = loader.submit(stream.chunk, done) if done < n_chunks else None
        for k in tqdm(
            range(done, n_chunks), desc="chunks", disable=not verbose, initial=done, total=n_chunks
        ):
            pool = [*pool, coming.result()][-n_uses:]
            coming = loader.submit(stream.chunk, k + 1) if k + 1 < n_chunks else None
            progress = (k + 0.5) / n_chunks
            rate = model.learning_rate * schedule_factor(model.schedule, progress)
            X, y = zip(*pool, strict=True)
            trained._learn(torch.cat(X), np.concatenate(y), rate, progress)
            if (k + 1) % checkpoint_every == 0 or k + 1 == n_chunks:
                _save(checkpoint, plan, k + 1, trained, time.perf_counter() - start)
                if callback is not None:
                    callback(trained, (k + 1) * stream.chunk_size)
    return trained


def _fingerprint(model):
    """Hash of what makes a model what it is; where it is trained and what it prints do not count."""
    params = {k: v for k, v in model.get_params().items() if k not in ("device", "verbose")}
    if not isinstance(params["random_state"], int | np.integer | None):
        del params["random_state"]
    return joblib.hash(params)


def _load(checkpoint, plan):
    """Chunks done, the model and the time of a checkpoint, (0, None, 0) without one."""
    if checkpoint is None or not os.path.exists(checkpoint):
        return 0, None, 0.0
    state = joblib.load(checkpoint)
    differ = [name for name, value in plan.items() if state["plan"].get(name) != value]
    if differ:
        raise ValueError(f"{checkpoint} is the checkpoint of another training: {', '.join(differ)} differ")
    return state["done"], state["trained"], state["seconds"]


def _save(checkpoint, plan, done, trained, seconds):
    """Write a checkpoint whole or not at all."""
    if checkpoint is None:
        return
    folder = os.path.dirname(os.path.abspath(checkpoint))
    handle, path = tempfile.mkstemp(dir=folder, suffix=".part")
    os.close(handle)
    joblib.dump({"plan": plan, "done": done, "trained": trained, "seconds": seconds}, path)
    os.replace(path, checkpoint)
