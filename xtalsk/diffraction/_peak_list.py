"""Profiles to lists of their strongest lines."""

from numbers import Integral

import numpy as np
import torch
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import check_scalar
from sklearn.utils.validation import check_is_fitted, validate_data

from xtalsk.diffraction._constants import SCANS_PER_CHUNK
from xtalsk.diffraction._peak_search import strongest_lines
from xtalsk.diffraction.indexing._scores import profile_range

_PROPERTIES = ("q2", "height", "width")


class PeakList(TransformerMixin, BaseEstimator):
    """Positions, heights and widths of the strongest lines of a profile.

    The input is a table of features of `PowderProfile` or `RadialProfile`, in a pipeline. `FusionClassifier`
    reads the lines as a set.

    Parameters
    ----------
    n_lines : int, default=30
        Largest number of lines; the most prominent ones are kept.
    q_range : (float, float) or None, default=None
        Ends of the bins in 1/Å; as in `IndexingScores`.

    Attributes
    ----------
    q_range_ : (float, float)
        Ends of the bins in 1/Å.
    n_features_in_ : int
        Number of bins.
    feature_names_in_ : ndarray of str
        Names of the columns, if they have names.

    See Also
    --------
    PeakHistogram : Lines as marks on an axis of d.

    Notes
    -----
    The lines are in the order of their position. Line 0 has the columns ``peak_00_q2``, q² in 1/Å²;
    ``peak_00_height``, the height above its feet relative to the highest line, in units of the profile (by
    default square roots of intensities); and ``peak_00_width``, the standard deviation in 1/Å of the Gaussian
    with the curvature of its top. Columns without a line are NaN. A profile without a line counts as not
    measured.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.pipeline import make_pipeline
    >>> from xtalsk.diffraction import PeakList, PowderProfile
    >>> from xtalsk.io import Profile
    >>> q = np.arange(0.06, 1.0, 0.0005)
    >>> lines = np.array([0.3, 0.5, 0.8])
    >>> scan = Profile(np.exp(-(((q[:, np.newaxis] - lines) / 0.004) ** 2)).sum(axis=1), q=q)
    >>> peaks = make_pipeline(PowderProfile(), PeakList(n_lines=4)).set_output(transform="pandas")
    >>> peaks.fit_transform([scan]).filter(like="q2").to_numpy().round(2)
    array([[0.09, 0.25, 0.64,  nan]], dtype=float32)
    """

    def __init__(self, n_lines=30, *, q_range=None):
        self.n_lines = n_lines
        self.q_range = q_range

    def fit(self, X, y=None):
        """Check the parameters and set the range of q. Nothing else is learnt.

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
            As in `IndexingScores`.
        """
        X = validate_data(self, X, dtype=np.float32, ensure_all_finite="allow-nan")
        check_scalar(self.n_lines, "n_lines", Integral, min_val=1, max_val=100)
        self.q_range_ = profile_range(self.q_range, X.shape[1], getattr(self, "feature_names_in_", None))
        return self

    def transform(self, X):
        """Find the lines.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_bins)
            Profiles; NaN where nothing was measured.

        Returns
        -------
        ndarray of float32, shape (n_samples, 3 * n_lines)
            NaN after the last line.
        """
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float32, ensure_all_finite="allow-nan", reset=False)
        find, starts = self._batched(None), range(0, len(X), SCANS_PER_CHUNK)
        return np.concatenate([find(torch.from_numpy(X[i : i + SCANS_PER_CHUNK])).numpy() for i in starts])

    def _batched(self, _):
        """Return the function from profiles (n, n_bins) to their lines, both Tensors."""
        low, high = self.q_range_
        step = (high - low) / self.n_features_in_

        def featurise(profiles):
            q, height, width = strongest_lines(profiles, low + step / 2, step, self.n_lines)
            return torch.stack([q.square(), height, width], dim=2).flatten(1)

        return featurise

    def get_feature_names_out(self, input_features=None):
        """Names of the properties of the lines.

        Parameters
        ----------
        input_features : ignored

        Returns
        -------
        ndarray of str
        """
        check_is_fitted(self)
        names = [f"peak_{line:02}_{name}" for line in range(self.n_lines) for name in _PROPERTIES]
        return np.array(names, dtype=object)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.transformer_tags.preserves_dtype = ["float32"]
        tags.requires_fit = True
        return tags
