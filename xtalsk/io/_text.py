"""Text files of numbers in columns: encoding, comments, heading and rows."""

import re
import warnings
from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from xtalsk.io._constants import LARGEST_STEP_ERROR
from xtalsk.io._numbers import find_decimal_mark, find_separator, split_line, to_number

_BOMS = (
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
_WORDS = re.compile(r"nan|inf(?:inity)?|n/?a|null|none|1\.#\w+|#n/a|\*", re.IGNORECASE)  # instead of numbers
_DATA_LINE = re.compile(r"(?=.*\d)[-+−\d.,;\seEdD'’\"]+")
_COMMENT = re.compile(r"\s*[#;!'*/%&]")
_JOINED = re.compile(r"\d{1,3}\.\d{2,15}|\d{2,15}")
_ROUNDING = 0.7  # of the last decimal; a rounded position is nearer than that to the line of equal steps
_MARGIN = 0.2  # of the last decimal, by which every other position is farther from the line
_LINE_ERROR = 3**0.5  # last decimals / sqrt(rows): three standard deviations of that line at its ends
_LEADING_ZERO = re.compile(r"[-+]?0\d+")


def decode_text(content, name):
    """Return bytes as text: by byte order mark, as UTF-16 without one, as UTF-8, or else as Latin-1.

    Raises
    ------
    ValueError
        If the bytes are not text.
    """
    for bom, encoding in _BOMS:
        if content.startswith(bom):
            return content.decode(encoding)
    start = content[:1000]
    for first, encoding in ((1, "utf-16-le"), (0, "utf-16-be")):
        high, low = start[first::2], start[1 - first :: 2]  # Latin letters have a high byte of zero
        if len(content) % 2 == 0 and high.count(0) > len(high) / 2 and 0 not in low:
            return content.decode(encoding)
    if b"\x00" in content:
        hint = "; it is a zip archive" if content.startswith(b"PK") else ""
        raise ValueError(f"{name}: expected text, found binary data{hint}; export the data as text")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def read_lines(path):
    """Return the lines of a text file, with any of the three kinds of line ends."""
    return re.split(r"\r\n|\r|\n", decode_text(path.read_bytes(), path.name))


def is_comment(line):
    """Return whether a line starts with one of the marks of comments ``# ; ! ' * / % &``."""
    return _COMMENT.match(line) is not None


@dataclass
class TextTable:
    """Columns of a text file.

    Parameters
    ----------
    name : str
        Name of the file, for error messages.
    lines : list of int
        Number of the line of each row, counted from 1.
    rows : list of list of str
        Fields of each row.
    separator : str
        Key of `SEPARATORS`.
    preamble : list of str
        Lines before the first row.
    remarks : list of str
        All other lines that are comments.
    """

    name: str
    lines: list[int]
    rows: list[list[str]]
    separator: str
    preamble: list[str]
    remarks: list[str] = field(default_factory=list)
    decimal_mark: str = "."

    @property
    def n_columns(self):
        """Number of columns of most rows."""
        return Counter(map(len, self.rows)).most_common(1)[0][0]

    def column(self, index, quantity, nan_allowed=False):
        """Return one column as floats.

        Parameters
        ----------
        index : int
        quantity : str
            Name of the quantity, for error messages.
        nan_allowed : bool
            Whether "nan" means "not measured".

        Raises
        ------
        ValueError
            If a field is not a finite number; the message names the file and the line.
        """
        values = np.empty(len(self.rows))
        for i, (line, row) in enumerate(zip(self.lines, self.rows, strict=True)):
            value = to_number(row[index], self.decimal_mark) if index < len(row) else None
            if value is None:
                shown = " ".join(row)[:40]
                raise ValueError(f"{self.name}: expected two numbers in line {line}, got {shown!r}")
            values[i] = value
        bad = np.isinf(values) if nan_allowed else ~np.isfinite(values)
        if bad.any():
            row = int(bad.argmax())
            raise ValueError(
                f"{self.name}: expected a finite number for {quantity} in line {self.lines[row]}, got "
                f"{self.rows[row][index]!r}"
            )
        return values


def _is_data(line):
    """Return whether a line consists of numbers, or of words such as "nan" instead of some."""
    if is_comment(line):
        return False
    return _DATA_LINE.fullmatch(line) is not None or _DATA_LINE.fullmatch(_WORDS.sub("0", line)) is not None


def _is_row(fields):
    """Return whether fields are two or more numbers, whatever their decimal mark is, or one and "nan"."""
    numbers = sum(bool(re.fullmatch(r"(?=\D{0,2}\d)[-+]?[\d.,][\d.,eEdD+-]*", f)) for f in fields)
    return numbers >= 2 or (numbers == 1 and any(_WORDS.fullmatch(f) for f in fields))


def parse_table(lines, name, quantities):
    """Return the `TextTable` of the lines of a text file.

    The first line with two or more numbers is the first row. The lines before it are the preamble. After it,
    a line that is not empty and no comment is a row.

    Parameters
    ----------
    lines : list of str
    name : str
        Name of the file, for error messages.
    quantities : str
        Names of the two expected columns, for error messages.

    Raises
    ------
    ValueError
        If there are fewer than two rows, or if the decimal mark is ambiguous.
    """
    candidates = [line for line in lines if _is_data(line)]
    separator = find_separator(candidates) if candidates else "blank"
    table = TextTable(name, [], [], separator, [])
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        if is_comment(line) or (not table.rows and not _is_data(line)):
            (table.remarks if table.rows else table.preamble).append(line)
            continue
        fields = split_line(line, separator)
        if table.rows or _is_row(fields):
            table.lines.append(number)
            table.rows.append(fields)
        else:
            table.preamble.append(line)
    if len(table.rows) < 2:
        raise ValueError(
            f"{name}: expected two or more lines with two numbers ({quantities}), found {len(table.rows)}"
        )
    _drop_empty_columns(table)
    _check_first_row(table)
    _split_joined(table)
    fields = [f for row in table.rows for f in row]
    if separator == "," and not any("." in f for f in fields) and any(map(_LEADING_ZERO.fullmatch, fields)):
        shown = ",".join(table.rows[0])
        raise ValueError(
            f"{name}: decimal commas and commas between columns cannot be told apart in {shown[:40]!r}; "
            "write decimal points, or separate the columns by semicolons"
        )
    columns = [[row[i] for row in table.rows if i < len(row)] for i in range(table.n_columns)]
    table.decimal_mark = find_decimal_mark(columns, name)
    return table


def _drop_empty_columns(table):
    """Remove columns without any field, which double separators make."""
    width = max(map(len, table.rows))
    kept = [i for i in range(width) if any(i < len(row) and row[i] for row in table.rows)]
    if len(kept) < width:
        table.rows = [[row[i] for i in kept if i < len(row)] for row in table.rows]


def _split_joined(table):
    """Split fields such as ``14.168110228`` in tables of two columns in equal steps, with a warning.

    Programs that write columns of fixed width leave no separator before a large intensity. The position is
    the one that lies on the line through the other positions. Of two such positions, the intensity with a
    number of digits that no row with a separator has decides.
    """
    joined = [i for i, row in enumerate(table.rows) if len(row) == 1 and _JOINED.fullmatch(row[0])]
    whole = [i for i, row in enumerate(table.rows) if len(row) == 2]
    positions = [to_number(table.rows[i][0]) for i in whole]
    if not joined or len(joined) + len(whole) < len(table.rows) or len(whole) < 3 or None in positions:
        return
    n_decimals = max(len(table.rows[i][0].partition(".")[2]) for i in whole)
    line = np.polynomial.Polynomial.fit(whole, positions, 1)
    unit = 0.1**n_decimals
    largest = np.abs(line(np.array(whole)) - positions).max() / unit
    if largest > _ROUNDING:
        return  # no equal steps
    limit = largest + _LINE_ERROR / np.sqrt(len(whole))
    separated = {len(table.rows[i][1]) for i in whole}
    for i in joined:
        field = table.rows[i][0]
        end = _place_of_split(field, n_decimals, line(i), unit, limit, separated)
        table.rows[i] = [field[:end], field[end:]] if end else [field]
    split = [f"{table.lines[i]}: {' and '.join(table.rows[i])}" for i in joined if len(table.rows[i]) == 2]
    if split:
        shown = ", ".join(split[:3]) + ", ..." * (len(split) > 3)
        warnings.warn(
            f"{table.name}: no separator between the columns in {len(split)} lines; read as {shown}",
            stacklevel=5,
        )


def _place_of_split(field, n_decimals, position, unit, limit, separated):
    """Return where a field of position and intensity is split, or None if that is not certain.

    Parameters
    ----------
    field : str
    n_decimals : int
        Decimals of the other positions.
    position, unit : float
        Expected position and its last decimal.
    limit : float
        Largest error of the position in last decimals.
    separated : set of int
        Numbers of digits of the intensities with a separator.
    """
    point = field.find(".")
    last = len(field) if point < 0 else min(len(field), point + n_decimals + 2)
    ends = [end for end in range(max(point + 1, 1), last) if field[end] > "0"]
    splits = sorted((abs(float(field[:end]) - position) / unit, end) for end in ends)
    splits = [(error, end) for error, end in splits if error < limit]
    if len(splits) > 1:
        splits = [split for split in splits if len(field) - split[1] not in separated] or splits
    if not splits or splits[0][0] > _ROUNDING:
        return None
    is_certain = len(splits) == 1 or splits[1][0] > splits[0][0] + _MARGIN
    return splits[0][1] if is_certain else None


def _check_first_row(table):
    """Move a first row of start, step and stop to the preamble; raise ValueError if it has other columns."""
    first, width, n_points = table.rows[0], table.n_columns, len(table.rows) - 1
    values = [to_number(f) for f in first]
    if len(values) == 3 and None not in values and np.isfinite(values).all() and n_points > 2:
        start, *rest = values
        for step, stop in (rest, rest[::-1]):
            if step > 0 and abs(start + (n_points - 1) * step - stop) <= LARGEST_STEP_ERROR * step:
                table.preamble.append(" ".join(table.rows.pop(0)))
                table.lines.pop(0)
                return
    if len(first) > width and n_points > 2:
        raise ValueError(
            f"{table.name}: expected {width} columns as in the other lines, found {len(first)} in line "
            f"{table.lines[0]}: {' '.join(first)[:40]!r}; is it a heading? start it with #"
        )
