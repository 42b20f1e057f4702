"""Search for the shift of the energy axis of an X-ray spectrum, before any element is known."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from xtalsk.physics._xray_lines import FAMILIES
from xtalsk.spectra.eds import _search_kernels as kernels
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
    SOUND_SHIFT,
    TYPICAL_RESOLUTION,
    TYPICAL_SHIFT,
)
from xtalsk.spectra.eds._library import make_library
from xtalsk.spectra.eds._rows import dense_rows

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
def _search_columns(bins, setting):
    """Return the visible elements, and the counts of their hard and of their soft lines.

    Returns
    -------
    elements : ndarray of int, shape (n_elements,)
    hard : ndarray of float32, shape (n_elements, n_bins)
    soft : ndarray of float32, shape (n_elements, n_soft)
        Only the first bins, which hold soft lines.
    """
    library = make_library(bins, round(TYPICAL_RESOLUTION), setting.window)
    typical = typical_columns(bins, round(TYPICAL_RESOLUTION), setting)
    families = dense_rows(typical.families, np.arange(len(typical.is_soft)), len(bins))
    shape = (-1, len(FAMILIES), len(bins))
    hard = np.where(typical.is_soft[:, None], 0, families).reshape(shape).sum(1)
    soft = families.reshape(shape).sum(1) - hard + edge_columns(library, setting)
    elements = np.flatnonzero((hard + soft).any(1))
    n_soft = np.flatnonzero(soft.any(0)).max(initial=-1) + 1
    hard, soft = (part[elements] / max(hard.max(), soft.max()) for part in (hard, soft))
    return elements, hard.astype(np.float32), soft[:, :n_soft].astype(np.float32)


def _products(values, hard, soft, out):
    """Write the products of values (n_shifts, n_bins) and columns into ``out`` (n_shifts, n_columns)."""
    np.matmul(values, hard.T, out=out[:, : len(hard)])
    np.matmul(values[:, : soft.shape[1]], soft.T, out=out[:, len(hard) :])


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
    elements, hard, soft = _search_columns(spectrum.bins, setting)
    net, weights = spectrum.shifted(SHIFTS, SEARCH_ERROR)
    weighted = net * weights
    chi2 = net * weighted
    rare_cost = RARE_COST + RARE_SHARE * chi2.sum(1)
    costs = ELEMENT_COST + np.where(allowed[elements], 0, rare_cost[:, None])
    scores = _cut_off(spectrum.bins, chi2[-1]) - (SHIFTS / TYPICAL_SHIFT) ** 2
    taken = np.zeros((len(SHIFTS), len(elements)), bool)
    target, information = np.empty((2, len(SHIFTS), 2 * len(elements)), np.float32)
    _products(weights, hard**2, soft**2, information)
    for _ in range(N_MATCHED):
        _products(weighted, hard, soft, target)
        if not kernels.take_best(target, information, costs, hard, soft, weights, weighted, scores, taken):
            break
    by_number = np.zeros((len(allowed), len(SHIFTS)), bool)
    by_number[elements] = taken.T
    return scores, by_number


def _cut_off(bins, chi2):
    """Return chi² of the net counts below the lowest energy at each shift, but not at the largest one.

    Fits of a spectrum at different shifts use different channels. This makes them comparable.

    Parameters
    ----------
    bins : Bins
    chi2 : ndarray of shape (n_bins,)
        chi² of the net counts in each bin at the largest shift.

    Returns
    -------
    ndarray of shape (n_shifts,)
    """
    return (bins.middles - SHIFTS[-1] < bins.edges[0] - SHIFTS[:, None]) @ chi2


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
