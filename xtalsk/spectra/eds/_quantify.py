"""Atomic fractions and their errors from the masses that a fit gives."""

from dataclasses import replace

import numpy as np

from xtalsk.physics._depth import atomic_weights
from xtalsk.spectra.eds._constants import (
    LARGEST_HIDDEN,
    LARGEST_NOT_REPORTED,
    LAST_SOFT_K,
    LIMIT_SIGMAS,
    SENSITIVITY_ERROR,
    SOFT_SENSITIVITY_ERROR,
)


def _fractions(masses, min_fraction):
    """Return atomic fractions, those below ``min_fraction`` set to 0, ndarray of shape (98,)."""
    atoms = masses / atomic_weights().numpy()
    atoms[atoms < min_fraction * max(atoms.sum(), 1e-300)] = 0
    return atoms / max(atoms.sum(), 1e-300)


def _uncertainty(fit, fractions):
    """Return the standard deviation of each fraction, from sensitivities and counting, ndarray."""
    is_light = np.arange(1, len(fractions) + 1) <= LAST_SOFT_K
    is_found = fit.masses > 0
    counting = np.where(is_found, fit.spreads / np.where(is_found, fit.masses, 1), 0)
    variance = np.where(is_light, SOFT_SENSITIVITY_ERROR, SENSITIVITY_ERROR) ** 2 + counting**2
    others = (fractions**2 * variance).sum() - fractions**2 * variance
    return fractions * np.sqrt((1 - fractions) ** 2 * variance + others)


def _presence(significance, fractions, n_sigma):
    """Return the presence score of each element, below one half for elements that are not reported."""
    log_odds = np.clip((significance**2 - n_sigma**2) / 2, -50, 50)
    presence = np.where(significance > 0, 1 / (1 + np.exp(-log_odds)), 0)
    return np.where(fractions == 0, presence.clip(max=LARGEST_NOT_REPORTED), presence)


def _hidden(fit, masses):
    """Return the largest fraction of each element that could hide under lines of others, shape (98,)."""
    weights = atomic_weights().numpy()
    limits, atoms = fit.limits / weights, (masses / weights).sum()
    return np.where(limits > 0, limits / np.where(limits > 0, limits + atoms, 1), 0)


def quantify(fit, unknown, min_fraction, n_sigma):
    """Return a fit with fractions, presence and uncertainty.

    Parameters
    ----------
    fit : EDSFit
    unknown : ndarray of bool, shape (98,)
        Elements that are NaN in the result, besides those that cannot be measured.
    min_fraction : float
        Smallest atomic fraction to report.
    n_sigma : float
        Significance in standard deviations at which the presence score is one half.

    Returns
    -------
    EDSFit
        Elements that could hide in large amounts under the lines of others are NaN, and have a large
        uncertainty.
    """
    unknown = unknown | ~fit.measurable
    masses = np.where(unknown, 0, fit.masses)
    fractions = _fractions(masses, min_fraction)
    hidden = _hidden(fit, masses)
    is_hidden = ~unknown & (hidden > LARGEST_HIDDEN)
    uncertainty = np.where(is_hidden, hidden / LIMIT_SIGMAS, _uncertainty(fit, fractions))
    presence = _presence(fit.significance, fractions, n_sigma)
    return replace(
        fit,
        fractions=np.where(unknown | is_hidden, np.nan, fractions),
        presence=np.where(unknown | is_hidden, np.nan, presence),
        uncertainty=np.where(unknown, np.nan, uncertainty),
    )
