"""Spectrum images: arrays of spectra in memory, on disk, or behind dask, with one energy axis."""

import itertools
from dataclasses import dataclass

import numpy as np
from joblib import Parallel, delayed
from tqdm import tqdm

from xtalsk.io._calibration import calibrate
from xtalsk.io._signals import is_signal, raw_spectrum, signal_dict
from xtalsk.io._spectrum import Spectrum
from xtalsk.utils._validation import name_rows


@dataclass(frozen=True, eq=False)
class Block:
    """A part of a spectrum image that is read at once: ranges of rows and of columns, slices."""

    rows: slice
    columns: slice

    @property
    def place(self):
        """Index of the block in an array of the shape of the map."""
        return self.rows, self.columns


class SpectrumImage:
    """A spectrum image.

    Parameters
    ----------
    data : array of shape (rows, columns, n_channels)
        NumPy array, memory map, or dask array.
    axis : dict or None
        Energy axis, as `xtalsk.io._signals.signal_dict` describes it.
    energy : ndarray of shape (n_channels,) or None
        Middle of each channel in eV, if there is no ``axis``.
    metadata : dict
        Metadata of HyperSpy.
    navigation : tuple of int
        Shape of the map, (rows, columns) or (n,).
    name : str
        For error messages.
    axes : tuple of dict, default=()
        Name, scale, offset and units of the axes of the map.

    Attributes
    ----------
    unit : float
        Number by which counts are divided when they are read.
    """

    def __init__(self, data, axis, energy, metadata, navigation, name, axes=()):
        self.data, self._axis, self._energy, self._metadata = data, axis, energy, metadata
        self.navigation, self._name, self.axes = navigation, name, axes
        self.unit = 1.0

    @property
    def shape(self):
        """Shape of the array, (rows, columns, n_channels)."""
        return self.data.shape

    @property
    def is_floating(self):
        """Whether channels can be NaN."""
        return np.issubdtype(self.data.dtype, np.floating)

    def spectrum(self, counts, **details):
        """Return a `Spectrum` of counts (n_channels,) in the channels of the image.

        ``details`` are used where the metadata have none.
        """
        details = {name: value for name, value in details.items() if value is not None}
        if self._axis is None:
            return Spectrum(counts, energy=self._energy, **details)
        signal = {"data": counts, "axes": [self._axis], "metadata": self._metadata}
        return calibrate(raw_spectrum(signal, self._name), **details)

    def blocks(self, size):
        """Return `Block` objects of at most ``size`` pixels, or of the chunks of a dask array, list."""
        if hasattr(self.data, "chunks") and hasattr(self.data, "compute"):
            ends = [np.concatenate([[0], np.cumsum(c)]).tolist() for c in self.data.chunks[:2]]
        else:
            n_columns = min(self.shape[1], size)
            steps = max(1, size // n_columns), n_columns
            ends = [[*range(0, n, step), n] for n, step in zip(self.shape[:2], steps, strict=True)]
        ranges = [[slice(a, b) for a, b in itertools.pairwise(e) if b > a] for e in ends]
        return [Block(*pair) for pair in itertools.product(*ranges)]

    def read(self, block):
        """Return the counts of a block as they are stored, ndarray of shape (n_pixels, n_channels)."""
        part = self.data[block.rows, block.columns]
        part = part.compute(scheduler="synchronous") if hasattr(part, "compute") else part
        return np.asarray(part).reshape(-1, self.shape[-1])

    def counts(self, block):
        """Return the counts of a block, whole numbers if possible, 0 in channels that were not measured."""
        counts = self.read(block)
        if self.is_floating:
            counts = np.where(np.isfinite(counts), counts, 0)
        return counts if self.unit == 1 else np.round(counts / self.unit)

    def position(self, number):
        """Return the position in the map of a pixel, counted in the order of rows, tuple of int."""
        return tuple(int(i) for i in np.unravel_index(number, self.navigation))

    def name_positions(self, numbers):
        """Return the positions of some pixels as text, for messages."""
        return name_rows([self.position(i) for i in numbers]).replace("row", "pixel")


def each_block(read, blocks, function, n_jobs, label, verbose):
    """Call ``function(block, counts)`` for the blocks of an image in parallel threads.

    ``read`` returns the counts of a block.

    Yields
    ------
    block : Block
    result
        In the order of the blocks.
    """
    parallel = Parallel(n_jobs=n_jobs, prefer="threads", return_as="generator", batch_size=1)
    results = parallel(delayed(lambda b: function(b, read(b)))(block) for block in blocks)
    bar = tqdm(zip(blocks, results, strict=True), label, len(blocks), disable=not verbose, leave=False)
    yield from bar


def check_spectrum_image(spectra, energy):
    """Return a spectrum image as a `SpectrumImage`.

    Parameters
    ----------
    spectra : array of shape (rows, columns, n_channels) or (n, n_channels), or HyperSpy signal
    energy : array-like of shape (n_channels,) or None
        Middle of each channel in eV.

    Raises
    ------
    ValueError
        If the array has another number of axes, or does not hold numbers, or if its energies are unknown.
    """
    if is_signal(spectra):
        return _image_of_signal(spectra, energy)
    data = spectra if hasattr(spectra, "shape") and hasattr(spectra, "dtype") else np.asarray(spectra)
    _check_data(data, "spectra")
    if energy is None:
        raise ValueError(
            "spectra is an array without an energy axis: give energy, the middle of each channel in eV, "
            "shape (n_channels,)"
        )
    return _image(data, None, _check_energy(energy, data.shape[-1]), {}, "spectra")


def _image_of_signal(signal, energy):
    """Return a HyperSpy signal as a `SpectrumImage`."""
    name, axes = f"the {type(signal).__name__}", _map_axes(signal)
    signal = signal_dict(signal)
    places = [i for i, axis in enumerate(signal["axes"]) if not axis["navigate"]]
    if len(places) != 1:
        raise ValueError(f"{name}: expected one signal axis, the energy, got {len(places)}")
    data = signal["data"]
    if places[0] != data.ndim - 1:
        order = [i for i in range(data.ndim) if i != places[0]] + places
        data = data.transpose(order)
    _check_data(data, name)
    axis = dict(signal["axes"][places[0]])
    if energy is not None:
        return _image(data, None, _check_energy(energy, data.shape[-1]), signal["metadata"], name, axes)
    values = np.asarray(axis["axis"], dtype=float)
    if len(values) > 1 and values[0] > values[-1]:
        axis["axis"], data = values[::-1], data[..., ::-1]
    return _image(data, axis, None, signal["metadata"], name, axes)


def _image(data, axis, energy, metadata, name, axes=()):
    """Return a `SpectrumImage` of an array with one or two axes of pixels."""
    navigation = tuple(data.shape[:-1])
    data = data[:, None] if data.ndim == 2 else data
    return SpectrumImage(data, axis, energy, metadata, navigation, name, axes)


def _map_axes(signal):
    """Return name, scale, offset and units of the navigation axes of a HyperSpy signal, tuple of dict."""
    axes = sorted(signal.axes_manager.navigation_axes, key=lambda axis: axis.index_in_array)
    return tuple(
        {
            "name": str(axis.name),
            "scale": float(getattr(axis, "scale", 1.0)),
            "offset": float(getattr(axis, "offset", 0.0)),
            "units": str(axis.units),
        }
        for axis in axes
    )


def _check_data(data, name):
    """Raise ValueError if an array is not one of spectra."""
    if data.ndim not in (2, 3):
        raise ValueError(
            f"{name}: expected an array of shape (rows, columns, channels) or (n, channels), got the shape "
            f"{tuple(data.shape)}"
        )
    if 0 in data.shape:
        raise ValueError(f"{name}: expected at least one pixel and one channel, got the shape {data.shape}")
    if not (np.issubdtype(data.dtype, np.number) and not np.issubdtype(data.dtype, np.complexfloating)):
        raise ValueError(f"{name}: expected an array of counts, got dtype {data.dtype}")


def _check_energy(energy, n_channels):
    """Return the energies of channels as an array; raise ValueError if their number is wrong."""
    energy = np.asarray(energy, dtype=float)
    if energy.shape != (n_channels,):
        raise ValueError(
            f"energy must have one value in eV for each of the {n_channels} channels (last axis of spectra), "
            f"got the shape {energy.shape}"
        )
    return energy
