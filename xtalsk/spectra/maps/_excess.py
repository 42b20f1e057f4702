"""Pixels whose counts exceed their fit at the same energy."""

import numpy as np
from scipy.stats import norm, poisson

from xtalsk.spectra.maps._constants import CHANCE, LEAST_EXCESS, MOST_GROUPS, WINDOW_REACH


def excess_groups(largest, place, usable, n_bins):
    """Return groups of pixels whose largest excess lies in neighbouring bins, and is no accident.

    Parameters
    ----------
    largest, place : ndarray of shape (rows, columns)
        Largest significance of the counts above the fit of each pixel, and its bin.
    usable : ndarray of bool, shape (rows, columns)
        Pixels that were fitted.
    n_bins : int

    Returns
    -------
    list of ndarray of bool, shape (rows, columns)
        The largest group first. A group is larger than chance allows in windows of all bins.
    """
    width = 2 * WINDOW_REACH + 1
    expected = usable.sum() * norm.sf(LEAST_EXCESS) * width
    free, groups = usable & (largest > LEAST_EXCESS), []
    for _ in range(MOST_GROUPS):
        counts = np.convolve(np.bincount(place[free], minlength=n_bins), np.ones(width), "same")
        group = free & (np.abs(place - counts.argmax()) <= WINDOW_REACH)
        if not group.any() or poisson.sf(group.sum() - 1, expected) > CHANCE:
            break
        free &= ~group
        groups.append(group)
    return groups
