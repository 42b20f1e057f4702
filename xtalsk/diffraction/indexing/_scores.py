"""Profiles to figures of merit of lattices."""

import re
import warnings

import numpy as np
import torch
from joblib import Parallel, delayed
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from xtalsk.diffraction._powder import PowderProfile
from xtalsk.diffraction._radial import RadialProfile
from xtalsk.diffraction.indexing._functional import figure_names, lattice_figures
from xtalsk.utils import check_number

_CHUNK = 32  # profiles at once: what stays in the cache of a processor core


def _default_ranges():
    """Range of q by the number of bins and that of the first one, of transformers with their defaults."""
    ranges = {}
    for transformer in (PowderProfile(), RadialProfile()):
        transformer.fit([None])
        first = int(re.search(r"\d+", transformer.get_feature_names_out()[0])[0])
        ranges[transformer.n_bins, first] = transformer.q_range
    return ranges


def _infer_range(n_bins, names):
    """Range of q of profiles that `PowderProfile` or `RadialProfile` made with their defaults."""
    known = _default_ranges()
    if names is None:
        found = next((q_range for (n, _), q_range in known.items() if n == n_bins), None)
        if found is not None:
            warnings.warn(
                f"columns without names: takes {n_bins} bins as q = {found[0]} to {found[1]} 1/Å, the default"
                " of this number; give q_range, or names by set_output(transform='pandas')",
                UserWarning,
                stacklevel=4,
            )
    else:
        numbers = [re.fullmatch(r"(?:.*__)?q_(\d+)", str(name)) for name in names]
        found = known.get((n_bins, int(numbers[0][1]))) if all(numbers) else None
    if found is None:
        raise ValueError(
            f"cannot tell which q the {n_bins} columns stand for, as they are not those of PowderProfile or "
            "RadialProfile with their defaults: give q_range, the ends of the bins in 1/Å"
        )
    return found


class IndexingScores(TransformerMixin, BaseEstimator):
    """Figures of merit of the lattices that explain the lines of a profile.

    For cubic P, I, F, tetragonal P, I, hexagonal P, R, orthorhombic P, C, I, F and monoclinic P, C lattices
    the cell is searched for that explains the 20 lowest lines best, up to a few that are foreign, and is
    refined together with a shift of the zero. It works on the features of `PowderProfile` or
    `RadialProfile`, in a pipeline.

    Parameters
    ----------
    q_range : (float, float) or None, default=None
        Ends of the bins in 1/Å. None takes those of `PowderProfile` or `RadialProfile` with their defaults,
        told apart by the number of columns and their names; other columns are an error, columns without
        names a warning.
    tolerance : float or None, default=None
        How far a line may lie from where a cell puts it, in 1/Å; None for one bin. After the refinement
        three fifths of it count.
    n_jobs : int or None, default=None
        Number of parallel jobs.

    Attributes
    ----------
    q_range_ : (float, float)
        Ends of the bins in 1/Å.
    n_features_in_ : int
        Number of bins.
    feature_names_in_ : ndarray of str
        Only if the columns have names.

    Notes
    -----
    For each type, as in ``cubic_p_log_m20``: ``evidence`` (how many lines are explained and how many
    calculated ones observed, beyond chance, as a logarithm of likelihoods less a price for each parameter of
    the cell), ``log_m20`` (de Wolff's figure of merit [1]_, of as many lines as there are), ``explained``
    and ``explained_intensity`` (share of the lines), ``observed`` (share of the calculated lines) and
    ``log_volume`` (of the conventional cell in Å³). They are 0 for types without a cell, e.g. where there
    are too few lines.

    For each system ``margin``, its evidence less the best of the others; for classes of lines that a screw
    axis or a glide plane forbids the share that is observed, in the primitive cell; numbers and positions
    of lines. A row of NaN, not measured, gives a row of NaN.

    The search is dense for one and two parameters and a choice for more: of minerals some 90% of
    orthorhombic and half of monoclinic cells are among what is tried. There is none for triclinic lattices.

    References
    ----------
    .. [1] P. M. de Wolff, J. Appl. Cryst. 1, 108 (1968).

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.pipeline import make_pipeline
    >>> from xtalsk.diffraction import IndexingScores, PowderProfile
    >>> from xtalsk.io import Profile
    >>> q = np.arange(0.06, 1.0, 0.0005)
    >>> salt = np.sqrt([3, 4, 8, 11, 12, 16, 19, 20, 24]) / 5.64
    >>> scan = Profile(np.exp(-(((q[:, np.newaxis] - salt) / 0.002) ** 2)).sum(axis=1), q=q)
    >>> lattice = make_pipeline(PowderProfile(), IndexingScores()).set_output(transform="pandas")
    >>> figures = lattice.fit_transform([scan]).iloc[0]
    >>> bool(figures["cubic_margin"] > 0)
    True
    >>> round(float(np.exp(figures["cubic_f_log_volume"]) ** (1 / 3)), 2)
    5.64
    """

    def __init__(self, q_range=None, *, tolerance=None, n_jobs=None):
        self.q_range = q_range
        self.tolerance = tolerance
        self.n_jobs = n_jobs

    def fit(self, X, y=None):
        """Check the parameters and find out what the columns stand for; nothing else is learnt.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_bins)
            Profiles; NaN where nothing was measured.
        y : ignored

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If ``q_range`` is None and cannot be told from the columns, or a parameter is out of range.
        """
        X = validate_data(self, X, dtype=np.float32, ensure_all_finite="allow-nan")
        if self.tolerance is not None:
            check_number(self.tolerance, "tolerance", min_val=0, include_boundaries="neither")
        if self.q_range is None:
            self.q_range_ = _infer_range(X.shape[1], getattr(self, "feature_names_in_", None))
            return self
        try:
            low, high = (float(q) for q in self.q_range)
        except (TypeError, ValueError):
            raise ValueError(f"q_range must be two numbers in 1/Å, got {self.q_range!r}") from None
        if not 0 <= low < high < np.inf:
            raise ValueError(f"q_range must hold two increasing, non-negative numbers, got {self.q_range!r}")
        self.q_range_ = (low, high)
        return self

    def transform(self, X):
        """Compute the figures of merit.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_bins)
            Profiles; NaN where nothing was measured.

        Returns
        -------
        ndarray of float32, shape (n_samples, n_figures)
            A row of NaN for each row of NaN.
        """
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float32, ensure_all_finite="allow-nan", reset=False)
        out = np.full((len(X), len(figure_names())), np.nan, dtype=np.float32)
        rows = np.flatnonzero(~np.isnan(X).all(axis=1))
        parts = [rows[i : i + _CHUNK] for i in range(0, len(rows), _CHUNK)]
        step = (self.q_range_[1] - self.q_range_[0]) / X.shape[1]
        done = Parallel(n_jobs=self.n_jobs)(
            delayed(_figures)(X[part], self.q_range_[0] + step / 2, step, self.tolerance) for part in parts
        )
        for part, values in zip(parts, done, strict=True):
            out[part] = values
        return out

    def _batched(self, _):
        """Make the function that turns profiles, a tensor (n, n_bins), into figures of merit."""
        low, step = self.q_range_[0], (self.q_range_[1] - self.q_range_[0]) / self.n_features_in_

        def figures(profiles):
            out = profiles.new_full((len(profiles), len(figure_names())), torch.nan)
            rows = torch.nonzero(~profiles.isnan().all(1)).squeeze(1)
            if len(rows):
                out[rows] = lattice_figures(
                    profiles[rows], low + step / 2, step, tolerance=self.tolerance
                ).to(out)
            return out

        return figures

    def get_feature_names_out(self, input_features=None):
        """Names of the figures.

        Parameters
        ----------
        input_features : ignored

        Returns
        -------
        ndarray of str
        """
        check_is_fitted(self)
        return np.array(figure_names(), dtype=object)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.transformer_tags.preserves_dtype = ["float32"]
        tags.requires_fit = True
        return tags


def _figures(profiles, q0, step, tolerance):
    return lattice_figures(torch.from_numpy(profiles), q0, step, tolerance=tolerance).numpy()
