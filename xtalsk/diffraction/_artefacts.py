"""Artefacts of cameras and of pictures: pixels of an image that do not belong to the pattern, on NumPy.

Three kinds are found: clusters of hot pixels and cosmic-ray hits, rows and columns without signal (dead
lines, gaps between the chips of a detector, padding), and burnt-in scale bars with their text. Diffraction
has none of these shapes: its spots have soft edges, its rings are round.
"""

import numpy as np
from scipy import ndimage

from xtalsk.diffraction._constants import (
    BAR_ASPECT,
    BAR_FILL,
    BAR_LENGTH,
    BAR_SURROUNDINGS,
    BLANK_LINE_SHARE,
    CLUSTER_FLATNESS,
    CLUSTER_REACH,
    CLUSTER_SIDE,
    CLUSTER_SPREADS,
    CLUSTER_STEP,
    DEAD_LINE_BLOCKS,
    DEAD_LINE_LENGTH,
    DEAD_LINE_LEVEL,
    DEAD_LINE_SIGMA,
    DEAD_LINE_WIDTH,
    DEFECT_SIGMA,
    HIT_ELECTRONS,
    HIT_SIGMA,
    HIT_STEP,
    MARK_CONTRAST,
)

_MANY_CLUSTERS = 3000  # more candidates than this are structure of the image, not hits
_SQUARE = np.ones((3, 3), dtype=bool)


def find_artefacts(image):
    """Find the pixels that hold an artefact of the camera or of the picture.

    Streaks are not among them, because they need a centre: see `_streaks.find_streak`.

    Parameters
    ----------
    image : ndarray of shape (n_rows, n_columns)
        Intensities; NaN where they were not measured.

    Returns
    -------
    bool ndarray of shape (n_rows, n_columns)
    """
    image = np.array(image, dtype=np.float32)
    blank = find_blank_lines(image)
    image[blank] = np.nan
    return blank | find_dead_lines(image) | find_clusters(image) | find_marks(image)


def remove_artefacts(image):
    """Copy an image to float32, with NaN in place of artefacts (see `find_artefacts`)."""
    image = np.array(image, dtype=np.float32)
    image[find_artefacts(image)] = np.nan
    return image


def find_clusters(image):
    """Find clusters of up to 5 x 5 hot pixels with sharp edges, bool (n_rows, n_columns).

    The pixels of a cluster exceed those seven pixels away by far, and the pixels around the cluster do not.
    Single pixels of counts are left to `_geometry.reject_defects`. The edge is a step: the cluster is flat,
    or its brightest pixel has a neighbour at the level of the surroundings.
    """
    found = np.zeros(image.shape, dtype=bool)
    filled, one = fill_image(image)
    hot = _hot_pixels(filled, one)
    labels, n_clusters = ndimage.label(hot, _SQUARE)
    if not 0 < n_clusters < _MANY_CLUSTERS:
        return found
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        if max(s.stop - s.start for s in box) <= CLUSTER_SIDE:
            inside = labels[box] == number
            if _has_sharp_edge(filled, one, box, inside):
                found[box] |= inside
    return ndimage.binary_dilation(found, _SQUARE)


def fill_image(image):
    """Return the image from its dark level, without gaps, and the signal of one electron, roughly."""
    missing = np.isnan(image)
    filled = np.where(missing, np.median(image[~missing]), image) if missing.any() else image
    some = np.unique(filled[::4, ::4])
    low, high = np.percentile(some, (1, 99))
    step = np.percentile(np.diff(some), 25) if len(some) > 1 else 1.0  # a few values may lie between counts
    if step < 1e-5 * (high - low):  # no steps: the noise may be as large as a hundredth of the range
        step = max(step, min(1.0, (high - low) / 100))
    return filled - min(low, 0), max(step, 1e-30)


def _hot_pixels(image, one):
    """Pixels far above all pixels of a circle around them, bool (n_rows, n_columns)."""
    padded = np.pad(image, CLUSTER_REACH, mode="reflect")
    angles = np.arange(16) * np.pi / 8
    shifts = CLUSTER_REACH + np.round(CLUSTER_REACH * np.stack([np.sin(angles), np.cos(angles)], 1)).astype(
        int
    )
    h, w = image.shape
    four = np.stack([padded[dy : dy + h, dx : dx + w] for dy, dx in shifts[::4]])
    hot = image > _hot_level(four.max(0), four.min(0), one)
    y, x = np.nonzero(hot)
    around = padded[y + shifts[:, :1], x + shifts[:, 1:]]
    hot[y, x] = image[y, x] > _hot_level(around.max(0, initial=-np.inf), around.min(0, initial=np.inf), one)
    return hot


def _hot_level(highest, lowest, one):
    """Least value of a hot pixel among surroundings from ``lowest`` to ``highest``."""
    return highest + CLUSTER_SPREADS * (highest - lowest) + DEFECT_SIGMA * _noise(highest, one)


def _noise(level, one):
    """Return the standard deviation of counting noise, if one electron gives the signal ``one``."""
    return np.sqrt(one * np.maximum(level, one))


def _has_sharp_edge(image, one, box, inside):
    """Whether a cluster, ``inside`` its ``box``, ends in a step."""
    values, cluster = _surrounded(image, box, inside, 1)
    around = ndimage.binary_dilation(cluster, _SQUARE) & ~cluster
    far_values, near = _surrounded(image, box, inside, 4)
    highest = far_values[~ndimage.binary_dilation(near, _SQUARE, iterations=2)].max()
    background = np.median(values[around])
    excess, rest = values[cluster] - background, values[around].max()
    if excess.max() <= HIT_ELECTRONS * one or (cluster.sum() == 1 and one >= 0.5):
        return False
    noise = _noise(highest, one)
    is_strong = excess.min() > max(HIT_SIGMA * noise, CLUSTER_STEP * excess.max())
    if is_strong and rest - background < HIT_STEP * excess.min():
        return True
    if rest > min(highest + noise, background + CLUSTER_STEP * excess.max()):
        return False
    if excess.min() >= CLUSTER_FLATNESS * excess.max():
        return True
    peak = np.zeros_like(cluster)
    peak[np.unravel_index(np.argmax(np.where(cluster, values, -np.inf)), values.shape)] = True
    beside = ndimage.binary_dilation(peak) & ~peak
    return bool((values[beside] - background).min() < CLUSTER_STEP * excess.max())


def _surrounded(image, box, inside, reach):
    """Values of a box that is wider by ``reach`` pixels, and the cluster in it, within the image."""
    wide = tuple(slice(max(s.start - reach, 0), s.stop + reach) for s in box)
    values = image[wide]
    before = [s.start - w.start for s, w in zip(box, wide, strict=True)]
    cluster = np.zeros(values.shape, dtype=bool)
    cluster[before[0] : before[0] + inside.shape[0], before[1] : before[1] + inside.shape[1]] = inside
    return values, cluster


def find_blank_lines(image):
    """Find rows and columns that hold one value: gaps between chips, padding, bool (n_rows, n_columns).

    The next row or column that is not blank must differ from that value in most pixels.
    """
    found = np.zeros(image.shape, dtype=bool)
    for axis in (0, 1):
        lines = image if axis == 0 else image.T
        blank, value = _blank_lines(lines)
        if 0 < blank.sum() < len(blank):
            target = found if axis == 0 else found.T
            target[_confirmed_lines(lines, blank, value)] = True
    return found


def _blank_lines(lines):
    """Whether each line holds one value in nearly all measured pixels, and that value, both (n_lines,)."""
    measured = ~np.isnan(lines)
    n_measured = measured.sum(1)
    some = np.sort(lines[:, :: max(1, lines.shape[1] // 32)], axis=1)  # NaN comes last
    value = some[np.arange(len(some)), (~np.isnan(some)).sum(1) // 2 - 1]
    same = ((lines == value[:, None]) & measured).sum(1)
    return (n_measured > 0) & (same >= BLANK_LINE_SHARE * n_measured), value


def _confirmed_lines(lines, blank, value):
    """Numbers of the blank lines whose nearest neighbours with signal differ from them in most pixels."""
    signal = np.flatnonzero(~blank)
    confirmed = []
    for line in np.flatnonzero(blank):
        place = np.searchsorted(signal, line)
        neighbours = lines[signal[max(place - 1, 0) : place + 1]]
        differs = (neighbours != value[line]) & ~np.isnan(neighbours)
        if (differs.sum(1) > 0.5 * lines.shape[1]).all():
            confirmed.append(line)
    return confirmed


def find_dead_lines(image):
    """Find pixels in narrow dark parts of rows and columns, bool (n_rows, n_columns).

    A part as long as a third of the side is darker than half of both its sides, by more than the noise. Rings
    are too curved for that.
    """
    filled, one = fill_image(image)
    found = np.zeros(image.shape, dtype=bool)
    for axis in (0, 1):
        dead = _dead_columns(filled if axis == 0 else filled.T, one)
        found |= dead if axis == 0 else dead.T
    return found


def _dead_columns(image, one):
    """Pixels in dark parts of columns, bool (n_rows, n_columns)."""
    starts = np.linspace(0, len(image), DEAD_LINE_BLOCKS, endpoint=False).astype(int)
    sizes = np.diff([*starts, len(image)])
    mean = np.add.reduceat(image, starts, axis=0) / sizes[:, None]
    n_least = int(np.ceil(DEAD_LINE_LENGTH * DEAD_LINE_BLOCKS))
    dead = np.zeros(mean.shape, dtype=bool)
    for width in range(1, DEAD_LINE_WIDTH + 1):
        left, right = (np.roll(mean, shift, axis=1) for shift in (width, -width))
        sides = np.minimum(left, right)
        sides[:, :width], sides[:, -width:] = 0, 0
        noise = DEAD_LINE_SIGMA * _noise(sides, one) / np.sqrt(sizes[:, None])
        dark = (mean < DEAD_LINE_LEVEL * sides) & (sides - mean > noise)
        dead |= ndimage.binary_opening(dark, np.ones((n_least, 1), dtype=bool))
    return np.repeat(dead, sizes, axis=0)


def find_marks(image):
    """Find a burnt-in scale bar, and the text of the same value beside it, bool (n_rows, n_columns).

    A bar is a long rectangle filled with the highest or the lowest value of the image, on surroundings of
    another level. Text is looked for within one length of the bar.
    """
    found = np.zeros(image.shape, dtype=bool)
    for value in (np.nanmax(image), np.nanmin(image)):
        same = image == value
        if 0 < same.sum() < 0.2 * image.size:
            found |= _marks_of_value(image, same, value)
    return found


def _marks_of_value(image, same, value):
    """Pixels of bars of one value and of the text beside them, bool (n_rows, n_columns)."""
    found = np.zeros(image.shape, dtype=bool)
    length = max(8, int(BAR_LENGTH * max(image.shape)))
    for line in (np.ones((1, length), dtype=bool), np.ones((length, 1), dtype=bool)):
        if same.sum(line.shape.index(1) ^ 1).max() < length:
            continue
        labels, _ = ndimage.label(ndimage.binary_opening(same, line))
        for number, box in enumerate(ndimage.find_objects(labels), start=1):
            sides = [s.stop - s.start for s in box]
            is_bar = max(sides) >= BAR_ASPECT * min(sides) and (labels[box] == number).mean() > BAR_FILL
            if is_bar and _stands_out(image, box, value):
                found |= _text_near(same, box, int(BAR_SURROUNDINGS * max(sides)))
    return found


def _text_near(same, box, reach):
    """Pixels of the value of a bar within ``reach`` pixels of its box, bool (n_rows, n_columns)."""
    near = tuple(slice(max(s.start - reach, 0), s.stop + reach) for s in box)
    text = np.zeros(same.shape, dtype=bool)
    text[near] = same[near]
    return ndimage.binary_dilation(text, _SQUARE, iterations=2)


def _stands_out(image, box, value):
    """Whether the pixels two pixels around a box differ clearly from its value."""
    wide = tuple(slice(max(s.start - 2, 0), s.stop + 2) for s in box)
    around = image[wide].copy()
    inner = tuple(slice(s.start - w.start - 1, s.stop - w.start + 1) for s, w in zip(box, wide, strict=True))
    around[tuple(slice(max(s.start, 0), s.stop) for s in inner)] = np.nan
    span = np.nanmax(image) - np.nanmin(image)
    difference = np.abs(around - value)
    difference = difference[~np.isnan(difference)]
    return difference.size > 0 and np.percentile(difference, 10) > MARK_CONTRAST * span
