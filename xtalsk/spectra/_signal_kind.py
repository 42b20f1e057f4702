"""Whether a spectrum holds X-rays (EDS) or energy losses (EELS)."""

import os
import re
from pathlib import Path

import numpy as np

from xtalsk.spectra.eels._zero_loss import zero_loss

_SIGNAL_TYPE = re.compile(rb"#\s*SIGNAL\s*TYPE[^:\r\n]*:[ \t]*([A-Za-z]+)")
_HEADER_BYTES = 65_536  # a header of an EMSA file is shorter
_TEXT_SUFFIXES = (".msa", ".emsa", ".ems", ".mas")
_XRAYS, _LOSSES = ("EDS", "EDX", "XEDS", "WDS", "XRF"), ("EELS", "ELS", "EEL")

# Axes of instruments, in eV: channels of X-ray detectors are 2.5 eV wide or wider, and their axes reach
# 5 keV or more. Spectrometers of energy losses have channels of up to 2 eV. An axis that ends below 100 eV
# may be one in keV, which other checks report. Not tuned.
_XRAY_STEP, _LOSS_STEP = 2.4, 1.5
_WIDE_STEP, _XRAY_END, _SURE_XRAY_END, _LOW_START = 4.0, 5e3, 1e4, 100.0
_LOSS_ENDS = (100.0, 6e3)


def _stated_type(cell):
    """Return the signal type that a HyperSpy signal or an EMSA file states, "" if it states none."""
    if isinstance(cell, str | os.PathLike):
        path = Path(cell)
        if path.suffix.lower() not in _TEXT_SUFFIXES or not path.is_file():
            return ""
        with path.open("rb") as file:
            match = _SIGNAL_TYPE.search(file.read(_HEADER_BYTES).upper())
        return match[1].decode("ascii") if match else ""
    metadata = getattr(cell, "metadata", None)
    if not hasattr(metadata, "as_dictionary"):
        return ""
    return str(metadata.as_dictionary().get("Signal", {}).get("signal_type") or "").upper()


def _step(spectrum):
    """Return the median width of the channels in eV."""
    return float(np.median(np.diff(spectrum.energy)))


def _has_angles_of_losses(spectrum):
    """Return whether a spectrum has angles that only an energy-loss spectrum has."""
    return spectrum.convergence_angle is not None or spectrum.collection_angle is not None


def _xray_reason(spectrum):
    """Return why a spectrum must be one of X-rays, "" if it may be one of energy losses."""
    step, start, end = _step(spectrum), spectrum.energy[0], spectrum.energy[-1]
    if _has_angles_of_losses(spectrum):
        return ""
    axis = f"its axis runs from {start:g} to {end:g} eV in channels of {step:.3g} eV"
    is_wide = step >= _WIDE_STEP and (end >= _SURE_XRAY_END or (end >= _XRAY_END and start < _LOW_START))
    if is_wide and zero_loss(spectrum.energy, spectrum.counts) is None:
        return axis
    if spectrum.takeoff_angle is not None and step >= _XRAY_STEP:
        return f"it has a take-off angle, and {axis}"
    return ""


def _loss_reason(spectrum):
    """Return why a spectrum must be one of energy losses, "" if it may be one of X-rays."""
    step, start, end = _step(spectrum), spectrum.energy[0], spectrum.energy[-1]
    if spectrum.takeoff_angle is None and _has_angles_of_losses(spectrum):
        return "it has a convergence angle or a collection angle"
    if step <= _LOSS_STEP and _LOSS_ENDS[0] <= end <= _LOSS_ENDS[1]:
        return f"its axis runs from {start:g} to {end:g} eV in channels of {step:.3g} eV"
    return ""


def _refuse(cell, reason, expected, other, transformer):
    """Raise the ValueError for a spectrum of the other kind."""
    name = f"{Path(cell).name}: " if isinstance(cell, str | os.PathLike) else ""
    raise ValueError(
        f"{name}expected {expected}, but the spectrum is one of {other}: {reason}; use {transformer}"
    )


def check_is_loss_spectrum(cell, spectrum):
    """Raise ValueError if a spectrum is an X-ray spectrum.

    Parameters
    ----------
    cell : Spectrum, path or HyperSpy signal
        The signal type that it states decides, if there is one.
    spectrum : Spectrum
        The spectrum of the cell. Without a signal type, its axis, take-off angle and zero-loss peak decide.

    Raises
    ------
    ValueError
        The message says why.
    """
    stated = _stated_type(cell)
    if stated in _LOSSES:
        return
    reason = f"its signal type is {stated}" if stated.startswith(_XRAYS) else _xray_reason(spectrum)
    if reason:
        _refuse(cell, reason, "energy losses (EELS)", "X-rays (EDS)", "EDSComposition")


def check_is_xray_spectrum(cell, spectrum):
    """Raise ValueError if a spectrum is an energy-loss spectrum.

    Parameters
    ----------
    cell : Spectrum, path or HyperSpy signal
        The signal type that it states decides, if there is one.
    spectrum : Spectrum
        The spectrum of the cell. Without a signal type, its axis and its angles decide.

    Raises
    ------
    ValueError
        The message says why.
    """
    stated = _stated_type(cell)
    if stated.startswith(_XRAYS):
        return
    reason = f"its signal type is {stated}" if stated in _LOSSES else _loss_reason(spectrum)
    if reason:
        _refuse(cell, reason, "X-rays (EDS)", "energy losses (EELS)", "EELSComposition")
