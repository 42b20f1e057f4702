"""Spectra of X-rays and energy losses to features."""

from xtalsk.spectra._bins import SpectrumBins
from xtalsk.spectra.eds._composition import EDSComposition
from xtalsk.spectra.eels._composition import EELSComposition

__all__ = ["EDSComposition", "EELSComposition", "SpectrumBins"]
