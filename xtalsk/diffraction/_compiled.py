"""Compilation of loops over pixels, and the threads that run them.

Modules of compiled functions (``*_kernels.py``) are imported where they are first used, so that importing
xtalsk neither imports numba nor compiles. numba compares only the file of a compiled function with the cache
on disk: no kernel here calls one of another file.
"""

import threading
from concurrent.futures import ThreadPoolExecutor

import torch
from numba import njit

_WORKER = threading.local()
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
    """Call ``work(i)`` for each i below ``n``, in as many threads as torch uses; return the results.

    Calls within ``work`` use one thread.
    """
    n_of_torch = torch.get_num_threads()
    n_threads = min(n_of_torch, n)
    if n_threads <= 1 or getattr(_WORKER, "is_busy", False):
        return [work(i) for i in range(n)]
    try:
        with ThreadPoolExecutor(n_threads, initializer=_start_worker) as pool:
            return list(pool.map(work, range(n)))
    finally:
        torch.set_num_threads(n_of_torch)  # threads that start later again use as many as before


def _start_worker():
    """Let torch use one thread in this one."""
    _WORKER.is_busy = True
    torch.set_num_threads(1)
