"""The sub-network of each block of features, and the statistics of blocks over the training rows."""

import re
from dataclasses import dataclass, fields

import numpy as np

from xtalsk.columns import Block, find_blocks, join_numbered

BRANCHES = {
    "conv1d": "profile",
    "conv2d": "image",
    "dense": "table",
    "elements": "elements",
    "peaks": "peaks",
}
"""Sub-networks by name, and the layout of columns that each reads."""

_BRANCH_OF = {layout: branch for branch, layout in BRANCHES.items()}


@dataclass(frozen=True, eq=False)
class MeasuredBlock(Block):
    """A block and its statistics over the training rows.

    Parameters
    ----------
    name, layout, columns, shape, first, axis
        See `xtalsk.columns.Block`.
    gaps : ndarray of int
        Columns of the block, counted within it, that lack values in training rows that have others. The rows
        and statistics of a joined block are those of all its members together.
    mean, scale : ndarray of float32
        Mean and standard deviation of each column of a table, or of each property of peaks, over the training
        rows that have a value; empty for other blocks.
    """

    gaps: np.ndarray = None
    mean: np.ndarray = None
    scale: np.ndarray = None


def branch_of(block):
    """Return the name of the sub-network that reads a block."""
    return _BRANCH_OF[block.layout]


def choose_branches(names, n_features, branches=None, pool=None):
    """Group columns into blocks and choose the sub-network of each.

    Parameters
    ----------
    names : sequence of str, or None
        Names of the columns; None puts all columns into one block called ``"features"``.
    n_features : int
    branches : dict of {block: branch}, or None
        Overrides the choice; a branch is one of `BRANCHES`, or ``"drop"``. The stem of numbered blocks stands
        for all of them.
    pool : {None, "numbered"}
        ``"numbered"`` joins the blocks of a stem, see `xtalsk.columns.join_numbered`.

    Returns
    -------
    list of Block
        In the order in which they first appear, without dropped ones.

    Raises
    ------
    ValueError
        If ``branches`` names a block that no column has or a branch that does not exist, if the columns of a
        block do not suit its branch, or if every block is dropped.
    """
    if branches is not None and not isinstance(branches, dict):
        raise ValueError(f"branches must be None or a dict of block name to branch, got {branches!r}")
    branches = branches or {}
    names_of_blocks = [block.name for block in find_blocks(names, n_features)]
    if pool is not None:
        branches = _of_members(branches, names_of_blocks)
    allowed = [*BRANCHES, "drop"]
    for block, branch in branches.items():
        if block not in names_of_blocks:
            raise ValueError(f"branches: no column belongs to block {block!r}; blocks are {names_of_blocks}")
        if branch not in allowed:
            raise ValueError(f"branches: {block!r} must be one of {allowed}, got {branch!r}")
    layouts = {block: BRANCHES[branch] for block, branch in branches.items() if branch != "drop"}
    try:
        blocks = find_blocks(names, n_features, layouts)
    except ValueError as error:
        raise ValueError(f"branches: {error}") from None
    blocks = [block for block in blocks if branches.get(block.name) != "drop"]
    if not blocks:
        raise ValueError(f"branches drops every block: {names_of_blocks}")
    return blocks if pool is None else join_numbered(blocks, names)


def _of_members(branches, names):
    """Return branches with the blocks ``<stem>_<number>`` in place of a stem that is no block itself."""
    members = {stem: [n for n in names if re.fullmatch(rf"{re.escape(stem)}_\d+", n)] for stem in branches}
    expanded = {}
    for name, branch in branches.items():
        expanded |= dict.fromkeys(members[name] if name not in names and members[name] else [name], branch)
    return expanded


def measure_block(block, X, masks=False):
    """Measure where training rows have gaps in a block and, if it is a table, the spread of its columns.

    Parameters
    ----------
    block : Block
    X : ndarray of float32, shape (n_samples, n_features)
    masks : bool
        Whether training masks parts of profiles. Then profiles may have gaps anywhere.

    Returns
    -------
    MeasuredBlock
    """
    x = X[:, block.columns].reshape(-1, block.columns.shape[-1])
    if block.columns.ndim > 1:
        x = x[~np.isnan(x).all(axis=1)]
    is_measured = ~np.isnan(x)
    gaps = np.flatnonzero(~is_measured[is_measured.any(axis=1)].all(axis=0))
    if masks and block.layout == "profile":
        gaps = np.arange(block.columns.shape[-1])
    mean = scale = np.empty(0, dtype=np.float32)
    if block.layout == "table":
        mean, scale = _column_statistics(x, is_measured)
    elif block.layout == "peaks":
        x, is_measured = (values.reshape(-1, block.shape[1]) for values in (x, is_measured))
        gaps, (mean, scale) = np.empty(0, dtype=np.intp), _column_statistics(x, is_measured)
    columns = {field.name: getattr(block, field.name) for field in fields(Block)}
    return MeasuredBlock(**columns, gaps=gaps, mean=mean, scale=scale)


def _column_statistics(x, is_measured):
    """Mean and standard deviation of each column, float32; 1 for constant columns and inf for empty ones."""
    counts = np.maximum(is_measured.sum(axis=0), 1)
    mean = np.where(is_measured, x, 0.0).sum(axis=0, dtype=np.float64) / counts
    deviation = np.where(is_measured, x - mean, 0.0)
    scale = np.sqrt(np.square(deviation).sum(axis=0) / counts)
    is_constant = scale <= 1e-6 * np.abs(mean)
    scale = np.where(is_measured.any(axis=0), np.where(is_constant, 1.0, scale), np.inf)
    return mean.astype(np.float32), scale.astype(np.float32)
