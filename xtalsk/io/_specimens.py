"""Reader of manifests: tables in which a row is a specimen, and a cell names a file or is a formula."""

import re
import warnings

import numpy as np

from xtalsk.io._errors import BrokenFileError
from xtalsk.io._file_cell import FileCell, find_file, is_file_column
from xtalsk.io._manifest import find_layout, parse_option, read_manifest

_MOST_LISTED = 10  # broken rows in a message


def read_specimens(
    manifest,
    *,
    columns=None,
    target=None,
    groups=None,
    folder=None,
    allow_outside=False,
    on_error="warn",
    check_files=False,
    n_jobs=None,
    verbose=0,
):
    r"""Read a manifest: a table with one row for each specimen, whose columns name files or hold formulas.

    ======================================= ==========================================================
    column                                  content
    ======================================= ==========================================================
    ``rings``, ``spots``, ``spots_1``, ...  files of images, see `read_image`
    ``powder``                              files of powder scans, see `read_profile`
    ``eds``, ``eels``                       files of spectra, see `read_spectrum`
    ``formula``                             formulas, or elements that were detected
    ``pixel_size``, ``center``              of images: 1/Å; row and column in pixels
    ``wavelength``, ``axis``                of powder scans: Å; ``two_theta`` or ``q``
    ``beam_energy``, ``takeoff_angle``      of spectra: keV and degrees; also ``live_time``,
                                            ``energy_resolution``, ``convergence_angle`` and
                                            ``collection_angle``, in the units of `Spectrum`
    ``offset``, ``dispersion``,             of spectra: energy of the first channel and width of a
    ``energy_unit``                         channel in eV; ``eV`` or ``keV``
    ``signal``, ``negative``                number of the signal in a file with several; ``true`` if
                                            electrons are dark in a picture
    ======================================= ==========================================================

    Calibration replaces what a file says. A column such as ``rings_pixel_size`` counts for ``rings`` only. An
    empty cell means "not measured" or "not known". ``#`` and numbers behind a path choose one part of a file:
    ``grains.hspy#3`` a frame, ``stack.tif#2,5`` a frame of a scan, ``map.emd#10,4`` a spectrum, ``day.raw#1``
    a scan, ``day.raw#all`` all scans. Other columns are left out.

    A cell of files becomes a `FileCell`. A transformer reads it when it needs it, in portions; what it reads
    does not stay in memory. With ``cache=True``, a transformer keeps the features, and does not read again.

    Parameters
    ----------
    manifest : str, path-like or DataFrame
        ``.csv`` (separated by commas, semicolons or tabs), ``.tsv``, or the first sheet of ``.xlsx`` (needs
        openpyxl). The first line names the columns.
    columns : dict of {str: str or None} or None, default=None
        Names for columns that the manifest calls otherwise, e.g. ``{"file": "rings"}``. None leaves a column
        out. A column that is left out unnamed, but resembles a known one, is an error.
    target, groups : str or None, default=None
        Columns of the manifest with the label and with the group of each specimen.
    folder : str, path-like or None, default=None
        To which paths are relative. None is the folder of the manifest; a DataFrame has none.
    allow_outside : bool, default=False
        Whether paths may be absolute, or lead out of the folder by ``..`` or by symbolic links.
    on_error : {"warn", "raise"}, default="warn"
        What to do if rows are broken: their file does not exist, their formula does not parse, a number is
        none, or the target is empty. "warn" leaves them out, with one `BrokenCellWarning`.
    check_files : bool, default=False
        Whether to read all files now, so that rows whose files cannot be read are broken too.
    n_jobs : int or None, default=None
        Number of joblib workers that check files.
    verbose : int, default=0
        Above 0 shows the progress of the check.

    Returns
    -------
    sklearn.utils.Bunch
        ``X`` : DataFrame
            One column for each kind of measurement, as transformers take them. The index holds the lines of
            the manifest, of which the first is 1; of a DataFrame, its own index.
        ``y``, ``groups`` : ndarray of shape (n_specimens,), or None
            Integers or floats if all labels are such numbers, else strings.
        ``broken`` : DataFrame
            ``line``, ``column``, ``value`` and ``reason`` of everything that is wrong with broken rows.

    Raises
    ------
    OSError
        If there is no such file.
    ValueError
        If a parameter is invalid.
    BrokenFileError
        A ValueError: if the manifest is no table, its columns are not clear, or no row can be used; with
        ``on_error="raise"``, if a row is broken.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from xtalsk.io import read_specimens
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = pathlib.Path(folder, "a.xy").write_text("20.0 5\n20.1 9\n20.2 6\n")
    ...     path = pathlib.Path(folder, "manifest.csv")
    ...     _ = path.write_text("powder,wavelength,formula,space_group\na.xy,1.5406,Al2O3,167\n,,NaCl,225\n")
    ...     specimens = read_specimens(path, target="space_group")
    >>> specimens.X
                          powder formula
    line
    2     FileCell(a.xy, powder)   Al2O3
    3                       None    NaCl
    >>> specimens.y
    array([167, 225])
    """
    import pandas as pd
    from sklearn.utils import Bunch

    from xtalsk.utils import check_option

    check_option("on_error", on_error, ("warn", "raise"))
    table = read_manifest(manifest, folder)
    layout = find_layout(table, columns, target, groups)
    if table.folder is None and any(map(is_file_column, layout.modalities)):
        raise ValueError(
            "a DataFrame with files needs the parameter folder, to which their paths are relative"
        )
    rows = [_Row(table, i, layout, allow_outside) for i in range(len(table.rows))]
    if check_files:
        _check_files(rows, layout, n_jobs, verbose)
    kept = [row for row in rows if not row.problems]
    broken = [problem for row in rows for problem in row.problems]
    if broken:
        _report(table, broken, len(rows) - len(kept), len(rows), on_error)
    if not kept:
        raise BrokenFileError(f"{table.name}: expected one or more rows of specimens")
    index = pd.Index([row.line for row in kept], name="line")
    cells = {name: _to_column([row.cells[name] for row in kept]) for name in layout.modalities}
    return Bunch(
        X=pd.DataFrame(cells, index=index),
        y=None if target is None else _to_labels([row.target for row in kept]),
        groups=None if groups is None else _to_labels([row.groups for row in kept]),
        broken=pd.DataFrame(broken, columns=["line", "column", "value", "reason"]),
    )


class _Row:
    """Cells, labels and problems of one row of a manifest."""

    def __init__(self, table, i, layout, allow_outside):
        self.line, self.cells, self.problems = table.lines[i], {}, []
        self._header, self._fields = table.header, table.rows[i]
        self._origin = f"{table.name}, {table.unit} {self.line}"
        self.target, self.groups = (self._label(place) for place in (layout.target, layout.groups))
        extra = any(text.strip() for text in self._fields[len(self._header) :])
        if extra or len(self._fields) < len(self._header):
            self.add_problem(None, f"expected {len(self._header)} fields, found {len(self._fields)}")
        for column, place in layout.modalities.items():
            self.cells[column] = self._cell(column, place, layout, table.folder, allow_outside)
        if not self.problems and all(cell is None for cell in self.cells.values()):
            self.add_problem(None, "it names no measurement")

    def add_problem(self, place, reason):
        """Note what is wrong with the field at a place, or with the whole row if the place is None."""
        problem = self.line, "" if place is None else self._header[place], self._text(place), reason
        if problem not in self.problems:
            self.problems.append(problem)

    def _text(self, place):
        return self._fields[place].strip() if place is not None and place < len(self._fields) else ""

    def _label(self, place):
        text = self._text(place)
        if place is not None and not text:
            self.add_problem(place, "expected a label, the cell is empty")
        return text

    def _try(self, place, function, *arguments):
        """Return the value of a function, or note the problem of a column and return None."""
        try:
            return function(*arguments)
        except ValueError as error:
            self.add_problem(place, str(error))
            return None

    def _cell(self, column, place, layout, folder, allow_outside):
        """Return the cell of a column of specimens, or None."""
        text = self._text(place)
        if not text:
            return None
        if not is_file_column(column):
            self._try(place, _check_formula, text)
            return text
        found = self._try(place, find_file, text, folder, allow_outside)
        options = {}
        for (owner, option), where in layout.options.items():
            if owner == column and self._text(where):
                options[option] = self._try(where, parse_option, option, self._text(where))
        if found is None:
            return None
        origin = f"{self._origin}, column {self._header[place]}"
        return FileCell(found[0], column, found[1], options, origin, None if allow_outside else folder)


def _check_formula(text):
    """Raise ValueError unless text is a formula, or a list of elements."""
    from xtalsk.utils._formula import check_composition, check_listed_elements

    if check_listed_elements(text) is None:
        check_composition(text)


def _check_files(rows, layout, n_jobs, verbose):
    """Read all files of sound rows, and add the problems of those that cannot be read."""
    from joblib import Parallel, delayed
    from tqdm import tqdm

    cells = [
        (row, place, row.cells[column])
        for row in rows
        for column, place in layout.modalities.items()
        if not row.problems and isinstance(row.cells[column], FileCell)
    ]
    tasks = (delayed(_problem)(cell) for *_, cell in tqdm(cells, desc="files", disable=not verbose))
    for (row, place, _), problem in zip(cells, Parallel(n_jobs=n_jobs)(tasks), strict=True):
        if problem:
            row.add_problem(place, problem)


def _problem(cell):
    """Return why a file cannot be read, or an empty text."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the readers warn again when the cell is used
        try:
            cell.read()
        except BrokenFileError as error:
            return str(error).removeprefix(f"{cell.origin}: ")
    return ""


def _report(table, broken, n_broken, n_rows, on_error):
    """Warn of the problems of broken rows, or raise BrokenFileError."""
    from xtalsk.utils import BrokenCellWarning

    listed = [
        f"{table.unit} {line}{column and f', column {column}, {value[:100]!r}'}: {reason}"
        for line, column, value, reason in broken[:_MOST_LISTED]
    ]
    more = [] if len(broken) <= _MOST_LISTED else [f"and {len(broken) - _MOST_LISTED} more problems"]
    message = f"{table.name}: {n_broken} of {n_rows} rows are broken" + "{}:\n"
    lines = "\n".join(listed + more)
    if on_error == "raise":
        raise BrokenFileError(message.format("") + lines)
    warnings.warn(message.format(" and left out") + lines, BrokenCellWarning, stacklevel=3)


def _to_column(cells):
    """Return cells as an array of objects."""
    column = np.empty(len(cells), dtype=object)
    column[:] = cells
    return column


def _to_labels(texts):
    """Return labels as integers, floats or strings. A label with leading zeros is a string."""
    for kind, pattern in ((int, r"-?(?:0|[1-9]\d*)"), (float, r"-?(?:0|[1-9]\d*)(?:\.\d*)?")):
        if all(re.fullmatch(pattern, text) for text in texts):
            return np.array([kind(text) for text in texts])
    return np.array(texts, dtype=object)
