"""Compilation of loops over numbers, and threads to run them.

Modules of compiled functions are imported where they are first used, so that importing xtalsk neither
imports numba nor compiles. numba compares only the file of a compiled function with the cache on disk: after
a change of ``_counting_kernels.py``, touch the other files ``*_kernels.py`` too.
"""

from concurrent.futures import ThreadPoolExecutor

import torch
from numba import njit

BLOCKS_PER_THREAD = 4  # parts of the work for each thread, so that no thread waits long for the others


def compiled(function):
    """Compile ``function`` at its first call, without the lock of Python.

    The machine code is kept on disk if there is a folder that can be written to.
    """
    try:
        return njit(nogil=True, cache=True)(function)
    except RuntimeError:  # numba finds no folder for its cache
        return njit(nogil=True)(function)


def in_threads(work, n):
    """Call ``work(first, last)`` for parts of the range 0 to ``n``, in as many threads as torch uses.

    Parameters
    ----------
    work : callable
        Its results must not depend on how the range is split.
    n : int

    Returns
    -------
    list
        The results in the order of the parts.
    """
    n_threads = min(torch.get_num_threads(), n)
    if n_threads <= 1:
        return [work(0, n)]
    n_blocks = min(n, n_threads * BLOCKS_PER_THREAD)
    edges = [n * block // n_blocks for block in range(n_blocks + 1)]
    with ThreadPoolExecutor(n_threads) as pool:
        return list(pool.map(work, edges[:-1], edges[1:]))
