"""Counts of a spectrum that were divided or multiplied by a number."""

import numpy as np

from xtalsk.spectra.eds._constants import FEWEST_SCALED_COUNTS, UNIT_ERROR


def _unit(counts):
    """Return the number of which all counts are multiples, or None; 1 for whole numbers."""
    counts = np.asarray(counts, dtype=float)
    counts = counts[np.isfinite(counts)]
    values = np.unique(counts)
    if (values == np.round(values)).all():
        return 1.0
    steps = np.diff(np.unique(np.append(values, 0.0)))
    unit = steps[steps > UNIT_ERROR * steps.max()].min(initial=np.inf)
    for largest in np.abs(values).max() * np.geomspace(1e-4, 1, 9):  # large multiples give the unit precisely
        part = values[(np.abs(values) <= largest) & (values != 0)]
        if len(part):
            unit = np.median(part / np.round(part / unit).clip(min=1)) if (part > 0).all() else unit
    error = np.abs(values / unit - np.round(values / unit))
    return float(unit) if error.max() < UNIT_ERROR * 100 else None


def unscaled_counts(counts):
    """Return counts as whole numbers if all are multiples of one number, otherwise unchanged; ndarray.

    Parameters
    ----------
    counts : ndarray of shape (n_channels,)
        Counts, possibly divided by their maximum, by the live time or by the number of frames. NaN in
        channels that were not measured.
    """
    counts = np.asarray(counts, dtype=float)
    unit = _unit(counts)
    return counts if unit in (None, 1.0) else np.round(counts / unit)


def check_counts(counts):
    """Raise ValueError if a spectrum does not hold counts: few in all, and no multiples of one number."""
    counts = np.asarray(counts, dtype=float)
    total = np.nansum(counts.clip(0))
    if total < FEWEST_SCALED_COUNTS and _unit(counts) is None:
        raise ValueError(
            f"the spectrum holds {total:.3g} counts in all and they are no whole numbers; expected counts, not "
            "intensities relative to a maximum or a time: multiply by the factor that was divided out"
        )
