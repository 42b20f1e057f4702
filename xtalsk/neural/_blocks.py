"""From the names of the columns to blocks, and what is learnt about a block before training."""

import re
from dataclasses import dataclass, replace

import numpy as np

BRANCHES = ("conv1d", "conv2d", "dense", "drop")
"""What a block may be given as a sub-network."""

UNNAMED = "features"
"""Name of the block of columns that have no ``block__`` in front."""

_MIN_BINS = 32
_MIN_PIXELS = 8
_AXIS = re.compile(r"([qde])_(\d{4,})")
_PIXEL = re.compile(r"pixel_(\d{3,})_(\d{3,})")


@dataclass(frozen=True, eq=False)
class Block:
    """Columns that share a sub-network.

    Parameters
    ----------
    name : str
    kind : {"conv1d", "conv2d", "dense"}
    columns : ndarray of int
        Positions in the feature matrix, ordered along the axis (or row by row) where there is one.
    shape : tuple of int
        (n_columns,), or (n_rows, n_columns) of an image.
    first : int
        Number of the first column of an axis: widths of a bin from zero to where it begins.
    axis : str
        Letter of the axis: "q" or "d" of diffraction, "e" of energies; empty where there is none.
    gaps : ndarray of int
        Columns of the block, counted within it, that lack values in training rows that have others.
    mean, scale : ndarray of float32
        Of each column of a dense block over the training rows that have it; empty for the other kinds.
    """

    name: str
    kind: str
    columns: np.ndarray
    shape: tuple
    first: int = 0
    axis: str = ""
    gaps: np.ndarray = None
    mean: np.ndarray = None
    scale: np.ndarray = None


def split_name(name):
    """Split ``block__column`` at the first ``__``."""
    block, separator, column = name.partition("__")
    return (block, column) if separator else (UNNAMED, name)


def _axis_order(columns):
    """Order along the one axis that all names count, the lowest number and the axis's letter, or None."""
    matches = [_AXIS.fullmatch(c) for c in columns]
    if not all(matches) or len({m[1] for m in matches}) != 1:
        return None
    numbers = np.array([int(m[2]) for m in matches])
    return np.argsort(numbers, kind="stable"), int(numbers.min()), matches[0][1]


def _pixel_order(columns):
    """Order row by row and the shape of the image whose pixels the names are, or None."""
    matches = [_PIXEL.fullmatch(c) for c in columns]
    if not all(matches):
        return None
    places = np.array([(int(m[1]), int(m[2])) for m in matches])
    shape = tuple(len(np.unique(places[:, axis])) for axis in (0, 1))
    if shape[0] * shape[1] != len(places) or len(np.unique(places, axis=0)) != len(places):
        return None
    return np.lexsort((places[:, 1], places[:, 0])), shape


def _make_block(name, positions, columns, kind):
    """Decide the kind of a block, unless it is given, and put its columns in order."""
    axis, pixels = _axis_order(columns), _pixel_order(columns)
    if kind is None:
        if axis is not None and len(columns) >= _MIN_BINS:
            kind = "conv1d"
        elif pixels is not None and min(pixels[1]) >= _MIN_PIXELS:
            kind = "conv2d"
        else:
            kind = "dense"
    if kind == "conv2d":
        if pixels is None:
            raise ValueError(
                f"branches: block {name!r} cannot be 'conv2d': its columns are not the pixels of one image, "
                f"named pixel_<row>_<column>; the first is {columns[0]!r}"
            )
        return Block(name, kind, positions[pixels[0]], pixels[1])
    if kind == "conv1d" and axis is not None:
        return Block(name, kind, positions[axis[0]], (len(positions),), *axis[1:])
    return Block(name, kind, positions, (len(positions),))


def find_blocks(names, n_features, branches=None):
    """Sort columns into blocks and choose the sub-network of each.

    Parameters
    ----------
    names : sequence of str, or None
        Names of the columns; None puts all columns into one block called ``"features"``.
    n_features : int
    branches : dict of {block: branch}, or None
        Overrides the choice; a branch is one of `BRANCHES`.

    Returns
    -------
    list of Block
        In the order in which they first appear, without dropped ones.

    Raises
    ------
    ValueError
        If ``branches`` names a block that no column has or a branch that does not exist, or if it drops
        every block.
    """
    if branches is not None and not isinstance(branches, dict):
        raise ValueError(f"branches must be None or a dict of block name to branch, got {branches!r}")
    branches = branches or {}
    members = {}
    split = [split_name(n) for n in names] if names is not None else [(UNNAMED, "")] * n_features
    for position, (block, column) in enumerate(split):
        members.setdefault(block, []).append((position, column))
    for block, kind in branches.items():
        if block not in members:
            raise ValueError(f"branches: no column belongs to block {block!r}; blocks are {list(members)}")
        if kind not in BRANCHES:
            raise ValueError(f"branches: {block!r} must be one of {list(BRANCHES)}, got {kind!r}")
    blocks = [
        _make_block(name, np.array([p for p, _ in pairs]), [c for _, c in pairs], branches.get(name))
        for name, pairs in members.items()
        if branches.get(name) != "drop"
    ]
    if not blocks:
        raise ValueError(f"branches drops every block: {list(members)}")
    return blocks


def block_presence(X, blocks):
    """Tell which rows have at least one value in each block.

    Returns
    -------
    ndarray of bool, shape (n_samples, n_blocks)
    """
    return np.column_stack([~np.isnan(X[:, b.columns]).all(axis=1) for b in blocks])


def measure_block(block, X, masks=False):
    """Learn from training rows where a block has gaps and, if it is dense, how its columns are spread.

    Parameters
    ----------
    block : Block
    X : ndarray of float32, shape (n_samples, n_features)
    masks : bool
        Whether training will hide parts of profiles, which then may have gaps anywhere.

    Returns
    -------
    Block
        With ``gaps``, ``mean`` and ``scale``.
    """
    x = X[:, block.columns]
    known = ~np.isnan(x)
    gaps = np.flatnonzero(~known[known.any(axis=1)].all(axis=0))
    if masks and block.kind == "conv1d":
        gaps = np.arange(len(block.columns))
    mean = scale = np.empty(0, dtype=np.float32)
    if block.kind == "dense":
        counts = np.maximum(known.sum(axis=0), 1)
        mean = np.where(known, x, 0.0).sum(axis=0, dtype=np.float64) / counts
        deviation = np.where(known, x - mean, 0.0)
        scale = np.sqrt(np.square(deviation).sum(axis=0) / counts)
        constant = scale <= 1e-6 * np.abs(mean)
        scale = np.where(known.any(axis=0), np.where(constant, 1.0, scale), np.inf)
        mean, scale = mean.astype(np.float32), scale.astype(np.float32)
    return replace(block, gaps=gaps, mean=mean, scale=scale)
