"""Spectra among the signals that rosettasciio or HyperSpy give: which one, and what is known of it."""

import numpy as np

from xtalsk.io._calibration import RawSpectrum, linear_axis

# Where HyperSpy keeps what we need, below Acquisition_instrument.TEM or .SEM.
_DETAILS = {
    "beam_energy": "beam_energy",
    "takeoff_angle": "Detector.EDS.elevation_angle",
    "live_time": "Detector.EDS.live_time",
    "energy_resolution": "Detector.EDS.energy_resolution_MnKa",
    "convergence_angle": "convergence_angle",
    "collection_angle": "Detector.EELS.collection_angle",
}


def _look_up(tree, path):
    """Value at a path whose steps are parted by dots, None where there is none."""
    for step in path.split("."):
        if not isinstance(tree, dict) or step not in tree:
            return None
        tree = tree[step]
    return tree


def _mapped(signal):
    """Work out what a reader leaves in the file's own words, as {path in HyperSpy's words: value}."""
    found = {}
    for source, (target, function) in (signal.get("mapping") or {}).items():
        value = _look_up(signal.get("original_metadata"), source)
        if value is not None and target.startswith("Acquisition_instrument."):
            try:
                found[target] = value if function is None else function(value)
            except (TypeError, ValueError, KeyError, AttributeError):
                continue
    return found


def _velox_detector(signal):
    """Elevation and live time of the detector to which a spectrum of Velox belongs."""
    original = signal.get("original_metadata")
    number = _look_up(original, "BinaryResult.DetectorIndex")
    detector = _look_up(original, f"Detectors.Detector-{number}") or {}
    try:
        elevation = np.degrees(float(detector["ElevationAngle"]))
    except (KeyError, TypeError, ValueError):
        elevation = None
    return {"takeoff_angle": elevation, "live_time": detector.get("LiveTime")}


def _details(signal):
    """Arguments of `Spectrum` from the metadata."""
    mapped, details = _mapped(signal), _velox_detector(signal)
    for name, path in _DETAILS.items():
        for instrument in ("TEM", "SEM"):
            full = f"Acquisition_instrument.{instrument}.{path}"
            value = _look_up(signal.get("metadata"), full)
            value = mapped.get(full) if value is None else value
            if value is not None:
                details[name] = value
    return details


def _signal_axis(signal):
    """Position and description of the one axis of a spectrum or of an image of spectra, or None."""
    axes = signal["axes"]
    places = [i for i, axis in enumerate(axes) if not axis.get("navigate", False)]
    if len(places) != 1 or len(axes) != np.ndim(signal["data"]) or axes[places[0]]["size"] < 2:
        return None
    return places[0], axes[places[0]]


def _describe(number, signal):
    title = _look_up(signal.get("metadata"), "General.title") or "untitled"
    kind = _look_up(signal.get("metadata"), "Signal.signal_type") or "unknown"
    return f"{number}: {title!r}, {kind}, {' x '.join(map(str, np.shape(signal['data'])))}"


def _whole(candidates):
    """Find the one of several spectra that is the sum of all others, channel by channel, or None."""
    data = [np.squeeze(np.asarray(c["data"], dtype=np.float64)) for c in candidates]
    if len({d.shape for d in data}) > 1:
        return None
    total = np.sum(data, axis=0)
    for candidate, one in zip(candidates, data, strict=True):
        if one.any() and np.allclose(2 * one, total):
            return candidate
    return None


def choose_signal(signals, index=None):
    """Choose the spectrum among the signals of a file.

    Parameters
    ----------
    signals : list of dict
        As rosettasciio gives them.
    index : int or None
        Number of the signal; None takes the only spectrum, or of several the one that is the sum of the
        others, or, if there is none, the only image of spectra.

    Returns
    -------
    dict

    Raises
    ------
    ValueError
        If there is no such signal, or if several could be meant; lists them.
    """
    listed = "; ".join(_describe(i, signal) for i, signal in enumerate(signals)) or "none"
    if index is not None:
        if not 0 <= index < len(signals) or _signal_axis(signals[index]) is None:
            raise ValueError(f"signal {index} is not a spectrum; signals are {listed}")
        return signals[index]
    spectral = [s for s in signals if _signal_axis(s) is not None]
    single = [s for s in spectral if np.size(s["data"]) == _signal_axis(s)[1]["size"]]
    candidates = single or spectral
    if not candidates:
        raise ValueError(f"no spectrum in the file; signals are {listed}")
    chosen = candidates[0] if len(candidates) == 1 else _whole(candidates)
    if chosen is None:
        raise ValueError(f"{len(candidates)} spectra in the file, give index to choose one: {listed}")
    return chosen


def raw_spectrum(signal, name, position=None):
    """Turn a signal into a `RawSpectrum`.

    Parameters
    ----------
    signal : dict
        As rosettasciio gives them, with one axis that is not for navigation.
    name : str
        Of the file, for messages.
    position : tuple of int or None
        Which spectrum of an image of spectra; None sums over all.
    """
    place, axis = _signal_axis(signal)
    counts = np.moveaxis(np.asarray(signal["data"]), place, -1)
    if position is not None:
        if len(position) != counts.ndim - 1:
            raise ValueError(f"{name}: position must be {counts.ndim - 1} numbers, got {position!r}")
        try:
            counts = counts[tuple(position)]
        except IndexError:
            raise ValueError(f"{name}: no spectrum at {position!r} of {counts.shape[:-1]}") from None
    elif counts.ndim > 1:
        counts = counts.sum(axis=tuple(range(counts.ndim - 1)))
    unit = str(axis.get("units") or "").strip()
    if unit.startswith("<"):  # HyperSpy's way to say that there is none
        unit = ""
    kind = str(_look_up(signal.get("metadata"), "Signal.signal_type") or "")
    energy, problem = axis.get("axis"), ""
    if energy is None:
        energy = linear_axis(float(axis["offset"]), float(axis["scale"]), len(counts))
    if not unit and np.array_equal(energy, np.arange(len(counts))):
        energy, problem = None, "its axis has no unit and counts channels"
    return RawSpectrum(name, counts, energy, unit, problem, kind.startswith("EDS"), _details(signal))


def from_hyperspy(signal):
    """Turn a HyperSpy signal of one spectrum into a dict as rosettasciio gives them, without HyperSpy.

    Raises
    ------
    ValueError
        If the signal has several navigation positions, or more than one signal axis.
    """
    manager = signal.axes_manager
    axes = [
        {"size": a.size, "navigate": a.navigate, "axis": np.asarray(a.axis), "units": a.units}
        for a in sorted((*manager.navigation_axes, *manager.signal_axes), key=lambda a: a.index_in_array)
    ]
    signal = {"data": signal.data, "axes": axes, "metadata": signal.metadata.as_dictionary()}
    if _signal_axis(signal) is None or np.size(signal["data"]) != _signal_axis(signal)[1]["size"]:
        raise ValueError(
            "expected a signal of one spectrum, got data of shape "
            f"{np.shape(signal['data'])}; take one with .inav[...] or add them up with .sum()"
        )
    return signal
