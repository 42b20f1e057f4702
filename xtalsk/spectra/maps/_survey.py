"""First look at a spectrum image: counts, unusable pixels, and the sum of all pixels."""

from dataclasses import dataclass

import numpy as np

from xtalsk.spectra.eds._counts import unit_of
from xtalsk.spectra.maps._spectrum_image import Block, each_block

_BRIGHTEST = 16  # pixels whose counts show of which number all are multiples
MAPPED, NO_COUNTS, NAN_CHANNELS, NO_ELEMENT = range(4)


@dataclass(frozen=True, eq=False)
class Survey:
    """Counts of a spectrum image.

    Parameters
    ----------
    counts : ndarray of shape (rows, columns)
        Counts of each pixel.
    status : ndarray of uint8, shape (rows, columns)
        `MAPPED`, `NO_COUNTS` or `NAN_CHANNELS`.
    total : ndarray of shape (n_channels,)
        Sum of the usable pixels; NaN in channels that are NaN in all pixels.
    """

    counts: np.ndarray
    status: np.ndarray
    total: np.ndarray


def survey(image, size, n_jobs, verbose):
    """Return the `Survey` of a `SpectrumImage`, ``size`` pixels at a time; see `each_block`."""
    lost = _lost_channels(image, size, n_jobs, verbose) if image.is_floating else None
    counts, status = np.zeros(image.shape[:2]), np.zeros(image.shape[:2], np.uint8)
    total = np.zeros(image.shape[2])

    def look(block, values):
        return _look_at(values, lost)

    for block, (own, kind, part) in each_block(
        image.read, image.blocks(size), look, n_jobs, "counts", verbose
    ):
        shape = counts[block.place].shape
        counts[block.place], status[block.place] = own.reshape(shape), kind.reshape(shape)
        total += part
    if lost is not None:
        total[lost] = np.nan
    return Survey(counts, status, total)


def learn_unit(image, found):
    """Find the number of which all counts are multiples, and let the image divide by it.

    Parameters
    ----------
    image : SpectrumImage
    found : Survey
        It is changed, too.

    Returns
    -------
    bool
        Whether the counts are whole numbers then.
    """
    counts = np.where(found.status == MAPPED, found.counts, -np.inf).ravel()
    brightest = np.argsort(-counts, kind="stable")[: min(_BRIGHTEST, int(np.isfinite(counts).sum()))]
    places = np.unravel_index(brightest, found.counts.shape)
    values = [
        image.read(Block(slice(i, i + 1), slice(j, j + 1)))[0] for i, j in np.transpose(places).tolist()
    ]
    unit = unit_of(np.concatenate(values).astype(float))
    if unit not in (None, 0.0, 1.0):
        image.unit = unit
        found.counts[:] = np.round(found.counts / unit)
        found.total[:] = np.round(found.total / unit)
    return unit is not None


def _lost_channels(image, size, n_jobs, verbose):
    """Return the channels that are NaN in all pixels that have any number, ndarray of bool (n_channels,)."""

    def measured(block, values):
        return np.isfinite(values).any(0)

    found = np.zeros(image.shape[2], bool)
    for _, part in each_block(image.read, image.blocks(size), measured, n_jobs, "channels", verbose):
        found |= part
    return ~found


def _look_at(values, lost):
    """Return counts (n,) and status (n,) of pixels, and the sum of those that can be used, (n_channels,)."""
    broken = np.zeros(len(values), bool)
    if lost is not None:
        bad = ~np.isfinite(values)
        broken = (bad & ~lost).any(1)
        values = np.where(bad, 0, values)
    counts = values.sum(1, dtype=float)
    status = np.where(counts > 0, MAPPED, NO_COUNTS)
    status[broken] = NAN_CHANNELS
    used = values if not status.any() else values[status == MAPPED]
    return np.where(broken, np.nan, counts), status.astype(np.uint8), used.sum(0, dtype=float)
