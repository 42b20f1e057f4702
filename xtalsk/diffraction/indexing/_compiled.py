"""Compilation of loops over numbers.

Modules of compiled functions (``*_kernels.py``) are imported where they are first used, so that importing
xtalsk neither imports numba nor compiles. numba compares only the file of a compiled function with the cache
on disk: after a change of one of these files, remove the files ``*.nbi`` and ``*.nbc`` in ``__pycache__``.
"""

from numba import njit


def compiled(function):
    """Compile ``function`` at its first call, without the lock of Python.

    The machine code is kept on disk if there is a folder that can be written to.
    """
    try:
        return njit(nogil=True, cache=True)(function)
    except RuntimeError:  # numba finds no folder for its cache
        return njit(nogil=True)(function)
