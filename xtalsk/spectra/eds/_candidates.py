"""Which elements an X-ray spectrum can contain at all, before any fit."""

import numpy as np

from xtalsk.spectra.eds import _candidate_kernels as kernels
from xtalsk.spectra.eds._columns import typical_columns
from xtalsk.utils._formula import N_ELEMENTS


def largest_significance(spectrum, setting, background):
    """Return the largest significance that each element can have.

    It is the significance if no other element lay under its lines. Each family of lines gives an upper bound
    of the amount of its element, and the lowest bound holds. Missing L lines therefore exclude an element
    whose M lines could explain a peak. Soft families give a bound only to elements that have no other family.

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
    significance = np.empty(N_ELEMENTS + 1)
    kernels.bound_significance(
        *(typical.families, typical.is_soft, spectrum.counts, background, spectrum.smooth()),
        *(spectrum.measured, significance),
    )
    return significance
