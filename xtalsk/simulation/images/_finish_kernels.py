"""Compiled readout and export of images; `_detector.read_out` and `_export.grey_levels` are their twins."""

import math

import numpy as np

from xtalsk.utils._compiled import compiled

_GREY_BINS = 4096  # bins of the square root of the grey value, where levels are looked up
_ZERO, _ONE, _HALF = np.float32(0), np.float32(1), np.float32(0.5)


@compiled
def share(image, part):
    """Mix each pixel with its neighbours along columns, then along rows, in place."""
    height, width = image.shape
    before = image[0].copy()
    half = np.float32(0.5) * part
    for row in range(height):
        line, after = image[row], image[min(row + 1, height - 1)]
        for column in range(width):
            own = line[column]
            line[column] = own + half * (before[column] + after[column] - own - own)
            before[column] = own
    for row in range(height):
        line = image[row]
        previous = line[0]
        for column in range(width):
            own = line[column]
            following = line[min(column + 1, width - 1)]
            line[column] = np.rint(own + half * (previous + following - own - own))
            previous = own


@compiled
def flow(image, blooming, smear, saturation):
    """Smear an image along columns and let the counts of full pixels flow along columns, in place."""
    height, width = image.shape
    limit = np.floor(saturation)
    if smear > 0:
        means = np.zeros(width)
        for row in range(height):
            for column in range(width):
                means[column] += image[row, column]
        for row in range(height):
            for column in range(width):
                image[row, column] += np.float32(smear * means[column] / height)
    if blooming > 0 and limit < np.inf:
        inflow = np.zeros((height, width), np.float32)
        for down in range(2):
            carried = np.zeros(width)
            for k in range(height):
                row = k if down else height - 1 - k
                for column in range(width):
                    inflow[row, column] += np.float32(carried[column])
                    surplus = np.float64(image[row, column] - limit)
                    surplus *= blooming / 2 if surplus > 0 else 1.0
                    carried[column] = max(carried[column] + surplus, 0.0)
        for row in range(height):
            for column in range(width):
                image[row, column] += inflow[row, column]
    for row in range(height):
        for column in range(width):
            image[row, column] = min(np.rint(image[row, column]), limit)


@compiled
def contrast_limits(image, dark, bright, step):
    """Return the counts that become black and white, from each pixel of a grid of width ``step``."""
    sample = image[::step, ::step].copy().reshape(-1)
    last = len(sample) - 1
    lowest, highest = int(dark * np.float32(last)), last - int(bright * np.float32(last))
    return np.partition(sample, lowest)[lowest], np.partition(sample, highest)[highest]


@compiled
def to_levels(image, low, high, levels, gamma, inverted):
    """Replace counts by grey levels, in place."""
    scale, top = _ONE / max(high - low, _ONE), levels - _ONE
    if gamma == 1:
        for row in range(image.shape[0]):
            line = image[row]
            for column in range(len(line)):
                grey = min(max((line[column] - low) * scale, _ZERO), _ONE)
                line[column] = np.rint((_ONE - grey if inverted > 0 else grey) * top)
        return
    n_levels = int(levels)
    limits = np.ones(n_levels, np.float32)  # grey value where the next level starts
    first = np.zeros(_GREY_BINS + 1, np.int32)
    place = 0
    for level in range(n_levels - 1):
        edge = (level + 0.5) / top
        limits[level] = math.pow(1 - edge if inverted > 0 else edge, 1 / gamma)
    if inverted > 0:
        limits[: n_levels - 1] = limits[: n_levels - 1][::-1].copy()
    for k in range(_GREY_BINS + 1):
        while place < n_levels - 1 and limits[place] <= (k / _GREY_BINS) ** 2:
            place += 1
        first[k] = place
    for row in range(image.shape[0]):
        line = image[row]
        for column in range(len(line)):
            grey = min(max((line[column] - low) * scale, _ZERO), _ONE)
            level = first[int(np.sqrt(grey) * np.float32(_GREY_BINS))]
            while level < n_levels - 1 and grey >= limits[level]:
                level += 1
            line[column] = top - level if inverted > 0 else level


@compiled
def finish_images(images, settings, contrast_step, first, last):
    """Read out and export the images ``first`` to ``last``, in place.

    Parameters
    ----------
    images : ndarray of float32, shape (n, size, size)
    settings : ndarray of float32, shape (n, 10)
        The columns of `_finish.SETTINGS`.
    contrast_step : int
    """
    for i in range(first, last):
        image = images[i]
        sharing, blooming, smear, saturation, turned = settings[i, :5]
        levels, dark, bright, gamma, inverted = settings[i, 5:]
        if sharing > 0:
            share(image, sharing)
        if smear > 0 or (blooming > 0 and saturation < np.inf):
            if turned > 0:
                turned_image = image.T.copy()
                flow(turned_image, blooming, smear, saturation)
                image[:] = turned_image.T
            else:
                flow(image, blooming, smear, saturation)
        if levels < np.inf:
            low, high = contrast_limits(image, dark, bright, contrast_step)
            to_levels(image, low, high, levels, gamma, inverted)
