"""Chunks of a map, computed in parallel; what all chunks share goes to each process once."""

import pickle
import uuid
from collections import OrderedDict
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from joblib import Parallel, delayed, parallel_config
from joblib.parallel import get_active_backend
from tqdm import tqdm

_MOST_OPEN = 2  # shared objects that a process keeps
_opened = OrderedDict()


class Shared:
    """An object that many jobs need. Each process unpacks it once, whatever starts the process.

    The packed object is a file that is mapped into memory. Processes that joblib starts on this machine
    get the name of the file; others get its content.

    Parameters
    ----------
    value : object
        It must not be changed by the jobs.
    """

    def __init__(self, value):
        self._key, self._packed = uuid.uuid4().hex, None
        self._value = value

    def __getstate__(self):
        if self._packed is None:
            self._folder = TemporaryDirectory(ignore_cleanup_errors=True)  # removed with this object
            file = Path(self._folder.name) / "shared"
            with open(file, "wb") as opened:
                pickle.dump(self._value, opened, protocol=pickle.HIGHEST_PROTOCOL)
            self._packed = np.memmap(file, dtype=np.uint8, mode="r")
        return {"_key": self._key, "_packed": self._packed}

    def __dask_tokenize__(self):
        """Return what names this object in a dask cluster."""
        return self._key

    def get(self):
        """Return the object."""
        if "_value" in self.__dict__:
            return self._value
        if self._key not in _opened:
            _opened[self._key] = pickle.loads(self._packed)
            while len(_opened) > _MOST_OPEN:
                _opened.popitem(last=False)
        return _opened[self._key]


def _spread(shared):
    """Return a context in which every worker of a dask cluster has a copy of a `Shared`; tasks refer to it.

    With copies on all workers, the tasks survive the loss of one. Other backends need no context.
    """
    client = getattr(get_active_backend()[0], "client", None)
    return nullcontext() if client is None else parallel_config("dask", client=client, scatter=[shared])


def _run(shared, name, arguments):
    return name, shared.get().identify(**arguments)


def run_chunks(identifier, chunks, n_jobs, progress):
    """Identify chunks and yield their results as they are finished.

    Parameters
    ----------
    identifier : Identifier
    chunks : iterable of (name, dict)
        Arguments of `Identifier.identify`. A chunk is read when a worker is free, so that few are in memory.
    n_jobs : int or None
    progress : tqdm

    Yields
    ------
    name, dict of {str: ndarray}
    """
    shared = Shared(identifier)
    options = {"n_jobs": n_jobs, "batch_size": 1, "pre_dispatch": "1.5*n_jobs", "max_nbytes": None}
    with _spread(shared):
        try:
            parallel = Parallel(return_as="generator_unordered", **options)
        except ValueError:  # the backend of joblib returns only lists
            parallel = Parallel(**options)
        results = parallel(delayed(_run)(shared, name, arguments) for name, arguments in chunks)
    for name, rows in results:
        progress.update(len(rows["status"]))
        yield name, rows


def make_progress(total, verbose, what):
    """Return a progress bar that counts patterns."""
    return tqdm(total=total, disable=not verbose, unit="pattern", desc=what)
