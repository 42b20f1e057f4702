"""Compiled loops of the search for artefacts: cheap tests that most images pass without further work."""

import numpy as np

from xtalsk.utils._compiled import compiled_any_order as compiled


@compiled
def may_be_blank(lines, most_steps):
    """Whether any line changes from pixel to pixel at most ``most_steps`` times; NaN is skipped."""
    for i in range(lines.shape[0]):
        steps, before = 0, np.nan
        for j in range(lines.shape[1]):
            value = lines[i, j]
            if np.isnan(value):
                continue
            steps += before != value
            before = value
            if steps > most_steps + 1:
                break
        if steps <= most_steps + 1:  # the first measured pixel counts as a step
            return True
    return False


@compiled
def block_sums(image, starts, rows, columns):
    """Sum over blocks of columns, ``rows`` (n_blocks, h), and of rows, ``columns`` (n_blocks, w)."""
    h, w = image.shape
    block = 0
    for y in range(h):
        if block + 1 < len(starts[0]) and y >= starts[0][block + 1]:
            block += 1
        for x in range(w):
            columns[block, x] += image[y, x]
        for k in range(len(starts[1])):
            end = starts[1][k + 1] if k + 1 < len(starts[1]) else w
            total = np.float32(0)
            for x in range(starts[1][k], end):
                total += image[y, x]
            rows[k, y] = total


@compiled
def dark_runs(mean, sizes, one, level, sigma, widths, least):
    """Find runs of ``least`` block means (n_blocks, n) darker than both sides, and their number."""
    n_blocks, n = mean.shape
    dead, n_dead = np.zeros((n_blocks, n), np.bool_), 0
    for width in range(1, widths + 1):
        for x in range(width, n - width):
            run = 0
            for k in range(n_blocks + 1):
                is_dark = False
                if k < n_blocks:
                    side = min(mean[k, x - width], mean[k, x + width])
                    if mean[k, x] < level * side:
                        noise = sigma * np.sqrt(one * max(side, one)) / np.sqrt(sizes[k])
                        is_dark = side - mean[k, x] > noise
                if is_dark:
                    run += 1
                    continue
                if run >= least:
                    dead[k - run : k, x] = True
                    n_dead += run
                run = 0
    return dead, n_dead


@compiled
def hot_pixels(image, shifts, one, spreads, sigma):
    """Pixels far above all pixels of a circle around them, and their number; see `_artefacts._hot_pixels`.

    ``shifts`` (16, 2) are rows and columns to the pixels of the circle; the image is mirrored at its edges.
    """
    h, w = image.shape
    reach = shifts.max()
    padded = np.empty((h + 2 * reach, w + 2 * reach), np.float32)
    for y in range(h + 2 * reach):
        row = abs(y - reach)
        row = 2 * (h - 1) - row if row >= h else row
        padded[y, reach : reach + w] = image[row]
        for x in range(reach):
            padded[y, x] = image[row, reach - x]
            padded[y, reach + w + x] = image[row, w - 2 - x]
    hot, n_hot = np.zeros((h, w), np.bool_), 0
    for y in range(h):
        first, second, third, fourth = (
            padded[y + reach + shifts[0, 0], reach + shifts[0, 1] : reach + shifts[0, 1] + w],
            padded[y + reach + shifts[1, 0], reach + shifts[1, 1] : reach + shifts[1, 1] + w],
            padded[y + reach + shifts[2, 0], reach + shifts[2, 1] : reach + shifts[2, 1] + w],
            padded[y + reach + shifts[3, 0], reach + shifts[3, 1] : reach + shifts[3, 1] + w],
        )
        n_of_row = 0
        for x in range(w):
            high = max(max(first[x], second[x]), max(third[x], fourth[x]))
            low = min(min(first[x], second[x]), min(third[x], fourth[x]))
            limit = high + spreads * (high - low) + sigma * np.sqrt(one * max(high, one))
            hot[y, x] = image[y, x] > limit
            n_of_row += hot[y, x]
        if not n_of_row:
            continue
        for x in range(w):
            if not hot[y, x]:
                continue
            high, low = np.float32(-np.inf), np.float32(np.inf)
            for k in range(len(shifts)):
                other = padded[y + reach + shifts[k, 0], x + reach + shifts[k, 1]]
                high, low = max(high, other), min(low, other)
            hot[y, x] = image[y, x] > high + spreads * (high - low) + sigma * np.sqrt(one * max(high, one))
            n_hot += hot[y, x]
    return hot, n_hot


@compiled
def label_pixels(mask, places):
    """Label the connected parts (with corners) of a mask with few pixels.

    Parameters
    ----------
    mask : bool ndarray of shape (n_rows, n_columns)
    places : int ndarray of shape (n_pixels,)
        What `numpy.flatnonzero` returns of the mask.

    Returns
    -------
    labels : int32 ndarray of the shape of the mask
        0 outside the mask.
    boxes : int32 ndarray of shape (n_parts, 4)
        First and last row, first and last column.
    """
    h, w = mask.shape
    labels = np.zeros((h, w), np.int32)
    boxes, stack = np.empty((len(places), 4), np.int32), np.empty((len(places), 2), np.int32)
    n_parts = 0
    for place in places:
        y, x = place // w, place % w
        if labels[y, x]:
            continue
        n_parts += 1
        boxes[n_parts - 1] = y, y, x, x
        box = boxes[n_parts - 1]
        labels[y, x], size = n_parts, 1
        stack[0] = y, x
        while size:
            size -= 1
            row, column = stack[size]
            box[0], box[1] = min(box[0], row), max(box[1], row)
            box[2], box[3] = min(box[2], column), max(box[3], column)
            for i in range(max(row - 1, 0), min(row + 2, h)):
                for j in range(max(column - 1, 0), min(column + 2, w)):
                    if mask[i, j] and not labels[i, j]:
                        labels[i, j] = n_parts
                        stack[size] = i, j
                        size += 1
    return labels, boxes[:n_parts]


@compiled
def _is_sharp(image, inside, box, one, limits):
    """Whether a cluster ends in a step, see `_artefacts.find_clusters`.

    ``inside`` marks the pixels of the cluster, within two pixels of its ``box`` at most. ``limits`` are the
    constants HIT_ELECTRONS, HIT_SIGMA, HIT_STEP, CLUSTER_STEP and CLUSTER_FLATNESS.
    """
    h, w = image.shape
    top, bottom, left, right = box
    around, n_around, n_inside = np.empty(81, np.float32), 0, 0
    highest, weakest, brightest = np.float32(-np.inf), np.float32(np.inf), np.float32(-np.inf)
    peak_row, peak_column = top, left
    for y in range(max(top - 4, 0), min(bottom + 5, h)):
        for x in range(max(left - 4, 0), min(right + 5, w)):
            value = image[y, x]
            if inside[y, x]:
                n_inside += 1
                weakest = min(weakest, value)
                if value > brightest:
                    brightest, peak_row, peak_column = value, y, x
                continue
            distance = 3
            for i in range(max(y - 2, top), min(y + 3, bottom + 1)):
                for j in range(max(x - 2, left), min(x + 3, right + 1)):
                    if inside[i, j]:
                        distance = min(distance, max(abs(i - y), abs(j - x)))
            if distance > 2:
                highest = max(highest, value)
            elif distance == 1:
                around[n_around] = value
                n_around += 1
    background, rest = np.median(around[:n_around]), around[:n_around].max()
    excess, least = brightest - background, weakest - background
    if excess <= limits[0] * one or (n_inside == 1 and one >= 0.5):
        return False
    noise = np.sqrt(one * max(highest, one))
    if least > max(limits[1] * noise, limits[3] * excess) and rest - background < limits[2] * least:
        return True
    if rest > min(highest + noise, background + limits[3] * excess):
        return False
    if least >= limits[4] * excess:
        return True
    beside = np.float32(np.inf)
    for i, j in ((-1, 0), (1, 0), (0, -1), (0, 1)):
        y, x = peak_row + i, peak_column + j
        if 0 <= y < h and 0 <= x < w:
            beside = min(beside, image[y, x])
    return beside - background < limits[3] * excess


@compiled
def sharp_clusters(image, labels, boxes, side, one, limits):
    """Mark the clusters with sharp edges, grown by a pixel, bool; ``labels`` and ``boxes`` number the parts.

    ``side`` is the largest side of a cluster; ``limits`` are those of `_is_sharp`.
    """
    h, w = image.shape
    found, inside = np.zeros((h, w), np.bool_), np.zeros((h, w), np.bool_)
    lowest = image.min()
    for number in range(len(boxes)):
        top, bottom, left, right = boxes[number]
        if bottom - top >= side or right - left >= side:
            continue
        highest = np.float32(-np.inf)
        for y in range(top, bottom + 1):
            for x in range(left, right + 1):
                highest = max(highest, image[y, x])
                inside[y, x] = labels[y, x] == number + 1
        if highest - lowest > limits[0] * one and _is_sharp(image, inside, boxes[number], one, limits):
            for y in range(top, bottom + 1):
                for x in range(left, right + 1):
                    if inside[y, x]:
                        found[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2] = True
        inside[top : bottom + 1, left : right + 1] = False
    return found
