"""Marks that programs burn into pictures: scale bars with their text, with or without a box behind them."""

import numpy as np
from scipy import ndimage

from xtalsk.diffraction._constants import (
    BAR_ASPECT,
    BAR_FILL,
    BAR_IMAGE_SIZE,
    BAR_LENGTH,
    BOX_FILL,
    LETTER_SIZE,
    MARK_CONTRAST,
    MARK_REACH,
    MARK_SHARE,
    MARK_SIGMA,
    MARK_TOLERANCE,
    SEAM_DISTANCE,
    SEAM_PARTS,
    SEAM_SHARE,
)

_SQUARE = np.ones((3, 3), dtype=bool)


def find_marks(image):
    """Find burnt-in scale bars, the text beside them and the boxes behind them, bool (n_rows, n_columns).

    A bar is a long rectangle filled with the highest or the lowest value of the image, on surroundings of
    another level. Text of the same value is looked for within one length of the bar, and a box around it
    that holds few values.

    Parameters
    ----------
    image : float32 ndarray of shape (n_rows, n_columns)
        NaN where it was not measured.

    Returns
    -------
    bool ndarray of shape (n_rows, n_columns)
    """
    return search_marks(image)[0]


def search_marks(image):
    """Return what `find_marks` returns, and whether a bar is more than a seam.

    A seam between the chips of a detector runs straight through the whole image. It is left out like a bar,
    but no text belongs to it.
    """
    from xtalsk.diffraction import _mark_kernels as kernels
    from xtalsk.diffraction._artefact_kernels import label_pixels

    found, has_marks = np.zeros(image.shape, dtype=bool), False
    low, high = np.fmin.reduce(image, axis=None), np.fmax.reduce(image, axis=None)
    step = np.float32(MARK_TOLERANCE * (high - low))
    least = max(8, int(BAR_LENGTH * max(image.shape)))
    tolerances = np.array([MARK_CONTRAST, MARK_SIGMA, MARK_TOLERANCE], np.float32)
    ranges = np.array([(high, high), (low, low), (high - step, high), (low, low + step)], np.float32)
    counts = kernels.counts_between(image, ranges)
    for (first, last), count in zip(ranges, counts, strict=True):
        if not 0 < count < MARK_SHARE * image.size or (first < last and found.any()):
            continue  # values near the highest and lowest one are tried if these themselves give nothing
        if not kernels.has_long_run(image, first, last, least):
            continue
        *runs, n_in_rows, n_in_columns = kernels.long_runs(image, first, last, least)
        for bars, n_pixels in zip(runs, (n_in_rows, n_in_columns), strict=True):
            if not n_pixels:
                continue
            labels, boxes = label_pixels(bars, np.flatnonzero(bars))
            for number in np.flatnonzero(_is_long(boxes, image.shape)):
                top, bottom, left, right = boxes[number].tolist()
                box = slice(top, bottom + 1), slice(left, right + 1)
                if (labels[box] == number + 1).mean() <= BAR_FILL:
                    continue
                if not kernels.stands_out(image, boxes[number], first, last, high - low, tolerances):
                    continue
                if _is_seam(image, box):
                    found[_widened(box, 2, image.shape)] = True
                else:
                    _add_mark(found, image, box, (first, last))
                    has_marks = True
    return found, has_marks


def _is_seam(image, box):
    """Whether a bar continues through the whole image, as a line darker or brighter than both its sides."""
    is_level = box[1].stop - box[1].start >= box[0].stop - box[0].start
    lines, (place, inside) = (image, box) if is_level else (image.T, box[::-1])
    before, after = place.start - SEAM_DISTANCE, place.stop - 1 + SEAM_DISTANCE
    if before < 0 or after >= len(lines):
        return False
    contrast = lines[place].mean(0) - lines[[before, after]]
    sign = np.sign(np.nansum(contrast[:, inside]))
    is_beyond = ~np.isnan(contrast).any(0)
    is_beyond[inside] = False
    parts = np.array_split(contrast[:, is_beyond], SEAM_PARTS, axis=1)
    return np.mean([(sign * part.sum(1) > 0).all() for part in parts if part.size] or [True]) > SEAM_SHARE


def _is_long(boxes, shape):
    """Whether boxes (n, 4) have the shape of a bar in an image of a shape, bool (n,)."""
    sides = boxes[:, 1::2] - boxes[:, ::2] + 1
    thinnest = 1 + (max(shape) >= BAR_IMAGE_SIZE)
    return (sides.max(1) >= BAR_ASPECT * sides.min(1)) & (sides.min(1) >= thinnest)


def _widened(box, reach, shape):
    """Return a box that is wider by ``reach`` pixels on each side, within an image of a shape."""
    return tuple(
        slice(max(s.start - reach, 0), min(s.stop + reach, n)) for s, n in zip(box, shape, strict=True)
    )


def _around(image, box):
    """Values one and two pixels outside a box, (n,), without NaN."""
    wide = _widened(box, 2, image.shape)
    outside = np.ones(image[wide].shape, dtype=bool)
    outside[tuple(slice(s.start - w.start, s.stop - w.start) for s, w in zip(box, wide, strict=True))] = False
    values = image[wide][outside]
    return values[~np.isnan(values)]


def _add_mark(found, image, box, values):
    """Mark a bar, the text near it and the box behind both in ``found``, in place."""
    first, last = values
    sides = [s.stop - s.start for s in box]
    reach = int(min(max(sides), MARK_REACH * max(image.shape)))
    near = _widened(box, reach, image.shape)
    part = image[near]
    marked = (part >= first) & (part <= last)
    here = tuple(slice(s.start - n.start, s.stop - n.start) for s, n in zip(box, near, strict=True))
    around = _around(image, box)
    ground, number = np.unique(around[(around < first) | (around > last)], return_counts=True)
    letters = _letters(marked, here, image.shape)
    if number.max() > 0.5 * len(around):  # a box of one value behind the bar
        letters[_grown(marked | (part == ground[number.argmax()]), here)] = True
    found[near] |= ndimage.binary_dilation(letters, _SQUARE, iterations=2)


def _letters(marked, box, shape):
    """Parts of ``marked``, bool 2-D, that are as small as letters or touch a box in the same frame.

    ``shape`` is that of the image.
    """
    from xtalsk.diffraction._artefact_kernels import label_pixels

    labels, boxes = label_pixels(marked, np.flatnonzero(marked))
    is_letter = (boxes[:, 1::2] - boxes[:, ::2]).max(1, initial=0) < LETTER_SIZE * max(shape)
    is_letter[labels[box][labels[box] > 0] - 1] = True
    return np.append(False, is_letter)[labels]


def _grown(is_flat, box):
    """Grow a box while most of its next row or column is ``is_flat``, bool 2-D; return the larger box."""
    edges = [[s.start, s.stop] for s in box]
    is_growing = True
    while is_growing:
        is_growing = False
        for axis in (0, 1):
            across = slice(*edges[1 - axis])
            lines = is_flat[:, across] if axis == 0 else is_flat[across].T
            for end, step in ((0, -1), (1, 1)):
                line = edges[axis][0] - 1 if end == 0 else edges[axis][1]
                if 0 <= line < len(lines) and lines[line].mean() >= BOX_FILL:
                    edges[axis][end] += step
                    is_growing = True
    return tuple(slice(*e) for e in edges)
