"""Identification of the elements of an X-ray spectrum."""

import numpy as np

from xtalsk.spectra.eds._axis import BinnedSpectrum
from xtalsk.spectra.eds._calibration import calibrate
from xtalsk.spectra.eds._candidates import largest_significance
from xtalsk.spectra.eds._constants import SPARE_SIGMAS, TYPICAL_RESOLUTION
from xtalsk.spectra.eds._result import make_result
from xtalsk.spectra.eds._rounds import fit_rounds
from xtalsk.spectra.eds._shift import find_shift
from xtalsk.utils._formula import N_ELEMENTS


def identify(counts, energy, setting, *, resolution=TYPICAL_RESOLUTION, n_sigma=4.0, allowed=None):
    """Find the elements of a spectrum.

    Parameters
    ----------
    counts, energy : ndarray of shape (n_channels,)
        Counts, NaN in channels that were not measured, and the middle of each channel in eV.
    setting : Setting
    resolution : float
        Full width at half maximum of Mn Kα in eV, as a start.
    n_sigma : float
        Standard deviations that an element needs, errors of the model included.
    allowed : ndarray of bool, shape (99,) or None
        Elements to look for, by atomic number; all by default.

    Returns
    -------
    EDSFit
        Without fractions, presence and uncertainty.
    """
    allowed = np.ones(N_ELEMENTS + 1, bool) if allowed is None else allowed
    spectrum = BinnedSpectrum(counts, energy, setting, resolution)
    shift = find_shift(spectrum, setting, allowed)
    if shift:
        spectrum = BinnedSpectrum(counts, energy, setting, resolution, shift)
    masses, estimate = calibrate(spectrum, setting, allowed)
    possible = largest_significance(spectrum, setting, estimate.background) > n_sigma + SPARE_SIGMAS
    candidates = np.flatnonzero(allowed & possible)
    fit, estimate = fit_rounds(spectrum, setting, candidates, masses[candidates], estimate, n_sigma)
    return make_result(spectrum, setting, fit, estimate)
