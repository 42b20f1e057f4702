"""The zero-loss peak of an energy-loss spectrum, which defines the zero of the energy axis."""

import numpy as np
from scipy.ndimage import median_filter

from xtalsk.spectra.eels._constants import (
    LEAST_PEAK_WIDTH,
    LOSS_DISTANCE,
    LOW_AXIS_END,
    MOST_BEFORE_PEAK,
    PEAK_CONTRASTS,
    ZERO_LOSS_CONTRAST,
    ZERO_LOSS_DISTANCE,
    ZERO_LOSS_RANGE,
    ZERO_LOSS_START,
)


def zero_loss(energy, counts):
    """Position of the zero-loss peak.

    The peak is the highest of the spectrum. Near the zero of the axis nothing else is needed. Elsewhere the
    spectrum must be dark below the peak, because no electron gains energy, and low far above it. The white
    lines of an edge after subtraction of the background do not fall as far.

    Parameters
    ----------
    energy : ndarray of shape (n_channels,)
        In eV.
    counts : ndarray of shape (n_channels,)

    Returns
    -------
    float or None
        In eV; None if the window does not hold the peak.
    """
    values = np.where(np.isfinite(counts), counts, 0)
    near = np.abs(energy) < ZERO_LOSS_RANGE
    if near.sum() >= 3 and energy[0] <= ZERO_LOSS_START:
        top = int(np.argmax(np.where(near, values, -np.inf)))
        if _is_highest(energy, values, top):
            return _centre(energy, values, top)
    top = int(np.argmax(values))
    if near[top] or not _is_highest(energy, values, top) or not _is_far_peak(energy, values, top):
        return None
    return _centre(energy, values, top)


def _centre(energy, values, top):
    """Mean energy of the upper half of a peak, in eV."""
    upper = (np.abs(energy - energy[top]) < ZERO_LOSS_DISTANCE) & (values > values[top] / 2)
    return float(np.average(energy[upper], weights=values[upper]))


def _is_highest(energy, values, top):
    """Whether a channel is the highest of its surroundings, and higher than the rest of the spectrum."""
    elsewhere = np.abs(energy - energy[top]) > ZERO_LOSS_DISTANCE
    rest = values[elsewhere].max(initial=0.0)
    return (
        values[top] > 0
        and values[top] >= values[~elsewhere].max()
        and (not elsewhere.any() or values[top] >= ZERO_LOSS_CONTRAST * rest)
    )


def _is_far_peak(energy, values, top):
    """Whether a peak far from zero is a zero-loss peak: neither a spike nor the white line of an edge."""
    above = energy - energy[top]
    smooth = median_filter(values, 3, mode="nearest")
    below = above < -ZERO_LOSS_DISTANCE / 2
    losses, far = smooth[above > ZERO_LOSS_DISTANCE / 2], smooth[above > LOSS_DISTANCE]
    if below.sum() < 3 or not len(far):
        return False
    beside = values[max(top - 1, 0) : top + 2]
    contrast = PEAK_CONTRASTS[int(energy[top] > LOW_AXIS_END)]
    return bool(
        beside.sum() >= (1 + LEAST_PEAK_WIDTH) * values[top]
        and np.median(values[below]) < MOST_BEFORE_PEAK * losses.max()
        and values[top] > contrast * far.max()
    )
