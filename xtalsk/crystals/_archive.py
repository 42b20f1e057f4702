"""Arrays of npz files."""

import zipfile
import zlib
from tokenize import TokenError

import numpy as np

# NumPy raises these for files that are no archives, truncated or altered, or hold Python objects
_DAMAGE = (
    ValueError, RuntimeError, EOFError, LookupError, TypeError, AttributeError, MemoryError, SyntaxError,
    ArithmeticError, TokenError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip


def read_arrays(path):
    """Read the arrays of an npz file as a dict; no Python objects are loaded.

    Raises
    ------
    ValueError
        If the file is no archive of arrays or is damaged. The message names the file.
    OSError
        If the file is not readable.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            return dict(archive)
    except _DAMAGE as error:
        reason = f"{type(error).__name__}: {error}".rstrip(": ")
        raise ValueError(f"{path} does not hold a CrystalSet, or is damaged: {reason}") from error
