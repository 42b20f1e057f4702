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
from xtalsk.spectra.eds._library import make_library

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
    """Return the visible elements, and the counts of their hard and of their soft lines.

    Returns
    -------
    elements : ndarray of int, shape (n_elements,)
    columns : ndarray of float32, shape (2 * n_elements, n_bins)
        The hard lines of all elements, and then the soft lines of all.
    """
    library = make_library(edges, round(TYPICAL_RESOLUTION), setting.window)
    families = typical_columns(edges, round(TYPICAL_RESOLUTION), setting)[1].toarray()
    is_hard = families @ library.middles >= SOFT_FAMILY * families.sum(1)
    shape = (-1, len(FAMILIES), families.shape[1])
    hard = np.where(is_hard[:, None], families, 0).reshape(shape).sum(1)
    soft = families.reshape(shape).sum(1) - hard + edge_columns(library, setting)
    elements = np.flatnonzero((hard + soft).any(1))
    columns = np.vstack([hard[elements], soft[elements]])
    return elements, (columns / columns.max()).astype(np.float32)


def _amplitudes(residual, weights, columns, information):
    """Return the amplitudes of hard and soft lines of each element at each shift, and what they explain."""
    target = columns @ (weights * residual).T
    amplitudes = (target / np.where(information > 0, information, np.inf)).clip(0)
    (hard, soft), (t_hard, t_soft) = np.split(amplitudes, 2), np.split(target, 2)
    g_hard, g_soft = np.split(information, 2)
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
    elements, columns = _search_columns(spectrum.edges, setting)
    net, weights = (part.astype(np.float32) for part in spectrum.shifted(SHIFTS, SEARCH_ERROR))
    information = columns**2 @ weights.T
    cost = np.where(allowed[elements, None], 0.0, RARE_COST + RARE_SHARE * (net**2 * weights).sum(1))
    cost = (cost + ELEMENT_COST).astype(np.float32)
    scores = spectrum.cut_off(SEARCH_ERROR, SHIFTS) - (SHIFTS / TYPICAL_SHIFT) ** 2
    taken = np.zeros((len(elements), len(SHIFTS)), bool)
    shifts = np.arange(len(SHIFTS))
    for _ in range(N_MATCHED):
        hard, soft, explained = _amplitudes(net, weights, columns, information)
        explained = explained - np.where(taken, 0, cost)
        best = explained.argmax(0)
        is_better = explained[best, shifts] > 0
        if not is_better.any():
            break
        hard, soft = (is_better * part[best, shifts] for part in (hard, soft))
        net = net - hard[:, None] * columns[best] - soft[:, None] * columns[best + len(elements)]
        scores = scores + is_better * explained[best, shifts]
        taken[best, shifts] |= is_better
    by_number = np.zeros((len(allowed), len(SHIFTS)), bool)
    by_number[elements] = taken
    return scores, by_number


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
