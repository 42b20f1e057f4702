"""The published histogram of peak positions."""

import os
from pathlib import Path

import numpy as np
from sklearn.utils import check_scalar

from xtalsk.diffraction._cells import DiffractionTransformer, add_remarks
from xtalsk.diffraction._checks import axis_names, check_image
from xtalsk.diffraction._constants import HISTOGRAM_GRID, PEAK_WIDTH_IMAGE, PEAK_WIDTH_SCAN
from xtalsk.diffraction._peak_search import locate_peaks
from xtalsk.diffraction._plausibility import blank_reason
from xtalsk.diffraction._powder import PowderProfile, check_profile, scan_reason
from xtalsk.diffraction._radial import RadialProfile
from xtalsk.io import Profile

# The histogram of the publications.
_D_RANGE = (0.5, 6.0)  # Å
_BINS_PER_ANGSTROM = 164

_TEXT_SUFFIXES = (".xy", ".xye", ".csv", ".txt", ".dat", ".asc", ".tsv")


class PeakHistogram(DiffractionTransformer):
    """Histogram of the lattice spacings d of the peaks: the representation of Aguiar et al.

    The transformer finds the peaks of powder scans and of radial profiles of images. Bins of d that hold a
    peak are 1, all others 0. There are 902 bins from 0.5 to 6 Å, 164 per Ångström [1]_ [2]_. Intensities are
    discarded.

    Parameters
    ----------
    max_peaks : int, default=75
        Largest number of peaks; the most prominent ones are kept.
    pixel_size : float or None, default=None
        Width of a pixel in 1/Å, for images without a calibration.
    wavelength : float or None, default=None
        Wavelength in Å, for scans against 2θ without a wavelength.
    on_error : {"raise", "warn"}, default="raise"
        "raise" makes a cell that cannot be used an error. With "warn" it gives a warning and counts as not
        measured.
    n_jobs : int or None, default=None
        Number of parallel jobs.

    Attributes
    ----------
    d_ : ndarray of shape (902,)
        Middle of each bin in Å.
    n_features_in_ : int
        1: the column of images or scans.

    Notes
    -----
    The cells are those of `RadialProfile` and `PowderProfile`. A path to ``.xy``, ``.xye``, ``.csv``,
    ``.txt``, ``.dat``, ``.asc`` or ``.tsv`` is read as a scan, any other path as an image. As in the
    publications, bins that were not measured are 0, like bins without a peak. Blank and saturated cells count
    as not measured, as in `RadialProfile` and `PowderProfile`.

    References
    ----------
    .. [1] J. A. Aguiar, M. L. Gong, R. R. Unocic, T. Tasdizen, B. D. Miller, Sci. Adv. 5, eaaw1949 (2019).
    .. [2] J. A. Aguiar, M. L. Gong, T. Tasdizen, Comput. Mater. Sci. 173, 109409 (2020).

    Examples
    --------
    >>> import numpy as np
    >>> from xtalsk.diffraction import PeakHistogram
    >>> from xtalsk.io import Profile
    >>> q = np.linspace(0.1, 1.2, 3000)
    >>> intensity = sum(np.exp(-(((q - q0) / 0.003) ** 2)) for q0 in (0.3, 0.5, 0.8))
    >>> histogram = PeakHistogram().fit([None])
    >>> marks = histogram.transform([Profile(intensity, q=q)])[0]
    >>> histogram.d_[marks > 0].round(2).tolist()
    [1.25, 2.0, 3.33]
    """

    def __init__(self, max_peaks=75, *, pixel_size=None, wavelength=None, on_error="raise", n_jobs=None):
        self.max_peaks = max_peaks
        self.pixel_size = pixel_size
        self.wavelength = wavelength
        self.on_error = on_error
        self.n_jobs = n_jobs

    def _profile_transformer(self, is_scan):
        """Fitted transformer of scans or of images to profiles over the range of the histogram."""
        q_range = (1 / _D_RANGE[1], 1 / _D_RANGE[0])
        if is_scan:
            transformer = PowderProfile(HISTOGRAM_GRID, q_range, wavelength=self.wavelength)
        else:
            transformer = RadialProfile(HISTOGRAM_GRID, q_range, pixel_size=self.pixel_size)
        return transformer.fit([None])

    def _check_params(self):
        check_scalar(self.max_peaks, "max_peaks", int, min_val=1)
        for is_scan in (True, False):
            self._profile_transformer(is_scan)
        n_bins = round((_D_RANGE[1] - _D_RANGE[0]) * _BINS_PER_ANGSTROM)
        self.d_ = _D_RANGE[0] + (np.arange(n_bins) + 0.5) / _BINS_PER_ANGSTROM

    def _check_cell(self, cell):
        is_text = isinstance(cell, str | os.PathLike) and Path(cell).suffix.lower() in _TEXT_SUFFIXES
        if is_text or isinstance(cell, Profile):
            return check_profile(cell, self.wavelength)
        return check_image(cell, self.pixel_size)

    def _blank_reason(self, cell):
        return scan_reason(cell) if isinstance(cell, Profile) else blank_reason(cell.data)

    def _features(self, cells):
        histograms = np.zeros((len(cells), len(self.d_)), dtype=np.float32)
        remarks = np.zeros(len(cells), dtype=int)
        scan = np.array([isinstance(cell, Profile) for cell in cells])
        for is_scan, width in ((True, PEAK_WIDTH_SCAN), (False, PEAK_WIDTH_IMAGE)):
            rows = np.flatnonzero(scan == is_scan)
            if not rows.size:
                continue
            transformer = self._profile_transformer(is_scan)
            profiles = transformer._features([cells[row] for row in rows])
            remarks[rows], profiles = profiles[:, -1], profiles[:, :-1]
            for row, profile in zip(rows, profiles, strict=True):
                q, _ = locate_peaks(transformer.q_, profile, width=width, max_peaks=self.max_peaks)
                bins = ((1 / q - _D_RANGE[0]) * _BINS_PER_ANGSTROM).astype(int)
                histograms[row, bins[(bins >= 0) & (bins < histograms.shape[1])]] = 1
        return add_remarks(histograms, remarks)

    def _feature_names(self):
        return axis_names("d", self.d_)
