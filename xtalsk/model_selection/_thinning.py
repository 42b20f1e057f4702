"""Measurements with fewer pixels, points or positions: what is left out, and what is filled in."""

from dataclasses import replace

import numpy as np
from scipy.interpolate import LinearNDInterpolator
from scipy.ndimage import distance_transform_edt
from scipy.spatial import cKDTree

from xtalsk.io import DiffractionImage

SAMPLINGS = ("random", "lines")
RECONSTRUCTIONS = (None, "nearest", "linear", "biharmonic")
_TOLERANCE = 0.05  # relative, of 1 / n and of steps
_CHUNK = 64  # images that are filled together


def check_fractions(name, fractions, samplings):
    """Raise ValueError if fractions do not increase within 0 to 1, or are not 1/n for every n-th line."""
    values = np.atleast_1d(np.asarray(fractions, dtype=float))
    if values.ndim != 1 or not ((values > 0) & (values <= 1)).all() or (np.diff(values) <= 0).any():
        raise ValueError(f"{name} must be fractions that increase, above 0 and at most 1, got {fractions!r}")
    lines = 1 / values
    if "lines" in samplings and (np.abs(lines / np.round(lines) - 1) > _TOLERANCE).any():
        raise ValueError(
            f"{name}={fractions!r} with sampling 'lines' must be 1/n: every n-th line; use 'random'"
        )
    return values.tolist()


def recorded_places(shape, fraction, sampling, seed):
    """Return which places of a grid are recorded, bool of ``shape``.

    Places of a smaller random fraction are among those of a larger one. Of lines, every n-th row is recorded.
    """
    if sampling == "lines":
        n = round(1 / fraction)
        return np.broadcast_to((np.arange(shape[0]) % n == n // 2)[:, None], shape)
    order = np.random.default_rng(seed).permutation(np.prod(shape)).reshape(shape)
    return order < max(1, round(fraction * order.size))


def fill(values, recorded, reconstruction):
    """Return values with the places that were not recorded filled in, or NaN there without reconstruction.

    Parameters
    ----------
    values : ndarray of float, shape (n_rows, n_columns, n_channels)
    recorded : ndarray of bool, shape (n_rows, n_columns)
    reconstruction : {None, "nearest", "linear", "biharmonic"}
        Nearest recorded place; linear interpolation (SciPy), the nearest place outside the recorded ones; or
        the biharmonic equation (scikit-image).
    """
    if recorded.all():
        return values
    if reconstruction is None:
        return np.where(recorded[..., None], values, np.nan)
    if reconstruction == "biharmonic":
        from skimage.restoration import inpaint_biharmonic

        return inpaint_biharmonic(np.where(recorded[..., None], values, 0), ~recorded, channel_axis=-1)
    nearest = distance_transform_edt(~recorded, return_distances=False, return_indices=True)
    filled = values[tuple(nearest)]
    if reconstruction == "linear" and min(np.ptp(np.argwhere(recorded), axis=0)) > 0:
        missing = np.argwhere(~recorded)
        between = LinearNDInterpolator(np.argwhere(recorded), values[recorded])(missing)
        inside = np.isfinite(between).all(axis=1)
        filled[tuple(missing[inside].T)] = between[inside]
    return filled


def thin_images(cells, fraction, sampling, reconstruction, seed):
    """Return images of which a fraction of the pixels was recorded, the same pixels in all of them."""
    cells = list(cells)
    if fraction == 1:
        return cells
    recorded = recorded_places(cells[0].data.shape, fraction, sampling, seed)
    out = []
    for start in range(0, len(cells), _CHUNK):
        part = cells[start : start + _CHUNK]
        stack = np.stack([cell.data for cell in part], axis=-1).astype(np.float32)
        filled = fill(stack, recorded, reconstruction)
        out += [
            DiffractionImage(filled[..., i].astype(np.float32), cell.pixel_size, cell.center)
            for i, cell in enumerate(part)
        ]
    return out


def thin_scan(cell, step=None, two_theta_max=None):
    """Return a powder scan with every n-th point, or with the points up to an angle."""
    axis = cell.two_theta
    n = 1 if step is None else points_in_step(axis[1] - axis[0], step)
    end = len(axis) if two_theta_max is None else np.searchsorted(axis, two_theta_max, side="right")
    return replace(cell, intensity=cell.intensity[:end:n], two_theta=axis[:end:n])


def points_in_step(point, step):
    """Return how many steps of a scan a wider step has; raise ValueError if it is not a whole number."""
    n = round(step / point)
    if n < 1 or abs(step / point / max(n, 1) - 1) > _TOLERANCE:
        raise ValueError(f"step {step:g} must be a multiple of the step of the scan, {point:g} degrees")
    return n


class GrainMap:
    """A map of grains, each of one crystal, in which only some positions are recorded.

    Parameters
    ----------
    crystal : ndarray of int, shape (n_specimens,)
        Crystal of each specimen. Each crystal is one grain; its specimens take turns in the grain.
    grain_size : float
        Mean edge of a grain in steps of the scan.
    seed : int

    Attributes
    ----------
    specimen : ndarray of int, shape (n_rows, n_columns)
        Specimen that is measured at each position.
    """

    def __init__(self, crystal, grain_size, seed):
        crystals, owner = np.unique(crystal, return_inverse=True)
        side = max(2, int(np.ceil(np.sqrt(len(crystals)) * grain_size)))
        seeds = np.random.default_rng(seed).uniform(0, side, (len(crystals), 2))
        places = np.indices((side, side)).reshape(2, -1).T
        grain = cKDTree(seeds).query(places)[1]
        self.specimen = np.empty(len(places), dtype=int)
        for k in np.unique(grain):
            inside, specimens = np.flatnonzero(grain == k), np.flatnonzero(owner == k)
            self.specimen[inside] = specimens[np.arange(len(inside)) % len(specimens)]
        self.specimen = self.specimen.reshape(side, side)
        self._seed = seed + 1

    def fill(self, proba, y, fraction, sampling, reconstruction):
        """Return probabilities and labels of all positions, from those of a fraction of them.

        Parameters
        ----------
        proba : ndarray of shape (n_specimens, n_classes)
        y : ndarray of shape (n_specimens,)
        fraction, sampling, reconstruction
            As in `recorded_places` and `fill`.
        """
        recorded = recorded_places(self.specimen.shape, fraction, sampling, self._seed)
        filled = fill(proba[self.specimen], recorded, reconstruction)
        return filled.reshape(-1, proba.shape[1]), y[self.specimen].ravel()
