"""Scans: one diffraction image at each position, read in parts from memory or from a file."""

import mmap
import os
from collections import OrderedDict
from dataclasses import dataclass
from itertools import pairwise, product
from math import prod
from pathlib import Path

import numpy as np

from xtalsk.io import _constants
from xtalsk.io._errors import BrokenFileError, broken_file
from xtalsk.io._files import read_npy
from xtalsk.io._pixel_sizes import _image_axes, _scale
from xtalsk.io._reader_process import read_apart
from xtalsk.io._rosettasciio import open_microscope
from xtalsk.io._signals import describe, is_signal, signal_dict


@dataclass(frozen=True)
class ScanAxis:
    """Axis of a scan.

    Parameters
    ----------
    name : str
    size : int
        Number of positions.
    scale : float, default=1.0
        Distance of two positions in ``units``.
    offset : float, default=0.0
        Place of the first position in ``units``.
    units : str, default=""
        Empty if the axis counts positions.

    Examples
    --------
    >>> from xtalsk.io import ScanAxis
    >>> ScanAxis("y", 3, scale=2.0, units="nm").positions()
    array([0., 2., 4.])
    """

    name: str
    size: int
    scale: float = 1.0
    offset: float = 0.0
    units: str = ""

    def positions(self):
        """Return the places along the axis in ``units``, ndarray of shape (size,)."""
        return self.offset + self.scale * np.arange(self.size)


class Scan:
    """Images of one shape at the positions of a scan, which are read in parts. `read_scan` makes it.

    Parameters
    ----------
    data : ndarray, memmap or dask array of shape (..., n_rows, n_columns)
        The last two axes are those of the images.
    axes : sequence of ScanAxis or None
        One for each of the other axes; None counts positions.
    pixel_size : float or None
        Width of a pixel in 1/Å.
    name : str
        For messages.

    Attributes
    ----------
    shape : tuple of int
        Positions along each axis of the scan.
    frame_shape : (int, int)
        Rows and columns of an image.

    Raises
    ------
    ValueError
        If the data are not numbers, or have fewer than three axes or no image.

    Examples
    --------
    >>> import numpy as np
    >>> from xtalsk.io import Scan
    >>> scan = Scan(np.zeros((3, 4, 16, 16)), pixel_size=0.01)
    >>> images, problems = scan.read((slice(0, 2), slice(0, 4)))
    >>> scan, images.shape, problems
    (Scan(3 x 4 images of 16 x 16, pixel_size=0.01), (2, 4, 16, 16), {})
    """

    def __init__(self, data, axes=None, pixel_size=None, name="the scan"):
        if data.dtype.kind not in "fiub" or data.ndim < 3 or 0 in data.shape:
            raise ValueError(
                f"{name}: a scan is an array of numbers of shape (..., n_rows, n_columns) with one image at "
                f"each position, got shape {data.shape} of {data.dtype}"
            )
        self.shape, self.frame_shape = tuple(data.shape[:-2]), tuple(data.shape[-2:])
        names = ("z", "y", "x") if data.ndim < 6 else [f"axis_{i}" for i in range(data.ndim - 2)]
        counted = [ScanAxis(n, size) for n, size in zip(names[-len(self.shape) :], self.shape, strict=True)]
        self.axes = tuple(axes or counted)
        self.data, self.pixel_size, self.name = data, pixel_size, name
        self._chunks = getattr(data, "chunks", None)
        self._blocks = OrderedDict()

    def __repr__(self):
        shapes = " x ".join(map(str, self.shape)), " x ".join(map(str, self.frame_shape))
        return f"Scan({shapes[0]} images of {shapes[1]}, pixel_size={self.pixel_size})"

    def boxes(self, n_images, is_square=False):
        """Return boxes of about ``n_images`` positions that cover the scan.

        Boxes follow the chunks of a dask array, so that each chunk is read once. They are as long as possible
        along the last axis, or with ``is_square`` as long along each axis.

        Returns
        -------
        list of tuple of slice
            One slice for each axis of the scan.
        """
        chunks = [(1,) * n for n in self.shape] if self._chunks is None else self._chunks[: len(self.shape)]
        parts, left = [], n_images
        for axis in reversed(range(len(chunks))):
            rest = prod(max(sizes) for sizes in chunks[:axis])  # a chunk is not divided if it need not be
            limit = round(left ** (1 / (axis + 1))) if is_square else left // rest
            parts.append(_join_chunks(chunks[axis], max(1, limit)))
            left //= max(part.stop - part.start for part in parts[-1])
        return list(product(*reversed(parts)))

    def read(self, box):
        """Read the images in a box.

        Parameters
        ----------
        box : tuple of slice
            One slice for each axis of the scan, with a start and a stop within it.

        Returns
        -------
        images : ndarray of shape (..., n_rows, n_columns)
            0 where they could not be read.
        problems : dict of {tuple of int: str}
            Why images could not be read, by their position in the scan.
        """
        images = np.zeros((*(b.stop - b.start for b in box), *self.frame_shape), self.data.dtype)
        problems = {}
        for block, key in self._blocks_in(box):
            overlap = [_overlap(a, b) for a, b in zip(box, block, strict=True)]
            inner = _within(overlap, box)
            try:
                images[inner] = self._load(block, key, overlap)
            except Exception as error:  # damaged files make libraries raise nearly anything
                reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
                problems |= dict.fromkeys(product(*(range(o.start, o.stop) for o in overlap)), reason)
        return images, problems

    def read_frame(self, position):
        """Return one image; raise `BrokenFileError` if it cannot be read."""
        images, problems = self.read(tuple(slice(p, p + 1) for p in position))
        if problems:
            raise BrokenFileError(f"{self.name}: the image at {position}: {next(iter(problems.values()))}")
        return images.reshape(self.frame_shape)

    def _blocks_in(self, box):
        """Yield the chunks that a box touches as boxes, with their numbers; the box itself without chunks."""
        if self._chunks is None:
            yield box, None
            return
        edges = [np.concatenate([[0], np.cumsum(sizes)]) for sizes in self._chunks[: len(self.shape)]]
        ranges = [
            range(np.searchsorted(e, b.start, "right") - 1, np.searchsorted(e, b.stop))
            for e, b in zip(edges, box, strict=True)
        ]
        for key in product(*ranges):
            yield tuple(slice(int(e[k]), int(e[k + 1])) for e, k in zip(edges, key, strict=True)), key

    def _load(self, block, key, overlap):
        """Return the images of a part of a chunk. The chunks that were read last stay in memory."""
        if key is None:
            images = np.array(self.data[tuple(overlap)])
            _forget_pages(self.data)
            return images
        inner = _within(overlap, block)
        if key not in self._blocks:
            if _n_bytes(self.data, block) > _constants.CACHED_BYTES:
                return np.asarray(self.data[tuple(overlap)])
            self._blocks[key] = np.asarray(self.data[block])
            while sum(images.nbytes for images in self._blocks.values()) > _constants.CACHED_BYTES:
                self._blocks.popitem(last=False)
        self._blocks.move_to_end(key)
        return self._blocks[key][inner]


def _forget_pages(data):
    """Take the pages of a memory map, which were copied, out of the memory of this process."""
    pages = getattr(data, "_mmap", None)
    if getattr(data, "mode", "") == "r" and hasattr(pages, "madvise") and hasattr(mmap, "MADV_DONTNEED"):
        pages.madvise(mmap.MADV_DONTNEED)


def _overlap(a, b):
    return slice(max(a.start, b.start), min(a.stop, b.stop))


def _within(inner, outer):
    """Return the slices of a box, counted from the start of a larger one."""
    return tuple(slice(i.start - o.start, i.stop - o.start) for i, o in zip(inner, outer, strict=True))


def _n_bytes(data, block):
    return prod(b.stop - b.start for b in block) * prod(data.shape[-2:]) * data.dtype.itemsize


def _join_chunks(sizes, n):
    """Return slices of about ``n`` positions: neighbouring chunks together, or parts of a large one."""
    parts, start = [], 0
    for size in sizes:
        if parts and parts[-1].stop - parts[-1].start + size <= n:
            parts[-1] = slice(parts[-1].start, start + size)
        else:
            edges = np.linspace(start, start + size, -(-size // n) + 1).round().astype(int)
            parts += [slice(int(a), int(b)) for a, b in pairwise(edges)]
        start += size
    return parts


def read_scan(source, pixel_size=None, *, index=None):
    """Open a scan without reading its images.

    Parameters
    ----------
    source : array, HyperSpy signal, path or Scan
        - NumPy array, memmap or dask array of shape (..., n_rows, n_columns): one image at each position.
        - Signal of HyperSpy or pyxem, lazy or not. Its axes give the calibration.
        - Path to a ``.npy`` file, or to a file that rosettasciio opens lazily: ``.mib``, ``.blo``, ``.dm4``,
          ``.emd``, ``.hspy``, ``.zspy``, ... Install it with ``pip install xtalsk[microscopy]``. Another
          process opens the file first, with a time limit, because damaged files make readers run on and on.
    pixel_size : float or None, default=None
        Width of a pixel in 1/Å, used only if the axes do not give it.
    index : int or None, default=None
        Number of the signal in a file. None takes the only signal of images, or the only one of those that is
        calibrated in reciprocal space.

    Returns
    -------
    Scan

    Raises
    ------
    OSError
        If there is no such file.
    BrokenFileError
        A ValueError: if the file cannot be opened or holds no scan; the message names it.
    ValueError
        If the source holds no scan.
    ImportError
        If the format needs rosettasciio and it is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> from xtalsk.io import read_scan
    >>> scan = read_scan(np.zeros((4, 5, 64, 64), dtype=np.uint16), pixel_size=0.02)
    >>> scan, scan.axes[0].name
    (Scan(4 x 5 images of 64 x 64, pixel_size=0.02), 'y')
    """
    if isinstance(source, Scan):
        return source
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        if not path.exists():
            raise OSError(f"{os.fspath(source)!r}: no such file")
        with broken_file(path.name):
            return _open_file(path, pixel_size, index)
    if is_signal(source):
        name = f"the {type(source).__name__}"
        return _to_scan(*choose_scan([signal_dict(source)], name), pixel_size, name)
    if not (hasattr(source, "shape") and hasattr(source, "dtype") and hasattr(source, "ndim")):
        raise ValueError(
            f"expected a scan as an array, a HyperSpy signal or a path to a file, got {type(source).__name__}"
        )
    return Scan(source, pixel_size=pixel_size)


def _open_file(path, pixel_size, index):
    if path.suffix.lower() == ".npy":
        return Scan(read_npy(path, memory_map=True), pixel_size=pixel_size, name=path.name)
    read_apart(path, "rosettasciio", _try_to_open, index)
    return _to_scan(*open_microscope(path, choose_scan, index), pixel_size, path.name)


def _try_to_open(path, index):
    """Open a file for the exceptions alone; this runs in the process of readers."""
    open_microscope(path, choose_scan, index)


def _to_scan(data, axes, size, problem, pixel_size, name):
    if size is None and pixel_size is None and problem:
        raise ValueError(f"{name}: unknown pixel size, {problem}; give pixel_size in 1/Å")
    return Scan(data, axes, pixel_size if size is None else size, name)


def choose_scan(signals, name, index=None):
    """Return the scan among the signals of a file.

    Parameters
    ----------
    signals : list of dict
        Signals as rosettasciio returns them.
    name : str
        Name of the file, for error messages.
    index : int or None
        Number of the signal, see `read_scan`.

    Returns
    -------
    data : array of shape (..., n_rows, n_columns)
    axes : list of ScanAxis
    pixel_size : float or None
        In 1/Å.
    problem : str
        What the file lacks for the calibration, or "".

    Raises
    ------
    ValueError
        If there is no scan, or if several are possible; the message lists the signals.
    """
    listed = "; ".join(describe(i, signal) for i, signal in enumerate(signals)) or "none"
    numbers = range(len(signals)) if index is None else [index]
    scans = [i for i in numbers if 0 <= i < len(signals) and _is_scan(signals[i])]
    if len(scans) > 1:
        scans = [i for i in scans if _scale(signals[i], _image_axes(signals[i]), name)[0] is not None]
    if len(scans) != 1:
        which = "a scan, with one image at each position" if index is None else f"signal {index} to be a scan"
        raise ValueError(f"{name}: expected {which}; the file contains {listed}; index chooses a signal")
    signal = signals[scans[0]]
    of_image = _image_axes(signal)
    of_scan = [i for i in range(np.ndim(signal["data"])) if i not in of_image]
    data = signal["data"].transpose((*of_scan, *of_image))
    axes = [_scan_axis(signal["axes"][i], place, len(of_scan)) for place, i in enumerate(of_scan)]
    return data, axes, *_scale(signal, of_image, name)


def _is_scan(signal):
    return _image_axes(signal) is not None and np.ndim(signal["data"]) > 2


def _scan_axis(axis, place, n_axes):
    """Return an axis of a signal as a `ScanAxis`; one of varying steps counts positions."""
    positions = np.asarray(axis.get("axis", []), dtype=float)
    scale, offset, units = axis.get("scale"), axis.get("offset", 0.0), str(axis.get("units") or "")
    if scale is None:
        steps = np.diff(positions)
        is_even = steps.size > 0 and np.allclose(steps, steps[0])
        scale, offset, units = (steps[0], positions[0], units) if is_even else (1.0, 0.0, "")
    name = str(axis.get("name") or "")
    if not name or name.startswith("<"):
        name = ("z", "y", "x")[place - n_axes] if n_axes <= 3 else f"axis_{place}"
    return ScanAxis(name, int(axis["size"]), float(scale), float(offset), "" if units[:1] == "<" else units)
