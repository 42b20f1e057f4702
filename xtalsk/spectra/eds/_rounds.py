"""Rounds of the fit of all candidates to an X-ray spectrum."""

import numpy as np

from xtalsk.spectra.eds._background import background_columns, background_penalty, typical_background
from xtalsk.spectra.eds._columns import (
    edge_columns,
    element_columns,
    group_columns,
    mass_of,
    sum_groups,
    typical_groups,
    typical_mass,
)
from xtalsk.spectra.eds._constants import CLEARLY_WEAK, DOUBTFUL, FIRST_ELEMENT, N_ROUNDS, SUM_POSITION_ERROR
from xtalsk.spectra.eds._estimate import Estimate
from xtalsk.spectra.eds._instrument import slope_columns
from xtalsk.spectra.eds._nonnegative import NonnegativeSystem


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
    group_counts : ndarray of shape (n_elements, n_groups)
        Counts in each group of lines per unit of mass fraction.
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
        self.columns, groups = element_columns(spectrum.library, setting, elements, mass)
        self.group_counts = (groups @ np.ones(groups.shape[1])).reshape(len(elements), -1)
        if previous is None:
            self._hats = typical_background(spectrum.edges, setting)
        else:
            self._hats = background_columns(spectrum.library, setting, mass)
        self._sums = spectrum.pile_up()
        cut = edge_columns(spectrum.library, setting)
        positive = np.vstack([self.columns, self._hats, self._sums, cut[cut.any(1)]])
        weights = estimate.weights(spectrum)
        free, precision, mean = spectrum.instrument(estimate.lines)
        self._n_positive, self._n_instrument = len(positive), len(free)
        if previous is not None:
            deviations, deviation_precision = group_columns(groups, previous, spectrum.library, weights)
            free, precision = np.vstack([free, deviations]), np.concatenate([precision, deviation_precision])
            mean = np.concatenate([mean, np.zeros(len(deviations))])
        self._deviations = free[self._n_instrument :]
        if np.any(estimate.sums):
            slope = slope_columns(estimate.sums, spectrum.library)[0]
            free, precision = np.vstack([free, slope]), np.append(precision, 1 / SUM_POSITION_ERROR**2)
            mean = np.append(mean, 0.0)
        penalty = background_penalty(len(positive), len(elements), self._hats, estimate.background)
        self._system = NonnegativeSystem(positive, free, precision, mean, spectrum.counts, weights, penalty)
        self._keep = np.ones(len(positive), bool)
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

    def _assess(self):
        """Update the significance of the kept elements, and return it for all."""
        self.spreads = self._system.spreads(self._solution)[: len(self.elements)]
        significance = self.amplitudes / self.spreads
        self.significance[self.kept] = significance[self.kept]
        return significance

    def prune(self, threshold, one_by_one):
        """Leave out elements below a significance, and refit until none is below it.

        Parameters
        ----------
        threshold : float
            Standard deviations that an element needs.
        one_by_one : bool
            Whether each refit leaves out only the least significant element and the clearly weak ones.
        """
        while True:
            significance = self._assess()
            weak = self.kept & (significance < threshold)
            if not weak.any():
                return
            if one_by_one:
                share, sigmas = CLEARLY_WEAK
                least = np.argmin(np.where(self.kept, significance, np.inf))
                weak = self.kept & (significance < min(share * threshold, sigmas))
                weak[least] = True
            self._keep[: len(self.elements)] &= ~weak
            self._solution = self._system.solve(self._keep)

    def prune_last(self, n_sigma):
        """Leave out elements below ``n_sigma``, and all of them if none is clearly above it."""
        self.prune(n_sigma, one_by_one=True)
        if not (self.amplitudes / self.spreads >= n_sigma + FIRST_ELEMENT).any():
            self.prune(np.inf, one_by_one=False)

    def typical_columns(self, elements):
        """Return the columns of elements in a typical solid, ndarray of shape (n_elements, n_bins)."""
        return sum_groups(typical_groups(self._spectrum, self.setting, elements))

    def element_columns(self, elements):
        """Return the columns of elements in this specimen, ndarray of shape (n_elements, n_bins)."""
        return element_columns(self.library, self.setting, elements, self._mass)[0]

    def add(self, columns):
        """Return how much of each of some further columns the counts allow; see `NonnegativeSystem.add`."""
        return self._system.add(self._solution, columns)

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
            fit.prune(DOUBTFUL, one_by_one=False)
        estimate = fit.estimate()
        if is_last or not fit.kept.any():
            break
        if len(fit.instrument):
            spectrum.correct(fit.instrument)
        spectrum.separate_sums(estimate.sums)
        elements, amplitudes = elements[fit.kept], fit.amplitudes[fit.kept]
    return fit, estimate
