"""The background of a core-loss spectrum: curves below and through a spectrum, and columns of a model."""

from functools import lru_cache

import numpy as np

from xtalsk.spectra.eels._bins import median
from xtalsk.spectra.eels._constants import (
    ASYMMETRY,
    DEVIATIONS,
    ENVELOPE_ROUNDS,
    ENVELOPE_TERMS,
    ENVELOPE_TOLERANCE,
    FASTEST_RATE,
    FREE,
    LEAST_BACKGROUND,
    LEAST_DEVIATION_HEIGHT,
    LEAST_RATE_ENERGY,
    NEGLIGIBLE,
    POWERS,
    SLOWEST_RATE,
    TREND_DEGREE,
)


def envelope(bins):
    """Fit smooth curves to a spectrum: one below it and one through it.

    Both curves are completely monotone: sums of falling exponentials with positive weights. Power laws belong
    to them (Bernstein's theorem). The curve below the spectrum is nearer to the background: its fit is
    asymmetric, so that bins above the curve, such as those of edges, have less weight.

    Parameters
    ----------
    bins : Bins

    Returns
    -------
    back, through : ndarray of shape (n_bins,)
        The curve below the spectrum and the curve through it, in the unit of ``bins.counts``.
    """
    from xtalsk.spectra.eels._bin_kernels import nonnegative_solution

    energy, falling = bins.energy, _falling_exponentials(bins.energy.tobytes())
    tolerance = np.hypot(bins.error, ENVELOPE_TOLERANCE * bins.counts)
    weight, through, shares = 1 / tolerance, None, np.zeros(len(falling))
    for _ in range(ENVELOPE_ROUNDS):
        terms = falling * weight
        shares = nonnegative_solution(terms @ terms.T, terms @ (bins.counts * weight), shares)
        back = shares @ falling
        through = back if through is None else through
        excess = (bins.counts - back) / tolerance
        weight = np.where(excess > 1, 1 / np.maximum(excess, 1) ** ASYMMETRY, 1) / tolerance
    least = LEAST_BACKGROUND * median(np.abs(bins.counts)) * (energy[0] / energy) + 1e-9
    return np.maximum(back, least), np.maximum(through, least)


@lru_cache(maxsize=16)
def _falling_exponentials(energy):
    """Terms of the envelope, ndarray of shape (1 + ENVELOPE_TERMS, n_bins); the energies are bytes."""
    energy = np.frombuffer(energy)
    fastest = FASTEST_RATE / max(LEAST_RATE_ENERGY[0] * energy[0], LEAST_RATE_ENERGY[1])
    rates = np.geomspace(SLOWEST_RATE / (energy[-1] - energy[0]), fastest, ENVELOPE_TERMS)
    return np.exp(-np.concatenate([[0], rates])[:, None] * (energy - energy[0]))


def background_columns(energy, back, through):
    """Columns of the background and the prior standard deviations of their coefficients.

    Free terms are the envelope times a cubic polynomial in ln E, a constant and two power laws. Smooth
    deviations of the background, as spectrometers cause them, have priors: 5% on a scale of 0.35 in ln E and
    1% on a scale of 0.12.

    Parameters
    ----------
    energy : ndarray of shape (n_bins,)
        In eV.
    back, through : ndarray of shape (n_bins,)
        Curves of `envelope`.

    Returns
    -------
    columns : ndarray of shape (k, n_bins)
        In the unit of ``back``.
    sizes : ndarray of shape (k,)
        Prior standard deviations.
    """
    trend, powers, waves, sizes = _background_shapes(energy.tobytes())
    level = np.maximum(back, LEAST_DEVIATION_HEIGHT * through)
    return np.concatenate([back * trend, powers, level * waves]), sizes


@lru_cache(maxsize=16)
def _background_shapes(energy):
    """Polynomials, power laws and smooth deviations of `background_columns`; the energies are bytes.

    Returns
    -------
    trend, powers, waves : ndarray of shape (k, n_bins)
    sizes : ndarray
        Prior standard deviations of all of them, in this order.
    """
    energy = np.frombuffer(energy)
    place = np.log(energy)
    length = place[-1] - place[0]
    unit = 2 * (place - place[0]) / length - 1
    trend = np.polynomial.legendre.legvander(unit, TREND_DEGREE).T
    powers = np.stack([(energy[0] / energy) ** r for r in POWERS])
    waves, sizes = [], [np.full(len(trend) + len(powers), FREE)]
    for spacing, size in DEVIATIONS:
        centres = np.linspace(place[0], place[-1], max(2, int(length / spacing) + 2))
        wave = np.exp(-0.5 * ((place - centres[:, None]) / spacing) ** 2)
        waves.append(np.where(wave < NEGLIGIBLE, 0.0, wave))
        sizes.append(np.full(len(centres), size))
    return trend, powers, np.concatenate(waves), np.concatenate(sizes)
