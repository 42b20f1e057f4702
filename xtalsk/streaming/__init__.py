"""Endless simulated specimens, rendered and turned into features on the training device."""

from xtalsk.streaming._fit import fit_stream
from xtalsk.streaming._stream import SpecimenStream

__all__ = ["SpecimenStream", "fit_stream"]
