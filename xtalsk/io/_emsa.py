"""The EMSA/MAS file format for spectra, ISO 22029."""

import re

import numpy as np

from xtalsk.io._calibration import RawSpectrum, linear_axis

SUFFIXES = (".msa", ".emsa", ".ems", ".mas")

_KEYWORD = re.compile(r"##?\s*(\w+)[\s-]*([^:]*):(.*)")  # #KEYWORD -units: value
_NUMBER = re.compile(r"([-+]?(?:\d+\.?\d*|\.\d+))(?:\s*[eEdD]\s*([-+]?\d+))?")

# What is kept: where it goes, and its units in ours, the first of which holds if none is named.
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


def _header(lines, name):
    """Units and values of the keywords up to #SPECTRUM, and the number of the line after it."""
    header = {}
    for number, line in enumerate(lines, 1):
        match = _KEYWORD.match(line)
        if line.lstrip().startswith("#SPECTRUM"):
            return header, number
        if match is None:  # titles and comments may run on
            continue
        key, value = match[1].upper(), (match[2].strip(" -").lower(), match[3].strip())
        if header.setdefault(key, value) != value and (key in _AXIS or key in _DETAILS):
            raise ValueError(f"{name}: #{key} stands twice, {header[key][1]!r} and {value[1]!r}")
    raise ValueError(f"{name}: no #SPECTRUM after {len(header)} keywords; not an EMSA/MAS file, or cut off")


def _number(text):
    """Turn the beginning of a value into a float, None where it is not a number."""
    match = _NUMBER.match(text)
    return float(f"{match[1]}e{match[2] or 0}") if match else None


def _needed(header, key, name):
    """Value of a keyword of the axis, None where it is missing or empty."""
    text = header.get(key, ("", ""))[1]
    value = _number(text)
    if text and value is None:
        raise ValueError(f"{name}: expected a number for #{key}, got {text[:40]!r}")
    return value


def _values(lines, first, name):
    """Numbers of the data, and whether #ENDOFDATA follows them."""
    values = []
    for number, line in enumerate(lines[first:], first + 1):
        if line.lstrip().startswith("#ENDOFDATA"):
            return np.array(values), True
        if line.startswith("#"):
            continue
        try:
            values += [float(field) for field in line.replace(",", " ").split()]
        except ValueError:
            raise ValueError(f"{name}: expected numbers in line {number}, got {line[:40]!r}") from None
    return np.array(values), False


def _check_length(n_found, n_points, ended, name):
    if n_found == 0:
        raise ValueError(f"{name}: no numbers after #SPECTRUM")
    if n_points is not None and n_found != n_points:
        cut = "" if ended else "; there is no #ENDOFDATA, the file is cut off"
        raise ValueError(f"{name}: #NPOINTS says {n_points:g} channels, found {n_found:g}{cut}")
    if n_points is None and not ended:
        raise ValueError(
            f"{name}: neither #NPOINTS nor #ENDOFDATA, so that no one can tell whether it is whole"
        )


def _linear_axis(header, n_channels, name):
    """Energies from the keywords, or None and what is wrong with them."""
    width, offset, zero = (_needed(header, key, name) for key in ("XPERCHAN", "OFFSET", "CHOFFSET"))
    if width is None or width <= 0:
        return None, f"#XPERCHAN is {'missing' if width is None else f'{width:g}'}"
    if offset is None and zero is None:
        return None, "#OFFSET is missing"
    if offset is None:
        offset = -zero * width
    elif zero and abs(offset + zero * width) > width:
        return None, f"#OFFSET {offset:g} and #CHOFFSET {zero:g} put the zero at different channels"
    return linear_axis(offset, width, n_channels), ""


def read_emsa(path):
    """Read an EMSA/MAS file: one spectrum, of X-rays or of energy losses.

    #OFFSET is the energy of channel 0. #CHOFFSET is the channel of zero energy, the same said again, and is
    used only where #OFFSET is missing. Programs that do not use it write 0; where it is not 0 and differs
    from #OFFSET by more than a channel, the calibration counts as unknown. Zero, a negative number or text
    for a beam energy, time or angle is how programs write "not known".

    Parameters
    ----------
    path : Path

    Returns
    -------
    RawSpectrum

    Raises
    ------
    ValueError
        If the header or the data are cut off, hold no numbers or others than #NPOINTS says, or if a keyword
        that is needed stands twice with different values; names the file.

    Notes
    -----
    The example in the standard (ISO 22029:2022) has 3.1 eV a channel, an offset of 520.13 eV and -168 as the
    channel of zero energy.
    """
    name = path.name
    lines = re.split(r"\r\n|\r|\n", path.read_text(encoding="latin-1").removeprefix("\xef\xbb\xbf"))
    header, first = _header(lines, name)
    values, ended = _values(lines, first, name)
    datatype = header.get("DATATYPE", ("", "Y"))[1].upper() or "Y"
    if datatype not in ("Y", "XY"):
        raise ValueError(f"{name}: #DATATYPE must be Y or XY, got {datatype!r}")
    n_points = _needed(header, "NPOINTS", name)
    _check_length(len(values) / len(datatype), n_points, ended, name)
    if datatype == "XY":
        (axis, counts), problem = values.reshape(-1, 2).T, ""
    else:
        counts, (axis, problem) = values, _linear_axis(header, len(values), name)
    details = {}
    for key, (field, units) in _DETAILS.items():
        given, text = header.get(key, ("", ""))
        value = _number(text)
        if value is not None:
            details[field] = value * units.get(given, next(iter(units.values())))
    unit = header.get("XUNITS", ("", ""))[1].strip(" .") or None
    xrays = header.get("SIGNALTYPE", ("", ""))[1].upper().startswith("EDS")
    return RawSpectrum(name, counts, axis, unit, problem, xrays, details)
