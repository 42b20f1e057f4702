"""What the analyses of sums of spectra give to the fits of single pixels."""

from dataclasses import dataclass

import numpy as np

WHOLE_MAP = "whole map"


@dataclass(frozen=True, eq=False)
class SumAnalysis:
    """Analysis of the sum of some pixels.

    Parameters
    ----------
    name : str
        Which pixels: ``"whole map"``, ``"region 0"``, ``"excess 0"``.
    n_pixels : int
    result : EDSFit or EELSAnalysis
    fit : object
        What the shapes of lines or edges are made of.
    """

    name: str
    n_pixels: int
    result: object
    fit: object


@dataclass(frozen=True, eq=False)
class PixelModels:
    """Models of the spectra of pixels, one for each region.

    Parameters
    ----------
    columns : ndarray of shape (n_models, p + n_free, n_bins)
        Expected counts in bins of each element of the composition, of other elements, and of the background,
        for one count in all bins.
    means : ndarray of shape (n_models, n_bins)
        Expected share of the counts in each bin.
    atoms : ndarray of shape (n_models, p)
        Atoms per count of each column in any unit, 0 for columns that are not part of the composition.
    n_free : int
        Number of the last columns whose amplitudes may be negative.
    """

    columns: np.ndarray
    means: np.ndarray
    atoms: np.ndarray
    n_free: int = 0


@dataclass(frozen=True, eq=False)
class Noise:
    """Variance of the counts in bins: ``gain`` times the expected counts, plus ``readout`` (n_bins,)."""

    gain: float
    readout: np.ndarray


def unit_sums(columns):
    """Return columns (p, n_bins) divided by their sums, and the sums (p,)."""
    total = columns.sum(1)
    return columns / np.where(total > 0, total, 1)[:, None], total
