"""Measured data: the objects that a table of specimens holds, and the readers of files.

Other parts of the package turn a cell of a column of spectra into a `Spectrum` with `check_spectrum`.
"""

from xtalsk.io._cells import DiffractionImage, Profile
from xtalsk.io._errors import BrokenFileError
from xtalsk.io._file_cell import FileCell
from xtalsk.io._images import read_image
from xtalsk.io._pixel_sizes import image_from_signal, profile_from_signal
from xtalsk.io._profiles import read_profile
from xtalsk.io._scans import Scan, ScanAxis, read_scan
from xtalsk.io._signals import is_signal
from xtalsk.io._specimens import read_specimens
from xtalsk.io._spectra import check_spectrum, read_spectrum
from xtalsk.io._spectrum import Spectrum

__all__ = [
    "BrokenFileError",
    "DiffractionImage",
    "FileCell",
    "Profile",
    "Scan",
    "ScanAxis",
    "Spectrum",
    "check_spectrum",
    "image_from_signal",
    "is_signal",
    "profile_from_signal",
    "read_image",
    "read_profile",
    "read_scan",
    "read_specimens",
    "read_spectrum",
]
