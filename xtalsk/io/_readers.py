"""Measured files: text of powder scans, and diffraction images of any microscope."""

import numpy as np

from xtalsk.io._cells import DiffractionImage, Profile
from xtalsk.io._files import existing_file, read_columns
from xtalsk.io._rosettasciio import read_microscope

_IMAGES = (".png", ".tif", ".tiff", ".jpg", ".jpeg", ".bmp")
_PER_ANGSTROM = {
    "1/nm": 0.1,
    "nm^-1": 0.1,
    "nm-1": 0.1,
    "1/å": 1.0,
    "1/a": 1.0,
    "å^-1": 1.0,
    "å-1": 1.0,
    "1/m": 1e-10,
}


def read_profile(path, wavelength=None, axis="two_theta"):
    r"""Read a powder scan from a text file: one point a line, position and intensity.

    Columns may be parted by blanks, tabs, commas or semicolons. Header lines, and lines that start with one
    of ``# ; ! ' * / % &``, are passed over; a third column (the uncertainties of ``.xye``) is ignored.
    Descending scans are turned round, and points measured twice are averaged.

    Parameters
    ----------
    path : str or path-like
    wavelength : float or None, default=None
        In Å; needed to turn 2θ into q.
    axis : {"two_theta", "q"}, default="two_theta"
        What the first column holds: 2θ in degrees, or q = 1/d in 1/Å.

    Returns
    -------
    Profile

    Raises
    ------
    OSError
        If there is no such file.
    ValueError
        If the file does not hold two columns of numbers, or an axis that makes no sense; names the file.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from xtalsk.io import read_profile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "scan.xy")
    ...     _ = path.write_text("2theta I\n20.0 5\n20.1 9\n20.2 6\n")
    ...     read_profile(path, wavelength=1.5406)
    Profile(3 points, two_theta 20 to 20.2°, wavelength=1.5406)
    """
    if axis not in ("two_theta", "q"):
        raise ValueError(f"axis must be 'two_theta' or 'q', got {axis!r}")
    path = existing_file(path)
    table, _ = read_columns(path, "2θ (or q) and intensity")
    positions, where = np.unique(table[:, 0], return_inverse=True)
    intensity = np.bincount(where, table[:, 1]) / np.bincount(where)
    try:
        return Profile(intensity, **{axis: positions}, wavelength=wavelength)
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}") from error


def _first_image(signals, path):
    """Find the first image among the signals of a file: its data and pixel size (or None)."""
    for signal in signals:
        data = np.asarray(signal["data"])
        if data.ndim == 2 and min(data.shape) > 1:
            return data, _pixel_size(signal["axes"], path)
    raise ValueError("no image in the file")


def _pixel_size(axes, path):
    """Pixel size in 1/Å, None where the file is not calibrated in reciprocal space."""
    sizes = []
    for axis in axes:
        unit = str(axis.get("units", "")).replace(" ", "").replace("⁻¹", "^-1").replace("Å", "å").lower()
        if unit not in _PER_ANGSTROM:
            return None
        sizes.append(abs(float(axis["scale"])) * _PER_ANGSTROM[unit])
    if not np.isclose(*sizes, rtol=1e-3):
        raise ValueError(f"{path.name}: pixels are not square: {sizes[0]:g} x {sizes[1]:g} 1/Å")
    return sizes[0]


def _grey(data, path):
    """Sum colours of an image file, transparency left out."""
    if data.ndim == 3 and data.shape[2] in (2, 4):
        data = data[..., :-1]
    if data.ndim == 3 and data.shape[2] in (1, 3):
        data = data.sum(axis=2, dtype=np.float32)
    if data.ndim != 2:
        raise ValueError(f"{path.name}: expected one image, got an array of shape {data.shape}")
    return data


def read_image(path, pixel_size=None):
    """Read a diffraction image.

    ``.npy`` holds the array, ``.npz`` the array ``data`` and, if it likes, ``pixel_size`` and ``center``;
    ``.png``, ``.tif`` and the like are read with Pillow, anything else (``.dm3``, ``.dm4``, ``.emd``,
    ``.mrc``, ``.hspy``, ``.blo``, ...) with rosettasciio, which ``pip install xtalsk[microscopy]`` brings.

    Parameters
    ----------
    path : str or path-like
    pixel_size : float or None, default=None
        Width of a pixel in 1/Å, where the file does not give it in units of reciprocal length.

    Returns
    -------
    DiffractionImage
        Its pixel size is None where neither the file nor the parameter gives it.

    Raises
    ------
    OSError
        If there is no such file.
    ValueError
        If the file holds no image; names the file.
    ImportError
        If the format needs rosettasciio and it is not installed.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import numpy as np
    >>> from xtalsk.io import read_image
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "rings.npy")
    ...     np.save(path, np.ones((64, 64), dtype=np.uint16))
    ...     read_image(path, pixel_size=0.02)
    DiffractionImage(64 x 64, pixel_size=0.02, center=None)
    """
    path = existing_file(path)
    suffix = path.suffix.lower()
    size, center = None, None
    if suffix == ".npy":
        data = np.load(path, allow_pickle=False)
    elif suffix == ".npz":
        with np.load(path, allow_pickle=False) as archive:
            if "data" not in archive:
                raise ValueError(f"{path.name}: no array 'data' among {sorted(archive)}")
            data = archive["data"]
            size = float(archive["pixel_size"]) if "pixel_size" in archive else None
            center = tuple(archive["center"].ravel()) if "center" in archive else None
    elif suffix in _IMAGES:
        from PIL import Image

        with Image.open(path) as image:
            data = _grey(np.asarray(image), path)
    else:
        data, size = read_microscope(path, lambda signals: _first_image(signals, path))
    try:
        return DiffractionImage(data, pixel_size=pixel_size if size is None else size, center=center)
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}") from error
