"""Powder files of vendors, read with rietx, which is an optional dependency."""

import re
import warnings
import zipfile
from importlib.util import find_spec

import numpy as np

from xtalsk.io._constants import FOREIGN_MEMORY, LARGEST_MEMBER, SNIFFED_BYTES
from xtalsk.io._ranges import Range, choose_range, no_such_scan, several_scans
from xtalsk.io._reader_process import limited_memory, read_apart

_FORMATS = (  # mark at the start of a file, name of the format, its name in rietx
    (re.compile(rb"RAW(?:1\.01|4\.00|(?s:[2 ].*\x00))"), "Bruker .raw", "bruker_raw"),
    (re.compile(rb"V[35]RD"), "Philips .rd", "philips_rd"),
    (
        re.compile(rb"(?:\xef\xbb\xbf)?\s*(?s:<.*?)??<(?:\w+:)?xrdMeasurements\b"),
        "PANalytical .xrdml",
        "xrdml",
    ),
    (re.compile(rb"(?:\s*;[^\n]*\n)*\s*_FILEVERSION\b"), "Bruker .uxd", "uxd"),
    (re.compile(rb"(?:[A-Za-z]\w*,[^\n]*,/\s*\n)*DataAngleRange,"), "Philips .udf", "udf"),
)
_RASX_MEMBER = re.compile(r"Data(\d+)/Profile\d+\.txt")
_ARCHIVES = (  # path of a file within a zip archive, name of the format, suffix
    (_RASX_MEMBER, "Rigaku .rasx", ".rasx"),
    (re.compile(r"(?:.*/)?DataContainer\.xml"), "Bruker .brml", ".brml"),
)
_TOLD = ("PATTERN_X_AXIS_ASSUMED", "PATTERN_X_AXIS_IMPLAUSIBLE")  # diagnostics of rietx for the user


def find_format(path):
    """Return the name of the format of a powder file of a vendor, or None if it has none of their marks.

    The content decides, not the suffix.
    """
    found = _find(path)
    return None if found is None else found[0]


def _find(path):
    """Return the name of the format and its name in rietx, or None."""
    with path.open("rb") as file:
        start = file.read(SNIFFED_BYTES)
    if start.startswith(b"PK\x03\x04"):
        return _find_archive(path)
    start = start[2:].replace(b"\x00", b"") if start.startswith((b"\xff\xfe", b"\xfe\xff")) else start
    return next(((title, name) for mark, title, name in _FORMATS if mark.match(start)), None)


def _find_archive(path):
    """Return the name of the format of an archive and its name in rietx; of a damaged one, by its suffix."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.namelist()
    except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError):
        members = None
    for mark, title, suffix in _ARCHIVES:
        known = path.suffix.lower() == suffix if members is None else any(map(mark.fullmatch, members))
        if known:
            return title, suffix[1:]
    return None


def read_vendor(path, scan=None):
    """Return one `Range` of a powder file of a vendor.

    rietx reads the file in the process of readers, which has a time limit and a memory limit.

    Parameters
    ----------
    path : Path
        A file with a `find_format`.
    scan : int, "all" or None
        See `choose_range`.

    Raises
    ------
    ImportError
        If rietx is not installed.
    ValueError
        If the file is damaged, if it holds no scan of 2θ, or if there is no such scan; the message names the
        file.
    """
    title, name = _find(path)
    if find_spec("rietx") is None:
        raise ImportError(f"{path.name}: reading {title} files needs rietx; pip install xtalsk[powder]")
    found = read_apart(path, "rietx", _read, name, title, scan)
    for remark in found.remarks:
        warnings.warn(remark, stacklevel=5)
    return found


def _read(path, name, title, scan):
    """Return the `Range`, or raise ValueError; this runs in the process of readers."""
    from rietx.io.readers import identify_format, list_scans

    with limited_memory(FOREIGN_MEMORY):
        if name in ("rasx", "brml"):
            _check_archive(path)
        known = identify_format(path)
        if known.name != name:
            raise ValueError(f"{path.name}: it begins like a {title} file, but is none")
        first, n_scans = _read_range(path, known, 0 if scan in (None, "all") else scan)
        if scan is None and n_scans > 1:
            raise several_scans([scan.label for scan in list_scans(path)], path.name)
        if scan != "all":
            return first
        others = [_read_range(path, known, i)[0] for i in range(1, n_scans)]
        return choose_range([first, *others], "all", path.name)


def _check_archive(path):
    """Raise ValueError if a member of an archive is too large to unpack."""
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if member.file_size > LARGEST_MEMBER:
                raise ValueError(
                    f"{path.name}: its file {member.filename[:80]!r} takes {member.file_size:.3g} bytes "
                    f"unpacked, more than {LARGEST_MEMBER:.3g}"
                )


def _read_range(path, known, scan):
    """Return a `Range` and the number of scans of a file."""
    diagnostics = []
    options = {"scan": scan} if "scan" in known.options else {}
    if not options and scan:
        raise no_such_scan(scan, 1, path.name)
    pattern = known.read(path, diagnostics=diagnostics, **options)
    if pattern.two_theta is None:
        raise ValueError(f"{path.name}: expected a scan of 2θ, found times of flight")
    facts = pattern.metadata
    two_theta, intensity = np.array(pattern.two_theta), np.array(pattern.intensity)
    if known.name == "rasx" and any(d.code == "RAS_ATTENUATOR_PRESENT" for d in diagnostics):
        intensity = intensity * _attenuation(path, scan, two_theta)
    time, unit = float(facts.get("count_time_s") or 0), str(facts.get("intensity_unit") or "")
    remarks = [f"{d.message} {d.suggestion or ''}".strip() for d in diagnostics if d.code in _TOLD]
    found = Range(
        two_theta,
        intensity,
        _wavelength(facts),
        time if time > 0 else None,
        unit.lower() == "cps",
        remarks,
    )
    return found, int(facts.get("scan_count", 1))


def _wavelength(facts):
    """Return the wavelength in Å that a file gives, or that of Kα1 of its anode, or None."""
    stated = float(facts.get("wavelength") or 0)
    if stated > 0:
        return stated
    return kalpha1_wavelength(str(facts.get("anode") or ""))


def kalpha1_wavelength(anode):
    """Return the wavelength in Å of Kα1 of an element, or None if the text names no element.

    Energies of lines are those of xraylib.
    """
    import xraylib
    from scipy.constants import c, e, h

    try:
        z = xraylib.SymbolToAtomicNumber(anode.strip().capitalize())
        energy = xraylib.LineEnergy(z, xraylib.KL3_LINE)
    except ValueError:
        return None
    return h * c / (energy * 1e3 * e) * 1e10


def _attenuation(path, scan, two_theta):
    """Return the factors in the third column of a ``.rasx`` file, which multiply the intensities."""
    with zipfile.ZipFile(path) as archive:
        members = {int(m[1]): m[0] for m in map(_RASX_MEMBER.fullmatch, archive.namelist()) if m}
        with archive.open(members[sorted(members)[scan]]) as file:
            table = np.loadtxt(file, encoding="utf-8-sig", usecols=(0, 2))
    order = np.argsort(table[:, 0], kind="stable")
    if not np.array_equal(table[order, 0], two_theta):
        raise ValueError(f"{path.name}: the attenuation of scan {scan} does not fit its points")
    return table[order, 1]
