"""Reader of spectra, and the check of a cell of a column of spectra."""

import os
from dataclasses import fields, replace

from xtalsk.io._calibration import RawSpectrum, calibrate, check_calibration, find_unit
from xtalsk.io._emsa import EMSA_SUFFIXES, read_emsa
from xtalsk.io._errors import broken_file
from xtalsk.io._files import existing_file, read_npz
from xtalsk.io._headings import AXES, choose_intensity, find_names
from xtalsk.io._rosettasciio import read_microscope
from xtalsk.io._signals import from_hyperspy, is_signal, raw_spectrum, read_signal
from xtalsk.io._spectrum import Spectrum
from xtalsk.io._text import parse_table, read_lines

_TEXT_SUFFIXES = (".csv", ".txt", ".tsv", ".xy", ".dat")


def _read_text(path):
    """Return the spectrum of a text file; the heading names its columns and the unit of the energies."""
    table = parse_table(read_lines(path), path.name, "energy and counts")
    names = find_names(table.preamble, table.n_columns, table.separator)
    energies = [i for i, name in enumerate(names) if name.quantity == "energy"]
    others = [name.text.strip() for name in names if name.quantity in AXES]
    if others and not energies:
        raise ValueError(f"{path.name}: expected a column of energies, the heading names {others[0]!r}")
    position = energies[0] if energies else 0
    counts = choose_intensity(names, table.n_columns, position)
    if counts is None:
        listed = " | ".join(name.text.strip() for name in names)
        raise ValueError(f"{path.name}: no column of counts in the heading {listed}")
    unit = names[position].unit if energies else _unit_of_first(table.preamble)
    return RawSpectrum(
        path.name,
        table.column(counts, "the counts", nan_allowed=True),
        table.column(position, "the energy"),
        unit or None,
    )


def _unit_of_first(preamble):
    """Return the unit in the first field of the last line with letters, or None."""
    line = next((line[:500] for line in reversed(preamble) if any(map(str.isalpha, line))), "")
    first = line.strip().lstrip("#;!'*/%& ").replace(";", ",").replace("\t", ",").split(",")[0]
    return find_unit(first)


def _read_npz(path):
    """Return the spectrum of a ``.npz`` file."""
    names = [field.name for field in fields(Spectrum)][2:]
    arrays = read_npz(path, ("counts",), ("energy", *names))
    try:
        details = {name: arrays[name].item() for name in names if name in arrays}
    except ValueError as error:
        raise ValueError(f"{path.name}: expected single numbers in {names}: {error}") from error
    return RawSpectrum(
        path.name, arrays["counts"], arrays.get("energy"), "eV", "no array 'energy'", details=details
    )


def read_spectrum(
    path,
    *,
    offset=None,
    dispersion=None,
    energy_unit=None,
    beam_energy=None,
    takeoff_angle=None,
    index=None,
    position=None,
):
    r"""Read an X-ray spectrum or an electron energy-loss spectrum.

    The suffix selects the reader:

    - ``.msa``, ``.emsa``, ``.ems`` and ``.mas``: EMSA/MAS files (ISO 22029);
    - ``.csv``, ``.txt``, ``.tsv``, ``.xy`` and ``.dat``: text with energy and counts, one channel per line,
      separated by blanks, tabs, commas or semicolons. A heading such as ``Channel,Energy (keV),Counts`` names
      the columns; without it they are the first two. Numbers are read as by `read_profile`;
    - ``.npz``: the arrays ``counts`` and ``energy`` (eV), and optionally numbers with the names of the other
      arguments of `Spectrum`;
    - any other suffix (``.dm3``, ``.dm4``, ``.emd``, ``.bcf``, ``.spx``, ``.hspy``, ...): rosettasciio reads
      the file, in a process of its own with a time limit of 60 s plus 0.2 s for each MB. Install it with
      ``pip install xtalsk[microscopy]``.

    Parameters
    ----------
    path : str or path-like
    offset, dispersion : float or None, default=None
        Energy of the first channel and width of a channel, in eV. They replace the values in the file. Give
        both if the file is not calibrated.
    energy_unit : {None, "eV", "keV", "auto"}, default=None
        Unit of the energies if the file does not name it. A text file names it in the heading of the first
        column, such as ``Energy (keV)``. With None, a file without unit is an error. With "auto", an axis
        that ends below 100 is in keV. A unit that differs from the one in the file is an error.
    beam_energy : float or None, default=None
        Beam energy in keV, used if the file does not give it.
    takeoff_angle : float or None, default=None
        Take-off angle in degrees, used if the file does not give it. Files give the elevation of the
        detector, which is the take-off angle of a specimen that is not tilted.
    index : int or None, default=None
        Number of the signal in a file with several signals, counted from 0. With None, the reader takes the
        only spectrum, or the one that is the sum of all others (of several detectors). If neither exists,
        the error message lists the signals.
    position : tuple of int or None, default=None
        Position in a spectrum image, one index for each navigation axis in the order of the array. None sums
        all spectra.

    Returns
    -------
    Spectrum
        Counts as the file contains them. They may be negative, fractional or NaN, and channels may be dead
        or saturated.

    Raises
    ------
    OSError
        If there is no such file.
    ValueError
        If a parameter is invalid.
    BrokenFileError
        A ValueError: if the file contains no spectrum, or several without a sum, if it is truncated, or if
        its calibration is unknown or impossible; the message names the file.
    ImportError
        If the format needs rosettasciio and it is not installed.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from xtalsk.io import read_spectrum
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "quartz.csv")
    ...     _ = path.write_text("Energy (keV),Counts\n1.73,80\n1.74,95\n1.75,84\n")
    ...     read_spectrum(path, beam_energy=15)
    Spectrum(3 channels, 1730 to 1750 eV, beam_energy=15 keV)
    """
    check_calibration(dispersion, energy_unit)
    path = existing_file(path)
    suffix = path.suffix.lower()
    with broken_file(path.name):
        if suffix in EMSA_SUFFIXES:
            raw = read_emsa(path)
        elif suffix in _TEXT_SUFFIXES:
            raw = _read_text(path)
        elif suffix == ".npz":
            raw = _read_npz(path)
        else:
            raw = read_microscope(path, read_signal, index, position, is_part=position is not None)
        return calibrate(
            raw,
            offset=offset,
            dispersion=dispersion,
            energy_unit=energy_unit,
            beam_energy=beam_energy,
            takeoff_angle=takeoff_angle,
        )


def check_spectrum(cell, *, beam_energy=None, takeoff_angle=None):
    """Return a cell of a column of spectra as a `Spectrum`.

    Parameters
    ----------
    cell : Spectrum, str, path-like, or HyperSpy signal of one spectrum
    beam_energy, takeoff_angle : float or None, default=None
        In keV and degrees, used if the cell does not give them.

    Returns
    -------
    Spectrum

    Raises
    ------
    OSError
        If the cell is a path and there is no such file.
    ValueError
        If the cell has another type, or cannot be read.
    """
    if isinstance(cell, str | os.PathLike):
        return read_spectrum(cell, beam_energy=beam_energy, takeoff_angle=takeoff_angle)
    if getattr(type(cell), "is_read_on_use", False):  # a FileCell, whose module uses this one
        cell = cell.read(beam_energy=beam_energy, takeoff_angle=takeoff_angle)
    if is_signal(cell):
        raw = raw_spectrum(from_hyperspy(cell), f"the {type(cell).__name__}")
        return calibrate(raw, beam_energy=beam_energy, takeoff_angle=takeoff_angle)
    if not isinstance(cell, Spectrum):
        raise ValueError(
            f"expected a Spectrum, a path to a file or a HyperSpy signal of one spectrum, got "
            f"{type(cell).__name__}; counts without energies cannot be used, give "
            "Spectrum(counts, energy=..., beam_energy=...) in eV and keV"
        )
    defaults = {"beam_energy": beam_energy, "takeoff_angle": takeoff_angle}
    missing = {k: v for k, v in defaults.items() if v is not None and getattr(cell, k) is None}
    return replace(cell, **missing) if missing else cell
