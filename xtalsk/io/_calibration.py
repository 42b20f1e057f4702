"""Calibration: counts and axis of a file become a `Spectrum` with energies in eV."""

import re
from dataclasses import dataclass, field

import numpy as np

from xtalsk.io._constants import HIGHEST_ENERGY, KEV_AXIS_END, LOWEST_XRAY_END
from xtalsk.io._spectrum import Spectrum

_EV_PER_UNIT = {"ev": 1.0, "kev": 1000.0}
_UNIT = re.compile(r"(?<!\d)(?<!\d )(?<![a-z])k?ev(?![a-z])", re.IGNORECASE)


@dataclass
class RawSpectrum:
    """Counts, axis and metadata of a spectrum as its file stores them.

    Parameters
    ----------
    name : str
        Name of the file, for error messages.
    counts : ndarray of shape (n_channels,)
    axis : ndarray of shape (n_channels,) or None
        Energies in ``unit``; None if the file does not contain them.
    unit : str or None
        Unit as the file writes it: "eV", "keV", "Energy Loss (eV)", ...
    problem : str
        Reason why ``axis`` is None, for error messages.
    is_xray : bool
        Whether the file says that it is an X-ray spectrum.
    details : dict
        Other arguments of `Spectrum`. A value of None, zero or below means "unknown".
    """

    name: str
    counts: np.ndarray
    axis: np.ndarray | None = None
    unit: str | None = None
    problem: str = "the file contains no energies"
    is_xray: bool = False
    details: dict = field(default_factory=dict)


def linear_axis(offset, dispersion, n_channels):
    """Return the centres of channels of width ``dispersion``; ``offset`` is the centre of the first."""
    return offset + dispersion * np.arange(n_channels)


def positive_or_none(value):
    """Return a value as a positive float, or None if it is not one. Files write "unknown" in such ways."""
    try:
        value = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return value if np.isfinite(value) and value > 0 else None


def find_unit(text):
    """Return "ev" or "kev" if a text such as "Energy (keV)" contains that unit, else None.

    A unit after a number, as in "15 keV", belongs to the number and is ignored.
    """
    match = _UNIT.search(text)
    return match[0].lower() if match else None


def _ev_per_unit(raw, energy_unit):
    """Return the size in eV of the unit of the axis."""
    requested = None if energy_unit in (None, "auto") else energy_unit.lower()
    stated = find_unit(raw.unit) if raw.unit else None
    if raw.unit and stated is None:
        raise ValueError(
            f"{raw.name}: expected an axis in eV or keV, got the unit {raw.unit!r}; if the axis is an "
            "energy, give offset and dispersion in eV"
        )
    if requested and stated and requested != stated:
        raise ValueError(f"{raw.name}: energy_unit={energy_unit!r}, but the unit in the file is {raw.unit!r}")
    if requested or stated:
        return _EV_PER_UNIT[requested or stated]
    if energy_unit == "auto":
        return 1000.0 if raw.axis[-1] < KEV_AXIS_END else 1.0
    raise ValueError(
        f"{raw.name}: the file does not name the unit of its energies; give energy_unit='eV' or 'keV', or "
        f"'auto', which reads an axis that ends below {KEV_AXIS_END:g} as keV; if the axis counts channels, "
        "give offset and dispersion in eV"
    )


def _energies(raw, offset, dispersion, energy_unit):
    """Return the energies of the channels in eV; ``offset`` and ``dispersion`` replace those of the file."""
    if offset is not None and dispersion is not None:
        return linear_axis(offset, dispersion, len(raw.counts))
    if raw.axis is None:
        raise ValueError(
            f"{raw.name}: unknown calibration, {raw.problem}; give offset (energy of the first channel) and "
            "dispersion (width of a channel), both in eV"
        )
    energy = np.asarray(raw.axis, dtype=np.float64) * _ev_per_unit(raw, energy_unit)
    if offset is not None:
        return energy - energy[0] + offset
    if dispersion is not None:
        return linear_axis(energy[0], dispersion, len(energy))
    return energy


def check_calibration(dispersion, energy_unit):
    """Raise ValueError if a parameter of `read_spectrum` is invalid."""
    if energy_unit not in (None, "eV", "keV", "auto"):
        raise ValueError(f"energy_unit must be None, 'eV', 'keV' or 'auto', got {energy_unit!r}")
    if dispersion is not None and positive_or_none(dispersion) is None:
        raise ValueError(f"dispersion must be a positive number of eV, got {dispersion!r}")


def calibrate(raw, *, offset=None, dispersion=None, energy_unit=None, beam_energy=None, takeoff_angle=None):
    """Return the `Spectrum` of a `RawSpectrum`; the parameters are those of `read_spectrum`.

    Raises
    ------
    ValueError
        If the calibration is unknown or impossible; the message names the file.
    """
    energy = _energies(raw, offset, dispersion, energy_unit)
    counts = np.asarray(raw.counts)
    if energy[0] > energy[-1]:
        energy, counts = energy[::-1], counts[::-1]
    if energy[-1] > HIGHEST_ENERGY or (raw.is_xray and energy[-1] < LOWEST_XRAY_END):
        raise ValueError(
            f"{raw.name}: the axis runs from {energy[0]:g} to {energy[-1]:g} eV, its unit is probably wrong; "
            "give offset and dispersion in eV"
        )
    details = {key: positive_or_none(value) for key, value in raw.details.items()}
    if details.get("beam_energy") is None:
        details["beam_energy"] = beam_energy
    if details.get("takeoff_angle") is None:
        details["takeoff_angle"] = takeoff_angle
    try:
        return Spectrum(counts, energy=energy, **details)
    except ValueError as error:
        raise ValueError(f"{raw.name}: {error}") from error
