import re
import warnings
from functools import cache

import joblib
import numpy as np
from joblib import Parallel, delayed
from pymatgen.core import Composition, Element

from xtalsk.composition._fractions import _ElementTransformer
from xtalsk.utils._formula import SYMBOLS, electronegativities

_ELEMENT_PRESETS = ("magpie", "deml", "matminer", "matscholar_el", "megnet_el")
_NORMS = (0, 2, 3, 5, 7, 10)
_ORBITALS = ("s", "p", "d", "f")
_CACHE_ROWS = 65_536
_cache = {}


def _sanitize(label):
    return re.sub(r"[^a-z0-9]+", "_", label.lower()).strip("_")


def _number(look_up, element, name):
    try:
        return float(look_up(element, name))
    except KeyError:  # Deml has no entry at all for some elements and properties
        return np.nan


@cache
def _element_table(preset):
    """Properties of the elements, shape (98, n_properties), their names and the names of the statistics."""
    from matminer.featurizers.composition import ElementProperty  # takes seconds to import

    featurizer = ElementProperty.from_preset(preset, impute_nan=False)
    look_up = featurizer.data_source.get_elemental_property
    with warnings.catch_warnings():  # one for each NaN, which the class documents
        warnings.filterwarnings("ignore", message="No data available for|No Pauling electronegativity")
        table = [[_number(look_up, Element(s), name) for name in featurizer.features] for s in SYMBOLS]
    return np.array(table), tuple(featurizer.features), tuple(featurizer.stats)


def _packed(fractions):
    """Element indices and weights of each row, padded with weight 0 by repeating the first element."""
    width = int((fractions > 0).sum(axis=1).max())
    index = np.argsort(-fractions, axis=1, kind="stable")[:, :width]
    weight = np.take_along_axis(fractions, index, axis=1)
    return np.where(weight > 0, index, index[:, :1]), weight


def _statistic(name, values, weight):
    """One of matminer's PropertyStats, for all rows: ``values`` (n, k, p), ``weight`` (n, k), sums 1."""
    if name == "minimum":
        return values.min(axis=1)
    if name == "maximum":
        return values.max(axis=1)
    if name == "range":
        return values.max(axis=1) - values.min(axis=1)
    mean = np.einsum("nk,nkp->np", weight, values)
    if name == "mean":
        return mean
    if name == "avg_dev":
        return np.einsum("nk,nkp->np", weight, np.abs(values - mean[:, np.newaxis]))
    if name == "std_dev":  # of a weighted sample, without bias; zero for one element
        spread = 1 - (weight**2).sum(axis=1, keepdims=True)
        variance = np.einsum("nk,nkp->np", weight, (values - mean[:, np.newaxis]) ** 2)
        single = (weight > 0).sum(axis=1, keepdims=True) == 1
        return np.where(single, 0, np.sqrt(variance / np.where(single, 1, spread)))
    # mode: the value of the most abundant element, the lowest where several are equally abundant
    most = np.isclose(weight, weight.max(axis=1, keepdims=True))
    return np.where(most[..., np.newaxis], values, np.inf).min(axis=1)


def _element_statistics(preset, fractions, rows_at_once=256):
    table, properties, stats = _element_table(preset)
    out = np.empty((len(fractions), len(properties), len(stats)))
    for start in range(0, len(fractions), rows_at_once):
        index, weight = _packed(fractions[start : start + rows_at_once])
        values = table[index]
        for s, name in enumerate(stats):
            out[start : start + rows_at_once, :, s] = _statistic(name, values, weight)
    return out.reshape(len(fractions), -1)


def _element_labels(preset):
    _, properties, stats = _element_table(preset)
    return [f"{stat} {name}" for name in properties for stat in stats]


def _stoichiometry(fractions):
    """p-norms of the atomic fractions; the 0-norm is the number of elements."""
    norms = [(fractions > 0).sum(axis=1) if p == 0 else (fractions**p).sum(axis=1) ** (1 / p) for p in _NORMS]
    return np.stack(norms, axis=1)


@cache
def _valence_table():
    from matminer.utils.data import MagpieData

    data = MagpieData(impute_nan=False)
    names = [f"N{orbital}Valence" for orbital in _ORBITALS]
    return np.array([[data.get_elemental_property(Element(s), n) for n in names] for s in SYMBOLS], float)


def _valence(fractions):
    """Mean number of valence electrons by orbital, and their shares."""
    mean = fractions @ _valence_table()
    return np.concatenate([mean, mean / mean.sum(axis=1, keepdims=True)], axis=1)


def _ionic(fractions):
    """Largest and mean ionic character 1 - exp(-(Xa - Xb)^2 / 4) of the pairs of elements."""
    out = np.empty((len(fractions), 2))
    for row, one in enumerate(fractions):
        there = np.flatnonzero(one)
        x = electronegativities()[there]
        character = 1 - np.exp(-0.25 * (x[:, np.newaxis] - x) ** 2)
        np.fill_diagonal(character, 0)
        out[row] = character.max(), one[there] @ character @ one[there] / 2
    return out


_CALCULATED = {
    "stoichiometry": (_stoichiometry, [f"norm {p}" for p in _NORMS]),
    "valence": (_valence, [f"{what} {orbital}" for what in ("mean", "share") for orbital in _ORBITALS]),
    "ionic": (_ionic, ["max", "mean"]),
}


def _to_formula(fractions):
    """Write fractions as a reduced formula where one has at most 100 atoms of the rarest element."""
    there = np.flatnonzero(fractions)
    amounts = fractions[there]
    multiples = amounts / amounts.min() * np.arange(1, 101)[:, np.newaxis]
    whole = (np.abs(multiples - multiples.round()) < 1e-6).all(axis=1)
    if whole.any():
        amounts = multiples[whole.argmax()].round()
    return "".join(f"{SYMBOLS[i]}{amount:.9g}" for i, amount in zip(there, amounts, strict=True))


def _featurize(featurizer, formulas):
    rows = []
    for formula in formulas:
        try:
            rows.append(np.array(featurizer.featurize(Composition(formula)), dtype=np.float32))
        except Exception as error:
            name = type(featurizer).__name__
            raise ValueError(f"matminer's {name} failed on {formula}: {error}") from error
    return rows


def _call_matminer(featurizer, fractions, n_jobs):
    """Call a featurizer once for each composition that was not met before, in parallel."""
    kind = joblib.hash(featurizer)
    keys = [(kind, _to_formula(row)) for row in fractions]
    known = {key: _cache[key] for key in set(keys) if key in _cache}
    new = [key for key in dict.fromkeys(keys) if key not in known]
    chunks = [new[i : i + 64] for i in range(0, len(new), 64)]
    rows = Parallel(n_jobs=n_jobs)(delayed(_featurize)(featurizer, [f for _, f in chunk]) for chunk in chunks)
    for chunk, part in zip(chunks, rows, strict=True):
        known.update(zip(chunk, part, strict=True))
    _cache.update((key, known[key]) for key in new[:_CACHE_ROWS])
    for key in list(_cache)[: max(0, len(_cache) - _CACHE_ROWS)]:
        del _cache[key]
    return np.stack([known[key] for key in keys])


class CompositionStatistics(_ElementTransformer):
    """Statistics of the properties of the elements of a composition, as matminer defines them.

    The data of the elements and the definitions are matminer's [1]_, [2]_; the arithmetic of the named
    presets is done for all specimens at once, forty times faster than matminer on 9,273 of them. Elements
    that could not be measured, single NaN in a table of atomic fractions, are left out.

    Parameters
    ----------
    presets : tuple of str or matminer featurizers, default=("magpie", "stoichiometry", "valence", "ionic")
        Which statistics to compute, in order:

        - ``"magpie"``, ``"deml"``, ``"matminer"``, ``"matscholar_el"``, ``"megnet_el"``: the presets of
          matminer's ``ElementProperty``;
        - ``"stoichiometry"``: p-norms of the atomic fractions;
        - ``"valence"``: mean number and share of s, p, d and f valence electrons;
        - ``"ionic"``: largest and mean ionic character of pairs of elements. Whether a neutral compound is
          possible, matminer's third number, is left out: it takes 18 s for sucrose, and it is
          defined for whole numbers of atoms only, which measured compositions do not have;
        - a featurizer from ``matminer.featurizers.composition``: called once for each unique composition,
          in parallel; results are kept in memory for later calls, in this process.
    n_jobs : int or None, default=None
        Number of processes for matminer featurizers; the named presets need none.
    on_error : {"raise", "warn"}, default="raise"
        Whether a composition that cannot be used is an error, or a warning after which it counts as not
        measured.

    Attributes
    ----------
    n_features_in_ : int
        Number of input columns.
    feature_names_in_ : ndarray of str
        Their names, where they have names.

    Notes
    -----
    Nothing is imputed. Where a preset knows no value of a property for one of the elements (Magpie: among
    others the electronegativity of He, Ne and Ar; Deml: much of the noble gases, lanthanides and actinides),
    the statistics of that property are NaN, as with matminer's ``impute_nan=False``.

    References
    ----------
    .. [1] L. Ward et al., Comput. Mater. Sci. 152, 60 (2018), matminer.
    .. [2] L. Ward et al., npj Comput. Mater. 2, 16028 (2016), Magpie.

    Examples
    --------
    >>> from xtalsk.composition import CompositionStatistics
    >>> statistics = CompositionStatistics(presets=("magpie", "ionic")).set_output(transform="pandas")
    >>> statistics.fit_transform(["SiO2", "NaCl"])[["magpie_mean_number", "ionic_max"]].round(3)
       magpie_mean_number  ionic_max
    0                10.0      0.447
    1                14.0      0.712
    """

    def __init__(
        self, presets=("magpie", "stoichiometry", "valence", "ionic"), *, n_jobs=None, on_error="raise"
    ):
        self.presets = presets
        self.n_jobs = n_jobs
        self.on_error = on_error

    def _check_params(self):
        if isinstance(self.presets, str) or not isinstance(self.presets, tuple | list) or not self.presets:
            raise ValueError(f"presets must be a non-empty tuple of presets, got {self.presets!r}")
        known = (*_ELEMENT_PRESETS, *_CALCULATED)
        for preset in self.presets:
            if not (preset in known if isinstance(preset, str) else hasattr(preset, "feature_labels")):
                raise ValueError(
                    f"each of presets must be one of {known} or a matminer featurizer, got {preset!r}"
                )
        names = self._feature_names()
        if len(set(names)) < len(names):
            twice = sorted({name for name in names if names.count(name) > 1})
            raise ValueError(f"presets give the same feature twice: {twice[:3]}")

    def _parallel_features(self, cells):
        return self._features(cells)  # n_jobs is for matminer's featurizers

    def _from_fractions(self, fractions):
        found = fractions.any(axis=1)
        out = np.full((len(fractions), len(self._feature_names())), np.nan)
        if found.any():
            blocks = [self._block(preset, fractions[found]) for preset in self.presets]
            out[found] = np.concatenate(blocks, axis=1)
        return out

    def _block(self, preset, fractions):
        if not isinstance(preset, str):
            return _call_matminer(preset, fractions, self.n_jobs)
        if preset in _ELEMENT_PRESETS:
            return _element_statistics(preset, fractions)
        return _CALCULATED[preset][0](fractions)

    def _feature_names(self):
        names = []
        for preset in self.presets:
            if not isinstance(preset, str):
                labels, prefix = preset.feature_labels(), type(preset).__name__
            elif preset in _ELEMENT_PRESETS:
                labels, prefix = _element_labels(preset), preset
            else:
                labels, prefix = _CALCULATED[preset][1], preset
            names += [_sanitize(f"{prefix} {label}") for label in labels]
        return names
