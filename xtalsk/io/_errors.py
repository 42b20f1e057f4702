"""The one error of all readers of files."""

from contextlib import contextmanager


class BrokenFileError(ValueError):
    r"""Raised if a file cannot be read, or does not contain what is expected; the message names the file.

    It is a ValueError. Transformers with ``on_error="warn"`` report the row and go on.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from xtalsk.io import BrokenFileError, read_profile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "scan.xy")
    ...     _ = path.write_text("20.0 5\n20.1 high\n20.2 6\n")
    ...     try:
    ...         read_profile(path)
    ...     except BrokenFileError as error:
    ...         print(error)
    scan.xy: expected two numbers in line 2, got '20.1 high'
    """


def error_message(error):
    """Return the message of an exception; with its class, unless it is a ValueError or an OSError."""
    if isinstance(error, MemoryError):
        return "reading it takes more memory than there is"
    if not isinstance(error, ValueError | OSError):
        return f"{type(error).__name__}: {error}"
    return str(error) or type(error).__name__


@contextmanager
def broken_file(name):
    """Turn every exception of the block into `BrokenFileError`, with the name of the file in its message.

    ImportError passes: it says which package is missing and does not depend on the content of the file.
    """
    try:
        yield
    except (BrokenFileError, ImportError):
        raise
    except Exception as error:  # damaged files make libraries raise nearly anything
        message = error_message(error)
        prefix = "" if message.startswith(f"{name}: ") else f"{name}: "
        raise BrokenFileError(prefix + message) from error
