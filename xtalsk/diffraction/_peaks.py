"""Peaks of a profile, and the published histogram of their positions."""

import os
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.signal import find_peaks
from sklearn.utils import check_scalar

from xtalsk.diffraction._powder import PowderProfile, check_profile
from xtalsk.diffraction._radial import RadialProfile, axis_names, check_image
from xtalsk.io import Profile
from xtalsk.utils import CellTransformer

_D_RANGE = (0.5, 6.0)  # Å
_BINS_PER_ANGSTROM = 164
_N_GRID = 2048  # bins of q that peaks are looked for in
_TEXT = (".xy", ".xye", ".csv", ".txt", ".dat", ".asc", ".tsv")


def locate_peaks(q, profile, width=0.004, n_sigma=6.0, min_height=0.05, max_peaks=None):
    """Find peaks of one profile that stand out of its noise.

    The profile is smoothed by ``width``; a peak counts where its prominence exceeds both ``n_sigma`` times
    the noise and ``min_height`` times the highest value. The noise is the median absolute deviation of each
    value from the mean of its neighbours three widths away, which peaks, being few, do not disturb.

    Parameters
    ----------
    q : ndarray of shape (n_bins,)
        Middle of the equal bins, in 1/Å.
    profile : ndarray of shape (n_bins,)
        Intensity of even noise, e.g. the square root of counts; NaN where it was not measured.
    width : float, default=0.004
        Standard deviation in 1/Å of the smoothing.
    n_sigma, min_height : float
        Least prominence, in units of the noise and of the highest value.
    max_peaks : int or None, default=None
        Keep the most prominent ones only.

    Returns
    -------
    position : ndarray of shape (n_peaks,)
        Top of each peak in 1/Å, between bins by a parabola through three values; increasing.
    prominence : ndarray of shape (n_peaks,)
        In units of ``profile``.

    Examples
    --------
    >>> import numpy as np
    >>> from xtalsk.diffraction import locate_peaks
    >>> q = np.linspace(0.1, 1.0, 901)
    >>> profile = np.exp(-(((q - 0.3004) / 0.01) ** 2)) + 0.5 * np.exp(-(((q - 0.5) / 0.01) ** 2))
    >>> position, prominence = locate_peaks(q, profile)
    >>> position.round(4).tolist(), prominence.round(1).tolist()
    ([0.3004, 0.5], [0.9, 0.4])
    """
    seen = np.isfinite(profile)
    if seen.sum() < 8:
        return np.empty(0), np.empty(0)
    step = q[1] - q[0]
    sigma = max(width / step, 0.5)
    filled = np.interp(q, q[seen], profile[seen])
    smooth = gaussian_filter1d(filled, sigma, mode="nearest")
    lag = max(1, round(3 * sigma))
    inner = seen[: -2 * lag] & seen[lag:-lag] & seen[2 * lag :]
    apart = smooth[lag:-lag] - (smooth[: -2 * lag] + smooth[2 * lag :]) / 2
    noise = 1.4826 * np.median(np.abs(apart[inner])) / np.sqrt(1.5) if inner.any() else 0.0
    least = max(n_sigma * noise, min_height * smooth.max())
    if least <= 0:
        return np.empty(0), np.empty(0)
    peaks, found = find_peaks(smooth, prominence=least)
    prominence = found["prominences"][seen[peaks]]
    peaks = peaks[seen[peaks]]
    if max_peaks is not None and len(peaks) > max_peaks:
        keep = np.sort(np.argsort(-prominence, kind="stable")[:max_peaks])
        peaks, prominence = peaks[keep], prominence[keep]
    left, top, right = smooth[peaks - 1], smooth[peaks], smooth[peaks + 1]
    bend = left - 2 * top + right
    shift = np.divide(left - right, 2 * bend, out=np.zeros_like(top), where=bend < 0)
    return q[peaks] + shift * step, prominence


class PeakHistogram(CellTransformer):
    """Marks at the lattice spacings of the peaks: the representation of Aguiar et al.

    Peaks of the radial profile of an image, or of a powder scan, are marked with 1 on a line from 0.5 to 6 Å
    of 902 bins, 164 to an Ångström [1]_ [2]_. Intensities are discarded.

    Parameters
    ----------
    max_peaks : int, default=75
        Most prominent peaks to keep.
    pixel_size : float or None, default=None
        Width of a pixel in 1/Å, for images that do not carry their own.
    wavelength : float or None, default=None
        In Å, for scans against 2θ that do not carry their own.
    on_error : {"raise", "warn"}, default="raise"
        Whether a cell that cannot be used is an error, or warns and counts as not measured.
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
    Cells are what `RadialProfile` and `PowderProfile` take; a path to ``.xy``, ``.xye``, ``.csv``, ``.txt``,
    ``.dat``, ``.asc`` or ``.tsv`` is a scan, any other an image. Bins are 0 where no peak was found, measured
    or not, as in the publications.

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

    def _profiles(self, kind):
        q_range = (1 / _D_RANGE[1], 1 / _D_RANGE[0])
        if kind is Profile:
            return PowderProfile(_N_GRID, q_range, wavelength=self.wavelength)
        return RadialProfile(_N_GRID, q_range, pixel_size=self.pixel_size)

    def _check_params(self):
        check_scalar(self.max_peaks, "max_peaks", int, min_val=1)
        for kind in (Profile, None):
            self._profiles(kind).fit([None])
        n_bins = round((_D_RANGE[1] - _D_RANGE[0]) * _BINS_PER_ANGSTROM)
        self.d_ = _D_RANGE[0] + (np.arange(n_bins) + 0.5) / _BINS_PER_ANGSTROM

    def _check_cell(self, cell):
        is_text = isinstance(cell, str | os.PathLike) and Path(cell).suffix.lower() in _TEXT
        if is_text or isinstance(cell, Profile):
            return check_profile(cell, self.wavelength)
        return check_image(cell, self.pixel_size)

    def _features(self, cells):
        out = np.zeros((len(cells), len(self.d_)), dtype=np.float32)
        is_scan = np.array([isinstance(cell, Profile) for cell in cells])
        for kind, members in ((Profile, np.flatnonzero(is_scan)), (None, np.flatnonzero(~is_scan))):
            if not members.size:
                continue
            transformer = self._profiles(kind).fit([None])
            width = 0.0015 if kind is Profile else 0.004
            for i, profile in zip(members, transformer.transform([cells[i] for i in members]), strict=True):
                q, _ = locate_peaks(transformer.q_, profile, width=width, max_peaks=self.max_peaks)
                bins = ((1 / q - _D_RANGE[0]) * _BINS_PER_ANGSTROM).astype(int)
                out[i, bins[(bins >= 0) & (bins < out.shape[1])]] = 1
        return out

    def _feature_names(self):
        return axis_names("d", self.d_)
