"""Signals of rosettasciio and HyperSpy: choose the spectrum and collect its metadata."""

import numpy as np

from xtalsk.io._calibration import RawSpectrum, linear_axis, positive_or_none

# Argument of `Spectrum`: its path in the metadata of HyperSpy, below Acquisition_instrument.TEM or .SEM.
_DETAILS = {
    "beam_energy": "beam_energy",
    "takeoff_angle": "Detector.EDS.elevation_angle",
    "live_time": "Detector.EDS.live_time",
    "energy_resolution": "Detector.EDS.energy_resolution_MnKa",
    "convergence_angle": "convergence_angle",
    "collection_angle": "Detector.EELS.collection_angle",
}


def _look_up(tree, path):
    """Return the value at a dotted path of nested dicts, or None if there is none."""
    for key in path.split("."):
        if not isinstance(tree, dict) or key not in tree:
            return None
        tree = tree[key]
    return tree


def _mapped_metadata(signal):
    """Return {HyperSpy path: value} for metadata that a reader left under the names of the file format."""
    metadata = {}
    for source, (target, convert) in (signal.get("mapping") or {}).items():
        value = _look_up(signal.get("original_metadata"), source)
        if value is not None and target.startswith("Acquisition_instrument."):
            try:
                metadata[target] = value if convert is None else convert(value)
            except (TypeError, ValueError, KeyError, AttributeError):
                continue
    return metadata


def _velox_detector(signal):
    """Return the elevation (degrees) and live time (s) of the detector that recorded a Velox spectrum."""
    original = signal.get("original_metadata")
    number = _look_up(original, "BinaryResult.DetectorIndex")
    detector = _look_up(original, f"Detectors.Detector-{number}") or {}
    try:
        elevation = np.degrees(float(detector["ElevationAngle"]))
    except (KeyError, TypeError, ValueError):
        elevation = None
    return {"takeoff_angle": elevation, "live_time": detector.get("LiveTime")}


def _details(signal):
    """Return the arguments of `Spectrum` that the metadata give."""
    mapped, details = _mapped_metadata(signal), _velox_detector(signal)
    for argument, path in _DETAILS.items():
        for instrument in ("TEM", "SEM"):
            full_path = f"Acquisition_instrument.{instrument}.{path}"
            value = _look_up(signal.get("metadata"), full_path)
            value = mapped.get(full_path) if value is None else value
            if value is not None:
                details[argument] = value
    return details


def signal_beam_energy(signal):
    """Return the beam energy in keV that the metadata of a signal give, or None."""
    return positive_or_none(_details(signal).get("beam_energy"))


def _signal_axis(signal):
    """Return position and description of the energy axis of a spectrum or spectrum image, else None."""
    axes = signal["axes"]
    positions = [i for i, axis in enumerate(axes) if not axis.get("navigate", False)]
    if len(positions) != 1 or len(axes) != np.ndim(signal["data"]) or axes[positions[0]]["size"] < 2:
        return None
    return positions[0], axes[positions[0]]


def _is_single_spectrum(signal):
    """Return whether a signal is one spectrum, not a spectrum image."""
    axis = _signal_axis(signal)
    return axis is not None and np.size(signal["data"]) == axis[1]["size"]


def describe(number, signal):
    """Return number, title, type and shape of a signal as text."""
    title = _look_up(signal.get("metadata"), "General.title") or "untitled"
    kind = _look_up(signal.get("metadata"), "Signal.signal_type") or "unknown"
    return f"{number}: {title!r}, {kind}, {' x '.join(map(str, np.shape(signal['data'])))}"


def _sum_spectrum(candidates):
    """Return the spectrum that is the sum of all others, channel by channel, or None."""
    spectra = [np.squeeze(np.asarray(signal["data"], dtype=np.float64)) for signal in candidates]
    if len({counts.shape for counts in spectra}) > 1:
        return None
    total = np.sum(spectra, axis=0)
    for candidate, counts in zip(candidates, spectra, strict=True):
        if counts.any() and np.allclose(2 * counts, total):
            return candidate
    return None


def choose_signal(signals, index=None):
    """Return the spectrum among the signals of a file.

    Parameters
    ----------
    signals : list of dict
        Signals as rosettasciio returns them.
    index : int or None
        Number of the signal. None takes the only spectrum, or the spectrum that is the sum of all others,
        or, if the file contains no spectrum, the only spectrum image.

    Returns
    -------
    dict

    Raises
    ------
    ValueError
        If there is no such signal, or if several are possible; the message lists the signals.
    """
    listed = "; ".join(describe(i, signal) for i, signal in enumerate(signals)) or "none"
    if index is not None:
        if not 0 <= index < len(signals) or _signal_axis(signals[index]) is None:
            raise ValueError(f"signal {index} is not a spectrum; the file contains {listed}")
        return signals[index]
    single = [signal for signal in signals if _is_single_spectrum(signal)]
    candidates = single or [signal for signal in signals if _signal_axis(signal) is not None]
    if not candidates:
        raise ValueError(f"expected a spectrum; the file contains {listed}")
    chosen = candidates[0] if len(candidates) == 1 else _sum_spectrum(candidates)
    if chosen is None:
        raise ValueError(
            f"expected one spectrum, found {len(candidates)}; give index to choose one of {listed}"
        )
    return chosen


def _counts_at(data, position, name):
    """Return the counts at one position of a spectrum image, or their sum if ``position`` is None.

    The last axis of ``data`` is the energy.
    """
    if position is None:
        return data.sum(axis=tuple(range(data.ndim - 1))) if data.ndim > 1 else data
    if len(position) != data.ndim - 1:
        raise ValueError(f"{name}: position must be {data.ndim - 1} numbers, got {position!r}")
    try:
        return data[tuple(position)]
    except IndexError:
        raise ValueError(
            f"{name}: position must lie within an image of shape {data.shape[:-1]}, got {position!r}"
        ) from None


def read_signal(signals, name, index, position):
    """Return the chosen spectrum among the signals of a file as a `RawSpectrum`."""
    return raw_spectrum(choose_signal(signals, index), name, position)


def raw_spectrum(signal, name, position=None):
    """Return a signal as a `RawSpectrum`.

    Parameters
    ----------
    signal : dict
        Signal as rosettasciio returns it, with one axis that is not for navigation.
    name : str
        Name of the file, for error messages.
    position : tuple of int or None
        Position in a spectrum image; None sums all spectra.

    Raises
    ------
    ValueError
        If the position is not in the image; the message names the file.
    """
    axis_position, axis = _signal_axis(signal)
    counts = np.asarray(_counts_at(np.moveaxis(signal["data"], axis_position, -1), position, name))
    unit = str(axis.get("units") or "").strip()
    if unit.startswith("<"):  # HyperSpy writes "<undefined>"
        unit = ""
    kind = str(_look_up(signal.get("metadata"), "Signal.signal_type") or "")
    energy, problem = axis.get("axis"), ""
    if energy is None:
        energy = linear_axis(float(axis["offset"]), float(axis["scale"]), len(counts))
    if not unit and np.array_equal(energy, np.arange(len(counts))):
        energy, problem = None, "its axis has no unit and counts channels"
    return RawSpectrum(name, counts, energy, unit, problem, kind.startswith("EDS"), _details(signal))


def is_signal(cell):
    """Return whether a cell looks like a signal of HyperSpy."""
    return all(hasattr(cell, name) for name in ("data", "axes_manager", "metadata"))


def signal_dict(signal):
    """Return a HyperSpy signal as a dict like those of rosettasciio, without HyperSpy."""
    manager = signal.axes_manager
    axes = [
        {"size": a.size, "navigate": a.navigate, "axis": np.asarray(a.axis), "units": a.units}
        for a in sorted((*manager.navigation_axes, *manager.signal_axes), key=lambda a: a.index_in_array)
    ]
    return {"data": signal.data, "axes": axes, "metadata": signal.metadata.as_dictionary()}


def from_hyperspy(signal):
    """Return a HyperSpy signal of one spectrum as a dict like those of rosettasciio, without HyperSpy.

    Raises
    ------
    ValueError
        If the signal has several navigation positions, or more than one signal axis.
    """
    signal = signal_dict(signal)
    if not _is_single_spectrum(signal):
        raise ValueError(
            "expected a signal of one spectrum, got data of shape "
            f"{np.shape(signal['data'])}; select one with .inav[...] or sum them with .sum()"
        )
    return signal
