"""Diffraction patterns to features: images and powder scans against q or d."""

from xtalsk.diffraction._lattice import LatticeFit
from xtalsk.diffraction._peaks import PeakHistogram, locate_peaks
from xtalsk.diffraction._powder import PowderProfile
from xtalsk.diffraction._radial import RadialProfile

__all__ = ["LatticeFit", "PeakHistogram", "PowderProfile", "RadialProfile", "locate_peaks"]
