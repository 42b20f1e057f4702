"""Columns of the fit for the bremsstrahlung background."""

from functools import lru_cache

import numpy as np

from xtalsk.physics import _emission_kernels
from xtalsk.spectra.eds import _background_kernels
from xtalsk.spectra.eds._columns import matrix_means, typical_mass
from xtalsk.spectra.eds._constants import BACKGROUND_BEND, N_SOFT_PIECES, TYPICAL_RESOLUTION
from xtalsk.spectra.eds._library import make_library


@lru_cache(maxsize=64)
def typical_background(bins, setting):
    """Return `background_columns` of a typical solid."""
    library = make_library(bins, TYPICAL_RESOLUTION, setting.window)
    return background_columns(library, setting, typical_mass())


def background_columns(library, setting, mass):
    """Return the bremsstrahlung that the detector counts, in overlapping pieces.

    Each piece is the predicted bremsstrahlung times a hat function. Below 1 keV there are two more sets of
    pieces: one without the absorption by the window, one also without that by the specimen. They are needed
    because windows differ and because charge lost near the front of the detector fills absorption edges.

    Parameters
    ----------
    library : Library
    setting : Setting
    mass : ndarray of shape (98,)
        Mass fractions of the specimen.

    Returns
    -------
    ndarray of shape (n_knots + 2 * n_soft, n_bins)
    """
    bins, numbers = library.bins, setting.numbers()
    emitted = np.empty(len(bins))
    _emission_kernels.continuum(
        bins.middles, library.attenuation, mass, *numbers, matrix_means(mass), emitted
    )
    unabsorbed = ((setting.beam_energy - bins.middles) / bins.middles).clip(0)
    pieces = np.empty((len(bins.hats) + 2 * N_SOFT_PIECES, len(bins)))
    _background_kernels.fill_background(
        *(bins.widths, bins.hats, N_SOFT_PIECES, library.bin_efficiency, bins.blur),
        *(emitted, unabsorbed, pieces),
    )
    return pieces


@lru_cache
def _bends(n):
    """Return the squares of second differences of n amplitudes as a quadratic form, ndarray (n, n)."""
    bend = np.diff(np.eye(n), 2, axis=0)
    return bend.T @ bend


def background_penalty(columns, background):
    """Return the quadratic form that keeps neighbouring pieces of the background alike.

    It penalises second differences of consecutive amplitudes. The order is that of `background_columns`, so
    that the soft pieces follow the last pieces of the whole range and are held back by their small values.

    Parameters
    ----------
    columns : ndarray of shape (n_pieces, n_bins)
        See `background_columns`.
    background : ndarray of shape (n_bins,)
        Expected background.

    Returns
    -------
    ndarray of shape (n_pieces, n_pieces)
    """
    level = max(background.sum() / columns.sum(), 1e-6)
    return _bends(len(columns)) / (BACKGROUND_BEND * level) ** 2
