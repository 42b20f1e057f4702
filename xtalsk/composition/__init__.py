"""Transformers of compositions into features."""

from xtalsk.composition._element_properties import element_properties
from xtalsk.composition._fractions import ElementFractions
from xtalsk.composition._presence import ElementPresence
from xtalsk.composition._ranked import RankedElements
from xtalsk.composition._statistics import CompositionStatistics

__all__ = [
    "CompositionStatistics",
    "ElementFractions",
    "ElementPresence",
    "RankedElements",
    "element_properties",
]
