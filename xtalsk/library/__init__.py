"""Search-match: comparison of measurements with a library of known crystals."""

from xtalsk.library._blend import LibraryBlend
from xtalsk.library._compound_blend import CompoundBlend
from xtalsk.library._known_phase import ImageCalibration, calibrate_image
from xtalsk.library._make import make_library
from xtalsk.library._match import LibraryMatch
from xtalsk.library._prototype_blend import PrototypeBlend
from xtalsk.library._prototype_match import PrototypeMatch

__all__ = [
    "CompoundBlend",
    "ImageCalibration",
    "LibraryBlend",
    "LibraryMatch",
    "PrototypeBlend",
    "PrototypeMatch",
    "calibrate_image",
    "make_library",
]
