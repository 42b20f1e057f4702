"""Rounds of the fit of all candidates to an X-ray spectrum."""

import numpy as np

from xtalsk.spectra.eds._background import background_columns, background_penalty, typical_background
from xtalsk.spectra.eds._columns import (
    N_GROUPS,
    cut_columns,
    deviation_columns,
    element_columns,
    group_counts,
    mass_of,
    typical_columns,
    typical_mass,
)
from xtalsk.spectra.eds._constants import CLEARLY_WEAK, DOUBTFUL, FIRST_ELEMENT, N_ROUNDS, SUM_POSITION_ERROR
from xtalsk.spectra.eds._estimate import Estimate
from xtalsk.spectra.eds._instrument import slope_columns
from xtalsk.spectra.eds._nonnegative import NonnegativeSystem
from xtalsk.spectra.eds._rows import dense_rows
from xtalsk.utils._formula import N_ELEMENTS


class FitRound:
    """One fit of all elements that can be present.

    Absorption and background are those of the composition of the round before.

    Parameters
    ----------
    spectrum : BinnedSpectrum
    setting : Setting
    elements : ndarray of int
        Atomic numbers, increasing.
    previous : ndarray of shape (n_elements,) or None
        Amplitudes of the elements in the round before, None in the first round.
    estimate : Estimate
        Curves of the fit before.

    Attributes
    ----------
    library : Library
    setting : Setting
    columns : ndarray of shape (n_elements, n_bins)
        Counts of each element per unit of mass fraction.
    significance, spreads : ndarray of shape (n_elements,)
        Significance in standard deviations, that of elements left out when they were; standard deviation of
        each amplitude.
    """

    def __init__(self, spectrum, setting, elements, previous, estimate):
        mass = typical_mass() if previous is None else mass_of(elements, previous)
        self.library, self.setting, self._mass, self._spectrum = spectrum.library, setting, mass, spectrum
        self.elements = elements
        self.columns, self._line_counts = element_columns(self.library, setting, elements, mass)
        if previous is None:
            self._hats = typical_background(spectrum.bins, setting)
        else:
            self._hats = background_columns(self.library, setting, mass)
        self._sums = spectrum.pile_up()
        positive = [self.columns, self._hats, self._sums, cut_columns(self.library, setting)]
        weights = estimate.weights(spectrum)
        free, precision, mean = spectrum.instrument(estimate.lines)
        self._n_positive, self._n_instrument = sum(map(len, positive)), len(free)
        self._deviations, self._deviating = np.empty((0, len(spectrum.bins))), np.empty(0, int)
        slopes = np.empty((0, len(spectrum.bins)))
        if previous is not None:
            self._deviations, deviation_precision, self._deviating = deviation_columns(
                self.library, setting, elements, self._line_counts, previous, weights
            )
            precision = np.concatenate([precision, deviation_precision])
        if np.any(estimate.sums):
            slopes = slope_columns(estimate.sums, spectrum.bins)[0][None]
            precision = np.append(precision, 1 / SUM_POSITION_ERROR**2)
        mean = np.concatenate([mean, np.zeros(len(precision) - len(mean))])
        self._system = NonnegativeSystem(
            np.concatenate([*positive, free, self._deviations, slopes]),
            *(self._n_positive, precision, mean, spectrum.counts, weights),
            penalty=background_penalty(self._hats, estimate.background),
            penalised=len(elements),
        )
        self._keep = np.ones(self._n_positive, bool)
        self._solution = self._system.solve()
        self.significance = np.zeros(len(elements))

    @property
    def kept(self):
        """Elements that are not left out, ndarray of bool of shape (n_elements,)."""
        return self._keep[: len(self.elements)]

    @property
    def amplitudes(self):
        """Amplitudes of all elements, 0 for those left out, ndarray of shape (n_elements,)."""
        return self._solution[: len(self.elements)]

    @property
    def instrument(self):
        """Amplitudes of the errors of the instrument, ndarray."""
        return self._solution[self._n_positive :][: self._n_instrument]

    @property
    def group_deviations(self):
        """Relative deviation of each group of lines from theory, ndarray of shape (99 * n_groups,).

        The place of a group is n_groups * z + group. Groups that do not deviate, or have no column, are 0.
        """
        deviations = np.zeros((N_ELEMENTS + 1) * N_GROUPS)
        first = self._n_positive + self._n_instrument
        deviations[self._deviating] = self._solution[first : first + len(self._deviating)]
        amplitudes = np.zeros(N_ELEMENTS + 1)
        amplitudes[self.elements] = self.amplitudes
        amplitudes = np.repeat(amplitudes, N_GROUPS)
        return np.where(amplitudes > 0, deviations / np.where(amplitudes > 0, amplitudes, 1), 0).clip(-1)

    def prune(self, threshold, limit=np.inf):
        """Leave out elements below a significance, and refit until none is below it.

        ``threshold`` and ``limit`` are standard deviations; see `NonnegativeSystem.prune`.
        """
        self._solution, spreads = self._system.prune(
            self._solution, self._keep, self.significance, threshold, limit
        )
        self.spreads = spreads[: len(self.elements)]

    def prune_last(self, n_sigma):
        """Leave out elements below ``n_sigma``, and all of them if none is clearly above it."""
        share, sigmas = CLEARLY_WEAK
        self.prune(n_sigma, min(share * n_sigma, sigmas))
        if not (self.amplitudes / self.spreads >= n_sigma + FIRST_ELEMENT).any():
            self.prune(np.inf)

    def typical_columns(self, elements):
        """Return the columns of elements in a typical solid, ndarray of shape (n_elements, n_bins)."""
        typical = typical_columns(self._spectrum.bins, round(self._spectrum.resolution), self.setting)
        return dense_rows(typical.elements, elements, len(self._spectrum.bins))

    def element_columns(self, elements):
        """Return the columns of elements in this specimen, ndarray of shape (n_elements, n_bins)."""
        return element_columns(self.library, self.setting, elements, self._mass)[0]

    def group_counts(self, elements):
        """Return the counts in each group of lines of some elements per unit of mass fraction, ndarray."""
        return group_counts(self.library, self.setting, elements, self._line_counts)

    def add(self, columns):
        """Return how much of each of some further columns the counts allow; see `NonnegativeSystem.add`."""
        return self._system.add(self._solution, columns)

    def rest(self):
        """Return the fitted counts that are not lines of the elements, ndarray of shape (n_bins,).

        They are the background, the sum peaks, and lines that the lowest energy cuts.
        """
        n, pieces = len(self.elements), [self._hats, self._sums, cut_columns(self.library, self.setting)]
        return self._solution[n : self._n_positive] @ np.concatenate(pieces)

    def estimate(self):
        """Return the fitted curves; lines include the deviations of groups, `Estimate`."""
        n = len(self.elements)
        background = self._solution[n : n + len(self._hats)] @ self._hats
        deviations = self._solution[self._n_positive + self._n_instrument :][: len(self._deviations)]
        lines = self.amplitudes @ self.columns + deviations @ self._deviations
        sums = self._solution[n + len(self._hats) :][: len(self._sums)] @ self._sums
        return Estimate(self._system.curve(self._solution), background, lines.clip(0), sums)


def fit_rounds(spectrum, setting, candidates, masses, estimate, n_sigma):
    """Fit all candidates in rounds, each with the composition and the calibration of the one before.

    Parameters
    ----------
    spectrum : BinnedSpectrum
        It is changed in place.
    setting : Setting
    candidates : ndarray of int
        Atomic numbers, increasing.
    masses : ndarray of shape (n_candidates,)
        Rough mass of each candidate by the calibration, 0 where it is unknown.
    estimate : Estimate
        Curves of the calibration.
    n_sigma : float
        Standard deviations that an element needs.

    Returns
    -------
    fit : FitRound or None
        Last round, None without candidates.
    estimate : Estimate
        Its curves.
    """
    elements, amplitudes, fit = candidates, masses if masses.any() else None, None
    for k in range(N_ROUNDS if len(candidates) else 0):
        is_last = k == N_ROUNDS - 1
        fit = FitRound(spectrum, setting, elements, amplitudes, estimate)
        if is_last:
            fit.prune_last(n_sigma)
        else:
            fit.prune(DOUBTFUL)
        estimate = fit.estimate()
        if is_last or not fit.kept.any():
            break
        if len(fit.instrument):
            spectrum.correct(fit.instrument)
        spectrum.separate_sums(estimate.sums)
        elements, amplitudes = elements[fit.kept], fit.amplitudes[fit.kept]
    return fit, estimate
