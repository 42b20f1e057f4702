"""A process of its own in which files of other libraries are read.

Damaged files make libraries run on and on, fill the memory or crash. The process has limits, and is ended if
it exceeds them.
"""

import atexit
import os
import pickle
import struct
import subprocess
import sys
import threading
import warnings
from contextlib import contextmanager

from xtalsk.io import _constants
from xtalsk.io._errors import error_message

_LENGTH = struct.Struct("<Q")
_SERVE = "import sys; sys.path[:] = {path!r}\nfrom xtalsk.io._reader_process import serve\nserve()"


def read_apart(path, library, function, *arguments):
    """Call a function with a path in the process of readers, and return its value.

    Parameters
    ----------
    path : Path
    library : str
        Name of the library that reads, for error messages.
    function : callable
        Function of a module. It is called with the absolute path and ``arguments``.
    *arguments
        For ``function``.

    Returns
    -------
    object
        The value of the function. Its UserWarnings are given here, with the name of the file.

    Raises
    ------
    ValueError
        If the function raises an exception, takes longer than the time limit, or crashes; the message names
        the file.
    """
    limit = _constants.FOREIGN_TIME_LIMIT + path.stat().st_size * _constants.FOREIGN_SECONDS_PER_BYTE
    answer = _reader.ask((function, (path.absolute(), *arguments)), limit)
    if answer is None:
        raise ValueError(
            f"{path.name}: {library} did not finish within {limit:.0f} s, or crashed; the file is "
            "damaged, or too large for this computer"
        )
    problem, value, messages = answer
    for message in messages:
        prefix = "" if message.startswith(f"{path.name}: ") else f"{path.name}: "
        warnings.warn(prefix + message, stacklevel=6)
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
            function, arguments = _receive(requests)
        except EOFError:
            return
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("default")
            try:
                problem, value = None, function(*arguments)
            except Exception as error:  # damaged files make libraries raise nearly anything
                problem, value = error_message(error), None
        messages = [str(w.message) for w in caught if issubclass(w.category, UserWarning)]
        try:
            _send(answers, (problem, value, messages))
        except BrokenPipeError:  # nobody waits for the answer any more
            return


@contextmanager
def limited_memory(n_bytes):
    """Raise MemoryError if the block takes more than ``n_bytes``. Linux only: elsewhere there is no limit."""
    try:
        import resource
    except ImportError:  # Windows
        yield
        return
    with open("/proc/self/statm") if os.path.exists("/proc/self/statm") else open(os.devnull) as file:
        pages = file.read().split()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    if not pages or soft != resource.RLIM_INFINITY:
        yield
        return
    resource.setrlimit(resource.RLIMIT_AS, (int(pages[0]) * resource.getpagesize() + n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
