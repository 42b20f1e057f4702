"""Result of the analysis of one X-ray spectrum."""

from dataclasses import dataclass

import numpy as np

from xtalsk.spectra.eds._columns import usable_lines
from xtalsk.spectra.eds._constants import LEAST_MEASURED_LINE
from xtalsk.spectra.eds._library import elements_of_lines
from xtalsk.utils._formula import N_ELEMENTS, SYMBOLS


@dataclass(frozen=True, eq=False)
class EDSFit:
    """Result of the analysis of one X-ray spectrum.

    Parameters
    ----------
    atomic_numbers : ndarray of int, shape (n_found,)
        Atomic numbers of the elements found, increasing.
    lines : ndarray of shape (n_found, n_bins)
        Fitted counts in the lines of each of them.
    energy, width : ndarray of shape (n_bins,)
        Middle and width of each bin in eV, on the corrected energy axis.
    counts, curve, background : ndarray of shape (n_bins,)
        Measured counts, fitted counts, and fitted counts of the background.
    significance : ndarray of shape (98,)
        Significance of each element in standard deviations, hydrogen first. Elements that cannot be measured
        are NaN.
    masses, spreads : ndarray of shape (98,)
        Mass of each element in an arbitrary unit, 0 if it was not found, and its standard deviation from
        counting statistics and overlaps.
    measurable : ndarray of bool, shape (98,)
        Whether the spectrum could show the element.
    resolution : float
        Fitted full width at half maximum of Mn Kα in eV.
    fractions, presence, uncertainty : ndarray of shape (98,) or None
        Atomic fraction, presence score, and standard deviation of the fraction of each element. Elements that
        cannot be measured are NaN.
    """

    atomic_numbers: np.ndarray
    lines: np.ndarray
    energy: np.ndarray
    width: np.ndarray
    counts: np.ndarray
    curve: np.ndarray
    background: np.ndarray
    significance: np.ndarray
    masses: np.ndarray
    spreads: np.ndarray
    measurable: np.ndarray
    resolution: float
    fractions: np.ndarray | None = None
    presence: np.ndarray | None = None
    uncertainty: np.ndarray | None = None

    @property
    def elements(self):
        """Symbols of the elements found, list of str in the order of ``atomic_numbers``."""
        return [SYMBOLS[z - 1] for z in self.atomic_numbers]

    def __repr__(self):
        parts = self.elements
        if self.fractions is not None:
            values = self.fractions[self.atomic_numbers - 1]
            parts = [f"{symbol} {value:.3f}" for symbol, value in zip(parts, values, strict=True)]
        return f"EDSFit({', '.join(parts) or 'no element found'})"


def _measurable(spectrum, setting):
    """Return which elements have a usable line in measured channels, ndarray of bool of shape (98,)."""
    profiles = spectrum.library.profiles
    total = profiles @ np.ones(len(spectrum.counts))
    is_measured = profiles @ spectrum.measured > LEAST_MEASURED_LINE * total
    measurable = np.zeros(N_ELEMENTS, bool)
    measurable[elements_of_lines()[usable_lines(spectrum.library, setting) & is_measured] - 1] = True
    return measurable


def make_result(spectrum, setting, fit, estimate):
    """Make the result, without amounts.

    Parameters
    ----------
    spectrum : BinnedSpectrum
    setting : Setting
    fit : FitRound or None
        Last round, None if there was no candidate.
    estimate : Estimate
        Curves of the last fit.

    Returns
    -------
    EDSFit
    """
    library = spectrum.library
    significance, masses, spreads = np.zeros((3, N_ELEMENTS))
    elements, lines = np.empty(0, int), np.empty((0, len(estimate.curve)))
    if fit is not None:
        kept = fit.kept
        elements = fit.elements[kept]
        significance[fit.elements - 1] = fit.significance
        masses[elements - 1], spreads[elements - 1] = fit.amplitudes[kept], fit.spreads[kept]
        lines = fit.amplitudes[kept, None] * fit.columns[kept]
    measurable = _measurable(spectrum, setting)
    return EDSFit(
        atomic_numbers=elements,
        lines=lines,
        energy=library.middles,
        width=np.diff(library.edges),
        counts=spectrum.counts,
        curve=estimate.curve,
        background=estimate.background,
        significance=np.where(measurable, significance, np.nan),
        masses=masses,
        spreads=spreads,
        measurable=measurable,
        resolution=spectrum.resolution,
    )
