"""Scans in steps: files of start, step, stop and then only intensities (FullProf, DBWS, GSAS, Sieray)."""

import re

import numpy as np

from xtalsk.io._constants import LARGEST_STEP_ERROR, MANY_COLUMNS
from xtalsk.io._headings import find_wavelength
from xtalsk.io._numbers import to_number
from xtalsk.io._ranges import Range

_TRIPLE = re.compile(r"\s*([-+.\deE]+)[\s,]+([-+.\deE]+)[\s,]+([-+.\deE]+)(?:[\s,]+(.*))?$")
_BANK = re.compile(r"BANK\s+\d+\s+(\d+)\s+\d+\s+(\w+)\s+([-+.\deE]+)\s+([-+.\deE]+)(.*)$")
_SIERAY = "SIETRONICS XRD SCAN"
_HEADER_LINES = 10  # FullProf and DBWS write at most 7 lines before start, step and stop


def read_steps(lines, name):
    """Return the scans in steps of a file as a list of `Range`, or None if the lines are no such scan.

    FullProf (``INSTRM = 0``) and DBWS write start, step and stop on one line, then the intensities, ten on a
    line. GSAS writes a line ``BANK`` with start and step in hundredths of a degree. Sieray (``.cpi``) writes
    start, stop, step, anode, wavelength, date, counting time and title on a line each.

    Parameters
    ----------
    lines : list of str
    name : str
        Name of the file, for error messages.

    Returns
    -------
    list of Range, or None

    Raises
    ------
    ValueError
        If the number of intensities does not fit start, step and stop, or if the file has times of flight.
    """
    if lines[0].strip().upper() == _SIERAY:
        return [_read_sieray(lines, name)]
    banks = [number for number, line in enumerate(lines) if line.startswith("BANK")]
    if banks and _BANK.match(lines[banks[0]]):
        wavelength = find_wavelength(lines[: banks[0]])
        return [
            Range(*_read_bank(lines[:end], bank, name), wavelength)
            for bank, end in zip(banks, [*banks[1:], len(lines)], strict=True)
        ]
    for number, line in enumerate(lines[:_HEADER_LINES]):
        match = _TRIPLE.match(line)
        if match is None or any(to_number(match[i]) is None for i in (1, 2, 3)):
            continue
        if re.search(r"\d,\d", line) or (match[4] and to_number(match[4].split()[0]) is not None):
            return None  # decimal commas, or more than three numbers
        start, second, third = (to_number(match[i]) for i in (1, 2, 3))
        for step, stop in ((second, third), (third, second)):
            if 0 < step < stop - start:
                scan = _read_counts(lines, number + 1, (start, step, stop), name)
                if scan is not None:
                    return [Range(*scan, find_wavelength(lines[: number + 1]))]
        if match[4] is None:
            return None
    return None


def _read_counts(lines, first, steps, name):
    """Return the scan whose intensities begin at a line, or None if they do not look like a scan."""
    start, step, stop = steps
    counts, widths = [], []  # numbers in the file, and on each line
    for line in lines[first:]:
        values = [to_number(field) for field in line.replace(",", " ").split()]
        if None in values:
            return None
        counts += values
        widths += [len(values)] if values else []
    fits = counts and abs(start + (len(counts) - 1) * step - stop) <= LARGEST_STEP_ERROR * step
    wide = widths and np.median(widths) >= MANY_COLUMNS
    if fits and (wide or np.median(widths) == 1):  # two to four columns are a table
        return start + step * np.arange(len(counts)), np.array(counts)
    if wide:
        expected = round((stop - start) / step) + 1
        raise ValueError(
            f"{name}: line {first} gives {expected} points from {start:g} to {stop:g} in steps of {step:g}, "
            f"found {len(counts)} intensities; the file is truncated, or not in this format"
        )
    return None


def _read_sieray(lines, name):
    """Return the `Range` of a file of Sieray (``.cpi``)."""
    lines = [line.strip() for line in lines]
    first = next((i for i, line in enumerate(lines) if line.upper() == "SCANDATA"), 0) + 1
    start, stop, step, wavelength, time = (
        to_number(lines[i]) if i < first - 1 else None for i in (1, 2, 3, 5, 7)
    )
    if first == 1 or None in (start, stop, step) or not step > 0 or not stop > start:
        raise ValueError(f"{name}: expected start, stop and step in lines 2 to 4, and then a line SCANDATA")
    scan = _read_counts(lines, first, (start, step, stop), name)
    if scan is None:
        raise ValueError(
            f"{name}: expected {(stop - start) / step + 1:.0f} intensities from line {first + 1} on, one on "
            "each line; the file is truncated"
        )
    return Range(*scan, wavelength if wavelength else None, time if time else None)


def _fixed_width(line, width):
    line = line.rstrip("\r\n")
    return [line[i : i + width] for i in range(0, len(line), width)]


def _read_bank(lines, bank, name):
    """Return the scan after a line ``BANK`` of GSAS; intensities are counts per counter."""
    match = _BANK.match(lines[bank])
    n_points, binning = int(match[1]), match[2]
    kind = match[5].split()[-1] if match[5].split() else "STD"
    if not binning.startswith("CONS") and kind != "FXYE":
        raise ValueError(f"{name}: expected a scan in constant steps, got {binning!r} in the line BANK")
    data = [line for line in lines[bank + 1 :] if line.strip() and not line.startswith("#")]
    if kind in ("FXYE", "FXY"):
        rows = [[to_number(field) for field in line.split()[:2]] for line in data]
        numbers, axis = [row[1] if len(row) > 1 else None for row in rows], [row[0] for row in rows]
    elif kind == "ESD":
        numbers = [to_number(f.strip()) for line in data for f in _fixed_width(line, 8)[::2] if f.strip()]
    elif kind.lstrip("-+.").replace(".", "").isdigit() or kind == "STD":
        numbers = [to_number(f[2:].strip()) for line in data for f in _fixed_width(line, 8) if f[2:].strip()]
    else:
        raise ValueError(f"{name}: expected STD, ESD, FXY or FXYE in the line BANK, got {kind!r}")
    if len(numbers) < n_points or None in numbers[:n_points]:
        found = len(numbers) if None not in numbers else numbers.index(None)
        raise ValueError(
            f"{name}: the line BANK gives {n_points} points, found {found}; the file is truncated"
        )
    if kind in ("FXYE", "FXY"):
        axis = np.array(axis[:n_points], dtype=float)
    else:
        axis = float(match[3]) + float(match[4]) * np.arange(n_points)
    return axis / 100, np.array(numbers[:n_points], dtype=float)
