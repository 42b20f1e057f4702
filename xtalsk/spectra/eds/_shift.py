"""Search for the shift of the energy axis of an X-ray spectrum, before any element is known."""

from functools import lru_cache

import numpy as np

from xtalsk.physics._xray_lines import FAMILIES
from xtalsk.spectra.eds._columns import typical_columns
from xtalsk.spectra.eds._constants import (
    ELEMENT_COST,
    LARGEST_SHIFT,
    N_MATCHED,
    SEARCH_ERROR,
    SHIFT_STEP,
    SOFT_FACTOR,
    SOFT_FAMILY,
    SOUND_MARGIN,
    SOUND_SHIFT,
    TYPICAL_RESOLUTION,
    TYPICAL_SHIFT,
)

SHIFTS = np.arange(-LARGEST_SHIFT, LARGEST_SHIFT + SHIFT_STEP / 2, SHIFT_STEP)


@lru_cache(maxsize=64)
def _search_columns(edges, setting):
    """Return the counts of the hard and of the soft lines of each element, ndarrays (99, n_bins)."""
    families = typical_columns(edges, round(TYPICAL_RESOLUTION), setting)[1].toarray()
    total = families.sum(1)
    mean = families @ ((np.array(edges)[1:] + np.array(edges)[:-1]) / 2) / np.where(total > 0, total, 1)
    shape = (-1, len(FAMILIES), families.shape[1])
    hard = np.where(mean >= SOFT_FAMILY, 1.0, 0.0)[:, None] * families
    return hard.reshape(shape).sum(1), (families - hard).reshape(shape).sum(1)


def _amplitudes(residual, weights, hard, soft, information):
    """Return the amplitudes of hard and soft lines of each element at each shift, and what they explain."""
    weighted = (weights * residual).T
    t_hard, t_soft = hard @ weighted, soft @ weighted
    g_hard, g_soft = information
    a_hard = np.where(g_hard > 0, t_hard / np.where(g_hard > 0, g_hard, 1), 0).clip(0)
    a_soft = np.where(g_soft > 0, t_soft / np.where(g_soft > 0, g_soft, 1), 0).clip(0)
    limited = np.clip(a_soft, a_hard / SOFT_FACTOR, a_hard * SOFT_FACTOR)
    a_soft = np.where(g_hard > 0, limited, a_soft)
    gain = a_hard * (2 * t_hard - a_hard * g_hard) + a_soft * (2 * t_soft - a_soft * g_soft)
    return a_hard, a_soft, gain


def shift_scores(spectrum, setting, allowed):
    """Return how well few elements explain the lines of a spectrum at each shift of its energy axis.

    At each shift, matching pursuit takes the element that explains most of the remaining lines, one after the
    other (S. G. Mallat and Z. Zhang, IEEE Trans. Signal Process. 41 (1993) 3397).

    Parameters
    ----------
    spectrum : BinnedSpectrum
    setting : Setting
    allowed : ndarray of bool, shape (99,)

    Returns
    -------
    ndarray of shape (n_shifts,)
        Decrease of chi², less the cost of each element and of the shift.
    """
    numbers = np.flatnonzero(allowed)
    hard, soft = (part[numbers] for part in _search_columns(spectrum.edges, setting))
    net, weights = spectrum.shifted(SHIFTS, SEARCH_ERROR)
    information = (hard**2) @ weights.T, (soft**2) @ weights.T
    score = -((SHIFTS / TYPICAL_SHIFT) ** 2)
    taken = np.zeros((len(numbers), len(SHIFTS)), bool)
    rows = np.arange(len(SHIFTS))
    for _ in range(N_MATCHED):
        a_hard, a_soft, gain = _amplitudes(net, weights, hard, soft, information)
        gain = gain - ELEMENT_COST * ~taken
        best = gain.argmax(0)
        is_better = gain[best, rows] > 0
        if not is_better.any():
            break
        a_hard, a_soft = a_hard[best, rows] * is_better, a_soft[best, rows] * is_better
        net = net - a_hard[:, None] * hard[best] - a_soft[:, None] * soft[best]
        score = score + gain[best, rows] * is_better
        taken[best, rows] |= is_better
    return score


def find_shift(spectrum, setting, allowed):
    """Return the energy in eV to add to the axis, 0 unless another shift explains clearly more."""
    scores = shift_scores(spectrum, setting, allowed)
    best = scores.argmax()
    near = np.abs(SHIFTS) <= SOUND_SHIFT
    if scores[near].max() >= scores[best] - SOUND_MARGIN:
        return 0.0
    if 0 < best < len(SHIFTS) - 1:
        below, at, above = scores[best - 1 : best + 2]
        return SHIFTS[best] + SHIFT_STEP * 0.5 * (above - below) / (2 * at - above - below)
    return SHIFTS[best]
