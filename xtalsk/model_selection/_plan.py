"""The cheapest measurement that tells candidate phases apart."""

import warnings
from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd
from scipy.stats import binomtest
from sklearn.utils import check_random_state
from tqdm import tqdm

from xtalsk.columns import MODALITIES, modality_of
from xtalsk.crystals._faults import find_faults
from xtalsk.model_selection._constants import ELECTRONS_PER_COUNT
from xtalsk.model_selection._rendering import COUNTED, IMAGES, Rendering, check_doses
from xtalsk.model_selection._sweep import check_modalities, check_models, specimen_columns
from xtalsk.utils import BrokenCellWarning, NotMeasuredWarning, check_number

_SETTING = ["electrons", "counts", "n_zones"]


@dataclass(frozen=True, eq=False)
class AcquisitionPlan:
    """Result of `plan_acquisition`.

    Attributes
    ----------
    electrons, counts, n_zones : float, float or None, int
        The cheapest setting that reaches the target; NaN, None and 0 if none does. ``counts`` is None if it
        has no spectrum.
    cost : float
        Cost of this setting; infinite if none reaches the target.
    accuracy : float
        Share of the specimens of the candidates that are named right at this setting. They were simulated
        anew, not those on which the setting was chosen. Of the best setting tried, if none is enough.
    interval : (float, float)
        Wilson's interval of the accuracy, a binomial proportion.
    target : float
    confidence : float
        Of the interval.
    candidates : list of str
        Names of the phases.
    table : DataFrame
        See `to_frame`.
    """

    electrons: float
    counts: float | None
    n_zones: int
    cost: float
    accuracy: float
    interval: tuple
    target: float
    confidence: float
    candidates: list
    table: pd.DataFrame

    @property
    def is_reached(self):
        """Whether a setting reaches the target, bool."""
        return bool(np.isfinite(self.cost))

    def to_frame(self):
        """Return the settings that were tried, DataFrame.

        The columns are ``electrons``, ``counts``, ``n_zones``, ``cost``, ``accuracy``, ``low`` and ``high``
        (interval), ``n`` (specimens), ``answered`` (share with an answer), ``is_confirmation`` (simulated
        anew), and for each candidate its own accuracy.
        """
        return self.table.copy()

    def summary(self):
        """Return the plan as a sentence or two, str."""
        low, high = self.interval
        found = f"{self.accuracy:.1%} right ({self.confidence:.0%} interval {low:.1%} to {high:.1%})"
        names = " or ".join(self.candidates)
        if not self.is_reached:
            return (
                f"{names}: no setting reaches {self.target:.0%} within the interval; the best gives {found}."
            )
        zones = f", {self.n_zones} patterns" if self.n_zones > 1 else ""
        counts = "" if self.counts is None else f" and {self.counts:.3g} X-ray counts"
        return f"{names}: {self.electrons:.3g} electrons a pattern{zones}{counts}. Expect {found}."

    def plot(self, ax=None):
        """Draw the settings that were tried; see `xtalsk.inspection.AcquisitionPlanDisplay`."""
        from xtalsk.inspection import AcquisitionPlanDisplay

        return AcquisitionPlanDisplay.from_plan(self, ax=ax)


def plan_acquisition(
    pipeline,
    crystals,
    target=0.95,
    *,
    electrons=(10, 30, 100, 300, 1e3, 3e3, 1e4, 1e5, 1e6),
    counts=None,
    n_zones=1,
    conditions="typical",
    n_specimens=100,
    confidence=0.95,
    electrons_per_count=ELECTRONS_PER_COUNT,
    cost=None,
    random_state=None,
    verbose=0,
):
    """Find the cheapest dose, counts and number of patterns that tell candidate phases apart.

    The candidates are simulated at settings from few to many electrons, and the pipeline chooses among their
    space groups. For each combination of counts and zones, a bisection finds the fewest electrons at which
    the lower end of the interval of the accuracy reaches the target; it takes the accuracy as monotone. These
    settings, cheapest first, are simulated anew until one reaches the target again.

    Parameters
    ----------
    pipeline : fitted pipeline
        Such as from `load_pretrained`; its classes are space groups.
    crystals : CrystalSet
        The candidates, at least two: one of them is on the grid. Their space groups must differ.
    target : float, default=0.95
        Accuracy that must be reached, between 0 and 1, of all candidates together.
    electrons : sequence of float
        Electrons of a pattern, increasing.
    counts : sequence of float or None, default=None
        Counts of the X-ray spectrum or the composition, increasing. None, alone or among them, stands for no
        spectrum.
    n_zones : int or sequence of int, default=1
        Spot patterns of a specimen, increasing. Other pipelines have one pattern.
    conditions : str or dict, default="typical"
        As in `make_specimens`.
    n_specimens : int, default=100
        Simulated specimens of each candidate.
    confidence : float, default=0.95
        Of the intervals.
    electrons_per_count : float, default=2e5
        Electrons of the beam that one X-ray count costs, for the default cost: 1e5 to 4e5 in films of 100 nm
        at 200 kV. Measure yours: beam current x live time / counts.
    cost : callable or None, default=None
        ``cost(electrons, counts, n_zones)`` returns a number; counts is None without a spectrum. None is
        ``n_zones * electrons + counts * electrons_per_count``: the dose.
    random_state : int, RandomState or None, default=None
    verbose : int, default=0
        Above 0 shows a progress bar.

    Returns
    -------
    AcquisitionPlan
        With ``to_frame``, ``summary`` and ``plot``.

    Raises
    ------
    ValueError
        If the pipeline is not fitted, does not know the space group of a candidate, or does not use what is
        varied; if two candidates have the same space group; if a dose is out of order or range, or the target
        is. All this is checked before anything is simulated.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.pipeline import make_pipeline
    >>> from xtalsk import (
    ...     LibraryMatch, RadialProfile, RingConditions, load_amcsd, make_features, make_library,
    ...     plan_acquisition)
    >>> minerals = load_amcsd()
    >>> oxides = [np.flatnonzero(minerals.names == name)[0] for name in ("Anatase", "Rutile")]
    >>> features = make_features(diffraction=("rings", RadialProfile(n_bins=128)))
    >>> library = make_library(minerals[[*oxides, *range(0, 60, 10)]], features, random_state=0)
    >>> pipeline = make_pipeline(features, LibraryMatch().fit(*library))
    >>> camera = {"rings": RingConditions(image_size=64)}
    >>> plan = plan_acquisition(
    ...     pipeline, minerals[oxides], 0.7, electrons=[100, 1e5], conditions=camera, n_specimens=20,
    ...     random_state=0)
    >>> plan.is_reached, plan.candidates
    (True, ['Anatase', 'Rutile'])
    """
    models, is_fitted = check_models({"pipeline": pipeline})
    if not is_fitted:
        raise ValueError("plan_acquisition needs a fitted pipeline")
    check_modalities(models, IMAGES, "electrons")
    check_number(target, "target", min_val=0, max_val=1, include_boundaries="neither")
    check_number(confidence, "confidence", min_val=0, max_val=1, include_boundaries="neither")
    check_number(n_specimens, "n_specimens", min_val=2)
    pipeline = models["pipeline"]
    settings = _check_settings(models, electrons, counts, n_zones)
    trial = _Trial(pipeline, crystals, conditions, n_specimens, confidence, random_state)
    for e, c, n in settings:
        trial.rendering(n, 0).at(e, c)

    def price(e, c, n):
        if cost is not None:
            return float(cost(e, c, n))
        return n * e + (0 if c is None else c * electrons_per_count)

    table = _search(trial, settings, price, target, verbose)
    return _plan(table, target, confidence, trial.names)


def _check_settings(models, electrons, counts, n_zones):
    """Return all settings (electrons, counts, n_zones) as a list."""
    electrons = check_doses("electrons", electrons)
    counts = [None] if counts is None else list(np.atleast_1d(np.asarray(counts, dtype=object)))
    given = [c for c in counts if c is not None]
    if given:
        check_modalities(models, COUNTED, "counts")
        given = check_doses("counts", given)
    zones = np.atleast_1d(n_zones)
    if zones.dtype.kind not in "iu" or zones.ndim != 1 or (zones < 1).any() or (np.diff(zones) <= 0).any():
        raise ValueError(f"n_zones must be positive integers that increase, got {n_zones!r}")
    if electrons == [None]:
        raise ValueError("plan_acquisition needs electrons")
    return list(product(electrons, [None] * (None in counts) + given, zones.tolist()))


class _Trial:
    """Measures how often a pipeline names the right candidate at a setting."""

    def __init__(self, pipeline, crystals, conditions, n_specimens, confidence, random_state):
        self.pipeline, self.crystals, self.confidence = pipeline, crystals, confidence
        self.n_specimens, self.conditions = int(n_specimens), conditions
        self.columns = specimen_columns(pipeline)
        labels = np.asarray(crystals.space_groups)
        self.names = [str(crystals.names[i] or crystals.formulas[i]) for i in range(len(crystals))]
        if len(labels) < 2:
            raise ValueError(f"expected two candidates or more, got {len(labels)}")
        faults = find_faults(crystals)
        if faults:
            raise ValueError(f"the candidates {[self.names[i] for i in faults]} cannot be simulated")
        for number in labels:
            same = [self.names[i] for i in np.flatnonzero(labels == number)]
            if len(same) > 1:
                raise ValueError(f"the candidates {same} have the same space group, {number}")
        unknown = [self.names[i] for i in np.flatnonzero(~np.isin(labels, pipeline.classes_))]
        if unknown:
            raise ValueError(f"the pipeline does not know the space groups of the candidates {unknown}")
        self.places = np.searchsorted(pipeline.classes_, labels)
        self._seeds = check_random_state(random_state).randint(2**31, size=2)
        self._renderings = {}

    def rendering(self, n_zones, repeat):
        """Return the `Rendering` for a number of zones; another ``repeat`` has other random numbers."""
        key = n_zones, repeat
        if key not in self._renderings:
            zones = [c for c in self.columns if c != "spots" and modality_of(c) == "spots"]
            kept = zones[:n_zones] if n_zones > 1 else [c for c in self.columns if c == "spots"] or zones[:1]
            columns = [c for c in self.columns if modality_of(c) != "spots"] + kept
            self._renderings[key] = Rendering(
                self.crystals, columns, self.conditions, self.n_specimens, n_zones, int(self._seeds[repeat])
            )
        return self._renderings[key]

    def row(self, electrons, counts, n_zones, repeat=0):
        """Return the accuracy at a setting, with its interval, as a row of the table."""
        rendering = self.rendering(n_zones, repeat)
        X = rendering.specimens(electrons, counts)
        if counts is None:
            X = X.assign(**{c: None for c in X.columns if MODALITIES[modality_of(c)] == "chemistry"})
        X = X.reindex(columns=self.columns)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", BrokenCellWarning)
            warnings.simplefilter("ignore", NotMeasuredWarning)
            proba = np.asarray(self.pipeline.predict_proba(X), dtype=float)[:, self.places]
        truth = np.repeat(np.arange(len(self.crystals)), self.n_specimens)
        answered = np.isfinite(proba).all(axis=1)
        is_right = answered & (np.nan_to_num(proba).argmax(axis=1) == truth)
        low, high = binomtest(int(is_right.sum()), len(truth)).proportion_ci(self.confidence, method="wilson")
        return {
            **dict(zip(_SETTING, (electrons, np.nan if counts is None else counts, n_zones), strict=True)),
            "accuracy": float(is_right.mean()),
            "low": float(low),
            "high": float(high),
            "n": len(truth),
            "answered": float(answered.mean()),
            "is_confirmation": bool(repeat),
            **dict(zip(self.names, is_right.reshape(len(self.names), -1).mean(axis=1), strict=True)),
        }


def _search(trial, settings, price, target, verbose):
    """Return the table of the settings tried; the last row is the choice if it reaches the target."""
    rows, reached = [], []

    def reaches(setting, repeat=0):
        row = trial.row(*setting, repeat)
        row = {**{name: row.pop(name) for name in _SETTING}, "cost": price(*setting), **row}
        rows.append(row)
        return row["low"] >= target

    others = list(dict.fromkeys(setting[1:] for setting in settings))
    for counts, zones in tqdm(others, disable=not verbose, unit="combination"):
        doses = [e for e, *other in settings if tuple(other) == (counts, zones)]
        low, high = 0, len(doses)  # the first dose that is enough is from low to high; high: none is
        while low < high:
            middle = (low + high) // 2
            if reaches((doses[middle], counts, zones)):
                high = middle
            else:
                low = middle + 1
        reached += [(price(e, counts, zones), (e, counts, zones)) for e in doses[high:]]
    for _, setting in sorted(reached, key=lambda pair: pair[0]):
        if reaches(setting, repeat=1):
            break
    return pd.DataFrame(rows)


def _plan(table, target, confidence, names):
    """Return the `AcquisitionPlan` of a table of settings."""
    last = table.iloc[-1]
    is_reached = last["is_confirmation"] and last["low"] >= target
    best = last if is_reached else table.loc[table["accuracy"].idxmax()]
    counts = None if np.isnan(best["counts"]) else float(best["counts"])
    setting = (float(best["electrons"]), counts, int(best["n_zones"]))
    return AcquisitionPlan(
        *(setting if is_reached else (np.nan, None, 0)),
        float(best["cost"]) if is_reached else np.inf,
        float(best["accuracy"]),
        (float(best["low"]), float(best["high"])),
        target,
        confidence,
        names,
        table,
    )
