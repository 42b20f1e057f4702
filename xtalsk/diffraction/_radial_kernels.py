"""Compiled loops of the radial mean and of the background: each image or profile by itself."""

import numpy as np

from xtalsk.utils._compiled import compiled_any_order as compiled


@compiled
def radius_of_row(y, center, ellipticity, scale, out):
    """Radius of the ring through each pixel of one row, times ``scale``, in ``out`` (w,)."""
    dy = np.float32(y) - center[0]
    yy, a, b = dy * dy, ellipticity[0], np.float32(2) * ellipticity[1] * dy
    for x in range(len(out)):
        dx = np.float32(x) - center[1]
        xx = dx * dx
        square = max(yy + xx, np.float32(1e-12))
        stretch = np.float32(1) + (a * (xx - yy) + b * dx) / square
        out[x] = np.sqrt(square) / stretch * scale


@compiled
def add_pixel(radius, value, sums):
    """Divide a pixel between the two nearest fine radii, in ``sums`` (2, n_radii) of intensity and number."""
    low = min(int(radius), sums.shape[1] - 2)
    upper = radius - np.float32(low)
    sums[0, low] += (np.float32(1) - upper) * value
    sums[0, low + 1] += upper * value
    sums[1, low] += np.float32(1) - upper
    sums[1, low + 1] += upper


@compiled
def sum_on_radii(image, valid, center, ellipticity, scale, sums):
    """Sum intensities and numbers of valid pixels on fine radii, in ``sums`` (2, n_radii)."""
    h, w = image.shape
    radius = np.empty(w, np.float32)
    for y in range(h):
        radius_of_row(y, center, ellipticity, scale, radius)
        for x in range(w):
            if valid[y, x]:
                add_pixel(radius[x], image[y, x], sums)


@compiled
def sum_on_sectors(image, valid, center, ellipticity, scale, sums):
    """Sum as `sum_on_radii`, for each sector by itself, in ``sums`` (n_sectors, 2, n_radii).

    Sectors are equal steps of an angle that is linear between the axes; see `_sectors`.
    """
    h, w = image.shape
    radius = np.empty(w, np.float32)
    n_sectors = sums.shape[0]
    steps = np.float32(n_sectors / 4)
    for y in range(h):
        radius_of_row(y, center, ellipticity, scale, radius)
        dy = np.float32(y) - center[0]
        for x in range(w):
            if valid[y, x]:
                dx = np.float32(x) - center[1]
                along = dy / max(abs(dy) + abs(dx), np.float32(1e-6))
                angle = (along if dx >= 0 else np.float32(2) - along) + np.float32(1)
                add_pixel(radius[x], image[y, x], sums[int(angle * steps) % n_sectors])


@compiled
def sum_in_order(values, order, upper, starts, sums):
    """Sum intensities on fine radii, in ``sums`` (n_radii,), by a look-up table of one geometry.

    ``order`` holds the pixels, sorted by fine radius; ``starts`` where each fine radius begins; ``upper`` the
    share of each pixel that belongs to the next fine radius.
    """
    for low in range(len(starts) - 1):
        total, part = np.float32(0), np.float32(0)
        for i in range(starts[low], starts[low + 1]):
            value = values[order[i]]
            total += value
            part += upper[i] * value
        sums[low] += total - part
        sums[low + 1] += part


@compiled
def bin_sums(sums, kernel, position, out):
    """Smooth sums on fine radii (n_radii,) and add them up between positions, in ``out`` (n_bins,)."""
    n, reach = len(sums), len(kernel) // 2
    smooth, cumulative = np.zeros(n, np.float32), np.zeros(n + 1)
    for k in range(len(kernel)):
        shift, weight = k - reach, kernel[k]
        for i in range(max(0, -shift), min(n, n - shift)):
            smooth[i] += weight * sums[i + shift]
    for i in range(n):
        cumulative[i + 1] = cumulative[i] + smooth[i]
    before = 0.0
    for j in range(len(position)):
        place = min(max(position[j], 0.0), n - 0.001)
        first = int(place)
        here = cumulative[first] + (place - first) * (cumulative[first + 1] - cumulative[first])
        if j:
            out[j - 1] = here - before
        before = here


@compiled
def bin_means(sums, kernel, position, least, out):
    """Write means in bins to ``out`` (n_parts, n_bins), from sums on fine radii (n_parts, 2, n_radii).

    ``position`` (n_bins + 1,) are the edges in fine radii. A bin without more pixels than ``least`` (n_bins,)
    is NaN.
    """
    n_bins = len(position) - 1
    total, number = np.empty(n_bins), np.empty(n_bins)
    for part in range(len(sums)):
        bin_sums(sums[part, 0], kernel, position, total)
        bin_sums(sums[part, 1], kernel, position, number)
        for i in range(n_bins):
            out[part, i] = total[i] / number[i] if number[i] > least[i] else np.nan


@compiled
def _fill(row, measured, out):
    """Write a profile without gaps to ``out``: linear between measured values, constant beyond them."""
    before = -1
    for i in range(len(row)):
        if measured[i]:
            out[i] = row[i]
            for j in range(before + 1, i):
                share = (j - before) / (i - before)
                out[j] = row[i] if before < 0 else row[before] * (1 - share) + row[i] * share
            before = i
    for j in range(before + 1, len(row)):
        out[j] = row[before] if before >= 0 else 0


@compiled
def snip_row(row, kernel, width, out):
    """Background of one profile by SNIP, see `_functional.snip`; ``kernel`` smooths before the clipping."""
    n, reach = len(row), len(kernel) // 2
    measured = ~np.isnan(row)
    filled, smooth, level = np.empty_like(row), np.empty_like(row), np.empty_like(row)
    _fill(row, measured, filled)
    floor, first, last = filled[0], n, -1
    for i in range(n):  # loops compile in a fraction of the time of `min` and of slices
        floor = min(floor, filled[i])
    for i in range(n):
        total, weight = np.float32(0) * kernel[0], np.float32(0) * kernel[0]
        for k in range(max(0, i - reach), min(n, i + reach + 1)):
            if measured[k]:
                total += kernel[k - i + reach] * row[k]
                weight += kernel[k - i + reach]
        smooth[i] = total / max(weight, 1e-12)
        if measured[i]:
            first, last = min(first, i), i
    _fill(smooth, measured, filled)
    for i in range(n):
        level[i] = np.sqrt(max(filled[i] - floor, 0)) if first <= i <= last else np.inf
    clipped = level.copy()
    for p in range(width, 0, -1):
        for i in range(p, n - p):
            clipped[i] = min(level[i], (level[i - p] + level[i + p]) / 2)
        for i in range(p, n - p):
            level[i] = clipped[i]
    for i in range(n):
        out[i] = level[i] ** 2 + floor if measured[i] else np.nan


@compiled
def find_saturated(image, valid, least, core_share, out):
    """Write the saturated pixels of one image to ``out`` (h, w), see `_halo.find_saturated`."""
    h, w = image.shape
    top = np.float32(-np.inf)
    for y in range(h):
        for x in range(w):
            if valid[y, x] and image[y, x] > top:
                top = image[y, x]
    count = 0
    for y in range(h):
        for x in range(w):
            out[y, x] = valid[y, x] and image[y, x] >= top
            count += out[y, x]
    if count >= least:
        core = 0
        for y in range(h):
            for x in range(w):
                if out[y, x]:
                    block = out[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2]
                    core += block.all()
        if core >= core_share * count:
            return
    out[:] = False


@compiled
def medians(means, least, out):
    """Write the lower median of each column of means (n_sectors, n_bins) to ``out`` (n_bins,).

    NaN is left out. A column with fewer than ``least`` numbers is NaN.
    """
    values = np.empty(means.shape[0], np.float32)
    for i in range(means.shape[1]):
        n = 0
        for sector in range(means.shape[0]):
            value = means[sector, i]
            if np.isnan(value):
                continue
            place = n
            while place and values[place - 1] > value:
                values[place] = values[place - 1]
                place -= 1
            values[place] = value
            n += 1
        out[i] = values[(n - 1) // 2] if n >= least else np.nan
