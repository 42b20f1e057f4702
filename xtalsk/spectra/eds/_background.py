"""Columns of the fit for the bremsstrahlung background."""

from functools import lru_cache

import numpy as np
import torch
from scipy.sparse import csr_matrix

from xtalsk.physics._bremsstrahlung import continuum
from xtalsk.spectra.eds._columns import typical_mass
from xtalsk.spectra.eds._constants import (
    BACKGROUND_BEND,
    BLUR_CUT,
    LEAST_BACKGROUND,
    N_KNOTS,
    N_SOFT_KNOTS,
    N_SOFT_PIECES,
    SOFT_ENERGY,
    TYPICAL_RESOLUTION,
)
from xtalsk.spectra.eds._library import bin_geometry, bin_middles, make_library


@lru_cache(maxsize=16)
def _hat_functions(edges):
    """Return functions that are 1 at one knot and 0 at all others, ndarray of shape (n_knots, n_bins)."""
    soft = np.linspace(edges[0], min(SOFT_ENERGY, edges[-1]), N_SOFT_KNOTS)
    knots = np.unique(np.concatenate([soft, np.geomspace(soft[-1], edges[-1], N_KNOTS)]))
    return np.array([np.interp(bin_middles(edges), knots, row) for row in np.eye(len(knots))])


@lru_cache(maxsize=64)
def _blur(edges):
    """Return the matrix that blurs a density in bins as the detector does, csr_matrix (n_bins, n_bins)."""
    middles, width, sigma = bin_geometry(edges)
    kernel = np.exp(-0.5 * ((middles[:, None] - middles) / sigma[:, None]) ** 2) * width
    return csr_matrix(np.where(kernel > BLUR_CUT * width, kernel, 0) / kernel.sum(1, keepdims=True))


@lru_cache(maxsize=64)
def typical_background(edges, setting):
    """Return `background_columns` of a typical solid."""
    library = make_library(edges, TYPICAL_RESOLUTION, setting.window)
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
    mass : tensor of shape (1, 98)
        Mass fractions of the specimen.

    Returns
    -------
    ndarray of shape (n_knots + 2 * n_soft, n_bins)
    """
    energies = torch.from_numpy(library.middles)
    emitted = continuum(mass, energies, library.attenuation, *setting.tensors())[0].numpy()
    unabsorbed = (setting.beam_energy - library.middles) / library.middles
    shapes = np.stack([emitted * library.bin_efficiency, emitted, unabsorbed], axis=1)
    counted = _blur(library.key) @ shapes.clip(min=0)
    counted *= np.diff(library.edges)[:, None] / counted.max(0)
    hats = _hat_functions(library.key)
    soft = hats[:N_SOFT_PIECES]
    pieces = zip((hats, soft, soft), counted.T, strict=True)
    return np.vstack([hat * shape.clip(LEAST_BACKGROUND) for hat, shape in pieces])


def background_penalty(n_positive, first, columns, background):
    """Return the quadratic form that keeps neighbouring pieces of the background alike.

    It penalises second differences of consecutive amplitudes. The order is that of `background_columns`, so
    that the soft pieces follow the last pieces of the whole range and are held back by their small values.

    Parameters
    ----------
    n_positive : int
        Number of columns with non-negative amplitudes.
    first : int
        Index of the first piece among them.
    columns : ndarray of shape (n_pieces, n_bins)
        See `background_columns`.
    background : ndarray of shape (n_bins,)
        Expected background.

    Returns
    -------
    ndarray of shape (n_positive, n_positive)
    """
    n = len(columns)
    level = max(background.sum() / columns.sum(), 1e-6)
    bend = np.diff(np.eye(n), 2, axis=0) / (BACKGROUND_BEND * level)
    penalty = np.zeros((n_positive, n_positive))
    penalty[first : first + n, first : first + n] = bend.T @ bend
    return penalty
