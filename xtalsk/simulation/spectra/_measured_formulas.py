"""Simulated measured compositions."""

from functools import cache

import numpy as np
import torch
from sklearn.utils import check_random_state

from xtalsk.physics._depth import atomic_weights
from xtalsk.physics._xray_detector import efficiency
from xtalsk.physics._xray_yields import line_tables, line_yields
from xtalsk.simulation._chunks import check_rows
from xtalsk.simulation._conditions import check_conditions
from xtalsk.simulation.spectra._formula_conditions import FormulaConditions
from xtalsk.simulation.spectra._formulas import atomic_fractions
from xtalsk.utils._formula import N_ELEMENTS, SYMBOLS, check_symbol

_CARBON, _OXYGEN, _SILICON, _SODIUM, _URANIUM = 6, 8, 14, 11, 92
_LIGHT = slice(2, 9)  # lithium to fluorine
_SMALLEST_FRACTION = 5e-5  # formulas have two decimals of a percent
# Counts of the continuum below a line, in 1.2 times its full width at half maximum, relative to those in all
# lines. Medians of 200 AMCSD minerals in ideal `simulate_eds`: 0.0042 at 0.5 keV, 0.0018 at 2, 0.0009 at 7.
_BACKGROUND = 0.002


def simulate_formulas(crystals, rows=None, conditions="typical", *, random_state=None):
    """Simulate the compositions that the quantification of spectra gives for crystals.

    The grid, the film, contamination and stray lines are added to the atomic fractions of a crystal. Elements
    that the technique does not see are left out. Counting noise hides elements below their limit of
    detection. The atomic fractions get a relative error, like that of sensitivity factors, and an absolute
    error. The remaining fractions are normalised.

    Parameters
    ----------
    crystals : CrystalSet
    rows : array-like of int or None
        The crystal of each formula, repeats allowed; None stands for each crystal once.
    conditions : FormulaConditions or {"ideal", "typical", "microscope"}
        Distributions of the conditions, or the name of a preset.
    random_state : int, RandomState or None
        Seed of the random draws.

    Returns
    -------
    list of str, ndarray or None
        Formulas in atomic percent, such as ``"Si34.21O65.79"``. Compositions in which the elements that were
        not seen are NaN (see ``unseen_as_nan``) are arrays of 98 atomic fractions, hydrogen first. Blocks
        such as `ElementFractions` accept both. None if no element of the crystal was detected.

    Raises
    ------
    ValueError
        If a formula does not parse or an argument is out of range.

    See Also
    --------
    FormulaConditions : Conditions of the simulation.

    Examples
    --------
    >>> from pymatgen.core import Lattice, Structure
    >>> from xtalsk.crystals import CrystalSet
    >>> from xtalsk.simulation import FormulaConditions, simulate_formulas
    >>> salt = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5] * 3])
    >>> crystals = CrystalSet.from_pymatgen([salt])
    >>> simulate_formulas(crystals, conditions="ideal")
    ['Na50Cl50']
    >>> copper = FormulaConditions(grid=0.2, grid_elements=(("Cu", 1),), relative_error=0, absolute_error=0)
    >>> simulate_formulas(crystals, conditions=copper)
    ['Na40Cl40Cu20']
    """
    conditions = check_conditions(conditions, FormulaConditions)
    fractions = atomic_fractions(crystals.formulas)
    rows = check_rows(rows, len(fractions), "rows of crystals")
    measured = measured_fractions(fractions[rows], conditions, check_random_state(random_state))
    return [_cell(row) for row in measured]


def measured_fractions(fractions, conditions, rng):
    """Simulate measured atomic fractions.

    Parameters
    ----------
    fractions : ndarray of shape (n, 98)
        True atomic fractions.
    conditions : FormulaConditions
    rng : RandomState

    Returns
    -------
    ndarray of shape (n, 98)
        NaN where an element was not seen and the composition marks it. A row is 0 if no element of the
        specimen was detected.
    """
    values = {name: column.to_numpy() for name, column in conditions.draw(len(fractions), rng).items()}
    fractions = fractions.copy()
    invisible = np.zeros(N_ELEMENTS, dtype=bool)
    invisible[[check_symbol(symbol) - 1 for symbol in conditions.invisible]] = True
    fractions[:, invisible] = 0
    fractions = _normalise(fractions)
    is_own = fractions > 0
    fractions, grid = _with_strays(fractions, values, conditions, rng)
    unseen = invisible | (np.arange(1, N_ELEMENTS + 1) < values["lightest"][:, None])
    excluded = _applies(values["support_excluded"], rng)
    unseen[excluded, _CARBON - 1] = unseen[excluded, grid[excluded] - 1] = True
    fractions[unseen] = 0
    fractions[:, _LIGHT] *= values["light_factor"][:, None]
    fractions = _normalise(_counted(_normalise(fractions), values["counts"], rng))
    noisy = fractions * np.exp(values["relative_error"][:, None] * rng.standard_normal(fractions.shape))
    noisy += values["absolute_error"][:, None] * rng.standard_normal(fractions.shape) * (fractions > 0)
    noisy = _normalise(noisy.clip(min=0))
    noisy[noisy < np.maximum(values["detection_limit"], _SMALLEST_FRACTION)[:, None]] = 0
    noisy[~(noisy * is_own).any(1)] = 0  # nothing of the specimen
    noisy = _normalise(noisy)
    marked = _applies(values["unseen_as_nan"], rng) & noisy.any(1)
    noisy[unseen & marked[:, None]] = np.nan
    return noisy


def _applies(probability, rng):
    """Draw whether something applies to each row, given its probability; nothing is drawn if all are 0."""
    if not probability.any():
        return np.zeros(len(probability), dtype=bool)
    return rng.uniform(size=len(probability)) < probability


def _with_strays(fractions, values, conditions, rng):
    """Add the elements that are not in the specimen; also return the atomic number of each grid."""
    n = len(fractions)
    grid = _choose(conditions.grid_elements, n, values["grid"].any() or values["support_excluded"].any(), rng)
    stray = _choose(conditions.stray_elements, n, values["stray"].any(), rng)
    has_impurity = values["impurity"].any()
    impurity = rng.randint(_SODIUM, _URANIUM + 1, n) if has_impurity else np.full(n, _SODIUM)
    elements = {
        "grid": grid,
        "film": _CARBON,
        "oxygen": _OXYGEN,
        "silicon": _SILICON,
        "stray": stray,
        "impurity": impurity,
    }
    for name, numbers in elements.items():
        np.add.at(fractions, (np.arange(n), np.broadcast_to(numbers, n) - 1), _ratio(values[name]))
    return fractions, grid


def _ratio(fraction):
    """Amount of an element relative to the specimen, from its share of both."""
    return fraction / (1 - fraction)


def _choose(elements, n, needed, rng):
    """Draw atomic numbers from a table of elements and weights; the first one everywhere if not needed."""
    numbers = np.array([check_symbol(symbol) for symbol, _ in elements])
    if not needed:
        return np.full(n, numbers[0])
    weights = np.array([weight for _, weight in elements], dtype=float)
    return rng.choice(numbers, n, p=weights / weights.sum())


@cache
def sensitivities():
    """Return the X-rays that a detector counts for each atom of an element in a thin film at 200 keV.

    Returns
    -------
    ndarray of shape (98,)
        Relative to silicon. 0 for elements without lines above 0.1 keV.
    """
    tables = line_tables()
    element = tables["z"] - 1
    pure = torch.eye(N_ELEMENTS, dtype=torch.float64)
    setting = (torch.full((N_ELEMENTS,), value, dtype=torch.float64) for value in (2e5, 20.0, 1e-6))
    emitted = line_yields(pure, torch.arange(len(element)), element, *setting, tables)
    dead_layer, silicon = torch.tensor([[30.0]]), torch.tensor([[0.45]])  # nm, mm
    zero, one = torch.zeros(1, 1), torch.ones(1, 1)
    energies = tuple(tables["energy"].clamp_min(50.0).tolist())
    seen = efficiency(energies, zero, one, zero, dead_layer, silicon)[0]
    counts = torch.zeros(N_ELEMENTS, dtype=torch.float64).index_add_(0, element, emitted * seen)
    counts = (counts * atomic_weights()).numpy()
    return counts / counts[_SILICON - 1]


def _counted(fractions, counts, rng):
    """Add the Poisson noise of counts (n,); elements below the limit of detection become 0.

    The limit is that of Currie for a known background, L. A. Currie, Anal. Chem. 40, 586 (1968), at three
    standard deviations.
    """
    if not np.isfinite(counts).any():
        return fractions
    factor = sensitivities()
    signal = fractions * factor
    share = _normalise(signal)
    row, z = np.nonzero((fractions > 0) & np.isfinite(counts)[:, None])
    background = counts[row] * _BACKGROUND
    observed = rng.poisson(counts[row] * share[row, z] + background) - background
    detected = (observed > 3 * np.sqrt(background) + 3) & (factor[z] > 0)
    total = signal.sum(1)[row]
    out = fractions.copy()
    out[row, z] = np.where(detected, observed / counts[row] * total / np.where(detected, factor[z], 1), 0)
    return out


def _normalise(fractions):
    """Fractions whose rows sum to one; rows of zeros stay as they are."""
    total = fractions.sum(1, keepdims=True)
    return fractions / np.where(total > 0, total, 1)


def _cell(fractions):
    """Return a row of atomic fractions as a cell: a formula, None, or the array itself if it has NaN."""
    if not fractions.any():
        return None
    if np.isnan(fractions).any():
        return fractions
    percent = 100 * fractions
    return "".join(f"{SYMBOLS[z]}{percent[z]:.2f}".rstrip("0").rstrip(".") for z in np.flatnonzero(percent))
