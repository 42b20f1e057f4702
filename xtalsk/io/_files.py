"""Files of text: do they exist, and which numbers do they hold."""

import os
import re
from pathlib import Path

import numpy as np

_NUMBER = re.compile(r"(?:[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|nan)$", re.IGNORECASE)
_DECIMAL_COMMA = re.compile(r"\d,\d")


def existing_file(path):
    """Turn a path into a `Path`, or raise OSError where no file is."""
    path = Path(path)
    if not path.is_file():
        raise OSError(f"{os.fspath(path)!r}: no such file")
    return path


def read_text(path):
    """Text of a file in UTF-8, with or without a byte order mark, or else in Latin-1."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        return path.read_text(encoding="latin-1")


def _fields(line):
    """Parts of a line between blanks, tabs, commas or semicolons.

    Where tabs or semicolons part the columns, a comma between digits is a decimal comma.
    """
    if (";" in line or "\t" in line) and _DECIMAL_COMMA.search(line):
        line = re.sub(r"(?<=\d),(?=\d)", ".", line)
    return [field for field in re.split(r"[\s,;]+", line.replace('"', " ").strip()) if field]


def read_columns(path, expected):
    """Read the first two numbers of each line that holds two or more numbers and nothing else.

    Parameters
    ----------
    path : Path
    expected : str
        What the columns are, for the message of the error.

    Returns
    -------
    table : ndarray of shape (n_lines, 2)
    heading : str
        The last line with letters before the numbers; empty where there is none.

    Raises
    ------
    ValueError
        If there are fewer than two such lines, or text between them.
    """
    rows, heading = [], ""
    for line in read_text(path).splitlines():
        fields = _fields(line)
        if len(fields) >= 2 and all(_NUMBER.match(f) for f in fields):
            rows.append((float(fields[0]), float(fields[1])))
        elif rows and fields and not re.match(r"[#;!'*/%&]", fields[0]):
            raise ValueError(
                f"{path.name}: expected two numbers after line {len(rows)} of data, got {line[:40]!r}"
            )
        elif not rows and re.search("[A-Za-z]", line):
            heading = line
    if len(rows) < 2:
        raise ValueError(f"{path.name}: found {len(rows)} lines of two numbers, expected {expected}")
    return np.array(rows), heading
