"""A linear model of a core-loss spectrum in which what theory leaves open has a prior of its own."""

import numpy as np
from scipy.linalg import cho_factor, cho_solve, solve_triangular
from scipy.optimize import nnls

_ENVELOPE_ROUNDS = 6
_TREND_DEGREE, _POWERS = 3, (0, 2, 4)
_MODES = ((0.35, 0.05), (0.12, 0.01))  # spacing in ln energy and size relative to the background
# Fine structure: middle of each hat in eV above the onset, and its standard deviation relative to the edge.
_HATS = np.array(
    [-18.0, -9.0, -4.0, 0.0, 3.0, 6.0, 9.0, 13.0, 18.0, 24.0, 32.0, 43.0, 58.0, 80.0, 110.0, 150.0, 210.0]
)
_SIZES = np.array([0.1, 0.2, 0.4, 1.0, 1.0, 0.9, 0.8, 0.6, 0.5, 0.4, 0.35, 0.3, 0.25, 0.2, 0.15, 0.12, 0.1])
_LINES_UP_TO = 13.0  # eV


def envelope(bins):
    """Smooth curves below a spectrum and through it, each of shape (n_bins,).

    Both are completely monotone, sums of falling exponentials with positive weights, to which power laws
    belong (Bernstein's theorem). The first is nearer to the background: it is fitted asymmetrically, so that
    what rises above it, as edges do, counts less.
    """
    energy, span = bins.energy, bins.energy[-1] - bins.energy[0]
    rates = np.concatenate([[0], np.geomspace(0.3 / span, 12 / max(0.2 * energy[0], 5.0), 16)])
    falling = np.exp(-(energy[:, None] - energy[0]) * rates)
    tolerance = np.hypot(bins.error, 0.02 * bins.counts)
    weight, through = 1 / tolerance, None
    for _ in range(_ENVELOPE_ROUNDS):
        back = falling @ nnls(falling * weight[:, None], bins.counts * weight, maxiter=1000)[0]
        through = back if through is None else through
        excess = (bins.counts - back) / tolerance
        weight = np.where(excess > 1, 1 / np.maximum(excess, 1) ** 1.5, 1) / tolerance
    least = 0.03 * np.median(np.abs(bins.counts)) * (energy[0] / energy) + 1e-9
    return np.maximum(back, least), np.maximum(through, least)


class LinearModel:
    """Least squares with normal priors of mean zero, to which terms are added one after another.

    Parameters
    ----------
    data : ndarray of shape (n_bins,)
        In units of its error.
    candidates : ndarray of shape (n_candidates, n_bins)
        Columns that are not in the model but may enter it, in the same units.
    """

    def __init__(self, data, candidates):
        self.data, self.candidates = data, candidates
        self.columns = np.zeros((0, len(data)))
        self.precision = np.zeros(0)
        self._cross = np.zeros((0, len(candidates)))
        self._squares = np.einsum("ij,ij->i", candidates, candidates)
        self._with_data = candidates @ data

    def add(self, columns, size):
        """Add columns, shape (k, n_bins), whose coefficients have a standard deviation, shape (k,).

        Returns
        -------
        slice of their places
        """
        start = len(self.columns)
        self.columns = np.concatenate([self.columns, columns])
        self.precision = np.concatenate([self.precision, 1 / np.square(size)])
        self._cross = np.concatenate([self._cross, columns @ self.candidates.T])
        return slice(start, len(self.columns))

    def truncate(self, n):
        """Keep the first ``n`` columns only."""
        self.columns, self.precision, self._cross = self.columns[:n], self.precision[:n], self._cross[:n]

    def remove(self, places):
        """Take columns out again; those behind them move up."""
        self.columns, self.precision, self._cross = (
            np.delete(values, places, axis=0) for values in (self.columns, self.precision, self._cross)
        )

    def _factor(self, keep):
        columns = self.columns[keep]
        normal = columns @ columns.T
        diagonal = np.diagonal(normal)
        normal[np.diag_indices(len(normal))] += self.precision[keep] + 1e-9 * diagonal + 1e-12
        return columns, cho_factor(normal, lower=True)

    def solve(self, keep=None):
        """Coefficients and their covariance, of all columns or of those to keep.

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
        """Amplitude and precision that each candidate would have if it alone were added.

        Returns
        -------
        amplitude, precision : ndarray of shape (n_candidates,)
            The amplitude over its standard error is ``amplitude * sqrt(precision)``.
        rest : float
            χ² of the model without them, its priors among it.
        """
        columns, (lower, _) = self._factor(np.arange(len(self.columns)))
        whitened = solve_triangular(lower, self._cross, lower=True)
        rest = solve_triangular(lower, columns @ self.data, lower=True)
        precision = self._squares - np.einsum("ij,ij->j", whitened, whitened)
        product = self._with_data - rest @ whitened
        precision = np.maximum(precision, 1e-12)
        return product / precision, precision, float(self.data @ self.data - rest @ rest)

    def score_some(self, which, keep):
        """Amplitude over its error of some candidates if one were added to some of the columns.

        Parameters
        ----------
        which, keep : ndarray of int
            Candidates, and columns of the model that count.

        Returns
        -------
        ndarray of the shape of ``which``
        """
        columns, (lower, _) = self._factor(keep)
        whitened = solve_triangular(lower, self._cross[np.ix_(keep, which)], lower=True)
        rest = solve_triangular(lower, columns @ self.data, lower=True)
        precision = self._squares[which] - (whitened**2).sum(0)
        return (self._with_data[which] - rest @ whitened) / np.sqrt(np.maximum(precision, 1e-12))

    def products(self, first, second):
        """Scalar products of columns with each other and with the data, after the model is taken out of them.

        Parameters
        ----------
        first, second : ndarray of shape (n_bins,)

        Returns
        -------
        with_data, with_second : float
            Of ``first``.
        """
        columns, (lower, _) = self._factor(np.arange(len(self.columns)))
        targets = np.stack([first, second, self.data], axis=1)
        first, *others = solve_triangular(lower, columns @ targets, lower=True).T
        with_second, with_data = (targets[:, 0] @ targets[:, i] - first @ others[i - 1] for i in (1, 2))
        return with_data, with_second


def background_columns(energy, back, through):
    """Columns of the background and the prior sizes of their coefficients.

    The rough background times a cubic in ln E is free, and so are a constant and two power laws; beside them
    stand smooth deviations of five per cent on a scale of a third in ln E and of one per cent on one of an
    eighth, as spectrometers make.

    Parameters
    ----------
    energy, back, through : ndarray of shape (n_bins,)
        In eV, and the curves of `envelope`.

    Returns
    -------
    columns : ndarray of shape (k, n_bins)
    sizes : ndarray of shape (k,)
    """
    place = np.log(energy)
    length = place[-1] - place[0]
    unit = 2 * (place - place[0]) / length - 1
    trend = np.polynomial.legendre.legvander(unit, _TREND_DEGREE).T
    powers = np.stack([(energy[0] / energy) ** r for r in _POWERS])
    columns = [back * trend, powers]
    sizes = [np.full(len(trend) + len(powers), 1e3)]
    level = np.maximum(back, 0.3 * through)
    for spacing, size in _MODES:
        centres = np.linspace(place[0], place[-1], max(2, int(length / spacing) + 2))
        columns.append(level * np.exp(-0.5 * ((place - centres[:, None]) / spacing) ** 2))
        sizes.append(np.full(len(centres), size))
    return np.concatenate(columns), np.concatenate(sizes)


def fine_structure(above, smooth, line_height, split):
    """Columns of the fine structure of a family, and their prior sizes for an edge of amplitude one.

    Hats of growing width follow each other from the onset; near it they may be as large as the edge, 100 eV
    above as large as theory and plural scattering may be wrong.

    Parameters
    ----------
    above : ndarray of shape (n_bins,)
        Energy above the onset in eV.
    smooth : ndarray of shape (n_bins,)
        Template without white lines.
    line_height : float
        Of white lines, relative to the edge.
    split : float
        Energy of the second white line above the first, in eV.

    Returns
    -------
    columns : ndarray of shape (k, n_bins)
    sizes : ndarray of shape (k,)
    """
    height = np.interp(10.0, above, smooth) if above[0] < 10 < above[-1] else smooth.max()
    level = np.where(above > 10, smooth, max(height, 1e-12))
    eye = np.eye(len(_HATS))
    columns = np.stack([np.interp(above, _HATS, row, left=0, right=0) for row in eye]) * level
    sizes = _SIZES * np.where(np.abs(_HATS) <= _LINES_UP_TO, 1 + 0.5 * line_height, 1)
    if line_height > 0:
        near = np.abs(_HATS) < 7
        second = [np.interp(above - split, _HATS, row, left=0, right=0) for row in eye[near]]
        columns = np.concatenate([columns, np.stack(second) * level])
        sizes = np.concatenate([sizes, np.full(near.sum(), 0.5 * line_height)])
    held = (columns > 1e-3 * max(level.max(), 1e-12)).any(1)
    return columns[held], sizes[held]
