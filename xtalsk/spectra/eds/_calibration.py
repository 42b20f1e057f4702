"""Calibration of an X-ray spectrum by its strongest elements, whichever they are."""

import numpy as np

from xtalsk.spectra.eds._background import background_columns, background_penalty, typical_background
from xtalsk.spectra.eds._candidates import largest_significance
from xtalsk.spectra.eds._columns import N_GROUPS, mass_of, typical_columns
from xtalsk.spectra.eds._constants import MAIN, MAIN_ERROR, N_CALIBRATIONS, STRONG
from xtalsk.spectra.eds._estimate import Estimate
from xtalsk.spectra.eds._nonnegative import NonnegativeSystem
from xtalsk.spectra.eds._rows import dense_rows
from xtalsk.utils._formula import N_ELEMENTS


def _main_elements(spectrum, setting, elements):
    """Return the significant ones of strong elements in a first fit, and their rough mass fractions."""
    bins = spectrum.bins
    typical = typical_columns(bins, round(spectrum.resolution), setting)
    columns = np.vstack(
        [dense_rows(typical.elements, elements, len(bins)), typical_background(bins, setting)]
    )
    smooth = spectrum.smooth()
    weights = spectrum.measured / (smooth.clip(1) + (MAIN_ERROR * smooth) ** 2)
    _, precision, mean = spectrum.instrument(None)
    system = NonnegativeSystem(columns, len(columns), precision, mean, spectrum.counts, weights)
    amplitudes = system.solve()
    is_main = (amplitudes / system.spreads(amplitudes))[: len(elements)] > MAIN
    main = elements[is_main]
    return main, mass_of(main, amplitudes[: len(elements)][is_main])


def _fit_groups(spectrum, setting, elements, hats, estimate):
    """Fit each group of lines of some elements independently, and correct the spectrum.

    Returns
    -------
    estimate : Estimate
        Its background is that of the estimate before.
    masses : ndarray of shape (n_elements,)
        Rough mass of each element, by its strongest group of hard lines, or of soft ones without these. Soft
        lines are absorbed so much that they give no mass before the composition is known.
    """
    typical = typical_columns(spectrum.bins, round(spectrum.resolution), setting)
    rows = (elements[:, None] * N_GROUPS + np.arange(N_GROUPS)).ravel()
    is_visible = typical.is_visible[rows]
    columns = dense_rows(typical.groups, rows[is_visible], len(spectrum.bins))
    n, n_positive = len(columns), len(columns) + len(hats)
    free, precision, mean = spectrum.instrument(estimate.lines)
    penalty, weights = background_penalty(hats, estimate.background), estimate.weights(spectrum)
    all_columns = np.concatenate([columns, hats, free])
    system = NonnegativeSystem(
        all_columns, n_positive, precision, mean, spectrum.counts, weights, penalty, penalised=n
    )
    amplitudes = system.solve()
    fitted = Estimate(system.curve(amplitudes), estimate.background, amplitudes[:n] @ columns)
    masses = np.zeros((len(elements), N_GROUPS))
    masses[is_visible.reshape(masses.shape)] = amplitudes[:n]
    strongest = typical.group_rank[rows].reshape(masses.shape).argmax(1)
    if len(free):
        spectrum.correct(amplitudes[n_positive:])
    return fitted, masses[np.arange(len(elements)), strongest]


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
