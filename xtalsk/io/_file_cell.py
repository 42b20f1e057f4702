"""The cell of a table of specimens that is read from its file when it is used."""

import os
import re
import stat
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from xtalsk.columns import modality_of
from xtalsk.io._errors import BrokenFileError
from xtalsk.io._images import read_image
from xtalsk.io._profiles import read_profile
from xtalsk.io._spectra import read_spectrum

_INDEX = re.compile(r"(.+)#(all|\d{1,9}(?:,\d{1,9})*)")
_ABSOLUTE = re.compile(r"[A-Za-z]:|[/\\~]")


def _read_image(path, index, options):
    frame = None if index is None else index[0] if len(index) == 1 else index
    names = {"pixel_size": "pixel_size", "signal": "index", "negative": "negative"}
    return read_image(path, frame=frame, **_renamed(options, names))


def _read_profile(path, index, options):
    if index is not None and index != "all" and len(index) != 1:
        raise ValueError(f"a scan has one number, got {index}")
    scan = index if index in (None, "all") else index[0]
    return read_profile(path, scan=scan, **_renamed(options, {"wavelength": "wavelength", "axis": "axis"}))


def _read_spectrum(path, index, options):
    names = ("beam_energy", "takeoff_angle", "offset", "dispersion", "energy_unit")
    names = {name: name for name in names} | {"signal": "index"}
    return read_spectrum(path, position=index, **_renamed(options, names))


def _renamed(options, names):
    return {new: options[name] for name, new in names.items() if name in options}


_DETAILS = ("live_time", "energy_resolution", "convergence_angle", "collection_angle")
_READERS = {  # modality: reader, options for the reader only, options that replace what the file says
    **dict.fromkeys(("rings", "spots"), (_read_image, ("signal", "negative"), ("pixel_size", "center"))),
    "powder": (_read_profile, ("axis",), ("wavelength",)),
    **dict.fromkeys(
        ("eds", "eels"),
        (
            _read_spectrum,
            ("signal", "offset", "dispersion", "energy_unit"),
            ("beam_energy", "takeoff_angle", *_DETAILS),
        ),
    ),
}


def options_of(column):
    """Return the names of the options of a column of specimens; empty if its cells are no files."""
    return tuple(name for names in _READERS.get(modality_of(column), ())[1:] for name in names)


def is_file_column(column):
    """Return whether the cells of a column of specimens are files."""
    return modality_of(column) in _READERS


@dataclass(frozen=True, eq=False, slots=True, weakref_slot=True)
class FileCell:
    r"""A cell of a table of specimens that is read from a file when it is used. `read_specimens` makes it.

    All transformers take it. It is small: it holds no data, and nothing that it read stays in memory.

    Parameters
    ----------
    path : str
        The file.
    column : str
        Column of specimens, such as ``"rings"`` or ``"spots_2"``. It selects `read_image`, `read_profile` or
        `read_spectrum`.
    index : tuple of int, "all" or None
        Frame of an image, scan of a powder file, or position in a spectrum image.
    options : dict
        Calibration, by the names of the columns of a manifest. It replaces what the file says.
    origin : str
        Where the cell comes from, for error messages.
    folder : str or None
        A file that is not in this folder is refused.

    Raises
    ------
    BrokenFileError
        A ValueError, from `read`: if there is no such file, if it is outside the folder, or if it cannot be
        read; the message begins with ``origin``.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from xtalsk.io import FileCell
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "scan.xy")
    ...     _ = path.write_text("20.0 5\n20.1 9\n20.2 6\n")
    ...     FileCell(str(path), "powder", options={"wavelength": 0.7093}).read()
    Profile(3 points, two_theta 20 to 20.2°, wavelength=0.7093)
    """

    is_read_on_use: ClassVar[bool] = True

    path: str
    column: str
    index: tuple | str | None = None
    options: dict | None = None
    origin: str = ""
    folder: str | None = None

    def read(self, **defaults):
        """Return the `DiffractionImage`, `Profile` or `Spectrum`.

        Parameters
        ----------
        **defaults
            Calibration (``pixel_size``, ``wavelength``, ``beam_energy``, ``takeoff_angle``) that is used
            where neither the cell nor the file gives it.
        """
        reader, _, replaced = _READERS[modality_of(self.column)]
        options = self.options or {}
        known = {k: v for k, v in defaults.items() if v is not None} | options
        try:
            if self.folder is not None:
                check_inside(self.path, self.folder)
            cell = reader(self.path, self.index, known)
            return replace(cell, **{name: options[name] for name in replaced if name in options})
        except (ValueError, OSError) as error:
            raise BrokenFileError(f"{self.origin}: {error}" if self.origin else str(error)) from error

    def __repr__(self):
        numbers = ",".join(map(str, self.index)) if isinstance(self.index, tuple) else self.index
        index = "" if numbers is None else f"#{numbers}"
        return f"FileCell({Path(self.path).name}{index}, {self.column})"


def check_inside(path, folder):
    """Raise ValueError if a file is not in a folder, after symbolic links are followed."""
    if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder)):
        raise ValueError(
            f"{os.path.basename(path)!r} is outside the folder of the manifest; allow_outside=True allows it"
        )


def find_file(text, folder, allow_outside):
    """Return path and index of a cell of a manifest, such as ``scans/a.hspy#3``.

    Parameters
    ----------
    text : str
        Path, relative to the folder. An index stands behind ``#``, unless there is a file of the whole name.
    folder : str
    allow_outside : bool
        Whether absolute paths, and files outside the folder, are allowed.

    Raises
    ------
    ValueError
        If there is no such file, or if it is outside the folder.
    """
    if "\x00" in text or len(text) > 4096:
        raise ValueError("no such file")
    if _ABSOLUTE.match(text) and not allow_outside:
        raise ValueError("expected a path relative to the manifest; allow_outside=True allows others")
    match = _INDEX.fullmatch(text)
    candidates = [(text, None)] + ([(match[1], _parse_index(match[2]))] if match else [])
    for name, index in candidates:
        for spelling in dict.fromkeys((name, name.replace("\\", "/"))):  # manifests written on Windows
            path = os.path.join(folder, spelling)
            try:
                is_file = stat.S_ISREG(os.stat(path).st_mode)
            except (OSError, ValueError):
                continue
            if is_file and not allow_outside:
                check_inside(path, folder)
            if is_file:
                return path, index
    raise ValueError("no such file")


def _parse_index(text):
    return text if text == "all" else tuple(map(int, text.split(",")))
