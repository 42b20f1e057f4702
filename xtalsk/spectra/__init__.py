"""Spectra of X-rays and energy losses to features."""

from xtalsk.spectra._bins import SpectrumBins
from xtalsk.spectra._eds import EDSComposition
from xtalsk.spectra._eels import EELSComposition

__all__ = ["EDSComposition", "EELSComposition", "SpectrumBins"]
