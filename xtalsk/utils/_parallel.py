"""Parallel computation that keeps what is finished if a worker process is killed."""

from concurrent.futures.process import BrokenProcessPool

import numpy as np
from joblib import Parallel, delayed, effective_n_jobs

_ROUNDS = 2  # times that all unfinished parts run in parallel; then each cell runs alone in one process
_MOST_LOST = 3  # cells that may kill their process before the others are given up; set by eye


class LostWorkerError(RuntimeError):
    """Raised if worker processes were killed, for example for lack of memory.

    Attributes
    ----------
    rows : list of int
        Rows that were not computed.
    features : ndarray of shape (n_specimens, n_features)
        Features of the other rows; NaN in the rows that were not computed.
    """

    def __init__(self, message, rows=(), features=None):
        super().__init__(message)
        self.rows, self.features = list(rows), features

    def __reduce__(self):
        return type(self), (*self.args, self.rows, self.features)


def _numbered(function, number, part):
    """Return the number of a part, and the result of the function."""
    return number, function(part)


def unordered_results(n_jobs, tasks):
    """Return an iterator of the results of tasks; each result comes as soon as it is there, if possible."""
    try:
        parallel = Parallel(n_jobs=n_jobs, return_as="generator_unordered")
    except ValueError:  # the backend of joblib returns only lists
        parallel = Parallel(n_jobs=n_jobs)
    return iter(parallel(tasks))


def _run(function, parts, n_jobs, finished):
    """Compute the parts that are not finished; add the results to the dict ``finished`` by part number.

    Returns whether no worker was killed.
    """
    tasks = [delayed(_numbered)(function, i, part) for i, part in enumerate(parts) if i not in finished]
    try:
        finished.update(unordered_results(n_jobs, tasks))
    except BrokenProcessPool:
        return False
    return True


def map_cells(function, cells, size, n_jobs):
    """Call a function with parts of a list of cells in parallel, and join the rows that it returns.

    With one job, the function is called once, with the whole list. With more, if a worker process is killed,
    the finished parts are kept, and the others run again. Cells that kill their process again and again are
    left out.

    Parameters
    ----------
    function : callable
        Takes a list of cells and returns an array with one row for each of them.
    cells : list
    size : int
        Number of cells in a part.
    n_jobs : int or None

    Returns
    -------
    rows : ndarray of shape (n_cells, n_columns)
        NaN in the rows of lost cells.
    lost : list of int
        Positions of the cells that were not computed.

    Raises
    ------
    LostWorkerError
        If no cell could be computed.
    """
    if effective_n_jobs(n_jobs) == 1:
        return np.asarray(function(cells)), []
    places = [range(i, min(i + size, len(cells))) for i in range(0, len(cells), size)]
    parts = [[cells[i] for i in place] for place in places]
    finished = {}
    if any(_run(function, parts, n_jobs, finished) for _ in range(_ROUNDS)):
        return np.concatenate([finished[i] for i in range(len(parts))]), []
    done = {j: row for i, rows in finished.items() for j, row in zip(places[i], rows, strict=True)}
    lost = []
    for i in (i for i in range(len(cells)) if i not in done):
        alone = {}
        if len(lost) < _MOST_LOST and _run(function, [[cells[i]]], 2, alone):  # 2 jobs: a process of its own
            done[i] = alone[0][0]
        else:
            lost.append(i)
    if not done:
        raise LostWorkerError("worker processes were killed before any specimen was computed")
    empty = np.full_like(next(iter(done.values())), np.nan)
    return np.stack([done.get(i, empty) for i in range(len(cells))]), lost
