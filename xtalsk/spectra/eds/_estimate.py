"""Expected counts of a spectrum, and their variance."""

from dataclasses import dataclass

import numpy as np

from xtalsk.spectra.eds._constants import (
    BACKGROUND_ERRORS,
    LEAST_VARIANCE,
    LINE_ERROR,
    NEAR_ERROR,
    POSITION_ERROR,
    SUM_ERROR,
    WIDTH_ERROR,
)
from xtalsk.spectra.eds._instrument import near_matrix, slope_columns


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

        The variance is that of counting, plus that of the remaining errors of the model if there are lines.
        """
        variance = self.curve.clip(LEAST_VARIANCE)
        if self.lines is not None:
            variance = variance + self._model_variance(spectrum)
        return spectrum.measured / variance

    def _model_variance(self, spectrum):
        """Return the variance by errors of lines and background, ndarray of shape (n_bins,)."""
        shift, broadening = slope_columns(self.lines, spectrum.library)
        near = near_matrix(spectrum.edges) @ self.lines
        background_error = np.interp(spectrum.library.middles, *BACKGROUND_ERRORS)
        errors = (
            LINE_ERROR * self.lines,
            POSITION_ERROR * shift,
            WIDTH_ERROR * broadening,
            NEAR_ERROR * near,
            background_error * (self.curve - self.lines),
        )
        if np.any(self.sums):
            errors = (*errors, SUM_ERROR * self.sums)
        return sum(error**2 for error in errors)
