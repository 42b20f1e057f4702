"""NumPy archives: read them, and name the file in every error."""

import os
from pathlib import Path
from zipfile import ZipFile

import numpy as np

from xtalsk.io._constants import LARGEST_ARCHIVE
from xtalsk.io._errors import BrokenFileError


def existing_file(path):
    """Return a path as a `Path`, or raise OSError if there is no such file."""
    path = Path(path)
    try:
        exists = path.is_file()
    except ValueError:  # a path with a null character
        exists = False
    if not exists:
        raise OSError(f"{os.fspath(path)!r}: no such file")
    return path


def read_npy(path, memory_map=False):
    """Return the array of a ``.npy`` file, or with ``memory_map`` one that is read when it is used.

    Raises
    ------
    BrokenFileError
        If the file holds no array of numbers; the message names the file.
    """
    try:
        return np.load(path, mmap_mode="r" if memory_map else None, allow_pickle=False)
    except Exception as error:  # damaged headers make NumPy raise nearly anything
        raise BrokenFileError(f"{path.name}: expected an array as numpy.save writes it: {error}") from error


def is_npz(path):
    """Return whether a file is an archive of arrays, as numpy.savez writes it."""
    try:
        with ZipFile(path) as archive:
            return any(name.endswith(".npy") for name in archive.namelist())
    except Exception:  # no archive, or a damaged one
        return False


def read_npz(path, required, optional=()):
    """Read arrays from a ``.npz`` file by their names.

    Parameters
    ----------
    path : Path
    required : sequence of str
        Names of arrays, one of which must exist.
    optional : sequence of str
        Names of arrays that are read if they exist.

    Returns
    -------
    dict of str to ndarray

    Raises
    ------
    BrokenFileError
        If the file is not an archive of arrays, has none of the arrays ``required``, or is too large to
        unpack; the message names the file.
    """
    try:
        with ZipFile(path) as archive:
            n_bytes = sum(entry.file_size for entry in archive.infolist())
        if n_bytes > LARGEST_ARCHIVE:
            raise ValueError(f"its arrays take {n_bytes:.3g} bytes, more than {LARGEST_ARCHIVE:.3g}")
        with np.load(path, allow_pickle=False) as archive:
            names = sorted(archive)
            arrays = {name: archive[name] for name in (*required, *optional) if name in archive}
    except Exception as error:  # damaged archives make NumPy and zipfile raise nearly anything
        raise BrokenFileError(f"{path.name}: expected arrays as numpy.savez writes them: {error}") from error
    if not any(name in arrays for name in required):
        expected = " or ".join(map(repr, required))
        raise BrokenFileError(f"{path.name}: expected an array {expected}, found {names}")
    return arrays
