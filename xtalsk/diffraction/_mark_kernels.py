"""Compiled loops of the search for marks that programs burn into pictures."""

import numpy as np

from xtalsk.utils._compiled import compiled_any_order as compiled


@compiled
def counts_between(image, ranges):
    """Count the pixels with values in each range (n, 2), int (n,)."""
    counts = np.zeros(len(ranges), np.int64)
    for y in range(image.shape[0]):
        for k in range(len(ranges)):
            low, high, n = ranges[k, 0], ranges[k, 1], 0
            for x in range(image.shape[1]):
                n += (image[y, x] >= low) & (image[y, x] <= high)
            counts[k] += n
    return counts


@compiled
def has_long_run(image, low, high, least):
    """Whether ``least`` pixels in a row or in a column have values from ``low`` to ``high``."""
    h, w = image.shape
    down = np.zeros(w, np.int32)
    for y in range(h):
        n_of_row, longest = 0, 0
        for x in range(w):
            is_same = (image[y, x] >= low) & (image[y, x] <= high)
            n_of_row += is_same
            down[x] = (down[x] + 1) * is_same
            longest = max(longest, down[x])
        if longest >= least:
            return True
        if n_of_row < least:
            continue
        run = 0
        for x in range(w):
            run = run + 1 if down[x] else 0
            if run >= least:
                return True
    return False


@compiled
def long_runs(image, low, high, least):
    """Find runs of at least ``least`` pixels with values from ``low`` to ``high`` in rows and in columns.

    Returns
    -------
    in_rows, in_columns : bool ndarray of the shape of the image
        Pixels of runs in a row, and in a column.
    n_in_rows, n_in_columns : int
        Pixels of the runs.
    """
    h, w = image.shape
    in_rows, in_columns = np.zeros((h, w), np.bool_), np.zeros((h, w), np.bool_)
    n_in_rows, n_in_columns = 0, 0
    down = np.zeros(w, np.int32)
    for y in range(h):
        n_of_row, longest = 0, 0
        for x in range(w):
            is_same = (image[y, x] >= low) & (image[y, x] <= high)
            n_of_row += is_same
            down[x] = (down[x] + 1) * is_same
            longest = max(longest, down[x])
        if longest >= least:
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
            run = run + 1 if down[x] else 0
            if run == least:
                in_rows[y, x - least + 1 : x + 1] = True
                n_in_rows += least
            elif run > least:
                in_rows[y, x] = True
                n_in_rows += 1
    return in_rows, in_columns, n_in_rows, n_in_columns


@compiled
def stands_out(image, box, low, high, span, tolerances):
    """Whether most pixels around a box differ clearly from values between ``low`` and ``high``.

    ``box`` holds the first and the last row and column. ``tolerances`` are the constants MARK_CONTRAST,
    MARK_SIGMA and MARK_TOLERANCE.
    """
    top, bottom, left, right = box
    rows, columns = bottom - top + 5, right - left + 5
    around, difference = np.empty(rows * columns, np.float32), np.empty(rows * columns, np.float32)
    n, n_others = 0, 0
    for y in range(max(top - 2, 0), min(bottom + 3, image.shape[0])):
        for x in range(max(left - 2, 0), min(right + 3, image.shape[1])):
            value = image[y, x]
            if np.isnan(value) or (top <= y <= bottom and left <= x <= right):
                continue
            difference[n] = max(max(low - value, value - high), np.float32(0))
            if difference[n] > 0:
                around[n_others] = value
                n_others += 1
            n += 1
    if n_others <= 0.5 * n:  # the 30th percentile may be 0 even if more pixels differ
        return False
    ordered, others = np.sort(difference[:n]), around[:n_others]
    place = 0.3 * (n - 1)
    first, last = ordered[int(place)], ordered[min(int(place) + 1, n - 1)]
    typical = first + (place - int(place)) * (last - first)
    if typical <= 0:
        return False
    if typical > tolerances[0] * span:
        return True
    spread = 1.4826 * np.median(np.abs(others - np.median(others)))
    median = (ordered[(n - 1) // 2] + ordered[n // 2]) / 2
    return typical > tolerances[1] * spread and median > 2 * tolerances[2] * span
