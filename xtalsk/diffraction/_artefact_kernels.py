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
def label_pixels(mask, n_pixels):
    """Label the connected parts (with corners) of a mask with few pixels.

    Returns
    -------
    labels : int32 ndarray of the shape of the mask
        0 outside the mask.
    boxes : int32 ndarray of shape (n_parts, 4)
        First and last row, first and last column.
    """
    h, w = mask.shape
    labels = np.zeros((h, w), np.int32)
    boxes, stack = np.empty((n_pixels, 4), np.int32), np.empty((n_pixels, 2), np.int32)
    n_parts = 0
    for y in range(h):
        for x in range(w):
            if not mask[y, x] or labels[y, x]:
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
def long_runs(image, low, high, least):
    """Find runs of at least ``least`` pixels with values from ``low`` to ``high`` in rows and in columns.

    Returns
    -------
    in_rows, in_columns : bool ndarray of the shape of the image
        Pixels of runs in a row, and in a column.
    n_same : int
        Pixels with such values.
    n_in_rows, n_in_columns : int
        Pixels of the runs.
    """
    h, w = image.shape
    in_rows, in_columns = np.zeros((h, w), np.bool_), np.zeros((h, w), np.bool_)
    n_same, n_in_rows, n_in_columns = 0, 0, 0
    down = np.zeros(w, np.int32)
    for y in range(h):
        n_of_row = 0
        for x in range(w):
            is_same = (image[y, x] >= low) & (image[y, x] <= high)
            n_of_row += is_same
            down[x] = (down[x] + 1) * is_same
        n_same += n_of_row
        if n_of_row == 0:
            continue
        for x in range(w):
            if down[x] == least:
                in_columns[y - least + 1 : y + 1, x] = True
                n_in_columns += least
            elif down[x] > least:
                in_columns[y, x] = True
                n_in_columns += 1
        if n_of_row < least:
            continue
        run = 0
        for x in range(w):
            run = run + 1 if low <= image[y, x] <= high else 0
            if run == least:
                in_rows[y, x - least + 1 : x + 1] = True
                n_in_rows += least
            elif run > least:
                in_rows[y, x] = True
                n_in_rows += 1
    return in_rows, in_columns, n_same, n_in_rows, n_in_columns


@compiled
def _sample(level, y, x):
    """Value at a fractional position by bilinear interpolation; 0 outside the image."""
    h, w = level.shape
    if y < 0 or x < 0 or y > h - 1 or x > w - 1:
        return 0.0
    top, left = min(int(y), h - 2), min(int(x), w - 2)
    v, u = y - top, x - left
    upper = level[top, left] + u * (level[top, left + 1] - level[top, left])
    lower = level[top + 1, left] + u * (level[top + 1, left + 1] - level[top + 1, left])
    return upper + v * (lower - upper)


@compiled
def streak_pixels(level, center, sides, one, excess, sigma):
    """Pixels of ``level`` brighter than both sides at the same radius by far; 0 is no measured pixel.

    Returns
    -------
    int32 ndarray of shape (n_pixels, 2)
        Rows and columns.
    """
    h, w = level.shape
    places, n = np.empty((h * w, 2), np.int32), 0
    for row in range(h):
        y = row - center[0]
        for column in range(w):
            value = np.float64(level[row, column])
            limit = (value - sigma * np.sqrt(one * value)) / excess
            if limit <= 0:
                continue
            x = column - center[1]
            radius = np.sqrt(y * y + x * x)
            for side in sides:
                if radius <= 1.5 * side:
                    continue
                a = side / radius
                b = a * a
                s = a * (1 - b / 6 * (1 - b / 20 * (1 - b / 42 * (1 - b / 72 * (1 - b / 110)))))
                c = 1 - b / 2 * (1 - b / 12 * (1 - b / 30 * (1 - b / 56 * (1 - b / 90 * (1 - b / 132)))))
                one_side = _sample(level, center[0] + c * y - s * x, center[1] + c * x + s * y)
                if one_side <= 0 or one_side >= limit:
                    continue
                other = _sample(level, center[0] + c * y + s * x, center[1] + c * x - s * y)
                if 0 < other < limit:
                    places[n] = row, column
                    n += 1
                    break
    return places[:n].copy()


@compiled
def line_votes(places, cosines, sines, offset):
    """Count pixels (n, 2) on lines, int32 (n_angles, 2 * offset), by angle and rounded distance."""
    votes = np.zeros((len(cosines), 2 * offset), np.int32)
    for k in range(len(cosines)):
        for i in range(len(places)):
            distance = cosines[k] * places[i, 0] + sines[k] * places[i, 1]
            votes[k, int(np.rint(distance)) + offset] += 1
    return votes
