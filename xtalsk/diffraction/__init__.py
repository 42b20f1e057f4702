"""Diffraction patterns to features: profiles against q, histograms of d, figures of merit of lattices."""

from xtalsk.diffraction._peak_search import locate_peaks
from xtalsk.diffraction._peaks import PeakHistogram
from xtalsk.diffraction._powder import PowderProfile
from xtalsk.diffraction._radial import RadialProfile
from xtalsk.diffraction._ring_geometry import RingGeometry
from xtalsk.diffraction.indexing._scores import IndexingScores

__all__ = [
    "IndexingScores",
    "PeakHistogram",
    "PowderProfile",
    "RadialProfile",
    "RingGeometry",
    "locate_peaks",
]
