import re
import warnings
from functools import cache, partial

import joblib
import numpy as np

from xtalsk.composition._constants import (
    MAX_ATOMS,
    MAX_CACHED_COMPOSITIONS,
    ROWS_AT_ONCE,
    WHOLE_TOLERANCE,
)
from xtalsk.composition._element_transformer import ElementTransformer
from xtalsk.utils._formula import SYMBOLS, electronegativities
from xtalsk.utils._parallel import LostWorkerError, map_cells

_ELEMENT_PRESETS = ("magpie", "deml", "matminer", "matscholar_el", "megnet_el")
_NORMS = (0, 2, 3, 5, 7, 10)
_ORBITALS = ("s", "p", "d", "f")
_CHUNK_SIZE = 64  # compositions in one parallel job
_cache = {}  # (hash of a matminer featurizer, formula) -> its features, oldest first


def _sanitize(label):
    """Return a label in lower case with underscores between its words."""
    return re.sub(r"[^a-z0-9]+", "_", label.lower()).strip("_")


def _element_property(data, element, name):
    """Return a property of an element from a data source of matminer, NaN if it has no value."""
    try:
        return float(data.get_elemental_property(element, name))
    except KeyError:  # Deml has no entry for some elements and properties
        return np.nan


@cache
def _element_table(preset):
    """Return the element properties of a preset, and the names of its properties and statistics.

    The properties have the shape (98, n_properties).
    """
    from matminer.featurizers.composition import ElementProperty  # slow to import
    from pymatgen.core import Element

    featurizer = ElementProperty.from_preset(preset, impute_nan=False)
    data, properties = featurizer.data_source, featurizer.features
    with warnings.catch_warnings():  # one warning for each NaN, which the class documents
        warnings.filterwarnings("ignore", message="No data available for|No Pauling electronegativity")
        table = [[_element_property(data, Element(s), name) for name in properties] for s in SYMBOLS]
    return np.array(table), tuple(properties), tuple(featurizer.stats)


def _pack(fractions):
    """Return element indices and weights of each row, by decreasing weight.

    Both have as many columns as the longest composition has elements. Shorter compositions repeat their first
    element with weight 0.
    """
    width = int((fractions > 0).sum(axis=1).max())
    index = np.argsort(-fractions, axis=1, kind="stable")[:, :width]
    weight = np.take_along_axis(fractions, index, axis=1)
    return np.where(weight > 0, index, index[:, :1]), weight


def _standard_deviation(values, weight, mean):
    """Return the unbiased standard deviation of weighted samples; 0 for a single element."""
    unbiased = 1 - (weight**2).sum(axis=1, keepdims=True)
    variance = np.einsum("nk,nkp->np", weight, (values - mean[:, np.newaxis]) ** 2)
    is_single = (weight > 0).sum(axis=1, keepdims=True) == 1
    return np.where(is_single, 0, np.sqrt(variance / np.where(is_single, 1, unbiased)))


def _mode(values, weight):
    """Return the value of the most abundant element, or the lowest value of equally abundant ones."""
    is_most = np.isclose(weight, weight.max(axis=1, keepdims=True))
    return np.where(is_most[..., np.newaxis], values, np.inf).min(axis=1)


def _statistic(name, values, weight):
    """Return one of matminer's PropertyStats for all rows, shape (n, p).

    ``values`` has the shape (n, k, p), ``weight`` (n, k) with row sums of 1.
    """
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
    if name == "std_dev":
        return _standard_deviation(values, weight, mean)
    return _mode(values, weight)


def _element_statistics(preset, fractions):
    """Return the statistics of all properties of a preset, shape (n, n_properties * n_statistics)."""
    table, properties, statistics = _element_table(preset)
    out = np.empty((len(fractions), len(properties), len(statistics)))
    for start in range(0, len(fractions), ROWS_AT_ONCE):
        rows = slice(start, start + ROWS_AT_ONCE)
        index, weight = _pack(fractions[rows])
        values = table[index]
        for i, name in enumerate(statistics):
            out[rows, :, i] = _statistic(name, values, weight)
    return out.reshape(len(fractions), -1)


def _element_labels(preset):
    """Return the labels of the statistics of a preset."""
    _, properties, statistics = _element_table(preset)
    return [f"{statistic} {name}" for name in properties for statistic in statistics]


def _stoichiometry(fractions):
    """Return the p-norms of the atomic fractions; the 0-norm is the number of elements."""
    norms = [(fractions > 0).sum(axis=1) if p == 0 else (fractions**p).sum(axis=1) ** (1 / p) for p in _NORMS]
    return np.stack(norms, axis=1)


@cache
def _valence_table():
    """Return the numbers of s, p, d and f valence electrons of the elements, shape (98, 4)."""
    from matminer.utils.data import MagpieData
    from pymatgen.core import Element

    data = MagpieData(impute_nan=False)
    names = [f"N{orbital}Valence" for orbital in _ORBITALS]
    return np.array([[data.get_elemental_property(Element(s), n) for n in names] for s in SYMBOLS], float)


def _valence(fractions):
    """Return the mean numbers of s, p, d and f valence electrons, and their shares."""
    mean = fractions @ _valence_table()
    return np.concatenate([mean, mean / mean.sum(axis=1, keepdims=True)], axis=1)


def _ionic(fractions):
    """Return the largest and the mean ionic character 1 - exp(-(Xa - Xb)^2 / 4) of pairs of elements."""
    out = np.empty((len(fractions), 2))
    for row, composition in enumerate(fractions):
        present = np.flatnonzero(composition)
        x = electronegativities()[present]
        character = 1 - np.exp(-0.25 * (x[:, np.newaxis] - x) ** 2)
        np.fill_diagonal(character, 0)
        out[row] = character.max(), composition[present] @ character @ composition[present] / 2
    return out


# Name of a preset: its function, and the labels of the columns that the function returns.
_CALCULATED = {
    "stoichiometry": (_stoichiometry, [f"norm {p}" for p in _NORMS]),
    "valence": (_valence, [f"{kind} {orbital}" for kind in ("mean", "share") for orbital in _ORBITALS]),
    "ionic": (_ionic, ["max", "mean"]),
}


def _to_formula(fractions):
    """Return fractions as a formula, with whole numbers if MAX_ATOMS of the rarest element suffice."""
    present = np.flatnonzero(fractions)
    amounts = fractions[present]
    multiples = amounts / amounts.min() * np.arange(1, MAX_ATOMS + 1)[:, np.newaxis]
    is_whole = (np.abs(multiples - multiples.round()) < WHOLE_TOLERANCE).all(axis=1)
    if is_whole.any():
        amounts = multiples[is_whole.argmax()].round()
    return "".join(f"{SYMBOLS[i]}{amount:.9g}" for i, amount in zip(present, amounts, strict=True))


def _featurize(featurizer, formulas):
    """Return the features that a matminer featurizer computes for each formula."""
    from pymatgen.core import Composition  # slow to import

    rows = []
    for formula in formulas:
        try:
            rows.append(np.array(featurizer.featurize(Composition(formula)), dtype=np.float32))
        except Exception as error:  # each featurizer raises its own exceptions
            name = type(featurizer).__name__
            raise ValueError(f"matminer's {name} failed on {formula}: {error}") from error
    return rows


def _call_matminer(featurizer, fractions, n_jobs):
    """Return the features of a matminer featurizer; compositions in the cache are not computed again."""
    kind = joblib.hash(featurizer)
    keys = [(kind, _to_formula(row)) for row in fractions]
    features = {key: _cache[key] for key in set(keys) if key in _cache}
    new = [key for key in dict.fromkeys(keys) if key not in features]
    lost, formulas = [], [formula for _, formula in new]
    if new:
        rows, lost = map_cells(partial(_featurize, featurizer), formulas, _CHUNK_SIZE, n_jobs)
        new = [key for i, key in enumerate(new) if i not in lost]
        features.update(zip(new, np.delete(rows, lost, axis=0), strict=True))
    _cache.update((key, features[key]) for key in new[:MAX_CACHED_COMPOSITIONS])
    for key in list(_cache)[: max(0, len(_cache) - MAX_CACHED_COMPOSITIONS)]:
        del _cache[key]
    if lost:
        name = type(featurizer).__name__
        raise LostWorkerError(
            f"worker processes were killed, probably for lack of memory, while matminer's {name} computed "
            f"{', '.join(formulas[i] for i in lost)}; run again with fewer jobs, the other compositions are "
            "in memory"
        )
    return np.stack([features[key] for key in keys])


class CompositionStatistics(ElementTransformer):
    """Statistics of the properties of the elements of a composition, as matminer defines them.

    Element data and definitions are those of matminer [1]_, [2]_. The class computes the named presets for
    all specimens at once; for 9,273 specimens this is forty times faster than matminer. An element that
    cannot be measured, a NaN in a row of a table of atomic fractions, is left out.

    Parameters
    ----------
    presets : tuple of str or matminer featurizers, default=("magpie", "stoichiometry", "valence", "ionic")
        Which statistics to compute, in order:

        - ``"magpie"``, ``"deml"``, ``"matminer"``, ``"matscholar_el"``, ``"megnet_el"``: the presets of
          matminer's ``ElementProperty``;
        - ``"stoichiometry"``: p-norms of the atomic fractions;
        - ``"valence"``: mean number and share of s, p, d and f valence electrons;
        - ``"ionic"``: largest and mean ionic character of pairs of elements. The third number of matminer,
          whether a neutral compound is possible, is left out. It takes 18 s for sucrose, and it needs whole
          numbers of atoms, which measured compositions do not have;
        - a featurizer from ``matminer.featurizers.composition``, called in parallel, once for each unique
          composition. The results of the last 65,536 compositions stay in the memory of the process.
    n_jobs : int or None, default=None
        Number of processes for matminer featurizers. The named presets run in one process.
    exclude : sequence of str, default=()
        Symbols of elements that are in the measurement but not in the specimen, such as those of grid and
        film. They count as not known, and the fractions of the others are scaled to a sum of 1.
    on_error : {"raise", "warn"}, default="raise"
        What to do with a composition that cannot be used: raise an error, or warn and treat it as not
        measured.

    Attributes
    ----------
    n_features_in_ : int
        Number of input columns.
    feature_names_in_ : ndarray of str
        Names of the input columns, if they have names.

    Notes
    -----
    No value is imputed. If a preset has no value of a property for one of the elements, the statistics of
    that property are NaN, as with ``impute_nan=False`` in matminer. Magpie, for example, has no
    electronegativity of He, Ne and Ar. Deml lacks many properties of noble gases, lanthanides and actinides.

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
        self,
        presets=("magpie", "stoichiometry", "valence", "ionic"),
        *,
        n_jobs=None,
        exclude=(),
        on_error="raise",
    ):
        self.presets = presets
        self.n_jobs = n_jobs
        self.exclude = exclude
        self.on_error = on_error

    def _check_params(self):
        self._names = None
        if isinstance(self.presets, str) or not isinstance(self.presets, tuple | list) or not self.presets:
            raise ValueError(f"presets must be a non-empty tuple of presets, got {self.presets!r}")
        named = (*_ELEMENT_PRESETS, *_CALCULATED)
        for preset in self.presets:
            if not (preset in named if isinstance(preset, str) else hasattr(preset, "feature_labels")):
                raise ValueError(
                    f"each of presets must be one of {named} or a matminer featurizer, got {preset!r}"
                )
        self._names = names = self._feature_names()  # kept, because asking matminer takes a second
        if len(set(names)) < len(names):
            repeated = sorted({name for name in names if names.count(name) > 1})
            raise ValueError(f"presets contain the same features twice: {repeated[:3]}")

    def _parallel_features(self, cells):
        return self._features(cells), []  # n_jobs is for matminer's featurizers

    def _from_fractions(self, fractions):
        has_elements = fractions.any(axis=1)
        out = np.full((len(fractions), len(self._feature_names())), np.nan)
        if has_elements.any():
            blocks = [self._block(preset, fractions[has_elements]) for preset in self.presets]
            out[has_elements] = np.concatenate(blocks, axis=1)
        return out

    def _block(self, preset, fractions):
        """Return the features of one preset."""
        if not isinstance(preset, str):
            return _call_matminer(preset, fractions, self.n_jobs)
        if preset in _ELEMENT_PRESETS:
            return _element_statistics(preset, fractions)
        return _CALCULATED[preset][0](fractions)

    def _feature_names(self):
        if getattr(self, "_names", None) is not None:
            return self._names
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
