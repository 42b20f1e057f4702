"""Spot patterns to images of radius against angular frequency."""

from sklearn.utils import check_scalar

from xtalsk.diffraction._checks import check_q_range
from xtalsk.diffraction.spots._transformer import SpotTransformer


class PolarImage(SpotTransformer):
    """Angular Fourier magnitudes of the spots of single-crystal diffraction patterns on rings of q.

    On each ring, the spots are points on a circle; the magnitudes of their Fourier series do not depend on
    the in-plane rotation. An axis of n-fold rotation leaves only multiples of the frequency n. The strength
    of a spot is the root of its share of the intensity; it is divided between the two nearest rings.

    Parameters
    ----------
    n_radii : int, default=48
        Number of rings, at least 8.
    n_frequencies : int, default=13
        Number of angular frequencies from 0, at least 8.
    q_range : (float, float), default=(0.05, 1.25)
        Ends of the rings in 1/Å.
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
    n_features_in_ : int
        1: the column of images.

    Notes
    -----
    The columns are named ``pixel_<ring>_<frequency>``. Rings without spots are 0.

    Examples
    --------
    >>> import numpy as np
    >>> from xtalsk.diffraction import PolarImage
    >>> from xtalsk.io import DiffractionImage
    >>> y, x = np.mgrid[:128, :128]
    >>> image = sum(
    ...     np.exp(-((y - 64 - 20 * k) ** 2 + (x - 64 - 20 * h) ** 2) / 3)
    ...     for h, k in [(0, 1), (1, 0), (0, -1), (-1, 0)]
    ... )
    >>> polar = PolarImage(n_radii=12, n_frequencies=8).fit([None])
    >>> features = polar.transform([DiffractionImage(1000 * image, pixel_size=0.01)]).reshape(12, 8)
    >>> features.sum(axis=0).round(1)  # an axis of 4-fold rotation
    array([2., 0., 0., 0., 2., 0., 0., 0.], dtype=float32)
    """

    def __init__(
        self,
        n_radii=48,
        n_frequencies=13,
        *,
        q_range=(0.05, 1.25),
        pixel_size=None,
        center="auto",
        max_offset=0.2,
        mask=None,
        geometry=None,
        on_error="raise",
        n_jobs=None,
        cache=False,
    ):
        self.n_radii = n_radii
        self.n_frequencies = n_frequencies
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
        check_scalar(self.n_radii, "n_radii", int, min_val=8, max_val=999)
        check_scalar(self.n_frequencies, "n_frequencies", int, min_val=8, max_val=999)
        check_q_range(self.q_range)

    def _reduce(self, spots):
        from xtalsk.diffraction.spots import _symmetry_kernels as kernels

        low, high = self.q_range
        step = (high - low) / self.n_radii
        first = low + step / 2
        return kernels.polar_sums(
            spots.q, spots.strength, first, step, self.n_frequencies, self.n_radii
        ).ravel()

    def _feature_names(self):
        return [f"pixel_{r:03d}_{f:03d}" for r in range(self.n_radii) for f in range(self.n_frequencies)]
