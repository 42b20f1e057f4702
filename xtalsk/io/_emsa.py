"""Reader of the EMSA/MAS file format for spectra (ISO 22029)."""

import re

import numpy as np

from xtalsk.io._calibration import RawSpectrum, find_unit, linear_axis
from xtalsk.io._text import read_lines

EMSA_SUFFIXES = (".msa", ".emsa", ".ems", ".mas")

_KEYWORD = re.compile(r"##?\s*(\w+)[\s-]*([^:]*):(.*)")  # #KEYWORD -units: value
_NUMBER = re.compile(
    r"([-+]?(?:\d+[.,]?\d*|[.,]\d+))(?:\s*[eEdD]\s*([-+]?\d+))?[,;]?\s*([a-zA-Zµ°%/]*)\s*\.?"
)
_AMBIGUOUS = re.compile(r"[-+]?[1-9]\d{0,2},\d{3}")  # 1,024 is 1024 or 1.024
_LONGEST_VALUE = 100  # characters of a number in the header
_BETWEEN_DIGITS = re.compile(r"(?<=\d),(?=\d)")

# Keyword: argument of `Spectrum`, and factors from the units of the file to those of `Spectrum`. The
# first unit is the default.
_DETAILS = {
    "BEAMKV": ("beam_energy", {"kv": 1, "kev": 1, "v": 1e-3, "ev": 1e-3}),
    "ELEVANGLE": ("takeoff_angle", {"dg": 1, "deg": 1, "rad": 180 / np.pi}),
    "LIVETIME": ("live_time", {"s": 1, "ms": 1e-3, "min": 60}),
    "FWHMMNKA": ("energy_resolution", {"ev": 1, "kev": 1000}),
    "MNFWHM": ("energy_resolution", {"kev": 1000, "ev": 1}),
    "CONVANGLE": ("convergence_angle", {"mr": 1, "mrad": 1, "rad": 1000}),
    "COLLANGLE": ("collection_angle", {"mr": 1, "mrad": 1, "rad": 1000}),
}
_AXIS = ("NPOINTS", "XPERCHAN", "OFFSET", "CHOFFSET")


def _read_header(lines, name):
    """Return {keyword: (unit, value)} of the lines before #SPECTRUM, and the index of the line after it."""
    header = {}
    for number, line in enumerate(lines, 1):
        match = _KEYWORD.match(line) if ":" in line else None
        if line.lstrip().startswith("#SPECTRUM"):
            return header, number
        if match is None:  # titles and comments may continue on the next line
            continue
        key, value = match[1].upper(), (match[2].strip(" -").lower(), match[3].strip())
        if header.setdefault(key, value) != value and (key in _AXIS or key in _DETAILS):
            raise ValueError(f"{name}: #{key} occurs twice, with {header[key][1]!r} and {value[1]!r}")
    raise ValueError(
        f"{name}: expected #SPECTRUM, found {len(header)} keywords without it; the file is not "
        "EMSA/MAS, or truncated"
    )


def _number(header, key, name):
    """Return the number of a keyword and the unit after it, or None and "" if its value is no number.

    The whole value must be a number, with a decimal point or comma, and perhaps a unit.

    Raises
    ------
    ValueError
        If only the beginning of the value is a number, or if its comma may separate thousands.
    """
    text = header.get(key, ("", ""))[1]
    match = _NUMBER.fullmatch(text) if len(text) < _LONGEST_VALUE else None
    if match is None:
        if re.match(r"[-+.,]?\d", text):
            raise ValueError(f"{name}: expected one number for #{key}, got {text[:40]!r}")
        return None, ""
    if _AMBIGUOUS.fullmatch(match[1]):
        raise ValueError(
            f"{name}: #{key} {match[1]} may be {match[1].replace(',', '.')} or {match[1].replace(',', '')}; "
            "write a decimal point"
        )
    value = float(f"{match[1].replace(',', '.')}e{match[2] or 0}")
    if not np.isfinite(value):
        raise ValueError(f"{name}: expected a finite number for #{key}, got {text!r}")
    return value, match[3].lower()


def _header_number(header, key, name):
    """Return the number of a keyword of the axis, or None if it is missing or empty."""
    text, units = header.get(key, ("", ""))[1], header.get("XUNITS", ("", ""))[1]
    value, unit = _number(header, key, name)
    if text and value is None:
        raise ValueError(f"{name}: expected a number for #{key}, got {text[:40]!r}")
    for stated in (unit, header.get(key, ("", ""))[0]):
        if key != "NPOINTS" and find_unit(stated) and find_unit(stated) != find_unit(units):
            raise ValueError(f"{name}: #{key} is in {stated}, but #XUNITS is {units or 'missing'}")
    return value


def _n_points(header, name):
    """Return the number of channels that the header gives, or None. A comma separates thousands."""
    unit, text = header.get("NPOINTS", ("", ""))
    if _AMBIGUOUS.fullmatch(text.rstrip(". ")):
        header = {"NPOINTS": (unit, text.replace(",", ""))}
    return _header_number(header, "NPOINTS", name)


def _read_data(lines, first, n_points, datatype, name):
    """Return the numbers after #SPECTRUM, and whether #ENDOFDATA follows them.

    Commas separate numbers. They are decimal commas if only so the number of channels is #NPOINTS.
    """
    values, has_end = _data_values(lines, first, name)
    if n_points is not None and len(values) != n_points * len(datatype):
        decimal = [_BETWEEN_DIGITS.sub(".", line) for line in lines[first:]]
        other, _ = _data_values([*lines[:first], *decimal], first, name)
        if len(other) == n_points * len(datatype):
            return other, has_end
    return values, has_end


def _data_values(lines, first, name):
    """Return the numbers after #SPECTRUM, and whether #ENDOFDATA follows them."""
    values = []
    for number, line in enumerate(lines[first:], first + 1):
        if line.lstrip().startswith("#ENDOFDATA"):
            return np.array(values), True
        if line.startswith("#"):
            continue
        try:
            values += [float(field) for field in line.replace(",", " ").replace("_", "?").split()]
        except ValueError:
            raise ValueError(f"{name}: expected numbers in line {number}, got {line[:40]!r}") from None
    return np.array(values), False


def _check_length(n_channels, n_points, has_end, name):
    """Raise ValueError if the data are not complete."""
    if n_channels == 0:
        raise ValueError(f"{name}: expected numbers after #SPECTRUM, found none")
    if n_points is not None and n_channels != n_points:
        hint = "" if has_end else "; #ENDOFDATA is missing, the file is truncated"
        raise ValueError(f"{name}: #NPOINTS gives {n_points:g} channels, found {n_channels:g}{hint}")
    if n_points is None and not has_end:
        raise ValueError(f"{name}: #NPOINTS and #ENDOFDATA are both missing; the file may be truncated")


def _linear_axis(header, n_channels, name):
    """Return the energies that the keywords give and an empty text, or None and what is wrong."""
    width, offset, zero_channel = (
        _header_number(header, key, name) for key in ("XPERCHAN", "OFFSET", "CHOFFSET")
    )
    if width is None or width <= 0:
        return None, f"#XPERCHAN is {'missing' if width is None else f'{width:g}'}"
    if offset is None and zero_channel is None:
        return None, "#OFFSET is missing"
    if offset is None:
        offset = -zero_channel * width
    elif zero_channel and abs(offset + zero_channel * width) > width:
        return None, f"#OFFSET {offset:g} and #CHOFFSET {zero_channel:g} give different zero channels"
    return linear_axis(offset, width, n_channels), ""


def _details(header, name):
    """Return the arguments of `Spectrum` that the header gives, in the units of `Spectrum`."""
    details = {}
    for key, (argument, factors) in _DETAILS.items():
        value, unit_after = _number(header, key, name)
        if value is not None:
            unit = header[key][0] or unit_after
            details[argument] = value * factors.get(unit, next(iter(factors.values())))
    return details


def read_emsa(path):
    """Read an EMSA/MAS file, which contains one X-ray or energy-loss spectrum.

    #OFFSET is the energy of channel 0. #CHOFFSET is the channel of zero energy, which is the same
    information. The reader uses it only if #OFFSET is missing. Programs that do not use #CHOFFSET write 0. If
    it is not 0 and differs from #OFFSET by more than a channel, the calibration is unknown. Programs write
    zero, a negative number or text for an unknown beam energy, time or angle. Decimal commas are read.

    Parameters
    ----------
    path : Path

    Returns
    -------
    RawSpectrum

    Raises
    ------
    ValueError
        If the header or the data are truncated, if the number of values differs from #NPOINTS, if a value is
        not a number, if units contradict each other, or if a keyword occurs twice with different values; the
        message names the file.

    Notes
    -----
    The example in the standard (ISO 22029:2022) has 3.1 eV per channel, an offset of 520.13 eV and -168 as
    the channel of zero energy.
    """
    name = path.name
    lines = read_lines(path)
    header, first = _read_header(lines, name)
    datatype = header.get("DATATYPE", ("", "Y"))[1].upper() or "Y"
    if datatype not in ("Y", "XY"):
        raise ValueError(f"{name}: #DATATYPE must be Y or XY, got {datatype!r}")
    n_points = _n_points(header, name)
    values, has_end = _read_data(lines, first, n_points, datatype, name)
    _check_length(len(values) / len(datatype), n_points, has_end, name)
    if datatype == "XY":
        (axis, counts), problem = values.reshape(-1, 2).T, ""
    else:
        counts, (axis, problem) = values, _linear_axis(header, len(values), name)
    unit = header.get("XUNITS", ("", ""))[1].strip(" .") or None
    is_xray = header.get("SIGNALTYPE", ("", ""))[1].upper().startswith("EDS")
    return RawSpectrum(name, counts, axis, unit, problem, is_xray, _details(header, name))
