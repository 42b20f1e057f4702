"""Which elements an X-ray spectrum can contain at all, before any fit."""

import numpy as np

from xtalsk.physics._xray_lines import FAMILIES
from xtalsk.spectra.eds import _row_kernels as kernels
from xtalsk.spectra.eds._columns import typical_columns
from xtalsk.spectra.eds._constants import (
    BOUND_SIGMAS,
    CANDIDATE_BACKGROUND_ERROR,
    CANDIDATE_LINE_ERROR,
    K_SLACK,
    SLACK,
    SOFT_SLACK,
)


def _family_amounts(spectrum, families, background):
    """Return the amount that each family of lines gives if it alone makes up the net counts.

    Returns
    -------
    amount : ndarray of shape (n_families,)
        Mass of the element in the unit of the columns.
    information : ndarray of shape (n_families,)
        Inverse variance of the amount, 0 for families without counts.
    """
    net = spectrum.counts - background
    variance = spectrum.smooth().clip(1)
    variance = variance + (CANDIDATE_LINE_ERROR * net) ** 2 + (CANDIDATE_BACKGROUND_ERROR * background) ** 2
    weights = spectrum.measured / variance
    amount, information = np.empty((2, len(families.starts) - 1))
    kernels.weigh(families, net, weights, amount, information)
    return (amount / np.where(information > 0, information, 1)).clip(0), information


def _upper_bounds(amount, information, is_soft):
    """Return the upper bound of the amount of an element by each of its families, infinite without bound.

    Soft families give a bound only to elements that have no other family.
    """
    is_visible = information > 0
    is_k = np.arange(len(amount)) % len(FAMILIES) == 0
    slack = np.where(is_k, K_SLACK, np.where(is_soft, SOFT_SLACK, SLACK))
    spread = BOUND_SIGMAS / np.sqrt(np.where(is_visible, information, 1))
    has_hard = (is_visible & ~is_soft).reshape(-1, len(FAMILIES)).any(1)
    is_bound = is_visible & ~(is_soft & np.repeat(has_hard, len(FAMILIES)))
    return np.where(is_bound, amount * slack + spread, np.inf)


def largest_significance(spectrum, setting, background):
    """Return the largest significance that each element can have.

    It is the significance if no other element lay under its lines. Each family of lines gives an upper bound
    of the amount of its element, and the lowest bound holds. Missing L lines therefore exclude an element
    whose M lines could explain a peak.

    Parameters
    ----------
    spectrum : BinnedSpectrum
    setting : Setting
    background : ndarray of shape (n_bins,)
        Expected background.

    Returns
    -------
    ndarray of shape (99,)
        Standard deviations, by atomic number.
    """
    typical = typical_columns(spectrum.bins, round(spectrum.resolution), setting)
    amount, information = _family_amounts(spectrum, typical.families, background)
    bounds = _upper_bounds(amount, information, typical.is_soft).reshape(-1, len(FAMILIES)).min(1)
    best = np.sqrt(information.clip(0)).reshape(-1, len(FAMILIES)).max(1)
    return np.where(np.isfinite(bounds), bounds, 0) * best
