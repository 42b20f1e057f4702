"""Transformers that turn X-ray and energy-loss spectra into compositions and features."""

from xtalsk.spectra._bins import SpectrumBins
from xtalsk.spectra.eds._composition import EDSComposition
from xtalsk.spectra.eels._composition import EELSComposition

__all__ = ["EDSComposition", "EELSComposition", "SpectrumBins"]
