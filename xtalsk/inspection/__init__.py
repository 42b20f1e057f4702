"""Figures of results."""

from xtalsk.inspection._comparison import ComparisonDisplay
from xtalsk.inspection._identification import IdentificationDisplay

__all__ = ["ComparisonDisplay", "IdentificationDisplay"]
