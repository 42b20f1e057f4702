"""A linear model of a core-loss spectrum with normal priors of its coefficients."""

import numpy as np
from scipy.linalg import cho_factor, cho_solve, solve_triangular
from scipy.optimize import nnls

from xtalsk.spectra.eels._constants import (
    ASYMMETRY,
    DEVIATIONS,
    ENVELOPE_ROUNDS,
    ENVELOPE_TERMS,
    ENVELOPE_TOLERANCE,
    FASTEST_RATE,
    FREE,
    HAT_LEVEL_AT,
    HAT_SIZES,
    HATS,
    LEAST_BACKGROUND,
    LEAST_DEVIATION_HEIGHT,
    LEAST_HAT,
    LEAST_RATE_ENERGY,
    LINE_SHARE,
    LINES_UP_TO,
    POWERS,
    SECOND_LINE_RANGE,
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
    energy, span = bins.energy, bins.energy[-1] - bins.energy[0]
    fastest = FASTEST_RATE / max(LEAST_RATE_ENERGY[0] * energy[0], LEAST_RATE_ENERGY[1])
    rates = np.concatenate([[0], np.geomspace(SLOWEST_RATE / span, fastest, ENVELOPE_TERMS)])
    falling = np.exp(-(energy[:, None] - energy[0]) * rates)
    tolerance = np.hypot(bins.error, ENVELOPE_TOLERANCE * bins.counts)
    weight, through = 1 / tolerance, None
    for _ in range(ENVELOPE_ROUNDS):
        back = falling @ nnls(falling * weight[:, None], bins.counts * weight, maxiter=1000)[0]
        through = back if through is None else through
        excess = (bins.counts - back) / tolerance
        weight = np.where(excess > 1, 1 / np.maximum(excess, 1) ** ASYMMETRY, 1) / tolerance
    least = LEAST_BACKGROUND * np.median(np.abs(bins.counts)) * (energy[0] / energy) + 1e-9
    return np.maximum(back, least), np.maximum(through, least)


class LinearModel:
    """Least squares with normal priors of mean zero, to which columns can be added.

    Parameters
    ----------
    data : ndarray of shape (n_bins,)
        Counts in units of their standard errors.
    candidates : ndarray of shape (n_candidates, n_bins)
        Columns that may enter the model, in units of the same standard errors.
    """

    def __init__(self, data, candidates):
        self.data, self.candidates = data, candidates
        self.columns = np.zeros((0, len(data)))
        self.precision = np.zeros(0)
        self._cross = np.zeros((0, len(candidates)))
        self._squares = np.einsum("ij,ij->i", candidates, candidates)
        self._with_data = candidates @ data

    def add(self, columns, size):
        """Add columns to the model.

        Parameters
        ----------
        columns : ndarray of shape (k, n_bins)
            In units of the standard errors of the data.
        size : ndarray of shape (k,)
            Prior standard deviation of each coefficient.

        Returns
        -------
        slice
            Places of the columns in the model.
        """
        start = len(self.columns)
        self.columns = np.concatenate([self.columns, columns])
        self.precision = np.concatenate([self.precision, 1 / np.square(size)])
        self._cross = np.concatenate([self._cross, columns @ self.candidates.T])
        return slice(start, len(self.columns))

    def truncate(self, n):
        """Remove all columns but the first ``n``."""
        self.columns, self.precision, self._cross = self.columns[:n], self.precision[:n], self._cross[:n]

    def remove(self, places):
        """Remove the columns at some places; later columns move up."""
        self.columns, self.precision, self._cross = (
            np.delete(values, places, axis=0) for values in (self.columns, self.precision, self._cross)
        )

    def _factor(self, keep):
        """Columns to keep, and the Cholesky factor of their normal matrix with the priors."""
        columns = self.columns[keep]
        normal = columns @ columns.T
        diagonal = np.diagonal(normal)
        normal[np.diag_indices(len(normal))] += self.precision[keep] + 1e-9 * diagonal + 1e-12
        return columns, cho_factor(normal, lower=True)

    def solve(self, keep=None):
        """Fit the coefficients of all columns, or of some of them.

        Parameters
        ----------
        keep : ndarray of int, shape (k,), or None
            Columns to fit; None stands for all.

        Returns
        -------
        coefficients : ndarray of shape (k,)
        covariance : ndarray of shape (k, k)
        """
        keep = np.arange(len(self.columns)) if keep is None else keep
        columns, factor = self._factor(keep)
        covariance = cho_solve(factor, np.eye(len(keep)))
        return covariance @ (columns @ self.data), covariance

    def scores(self):
        """Amplitude and precision of each candidate if that candidate alone is added to the model.

        Returns
        -------
        amplitude, precision : ndarray of shape (n_candidates,)
            The precision is the inverse variance. The amplitude over its standard error is
            ``amplitude * sqrt(precision)``.
        chi2 : float
            χ² of the model without candidates, priors included.
        """
        columns, (lower, _) = self._factor(np.arange(len(self.columns)))
        whitened = solve_triangular(lower, self._cross, lower=True)
        explained = solve_triangular(lower, columns @ self.data, lower=True)
        precision = self._squares - np.einsum("ij,ij->j", whitened, whitened)
        product = self._with_data - explained @ whitened
        precision = np.maximum(precision, 1e-12)
        return product / precision, precision, float(self.data @ self.data - explained @ explained)

    def score_candidates(self, which, keep):
        """Significance of candidates, each alone beside some of the columns.

        Parameters
        ----------
        which : ndarray of int, shape (n,)
            Candidates.
        keep : ndarray of int, shape (k,)
            Columns of the model that are fitted together with the candidate.

        Returns
        -------
        ndarray of shape (n,)
            Amplitude over its standard error.
        """
        columns, (lower, _) = self._factor(keep)
        whitened = solve_triangular(lower, self._cross[np.ix_(keep, which)], lower=True)
        explained = solve_triangular(lower, columns @ self.data, lower=True)
        precision = self._squares[which] - (whitened**2).sum(0)
        return (self._with_data[which] - explained @ whitened) / np.sqrt(np.maximum(precision, 1e-12))

    def products(self, first, second):
        """Scalar products of a column with the data and with another column.

        The part that the model explains is subtracted from all three before.

        Parameters
        ----------
        first, second : ndarray of shape (n_bins,)
            Columns in units of the standard errors of the data.

        Returns
        -------
        with_data, with_second : float
            Products of ``first`` with the data and with ``second``.
        """
        columns, (lower, _) = self._factor(np.arange(len(self.columns)))
        targets = np.stack([first, second, self.data], axis=1)
        first, *others = solve_triangular(lower, columns @ targets, lower=True).T
        with_second, with_data = (targets[:, 0] @ targets[:, i] - first @ others[i - 1] for i in (1, 2))
        return with_data, with_second


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
    place = np.log(energy)
    length = place[-1] - place[0]
    unit = 2 * (place - place[0]) / length - 1
    trend = np.polynomial.legendre.legvander(unit, TREND_DEGREE).T
    powers = np.stack([(energy[0] / energy) ** r for r in POWERS])
    columns = [back * trend, powers]
    sizes = [np.full(len(trend) + len(powers), FREE)]
    level = np.maximum(back, LEAST_DEVIATION_HEIGHT * through)
    for spacing, size in DEVIATIONS:
        centres = np.linspace(place[0], place[-1], max(2, int(length / spacing) + 2))
        columns.append(level * np.exp(-0.5 * ((place - centres[:, None]) / spacing) ** 2))
        sizes.append(np.full(len(centres), size))
    return np.concatenate(columns), np.concatenate(sizes)


def fine_structure(above, smooth, line_height, split):
    """Columns of the fine structure of a family, and their prior standard deviations.

    The columns are hat functions whose width grows with the energy above the onset. Their prior standard
    deviation falls from the height of the edge near the onset to the error of theory and plural scattering
    100 eV above.

    Parameters
    ----------
    above : ndarray of shape (n_bins,)
        Energy above the onset in eV.
    smooth : ndarray of shape (n_bins,)
        Template without white lines.
    line_height : float
        Height of the white lines relative to the edge.
    split : float
        Energy of the second white line above the first, in eV.

    Returns
    -------
    columns : ndarray of shape (k, n_bins)
        In the unit of ``smooth``.
    sizes : ndarray of shape (k,)
        Prior standard deviations for an edge of amplitude one.
    """
    at, eye = HAT_LEVEL_AT, np.eye(len(HATS))
    height = np.interp(at, above, smooth) if above[0] < at < above[-1] else smooth.max()
    level = np.where(above > at, smooth, max(height, 1e-12))
    columns = _hats(above, eye) * level
    sizes = HAT_SIZES * np.where(np.abs(HATS) <= LINES_UP_TO, 1 + LINE_SHARE * line_height, 1)
    if line_height > 0:
        near = np.abs(HATS) < SECOND_LINE_RANGE
        columns = np.concatenate([columns, _hats(above - split, eye[near]) * level])
        sizes = np.concatenate([sizes, np.full(near.sum(), LINE_SHARE * line_height)])
    is_visible = (columns > LEAST_HAT * max(level.max(), 1e-12)).any(1)
    return columns[is_visible], sizes[is_visible]


def _hats(above, heights):
    """Piecewise linear functions with given heights at `HATS`, ndarray of shape (k, n_bins)."""
    return np.stack([np.interp(above, HATS, row, left=0, right=0) for row in heights])
