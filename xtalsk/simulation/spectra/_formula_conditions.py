"""Conditions of the simulation of measured compositions."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import beta, lognorm, loguniform

from xtalsk.simulation._conditions import Conditions, Sometimes
from xtalsk.utils._formula import N_ELEMENTS, check_symbol

_SUPPORT = beta(0.8, 1.6, scale=0.8)  # atomic fraction of grid or film: 0 to 0.8, mean 0.27


@dataclass(frozen=True, repr=False)
class FormulaConditions(Conditions):
    """Conditions under which a composition is measured, from an analysis on a label to a microscope.

    Each field is a number, a pair (low, high) for a uniform distribution, `Sometimes` or a scipy.stats
    distribution; a value is drawn for each composition. The tables of elements and ``invisible`` are the same
    for all compositions.

    Parameters
    ----------
    grid : distribution
        Amount of the grid, as an atomic fraction: grid / (grid + specimen).
    grid_elements : tuple of (symbol, weight)
        Elements that a grid or holder can be made of, and how often each one is.
    film : distribution
        Amount of carbon of the support film, the coating and contamination: carbon / (carbon + specimen).
    oxygen : distribution
        Amount of oxygen of the film and of oxidised surfaces: oxygen / (oxygen + specimen).
    silicon : distribution
        Amount of silicon of the detector and of dust: silicon / (silicon + specimen).
    stray : distribution
        Amount of another stray element, such as iron of the pole piece: stray / (stray + specimen).
    stray_elements : tuple of (symbol, weight)
        These elements, and how often each one occurs.
    impurity : distribution
        Amount of an element from sodium to uranium, each one equally likely, that is a trace in the specimen
        or a mistake of the analysis: impurity / (impurity + specimen).
    support_excluded : distribution
        Probability, from 0 to 1, that the analyst leaves out carbon and the element of the grid.
    invisible : tuple of str
        Symbols of elements that the technique never detects.
    lightest : distribution
        Atomic number of the lightest element that is quantified, from 1. Lighter ones are not seen.
    light_factor : distribution
        Factor on the amounts of the light elements, lithium to fluorine: 1 is right, below 1 too little.
    unseen_as_nan : distribution
        Probability, from 0 to 1, that a composition marks the elements that were not seen, or were left out,
        with NaN, as `EDSComposition` does. Otherwise these elements are absent, as in a formula.
    counts : distribution
        Counts in the lines of the spectrum; ``inf`` for no counting noise. They give each element its
        Poisson error and its own limit of detection, for lines in a thin film at 200 keV.
    relative_error : distribution
        Standard deviation of the logarithm of each atomic fraction, like that of k-factors.
    absolute_error : distribution
        Standard deviation of the error that is added to each atomic fraction above 0.
    detection_limit : distribution
        Atomic fraction below which no element is reported.

    Raises
    ------
    ValueError
        If a field is out of range; the message names the field.

    See Also
    --------
    simulate_formulas : Simulates the compositions.

    Notes
    -----
    The defaults are those of `typical`. How often each grid, stray line and error occurs in `microscope` was
    set by eye.

    Examples
    --------
    >>> from xtalsk.simulation import FormulaConditions
    >>> nickel = FormulaConditions(grid=(0.1, 0.3), grid_elements=(("Ni", 1),), counts=1e4)
    >>> nickel.draw(2, random_state=0)["grid"].round(2).tolist()
    [0.21, 0.24]
    """

    grid: object = 0.0
    grid_elements: tuple = (("Cu", 0.6), ("Ni", 0.15), ("Mo", 0.1), ("Au", 0.1), ("Al", 0.05))
    film: object = 0.0
    oxygen: object = 0.0
    silicon: object = 0.0
    stray: object = 0.0
    stray_elements: tuple = (
        ("Fe", 0.35),
        ("Co", 0.15),
        ("Cl", 0.1),
        ("S", 0.1),
        ("Na", 0.1),
        ("Ca", 0.1),
        ("K", 0.05),
        ("Cr", 0.05),
    )
    impurity: object = 0.0
    support_excluded: object = 0.0
    invisible: tuple = ("H",)
    lightest: object = 1.0
    light_factor: object = 1.0
    unseen_as_nan: object = 0.0
    counts: object = np.inf
    relative_error: object = 0.1
    absolute_error: object = 0.005
    detection_limit: object = 0.01

    _presets = ("ideal", "typical", "microscope")
    _plain = ("grid_elements", "stray_elements", "invisible")
    _limits = {
        **dict.fromkeys(("grid", "film", "oxygen", "silicon", "stray", "impurity"), (0, 0.99)),
        "support_excluded": (0, 1),
        "lightest": (1, N_ELEMENTS),
        "light_factor": (1e-6, 100),
        "unseen_as_nan": (0, 1),
        "counts": (1, np.inf),
        "relative_error": (0, 1),
        "absolute_error": (0, 1),
        "detection_limit": (0, 1),
    }

    def __post_init__(self):
        for name in ("grid_elements", "stray_elements"):
            _check_elements(name, getattr(self, name))
        if isinstance(self.invisible, str):
            raise ValueError(f"invisible must be a tuple of symbols, got the string {self.invisible!r}")
        for symbol in self.invisible:
            check_symbol(symbol)
        super().__post_init__()

    @classmethod
    def ideal(cls):
        """Return conditions without any error: exact formulas, hydrogen included."""
        return cls(invisible=(), relative_error=0.0, absolute_error=0.0, detection_limit=0.0)

    @classmethod
    def typical(cls):
        """Return conditions of a careful analysis of the pure substance, without support or few counts."""
        return cls()

    @classmethod
    def microscope(cls):
        """Return conditions of a specimen on a film and a grid in a transmission electron microscope."""
        return cls(
            grid=Sometimes(0.8, _SUPPORT),
            film=Sometimes(0.85, _SUPPORT),
            oxygen=Sometimes(0.5, loguniform(0.005, 0.3)),
            silicon=Sometimes(0.4, loguniform(0.002, 0.05)),
            stray=Sometimes(0.4, loguniform(0.002, 0.03)),
            impurity=Sometimes(0.2, loguniform(0.002, 0.03)),
            support_excluded=0.3,
            invisible=("H", "He"),
            lightest=Sometimes(0.93, (4.0, 7.0), otherwise=11.0),
            light_factor=Sometimes(0.6, lognorm(0.4), otherwise=1.0),
            unseen_as_nan=0.5,
            counts=loguniform(1e3, 1e6),
            relative_error=(0.05, 0.2),
            absolute_error=0.002,
            detection_limit=(0.0, 0.01),
        )

    @classmethod
    def measured(cls):
        """Return the conditions of `microscope`."""
        return cls.microscope()


def _check_elements(name, elements):
    """Raise ValueError unless elements are a non-empty tuple of pairs of a symbol and a positive weight."""
    pairs = isinstance(elements, tuple) and all(
        isinstance(pair, tuple) and len(pair) == 2 for pair in elements
    )
    if not (elements and pairs):
        raise ValueError(f"{name} must be a tuple of pairs such as ('Cu', 1.0), got {elements!r}")
    for symbol, weight in elements:
        check_symbol(symbol)
        if not 0 < weight < np.inf:
            raise ValueError(f"{name}: the weight of {symbol} must be above 0, got {weight!r}")
