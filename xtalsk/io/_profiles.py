"""Reader of powder scans."""

import re
import warnings
from dataclasses import replace

import numpy as np

from xtalsk.io._cells import Profile, check_axis, check_numeric
from xtalsk.io._constants import COPPER_WAVELENGTH, DIRECTION_CHANGES, MANY_COLUMNS
from xtalsk.io._errors import broken_file
from xtalsk.io._files import existing_file, is_npz, read_npz
from xtalsk.io._headings import AXES, choose_intensity, find_names, find_wavelength, names_unit
from xtalsk.io._ranges import Range, check_scan, choose_range
from xtalsk.io._ras import is_ras, read_ras
from xtalsk.io._steps import read_steps
from xtalsk.io._text import parse_table, read_lines
from xtalsk.io._vendors import find_format, read_vendor

_DEGREES = {"": 1.0, "2θ": 1.0, "deg": 1.0, "rad": 180 / np.pi, "mrad": 0.18 / np.pi}
_PER_ANGSTROM = {"": 1.0, "1/Å": 1.0, "1/nm": 0.1, "1/Å²": 1.0, "1/nm²": 0.01}
_ANGSTROM = {"": 1.0, "Å": 1.0, "nm": 10.0, "pm": 0.01}
_AXIS_TEXT = {"two_theta": "2θ", "q": "q"}


def read_profile(path, wavelength=None, axis=None, scan=None):
    r"""Read a powder scan.

    The content of the file selects the reader, not its suffix:

    - PANalytical ``.xrdml``, Rigaku ``.rasx``, Bruker ``.brml``, ``.raw`` (versions 3 and 4) and ``.uxd``,
      Philips ``.udf`` and ``.rd``: rietx reads the file, in a process of its own with a time limit of 60 s
      plus 0.2 s for each MB and a memory limit of 2 GB. Install it with ``pip install xtalsk[powder]``.
      Intensities are corrected for the attenuation of the beam;
    - Rigaku ``.ras``, GSAS (constant steps), FullProf and DBWS (start, step and stop before the intensities)
      and Sieray ``.cpi``;
    - ``.npz``: the array ``intensity``, with ``q`` (1/d in 1/Å) or ``two_theta`` (degrees; or start, step and
      number of points), and optionally ``wavelength`` and ``counting_time``. A 2-D ``intensity`` has one scan
      in each row;
    - any other text, with one point per line: position and intensity.

    Blanks, tabs, commas or semicolons separate the columns of text. Decimal commas and separators between
    thousands are read where they are clear, and are an error where they are not. The reader skips lines that
    start with one of ``# ; ! ' * / % &``. It sorts the points by position and averages points at the same
    position.

    The heading before the numbers names the columns, e.g. ``2theta,d [Å],Iobs`` or ``q_nm^-1  I  sigma``. The
    reader takes the axis and the intensity by their names. Without names, they are the first two columns.
    It converts the axis:

    - 2θ in degrees, radians or mrad, to degrees;
    - q = 2π/d = 4π sin θ / λ (the letter q, as in pyFAI), in 1/Å or 1/nm, to q = 1/d in 1/Å. A warning says
      so where the name is only "q";
    - s, k, g or 1/d = 2 sin θ / λ, sin θ / λ, or 1/d², in units of Å or nm, to q = 1/d;
    - d in Å, nm or pm, to q = 1/d.

    Parameters
    ----------
    path : str or path-like
    wavelength : float or None, default=None
        In Å; needed to convert 2θ to q. It is used if the file does not give a wavelength. If neither does,
        it is copper Kα1, 1.5406 Å, and a warning says so. Of the wavelengths of a tube, Kα1 is taken.
    axis : {None, "two_theta", "q"}, default=None
        None takes the axis that the file names, and 2θ in degrees if it names none. "two_theta" and "q"
        say what the axis is: 2θ in degrees, or q = 1/d in 1/Å. A heading that names another axis is an error.
    scan : int, "all" or None, default=None
        Number of the scan (range, bank) in a file with several, counted from 0. With None, several scans are
        an error that lists them. "all" joins them, and brings them to the longest counting time.

    Returns
    -------
    Profile

    Raises
    ------
    OSError
        If there is no such file.
    BrokenFileError
        A ValueError: if the file does not contain two columns of numbers, if numbers or names of columns are
        ambiguous, if the axis is impossible, or if there are several scans; the message names the file, and
        the line where it is one.
    ImportError
        If the format needs rietx and it is not installed.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from xtalsk.io import read_profile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "scan.xy")
    ...     _ = path.write_text("2theta I\n20.0 5\n20.1 9\n20.2 6\n")
    ...     read_profile(path, wavelength=1.5406)
    Profile(3 points, two_theta 20 to 20.2°, wavelength=1.5406)
    """
    if axis not in (None, "two_theta", "q"):
        raise ValueError(f"axis must be None, 'two_theta' or 'q', got {axis!r}")
    check_scan(scan)
    path = existing_file(path)
    with broken_file(path.name):
        kind, found = _read(path, axis, scan)
        if axis is not None and axis != kind:
            raise ValueError(f"{path.name}: axis={axis!r}, but the file gives {_AXIS_TEXT[kind]}")
        stated = wavelength if found.wavelength is None else found.wavelength
        profile = _profile(kind, found, stated)
        if kind == "two_theta" and stated is None:
            warnings.warn(
                f"{path.name}: neither the file nor the parameter gives a wavelength; copper Kα1, "
                f"{COPPER_WAVELENGTH} Å, is assumed",
                stacklevel=2,
            )
            profile = replace(profile, wavelength=COPPER_WAVELENGTH)
        return profile


def _read(path, axis, scan):
    """Return the kind of axis of a `Profile`, and a `Range`, whose ``two_theta`` is q if the kind is "q"."""
    if is_npz(path):
        kind, ranges = _read_npz(path)
    elif find_format(path) is not None:
        return "two_theta", read_vendor(path, scan)
    else:
        kind, ranges = _read_text(path, axis)
    return kind, choose_range(ranges, scan, path.name)


def _read_text(path, axis):
    """Return the kind of axis and the list of `Range` of a text file."""
    lines = read_lines(path)
    ranges = read_ras(lines, path.name) if is_ras(lines) else read_steps(lines, path.name)
    if ranges is not None:
        return "two_theta", ranges
    table = parse_table(lines, path.name, "2θ or q, and intensity")
    kind, positions, intensity = _read_table(table, axis)
    return kind, [Range(positions, intensity, find_wavelength(table.preamble))]


def _read_npz(path):
    """Return the kind of axis and the list of `Range` of a ``.npz`` file."""
    arrays = read_npz(path, ("intensity",), ("q", "two_theta", "wavelength", "counting_time"))
    kinds = [kind for kind in ("q", "two_theta") if kind in arrays]
    if len(kinds) != 1:
        raise ValueError(f"{path.name}: expected one array 'q' or 'two_theta' beside 'intensity'")
    intensity = check_numeric("intensity", np.atleast_2d(arrays["intensity"]), 2)
    axis, n_points = check_numeric(kinds[0], arrays[kinds[0]], 1), intensity.shape[1]
    if kinds == ["two_theta"] and len(axis) == 3 and axis[2] == n_points != 3:
        axis = axis[0] + axis[1] * np.arange(n_points)
    check_axis(kinds[0], axis, "intensity", intensity[0])
    details = [float(arrays[key]) if key in arrays else None for key in ("wavelength", "counting_time")]
    return kinds[0], [Range(axis, row, *details) for row in intensity]


def _profile(kind, found, wavelength):
    """Return the `Profile` of a `Range`; it averages the measured points at one position."""
    intensity = found.intensity
    positions, point = np.unique(found.two_theta, return_inverse=True)
    measured = ~np.isnan(intensity)
    n_measured = np.bincount(point, measured)
    total = np.bincount(point, np.where(measured, intensity, 0.0))
    with np.errstate(invalid="ignore"):
        mean = total / n_measured  # NaN where no point was measured
    return Profile(mean, **{kind: positions}, wavelength=wavelength, counting_time=found.counting_time)


def _read_table(table, axis):
    """Return the kind of axis of a `Profile`, positions and intensities of the rows of a table."""
    names = find_names(table.preamble, table.n_columns, table.separator)
    position = _axis_column(names, axis, table.name)
    line = names_unit(table.preamble)
    if axis is None and line and not any(name.quantity in AXES for name in names):
        raise ValueError(
            f"{table.name}: cannot tell the axis from the heading {line[:60]!r}; name the columns, e.g. "
            "q_nm^-1 and I, or give axis"
        )
    column = choose_intensity(names, table.n_columns, position)
    if column is None:
        raise ValueError(f"{table.name}: no column of intensities in the heading {_listed(names)}")
    values = table.column(position, "the axis")
    intensity = table.column(column, "the intensity", nan_allowed=True)
    if not names:
        _check_order(values, intensity, table)
    name = names[position] if position < len(names) else None
    return *_convert(name, values, axis, table), intensity


def _listed(names):
    return " | ".join(name.text.strip() for name in names)


def _axis_column(names, axis, file):
    """Return the number of the column of the axis."""
    known = [i for i, name in enumerate(names) if name.quantity in AXES]
    angles = [i for i in known if names[i].quantity in ("two_theta", "theta")]
    wanted = {"two_theta": angles, "q": [i for i in known if i not in angles], None: known}[axis]
    if wanted:
        name = names[wanted[0]]
        if sum(names[i].quantity == name.quantity for i in wanted) > 1:
            raise ValueError(
                f"{file}: expected one scan, the heading names {name.text.strip()!r} more than once; keep one"
            )
        return wanted[0]
    if known:
        raise ValueError(f"{file}: axis={axis!r}, but the heading names {names[known[0]].text.strip()!r}")
    named_x = [i for i, name in enumerate(names) if name.quantity == "x"]
    if named_x or not names:
        return named_x[0] if named_x else 0
    if names[0].quantity:
        raise ValueError(
            f"{file}: expected a column of 2θ, q or d, found the heading {_listed(names)}; name the axis in "
            "the heading, e.g. 2theta, q_nm^-1 or d"
        )
    return 0


def _disorder(values):
    """Return the share of the points at which values change between rising and falling."""
    steps = np.sign(np.diff(values[np.isfinite(values)]))
    steps = steps[steps != 0]
    return np.mean(steps[1:] != steps[:-1]) if len(steps) > 2 else 0.0


def _check_order(positions, intensity, table):
    """Raise ValueError if the first column of a table without a heading cannot be the axis."""
    if _disorder(positions) <= DIRECTION_CHANGES:
        return
    if _disorder(intensity) == 0:
        raise ValueError(
            f"{table.name}: the second column is in order and the first is not; put the axis first, or "
            "name the columns in a heading"
        )
    if table.n_columns >= MANY_COLUMNS:
        raise ValueError(
            f"{table.name}: expected an axis in the first of {table.n_columns} columns, found numbers in no "
            "order; if the lines hold only intensities, write start, step and stop above them"
        )


def _convert(name, values, axis, table):
    """Return the kind of axis of a `Profile`, and the values in its unit."""
    quantity, unit = (name.quantity, name.unit) if name is not None else ("", "")
    if quantity in ("", "x"):
        return axis or "two_theta", values
    text = name.text.strip(" #;!'*/%&")
    if quantity in ("two_theta", "theta"):
        if quantity == "theta" and axis is None:
            raise ValueError(
                f"{table.name}: the heading names {text!r}; give axis='two_theta' if the column holds 2θ, "
                "else double it"
            )
        return "two_theta", values * _DEGREES[unit]
    if quantity == "d":
        return "q", _inverse(values, table) / _ANGSTROM[unit]
    if quantity == "q":
        return "q", values * _PER_ANGSTROM[unit] / _two_pi(text, unit, axis, table.name)
    if not unit and axis is None:
        raise ValueError(
            f"{table.name}: the heading names {text!r} without a unit; write e.g. {text}_A^-1 or "
            f"{text}_nm^-1, or give axis='q' if it is 1/d in 1/Å"
        )
    values = values * _PER_ANGSTROM[unit]
    if quantity == "s_squared":
        return "q", np.sqrt(values)
    return "q", 2 * values if quantity == "half_s" else values


def _inverse(spacings, table):
    """Return 1/d, or raise ValueError if a spacing is not positive."""
    if (spacings <= 0).any():
        line = table.lines[int((spacings <= 0).argmax())]
        raise ValueError(f"{table.name}: expected a positive d in line {line}")
    return 1 / spacings


def _two_pi(text, unit, axis, file):
    """Return 2π if a column named q holds 2π/d, and 1 if the user says that it holds 1/d in 1/Å."""
    if axis == "q" and unit in ("", "1/Å"):
        return 1.0
    if axis == "q":
        raise ValueError(f"{file}: axis='q' stands for 1/d in 1/Å, but the heading names {text!r}")
    if not unit:
        raise ValueError(
            f"{file}: the heading names {text!r} without a unit; write q_A^-1 or q_nm^-1 for 2π/d, or give "
            "axis='q' for 1/d in 1/Å"
        )
    if not re.fullmatch(r"q_(a|nm)\^-1", text.lower()) and "pi" not in text.lower() and "π" not in text:
        warnings.warn(
            f"{file}: the column {text!r} is read as q = 2π/d; give axis='q' if it is 1/d in 1/Å",
            stacklevel=5,
        )
    return 2 * np.pi
