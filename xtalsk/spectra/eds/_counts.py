"""Counts of a spectrum that were divided or multiplied by a number."""

import numpy as np

from xtalsk.spectra.eds._constants import FEWEST_SCALED_COUNTS, FEWEST_VALUES, ROUNDING, UNIT_ERROR


def unit_of(counts):
    """Return the number of which all counts are multiples, or None."""
    values = counts[np.isfinite(counts)]
    if (values == 1).any() and (values == np.round(values)).all():
        return 1.0
    values = np.unique(np.append(values, 0.0))
    if (values == np.round(values)).all():
        is_sure = len(values) > FEWEST_VALUES and np.abs(values).max() < 2**53
        return float(np.gcd.reduce(values.astype(np.int64))) if is_sure else 1.0
    steps = np.diff(values)
    unit = steps[steps > ROUNDING * values[-1]].min(initial=np.inf)
    for largest in np.geomspace(unit, np.abs(values).max(), 9):  # large multiples give the unit precisely
        part = np.abs(values[(np.abs(values) <= 1.01 * largest) & (np.abs(values) > 0.5 * unit)])
        if len(part):
            unit = np.median(part / np.round(part / unit).clip(min=1))
    error = np.abs(values / unit - np.round(values / unit))
    return float(unit) if error.max() < UNIT_ERROR else None


def unscaled_counts(counts):
    """Return counts as whole numbers if all are multiples of one number, otherwise unchanged; ndarray.

    Parameters
    ----------
    counts : ndarray of shape (n_channels,)
        Counts, possibly divided by their maximum, by the live time or by the number of frames. NaN in
        channels that were not measured.
    """
    counts = np.asarray(counts, dtype=float)
    unit = unit_of(counts)
    return counts if unit in (None, 1.0) else np.round(counts / unit)


def check_counts(counts):
    """Raise ValueError if a spectrum does not hold counts: few in all, and no multiples of one number."""
    counts = np.asarray(counts, dtype=float)
    total = np.nansum(counts.clip(0))
    if total < FEWEST_SCALED_COUNTS and unit_of(counts) is None:
        raise ValueError(
            f"the spectrum holds {total:.3g} counts in all and they are no whole numbers; expected counts, "
            "not intensities relative to a maximum or a time: multiply by the factor that was divided out"
        )
