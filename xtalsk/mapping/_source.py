"""What is mapped: the images of a scan, chemistry beside them, and how both are read in chunks."""

from math import prod

import numpy as np

from xtalsk.io import ScanAxis
from xtalsk.mapping import _constants as const
from xtalsk.mapping._average import read_images
from xtalsk.mapping._geometry import centers_at


class Source:
    """Images and chemistry at the positions of a scan.

    Parameters
    ----------
    scan : Scan or None
    chemistry : Chemistry or None
    average : float or None
        Standard deviation of the weights of neighbours in steps of the scan.
    chunk_size : int or None

    Attributes
    ----------
    shape : tuple of int
    axes : tuple of ScanAxis
    boxes : list of tuple of slice
        Boxes of the chunks.
    plane : ndarray or None
        Plane of the centres, see `find_geometry`.

    Raises
    ------
    ValueError
        If both have different shapes.
    """

    def __init__(self, scan, chemistry, average=None, chunk_size=None):
        if scan is None and chemistry is None:
            raise ValueError("nothing to map: give a scan, spectra or both")
        self.scan, self.chemistry, self.average, self.plane = scan, chemistry, average, None
        if scan is None:
            self.shape, self.axes = chemistry.shape, chemistry.axes
            names = ("z", "y", "x")[-len(self.shape) :]
            self.axes = self.axes or tuple(ScanAxis(n, s) for n, s in zip(names, self.shape, strict=True))
            size = chunk_size or 4096
        else:
            self.shape, self.axes = scan.shape, scan.axes
            size = chunk_size or max(1, const.PIXELS_PER_CHUNK // prod(scan.frame_shape))
        if scan is not None and chemistry is not None and scan.shape != chemistry.shape:
            raise ValueError(
                f"the scan has the shape {scan.shape}, the spectra have {chemistry.shape}: both need "
                "the same positions"
            )
        if chemistry is not None and average is not None:
            self.chemistry = chemistry.averaged(average)
        self.numbers = np.arange(prod(self.shape)).reshape(self.shape)
        if scan is None:
            n_rows = max(1, size // prod(self.shape[1:]))
            self.boxes = [
                (slice(i, min(i + n_rows, self.shape[0])), *(slice(0, n) for n in self.shape[1:]))
                for i in range(0, self.shape[0], n_rows)
            ]
        else:
            self.boxes = scan.boxes(size, is_square=average is not None)

    def chunk(self, box):
        """Read a box; return the arguments of `Identifier.identify`."""
        numbers = self.numbers[box].ravel()
        arguments = {}
        if self.scan is not None:
            images, problems = read_images(self.scan, box, self.average)
            status, reason = np.full(len(numbers), const.OK, np.uint8), np.full(len(numbers), "", object)
            for place, text in problems.items():
                status[place], reason[place] = const.BROKEN, text
            arguments = {"images": images, "statuses": (status, reason)}
        if self.chemistry is not None:
            arguments["chemistry"] = self.chemistry.at(numbers)
        if self.plane is not None:
            arguments["centers"] = centers_at(self.plane, np.stack(np.unravel_index(numbers, self.shape), 1))
        return arguments
