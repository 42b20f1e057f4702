"""Channels to bins: the same bins for all pixels of a spectrum image."""

from typing import NamedTuple

import numpy as np


class Binning(NamedTuple):
    """Shares of the channels in the bins, as compiled loops read them.

    Parameters
    ----------
    starts : ndarray of int, shape (n_channels + 1,)
        Where the shares of each channel begin, and the end of the last ones.
    bins : ndarray of int, shape (n_shares,)
    shares : ndarray of shape (n_shares,)
    """

    starts: np.ndarray
    bins: np.ndarray
    shares: np.ndarray


def binning_of(matrix):
    """Return the `Binning` of a matrix of shares, ndarray of shape (n_bins, n_channels)."""
    channel, place = np.nonzero(matrix.T)
    starts = np.searchsorted(channel, np.arange(matrix.shape[1] + 1))
    return Binning(starts, place, np.ascontiguousarray(matrix.T[channel, place]))


def binned(binning, counts, n_bins):
    """Return the counts in bins of pixels, ndarray of shape (n, n_bins)."""
    from xtalsk.spectra.maps._pixel_kernels import bin_pixels

    out = np.empty((len(counts), n_bins))
    bin_pixels(np.ascontiguousarray(counts, dtype=np.float32), *binning, out)
    return out
