"""Spectra of X-rays and energy losses to features."""

from xtalsk.spectra._bins import SpectrumBins

__all__ = ["SpectrumBins"]
