"""Which tensors compiled loops serve, and the threads that run them."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import cache, lru_cache

import torch
from threadpoolctl import ThreadpoolController

BLOCKS_PER_THREAD = 4  # parts of the work for each thread, so that no thread waits long for the others


def is_plain(tensor):
    """Return whether compiled loops serve ``tensor``: single precision on a CPU."""
    return tensor.dtype == torch.float32 and tensor.device.type == "cpu"


_WORKER = threading.local()


def in_threads(work, n, blocks_per_thread=BLOCKS_PER_THREAD):
    """Call ``work(first, last)`` for parts of the range 0 to ``n``, in as many threads as torch uses.

    Parameters
    ----------
    work : callable
        Its results must not depend on how the range is split.
    n : int
    blocks_per_thread : int
        Parts of the range for each thread.

    Returns
    -------
    list
        The results in the order of the parts.
    """
    n_of_torch = torch.get_num_threads()
    n_threads = min(n_of_torch, n)
    if n_threads <= 1 or getattr(_WORKER, "is_busy", False):  # a part does not split its work again
        return [work(0, n)]
    n_blocks = min(n, n_threads * blocks_per_thread)
    edges = [n * block // n_blocks for block in range(n_blocks + 1)]
    with _controller().limit(limits=1, user_api="blas"):  # the threads of BLAS would wait for each other
        return list(_pool_of(n_of_torch).map(work, edges[:-1], edges[1:]))


@cache
def _controller():
    """Return what sets the numbers of threads of the libraries of linear algebra that are loaded."""
    return ThreadpoolController()


@lru_cache(maxsize=2)
def _pool_of(n_threads):
    """Return the threads that wait for work; a forked process starts its own."""
    pool = ThreadPoolExecutor(n_threads, thread_name_prefix="xtalsk", initializer=_start_worker)
    barrier = threading.Barrier(n_threads)
    list(pool.map(lambda _: barrier.wait(), range(n_threads)))  # all have started
    torch.set_num_threads(n_threads)  # threads that start later again use as many as before
    return pool


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: _pool_of.cache_clear())


def for_each(work, n):
    """Call ``work(i)`` for each i below ``n``, in as many threads as torch uses; return the results."""
    parts = in_threads(lambda first, last: [work(i) for i in range(first, last)], n, blocks_per_thread=n)
    return [result for part in parts for result in part]


def _start_worker():
    """Let torch use one thread in this one; the number of the calling thread stays."""
    _WORKER.is_busy = True
    torch.set_num_threads(1)
