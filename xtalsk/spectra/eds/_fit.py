"""Identification of the elements of an X-ray spectrum."""

from dataclasses import dataclass

import numpy as np

from xtalsk.spectra.eds._axis import BinnedSpectrum
from xtalsk.spectra.eds._calibration import calibrate
from xtalsk.spectra.eds._candidates import largest_significance
from xtalsk.spectra.eds._constants import (
    ELEMENT_COST,
    RARE_COST,
    RIVAL_ERROR,
    SPARE_SIGMAS,
    TYPICAL_RESOLUTION,
    TYPICAL_SHIFT,
)
from xtalsk.spectra.eds._estimate import Estimate
from xtalsk.spectra.eds._result import make_result
from xtalsk.spectra.eds._rounds import FitRound, fit_rounds
from xtalsk.spectra.eds._shift import Hypothesis, find_hypotheses
from xtalsk.utils._formula import N_ELEMENTS


@dataclass(frozen=True, eq=False)
class Trial:
    """Fit of a spectrum under one hypothesis.

    Parameters
    ----------
    hypothesis : Hypothesis
    spectrum : BinnedSpectrum
        Corrected by the fit.
    candidates : ndarray of int
        Atomic numbers of the elements that could be present.
    fit : FitRound or None
    estimate : Estimate
    """

    hypothesis: Hypothesis
    spectrum: BinnedSpectrum
    candidates: np.ndarray
    fit: FitRound | None
    estimate: Estimate

    @property
    def cost(self):
        """chi² of the fit, and the cost of the shift of the axis and of the elements."""
        spectrum, smooth = self.spectrum, self.spectrum.smooth()
        weights = spectrum.measured / (smooth.clip(1) + (RIVAL_ERROR * smooth) ** 2)
        elements = np.empty(0) if self.fit is None else self.fit.elements[self.fit.kept]
        n_rare = np.isin(elements, self.hypothesis.rare).sum()
        cost = (spectrum.zero / TYPICAL_SHIFT) ** 2 + ELEMENT_COST * len(elements) + RARE_COST * n_rare
        return weights @ (spectrum.counts - self.estimate.curve) ** 2 + cost


def fit_hypothesis(hypothesis, spectrum, setting, allowed, n_sigma):
    """Fit a spectrum under one hypothesis."""
    allowed = allowed.copy()
    allowed[list(hypothesis.rare)] = True
    spectrum = spectrum.moved(hypothesis.shift)
    masses, estimate = calibrate(spectrum, setting, allowed)
    possible = largest_significance(spectrum, setting, estimate.background) > n_sigma + SPARE_SIGMAS
    candidates = np.flatnonzero(allowed & possible)
    fit, estimate = fit_rounds(spectrum, setting, candidates, masses[candidates], estimate, n_sigma)
    return Trial(hypothesis, spectrum, candidates, fit, estimate)


def best_trial(
    counts, energy, setting, *, resolution=TYPICAL_RESOLUTION, n_sigma=4.0, allowed=None, rare=None
):
    """Fit a spectrum under each plausible hypothesis, and return the best `Trial`.

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
    rare : ndarray of bool, shape (99,) or None
        Elements to try only where the others do not explain the lines; none by default.
    """
    allowed = np.ones(N_ELEMENTS + 1, bool) if allowed is None else allowed
    rare = np.zeros(N_ELEMENTS + 1, bool) if rare is None else rare
    spectrum = BinnedSpectrum(counts, energy, setting, resolution)
    hypotheses = find_hypotheses(spectrum, setting, allowed, rare)
    hypotheses += [Hypothesis(h.shift, ()) for h in hypotheses if h.rare]
    trials = [fit_hypothesis(h, spectrum, setting, allowed, n_sigma) for h in hypotheses]
    return min(trials, key=lambda trial: trial.cost) if len(trials) > 1 else trials[0]


def identify(counts, energy, setting, **options):
    """Find the elements of a spectrum; see `best_trial` for the parameters.

    Returns
    -------
    EDSFit
        Without fractions, presence and uncertainty.
    """
    return result_of(best_trial(counts, energy, setting, **options), setting)


def result_of(trial, setting):
    """Return the `EDSFit` of a `Trial`, without fractions, presence and uncertainty."""
    return make_result(trial.spectrum, setting, trial.fit, trial.estimate, trial.candidates)
