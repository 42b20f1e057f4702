"""Many patterns a few at a time, so that memory does not grow with their number."""

import numpy as np
import torch
from tqdm import tqdm


def check_rows(rows, n, what):
    """Rows of ``n`` things to render, by default each once; ndarray of int.

    Raises
    ------
    ValueError
        If they are no list of row numbers, of ``what`` the message says, or out of range.
    """
    rows = np.arange(n) if rows is None else np.asarray(rows)
    if rows.ndim != 1 or rows.size == 0 or rows.dtype.kind not in "iu":
        raise ValueError(f"rows must be a non-empty list of {what}, got {rows!r}")
    if rows.min() < 0 or rows.max() >= n:
        raise ValueError(f"rows must be from 0 to {n - 1}, got {rows.min()} to {rows.max()}")
    return rows


def chunks(rows, drawn, size, desc, verbose):
    """Yield the rows of the crystals and the drawn conditions of a few patterns after another.

    Parameters
    ----------
    rows : ndarray of int, shape (n,)
    drawn : DataFrame of n rows
    size : int
        Patterns in a chunk.
    desc : str
        For the progress bar.
    verbose : int

    Yields
    ------
    rows : ndarray of int
    drawn : dict of str to ndarray of float
    """
    columns = {name: drawn[name].to_numpy(dtype=float) for name in drawn}
    for start in tqdm(range(0, len(rows), size), desc=desc, disable=not verbose):
        part = slice(start, start + size)
        yield rows[part], {name: values[part] for name, values in columns.items()}


def columns_on(drawn, like):
    """Drawn conditions as tensors of the dtype and device of a tensor."""
    values = torch.from_numpy(np.stack(list(drawn.values()))).to(like)
    return dict(zip(drawn, values, strict=True))


def some_of(column, part):
    """Keep some of the patterns of a dict of columns on the device."""
    values = torch.stack(list(column.values())).index_select(1, part)
    return dict(zip(column, values.unbind(0), strict=True))


def stacked(drawn, names):
    """Return some of the drawn conditions as columns of one array."""
    return np.stack([drawn[name] for name in names], axis=1)


class Counts:
    """Counts of many patterns in the smallest unsigned integers that hold them all.

    Parameters
    ----------
    n : int
        Number of patterns.
    """

    def __init__(self, n):
        self._n, self._done = n, 0
        self.values = None

    def add(self, batch):
        """Append the counts of a chunk, a tensor of shape (k, ...)."""
        largest = float(batch.max())
        if largest < 2**31:  # through integers of the same size, which is several times faster
            batch, dtype = batch.to(torch.int32), np.uint16 if largest < 2**16 else np.uint32
        else:
            dtype = np.uint32 if largest < 2**32 else np.float64
        if self.values is None:
            self.values = np.empty((self._n, *batch.shape[1:]), dtype=dtype)
        elif np.dtype(dtype).itemsize > self.values.itemsize:
            self.values = self.values.astype(dtype)
        self.values[self._done : self._done + len(batch)] = batch.cpu().numpy()
        self._done += len(batch)
