"""A linear model of a core-loss spectrum with normal priors of its coefficients."""

import numpy as np
from scipy.linalg.blas import dgemm, dtrsm, dtrsv
from scipy.linalg.lapack import dpotrf, dpotri

from xtalsk.spectra.eels._constants import (
    HAT_LEVEL_AT,
    HAT_SIZES,
    HATS,
    LEAST_HAT,
    LINE_SHARE,
    LINES_UP_TO,
    SECOND_LINE_RANGE,
)

_TAKES_LINES = np.abs(HATS) <= LINES_UP_TO  # hats that white lines enlarge
_AT_SECOND_LINE = np.abs(HATS) < SECOND_LINE_RANGE  # hats that are repeated at the second white line


class LinearModel:
    """Least squares with normal priors of mean zero, to which columns of elements can be added.

    The columns of the background never change. They are eliminated from the normal equations once (Schur
    complement), so that the equations that are solved again and again are those of the elements alone.
    Coefficients, covariances and places are those of the columns of elements.

    Parameters
    ----------
    data : ndarray of shape (n_bins,)
        Counts.
    error : ndarray of shape (n_bins,)
        Standard errors of the counts; infinite for bins without data.
    candidates : ndarray of shape (n_candidates, n_bins)
        Columns that may enter the model, in units of the counts.
    first : ndarray of int, shape (n_candidates,)
        First bin in which each candidate is not zero.
    background : ndarray of shape (n_background, n_bins)
        Columns of the background, in units of the counts.
    size : ndarray of shape (n_background,)
        Prior standard deviation of the coefficients of the background.
    """

    def __init__(self, data, error, candidates, first, background, size):
        self._inverse_error, self._data = 1 / error, data / error
        self._candidates, self._first = candidates, first
        self.background = background * self._inverse_error
        normal = self.background @ self.background.T
        self._background_lower = _cholesky(normal + np.diag(_stabiliser(normal) + 1 / np.square(size)))
        self._background_data = _whiten(self._background_lower, self.background @ self._data)
        self._score_background()
        self._total = self._data @ self._data - self._background_data @ self._background_data
        self.columns, self.precision = np.zeros((0, len(data))), np.zeros(0)
        self._normal, self._ridge = np.zeros((0, 0)), np.zeros(0)
        self._cross, self._product = np.zeros((0, len(candidates))), np.zeros(0)
        self._through_background = np.zeros((len(size), 0))
        self._forget()

    def _score_background(self):
        """Products of the candidates with the background, the data and themselves.

        Sets the products with the whitened background, and squares and products with the data of what the
        background does not explain.
        """
        from xtalsk.spectra.eels._product_kernels import weighted_squares

        products = self._cross_products(np.concatenate([self.background, self._data[None]]))
        squares = weighted_squares(self._candidates, self._first, self._inverse_error**2)
        self._background_cross = _whiten(self._background_lower, products[:-1])
        self._squares = squares - _square_sums(self._background_cross)
        self._with_data = products[-1] - self._background_data @ self._background_cross

    def _cross_products(self, columns):
        """Scalar products of columns in units of the errors with the candidates, (k, n_candidates)."""
        from xtalsk.spectra.eels._product_kernels import products_with_poses

        return products_with_poses(self._candidates, self._first, columns * self._inverse_error)

    def _forget(self):
        """Forget what was computed from the columns and the priors."""
        self._lower = self._coefficients = self._covariance = self._scores = None
        self._precisions = {}

    def add(self, columns, size):
        """Add columns to the model.

        Parameters
        ----------
        columns : ndarray of shape (k, n_bins)
            In units of the counts.
        size : ndarray of shape (k,)
            Prior standard deviation of each coefficient.

        Returns
        -------
        slice
            Places of the columns in the model.
        """
        start = len(self.columns)
        columns = columns * self._inverse_error
        through = _whiten(self._background_lower, self.background @ columns.T)
        own = columns @ columns.T
        self._ridge = np.concatenate([self._ridge, _stabiliser(own)])
        beside = self.columns @ columns.T - self._through_background.T @ through
        stop = start + len(columns)
        normal = np.empty((stop, stop))
        normal[:start, :start], normal[start:, start:] = self._normal, own - through.T @ through
        normal[:start, start:], normal[start:, :start] = beside, beside.T
        self._normal = normal
        self._product = np.append(self._product, columns @ self._data - self._background_data @ through)
        cross = self._cross_products(columns)
        cross = dgemm(-1.0, self._background_cross.T, through, 1.0, cross.T, overwrite_c=True).T
        self._cross = np.concatenate([self._cross, cross])
        self._through_background = np.concatenate([self._through_background, through], axis=1)
        self.columns = np.concatenate([self.columns, columns])
        self.precision = np.append(self.precision, 1 / np.square(size))
        self._forget()
        return slice(start, stop)

    def remove(self, places):
        """Remove the columns at some places, a slice; later columns move up."""
        keep = np.delete(np.arange(len(self.columns)), places)
        self._normal = self._normal[np.ix_(keep, keep)]
        self._through_background = self._through_background[:, keep]
        self.columns, self.precision, self._ridge, self._cross, self._product = (
            values[keep] for values in (self.columns, self.precision, self._ridge, self._cross, self._product)
        )
        self._forget()

    def scale_sizes(self, places, factor):
        """Multiply the prior standard deviations of some coefficients by a factor."""
        self.precision[places] /= factor**2
        self._forget()

    def _factor(self):
        """Cholesky factor of the normal matrix of the elements with the priors, (k, k)."""
        if self._lower is None:
            self._lower = _cholesky(self._normal + np.diag(self._ridge + self.precision))
        return self._lower

    def coefficients(self):
        """Fit the coefficients of the columns of elements, ndarray of shape (k,)."""
        if self._coefficients is None:
            lower = self._factor()
            self._coefficients = _unwhiten(lower, _whiten(lower, self._product))
        return self._coefficients

    def covariance(self):
        """Covariance of the coefficients of the columns of elements, ndarray of shape (k, k)."""
        if self._covariance is None:
            self._covariance = _inverse_of_factored(self._factor())
        return self._covariance

    def curves(self):
        """Fitted spectrum and fitted background in units of the errors, each of shape (n_bins,)."""
        coefficients = self.coefficients()
        rest = self._background_data - self._through_background @ coefficients
        background = _unwhiten(self._background_lower, rest) @ self.background
        return coefficients @ self.columns + background, background

    def alone(self, places):
        """Significance of the first of some columns, if the others of them leave the model.

        Parameters
        ----------
        places : slice

        Returns
        -------
        float
            Coefficient over its standard error.
        """
        first = self._precision_of(places)[0]
        return first @ self.coefficients()[places] / np.sqrt(first[0])

    def _precision_of(self, places):
        """Inverse of the covariance of the columns at some places, a slice."""
        key = places.start, places.stop
        if key not in self._precisions:
            self._precisions[key] = _inverse(self.covariance()[places, places])
        return self._precisions[key]

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
        if self._scores is None:
            whitened = _whiten(self._factor(), self._cross)
            explained = _whiten(self._factor(), self._product)
            precision = self._squares - _square_sums(whitened)
            precision = np.maximum(precision, 1e-12)
            amplitude = (self._with_data - explained @ whitened) / precision
            self._scores = amplitude, precision, float(self._total - explained @ explained)
        return self._scores

    def score_candidates(self, which, places):
        """Significance of candidates, each alone, if the columns at some places leave the model.

        Parameters
        ----------
        which : slice
            Candidates.
        places : slice
            Columns that leave the model.

        Returns
        -------
        ndarray of shape (n,)
            Amplitude over its standard error.
        """
        amplitude, precision = (values[which] for values in self.scores()[:2])
        shares = self.covariance()[places] @ self._cross[:, which]
        weighted = self._precision_of(places) @ shares
        product = amplitude * precision + self.coefficients()[places] @ weighted
        precision = precision + (shares * weighted).sum(0)
        return product / np.sqrt(precision)

    def residual_products(self, columns):
        """Scalar products of columns with each other and with the data, without what the model explains.

        Parameters
        ----------
        columns : ndarray of shape (n, n_bins)
            In units of the counts.

        Returns
        -------
        products : ndarray of shape (n, n)
        with_data : ndarray of shape (n,)
        """
        columns = columns * self._inverse_error
        through = _whiten(self._background_lower, self.background @ columns.T)
        beside = _whiten(self._factor(), self.columns @ columns.T - self._through_background.T @ through)
        explained = _whiten(self._factor(), self._product)
        products = columns @ columns.T - through.T @ through - beside.T @ beside
        return products, columns @ self._data - self._background_data @ through - explained @ beside


def _square_sums(columns):
    """Return the sums of squares along the first axis of a matrix."""
    return np.einsum("ij,ij->j", columns, columns)


def _stabiliser(normal):
    """Terms added to the diagonal of a normal matrix so that it can be inverted."""
    return 1e-9 * np.diagonal(normal) + 1e-12


def _cholesky(normal):
    """Lower Cholesky factor of a matrix; raises LinAlgError if the matrix is not positive definite."""
    lower, info = dpotrf(normal, lower=1)
    if info:
        raise np.linalg.LinAlgError("the normal matrix of the spectrum is not positive definite")
    return lower


def _inverse_of_factored(lower):
    """Inverse of a matrix from its lower Cholesky factor."""
    if not lower.size:
        return lower
    inverse = dpotri(lower, lower=1)[0]  # the lower half
    return np.tril(inverse) + np.tril(inverse, -1).T


def _inverse(matrix):
    """Inverse of a positive definite matrix."""
    return _inverse_of_factored(_cholesky(matrix))


def _whiten(lower, columns):
    """Solve L x = b for a vector or for the columns of a matrix."""
    if not columns.size:
        return np.zeros(columns.shape)
    if columns.ndim == 1:
        return dtrsv(lower, columns, lower=1)
    return dtrsm(1.0, lower, columns.T, side=1, lower=1, trans_a=1).T


def _unwhiten(lower, vector):
    """Solve Lᵀ x = b for a vector."""
    return dtrsv(lower, vector, lower=1, trans=1) if len(vector) else np.zeros(0)


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
    from xtalsk.spectra.eels._edge_kernels import hats

    level = _level(above, smooth)
    columns = hats(above, HATS, level)
    sizes = HAT_SIZES * np.where(_TAKES_LINES, 1 + LINE_SHARE * line_height, 1)
    if line_height > 0:
        columns = np.concatenate([columns, hats(above - split, HATS, level)[_AT_SECOND_LINE]])
        sizes = np.concatenate([sizes, np.full(np.count_nonzero(_AT_SECOND_LINE), LINE_SHARE * line_height)])
    is_visible = columns.max(1) > LEAST_HAT * max(level.max(), 1e-12)
    return columns[is_visible], sizes[is_visible]


def _level(above, smooth):
    """Height of an edge from 10 eV above the onset on, and its height there below, ndarray (n_bins,)."""
    at = HAT_LEVEL_AT
    height = np.interp(at, above, smooth) if above[0] < at < above[-1] else smooth.max()
    return np.where(above > at, smooth, max(height, 1e-12))
