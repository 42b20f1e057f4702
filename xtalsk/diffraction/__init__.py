"""Diffraction patterns to features: images and powder scans against q or d."""

from xtalsk.diffraction._peaks import PeakHistogram, locate_peaks
from xtalsk.diffraction._powder import PowderProfile
from xtalsk.diffraction._radial import RadialProfile
from xtalsk.diffraction.indexing._scores import IndexingScores

__all__ = ["IndexingScores", "PeakHistogram", "PowderProfile", "RadialProfile", "locate_peaks"]
