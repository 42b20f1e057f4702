"""Checks of images and of the grid of q, and names of its bins, shared by the transformers of this room."""

import os
from collections import defaultdict
from math import prod

import numpy as np
from sklearn.utils import check_scalar

from xtalsk.io import DiffractionImage, FileCell, image_from_signal, is_signal, read_image
from xtalsk.utils import check_option

_CHUNK = 2**18  # pixels or points per batch: they fit into the cache of a processor core


def check_image_parameters(pixel_size, center, max_offset, mask):
    """Raise ValueError or TypeError if one of the parameters that transformers of images share is invalid."""
    if pixel_size is not None:
        check_scalar(pixel_size, "pixel_size", (int, float), min_val=0, include_boundaries="neither")
    check_option("center", center, ("auto", "find", "image"))
    check_scalar(max_offset, "max_offset", (int, float), min_val=0, max_val=0.45)
    if mask is not None and np.ndim(mask) != 2:
        raise ValueError(f"mask must be a 2-D array, got {np.ndim(mask)} dimensions")


def check_mask_shapes(shape, mask, geometry):
    """Raise ValueError if a mask, or that of a geometry, has another shape than an image."""
    for name, excluded in (("mask", mask), ("geometry.mask", getattr(geometry, "mask", None))):
        if excluded is not None and np.shape(excluded) != shape:
            raise ValueError(f"{name} has shape {np.shape(excluded)}, the image {shape}")


def check_q_range(q_range):
    """Return the two ends of a range of q in 1/Å as floats, or raise ValueError."""
    try:
        low, high = (float(q) for q in q_range)
    except (TypeError, ValueError):
        raise ValueError(f"q_range must be two numbers in 1/Å, got {q_range!r}") from None
    if not 0 <= low < high < np.inf:
        raise ValueError(f"q_range must hold two increasing, non-negative numbers, got {q_range!r}")
    return low, high


def check_q_grid(n_bins, q_range):
    """Return the middle of each bin in 1/Å, ndarray (n_bins,), or raise ValueError or TypeError."""
    check_scalar(n_bins, "n_bins", int, min_val=8)
    low, high = check_q_range(q_range)
    return low + (np.arange(n_bins) + 0.5) * (high - low) / n_bins


def check_background(background, q_range, n_bins, width):
    """Return the half width of the background window in bins; None if no background is subtracted.

    ``width`` is the half width in 1/Å.
    """
    check_option("background", background, ("snip", None))
    check_scalar(width, "background_width", (int, float), min_val=0, include_boundaries="neither")
    return None if background is None else width * n_bins / (q_range[1] - q_range[0])


def check_image(cell, pixel_size):
    """Return a cell as a `DiffractionImage` with a pixel size, or raise ValueError.

    ``pixel_size`` in 1/Å is for cells without a calibration.
    """
    if isinstance(cell, str | os.PathLike):
        cell = read_image(cell, pixel_size=pixel_size)
    elif isinstance(cell, FileCell):
        cell = cell.read(pixel_size=pixel_size)
    elif is_signal(cell):
        cell = image_from_signal(cell, pixel_size=pixel_size)
    if not isinstance(cell, DiffractionImage):
        if not isinstance(cell, np.ndarray):
            raise ValueError(
                "expected a DiffractionImage, a 2-D array, a HyperSpy signal or a path to a file, got "
                f"{type(cell).__name__}"
            )
        cell = DiffractionImage(cell)
    if min(cell.data.shape) < 16:
        raise ValueError(f"an image needs 16 x 16 pixels or more, got {cell.data.shape}")
    if cell.pixel_size is None:
        if pixel_size is None:
            raise ValueError(
                "the image has no calibration: use DiffractionImage(data, pixel_size=...) or the parameter "
                "pixel_size, in 1/Å per pixel; calibrate_image(image, crystal) finds it from the rings of a "
                "known phase"
            )
        cell = DiffractionImage(cell.data, pixel_size=pixel_size, center=cell.center)
    return cell


def axis_names(letter, axis):
    """Name the bins of an axis by their numbers from zero, in units of the bin width.

    The numbers do not depend on the start of the axis: a crystal with a larger cell multiplies q of every
    line, and thus the number of its bin, by one factor.
    """
    first = round(axis[0] / (axis[1] - axis[0]) - 0.5)
    return [f"{letter}_{first + i:04d}" for i in range(len(axis))]


def batch_by_shape(shapes, size=None):
    """Yield lists of at most ``size`` indices of arrays with equal shape.

    By default the arrays of a list fit into the cache of a processor core together.
    """
    rows_of_shape = defaultdict(list)
    for row, shape in enumerate(shapes):
        rows_of_shape[shape].append(row)
    for shape, rows in rows_of_shape.items():
        n = max(1, _CHUNK // prod(shape)) if size is None else size
        for start in range(0, len(rows), n):
            yield rows[start : start + n]
