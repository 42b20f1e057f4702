"""Compilation of loops over pixels, and the threads that run them.

Modules of compiled functions (``*_kernels.py``) are imported where they are first used, so that importing
xtalsk neither imports numba nor compiles. numba compares only the file of a compiled function with the cache
on disk: no kernel here calls one of another file.
"""

from concurrent.futures import ThreadPoolExecutor

import torch
from numba import njit

_SUMS = {"reassoc", "contract", "nsz"}  # sums may be reordered; NaN and infinity keep their meaning


def compiled(function):
    """Compile ``function`` at its first call, without the lock of Python.

    The machine code is kept on disk if there is a folder that can be written to.
    """
    try:
        return njit(nogil=True, cache=True, fastmath=_SUMS, error_model="numpy")(function)
    except RuntimeError:  # numba finds no folder for its cache
        return njit(nogil=True, fastmath=_SUMS, error_model="numpy")(function)


def for_each(work, n):
    """Call ``work(i)`` for each i below ``n``, in as many threads as torch uses; return the results."""
    n_threads = min(torch.get_num_threads(), n)
    if n_threads <= 1:
        return [work(i) for i in range(n)]
    with ThreadPoolExecutor(n_threads) as pool:
        return list(pool.map(work, range(n)))
