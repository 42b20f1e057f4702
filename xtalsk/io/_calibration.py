"""From what a file says of a spectrum to a `Spectrum` with energies in eV."""

import re
from dataclasses import dataclass, field

import numpy as np

from xtalsk.io._spectrum import Spectrum

_IN_EV = {"ev": 1.0, "kev": 1000.0}
_UNIT = re.compile(r"(?<!\d)(?<!\d )(?<![a-z])k?ev(?![a-z])", re.IGNORECASE)
_HIGHEST = 1e6  # no spectrum reaches 1 MeV
_LOWEST_END = 100.0  # and none of X-rays ends before 100 eV


@dataclass
class RawSpectrum:
    """A spectrum as it stands in a file.

    Parameters
    ----------
    name : str
        Of the file, for messages.
    counts : ndarray of shape (n_channels,)
    axis : ndarray of shape (n_channels,) or None
        Energies in ``unit``; None where they are not known.
    unit : str or None
        As the file names it: "eV", "keV", "Energy Loss (eV)", ...
    problem : str
        Why there is no axis.
    xrays : bool
        Whether the file says that these are X-rays.
    details : dict
        Other arguments of `Spectrum`; None, 0 or less where the file does not know.
    """

    name: str
    counts: np.ndarray
    axis: np.ndarray | None = None
    unit: str | None = None
    problem: str = "its energies are not known"
    xrays: bool = False
    details: dict = field(default_factory=dict)


def linear_axis(offset, dispersion, n_channels):
    """Energies of channels of equal width, the first of which has its middle at ``offset``."""
    return offset + dispersion * np.arange(n_channels)


def positive_or_none(value):
    """Turn a value into a positive float, or None where it is not one: how files say "not known"."""
    try:
        value = float(value)
    except (TypeError, ValueError):
        return None
    return value if np.isfinite(value) and value > 0 else None


def find_unit(text):
    """Find eV or keV, in lower case, in a text such as "Energy (keV)"; None where neither is.

    A unit that follows a number, as in "15 keV", is that of the number and does not count.
    """
    match = _UNIT.search(text)
    return match[0].lower() if match else None


def _unit_in_ev(raw, energy_unit):
    """Size of the unit of the axis in eV."""
    given = None if energy_unit in (None, "auto") else energy_unit.lower()
    named = find_unit(raw.unit) if raw.unit else None
    if raw.unit and named is None:
        raise ValueError(
            f"{raw.name}: the axis is in {raw.unit!r}, expected eV or keV; if the channels are of energy, "
            "give offset and dispersion in eV"
        )
    if given and named and given != named:
        raise ValueError(f"{raw.name}: energy_unit={energy_unit!r}, but the file says {raw.unit!r}")
    if given or named:
        return _IN_EV[given or named]
    if energy_unit == "auto":
        return 1000.0 if raw.axis[-1] < 100 else 1.0
    raise ValueError(
        f"{raw.name}: the file does not name the unit of its energies; give energy_unit='eV' or 'keV', or "
        "'auto' to take an axis that ends below 100 as keV; if it counts channels, give offset and "
        "dispersion, in eV"
    )


def _energies(raw, offset, dispersion, energy_unit):
    """Energies of the channels in eV; ``offset`` and ``dispersion`` go before what the file says."""
    if offset is not None and dispersion is not None:
        return linear_axis(offset, dispersion, len(raw.counts))
    if raw.axis is None:
        raise ValueError(
            f"{raw.name}: unknown calibration, {raw.problem}; give offset (energy of the first channel) and "
            "dispersion (width of a channel), both in eV"
        )
    energy = np.asarray(raw.axis, dtype=np.float64) * _unit_in_ev(raw, energy_unit)
    if offset is not None:
        return energy - energy[0] + offset
    if dispersion is not None:
        return linear_axis(energy[0], dispersion, len(energy))
    return energy


def calibrate(raw, *, offset=None, dispersion=None, energy_unit=None, beam_energy=None, takeoff_angle=None):
    """Make a `Spectrum` of a `RawSpectrum`; the parameters are those of `read_spectrum`."""
    if energy_unit not in (None, "eV", "keV", "auto"):
        raise ValueError(f"energy_unit must be None, 'eV', 'keV' or 'auto', got {energy_unit!r}")
    if dispersion is not None and positive_or_none(dispersion) is None:
        raise ValueError(f"dispersion must be a positive number of eV, got {dispersion!r}")
    energy = _energies(raw, offset, dispersion, energy_unit)
    counts = np.asarray(raw.counts)
    if energy[0] > energy[-1]:
        energy, counts = energy[::-1], counts[::-1]
    if energy[-1] > _HIGHEST or (raw.xrays and energy[-1] < _LOWEST_END):
        raise ValueError(
            f"{raw.name}: the axis runs from {energy[0]:g} to {energy[-1]:g} eV, are its units mixed up? "
            "Give offset and dispersion in eV"
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
