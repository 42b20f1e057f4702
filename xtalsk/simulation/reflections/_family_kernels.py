"""Compiled search for the families of symmetry-equivalent reflections."""

import math

import numpy as np

from xtalsk.simulation.reflections._fast_kernels import fast

SHIFT = 2**20  # the code of hkl is (h * SHIFT + k) * SHIFT + l, distinct up to indices of half a million


@fast
def _multiplicity(h, k, l, images, n_laue):  # noqa: E741
    """Return the size of the family of hkl if hkl is its member with the largest code, otherwise 0."""
    code = (h * SHIFT + k) * SHIFT + l
    if code <= 0:
        return 0
    unchanged = 0
    for a, b, c in images:
        image = abs(h * a + k * b + l * c)  # the inversion changes the sign of the code
        if image > code:
            return 0
        if image == code:
            unchanged += 1
    return n_laue // unchanged


@fast
def _scan(metric, limit, box, flips, images, hkl, q2, multiplicity):
    """Find the families of one crystal with q² up to ``limit``; write them if the arrays are not empty."""
    g11, g22, g33, g23, g13, g12 = metric
    n, n_laue = 0, 2 * len(images)
    for h in range(box[0] + 1):  # the largest code has no negative h
        for k in range(0 if flips[1] else -box[1], box[1] + 1):
            # q² = g33 l² + 2 b l + c
            b, c = g23 * k + g13 * h, g11 * h * h + g22 * k * k + 2 * g12 * h * k
            root = b * b - g33 * (c - limit)
            if root < 0:
                continue
            first = math.floor((-b - math.sqrt(root)) / g33)
            last = math.ceil((-b + math.sqrt(root)) / g33)
            for l in range(max(first, 0) if flips[2] else first, last + 1):  # noqa: E741
                square = g33 * l * l + 2 * b * l + c
                size = _multiplicity(h, k, l, images, n_laue) if square <= limit else 0
                if size:
                    if len(q2):
                        hkl[n, 0], hkl[n, 1], hkl[n, 2] = h, k, l
                        q2[n], multiplicity[n] = square, size
                    n += 1
    return n


@fast
def find_families(metrics, limit, boxes, group_index, flips, images, image_offsets, starts, columns):
    """Find the families of many crystals.

    Parameters
    ----------
    metrics : ndarray of shape (n, 6)
        Components 11, 22, 33, 23, 13 and 12 of the reciprocal metric tensors in 1/Å².
    limit : float
        Largest q² in 1/Å².
    boxes : ndarray of int, shape (n, 3)
        Largest indices of each crystal.
    group_index : ndarray of int, shape (n,)
        Laue group of each crystal; -1 leaves the crystal out.
    flips : ndarray of bool, shape (n_groups, 3)
        Indices that are at least 0 in the member with the largest code.
    images : ndarray of int64, shape (n_images, 3)
        Codes of the images of hkl under the proper rotations of each group, as linear functions of hkl.
    image_offsets : ndarray of int, shape (n_groups + 1,)
        First image of each group.
    starts : ndarray of int, shape (n + 1,)
        If ``columns`` are empty, the number of families of each crystal is written here, one place later.
        Otherwise it is the first row of each crystal.
    columns : tuple of ndarray
        hkl, q² and multiplicity of the families, written in the order of ascending q².
    """
    hkl, q2, multiplicity = columns
    for i in range(len(metrics)):
        group = group_index[i]
        if group < 0:
            continue
        own = images[image_offsets[group] : image_offsets[group + 1]]
        if len(q2) == 0:
            starts[i + 1] = _scan(metrics[i], limit, boxes[i], flips[group], own, hkl, q2, multiplicity)
            continue
        rows = slice(starts[i], starts[i + 1])
        if starts[i + 1] > starts[i]:
            _scan(metrics[i], limit, boxes[i], flips[group], own, hkl[rows], q2[rows], multiplicity[rows])
            order = np.argsort(q2[rows], kind="mergesort")
            hkl[rows], q2[rows] = hkl[rows][order], q2[rows][order]
            multiplicity[rows] = multiplicity[rows][order]
