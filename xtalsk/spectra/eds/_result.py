"""Result of the analysis of one X-ray spectrum."""

from dataclasses import dataclass

import numpy as np

from xtalsk.physics._xray_lines import FAMILIES
from xtalsk.spectra._report import composition_table, plot_fit
from xtalsk.spectra.eds._axis import smoothed
from xtalsk.spectra.eds._columns import strongest_lines, usable_lines
from xtalsk.spectra.eds._constants import (
    GROUPS,
    HIDING_OVERLAP,
    HIDING_SIGMAS,
    LEAST_MEASURED_LINE,
    LEAST_PEAK,
    LIMIT_SIGMAS,
    UNEXPLAINED_CHI2,
    UNEXPLAINED_SHARE,
)
from xtalsk.spectra.eds._library import elements_of_lines
from xtalsk.spectra.eds._rows import multiply
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
    shift : float
        Fitted correction of the zero of the energy axis in eV.
    chi2 : float
        Mean squared deviation of the counts from the fit, in units of the variance by counting and by the
        errors of the model. It is about 1.
    unexplained : float
        Deviations of the smoothed counts from the fit, as a share of the counts above the background.
    group_energies, group_counts : ndarray of shape (n_found, n_groups)
        Energy in eV of the strongest line of each group of lines of the elements found, and counts in the
        groups in any unit.
    limits : ndarray of shape (98,)
        Largest mass, in the unit of ``masses``, of each element that could hide under the lines of others; 0
        for all other elements.
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
    shift: float
    chi2: float
    unexplained: float
    group_energies: np.ndarray
    group_counts: np.ndarray
    limits: np.ndarray
    fractions: np.ndarray | None = None
    presence: np.ndarray | None = None
    uncertainty: np.ndarray | None = None

    @property
    def elements(self):
        """Symbols of the elements found, list of str in the order of ``atomic_numbers``."""
        return [SYMBOLS[z - 1] for z in self.atomic_numbers]

    @property
    def peaks(self):
        """Families of lines of the elements found, and energy of the strongest line of each in eV.

        A tuple with elements such as ``("Ti K", 4511.0)``.
        """
        peaks = []
        for symbol, energy, count in zip(self.elements, self.group_energies, self.group_counts, strict=True):
            for family in FAMILIES:
                own = [k for k, name in enumerate(GROUPS) if name[0] == family and count[k] > 0]
                if own and count[own].sum() > LEAST_PEAK * count.sum():
                    strongest = max(own, key=lambda k: count[k])
                    peaks.append((f"{symbol} {family}", float(energy[strongest])))
        return tuple(sorted(peaks, key=lambda peak: peak[1]))

    @property
    def explained(self):
        """Whether lines of elements, background and instrument explain the spectrum."""
        return not (self.chi2 > UNEXPLAINED_CHI2 and self.unexplained > UNEXPLAINED_SHARE)

    def to_frame(self):
        """Return the elements found as a table, the most abundant element first.

        Elements of ``exclude`` have no amounts.

        Returns
        -------
        DataFrame
            The columns are ``element`` (symbol), ``atomic_percent``, ``weight_percent``, ``uncertainty``
            (standard deviation of ``atomic_percent``) and ``lines`` (families of lines that were used).

        Examples
        --------
        >>> from xtalsk.io import Spectrum
        >>> from xtalsk.simulation import EDSConditions, simulate_eds
        >>> from xtalsk.spectra import EDSComposition
        >>> counts = simulate_eds(["FeS2"], conditions="ideal", random_state=0)[0]
        >>> fit = EDSComposition().analyse(Spectrum(counts, EDSConditions.ideal().axis(), beam_energy=200))
        >>> fit.to_frame()[["element", "lines"]]
          element lines
        0       S     K
        1      Fe  K, L
        """
        families = {symbol: [] for symbol in self.elements}
        for name, _ in self.peaks:
            symbol, family = name.split()
            families[symbol].append(family)
        return composition_table(
            self, {symbol: ", ".join(sorted(names)) for symbol, names in families.items()}
        )

    def plot(self, ax=None):
        """Draw the measured spectrum, the fit, the background and the lines of the elements found.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Axes to draw into. None makes a new figure.

        Returns
        -------
        matplotlib Axes
        """
        return plot_fit(self, self.peaks, "energy (eV)", ax)

    def __repr__(self):
        parts = self.elements
        if self.fractions is not None:
            values = self.fractions[self.atomic_numbers - 1]
            parts = [f"{symbol} {value:.3f}" for symbol, value in zip(parts, values, strict=True)]
        return f"EDSFit({', '.join(parts) or 'no element found'})"


def _measurable(spectrum, setting):
    """Return which elements have a usable line in measured channels, ndarray of bool of shape (98,)."""
    is_usable = usable_lines(spectrum.bins, setting)
    if not spectrum.measured.all():
        total = multiply(spectrum.library.profiles, np.ones(len(spectrum.bins)))
        measured = multiply(spectrum.library.profiles, spectrum.measured.astype(float))
        is_usable = is_usable & (measured > LEAST_MEASURED_LINE * total)
    measurable = np.zeros(N_ELEMENTS, bool)
    measurable[elements_of_lines()[is_usable] - 1] = True
    return measurable


def _limits(fit, candidates, elements):
    """Return the largest mass of each element that could hide under the lines of others, shape (98,)."""
    limits = np.zeros(N_ELEMENTS)
    hidden = candidates[~np.isin(candidates, elements)]
    for columns_of in (fit.typical_columns, fit.element_columns):  # the second is right, but slow
        if not len(hidden) or not len(elements):
            return limits
        amplitudes, spreads, alone = fit.add(columns_of(hidden))
        could_hide = (spreads > HIDING_OVERLAP * alone) | (amplitudes > HIDING_SIGMAS * spreads)
        largest = np.where(could_hide & np.isfinite(spreads), amplitudes.clip(0) + LIMIT_SIGMAS * spreads, 0)
        limits[:] = 0
        limits[hidden - 1] = largest
        hidden = hidden[largest > 0]
    return limits


def _misfit(spectrum, estimate):
    """Return reduced chi² and the unexplained share of the net counts; see `EDSFit`."""
    residual = np.where(spectrum.measured, spectrum.counts - estimate.curve, 0)
    chi2 = residual**2 @ estimate.weights(spectrum) / max(spectrum.measured.sum(), 1)
    net = np.where(spectrum.measured, spectrum.counts - spectrum.background(), 0).clip(0).sum()
    return float(chi2), float(np.abs(smoothed(residual)).sum() / max(net, 1))


def make_result(spectrum, setting, fit, estimate, candidates):
    """Make the result, without amounts.

    Parameters
    ----------
    spectrum : BinnedSpectrum
    setting : Setting
    fit : FitRound or None
        Last round, None if there was no candidate.
    estimate : Estimate
        Curves of the last fit.
    candidates : ndarray of int
        Atomic numbers of the elements whose lines could be under others.

    Returns
    -------
    EDSFit
    """
    significance, masses, spreads, limits = np.zeros((4, N_ELEMENTS))
    elements, lines = np.empty(0, int), np.empty((0, len(estimate.curve)))
    group_counts = np.empty((0, len(GROUPS)))
    if fit is not None:
        kept = fit.kept
        elements = fit.elements[kept]
        significance[fit.elements - 1] = fit.significance
        masses[elements - 1], spreads[elements - 1] = fit.amplitudes[kept], fit.spreads[kept]
        lines = fit.amplitudes[kept, None] * fit.columns[kept]
        limits, group_counts = _limits(fit, candidates, elements), fit.group_counts(elements)
    measurable = _measurable(spectrum, setting)
    chi2, unexplained = _misfit(spectrum, estimate)
    return EDSFit(
        atomic_numbers=elements,
        lines=lines,
        energy=spectrum.bins.middles,
        width=spectrum.bins.widths,
        counts=spectrum.counts,
        curve=estimate.curve,
        background=estimate.background,
        significance=np.where(measurable, significance, np.nan),
        masses=masses,
        spreads=spreads,
        measurable=measurable,
        resolution=spectrum.resolution,
        shift=float(spectrum.zero),
        chi2=chi2,
        unexplained=unexplained,
        group_energies=strongest_lines(spectrum.bins, setting)[elements],
        group_counts=group_counts,
        limits=limits,
    )
