"""Reader of diffraction images."""

import numpy as np

from xtalsk.io._cells import DiffractionImage
from xtalsk.io._colours import to_grey
from xtalsk.io._constants import LARGEST_PICTURE, LARGEST_RATIO
from xtalsk.io._errors import BrokenFileError, broken_file
from xtalsk.io._files import existing_file, read_npy, read_npz
from xtalsk.io._negatives import undo_negative
from xtalsk.io._pixel_sizes import choose_frame, choose_image
from xtalsk.io._rosettasciio import read_microscope

_PICTURE_SUFFIXES = (".png", ".tif", ".tiff", ".jpg", ".jpeg", ".bmp", ".gif")


def _pixels(image):
    """Return the pixels of the current page of a Pillow image: 2-D, or with colours as the last axis."""
    if image.mode in ("P", "PA") and (image.mode == "PA" or "transparency" in image.info):
        return np.asarray(image.convert("RGBA"))
    if image.mode in ("P", "CMYK", "YCbCr", "LAB", "HSV"):
        return np.asarray(image.convert("RGB"))
    return np.asarray(image)


def _read_picture(path, frame):
    """Return one number per pixel of a file that Pillow reads, or else, for TIFF, tifffile."""
    from PIL import Image  # only when a picture is read

    try:
        with Image.open(path) as image:
            _check_size(path, image.width * image.height)
            n_frames = getattr(image, "n_frames", 1)
            if n_frames > 1 or frame is not None:
                shape = (n_frames, *image.size[::-1])
                choose_frame(np.broadcast_to(0, shape), frame, path.name)  # checks the number
                image.seek(int(np.ravel(frame)[0]))
            return to_grey(_pixels(image), path.name)
    except (BrokenFileError, Image.DecompressionBombError):
        raise
    except OSError as error:  # Pillow does not read all kinds of TIFF, such as numbers of 64 bits
        if path.suffix.lower() in (".tif", ".tiff"):
            return _read_tiff(path, frame, error)
        raise BrokenFileError(f"{path.name}: Pillow cannot read this image: {error}") from error


def _check_size(path, n_bytes):
    """Raise BrokenFileError if a picture of ``n_bytes`` is empty, cannot be in its file, or is too large."""
    if n_bytes == 0 or n_bytes > LARGEST_PICTURE or n_bytes > LARGEST_RATIO * path.stat().st_size:
        raise BrokenFileError(
            f"{path.name}: its heading gives {n_bytes:.3g} bytes of pixels, in a file of "
            f"{path.stat().st_size} bytes; it is damaged, or too large"
        )


def _read_tiff(path, frame, error):
    """Return one number per pixel of a TIFF file that Pillow does not read; ``error`` says why."""
    try:
        import tifffile  # a dependency of optional packages
    except ImportError:
        raise BrokenFileError(
            f"{path.name}: Pillow cannot read this image: {error}; install tifffile, or save the image as "
            "32-bit TIFF or .npy"
        ) from error
    try:
        with tifffile.TiffFile(path) as file:
            _check_size(path, file.series[0].nbytes)
            data = file.asarray()
    except BrokenFileError:
        raise
    except Exception as second:  # damaged files make it raise nearly anything
        raise BrokenFileError(
            f"{path.name}: neither Pillow nor tifffile reads it: {error}; {second}"
        ) from second
    if data.ndim == 3 and data.shape[2] in (3, 4):
        return to_grey(data, path.name)
    return choose_frame(data, frame, path.name)


def _read_archive(path):
    """Return image, pixel size and centre from a ``.npz`` file; the last two may be None."""
    arrays = read_npz(path, ("data", "image"), ("pixel_size", "center"))
    size = float(arrays["pixel_size"]) if "pixel_size" in arrays else None
    center = tuple(arrays["center"].ravel()) if "center" in arrays else None
    return arrays.get("data", arrays.get("image")), size, center


def read_image(path, pixel_size=None, *, frame=None, index=None, negative=None):
    """Read a diffraction image.

    The suffix selects the reader:

    - ``.npy``: a 2-D array;
    - ``.npz``: the array ``data`` or ``image``, and optionally ``pixel_size`` (1/Å) and ``center`` (row and
      column);
    - ``.png``, ``.tif``, ``.jpg``, ``.bmp`` and ``.gif``: Pillow reads the picture. Grey pictures give the
      sum of their three colours. Pictures in a colour map of matplotlib, such as viridis, are turned back
      into 256 levels, with a warning. Coloured notes in a grey picture are masked, with a warning. Other
      colours are an error. Negatives are inverted, with a warning. Contrast and gamma of a picture stay: the
      positions of rings and spots do not depend on them, intensities do;
    - any other suffix (``.dm3``, ``.dm4``, ``.emd``, ``.mrc``, ``.hspy``, ``.blo``, ...): rosettasciio reads
      the file, in a process of its own with a time limit of 60 s plus 0.2 s for each MB. Install it with
      ``pip install xtalsk[microscopy]``.

    Parameters
    ----------
    path : str or path-like
    pixel_size : float or None, default=None
        Width of a pixel in 1/Å (of q = 1/d). It is used only if the file does not give it: in units of
        reciprocal length (``1/nm``, ``1/Å``, ``k_A^-1`` of pyxem), or of angle (mrad) with the beam energy.
    frame : int, tuple of int or None, default=None
        Position in a stack of images, counted from 0, with one number for each axis of the stack. With None,
        a stack of several images is an error.
    index : int or None, default=None
        Number of the signal in a file that rosettasciio reads, counted from 0. With None, the reader takes
        the only signal with images, or the only one of them that is calibrated in reciprocal space. If
        neither exists, the error message lists the signals.
    negative : bool or None, default=None
        Whether electrons are dark in a picture (``.png``, ``.tif``, ...). With None, a picture counts as a
        negative if its levels rise from the middle outwards; a warning says so. Other files are not inverted
        unless it is True.

    Returns
    -------
    DiffractionImage
        Its pixel size is None if neither the file nor the parameter gives it.

    Raises
    ------
    OSError
        If there is no such file.
    BrokenFileError
        A ValueError: if the file contains no image, or several and no ``frame`` or ``index`` is given, if its
        colours are no numbers, or if its pixels are angles and the beam energy is unknown; the message names
        the file.
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
    size, center, problem = None, None, ""
    with broken_file(path.name):
        if suffix == ".npy":
            data = choose_frame(read_npy(path), frame, path.name)
        elif suffix == ".npz":
            data, size, center = _read_archive(path)
            data = choose_frame(data, frame, path.name)
        elif suffix in _PICTURE_SUFFIXES:
            data = undo_negative(_read_picture(path, frame), path.name, negative)
        else:
            data, size, problem = read_microscope(path, choose_image, index, frame, is_part=frame is not None)
        if size is None and pixel_size is None and problem:
            raise ValueError(f"{path.name}: unknown pixel size, {problem}; give pixel_size in 1/Å")
        if negative and suffix not in _PICTURE_SUFFIXES:
            data = undo_negative(data, path.name, negative)
        return DiffractionImage(data, pixel_size=pixel_size if size is None else size, center=center)
