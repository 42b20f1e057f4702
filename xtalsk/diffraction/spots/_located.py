"""Spots of images with their places in reciprocal space: what the transformers of this wing share."""

from typing import NamedTuple

import numpy as np

from xtalsk.diffraction.spots._center import find_center
from xtalsk.diffraction.spots._constants import BEAM_MARGIN, LARGEST_SIDE
from xtalsk.diffraction.spots._search import search_spots


class Spots(NamedTuple):
    """Spots of one image, the most significant first, without the direct beam.

    ``positions`` (n, 2): row and column in pixels. ``q`` (n, 2): x along columns and y along rows in 1/Å.
    ``intensity`` (n,): signal above the background. ``significance`` (n,): in standard deviations.
    ``center`` (2,): row and column of the direct beam. ``q_range``: where spots can be seen, in 1/Å.
    ``pixel_size``: in 1/Å.
    """

    positions: np.ndarray
    q: np.ndarray
    intensity: np.ndarray
    significance: np.ndarray
    center: np.ndarray
    q_range: tuple
    pixel_size: float

    @property
    def strength(self):
        """Roots of the shares of the intensity, ndarray of shape (n,)."""
        intensity = np.maximum(self.intensity, 0)
        return np.sqrt(intensity / intensity.sum())


def locate(image, pixel_size, center=None, ellipticity=(0.0, 0.0), max_offset=0.2):
    """Find the direct beam and the spots of one image.

    Parameters
    ----------
    image : float32 ndarray of shape (n_rows, n_columns)
        NaN where it was not measured.
    pixel_size : float
        In 1/Å.
    center : (float, float) or None
        Row and column of the direct beam in pixels; None finds it.
    ellipticity : (float, float)
        See `RingGeometry`.
    max_offset : float
        Largest distance of the centre from the middle of the image, as a share of its sides.

    Returns
    -------
    Spots
    """
    from xtalsk.diffraction.spots import _search_kernels

    factor = -(-max(image.shape) // LARGEST_SIDE)
    small = _search_kernels.bin_image(image, factor) if factor > 1 else np.ascontiguousarray(image)
    spots, width, smooth, weight = search_spots(small)
    if center is None:
        center = find_center(spots, width, smooth, weight, max_offset)
    else:
        center = (np.asarray(center, dtype=float) + 0.5) / factor - 0.5
    offset = spots[:, :2] - center
    beam = BEAM_MARGIN[0] + BEAM_MARGIN[1] * width
    spots, offset = (values[np.hypot(*offset.T) > beam] for values in (spots, offset))
    pixel = factor * pixel_size
    q = _undistort(offset[:, ::-1] * pixel, ellipticity)
    ends = np.array(small.shape) - 1
    farthest = np.hypot(*np.maximum(center, ends - center)) * pixel
    return Spots(
        (spots[:, :2] + 0.5) * factor - 0.5,
        q,
        spots[:, 2].astype(float),
        spots[:, 3],
        (center + 0.5) * factor - 0.5,
        (beam * pixel, farthest),
        pixel,
    )


def _undistort(q, ellipticity):
    """Positions (n, 2) on circles of those on ellipses of known terms, see `RingGeometry`."""
    a, b = ellipticity
    if not (a or b):
        return q
    azimuth = np.arctan2(q[:, 1], q[:, 0])
    return q / (1 + a * np.cos(2 * azimuth) + b * np.sin(2 * azimuth))[:, None]
