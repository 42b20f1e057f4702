"""Spot patterns to profiles against q."""

import numpy as np

from xtalsk.diffraction._checks import axis_names, check_q_grid
from xtalsk.diffraction.spots._constants import PROFILE_WIDTH
from xtalsk.diffraction.spots._transformer import SpotTransformer


class SpotProfile(SpotTransformer):
    """Profiles of the spots of single-crystal diffraction patterns against q = 1/d.

    Each spot is a Gaussian of fixed width; its height is the root of its share of the intensity of all
    spots. Profiles of several zones of one specimen together resemble the lines of a powder.

    Parameters
    ----------
    n_bins : int, default=256
        Number of bins of q.
    q_range : (float, float), default=(0.05, 1.25)
        Ends of the bins in 1/Å.
    pixel_size : float or None, default=None
        Width of a pixel in 1/Å, for cells without a calibration.
    center, max_offset, mask, geometry
        As in `SpotLattice`.
    on_error : {"raise", "warn"}, default="raise"
        What to do with a cell that cannot be used. "raise": raise an error. "warn": warn and treat the cell
        as not measured.
    n_jobs : int or None, default=None
        Number of parallel jobs.
    cache : bool, default=False
        Whether to keep the features of each `DiffractionImage` in memory as long as the image exists.

    Attributes
    ----------
    q_ : ndarray of shape (n_bins,)
        Middle of each bin in 1/Å.
    n_features_in_ : int
        1: the column of images.

    Notes
    -----
    Bins beyond the farthest corner of the image are NaN, and bins so near to the beam that spots cannot be
    separated from it.

    Examples
    --------
    >>> import numpy as np
    >>> from xtalsk.diffraction import SpotProfile
    >>> from xtalsk.io import DiffractionImage
    >>> y, x = np.mgrid[:128, :128]
    >>> image = sum(
    ...     np.exp(-((y - 64 - 20 * k) ** 2 + (x - 64 - 20 * h) ** 2) / 3)
    ...     for h, k in [(0, 1), (1, 0), (0, -1), (-1, 0)]
    ... )
    >>> profile = SpotProfile(n_bins=120).fit([None])
    >>> features = profile.transform([DiffractionImage(1000 * image, pixel_size=0.01)])[0]
    >>> round(float(profile.q_[np.nanargmax(features)]), 3)
    0.195
    """

    def __init__(
        self,
        n_bins=256,
        q_range=(0.05, 1.25),
        *,
        pixel_size=None,
        center="auto",
        max_offset=0.2,
        mask=None,
        geometry=None,
        on_error="raise",
        n_jobs=None,
        cache=False,
    ):
        self.n_bins = n_bins
        self.q_range = q_range
        self.pixel_size = pixel_size
        self.center = center
        self.max_offset = max_offset
        self.mask = mask
        self.geometry = geometry
        self.on_error = on_error
        self.n_jobs = n_jobs
        self.cache = cache

    def _check_params(self):
        super()._check_params()
        self.q_ = check_q_grid(self.n_bins, self.q_range)

    def _reduce(self, spots):
        from xtalsk.diffraction.spots import _symmetry_kernels as kernels

        profile = np.zeros(len(self.q_))
        step = self.q_[1] - self.q_[0]
        width = max(PROFILE_WIDTH, step / 2)
        kernels.spot_profile(np.hypot(*spots.q.T), spots.strength, self.q_[0], step, width, profile)
        low, high = spots.q_range
        profile[(self.q_ < low) | (self.q_ > high)] = np.nan
        return profile

    def _feature_names(self):
        return axis_names("q", self.q_)
