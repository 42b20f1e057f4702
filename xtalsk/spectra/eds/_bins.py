"""Bins of X-ray spectra, and what depends on them alone."""

from functools import cached_property, lru_cache

import numpy as np
import torch
from scipy.sparse import csr_matrix

from xtalsk.physics._xray_detector import line_width
from xtalsk.spectra.eds._constants import (
    BACKGROUND_ERRORS,
    BEND_ENERGIES,
    BIN_WIDTH,
    BLUR_CUT,
    LARGEST_BLUR,
    N_KNOTS,
    N_SOFT_KNOTS,
    NEAR_CUT,
    NEAR_WIDTHS,
    SOFT_ENERGY,
    TAIL_LENGTHS,
    TAIL_REACH,
    TYPICAL_RESOLUTION,
)
from xtalsk.spectra.eds._rows import rows_of

_WIDTH_STEP = 100  # eV between the energies at which widths of bins are computed


def as_tensor(values):
    """Convert a list of numbers or an array to a float64 tensor."""
    return torch.as_tensor(np.asarray(values, dtype=float))


class Bins:
    """Bins of a spectrum. Tables that depend on them alone are computed once.

    `make_bins` returns the same object for the same bins, so that it is a key of caches.

    Parameters
    ----------
    edges : ndarray of shape (n_bins + 1,)
        Edges of the bins in eV.

    Attributes
    ----------
    middles, widths, distances : ndarray of shape (n_bins,)
        Middle and width of each bin, and distance between the middles of its neighbours, in eV.
    """

    def __init__(self, edges):
        self.edges = np.array(edges)
        self.middles = (self.edges[1:] + self.edges[:-1]) / 2
        self.widths = np.diff(self.edges)
        padded = np.concatenate([self.middles[:1], self.middles, self.middles[-1:]])
        self.distances = padded[2:] - padded[:-2]

    def __len__(self):
        return len(self.middles)

    @cached_property
    def sigma(self):
        """Standard deviation in eV of a line in each bin, at the typical resolution, ndarray."""
        return line_width(torch.from_numpy(self.middles), as_tensor(TYPICAL_RESOLUTION)).numpy()

    @cached_property
    def axis_errors(self):
        """Shifts in eV by errors of the energy axis (offset, gain and bends), ndarray (n_errors, n_bins)."""
        bends = [np.interp(self.middles, BEND_ENERGIES, row) for row in np.eye(len(BEND_ENERGIES))]
        return np.array([np.ones(len(self)), self.middles, *bends])

    @cached_property
    def background_error(self):
        """Relative error of the background in each bin, ndarray."""
        return np.interp(self.middles, *BACKGROUND_ERRORS)

    @cached_property
    def hats(self):
        """Functions that are 1 at one knot and 0 at all others, ndarray of shape (n_knots, n_bins)."""
        soft = np.linspace(self.edges[0], min(SOFT_ENERGY, self.edges[-1]), N_SOFT_KNOTS)
        knots = np.unique(np.concatenate([soft, np.geomspace(soft[-1], self.edges[-1], N_KNOTS)]))
        return np.array([np.interp(self.middles, knots, row) for row in np.eye(len(knots))])

    def _between(self, low, high):
        """Return pairs of bins: each bin, and those whose middle lies between two energies that it has.

        Parameters
        ----------
        low, high : ndarray of shape (n_bins,)
            Energies in eV.

        Returns
        -------
        bins, others : ndarray of int, shape (n_pairs,)
        """
        first, end = np.searchsorted(self.middles, low), np.searchsorted(self.middles, high)
        n = end - first
        return np.repeat(np.arange(len(self)), n), np.arange(n.sum()) + np.repeat(end - np.cumsum(n), n)

    def _rows(self, values, row, column):
        """Return a matrix with a row and a column for each bin, `Rows`."""
        return rows_of(csr_matrix((values, (row, column)), (len(self), len(self))))

    @cached_property
    def blur(self):
        """Matrix that blurs a density in bins as the detector does, `Rows`."""
        reach = LARGEST_BLUR * self.sigma
        row, column = self._between(self.middles - reach, self.middles + reach)
        kernel = np.exp(-0.5 * ((self.middles[row] - self.middles[column]) / self.sigma[row]) ** 2)
        total = np.bincount(row, kernel * self.widths[column])
        values = np.where(kernel > BLUR_CUT, kernel, 0) * self.widths[column] / total[row]
        return self._rows(values[values > 0], row[values > 0], column[values > 0])

    @cached_property
    def tails(self):
        """Matrices that move the counts of a bin to a tail below it, tuple of `Rows`."""
        matrices = []
        for length in TAIL_LENGTHS:
            row, column = self._between(self.middles, self.middles + TAIL_REACH * length)
            distance = self.middles[column] - self.middles[row]
            tail = np.where(distance > 0, np.exp(-distance / length), 0) * self.widths[row] / length
            tail[distance == 0] = -np.bincount(column, tail)
            matrices.append(self._rows(tail, row, column))
        return tuple(matrices)

    @cached_property
    def near(self):
        """Matrix that spreads the height of each line over its surroundings, `Rows`."""
        width = NEAR_WIDTHS * self.sigma
        reach = width * np.sqrt(-2 * np.log(NEAR_CUT))
        column, row = self._between(self.middles - reach, self.middles + reach)
        near = np.exp(-0.5 * ((self.middles[row] - self.middles[column]) / width[column]) ** 2)
        return self._rows(near * self.widths[row] / (np.sqrt(2 * np.pi) * self.sigma[column]), row, column)


@lru_cache(maxsize=64)
def make_bins(channel_width, highest, lowest):
    """Make bins a quarter as wide as a line.

    Parameters
    ----------
    channel_width : float
        Smallest width of a bin in eV.
    highest, lowest : float
        Ends of the bins in eV.

    Returns
    -------
    Bins
    """
    energies = torch.arange(0, highest + 2 * _WIDTH_STEP, _WIDTH_STEP, dtype=torch.float64)
    sigma = line_width(energies, torch.tensor(TYPICAL_RESOLUTION)).numpy()
    widths = (BIN_WIDTH * sigma).clip(min=channel_width).tolist()
    edges = [lowest]
    while edges[-1] < highest:
        edges.append(edges[-1] + widths[int(edges[-1] / _WIDTH_STEP)])
    return Bins(edges)
