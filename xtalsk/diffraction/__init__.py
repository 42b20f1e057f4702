"""Diffraction patterns to features: images and powder scans against q or d."""

from xtalsk.diffraction._powder import PowderProfile
from xtalsk.diffraction._radial import RadialProfile

__all__ = ["PowderProfile", "RadialProfile"]
