"""Compilation of loops over numbers.

Modules of compiled functions (``*_kernels.py``) are imported where they are first used, so that importing
xtalsk neither imports numba nor compiles. numba compares only the file of a compiled function with its cache
on disk. After a change of a kernel that other files call, remove the files ``*.nbi`` and ``*.nbc`` in
``__pycache__``.
"""

from numba import njit

ANY_ORDER = frozenset({"contract", "reassoc", "nsz"})
"""What LLVM may do to sums: change their order. NaN and infinity keep their meaning."""


def compiled(function, **options):
    """Compile ``function`` at its first call, without the lock of Python.

    The machine code is kept on disk if there is a folder that can be written to. ``options`` are those of
    `numba.njit`.
    """
    try:
        return njit(nogil=True, cache=True, **options)(function)
    except RuntimeError:  # numba finds no folder for its cache
        return njit(nogil=True, **options)(function)


def compiled_any_order(function, permissions=ANY_ORDER):
    """Compile ``function`` as `compiled` does, with sums in any order and division by zero as in NumPy."""
    return compiled(function, fastmath=set(permissions), error_model="numpy")
