"""Manifests: tables of specimens as text or spreadsheet, and the meaning of their columns."""

import csv
import difflib
import io
import re
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

from xtalsk.columns import MODALITIES, modality_of
from xtalsk.io._constants import LARGEST_SPREADSHEET
from xtalsk.io._errors import BrokenFileError, broken_file
from xtalsk.io._file_cell import options_of
from xtalsk.io._files import existing_file
from xtalsk.io._text import decode_text

_SPREADSHEETS = (".xlsx", ".xlsm", ".xls", ".ods")
_RESEMBLING = (
    0.8  # similarity of two names of columns, of difflib, above which one may be meant for the other
)
_BOOLEANS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
OPTIONS = tuple(dict.fromkeys(option for modality in MODALITIES for option in options_of(modality)))


@dataclass
class Manifest:
    """A table of specimens as text.

    Parameters
    ----------
    name : str
        For error messages.
    header : list of str
    lines : list
        Number of the line of each row, the heading is line 1; labels of the rows of a DataFrame.
    rows : list of list of str
    folder : str or None
        To which paths are relative.
    unit : str
        What ``lines`` number.
    """

    name: str
    header: list
    lines: list
    rows: list
    folder: str | None = None
    unit: str = "line"


def read_manifest(source, folder=None):
    """Return a table in a file, or a DataFrame, as a `Manifest`.

    Raises
    ------
    OSError
        If there is no such file.
    BrokenFileError
        If the file is no table; the message names the file.
    """
    if hasattr(source, "columns"):
        folder = None if folder is None else str(Path(folder).resolve())
        return Manifest("the table", *_read_frame(source), folder, "row")
    path = existing_file(source)
    with broken_file(path.name):
        if path.suffix.lower() in _SPREADSHEETS:
            lines, rows = _read_spreadsheet(path)
        else:
            lines, rows = _read_text(path)
        if not rows:
            raise ValueError("expected a line of names of columns, the file is empty")
        header = [name.strip() for name in rows[0]]
        folder = path.parent if folder is None else Path(folder)
        return Manifest(path.name, header, lines[1:], rows[1:], str(folder.resolve()))


def _read_frame(frame):
    from xtalsk.utils import is_missing

    values = zip(*(frame[name].tolist() for name in frame.columns), strict=True)
    rows = [["" if is_missing(value) else str(value) for value in row] for row in values]
    return list(map(str, frame.columns)), list(frame.index), rows


def _read_text(path):
    """Return numbers and fields of the lines of a text; the heading has the separator most often."""
    text = decode_text(path.read_bytes(), path.name)
    heading = next((line for line in text.splitlines() if line.strip()), "")
    separator = max("\t;,", key=heading.count)
    lines, rows = [], []
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    for row in reader:
        if any(cell.strip() for cell in row):
            lines.append(reader.line_num)
            rows.append(row)
    return lines, rows


def _read_spreadsheet(path):
    """Return numbers and cells of the rows of the first sheet."""
    import pandas as pd

    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            n_bytes = sum(member.file_size for member in archive.infolist())
        if n_bytes > LARGEST_SPREADSHEET:
            raise ValueError(f"it takes {n_bytes:.3g} bytes unpacked, more than {LARGEST_SPREADSHEET:.3g}")
    table = pd.read_excel(path, header=None, dtype=str, keep_default_na=False, na_filter=False)
    rows = [list(map(str, row)) for row in table.itertuples(index=False)]
    kept = [i for i, row in enumerate(rows) if any(cell.strip() for cell in row)]
    return [i + 1 for i in kept], [rows[i] for i in kept]


@dataclass
class Layout:
    """Which column of a manifest holds what, by position.

    Parameters
    ----------
    modalities : dict of {str: int}
        Columns of specimens.
    options : dict of {(str, str): int}
        Options of columns, by column of specimens and name of the option.
    target, groups : int or None
    """

    modalities: dict = field(default_factory=dict)
    options: dict = field(default_factory=dict)
    target: int | None = None
    groups: int | None = None


def find_layout(manifest, columns=None, target=None, groups=None):
    """Return the `Layout` of a manifest.

    Parameters
    ----------
    manifest : Manifest
    columns : dict of {str: str or None} or None
        Other names for columns of the manifest; None leaves a column out.
    target, groups : str or None
        Columns of the manifest.

    Raises
    ------
    BrokenFileError
        If a column is missing, if one name stands for two columns, or if a column that is not known resembles
        one that is.
    """
    header, renamed = manifest.header, dict(columns or {})
    for wanted in (*renamed, *(name for name in (target, groups) if name is not None)):
        if wanted not in header:
            raise BrokenFileError(f"{manifest.name}: no column {wanted!r}; the columns are {header}")
    named = [renamed.get(name, name) for name in header]
    used = [name for name in named if name]
    repeated = sorted({name for name in used if used.count(name) > 1})
    if repeated:
        raise BrokenFileError(f"{manifest.name}: the columns {repeated} appear more than once")
    places = {name: i for i, name in enumerate(named) if name}
    layout = Layout({name: i for name, i in places.items() if modality_of(name)})
    if not layout.modalities:
        raise BrokenFileError(
            f"{manifest.name}: expected a column of {list(MODALITIES)}, found the columns {header}; give "
            "e.g. columns={'file': 'rings'}"
        )
    for column in layout.modalities:
        for option in options_of(column):
            names = (f"{column}_{option}", f"{modality_of(column)}_{option}", option)  # the narrowest counts
            place = next((places[name] for name in names if name in places), None)
            if place is not None:
                layout.options[column, option] = place
    for name, i in places.items():
        known = name in layout.modalities or i in layout.options.values() or name in OPTIONS
        if not known and header[i] not in (target, groups):
            _check_not_meant(header[i], name, manifest.name)
    layout.target, layout.groups = (None if n is None else header.index(n) for n in (target, groups))
    return layout


def _check_not_meant(shown, name, file):
    """Raise BrokenFileError if a column that is not used may be meant for a known one."""
    plain = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
    known = (*MODALITIES, *OPTIONS)
    close = [k for k in known if plain == k or plain.startswith(f"{k}_")]
    close += difflib.get_close_matches(plain, known, n=1, cutoff=_RESEMBLING)
    if close:
        meant = max(close, key=len)
        raise BrokenFileError(
            f"{file}: the column {shown!r} is not known; give columns={{{shown!r}: {meant!r}}} if it holds "
            f"{meant}, or columns={{{shown!r}: None}} to leave it out"
        )


def parse_option(option, text):
    """Return the value of an option of a column of files.

    Raises
    ------
    ValueError
        If the text is no such value.
    """
    if option in ("energy_unit", "axis"):
        return text
    if option == "negative":
        if text.lower() not in _BOOLEANS:
            raise ValueError("expected true or false")
        return _BOOLEANS[text.lower()]
    if option == "center":
        center = tuple(_to_float(part) for part in re.split(r"[\s,;]+", text.strip("()[] ")))
        if len(center) != 2:
            raise ValueError("expected row and column in pixels, such as 255.5 260.0")
        return center
    number = _to_float(text)
    if option == "signal" and (number < 0 or number != int(number)):
        raise ValueError("expected a number of a signal, counted from 0")
    if option == "signal":
        return int(number)
    if option != "offset" and number <= 0:
        raise ValueError("expected a positive number")
    return number


def _to_float(text):
    try:
        number = float(text.replace("_", "?"))
    except ValueError:
        raise ValueError("expected a number with a decimal point") from None
    if not abs(number) < float("inf"):
        raise ValueError("expected a finite number")
    return number
