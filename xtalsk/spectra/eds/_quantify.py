"""From masses found in a spectrum of X-rays to atomic fractions and their errors."""

import numpy as np

from xtalsk.physics._depth import atomic_weights

# Relative standard deviation of sensitivities from first principles: of lines above and below 1 keV
_NOT_REPORTED = 0.49  # highest probability of an element that is too little to report
_SENSITIVITY, _SOFT_SENSITIVITY, _LAST_SOFT_K = 0.06, 0.12, 10


def quantify(fit, unknown, min_fraction, n_sigma):
    """Fill in fractions, presence and deviations of a fit.

    Parameters
    ----------
    fit : EDSFit
    unknown : ndarray of bool, shape (98,)
        Elements of the specimen of which nothing can be said, beside those that cannot be measured.
    min_fraction : float
        Smallest atomic fraction to report.
    n_sigma : float
        Threshold of the scores.
    """
    unknown = unknown | ~fit.measurable
    atoms = np.where(unknown, 0, fit.masses / atomic_weights().numpy())
    total = max(atoms.sum(), 1e-300)
    atoms[atoms < min_fraction * total] = 0
    fractions = atoms / max(atoms.sum(), 1e-300)
    light = np.arange(1, len(atoms) + 1) <= _LAST_SOFT_K
    relative = np.where(light, _SOFT_SENSITIVITY, _SENSITIVITY) ** 2
    counted = np.where(fit.masses > 0, fit.spreads / np.where(fit.masses > 0, fit.masses, 1), 0)
    variance = relative + counted**2
    others = (fractions**2 * variance).sum() - fractions**2 * variance
    deviations = fractions * np.sqrt((1 - fractions) ** 2 * variance + others)
    odds = np.clip((fit.scores**2 - n_sigma**2) / 2, -50, 50)
    presence = np.where(fit.scores > 0, 1 / (1 + np.exp(-odds)), 0)
    presence[fractions == 0] = presence[fractions == 0].clip(max=_NOT_REPORTED)
    for values in (fractions, presence, deviations):
        values[unknown] = np.nan
    fit.fractions, fit.presence, fit.deviations = fractions, presence, deviations
