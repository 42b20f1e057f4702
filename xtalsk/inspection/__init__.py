"""Figures of results."""

from xtalsk.inspection._comparison import ComparisonDisplay
from xtalsk.inspection._identification import IdentificationDisplay
from xtalsk.inspection._map import StructureMapDisplay

__all__ = ["ComparisonDisplay", "IdentificationDisplay", "StructureMapDisplay"]
