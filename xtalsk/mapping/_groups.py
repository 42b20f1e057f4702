"""Groups of alike patterns, whose means are identified instead of single patterns."""

import numpy as np
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.cluster import MiniBatchKMeans
from sklearn.decomposition import PCA
from sklearn.utils import check_random_state

from xtalsk.mapping import _constants as const


def check_group(group):
    """Return ``group`` if it is None, a number of groups or a clusterer."""
    is_number = isinstance(group, int | np.integer) and not isinstance(group, bool) and group >= 2
    if group is not None and not is_number and not hasattr(group, "fit_predict"):
        raise ValueError(
            "group must be None, a number of groups of 2 or more, or a clusterer of scikit-learn such as "
            f"HDBSCAN(), got {group!r}"
        )
    return group


class Reducer:
    """What of an image is compared to find alike patterns.

    It is the square root, which has the same noise everywhere, of the radial profile, or of an image of 32 x
    32 pixels if single spots are read: patterns that differ by a rotation are then different.

    Parameters
    ----------
    geometry : RingGeometry or None
    frame_shape : (int, int)
    keeps_spots : bool
    """

    def __init__(self, geometry, frame_shape, keeps_spots):
        rows, columns = np.indices(frame_shape)
        mask = np.zeros(frame_shape, dtype=bool)
        if geometry is not None and geometry.mask is not None:
            mask = np.asarray(geometry.mask)
        if keeps_spots:
            size = [min(const.GROUP_PIXELS, n) for n in frame_shape]
            number = (rows * size[0] // frame_shape[0]) * size[1] + columns * size[1] // frame_shape[1]
            n_parts = size[0] * size[1]
        else:
            center = (np.array(frame_shape) - 1) / 2 if geometry is None else geometry.center
            radius = np.hypot(rows - center[0], columns - center[1])
            n_parts = const.GROUP_BINS
            number = np.minimum((radius / (max(frame_shape) / 2) * n_parts).astype(int), n_parts)
            mask |= number == n_parts
        used = np.flatnonzero(~mask)
        shape = np.prod(frame_shape), n_parts
        self.matrix = csr_array((np.ones(len(used), np.float32), (used, number.ravel()[used])), shape=shape)

    def reduce(self, images):
        """Return the features of images (n, n_rows, n_columns), float32 (n, n_parts)."""
        flat = np.nan_to_num(images.reshape(len(images), -1).astype(np.float32))
        sums = np.sqrt(np.maximum((self.matrix.T @ flat.T).T, 0) + 0.375)  # Anscombe's transform
        return (sums / np.linalg.norm(sums, axis=1, keepdims=True)).astype(np.float32)


def find_groups(features, usable, group, random_state):
    """Group patterns.

    Parameters
    ----------
    features : ndarray of shape (n, n_features)
        From `Reducer`.
    usable : bool ndarray of shape (n,)
    group : int or clusterer
        A number of groups takes `sklearn.cluster.MiniBatchKMeans`.
    random_state : int, RandomState or None

    Returns
    -------
    ndarray of int, shape (n,)
        Numbers of groups from 0; -1 for patterns without one.
    """
    random = check_random_state(random_state)
    out, rows = np.full(len(features), -1), np.flatnonzero(usable)
    if not len(rows):
        return out
    part = random.permutation(rows)[: const.FIT_IMAGES]
    n_components = min(const.GROUP_COMPONENTS, features.shape[1], len(part))
    reduced = PCA(n_components, random_state=random).fit(features[part]).transform(features[rows])
    if hasattr(group, "fit_predict"):
        numbers = clone(group).fit_predict(reduced)
    else:
        n_groups = min(group, len(rows))
        numbers = MiniBatchKMeans(n_groups, n_init=5, batch_size=4096, random_state=random).fit_predict(
            reduced
        )
    known = numbers >= 0
    out[rows[known]] = np.unique(numbers[known], return_inverse=True)[1]
    return out


class GroupSums:
    """Sums of the images of each group.

    Parameters
    ----------
    n_groups : int
    frame_shape : (int, int)
    """

    def __init__(self, n_groups, frame_shape):
        self.shape = frame_shape
        self.total, self.number = np.zeros((2, n_groups, np.prod(frame_shape)))

    def add(self, images, group):
        """Add images (n, n_rows, n_columns) to their groups (n,); -1 is left out."""
        rows = np.flatnonzero(group >= 0)
        member = csr_array(
            (np.ones(len(rows)), (group[rows], np.arange(len(rows)))), (len(self.total), len(rows))
        )
        flat = images[rows].reshape(len(rows), -1).astype(np.float64)
        measured = np.isfinite(flat)
        self.total += member @ np.where(measured, flat, 0)
        self.number += member @ measured.astype(float)

    def means(self):
        """Return the mean image of each group, float32; NaN where nothing was measured."""
        mean = np.where(self.number > 0, self.total / np.maximum(self.number, 1), np.nan)
        return mean.reshape(-1, *self.shape).astype(np.float32)
