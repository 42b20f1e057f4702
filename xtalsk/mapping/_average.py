"""Images of a scan, each alone or averaged with its neighbours."""

import numpy as np
from scipy.ndimage import correlate1d

from xtalsk.mapping import _constants as const


def read_images(scan, box, sigma=None):
    """Read the images in a box, each averaged with its neighbours.

    Parameters
    ----------
    scan : Scan
    box : tuple of slice
    sigma : float or None
        Standard deviation of the Gaussian weights of neighbours, in steps of the scan; None averages nothing.

    Returns
    -------
    images : ndarray of shape (n, n_rows, n_columns)
        In the order of the positions; float32 if they were averaged.
    problems : dict of {int: str}
        Why images could not be read, by their number. An average leaves these out, and blank ones.
    """
    if sigma is None:
        images, problems = scan.read(box)
    else:
        images, problems = _averaged(scan, box, sigma)
    shape = images.shape[: len(box)]
    numbers = {
        int(np.ravel_multi_index([p - b.start for p, b in zip(position, box, strict=True)], shape)): reason
        for position, reason in problems.items()
        if all(b.start <= p < b.stop for p, b in zip(position, box, strict=True))
    }
    return images.reshape(-1, *scan.frame_shape), numbers


def _averaged(scan, box, sigma):
    reach = int(np.ceil(const.REACH * sigma))
    outer = tuple(
        slice(max(b.start - reach, 0), min(b.stop + reach, n)) for b, n in zip(box, scan.shape, strict=True)
    )
    images, problems = scan.read(outer)
    flat = images.reshape(*images.shape[: len(box)], -1)
    usable = flat.max(axis=-1) > flat.min(axis=-1)  # False for NaN, too
    for position in problems:
        usable[tuple(p - o.start for p, o in zip(position, outer, strict=True))] = False
    images = images.astype(np.float32)
    measured = None
    if not np.isfinite(images).all():
        measured = np.isfinite(images)
        partly = measured.reshape(flat.shape).any(axis=-1)
        usable |= partly & ~np.isfinite(flat).all(axis=-1)
        images[~measured] = 0
    images[~usable] = 0
    weights = usable.astype(np.float32)[..., None, None]
    if measured is not None:
        weights = weights * measured
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2).astype(np.float32)
    for axis, (b, o) in enumerate(zip(box, outer, strict=True)):
        inner = (slice(None),) * axis + (slice(b.start - o.start, b.stop - o.start),)
        images, weights = (
            correlate1d(values, kernel, axis=axis, mode="constant")[inner] for values in (images, weights)
        )
    with np.errstate(invalid="ignore", divide="ignore"):
        averaged = np.where(weights > 0, images / weights, np.nan)
    own = tuple(slice(b.start - o.start, b.stop - o.start) for b, o in zip(box, outer, strict=True))
    averaged[~usable[own]] = 0  # a dead frame stays one
    return averaged.astype(np.float32), problems


def check_average(average):
    """Return a standard deviation in steps of the scan, or None."""
    if average is None:
        return None
    if isinstance(average, bool) or not np.isscalar(average) or not 0 < float(average) < np.inf:
        raise ValueError(f"average must be a positive number of steps of the scan or None, got {average!r}")
    return float(average)
