"""Images among the signals of rosettasciio and HyperSpy: frames, pixel sizes, and profiles."""

import unicodedata

import numpy as np

from xtalsk.io._cells import DiffractionImage, Profile
from xtalsk.io._colours import to_grey
from xtalsk.io._constants import SQUARE_PIXEL_TOLERANCE
from xtalsk.io._headings import parse_name
from xtalsk.io._signals import describe, signal_beam_energy, signal_dict
from xtalsk.physics._electrons import electron_wavelength

_PER_ANGSTROM = {"1/Å": 1.0, "1/nm": 0.1}
_RADIANS = {"rad": 1.0, "mrad": 1e-3, "deg": np.pi / 180, "2θ": np.pi / 180}


def axis_scale(axis, beam_energy):
    """Return the factor from the units of an axis to 1/Å, or None, and what the axis lacks.

    Parameters
    ----------
    axis : dict
        With "units": "1/nm", "k_A^-1", "q_nm^-1" (2π/d), "mrad", "2th_deg", ...
    beam_energy : float or None
        In keV, for axes of scattering angles. They are taken for small: q = angle / wavelength.
    """
    text = unicodedata.normalize("NFKC", str(axis.get("units") or "")).replace(" ", "")
    text = text.replace("$", "").replace("{", "").replace("}", "").replace("\\AA", "Å")
    name = parse_name(text if "_" in text or text.lower().startswith(("2th", "2θ")) else f"s ({text})")
    if name.quantity in ("s", "q") and name.unit:
        return _PER_ANGSTROM[name.unit] / (2 * np.pi if name.quantity == "q" else 1.0), ""
    if text.lower() in ("1/m", "m^-1", "m-1", "m⁻¹"):
        return 1e-10, ""
    angle = name if name.quantity == "two_theta" else parse_name(f"2theta ({text})")
    if text and angle.unit in _RADIANS:
        if beam_energy is None:
            return None, f"its axes are in {text}, and the file does not give the beam energy"
        return _RADIANS[angle.unit] / float(electron_wavelength(beam_energy)), ""
    return None, ""


def axis_step(axis):
    """Return the width of a channel of an axis in its own units; raise ValueError if the widths differ."""
    if axis.get("scale") is not None:
        return abs(float(axis["scale"]))
    steps = np.diff(np.asarray(axis["axis"], dtype=float))
    if steps.size == 0 or not np.allclose(steps, steps[0], rtol=SQUARE_PIXEL_TOLERANCE):
        raise ValueError("expected pixels of one width, got an axis of varying steps")
    return abs(float(steps[0]))


def pixel_size(axes, name, beam_energy=None):
    """Return the pixel size of an image in 1/Å, or None if it is unknown, and what the file lacks.

    Raises
    ------
    ValueError
        If the pixels are not square; the message names the file.
    """
    sizes = []
    for axis in axes:
        factor, problem = axis_scale(axis, beam_energy)
        if factor is None:
            return None, problem
        sizes.append(axis_step(axis) * factor)
    if not np.isclose(*sizes, rtol=SQUARE_PIXEL_TOLERANCE):
        raise ValueError(f"{name}: expected square pixels, got {sizes[0]:g} x {sizes[1]:g} 1/Å")
    return sizes[0], ""


def choose_frame(data, frame, name):
    """Return one image of a stack, whose last two axes are those of the images.

    Parameters
    ----------
    data : ndarray of shape (..., n_rows, n_columns)
    frame : int, tuple of int or None
        Position in the stack. None is for a stack of one image.
    name : str
        Name of the file, for error messages.

    Raises
    ------
    ValueError
        If the stack has several images and ``frame`` is None, or if there is no such frame.
    """
    stack = data.shape[:-2]
    if data.ndim < 2:
        raise ValueError(f"{name}: expected a 2-D image, got an array of shape {data.shape}")
    if frame is None:
        if np.prod(stack, dtype=int) != 1:
            raise ValueError(
                f"{name}: expected one image, found a stack of {' x '.join(map(str, stack))} images of "
                f"{' x '.join(map(str, data.shape[-2:]))} pixels; give frame, e.g. frame="
                f"{0 if len(stack) == 1 else (0,) * len(stack)}"
            )
        return data.reshape(data.shape[-2:])
    position = tuple(frame) if np.ndim(frame) else (int(frame),)
    if len(position) != len(stack) or not all(0 <= p < n for p, n in zip(position, stack, strict=True)):
        raise ValueError(f"{name}: frame must lie within a stack of shape {stack}, got {frame!r}")
    return data[position]


def _image_axes(signal):
    """Return the positions of the two axes of the images of a signal, or None if it holds no images."""
    axes = signal["axes"]
    if len(axes) != np.ndim(signal["data"]) or len(axes) < 2:
        return None
    positions = [i for i, axis in enumerate(axes) if not axis.get("navigate", False)]
    if len(positions) < 2 and len(axes) == 2 and len(positions) == 0:
        positions = [0, 1]
    if len(positions) < 2 or min(np.shape(signal["data"])[i] for i in positions[-2:]) < 2:
        return None
    return positions[-2:]


def choose_image(signals, name, index=None, frame=None):
    """Return the image among the signals of a file.

    Parameters
    ----------
    signals : list of dict
        Signals as rosettasciio returns them.
    name : str
        Name of the file, for error messages.
    index : int or None
        Number of the signal. None takes the only one with images, or the only one of those that is
        calibrated in reciprocal space.
    frame : int, tuple of int or None
        Position in a stack of images.

    Returns
    -------
    image : ndarray of shape (n_rows, n_columns)
    pixel_size : float or None
        In 1/Å.
    problem : str
        What the file lacks for the calibration, or "".

    Raises
    ------
    ValueError
        If there is no image, or if several are possible; the message lists the signals.
    """
    listed = "; ".join(describe(i, signal) for i, signal in enumerate(signals)) or "none"
    images = [signal for signal in signals if _image_axes(signal) is not None]
    if index is not None:
        if not 0 <= index < len(signals) or _image_axes(signals[index]) is None:
            raise ValueError(f"signal {index} is not an image; the file contains {listed}")
        return _image(signals[index], name, frame)
    if not images:
        raise ValueError(f"expected a 2-D image; the file contains {listed}")
    if len(images) > 1:
        calibrated = [s for s in images if _scale(s, _image_axes(s), name)[0] is not None]
        if len(calibrated) != 1:
            raise ValueError(f"expected one image, found {len(images)}; give index to choose one of {listed}")
        images = calibrated
    return _image(images[0], name, frame)


def _scale(signal, positions, name):
    return pixel_size([signal["axes"][i] for i in positions], name, signal_beam_energy(signal))


def _image(signal, name, frame):
    positions = _image_axes(signal)
    data = np.moveaxis(signal["data"], positions, (-2, -1))
    image = np.asarray(choose_frame(data, frame, name))
    if image.dtype.names is not None:  # colours
        image = to_grey(np.stack([image[channel] for channel in image.dtype.names], axis=-1), name)
    return image, *_scale(signal, positions, name)


def image_from_signal(signal, pixel_size=None):
    """Return a HyperSpy or pyxem signal of one image as a `DiffractionImage`, without HyperSpy.

    Parameters
    ----------
    signal : HyperSpy signal
    pixel_size : float or None
        In 1/Å, used if the axes do not give it.

    Raises
    ------
    ValueError
        If the signal has several images or none, or if its axes are angles and the beam energy is unknown.
    """
    name = f"the {type(signal).__name__}"
    data, size, problem = choose_image([signal_dict(signal)], name)
    if size is None and pixel_size is None and problem:
        raise ValueError(f"{name}: unknown pixel size, {problem}; give pixel_size in 1/Å")
    return DiffractionImage(data, pixel_size=pixel_size if size is None else size)


def profile_from_signal(signal, wavelength=None):
    """Return a HyperSpy or pyxem signal of one profile as a `Profile`, without HyperSpy.

    Parameters
    ----------
    signal : HyperSpy signal
        Its axis is q or k in 1/Å or 1/nm, or 2θ. Its beam energy gives the wavelength of electrons.
    wavelength : float or None
        In Å, used if the signal does not give the beam energy.

    Raises
    ------
    ValueError
        If the signal has several profiles, or if its axis is no scattering angle and no reciprocal length.
    """
    name, signal = f"the {type(signal).__name__}", signal_dict(signal)
    axes = [axis for axis in signal["axes"] if not axis["navigate"]]
    data = np.asarray(signal["data"])
    if len(axes) != 1 or data.size != axes[0]["size"]:
        raise ValueError(
            f"expected a signal of one profile, got data of shape {data.shape}; select one with .inav[...]"
        )
    energy = signal_beam_energy(signal)
    positions = np.asarray(axes[0]["axis"], dtype=float)
    factor, _ = axis_scale(axes[0], None)
    angle = parse_name(str(axes[0].get("units"))), parse_name(f"2theta ({axes[0].get('units')})")
    unit = next((a.unit for a in angle if a.quantity == "two_theta" and a.unit in _RADIANS), None)
    order = np.argsort(positions)
    if factor is not None:
        return Profile(data.ravel()[order], q=positions[order] * factor)
    if unit is None:
        raise ValueError(
            f"{name}: expected an axis in 1/Å, 1/nm, degrees, rad or mrad, got the unit {axes[0]['units']!r}"
        )
    stated = float(electron_wavelength(energy)) if energy is not None else wavelength
    two_theta = np.degrees(positions[order] * _RADIANS[unit])
    return Profile(data.ravel()[order], two_theta=two_theta, wavelength=stated)
