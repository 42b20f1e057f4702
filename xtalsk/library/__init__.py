"""Search-match: comparison of measurements with a library of known crystals."""

from xtalsk.library._blend import LibraryBlend
from xtalsk.library._make import make_library
from xtalsk.library._match import LibraryMatch

__all__ = ["LibraryBlend", "LibraryMatch", "make_library"]
