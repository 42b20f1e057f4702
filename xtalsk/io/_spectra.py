"""Spectra from files, and from what else a cell of a column of spectra may hold."""

import os
from dataclasses import fields, replace

import numpy as np

from xtalsk.io._calibration import RawSpectrum, calibrate, find_unit
from xtalsk.io._emsa import SUFFIXES, read_emsa
from xtalsk.io._files import existing_file, read_columns
from xtalsk.io._rosettasciio import read_microscope
from xtalsk.io._signals import choose_signal, from_hyperspy, raw_spectrum
from xtalsk.io._spectrum import Spectrum

_TEXT = (".csv", ".txt", ".tsv", ".xy", ".dat")


def _read_text(path):
    """Two columns; the unit is that of the first column of the heading."""
    table, heading = read_columns(path, "energy and counts")
    first = heading.strip().lstrip("#;!'*/%& ").replace(";", ",").replace("\t", ",").split(",")[0]
    return RawSpectrum(path.name, table[:, 1], table[:, 0], find_unit(first))


def _read_npz(path):
    try:
        archive = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise ValueError(f"{path.name}: this is no archive of arrays as np.savez writes it") from error
    with archive:
        if "counts" not in archive:
            raise ValueError(f"{path.name}: no array 'counts' among {sorted(archive)}")
        energy = archive.get("energy")
        names = [f.name for f in fields(Spectrum)][2:]
        details = {name: archive[name].item() for name in names if name in archive}
        return RawSpectrum(path.name, archive["counts"], energy, "eV", "no array 'energy'", False, details)


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
    r"""Read a spectrum of X-rays or of energy losses.

    ``.msa``, ``.emsa``, ``.ems`` and ``.mas`` are EMSA/MAS files (ISO 22029). ``.csv``, ``.txt``, ``.tsv``,
    ``.xy`` and ``.dat`` hold energy and counts, a channel a line, parted by blanks, tabs, commas or
    semicolons. ``.npz`` holds the arrays ``counts`` and ``energy`` (eV) and, if it likes, numbers named
    like the arguments of `Spectrum`. Anything else (``.dm3``, ``.dm4``, ``.emd``, ``.bcf``, ``.spx``,
    ``.hspy``, ...) is read with rosettasciio, which ``pip install xtalsk[microscopy]`` brings.

    Parameters
    ----------
    path : str or path-like
    offset, dispersion : float or None, default=None
        Energy of the first channel and width of a channel, in eV. They replace those of the file; both
        together calibrate a file that knows no energies.
    energy_unit : {None, "eV", "keV", "auto"}, default=None
        Unit of the file's energies where the file does not name it. None makes that an error; "auto" takes
        an axis that ends below 100 as keV. It is an error if the file names another. A text file names the
        unit in the heading of its first column, such as ``Energy (keV)``.
    beam_energy : float or None, default=None
        In keV, where the file does not give it.
    takeoff_angle : float or None, default=None
        In degrees, where the file does not give it. Files give the elevation of the detector, which is the
        take-off angle of a specimen that is not tilted.
    index : int or None, default=None
        Which of several signals in a file, counted from 0; an error that asks for it lists them. None takes
        the only spectrum, or the one that is the sum of all others (of several detectors).
    position : tuple of int or None, default=None
        Which spectrum of an image of spectra, one index for each navigation axis in the order of the array.
        None adds all spectra up.

    Returns
    -------
    Spectrum
        Counts as they are in the file: negative and fractional ones, as the subtraction of a dark level
        leaves, dead and saturated channels, and NaN.

    Raises
    ------
    OSError
        If there is no such file.
    ValueError
        If the file holds no spectrum, or several that could be meant, if it is cut off, or if its
        calibration is unknown or makes no sense; names the file.
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
    path = existing_file(path)
    suffix = path.suffix.lower()
    if suffix in SUFFIXES:
        raw = read_emsa(path)
    elif suffix in _TEXT:
        raw = _read_text(path)
    elif suffix == ".npz":
        raw = _read_npz(path)
    else:
        signal = read_microscope(path, lambda signals: choose_signal(signals, index))
        raw = raw_spectrum(signal, path.name, position)
    return calibrate(
        raw,
        offset=offset,
        dispersion=dispersion,
        energy_unit=energy_unit,
        beam_energy=beam_energy,
        takeoff_angle=takeoff_angle,
    )


def check_spectrum(cell, *, beam_energy=None, takeoff_angle=None):
    """Turn a cell into a `Spectrum`.

    Parameters
    ----------
    cell : Spectrum, str, path-like, or HyperSpy signal of one spectrum
    beam_energy, takeoff_angle : float or None, default=None
        In keV and degrees, where the cell does not give them.

    Returns
    -------
    Spectrum

    Raises
    ------
    OSError
        If the cell is a path and there is no such file.
    ValueError
        If the cell is none of these, or cannot be read; says what was expected.
    """
    if isinstance(cell, str | os.PathLike):
        return read_spectrum(cell, beam_energy=beam_energy, takeoff_angle=takeoff_angle)
    if all(hasattr(cell, name) for name in ("data", "axes_manager", "metadata")):
        raw = raw_spectrum(from_hyperspy(cell), f"the {type(cell).__name__}")
        return calibrate(raw, beam_energy=beam_energy, takeoff_angle=takeoff_angle)
    if not isinstance(cell, Spectrum):
        raise ValueError(
            f"expected a Spectrum, a path to a file or a HyperSpy signal of one spectrum, got "
            f"{type(cell).__name__}; plain counts do not say what their energies are, give "
            "Spectrum(counts, energy=..., beam_energy=...) in eV and keV"
        )
    given = {"beam_energy": beam_energy, "takeoff_angle": takeoff_angle}
    missing = {k: v for k, v in given.items() if v is not None and getattr(cell, k) is None}
    return replace(cell, **missing) if missing else cell
