"""Microscope file formats, read with rosettasciio, which is an optional dependency."""

from importlib import import_module
from importlib.util import find_spec

from xtalsk.io._reader_process import read_apart


def read_microscope(path, choose, *arguments, is_part=False):
    """Read a file with each reader for its suffix, until one of them gives the expected data.

    Parameters
    ----------
    path : Path
    choose : callable
        Function of a module. It is called in the process of readers with the list of signals of a reader
        (dicts with ``data``, ``axes`` and ``metadata``), the name of the file and ``arguments``. It returns
        the expected data, or raises ValueError if the signals do not contain them.
    *arguments
        For ``choose``.
    is_part : bool
        Whether ``choose`` takes a small part of the data, so that the rest need not be read.

    Returns
    -------
    object
        The value that ``choose`` returned.

    Raises
    ------
    ImportError
        If rosettasciio is not installed.
    ValueError
        If no reader knows the suffix, if no reader gives the expected data, or if reading takes too long; the
        message names the file.
    """
    _check_installed(path)
    return read_apart(path, "rosettasciio", _read, choose, arguments, is_part)


def open_microscope(path, choose, *arguments):
    """Open a file as `read_microscope` does, in this process, with data that are read when they are used.

    The signals hold dask arrays or memory maps. There is no time limit.
    """
    _check_installed(path)
    return _read(path, choose, arguments, is_lazy=True)


def _check_installed(path):
    if find_spec("rsciio") is None:
        raise ImportError(
            f"{path.name}: reading {path.suffix} files needs rosettasciio; pip install xtalsk[microscopy]"
        )


def _read(path, choose, arguments, is_lazy):
    """Return the expected data, or raise ValueError. Some readers read the whole file in any case."""
    import rsciio

    suffix = path.suffix.lower().lstrip(".")
    plugins = [p for p in rsciio.IO_PLUGINS if suffix in [e.lower() for e in p["file_extensions"]]]
    if not plugins:
        raise ValueError(f"{path.name}: rosettasciio has no reader for files that end in {path.suffix!r}")
    problems = []
    for plugin in plugins:
        try:
            signals = import_module(plugin["api"]).file_reader(str(path), lazy=is_lazy)
            return choose(signals, path.name, *arguments)
        except Exception as error:  # each reader raises its own exceptions
            problems.append(f"{plugin['name']}: {str(error) or type(error).__name__}")
    raise ValueError(f"{path.name}: {'; '.join(problems)}")
