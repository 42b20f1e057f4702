"""Diffraction data that one cell of a table of specimens may hold."""

from dataclasses import dataclass

import numpy as np


def check_numeric(name, values, n_dimensions):
    """Return values as a non-empty numeric array of ``n_dimensions``, or raise ValueError that names them."""
    array = np.asarray(values)
    if array.dtype == object or array.dtype.kind not in "fiub":
        raise ValueError(f"{name} must be a numeric array, got dtype {array.dtype}")
    if array.ndim != n_dimensions or array.size == 0:
        raise ValueError(f"{name} must be a non-empty {n_dimensions}-D array, got shape {array.shape}")
    return array


def check_axis(name, axis, values_name, values):
    """Raise ValueError unless an axis has one finite, increasing point for each value, at least two."""
    if axis.shape != values.shape or axis.size < 2:
        raise ValueError(
            f"{name} and {values_name} must have the same number of points, 2 or more, got {axis.size} and "
            f"{values.size}"
        )
    if not np.isfinite(axis).all() or not (np.diff(axis) > 0).all():
        raise ValueError(f"{name} must be finite and increasing")


def check_values(name, values):
    """Raise ValueError if a float array contains infinities or only NaN."""
    if np.isinf(values).any() or np.isnan(values).all():
        raise ValueError(f"{name} must be finite, or NaN where nothing was measured, but not all NaN")


@dataclass(frozen=True, eq=False)
class DiffractionImage:
    """A diffraction pattern recorded by a camera, with its calibration.

    Parameters
    ----------
    data : array-like of shape (n_rows, n_columns)
        Counts or intensities. NaN marks a pixel that was not measured. Small negative values, which remain
        after dark subtraction, are allowed. Infinities are not.
    pixel_size : float or None
        Width of a pixel in 1/Å (of q = 1/d). If it is None, give it to the transformer as a parameter.
    center : (float, float) or None
        Row and column of the direct beam, in pixels. The middle of the first pixel is (0, 0). None if it is
        unknown.

    Raises
    ------
    ValueError
        If the image is not a 2-D numeric array, if it contains infinities or only NaN, if the pixel size is
        not a positive number, or if the centre is not a pair of finite numbers.

    Examples
    --------
    >>> import numpy as np
    >>> from xtalsk.io import DiffractionImage
    >>> DiffractionImage(np.ones((128, 128)), pixel_size=0.015)
    DiffractionImage(128 x 128, pixel_size=0.015, center=None)
    """

    data: np.ndarray
    pixel_size: float | None = None
    center: tuple[float, float] | None = None

    def __post_init__(self):
        data = check_numeric("an image", self.data, 2)
        if data.dtype.kind == "f":
            check_values("an image", data)
        object.__setattr__(self, "data", data)
        if self.pixel_size is not None and not (np.isfinite(self.pixel_size) and self.pixel_size > 0):
            raise ValueError(f"pixel_size must be a positive number of 1/Å, got {self.pixel_size!r}")
        if self.center is not None:
            center = tuple(float(c) for c in self.center)
            if len(center) != 2 or not np.isfinite(center).all():
                raise ValueError(f"center must be (row, column) in pixels, got {self.center!r}")
            object.__setattr__(self, "center", center)

    def __repr__(self):
        rows, columns = self.data.shape
        return f"DiffractionImage({rows} x {columns}, pixel_size={self.pixel_size}, center={self.center})"


@dataclass(frozen=True, eq=False)
class Profile:
    """Diffracted intensity against q = 1/d, or against 2θ at a wavelength.

    Parameters
    ----------
    intensity : array-like of shape (n_points,)
        Counts or intensities, at least two. NaN marks a point that was not measured.
    q : array-like of shape (n_points,) or None
        q = 1/d = 2 sin θ / λ in 1/Å, increasing.
    two_theta : array-like of shape (n_points,) or None
        Scattering angle in degrees, increasing, below 180.
    wavelength : float or None
        In Å; needed with ``two_theta``. If it is None, give it to the transformer as a parameter.
    counting_time : float or None
        In seconds per point.

    Raises
    ------
    ValueError
        If both axes or neither are given, if the axis and the intensity differ in length, if the axis is not
        finite, increasing and in range, if the intensity contains infinities or only NaN, or if the
        wavelength or the counting time is not a positive number.

    Examples
    --------
    >>> from xtalsk.io import Profile
    >>> Profile([1, 5, 2], two_theta=[20.0, 20.1, 20.2], wavelength=1.5406)
    Profile(3 points, two_theta 20 to 20.2°, wavelength=1.5406)
    """

    intensity: np.ndarray
    q: np.ndarray | None = None
    two_theta: np.ndarray | None = None
    wavelength: float | None = None
    counting_time: float | None = None

    def __post_init__(self):
        intensity = check_numeric("intensity", self.intensity, 1)
        check_values("intensity", intensity)
        if (self.q is None) == (self.two_theta is None):
            raise ValueError("a Profile needs exactly one axis: q in 1/Å, or two_theta in degrees")
        name = "q" if self.two_theta is None else "two_theta"
        axis = check_numeric(name, getattr(self, name), 1)
        check_axis(name, axis, "intensity", intensity)
        if axis[0] < 0 or (name == "two_theta" and axis[-1] >= 180):
            limits = "0 1/Å or more" if name == "q" else "from 0 to below 180 degrees"
            raise ValueError(f"{name} must be {limits}, got {axis[0]:g} to {axis[-1]:g}")
        for quantity, unit in (("wavelength", "Å"), ("counting_time", "s")):
            value = getattr(self, quantity)
            if value is not None and not (np.isfinite(value) and value > 0):
                raise ValueError(f"{quantity} must be a positive number of {unit}, got {value!r}")
        object.__setattr__(self, "intensity", intensity)
        object.__setattr__(self, name, axis)

    def __repr__(self):
        if self.q is not None:
            return f"Profile({self.q.size} points, q {self.q[0]:g} to {self.q[-1]:g} 1/Å)"
        ends = f"{self.two_theta[0]:g} to {self.two_theta[-1]:g}"
        return f"Profile({self.two_theta.size} points, two_theta {ends}°, wavelength={self.wavelength})"
