"""Measured data: what a cell of a table of specimens may hold, and files on disk."""

from xtalsk.io._cells import DiffractionImage, Profile
from xtalsk.io._readers import read_image, read_profile

__all__ = ["DiffractionImage", "Profile", "read_image", "read_profile"]
