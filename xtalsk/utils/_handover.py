"""Large results of worker processes, handed over in files instead of pipes."""

import os
import pickle
import tempfile
from typing import NamedTuple

import numpy as np

_ALIGNMENT = 64  # bytes; each array begins at a multiple of it


class StoredResult(NamedTuple):
    """A result whose arrays are in a file.

    Attributes
    ----------
    pickled : bytes
        The result without its arrays.
    sizes : list of int
        Length of each array in bytes.
    path : str
    """

    pickled: bytes
    sizes: list
    path: str


def store_result(result, folder):
    """Write the arrays of a result to a new file of a folder.

    A pipe copies large arrays several times, a file twice.

    Parameters
    ----------
    result : object
    folder : str or None
        None, a folder that this machine does not have, and a full disk return the result as it is.

    Returns
    -------
    StoredResult or the result
        For `receive_result`.
    """
    if folder is None:
        return result
    buffers = []
    pickled = pickle.dumps(result, protocol=5, buffer_callback=buffers.append)
    views = [buffer.raw() for buffer in buffers]
    try:
        number, path = tempfile.mkstemp(dir=folder)
    except OSError:  # the process is on another machine
        return result
    try:
        with open(number, "wb") as file:
            for view in views:
                file.write(view)
                file.write(bytes(-view.nbytes % _ALIGNMENT))
    except OSError:
        os.unlink(path)
        return result
    return StoredResult(pickled, [view.nbytes for view in views], path)


def receive_result(stored):
    """Return the result of `store_result`, and remove its file. The arrays share one memory."""
    if not isinstance(stored, StoredResult):
        return stored
    memory, first, arrays = np.fromfile(stored.path, np.uint8), 0, []
    os.unlink(stored.path)
    for size in stored.sizes:
        arrays.append(memory[first : first + size])
        first += size + -size % _ALIGNMENT
    return pickle.loads(stored.pickled, buffers=arrays)
