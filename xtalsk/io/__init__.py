"""Measured data: what a cell of a table of specimens may hold, and files on disk."""

from xtalsk.io._cells import DiffractionImage, Profile

__all__ = ["DiffractionImage", "Profile"]
