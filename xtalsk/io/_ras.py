"""Reader of ``.ras`` files of Rigaku, text with one or more scans."""

from xtalsk.io._headings import find_wavelength
from xtalsk.io._numbers import to_number
from xtalsk.io._ranges import Range
from xtalsk.io._text import parse_table

_FIRST = ("*RAS_DATA_START", "*RAS_HEADER_START")
_SECONDS = {"deg/min": 60.0, "deg/sec": 1.0, "deg/s": 1.0}  # of the unit of the speed


def is_ras(lines):
    """Return whether lines of text are those of a ``.ras`` file."""
    return next((line for line in lines if line.strip()), "").strip() in _FIRST


def read_ras(lines, name):
    """Return the scans of a ``.ras`` file.

    The third column multiplies the intensities: it is the attenuation of the beam.

    Parameters
    ----------
    lines : list of str
    name : str
        Name of the file, for error messages.

    Returns
    -------
    list of Range

    Raises
    ------
    ValueError
        If a scan is no scan of 2θ, if its points are not numbers, or if the file is truncated.
    """
    ranges, header, first = [], [], None
    for number, line in enumerate(lines):
        if line.startswith("*RAS_HEADER_START"):
            header = []
        elif line.startswith("*RAS_INT_START"):
            first = number + 1
        elif line.startswith("*RAS_INT_END") and first is not None:
            ranges.append(_read_points([""] * first + lines[first:number], header, name))
            first = None
        elif line.startswith("*") and first is None:
            header.append(line)
    ends = [line for line in lines if line.startswith(("*RAS_DATA_START", "*RAS_DATA_END"))]
    if first is not None or not ranges or len(ends) % 2:
        raise ValueError(
            f"{name}: expected *RAS_INT_START, points, *RAS_INT_END, and at the end *RAS_DATA_END; the file "
            "is truncated"
        )
    return ranges


def _read_points(lines, header, name):
    """Return the `Range` of the points of one scan; the other lines are empty."""
    entries = dict(line[1:].split(maxsplit=1) for line in header if " " in line.strip())
    entries = {key: value.strip(' "') for key, value in entries.items()}
    scanned = entries.get("MEAS_SCAN_AXIS_X", "TwoTheta")
    if "twotheta" not in scanned.lower().replace("2", "two"):
        raise ValueError(f"{name}: expected a scan of 2θ, got a scan of {scanned}")
    table = parse_table(lines, name, "2θ and intensity")
    n_points = to_number(entries.get("MEAS_DATA_COUNT", ""))
    if n_points is not None and n_points != len(table.rows):
        raise ValueError(
            f"{name}: *MEAS_DATA_COUNT gives {n_points:g} points, found {len(table.rows)}; it is truncated"
        )
    intensity = table.column(1, "the intensity", nan_allowed=True)
    if table.n_columns > 2:
        intensity = intensity * table.column(2, "the attenuation")
    is_rate = entries.get("MEAS_SCAN_UNIT_Y", "").lower() == "cps"
    return Range(table.column(0, "2θ"), intensity, find_wavelength(header), _counting_time(entries), is_rate)


def _counting_time(entries):
    """Return the seconds per point: the step over the speed of the scan, or None if they are unknown."""
    step, speed = (to_number(entries.get(f"MEAS_SCAN_{key}", "")) for key in ("STEP", "SPEED"))
    seconds = _SECONDS.get(entries.get("MEAS_SCAN_SPEED_UNIT", "").lower())
    if not step or not speed or seconds is None or step < 0 or speed < 0:
        return None
    return step / speed * seconds
