"""Calibration of an X-ray spectrum by its strongest elements, whichever they are."""

import numpy as np

from xtalsk.spectra.eds._background import background_columns, background_penalty, typical_background
from xtalsk.spectra.eds._candidates import largest_significance
from xtalsk.spectra.eds._columns import N_GROUPS, mass_of, sum_groups, typical_groups
from xtalsk.spectra.eds._constants import MAIN, MAIN_ERROR, N_CALIBRATIONS, SOFT_FAMILY, STRONG
from xtalsk.spectra.eds._estimate import Estimate
from xtalsk.spectra.eds._nonnegative import NonnegativeSystem
from xtalsk.utils._formula import N_ELEMENTS


def _main_elements(spectrum, setting, elements):
    """Return the significant ones of strong elements in a first fit, and their rough mass fractions."""
    columns = sum_groups(typical_groups(spectrum, setting, elements))
    positive = np.vstack([columns, typical_background(spectrum.edges, setting)])
    smooth = spectrum.smooth()
    weights = spectrum.measured / (smooth.clip(1) + (MAIN_ERROR * smooth) ** 2)
    system = NonnegativeSystem(positive, *spectrum.instrument(None), spectrum.counts, weights)
    amplitudes = system.solve()
    is_main = (amplitudes / system.spreads(amplitudes))[: len(elements)] > MAIN
    main = elements[is_main]
    return main, mass_of(main, amplitudes[: len(elements)][is_main])


def _rough_masses(amplitudes, columns, middles):
    """Return the mass of each element by its strongest group of hard lines, or of soft ones without these.

    Soft lines are absorbed so much that they give no mass before the composition is known.
    """
    total = columns.sum(1)
    is_soft = columns @ middles < SOFT_FAMILY * total
    rank = np.where(is_soft, 0, 1e12) + total
    rank, amplitudes = rank.reshape(-1, N_GROUPS), amplitudes.reshape(-1, N_GROUPS)
    return amplitudes[np.arange(len(rank)), rank.argmax(1)]


def _fit_groups(spectrum, setting, elements, hats, estimate):
    """Fit each group of lines of some elements independently, and correct the spectrum.

    Returns
    -------
    estimate : Estimate
        Its background is that of the estimate before.
    masses : ndarray of shape (n_elements,)
        Rough mass of each element.
    """
    all_columns = typical_groups(spectrum, setting, elements).toarray()
    is_visible = all_columns.any(1)
    columns = all_columns[is_visible]
    n = len(columns)
    free, precision, mean = spectrum.instrument(estimate.lines)
    positive = np.vstack([columns, hats])
    penalty = background_penalty(len(positive), n, hats, estimate.background)
    weights = estimate.weights(spectrum)
    system = NonnegativeSystem(positive, free, precision, mean, spectrum.counts, weights, penalty)
    amplitudes = system.solve()
    fitted = Estimate(system.curve(amplitudes), estimate.background, amplitudes[:n] @ columns)
    group_amplitudes = np.zeros(len(all_columns))
    group_amplitudes[is_visible] = amplitudes[:n]
    masses = _rough_masses(group_amplitudes, all_columns, spectrum.library.middles)
    if len(free):
        spectrum.correct(amplitudes[len(positive) :])
    return fitted, masses


def calibrate(spectrum, setting, allowed):
    """Correct energy axis and resolution by the strongest elements.

    Parameters
    ----------
    spectrum : BinnedSpectrum
        It is changed in place.
    setting : Setting
    allowed : ndarray of bool, shape (99,)
        Elements to look for, by atomic number.

    Returns
    -------
    masses : ndarray of shape (99,)
        Rough mass of each strong element in any unit, by atomic number.
    estimate : Estimate
        Without any strong element, its lines are 0, the curve is the smoothed spectrum, and the background is
        that of SNIP.
    """
    estimate = Estimate(spectrum.smooth(), spectrum.background(), None)
    masses = np.zeros(N_ELEMENTS + 1)
    strong = allowed & (largest_significance(spectrum, setting, estimate.background) > STRONG)
    if strong.any():
        elements, mass = _main_elements(spectrum, setting, np.flatnonzero(strong))
        hats = background_columns(spectrum.library, setting, mass)
        for _ in range(N_CALIBRATIONS if len(elements) else 0):
            estimate, masses[elements] = _fit_groups(spectrum, setting, elements, hats, estimate)
    if estimate.lines is None:  # with lines of 0, errors of the background still count
        return masses, Estimate(estimate.curve, estimate.background, np.zeros_like(estimate.curve))
    background = (estimate.curve - estimate.lines).clip(0)
    return masses, Estimate(estimate.curve, background, estimate.lines)
