"""Microscope file formats, read with rosettasciio, which is an optional dependency.

rosettasciio runs in a process of its own, which is ended if a damaged file makes it run on and on.
"""

import atexit
import os
import pickle
import struct
import subprocess
import sys
import threading
import warnings
from importlib import import_module
from importlib.util import find_spec

from xtalsk.io import _constants

_LENGTH = struct.Struct("<Q")
_SERVE = "import sys; sys.path[:] = {path!r}\nfrom xtalsk.io._rosettasciio import serve\nserve()"


def read_microscope(path, choose, *arguments):
    """Read a file with each reader for its suffix, until one of them gives the expected data.

    Parameters
    ----------
    path : Path
    choose : callable
        Function of a module. It is called in the other process with the list of signals of a reader (dicts
        with ``data``, ``axes`` and ``metadata``), the name of the file and ``arguments``. It returns the
        expected data, or raises ValueError if the signals do not contain them.
    *arguments
        For ``choose``.

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
    if find_spec("rsciio") is None:
        raise ImportError(
            f"{path.name}: reading {path.suffix} files needs rosettasciio; pip install xtalsk[microscopy]"
        )
    limit = _constants.FOREIGN_TIME_LIMIT + path.stat().st_size * _constants.FOREIGN_SECONDS_PER_BYTE
    answer = _reader.ask((path.absolute(), choose, arguments), limit)
    if answer is None:
        raise ValueError(
            f"{path.name}: rosettasciio did not finish within {limit:.0f} s, or crashed; the file is "
            "damaged, or too large for this computer"
        )
    problem, value, messages = answer
    for message, category in messages:
        warnings.warn(f"{path.name}: {message}", category, stacklevel=5)
    if problem is not None:
        raise ValueError(problem)
    return value


class _Reader:
    """A process that reads files. It starts with the first file and ends with this process.

    A forked process starts its own, because two processes cannot share one pipe.
    """

    def __init__(self):
        self._process, self._owner, self._lock = None, None, threading.Lock()

    def _start(self):
        if self._process is not None and self._owner == os.getpid() and self._process.poll() is None:
            return
        self._process = subprocess.Popen(
            [sys.executable, "-c", _SERVE.format(path=sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._owner = os.getpid()

    def ask(self, request, limit):
        """Return the answer to a request, or None if it takes longer than ``limit`` seconds or crashes."""
        with self._lock:
            self._start()
            process, answers = self._process, []
            exchange = threading.Thread(target=_exchange, args=(process, request, answers), daemon=True)
            try:
                exchange.start()
                exchange.join(limit)
            finally:  # also after Ctrl-C: a late answer must not be taken for that to the next request
                if not answers:
                    self.stop()
            return answers[0] if answers else None

    def stop(self):
        """End the process, unless it belongs to the process that forked this one."""
        if self._process is not None and self._owner == os.getpid():
            self._process.kill()
            self._process.wait()
            self._process.stdin.close()
            self._process.stdout.close()
        self._process = None


def _renew():
    """Forget the process and the lock of the parent after a fork."""
    global _reader
    _reader = _Reader()


_reader = _Reader()
atexit.register(lambda: _reader.stop())
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)


def _send(pipe, value):
    content = pickle.dumps(value, protocol=5)
    pipe.write(_LENGTH.pack(len(content)))
    pipe.write(content)
    pipe.flush()


def _receive(pipe):
    """Return the next value of a pipe; raise EOFError if it was closed."""
    size = pipe.read(_LENGTH.size)
    if len(size) < _LENGTH.size:
        raise EOFError
    (n_bytes,) = _LENGTH.unpack(size)
    content = pipe.read(n_bytes)
    if len(content) < n_bytes:
        raise EOFError
    return pickle.loads(content)


def _exchange(process, request, answers):
    """Send a request and append its answer; append nothing if the process has ended."""
    try:
        _send(process.stdin, request)
        answers.append(_receive(process.stdout))
    except (EOFError, OSError, ValueError):
        return


def serve():
    """Answer the requests on the standard input until it is closed. What readers print goes to stderr."""
    requests = sys.stdin.buffer
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    while True:
        try:
            path, choose, arguments = _receive(requests)
        except EOFError:
            return
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("default")
            problem, value = _read(path, choose, arguments)
        messages = [(str(w.message), UserWarning) for w in caught if issubclass(w.category, UserWarning)]
        _send(answers, (problem, value, messages))


def _read(path, choose, arguments):
    """Return (None, expected data), or (what is wrong, None)."""
    import rsciio

    suffix = path.suffix.lower().lstrip(".")
    plugins = [p for p in rsciio.IO_PLUGINS if suffix in [e.lower() for e in p["file_extensions"]]]
    if not plugins:
        return f"{path.name}: rosettasciio has no reader for files that end in {path.suffix!r}", None
    problems = []
    for plugin in plugins:
        try:
            signals = import_module(plugin["api"]).file_reader(str(path))
            return None, choose(signals, path.name, *arguments)
        except Exception as error:  # each reader raises its own exceptions
            problems.append(f"{plugin['name']}: {str(error) or type(error).__name__}")
    return f"{path.name}: {'; '.join(problems)}", None
