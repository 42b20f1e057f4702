"""Search for the shift of the energy axis of an X-ray spectrum, before any element is known."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from xtalsk.physics._xray_lines import FAMILIES
from xtalsk.spectra.eds._columns import edge_columns, typical_columns
from xtalsk.spectra.eds._constants import (
    ELEMENT_COST,
    LARGEST_SHIFT,
    N_HYPOTHESES,
    N_MATCHED,
    RARE_COST,
    RARE_SHARE,
    RIVAL_SCORE,
    RIVAL_SHARE,
    SEARCH_ERROR,
    SHIFT_STEP,
    SOFT_FACTOR,
    SOFT_FAMILY,
    SOUND_SHIFT,
    TYPICAL_RESOLUTION,
    TYPICAL_SHIFT,
)

SHIFTS = np.arange(-LARGEST_SHIFT, LARGEST_SHIFT + SHIFT_STEP / 2, SHIFT_STEP)


class Hypothesis(NamedTuple):
    """A shift of the energy axis, and the rare elements that explain lines there.

    Parameters
    ----------
    shift : float
        Energy in eV to add to the axis.
    rare : tuple of int
        Atomic numbers of elements that are not looked for otherwise.
    """

    shift: float
    rare: tuple


@lru_cache(maxsize=64)
def _search_columns(edges, setting):
    """Return the counts of the hard and of the soft lines of each element, ndarrays (99, n_bins)."""
    families = typical_columns(edges, round(TYPICAL_RESOLUTION), setting)[1].toarray()
    total = families.sum(1)
    middles = (np.array(edges)[1:] + np.array(edges)[:-1]) / 2
    is_hard = families @ middles >= SOFT_FAMILY * total
    shape = (-1, len(FAMILIES), families.shape[1])
    hard = np.where(is_hard[:, None], families, 0)
    return hard.reshape(shape).sum(1), (families - hard).reshape(shape).sum(1)


def _ratio(part, whole):
    return np.where(whole > 0, part / np.where(whole > 0, whole, 1), 0).clip(0)


def _amplitudes(residual, weights, columns, information):
    """Return the amplitudes of hard and soft lines of each element at each shift, and what they explain."""
    weighted = (weights * residual).T
    (t_hard, t_soft), (g_hard, g_soft) = (part @ weighted for part in columns), information
    hard, soft = _ratio(t_hard, g_hard), _ratio(t_soft, g_soft)
    soft = np.where(g_hard > 0, np.clip(soft, hard / SOFT_FACTOR, hard * SOFT_FACTOR), soft)
    explained = hard * (2 * t_hard - hard * g_hard) + soft * (2 * t_soft - soft * g_soft)
    return hard, soft, explained


def match_elements(spectrum, setting, allowed):
    """Return how well few elements explain the lines of a spectrum at each shift of its energy axis.

    At each shift, matching pursuit takes the element that explains most of the remaining lines, one after the
    other (S. G. Mallat and Z. Zhang, IEEE Trans. Signal Process. 41 (1993) 3397).

    Parameters
    ----------
    spectrum : BinnedSpectrum
    setting : Setting
    allowed : ndarray of bool, shape (99,)
        Elements to look for. All others cost more.

    Returns
    -------
    scores : ndarray of shape (n_shifts,)
        Decrease of chi², less the cost of each element and of the shift.
    taken : ndarray of bool, shape (99, n_shifts)
        Elements by atomic number, at each shift.
    """
    hard, soft = _search_columns(spectrum.edges, setting)
    soft = soft + edge_columns(spectrum.library, setting)
    net, weights = spectrum.shifted(SHIFTS, SEARCH_ERROR)
    information = (hard**2) @ weights.T, (soft**2) @ weights.T
    total = (net**2 * weights).sum(1)
    cost = np.where(allowed[:, None], 0.0, RARE_COST + RARE_SHARE * total) + ELEMENT_COST
    scores = spectrum.cut_off(SEARCH_ERROR, SHIFTS) - (SHIFTS / TYPICAL_SHIFT) ** 2
    taken = np.zeros((len(hard), len(SHIFTS)), bool)
    shifts = np.arange(len(SHIFTS))
    for _ in range(N_MATCHED):
        a_hard, a_soft, explained = _amplitudes(net, weights, (hard, soft), information)
        explained = explained - np.where(taken, 0, cost)
        best = explained.argmax(0)
        is_better = explained[best, shifts] > 0
        if not is_better.any():
            break
        a_hard, a_soft = (is_better * a[best, shifts] for a in (a_hard, a_soft))
        net = net - a_hard[:, None] * hard[best] - a_soft[:, None] * soft[best]
        scores = scores + is_better * explained[best, shifts]
        taken[best, shifts] |= is_better
    return scores, taken


def _peak(scores, k):
    """Return the shift in eV of a local maximum, from the parabola through its neighbours."""
    if not 0 < k < len(SHIFTS) - 1:
        return SHIFTS[k]
    below, at, above = scores[k - 1 : k + 2]
    bend = 2 * at - above - below
    return SHIFTS[k] + SHIFT_STEP * 0.5 * (above - below) / bend if bend > 0 else SHIFTS[k]


def find_hypotheses(spectrum, setting, allowed, rare):
    """Return the shifts of the energy axis that explain the lines of a spectrum about equally well.

    Parameters
    ----------
    spectrum : BinnedSpectrum
    setting : Setting
    allowed, rare : ndarray of bool, shape (99,)
        Elements to look for, and elements that are tried where those fail.

    Returns
    -------
    list of Hypothesis
        The best one first. Small shifts are 0, because the calibration corrects them.
    """
    scores, taken = match_elements(spectrum, setting, allowed)
    padded = np.concatenate([[-np.inf], scores, [-np.inf]])
    is_peak = (scores >= padded[:-2]) & (scores > padded[2:])
    peaks = np.flatnonzero(is_peak & (scores >= scores.max() * (1 - RIVAL_SHARE) - RIVAL_SCORE))
    hypotheses = []
    for k in peaks[np.argsort(-scores[peaks])][:N_HYPOTHESES]:
        shift = _peak(scores, k)
        found = tuple(np.flatnonzero(taken[:, k] & rare & ~allowed).tolist())
        hypotheses.append(Hypothesis(0.0 if abs(shift) <= SOUND_SHIFT else float(shift), found))
    if all(hypothesis.shift for hypothesis in hypotheses):
        middle = len(SHIFTS) // 2
        hypotheses.append(Hypothesis(0.0, tuple(np.flatnonzero(taken[:, middle] & rare & ~allowed).tolist())))
    return hypotheses
