"""Measured data: what a cell of a table of specimens may hold, and files on disk."""

from xtalsk.io._cells import DiffractionImage, Profile
from xtalsk.io._readers import read_image, read_profile
from xtalsk.io._spectra import read_spectrum
from xtalsk.io._spectrum import Spectrum

__all__ = ["DiffractionImage", "Profile", "Spectrum", "read_image", "read_profile", "read_spectrum"]
