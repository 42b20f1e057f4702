"""Expected counts of a spectrum, and their variance."""

from dataclasses import dataclass

import numpy as np

from xtalsk.spectra.eds import _instrument_kernels as kernels
from xtalsk.spectra.eds._constants import LEAST_VARIANCE


@dataclass(frozen=True, eq=False)
class Estimate:
    """Expected counts in each bin, as the fit before gives them.

    Parameters
    ----------
    curve : ndarray of shape (n_bins,)
        Expected counts.
    background : ndarray of shape (n_bins,)
        Expected counts of the background.
    lines : ndarray of shape (n_bins,) or None
        Expected counts in lines. None before the first fit.
    sums : ndarray of shape (n_bins,) or float
        Expected counts in sum peaks.
    """

    curve: np.ndarray
    background: np.ndarray
    lines: np.ndarray | None
    sums: np.ndarray | float = 0.0

    def weights(self, spectrum):
        """Return the inverse variance of the counts in each bin, 0 in bins that were not measured.

        The variance is that of counting, plus that of the remaining errors of the model if there are lines:
        errors of their height, position, width and surroundings, of sum peaks, and of the background.
        """
        if self.lines is None:
            return spectrum.measured / self.curve.clip(LEAST_VARIANCE)
        bins, weights = spectrum.bins, np.empty(len(self.curve))
        sums = self.sums if np.ndim(self.sums) else np.zeros(len(self.curve))
        kernels.inverse_variance(
            *(self.curve, self.lines, sums, spectrum.measured),
            *(bins.widths, bins.distances, bins.near, bins.background_error, weights),
        )
        return weights
