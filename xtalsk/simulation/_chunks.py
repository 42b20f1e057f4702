"""Simulation of many patterns, a few at a time, so that memory does not grow with their number."""

import numpy as np
import torch
from tqdm import tqdm


def check_rows(rows, n, what):
    """Check which of ``n`` things are simulated.

    Parameters
    ----------
    rows : array-like of int or None
        Row numbers, repeats allowed; None stands for each row once.
    n : int
    what : str
        What the rows are, for the message.

    Returns
    -------
    ndarray of int

    Raises
    ------
    ValueError
        If ``rows`` is not a list of integers, is empty or is out of range.
    """
    rows = np.arange(n) if rows is None else np.asarray(rows)
    if rows.ndim != 1 or rows.size == 0 or rows.dtype.kind not in "iu":
        raise ValueError(f"rows must be a non-empty list of {what}, got {rows!r}")
    if rows.min() < 0 or rows.max() >= n:
        raise ValueError(f"rows must be from 0 to {n - 1}, got {rows.min()} to {rows.max()}")
    return rows


def check_crystals(rows, reflections):
    """Check that the crystals to simulate exist and have reflections.

    Parameters
    ----------
    rows : array-like of int or None
        Rows of the crystals; None stands for each crystal once.
    reflections : Reflections

    Returns
    -------
    ndarray of int

    Raises
    ------
    ValueError
        If a row is out of range or its crystal has no reflection.
    """
    rows = check_rows(rows, len(reflections), "crystal rows")
    empty = rows[np.diff(reflections.offsets)[rows] == 0]
    if len(empty):
        raise ValueError(
            f"crystal {empty[0]} ({reflections.ids[empty[0]]}) has no reflections: it was left out as "
            f"faulty, or has none down to d = {reflections.d_min:g} Å"
        )
    return rows


def chunks(rows, values, size, desc, verbose):
    """Split patterns into chunks.

    Parameters
    ----------
    rows : ndarray of int, shape (n,)
        The crystal of each pattern.
    values : DataFrame of n rows
        The values of the conditions of each pattern.
    size : int
        Patterns in a chunk.
    desc : str
        Label of the progress bar.
    verbose : int
        Above 0 shows a progress bar.

    Yields
    ------
    rows : ndarray of int
    values : dict of str to ndarray of float
    """
    columns = {name: values[name].to_numpy(dtype=float) for name in values}
    for start in tqdm(range(0, len(rows), size), desc=desc, disable=not verbose):
        part = slice(start, start + size)
        yield rows[part], {name: column[part] for name, column in columns.items()}


def columns_on(values, tensor):
    """Values of conditions as tensors, with the dtype and device of ``tensor``; dict of str to tensor."""
    columns = torch.from_numpy(np.stack(list(values.values()))).to(tensor)
    return dict(zip(values, columns, strict=True))


def slice_patterns(values, first, last):
    """Values of the conditions of the patterns ``first`` to ``last``; dict of str to ndarray."""
    return {name: column[first:last] for name, column in values.items()}


def stacked(values, names):
    """Values of the named conditions, ndarray of shape (n, n_names)."""
    return np.stack([values[name] for name in names], axis=1)


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
        batch = batch.cpu().numpy()  # NumPy, because torch's threads would spin beside those of numba
        largest = float(batch.max())
        if largest < 2**31:  # conversion to integers of the same size is several times faster
            batch, dtype = batch.astype(np.int32), np.uint16 if largest < 2**16 else np.uint32
        else:
            dtype = np.uint32 if largest < 2**32 else np.float64
        if self.values is None:
            self.values = np.empty((self._n, *batch.shape[1:]), dtype=dtype)
        elif np.dtype(dtype).itemsize > self.values.itemsize:
            self.values = self.values.astype(dtype)
        self.values[self._done : self._done + len(batch)] = batch
        self._done += len(batch)
