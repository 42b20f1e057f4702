"""The one geometry of a scan, and how its centre drifts across the scan."""

import warnings
from itertools import product

import numpy as np
from sklearn.linear_model import HuberRegressor

from xtalsk.diffraction import RingGeometry
from xtalsk.io import DiffractionImage
from xtalsk.mapping import _constants as const


def tile_means(scan, n_tiles):
    """Return mean images of parts of a scan, and the middle of each part.

    A mean holds as many images of its part, evenly spaced, as the geometry needs electrons.

    Parameters
    ----------
    scan : Scan
    n_tiles : int
        Parts along each axis of the scan.

    Returns
    -------
    images : ndarray of shape (n_means, n_rows, n_columns)
        NaN where no image was measured.
    places : ndarray of shape (n_means, n_axes)
        Position of the middle of each part in the scan.
    """
    parts = [np.array_split(np.arange(size), min(n_tiles, size)) for size in scan.shape]
    images, places, n_images = [], [], None
    for tile in product(*parts):
        positions = np.array(list(product(*tile)))
        if n_images is None:
            n_images = _images_needed(scan, positions)
        chosen = np.linspace(0, len(positions) - 1, min(n_images, len(positions))).round().astype(int)
        mean = _mean(scan, positions[np.unique(chosen)])
        if mean is not None:
            images.append(mean)
            places.append(positions.mean(axis=0))
    return np.array(images), np.array(places)


def _images_needed(scan, positions):
    """Return how many images a mean needs for `ELECTRONS_OF_MEAN`, from a few of them."""
    chosen = positions[np.linspace(0, len(positions) - 1, min(8, len(positions))).round().astype(int)]
    totals = [float(np.nansum(frame)) for frame in _frames(scan, chosen)]
    typical = max(np.median(totals) if totals else 0.0, 1.0)
    return int(np.clip(np.ceil(const.ELECTRONS_OF_MEAN / typical), 1, const.IMAGES_OF_MEAN))


def _frames(scan, positions):
    """Yield the images at positions that can be read and are not blank."""
    for position in positions:
        images, problems = scan.read(tuple(slice(int(p), int(p) + 1) for p in position))
        frame = images.reshape(scan.frame_shape)
        finite = frame[np.isfinite(frame)] if frame.dtype.kind == "f" else frame
        if not problems and finite.size and finite.min() < finite.max():
            yield frame


def _mean(scan, positions):
    """Return the mean of the images at positions, NaN where none was measured; None without images."""
    total, number = np.zeros(scan.frame_shape), np.zeros(scan.frame_shape)
    for frame in _frames(scan, positions):
        measured = np.isfinite(frame)
        total += np.where(measured, frame, 0)
        number += measured
    if not number.any():
        return None
    return np.where(number > 0, total / np.maximum(number, 1), np.nan).astype(np.float32)


def find_geometry(scan, finder, pixel_size, drift=None):
    """Find the geometry of a scan on mean images of its parts.

    Parameters
    ----------
    scan : Scan
    finder : RadialProfile
    pixel_size : float
        In 1/Å.
    drift : {"plane", None}

    Returns
    -------
    geometry : RingGeometry
    plane : ndarray of shape (2, n_axes + 1) or None
        Row and column of the centre are ``plane @ [1, *position]``.

    Raises
    ------
    ValueError
        If no image of the scan can be used.
    """
    images, places = tile_means(scan, const.TILES if drift is None else const.DRIFT_TILES)
    cells = [DiffractionImage(image, pixel_size=pixel_size) for image in images]
    if not cells:
        raise ValueError(
            f"{scan.name}: none of the images that were looked at can be read or holds a pattern"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        geometry = finder.geometry_of(cells)
        if drift is None or len(cells) < 2 * len(scan.shape) + 2:
            return geometry, None
        centers = np.concatenate([finder.find_geometry([cell])[1].center.numpy() for cell in cells])
    return geometry, fit_plane(places, centers)


def fit_plane(places, centers):
    """Fit centres in pixels (n, 2) as linear functions of positions in the scan (n, n_axes); see above.

    The regression is that of Huber: a few wrong centres have little weight.
    """
    middle, spread = places.mean(axis=0), np.maximum(np.ptp(places, axis=0), 1e-9)
    plane = []
    for values in centers.T:
        fit = HuberRegressor(alpha=0.0, max_iter=1000).fit((places - middle) / spread, values - values.mean())
        slopes = np.where(np.ptp(places, axis=0) > 0, fit.coef_ / spread, 0.0)
        plane.append([values.mean() + fit.intercept_ - slopes @ middle, *slopes])
    return np.array(plane)


def centers_at(plane, positions):
    """Return the centres in pixels at positions (n, n_axes), ndarray of shape (n, 2)."""
    return plane[:, 0] + np.asarray(positions, dtype=float) @ plane[:, 1:].T


def check_drift(drift):
    """Return ``drift`` if it is None or "plane"."""
    if drift not in (None, "plane"):
        raise ValueError(f'drift must be "plane" or None, got {drift!r}')
    return drift


def as_geometry(geometry):
    """Return a geometry that was given as a `RingGeometry`, or raise ValueError."""
    if isinstance(geometry, str) or not hasattr(geometry, "center"):
        raise ValueError(f'geometry must be "auto", None or a RingGeometry, got {geometry!r}')
    if isinstance(geometry, RingGeometry):
        return geometry
    return RingGeometry(
        geometry.center, getattr(geometry, "ellipticity", None) or (0.0, 0.0), getattr(geometry, "mask", None)
    )
