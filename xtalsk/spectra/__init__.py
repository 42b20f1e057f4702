"""Transformers that turn X-ray and energy-loss spectra into compositions and features."""

from xtalsk.spectra._bins import SpectrumBins
from xtalsk.spectra.eds._composition import EDSComposition
from xtalsk.spectra.eels._composition import EELSComposition
from xtalsk.spectra.maps._composition_map import CompositionMap
from xtalsk.spectra.maps._map import map_compositions

__all__ = ["CompositionMap", "EDSComposition", "EELSComposition", "SpectrumBins", "map_compositions"]
