"""Powder scans to profiles on one grid of q."""

import os

import numpy as np
import torch
from sklearn.utils import check_scalar

from xtalsk.diffraction._cells import DiffractionTransformer, add_remarks
from xtalsk.diffraction._checks import axis_names, check_background, check_q_grid
from xtalsk.diffraction._constants import SCANS_PER_CHUNK
from xtalsk.diffraction._functional import (
    bin_edges,
    bin_mean,
    bin_operator,
    condition,
    smooth_profiles,
    two_theta_to_q,
)
from xtalsk.diffraction._plausibility import blank_reason, smooth_reason
from xtalsk.io import FileCell, Profile, is_signal, profile_from_signal, read_profile
from xtalsk.utils import check_option
from xtalsk.utils._threads import for_each


def check_profile(cell, wavelength):
    """Return a cell as a `Profile` with q or with a wavelength, or raise ValueError.

    ``wavelength`` in Å is for cells against 2θ without a wavelength.
    """
    if isinstance(cell, str | os.PathLike):
        cell = read_profile(cell, wavelength=wavelength)
    elif isinstance(cell, FileCell):
        cell = cell.read(wavelength=wavelength)
    elif is_signal(cell):
        cell = profile_from_signal(cell, wavelength=wavelength)
    if not isinstance(cell, Profile):
        raise ValueError(
            f"expected a Profile, a HyperSpy signal or a path to a file, got {type(cell).__name__}; plain "
            "numbers have no axis, use Profile(intensity, two_theta=..., wavelength=...) or "
            "Profile(intensity, q=...)"
        )
    if cell.q is None and cell.wavelength is None:
        if wavelength is None:
            raise ValueError(
                "a Profile against two_theta needs a wavelength: use Profile(..., wavelength=...) or the "
                "parameter wavelength, in Å (1.5406 for Cu Kα1, 1.5418 for the mean of Cu Kα)"
            )
        cell = Profile(cell.intensity, two_theta=cell.two_theta, wavelength=wavelength)
    return cell


def profile_q(profile, ends_only=False):
    """Axis of a checked profile in 1/Å, float64 ndarray, or only its two ends."""
    axis = profile.two_theta if profile.q is None else profile.q
    axis = axis[[0, -1]] if ends_only else axis
    return (
        axis.astype(np.float64) if profile.q is not None else two_theta_to_q(axis, profile.wavelength).numpy()
    )


def scan_reason(profile):
    """Return why a checked profile holds no lines, or None."""
    intensity = np.asarray(profile.intensity)
    return blank_reason(intensity) or smooth_reason(profile_q(profile), intensity)


class PowderProfile(DiffractionTransformer):
    """Powder patterns, against 2θ or q, on one grid of q = 1/d = 2 sin θ / λ.

    The transformer takes these steps: it averages the straight lines between the measured points over each
    bin (narrow bins interpolate, wide bins average), smooths the profile if ``smoothing`` is not 0, subtracts
    the background (SNIP), divides by the mean over the covered bins, and compresses by ``scale``.

    Parameters
    ----------
    n_bins : int, default=1024
        Number of bins of q.
    q_range : (float, float), default=(0.05, 1.15)
        Ends of the bins in 1/Å; with Cu Kα the default is 4.4° to 125° of 2θ.
    wavelength : float or None, default=None
        Wavelength in Å, for cells against 2θ without a wavelength.
    smoothing : float, default=0
        Standard deviation of the Gaussian smoothing in 1/Å; 0 for none.
    background : {"snip", None}, default="snip"
        "snip" subtracts the background; None subtracts nothing.
    background_width : float, default=0.03
        Half width of the SNIP window in 1/Å. The background passes under peaks of smaller half width.
    scale : {"sqrt", "log", "linear"}, default="sqrt"
        Compression of the intensity I in units of its mean: sqrt(I), log(1 + I) or I.
    on_error : {"raise", "warn"}, default="raise"
        "raise" makes a cell that cannot be used an error. With "warn" it gives a warning and counts as not
        measured.
    n_jobs : int or None, default=None
        Number of parallel jobs.

    Attributes
    ----------
    q_ : ndarray of shape (n_bins,)
        Middle of each bin in 1/Å.
    n_features_in_ : int
        1: the column of profiles.

    Notes
    -----
    Cells are `Profile` objects, HyperSpy or pyxem signals of one profile, or paths to text files that
    `read_profile` can read. A bin is NaN if less than half of it was measured. Intensities may be below 0,
    e.g. after the subtraction of a dark level.

    Examples
    --------
    >>> import numpy as np
    >>> from xtalsk.diffraction import PowderProfile
    >>> from xtalsk.io import Profile
    >>> two_theta = np.arange(10, 90, 0.02)
    >>> counts = 50 + 1000 * np.exp(-(((two_theta - 28.44) / 0.1) ** 2))
    >>> powder = PowderProfile(wavelength=1.5406).fit([None])
    >>> features = powder.transform([Profile(counts, two_theta=two_theta)])
    >>> round(float(powder.q_[np.nanargmax(features[0])]), 3), bool(np.isnan(features[0, 0]))
    (0.319, True)
    """

    def __init__(
        self,
        n_bins=1024,
        q_range=(0.05, 1.15),
        *,
        wavelength=None,
        smoothing=0,
        background="snip",
        background_width=0.03,
        scale="sqrt",
        on_error="raise",
        n_jobs=None,
    ):
        self.n_bins = n_bins
        self.q_range = q_range
        self.wavelength = wavelength
        self.smoothing = smoothing
        self.background = background
        self.background_width = background_width
        self.scale = scale
        self.on_error = on_error
        self.n_jobs = n_jobs

    def _check_params(self):
        self.q_ = check_q_grid(self.n_bins, self.q_range)
        if self.wavelength is not None:
            check_scalar(self.wavelength, "wavelength", (int, float), min_val=0, include_boundaries="neither")
        check_scalar(self.smoothing, "smoothing", (int, float), min_val=0)
        check_option("scale", self.scale, ("sqrt", "log", "linear"))
        check_background(self.background, self.q_range, self.n_bins, self.background_width)

    def _check_cell(self, cell):
        cell = check_profile(cell, self.wavelength)
        q = profile_q(cell, ends_only=True)
        if q[-1] <= self.q_range[0] or q[0] >= self.q_range[1]:
            raise ValueError(
                f"the profile covers q = {q[0]:.3g} to {q[-1]:.3g} 1/Å, outside q_range={self.q_range}"
            )
        return cell

    def _blank_reason(self, cell):
        return scan_reason(cell)

    def _features(self, cells):
        chunks = [cells[i : i + SCANS_PER_CHUNK] for i in range(0, len(cells), SCANS_PER_CHUNK)]
        return add_remarks(np.concatenate([self._chunk_features(chunk) for chunk in chunks]))

    def _chunk_features(self, cells):
        """Features of a chunk of checked cells, float32 ndarray (n_cells, n_bins)."""
        edges = bin_edges(self.n_bins, self.q_range, "cpu")

        def bin_scan(i):
            q = torch.from_numpy(profile_q(cells[i]))
            intensity = torch.from_numpy(np.asarray(cells[i].intensity, dtype=np.float64))
            return bin_mean(q[None], intensity[None], edges)

        return self._from_binned(torch.cat(for_each(bin_scan, len(cells)))).float().numpy()

    def _from_binned(self, profiles):
        """Features of scans on the grid of q, both Tensors of shape (n, n_bins)."""
        if self.smoothing:
            bins_per_q = self.n_bins / (self.q_range[1] - self.q_range[0])
            profiles = smooth_profiles(profiles, self.smoothing * bins_per_q)
        width = check_background(self.background, self.q_range, self.n_bins, self.background_width)
        return condition(profiles, width, self.scale)

    def _batched(self, q):
        """Return the function from scans (n, n_points) on the axis ``q`` in 1/Å to their features."""
        matrix = bin_operator(q, bin_edges(self.n_bins, self.q_range, q.device)).float()
        return lambda intensity: self._from_binned(intensity.float() @ matrix)

    def _feature_names(self):
        return axis_names("q", self.q_)
