"""Artefacts of cameras and of pictures: pixels of an image that do not belong to the pattern, on NumPy.

Three kinds are found: clusters of hot pixels and cosmic-ray hits, rows and columns without signal (dead
lines, gaps between the chips of a detector, padding), and burnt-in scale bars with their text. Diffraction
has none of these shapes: its spots have soft edges, its rings are round.
"""

import numpy as np

from xtalsk.diffraction._constants import (
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
)
from xtalsk.diffraction._marks import search_marks

_MANY_CLUSTERS = 3000  # more candidates than this are structure of the image, not hits
_ANGLES = np.array([0, 8, 4, 12, 2, 10, 6, 14, 1, 9, 5, 13, 3, 11, 7, 15]) * np.pi / 8  # opposite ones first
_CIRCLE = np.round(CLUSTER_REACH * np.stack([np.sin(_ANGLES), np.cos(_ANGLES)], 1)).astype(int)
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
    return np.isnan(remove_artefacts(image)[0]) & ~np.isnan(image)


def remove_artefacts(image):
    """Return the first two of what `clean_image` returns."""
    return clean_image(image)[:2]


def clean_image(image):
    """Copy an image to float32, with NaN in place of artefacts, see `find_artefacts`.

    Returns
    -------
    image : float32 ndarray of shape (n_rows, n_columns)
    has_marks : bool
        Whether there is a burnt-in scale bar or a text among them.
    one : float
        Signal of one electron, roughly.
    """
    image = np.array(image, dtype=np.float32)
    found = find_blank_lines(image)
    if found.any():
        image[found] = np.nan
        if found.all():
            return image, False, 1.0
    filled, (marks, has_marks) = fill_image(image), search_marks(image)
    for others in (find_dead_lines(image, filled), find_clusters(image, filled), marks):
        found |= others
    if found.any():
        image[found] = np.nan
    return image, has_marks, filled[1]


def find_clusters(image, filled=None):
    """Find clusters of up to 5 x 5 hot pixels with sharp edges, bool (n_rows, n_columns).

    The pixels of a cluster exceed those seven pixels away by far, and the pixels around the cluster do not.
    Single pixels of counts are left to `_geometry.reject_defects`. The edge is a step: the cluster is flat,
    or its brightest pixel has a neighbour at the level of the surroundings. ``filled`` is what `fill_image`
    returns of the image, if it is known.
    """
    from xtalsk.diffraction import _artefact_kernels as kernels

    found = np.zeros(image.shape, dtype=bool)
    filled, one = fill_image(image) if filled is None else filled
    hot, n_hot = kernels.hot_pixels(
        filled, _CIRCLE, np.float32(one), np.float32(CLUSTER_SPREADS), np.float32(DEFECT_SIGMA)
    )
    if not n_hot:
        return found
    labels, boxes = kernels.label_pixels(hot, np.flatnonzero(hot))
    if len(boxes) >= _MANY_CLUSTERS:
        return found
    limits = np.array([HIT_ELECTRONS, HIT_SIGMA, HIT_STEP, CLUSTER_STEP, CLUSTER_FLATNESS], np.float32)
    return kernels.sharp_clusters(filled, labels, boxes, CLUSTER_SIDE, np.float32(one), limits)


def fill_image(image):
    """Return the image from its dark level, without gaps, and the signal of one electron, roughly."""
    filled = image
    if np.isnan(image.min()):
        missing = np.isnan(image)
        filled = np.where(missing, np.median(image[~missing]), image)
    some = np.sort(filled[::4, ::4], axis=None)
    some = some[np.flatnonzero(np.diff(some, prepend=-np.inf))]
    low, high = (_quantile(some, share) for share in (0.01, 0.99))
    step = _quantile(np.sort(np.diff(some)), 0.25) if len(some) > 1 else 1.0  # some may lie between counts
    if step < 1e-5 * (high - low):  # no steps: the noise may be as large as a hundredth of the range
        step = max(step, min(1.0, (high - low) / 100))
    return filled - np.float32(min(low, 0)) if low < 0 else filled, max(step, 1e-30)


def _quantile(values, share):
    """Quantile of sorted values (n,) by linear interpolation, float."""
    place = (len(values) - 1) * share
    first, last = float(values[int(place)]), float(values[min(int(place) + 1, len(values) - 1)])
    return first + (place - int(place)) * (last - first)


def find_blank_lines(image):
    """Find rows and columns that hold one value: gaps between chips, padding, bool (n_rows, n_columns).

    The next row or column that is not blank must differ from that value in most pixels.
    """
    from xtalsk.diffraction._artefact_kernels import may_be_blank

    found = np.zeros(image.shape, dtype=bool)
    for axis in (0, 1):
        lines = image if axis == 0 else image.T
        most_steps = int(2 * (1 - BLANK_LINE_SHARE) * lines.shape[1]) + 1
        if not may_be_blank(lines, most_steps):
            continue
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


def find_dead_lines(image, filled=None):
    """Find pixels in narrow dark parts of rows and columns, bool (n_rows, n_columns).

    A part as long as a third of the side is darker than half of both its sides, by more than the noise. Rings
    are too curved for that. ``filled`` is what `fill_image` returns of the image, if it is known.
    """
    from xtalsk.diffraction import _artefact_kernels as kernels

    filled, one = fill_image(image) if filled is None else filled
    found = np.zeros(image.shape, dtype=bool)
    starts = [np.linspace(0, n, DEAD_LINE_BLOCKS, endpoint=False).astype(int) for n in image.shape]
    in_columns, in_rows = (np.zeros((DEAD_LINE_BLOCKS, n), np.float32) for n in image.shape[::-1])
    kernels.block_sums(filled, tuple(starts), in_rows, in_columns)
    n_least = int(np.ceil(DEAD_LINE_LENGTH * DEAD_LINE_BLOCKS))
    for axis, total in enumerate((in_columns, in_rows)):
        sizes = np.diff([*starts[axis], image.shape[axis]])
        mean = (total / sizes[:, None]).astype(np.float32)
        dead, n_dead = kernels.dark_runs(
            mean, sizes, one, DEAD_LINE_LEVEL, DEAD_LINE_SIGMA, DEAD_LINE_WIDTH, n_least
        )
        if n_dead:
            dead = np.repeat(dead, sizes, axis=0)
            found |= dead if axis == 0 else dead.T
    return found
