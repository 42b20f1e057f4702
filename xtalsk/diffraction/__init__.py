"""Diffraction patterns to features: profiles against q, histograms of d, figures of merit of lattices."""

from xtalsk.diffraction._peak_list import PeakList
from xtalsk.diffraction._peak_search import locate_peaks
from xtalsk.diffraction._peaks import PeakHistogram
from xtalsk.diffraction._powder import PowderProfile
from xtalsk.diffraction._radial import RadialProfile
from xtalsk.diffraction._ring_geometry import RingGeometry
from xtalsk.diffraction.indexing._scores import IndexingScores
from xtalsk.diffraction.spots._locate_spots import locate_spots
from xtalsk.diffraction.spots._polar_image import PolarImage
from xtalsk.diffraction.spots._spot_lattice import SpotLattice
from xtalsk.diffraction.spots._spot_profile import SpotProfile

__all__ = [
    "IndexingScores",
    "PeakHistogram",
    "PeakList",
    "PolarImage",
    "PowderProfile",
    "RadialProfile",
    "RingGeometry",
    "SpotLattice",
    "SpotProfile",
    "locate_peaks",
    "locate_spots",
]
