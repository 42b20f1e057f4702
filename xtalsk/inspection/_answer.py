"""What a classifier says of one specimen: probabilities by level, and the best entries of the library."""

import warnings

import numpy as np
import pandas as pd

from xtalsk.crystals import CrystalSet
from xtalsk.symmetry import check_space_group, to_level
from xtalsk.utils import is_missing

DRAWN_LEVELS = ("crystal_system", "point_group", "space_group")
"""Levels of symmetry of the figure, from coarse to fine."""

_ENTRIES_READ = 40  # best entries, in which each phase is looked for once
_COLUMNS = ["id", "formula", "mineral", "label", "similarity", "probability", "scale", "width"]


def probabilities_by_level(classifier, X):
    """Return the probabilities of one row of features at each level, sorted from high to low.

    Returns
    -------
    dict of {str: Series}
        For space groups: ``crystal_system``, ``point_group`` and ``space_group``. For other classes:
        ``label``. Empty Series if the classifier has no answer.
    """
    proba = np.asarray(classifier.predict_proba(X), dtype=float)[0]
    try:
        numbers = classifier._space_groups_of_classes()
    except AttributeError:
        numbers = classifier.classes_
    except ValueError:
        numbers = None
    try:
        labels = {level: to_level(check_space_group(numbers), level) for level in DRAWN_LEVELS}
    except (TypeError, ValueError):
        labels = {"label": classifier.classes_}
    if np.isnan(proba).any():
        return {level: pd.Series(dtype=float, name=level) for level in labels}
    return {
        level: pd.Series(proba, name=level)
        .groupby(np.asarray(of_level))
        .sum()
        .sort_values(ascending=False, kind="stable")
        for level, of_level in labels.items()
    }


def best_candidates(classifier, X, n):
    """Return the best entries of the library for one row of features: one for each phase.

    Entries of the same label and the same formula or mineral are one phase.

    Returns
    -------
    DataFrame of n rows or fewer
        Columns of ``candidates``.
    """
    if n == 0 or not hasattr(classifier, "candidates"):
        return pd.DataFrame(columns=_COLUMNS)
    table = classifier.candidates(X, _ENTRIES_READ)
    is_repeated = np.zeros(len(table), dtype=bool)
    for name in ("formula", "mineral"):
        if name in table:
            is_named = table[name].notna() & (table[name] != "")
            is_repeated |= is_named & table.duplicated([name, "label"])
    return table[~is_repeated].head(n).reset_index(drop=True)


def lines_of(candidates, crystals, q_max, wavelength=None):
    """Return the lines of each candidate, at the scale that the library found.

    Parameters
    ----------
    candidates : DataFrame
        From `best_candidates`.
    crystals : CrystalSet or None
        None takes `load_amcsd` and `load_experimental`.
    q_max : float
        Largest q of lines in 1/Å.
    wavelength : float, "xray" or None
        Wavelength of X-rays in Å, "xray" if it is not known, None for electrons.

    Returns
    -------
    list of (ndarray, ndarray) or None
        Measured q in 1/Å, and intensity relative to the strongest line; None for entries without a crystal.

    Warns
    -----
    UserWarning
        If an entry has no crystal.
    """
    if not len(candidates):
        return []
    if crystals is None:
        from xtalsk.datasets import load_amcsd, load_experimental

        crystals = CrystalSet.concatenate([load_amcsd(), load_experimental()])
    row_of = {str(name): row for row, name in enumerate(crystals.ids)}
    ids = candidates["id"] if "id" in candidates else [None] * len(candidates)
    rows = [None if is_missing(name) else row_of.get(str(name)) for name in ids]
    absent = [str(name) for name, row in zip(ids, rows, strict=True) if row is None]
    if absent:
        warnings.warn(
            f"no lines are drawn for the entries {absent} of the library: crystals has no crystal of that "
            "id; give the crystals of the library as crystals=, and entries with a column id to fit",
            UserWarning,
            stacklevel=4,
        )
    scales = candidates["scale"].fillna(1.0) if "scale" in candidates else np.ones(len(candidates))
    return [
        None if row is None else _lines_of_crystal(crystals[row : row + 1], float(scale), q_max, wavelength)
        for row, scale in zip(rows, scales, strict=True)
    ]


def _lines_of_crystal(crystal, scale, q_max, wavelength):
    """Return measured q and relative intensity of the lines of one crystal."""
    from xtalsk.simulation import compute_reflections

    known = wavelength if isinstance(wavelength, float) else None
    radiation = "electron" if wavelength is None else "xray"
    lines = compute_reflections(crystal, radiation, d_min=scale / q_max, wavelength=known)
    q = lines.q.double().numpy()
    intensity = lines.intensity.double().numpy() * lines.multiplicity.double().numpy()
    if wavelength is None:
        intensity = intensity / q  # along the circumference of a ring
    else:  # Lorentz-polarisation factor, 1/q² where the wavelength is not known
        sine = np.clip(q * (known or 0) / 2, 0, 0.999)
        intensity = intensity / q**2 * (1 + (1 - 2 * sine**2) ** 2) / np.sqrt(1 - sine**2)
    return q * scale, intensity / intensity.max(initial=0) if len(q) else intensity
