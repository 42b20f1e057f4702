"""Powder scans to a common grid of q."""

import os
from collections import defaultdict

import numpy as np
import torch
from sklearn.utils import check_scalar

from xtalsk.diffraction._functional import (
    bin_edges,
    bin_mean,
    bin_operator,
    condition,
    smooth_profiles,
    two_theta_to_q,
)
from xtalsk.diffraction._radial import axis_names, check_background, check_q_grid
from xtalsk.io import Profile, read_profile
from xtalsk.utils import CellTransformer, check_option


def check_profile(cell, wavelength):
    """Turn a cell into a `Profile` whose axis can be turned into q."""
    if isinstance(cell, str | os.PathLike):
        cell = read_profile(cell, wavelength=wavelength)
    if not isinstance(cell, Profile):
        raise ValueError(
            f"expected a Profile or a path to a file, got {type(cell).__name__}; plain numbers do not "
            "say what their axis is, give Profile(intensity, two_theta=..., wavelength=...) or "
            "Profile(intensity, q=...)"
        )
    if cell.q is None and cell.wavelength is None:
        if wavelength is None:
            raise ValueError(
                "a Profile against two_theta needs a wavelength: give Profile(..., wavelength=...) or the "
                "parameter wavelength, in Å (1.5406 for Cu Kα1, 1.5418 for the mean of Cu Kα)"
            )
        cell = Profile(cell.intensity, two_theta=cell.two_theta, wavelength=wavelength)
    return cell


def profile_q(profile):
    """Axis of a checked profile in 1/Å, float64 array."""
    if profile.q is not None:
        return np.asarray(profile.q, dtype=np.float64)
    return two_theta_to_q(profile.two_theta, profile.wavelength).numpy()


def batches(cells):
    """Yield indices of profiles in groups of one length."""
    lengths = defaultdict(list)
    for i, cell in enumerate(cells):
        lengths[len(cell.intensity)].append(i)
    for length, members in lengths.items():
        size = max(1, 2**18 // length)
        for start in range(0, len(members), size):
            yield members[start : start + size]


class PowderProfile(CellTransformer):
    """Powder patterns, against 2θ or q, on one grid of q = 1/d = 2 sin θ / λ.

    What comes out is made in this order: mean over each bin of the lines that join the measured points
    (narrow bins interpolate, wide bins average), smoothed if asked for, less the background (SNIP), divided
    by its mean over the covered bins, compressed by ``scale``.

    Parameters
    ----------
    n_bins : int, default=1024
        Number of bins of q.
    q_range : (float, float), default=(0.05, 1.15)
        Ends of the bins in 1/Å; with Cu Kα the default is 4.4° to 125° of 2θ.
    wavelength : float or None, default=None
        In Å, for cells against 2θ that do not carry their own.
    smoothing : float, default=0
        Standard deviation, in 1/Å, of a Gaussian to convolve with.
    background : {"snip", None}, default="snip"
        Whether to subtract the background.
    background_width : float, default=0.03
        Half width in 1/Å of the widest peak that the background passes under.
    scale : {"sqrt", "log", "linear"}, default="sqrt"
        Compression of the intensity I in units of its mean: sqrt(I), log(1 + I) or I.
    on_error : {"raise", "warn"}, default="raise"
        Whether a cell that cannot be used is an error, or warns and counts as not measured.
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
    Cells are `Profile` or paths to text files that `read_profile` knows. Bins of which less than half was
    measured are NaN. Intensities below 0, as a subtracted dark level leaves, are allowed.

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
        low, high = check_q_grid(self.n_bins, self.q_range)
        if self.wavelength is not None:
            check_scalar(self.wavelength, "wavelength", (int, float), min_val=0, include_boundaries="neither")
        check_scalar(self.smoothing, "smoothing", (int, float), min_val=0)
        check_option("scale", self.scale, ("sqrt", "log", "linear"))
        check_background(self.background, (low, high), self.n_bins, self.background_width)
        self.q_ = low + (np.arange(self.n_bins) + 0.5) * (high - low) / self.n_bins

    def _check_cell(self, cell):
        cell = check_profile(cell, self.wavelength)
        q = profile_q(cell)
        if q[-1] <= self.q_range[0] or q[0] >= self.q_range[1]:
            raise ValueError(
                f"the profile covers q = {q[0]:.3g} to {q[-1]:.3g} 1/Å, outside q_range={self.q_range}"
            )
        return cell

    def _features(self, cells):
        out = np.empty((len(cells), self.n_bins), dtype=np.float32)
        for members in batches(cells):
            q = torch.from_numpy(np.stack([profile_q(cells[i]) for i in members]))
            intensity = np.stack([np.asarray(cells[i].intensity, dtype=np.float64) for i in members])
            profiles = bin_mean(q, torch.from_numpy(intensity), bin_edges(self.n_bins, self.q_range, q))
            out[members] = self._from_binned(profiles).numpy()
        return out

    def _from_binned(self, profiles):
        """Finish a batch of scans that are on the grid already, a tensor of shape (n, n_bins)."""
        if self.smoothing:
            per_bin = self.n_bins / (self.q_range[1] - self.q_range[0])
            profiles = smooth_profiles(profiles, self.smoothing * per_bin)
        width = check_background(self.background, self.q_range, self.n_bins, self.background_width)
        return condition(profiles, width, self.scale)

    def _batched(self, q):
        """Make the function that turns scans on one axis, a tensor (n, n_points), into features."""
        binned = bin_operator(q, bin_edges(self.n_bins, self.q_range, q)).float()
        return lambda intensity: self._from_binned(intensity.float() @ binned)

    def _feature_names(self):
        return axis_names("q", self.q_)
